//! Settles and refunds any number of tickets. This file reads the tickets in pieces, outside the writer. The
//! writer pays in steps of limited size and writes batches of other draws between the steps. The memory of all
//! draws together is limited. `domain::payout_run` decides what is read and paid next. This file contains no SQL.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::Deps;
use super::count::{CountError, count};
use super::reads::{READ_AT_ONCE, READERS, patiently, pieces};
use crate::actors::persistence::FixAndLogPrizes;
use crate::db::read::payout;
use crate::domain::draw::{StepError, WinningPick};
use crate::domain::lottery::Rules;
use crate::domain::money::Money;
use crate::domain::payout::{Credit, Payout, WindowError};
use crate::domain::payout_run::{PayoutAction, PayoutRun};
use crate::domain::record::Fence;
use crate::domain::recount::{CountedList, ListFault, TicketRange};
use crate::domain::settle::{FixPrizes, StoredSettlement};

/// How long a step should occupy the writer. A purchase that arrives meanwhile waits at most about so long.
const STEP_TIME: Duration = Duration::from_millis(10);
/// The number of credits in the first step, and the limits for the later steps.
const FIRST_STEP: usize = 200;
const SMALLEST_STEP: usize = 50;
const LARGEST_STEP: usize = 10_000;

/// The size at which a window is full. The last read can exceed it.
const WINDOW: usize = 1_000_000;
/// The limit of credits in memory, for all draws together, at 32 bytes each.
const IN_MEMORY: usize = 4 * WINDOW;

/// The permits for credits in memory.
pub fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(IN_MEMORY))
}

/// Counts every ticket, fixes the prizes, and pays every winner.
pub async fn settle(
    deps: &Deps,
    fence: Fence,
    rules: Arc<Rules>,
    winning: WinningPick,
    sold: i64,
) -> Result<(), StepError> {
    let (db, draw) = (&deps.db, fence.draw);
    let stored = patiently(async || payout::settlement(db, draw).await).await?;
    let prizes_fixed = stored != StoredSettlement::NotFixed;
    let counted = count(deps, draw, &rules, winning, sold).await;
    let counted = counted.map_err(|error| error.stop(draw, prizes_fixed))?;
    tracing::info!(tickets = sold, "every ticket is counted");
    let (hits, at) = (counted.hits().clone(), deps.clock.now());
    let step = FixPrizes { fence, rules, winning, hits, at };
    let settled = step.divide(sold).map_err(|error| {
        tracing::error!(%error, "the prizes cannot be computed");
        StepError::Failed
    })?;
    let prizes = settled.tiers.iter().filter(|tier| tier.prize > Money::ZERO);
    let prizes: Vec<(i64, Money)> = prizes.map(|tier| (tier.matches.into(), tier.prize)).collect();
    if !prizes_fixed {
        if deps.persistence.step(FixAndLogPrizes(step)).await?.is_none() {
            return Err(CountError::List(ListFault::Published).stop(draw, false));
        }
        deps.step_written().await;
    }
    match patiently(async || payout::settlement(db, draw).await).await? {
        StoredSettlement::Fixed { prizes: stored, progress } if stored == prizes => {
            let due = CreditsDue::Prizes { counted, prizes };
            let run = PayoutRun::new(fence, Payout::Prizes, sold, progress);
            pay_out(deps, fence, sold, due, run).await
        }
        _ => Err(CountError::List(ListFault::Prizes).stop(draw, true)),
    }
}

/// Pays every payer of a cancelled draw the money back.
pub async fn refund(deps: &Deps, fence: Fence, price: Money, sold: i64) -> Result<(), StepError> {
    let progress = patiently(async || payout::refunded(&deps.db, fence.draw).await).await?;
    let run = PayoutRun::new(fence, Payout::Refunds, sold, progress);
    pay_out(deps, fence, sold, CreditsDue::Refunds { price }, run).await
}

/// What a draw pays, and the data to compute it.
enum CreditsDue {
    Prizes { counted: CountedList, prizes: Vec<(i64, Money)> },
    Refunds { price: Money },
}

/// Pays one window after another until everything is paid.
async fn pay_out(
    deps: &Deps,
    fence: Fence,
    sold: i64,
    due: CreditsDue,
    mut run: PayoutRun,
) -> Result<(), StepError> {
    let reader = CreditReader { deps, fence, sold, due };
    let mut size = StepSize::first();
    // Held while a window is in memory.
    let mut permits = None;
    loop {
        match run.next() {
            PayoutAction::ReadWindow { after, end } => {
                drop(permits.take());
                let credits = sold.clamp(0, WINDOW as i64) as u32;
                // This cannot fail: the semaphore is never closed.
                permits = Some(deps.payouts.acquire_many(credits).await.map_err(|_| StepError::Failed)?);
                let (credits, to) = reader.window(after, end).await?;
                run = order_window(run, credits, to).await?;
                tracing::debug!(after, "a window is read");
            }
            PayoutAction::Pay => {
                let step = run.step(size.credits, deps.clock.now()).ok_or(StepError::Failed)?;
                let (all, took) = deps.persistence.timed_step(step).await?;
                size.fit(took);
                run.paid(all);
                if run.progress().window.is_none() {
                    tracing::info!(tickets = run.progress().done, of = sold, "a window is paid");
                }
            }
            PayoutAction::Done => {
                tracing::info!(steps = size.steps, longest = ?size.longest, "everybody is paid");
                return Ok(());
            }
            PayoutAction::Stuck => {
                tracing::error!("every ticket is gone through, and the draw is not over");
                return Err(StepError::Failed);
            }
        }
    }
}

/// Sorts a window that was read. This takes long for a million credits, so it runs on another thread.
async fn order_window(mut run: PayoutRun, credits: Vec<Credit>, to: i64) -> Result<PayoutRun, StepError> {
    let ordered = spawn_blocking(move || run.window_read(credits, to).map(|()| run)).await;
    ordered.map_err(|_| StepError::Failed)?.map_err(|error: WindowError| {
        tracing::error!(%error, "the credits of a window do not add up");
        StepError::Failed
    })
}

/// Reads the credits of a payout.
struct CreditReader<'a> {
    deps: &'a Deps,
    fence: Fence,
    sold: i64,
    due: CreditsDue,
}

impl CreditReader<'_> {
    /// The credits of the window after this ticket, and the number of the window's last ticket. `end` is the end
    /// of a window that was begun before a crash.
    async fn window(&self, after: i64, end: Option<i64>) -> Result<(Vec<Credit>, i64), StepError> {
        let last = end.unwrap_or(self.sold);
        // Reserve the memory once, so that the vector is never copied to grow.
        let most = usize::try_from(last - after).unwrap_or(0).min(WINDOW + READ_AT_ONCE as usize);
        let mut credits: Vec<Credit> = Vec::with_capacity(most);
        let mut to = after;
        {
            let read = |piece: TicketRange| async move { (piece.1, self.read(piece).await) };
            let mut reads = stream::iter(pieces(after, last, READ_AT_ONCE)).map(read).buffered(READERS);
            while let Some((until, piece)) = reads.next().await {
                credits.extend(piece?);
                to = until;
                if end.is_none() && credits.len() >= WINDOW {
                    break;
                }
            }
        }
        if matches!(self.due, CreditsDue::Refunds { .. }) && end.is_none() && to < self.sold {
            let (db, draw) = (&self.deps.db, self.fence.draw);
            let whole = patiently(async || payout::end_of_payment(db, draw, to).await).await?;
            credits.extend(self.read((to, whole)).await?);
            to = whole;
        }
        Ok((credits, to))
    }

    async fn read(&self, tickets: TicketRange) -> Result<Vec<Credit>, StepError> {
        let (db, draw) = (&self.deps.db, self.fence.draw);
        match &self.due {
            CreditsDue::Prizes { counted, prizes } => {
                let (winning, tiers) = (counted.recount().winning(), counted.recount().tiers());
                let read = async || payout::winning_tickets(db, draw, winning, tiers, tickets).await;
                let winners: Vec<_> = patiently(read).await?.tickets().collect();
                let credits = counted.credits(tickets, &winners, prizes);
                credits.map_err(|fault| CountError::List(fault).stop(draw, true))
            }
            CreditsDue::Refunds { price } => {
                let refunds = patiently(async || payout::refunds(db, draw, *price, tickets).await).await?;
                // The money goes to who has paid it.
                refunds.map_err(|payment| CountError::List(ListFault::Payer(payment)).stop(draw, false))
            }
        }
    }
}

/// The number of credits in a step, adapted to the time that the last step took.
struct StepSize {
    credits: usize,
    steps: u64,
    longest: Duration,
}

impl StepSize {
    fn first() -> StepSize {
        StepSize { credits: FIRST_STEP, steps: 0, longest: Duration::ZERO }
    }

    fn fit(&mut self, took: Duration) {
        self.steps += 1;
        self.longest = self.longest.max(took);
        let fitting = self.credits as u128 * STEP_TIME.as_micros() / took.as_micros().max(1);
        let fitting = usize::try_from(fitting).unwrap_or(usize::MAX);
        // One step can be fast or slow by chance, so the size changes at most by half or double.
        let fitting = fitting.clamp(self.credits / 2, self.credits * 2);
        self.credits = fitting.clamp(SMALLEST_STEP, LARGEST_STEP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_fitted_to_their_time() {
        let mut size = StepSize::first();
        let took = |size: &StepSize| Duration::from_micros(size.credits as u64 * 15);
        for _ in 0..20 {
            size.fit(took(&size));
        }
        assert_eq!(size.credits, 666, "10 ms at 15 µs a credit");
        size.fit(Duration::from_secs(60));
        assert_eq!(size.credits, 333, "reduced at most by half");
        for _ in 0..20 {
            size.fit(Duration::ZERO);
        }
        assert_eq!(size.credits, LARGEST_STEP);
        for _ in 0..20 {
            size.fit(Duration::from_secs(1));
        }
        assert_eq!(size.credits, SMALLEST_STEP);
    }
}
