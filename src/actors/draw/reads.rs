//! Reads of a draw's tickets by pieces: how large they are, how many run at a time, and how long one is tried.

use std::time::{Duration, Instant};

use crate::db::{DbError, describe};
use crate::domain::draw::StepError;
use crate::domain::recount::TicketRange;

/// The number of tickets in one read, each of which may return one row for each ticket. The end of a window of a payout
/// is stored, and is the end of a read: another number would not fit to a payout that an earlier program began.
pub const READ_AT_ONCE: i64 = 20_000;
/// The number of reads at the same time.
pub const READERS: usize = 2;
/// How long a read is retried while the database is unavailable, and the pause between two tries.
const READ_PATIENCE: Duration = Duration::from_secs(60);
const READ_PAUSE: Duration = Duration::from_millis(100);

/// Splits the tickets with numbers above `after` up to `to` into pieces.
pub fn pieces(after: i64, to: i64, size: i64) -> impl Iterator<Item = TicketRange> {
    let next = move |from: &i64| Some(from + size).filter(|next| *next < to);
    let starts = std::iter::successors(Some(after).filter(|from| *from < to), next);
    starts.map(move |from| (from, to.min(from + size)))
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
}
