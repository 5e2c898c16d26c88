//! What is tidied up from time to time, so that nothing grows for ever. Knows when, not how.

use jiff::SignedDuration;

use super::persistence::Persistence;
use crate::clock::Clock;
use crate::db::DbError;

/// Between two rounds.
const ROUND: SignedDuration = SignedDuration::from_mins(10);
/// PageRows dropped in one transaction.
const AT_ONCE: i64 = 5_000;
/// How long an expired refresh token stays: longer than any access token of its log-in is good for.
const EXPIRED_KEPT: SignedDuration = SignedDuration::from_hours(24);

/// Drops idempotency keys of a greater age, and log-ins that are over, for as long as the service runs.
pub async fn run(persistence: Persistence, clock: Clock, keys_kept: SignedDuration) {
    loop {
        let now = clock.now();
        let keys = drop_all(async || persistence.drop_keys(now - keys_kept, AT_ONCE).await).await;
        tell(keys, "idempotency keys");
        let tokens = drop_all(async || persistence.drop_expired(now - EXPIRED_KEPT, AT_ONCE).await).await;
        tell(tokens, "expired refresh tokens");
        clock.sleep_until(now + ROUND).await;
    }
}

async fn drop_all(some: impl AsyncFn() -> Result<u64, DbError>) -> Result<u64, DbError> {
    let mut dropped = 0;
    loop {
        let round = some().await?;
        dropped += round;
        if round < AT_ONCE.unsigned_abs() {
            return Ok(dropped);
        }
    }
}

fn tell(dropped: Result<u64, DbError>, what: &str) {
    match dropped {
        Ok(0) => {}
        Ok(dropped) => tracing::info!(dropped, "old {what} were dropped"),
        Err(error) => tracing::warn!(%error, "old {what} stay until the next round"),
    }
}
