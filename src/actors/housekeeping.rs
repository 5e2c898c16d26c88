//! What is tidied up from time to time, so that nothing grows for ever. Knows when, not how.

use jiff::SignedDuration;

use super::persistence::Persistence;
use crate::clock::Clock;

/// Between two rounds.
const ROUND: SignedDuration = SignedDuration::from_mins(10);
/// Keys dropped in one transaction.
const KEYS: i64 = 5_000;

/// Drops idempotency keys of a greater age, for as long as the service runs.
pub async fn run(persistence: Persistence, clock: Clock, keys_kept: SignedDuration) {
    loop {
        let now = clock.now();
        match drop_keys(&persistence, now - keys_kept).await {
            Ok(0) => {}
            Ok(dropped) => tracing::info!(dropped, "old idempotency keys were dropped"),
            Err(error) => tracing::warn!(%error, "old idempotency keys stay until the next round"),
        }
        clock.sleep_until(now + ROUND).await;
    }
}

async fn drop_keys(persistence: &Persistence, before: jiff::Timestamp) -> Result<u64, crate::db::DbError> {
    let mut dropped = 0;
    loop {
        let round = persistence.drop_keys(before, KEYS).await?;
        dropped += round;
        if round < KEYS.unsigned_abs() {
            return Ok(dropped);
        }
    }
}
