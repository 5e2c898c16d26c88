//! Deletes rows that are no longer needed, at regular intervals, so that no table grows for ever. This file
//! decides when to delete; the persistence module deletes.

use jiff::SignedDuration;

use super::persistence::Persistence;
use crate::clock::Clock;
use crate::db::DbError;

/// The time between two rounds.
const INTERVAL: SignedDuration = SignedDuration::from_mins(10);
/// The most rows that one transaction deletes.
const ROWS_PER_TRANSACTION: i64 = 5_000;
/// How long an expired refresh token is kept. Its session is deleted with the last one. An access token expires no
/// later than the refresh token that is issued with it, so no session is deleted whose access token is still valid.
const EXPIRED_TOKENS_KEPT: SignedDuration = SignedDuration::from_hours(24);

/// Deletes idempotency keys older than `keys_kept`, expired refresh tokens, and the sessions that have no token
/// left. Runs until the service stops.
pub async fn run(persistence: Persistence, clock: Clock, keys_kept: SignedDuration) {
    loop {
        let now = clock.now();
        let keys = drop_all(async || persistence.drop_keys(now - keys_kept, ROWS_PER_TRANSACTION).await).await;
        log_result(keys, "idempotency keys");
        let tokens =
            drop_all(async || persistence.drop_expired(now - EXPIRED_TOKENS_KEPT, ROWS_PER_TRANSACTION).await)
                .await;
        log_result(tokens, "expired refresh tokens");
        clock.sleep_until(now + INTERVAL).await;
    }
}

async fn drop_all(some: impl AsyncFn() -> Result<u64, DbError>) -> Result<u64, DbError> {
    let mut dropped = 0;
    loop {
        let round = some().await?;
        dropped += round;
        if round < ROWS_PER_TRANSACTION.unsigned_abs() {
            return Ok(dropped);
        }
    }
}

fn log_result(dropped: Result<u64, DbError>, what: &str) {
    match dropped {
        Ok(0) => {}
        Ok(dropped) => tracing::info!(dropped, "old {what} were deleted"),
        Err(error) => tracing::warn!(%error, "old {what} were not deleted; the next round tries again"),
    }
}
