//! Settling and refunding of any number of tickets. This file reads the tickets in pieces while the sale of other
//! draws goes on. The writer pays in steps of limited size and writes batches of other draws between the steps.
//! The memory of all draws together is limited. This file contains no SQL.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::Deps;
use crate::actors::persistence::FixPrizes;
use crate::db::read::payout::{self, TicketRange};
use crate::db::{DbError, describe};
use crate::domain::draw::{StepError, WinningPick};
use crate::domain::game::Pick;
use crate::domain::lottery::Rules;
use crate::domain::money::Money;
use crate::domain::payout::{Credit, PayStep, Payout, Progress, Window, WindowError};
use crate::domain::record::Fence;

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
    deps: Deps,
    fence: Fence,
    rules: Arc<Rules>,
    winning: WinningPick,
    sold: i64,
) -> Result<(), StepError> {
    let (db, draw) = (&deps.db, fence.draw);
    let mut found = patiently(async || payout::settlement(db, draw).await).await?;
    if found.prizes.is_none() {
        let hits = count(&deps, fence, winning.pick, sold).await?;
        tracing::info!(tickets = sold, "every ticket is counted");
        let at = deps.clock.now();
        deps.persistence.step(FixPrizes { fence, rules, winning, hits, at }).await?;
        found = patiently(async || payout::settlement(db, draw).await).await?;
    }
    // `FixPrizes` has stored the prizes.
    let prizes = found.prizes.ok_or(StepError::Failed)?;
    let due = CreditsDue::Prizes { winning: winning.pick, prizes };
    PayoutRun { deps: deps.clone(), fence, sold, due }.run(found.progress).await
}

/// Pays every payer of a cancelled draw the money back.
pub async fn refund(deps: Deps, fence: Fence, price: Money, sold: i64) -> Result<(), StepError> {
    let progress = patiently(async || payout::refunded(&deps.db, fence.draw).await).await?;
    PayoutRun { deps, fence, sold, due: CreditsDue::Refunds { price } }.run(progress).await
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

impl CreditsDue {
    fn payout(&self) -> Payout {
        match self {
            CreditsDue::Prizes { .. } => Payout::Prizes,
            CreditsDue::Refunds { .. } => Payout::Refunds,
        }
    }
}

struct PayoutRun {
    deps: Deps,
    fence: Fence,
    sold: i64,
    due: CreditsDue,
}

impl PayoutRun {
    /// Pays one window after another until everything is paid.
    async fn run(self, mut progress: Progress) -> Result<(), StepError> {
        let mut size = StepSize::first();
        loop {
            // This cannot fail: the semaphore is never closed.
            let places = self.sold.clamp(0, WINDOW as i64) as u32;
            let _places = self.deps.payouts.acquire_many(places).await.map_err(|_| StepError::Failed)?;
            let mut window = self.window(progress).await?;
            tracing::debug!(after = progress.done, "a window is read");
            loop {
                let (credits, after) = window.take(size.credits);
                let pay = PayStep {
                    fence: self.fence,
                    payout: self.due.payout(),
                    credits: credits.to_vec(),
                    before: progress,
                    after,
                    at: self.deps.clock.now(),
                };
                let (all, took) = self.deps.persistence.timed_step(pay).await?;
                size.fit(took);
                progress = after;
                if all {
                    tracing::info!(steps = size.steps, longest = ?size.longest, "everybody is paid");
                    return Ok(());
                }
                if progress.window.is_none() {
                    break;
                }
            }
            tracing::info!(tickets = progress.done, of = self.sold, "a window is paid");
            if progress.done >= self.sold {
                tracing::error!("all tickets are gone through, and the draw is not over");
                return Err(StepError::Failed);
            }
        }
    }

    /// The next credits: those of the window that was begun, or of a new one.
    async fn window(&self, progress: Progress) -> Result<Window, StepError> {
        let fixed = progress.window.map(|part| part.end);
        let end = fixed.unwrap_or(self.sold);
        // Reserve the memory once: not more than needed, and the vector is never copied to grow.
        let most = usize::try_from(end - progress.done).unwrap_or(0).min(WINDOW + READ_AT_ONCE as usize);
        let mut credits: Vec<Credit> = Vec::with_capacity(most);
        let mut to = progress.done;
        {
            let read = |piece: TicketRange| async move { (piece.1, self.read(piece).await) };
            let mut reads = stream::iter(pieces(progress.done, end, READ_AT_ONCE)).map(read).buffered(READERS);
            while let Some((until, piece)) = reads.next().await {
                credits.extend(piece?.into_iter().filter(|credit| !progress.includes(credit)));
                to = until;
                if fixed.is_none() && credits.len() >= WINDOW {
                    break;
                }
            }
        }
        if matches!(self.due, CreditsDue::Refunds { .. }) && fixed.is_none() && to < self.sold {
            let (db, draw) = (&self.deps.db, self.fence.draw);
            let whole = patiently(async || payout::end_of_payment(db, draw, to).await).await?;
            credits.extend(self.read((to, whole)).await?);
            to = whole;
        }
        let tickets = (progress.done, to);
        let order = match self.due.payout() {
            Payout::Prizes => Window::of_prizes,
            Payout::Refunds => Window::of_refunds,
        };
        // Sorting a million credits takes time, so it does not run on the actor's thread.
        let ordered = spawn_blocking(move || order(credits, tickets)).await;
        ordered.map_err(|_| StepError::Failed)?.map_err(|error: WindowError| {
            tracing::error!(%error, "what is to be paid does not add up");
            StepError::Failed
        })
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
async fn patiently<T>(ask: impl AsyncFn() -> Result<T, DbError>) -> Result<T, StepError> {
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
