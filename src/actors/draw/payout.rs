//! Settles and refunds any number of tickets. This file reads the tickets in pieces, outside the writer. The
//! writer pays in steps of limited size and writes batches of other draws between the steps. The memory of all
//! draws together is limited. `domain::payout_run` decides what is read and paid next. This file contains no SQL.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::Deps;
use crate::actors::persistence::FixAndLogPrizes;
use crate::db::read::payout::{self, TicketRange};
use crate::db::{DbError, describe};
use crate::domain::draw::{StepError, WinningPick};
use crate::domain::game::Pick;
use crate::domain::lottery::Rules;
use crate::domain::money::Money;
use crate::domain::payout::{Credit, Payout, WindowError};
use crate::domain::payout_run::{PayoutAction, PayoutRun};
use crate::domain::record::Fence;
use crate::domain::settle::{FixPrizes, StoredSettlement};

/// How long a step should occupy the writer. A purchase that arrives meanwhile waits at most about so long.
const STEP_TIME: Duration = Duration::from_millis(10);
/// The number of credits in the first step, and the limits for the later steps.
const FIRST_STEP: usize = 200;
const SMALLEST_STEP: usize = 50;
const LARGEST_STEP: usize = 10_000;

/// The number of tickets in one read. Counting returns a few numbers; the other reads return up to one row for
/// each ticket.
const COUNTED_AT_ONCE: i64 = 50_000;
const READ_AT_ONCE: i64 = 20_000;
/// The number of reads at the same time.
const READERS: usize = 2;
/// How long a read is retried while the database is unavailable, and the pause between two tries.
const READ_PATIENCE: Duration = Duration::from_secs(60);
const READ_PAUSE: Duration = Duration::from_millis(100);

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
    // At most twice: prizes that are fixed stay fixed.
    loop {
        match patiently(async || payout::settlement(db, draw).await).await? {
            StoredSettlement::NotFixed => {
                let hits = count(deps, fence, winning.pick, sold).await?;
                tracing::info!(tickets = sold, "every ticket is counted");
                let (rules, at) = (rules.clone(), deps.clock.now());
                let step = FixPrizes { fence, rules, winning, hits, at };
                let logs = deps.persistence.ticket_logs().clone();
                deps.persistence.step(FixAndLogPrizes { step, logs }).await?;
                deps.public_log.publish().await;
            }
            StoredSettlement::Fixed { prizes, progress } => {
                let due = CreditsDue::Prizes { winning: winning.pick, prizes };
                let run = PayoutRun::new(fence, Payout::Prizes, sold, progress);
                return pay_out(deps, fence, sold, due, run).await;
            }
        }
    }
}

/// Pays every payer of a cancelled draw the money back.
pub async fn refund(deps: &Deps, fence: Fence, price: Money, sold: i64) -> Result<(), StepError> {
    let progress = patiently(async || payout::refunded(&deps.db, fence.draw).await).await?;
    let run = PayoutRun::new(fence, Payout::Refunds, sold, progress);
    pay_out(deps, fence, sold, CreditsDue::Refunds { price }, run).await
}

/// Counts the draw's tickets for each number of matches. After a crash the count begins again, without a stored
/// cursor: nothing is paid before the count ends, ten million tickets take seconds, and storing a cursor would
/// take time of the writer.
async fn count(deps: &Deps, fence: Fence, winning: Pick, sold: i64) -> Result<BTreeMap<i64, i64>, StepError> {
    let read = |tickets| patiently(async move || payout::hits(&deps.db, fence.draw, winning, tickets).await);
    let reads = stream::iter(pieces(0, sold, COUNTED_AT_ONCE)).map(read).buffer_unordered(READERS);
    let add = async |mut hits: BTreeMap<i64, i64>, piece| {
        for (matches, tickets) in piece {
            *hits.entry(matches).or_default() += tickets;
        }
        Ok(hits)
    };
    reads.try_fold(BTreeMap::new(), add).await
}

/// Splits the tickets with numbers above `after` up to `to` into pieces.
fn pieces(after: i64, to: i64, size: i64) -> impl Iterator<Item = TicketRange> {
    let next = move |from: &i64| Some(from + size).filter(|next| *next < to);
    let starts = std::iter::successors(Some(after).filter(|from| *from < to), next);
    starts.map(move |from| (from, to.min(from + size)))
}

/// What a draw pays, and the data to compute it.
enum CreditsDue {
    Prizes { winning: Pick, prizes: Vec<(i64, Money)> },
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
        patiently(async || match &self.due {
            CreditsDue::Prizes { winning, prizes } => payout::prizes(db, draw, *winning, prizes, tickets).await,
            CreditsDue::Refunds { price } => payout::refunds(db, draw, *price, tickets).await,
        })
        .await
    }
}

/// Reads, and retries while the database is unavailable.
pub async fn patiently<T>(ask: impl AsyncFn() -> Result<T, DbError>) -> Result<T, StepError> {
    #[allow(clippy::disallowed_methods, reason = "a wait of ours, not the draw's time")]
    let started = Instant::now();
    loop {
        match ask().await {
            Ok(read) => return Ok(read),
            Err(error) if !error.is_transient() => {
                tracing::error!(error = describe(&error), "a draw's tickets could not be read");
                return Err(StepError::Failed);
            }
            Err(_) if started.elapsed() > READ_PATIENCE => return Err(StepError::Unavailable),
            Err(error) => {
                tracing::warn!(error = describe(&error), "a draw's tickets are read again");
                tokio::time::sleep(READ_PAUSE).await;
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
    fn pieces_cover_every_ticket_once() {
        let cut = |after, to, size| pieces(after, to, size).collect::<Vec<_>>();
        assert_eq!(cut(0, 0, 10), []);
        assert_eq!(cut(5, 5, 10), []);
        assert_eq!(cut(0, 10, 10), [(0, 10)]);
        assert_eq!(cut(3, 24, 10), [(3, 13), (13, 23), (23, 24)]);
    }

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
