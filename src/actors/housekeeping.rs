//! Deletes rows that are no longer needed, at regular intervals, so that no table grows for ever. This file
//! decides when to delete; the persistence module deletes.

use jiff::{SignedDuration, Timestamp};

use super::persistence::Persistence;
use crate::clock::{Clock, first_id};
use crate::db::DbError;

/// The time between two rounds.
const INTERVAL: SignedDuration = SignedDuration::from_mins(10);
/// The most rows that one transaction deletes, or looks at.
const ROWS_PER_TRANSACTION: i64 = 5_000;
/// How long a session is kept after its refresh token has expired. An access token is valid for a day at most, so no
/// session is deleted whose access token is still valid.
const EXPIRED_SESSIONS_KEPT: SignedDuration = SignedDuration::from_hours(24);
/// How long a node is listed that shows no sign of life, in hours.
const NODES_KEPT: i32 = 7 * 24;
/// How long an order that was not paid is kept after its end.
const UNPAID_ORDERS_KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How long the sandbox keeps a charge that has ended. Until then its name cannot be charged again.
const SANDBOX_CHARGES_KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);
/// The longest time from an order to its end: `tickets.reservation` is not longer.
const LONGEST_RESERVATION: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Deletes idempotency keys older than `keys_kept`, sessions whose refresh token has expired, nodes that ended, orders
/// that ended unpaid long ago, and old charges of the sandbox. Runs until the service stops.
pub async fn run(persistence: Persistence, clock: Clock, keys_kept: SignedDuration) {
    loop {
        let began = clock.since_boot();
        // What a wrong clock deletes cannot be had back.
        let now = clock.trusted_now().await;
        let keys = drop_all(async || persistence.drop_keys(now - keys_kept, ROWS_PER_TRANSACTION).await).await;
        let keys_dropped = keys.is_ok();
        log_result(keys, "idempotency keys");
        let tokens =
            drop_all(async || persistence.drop_expired(now - EXPIRED_SESSIONS_KEPT, ROWS_PER_TRANSACTION).await)
                .await;
        log_result(tokens, "expired sessions");
        let nodes = drop_all(async || persistence.drop_nodes(NODES_KEPT, ROWS_PER_TRANSACTION).await).await;
        log_result(nodes, "nodes");
        // A key leads to the order that it was sent with. Every key that is older than these orders is deleted now.
        if keys_dropped {
            let kept = keys_kept.max(UNPAID_ORDERS_KEPT + LONGEST_RESERVATION);
            log_result(drop_unpaid(&persistence, now - kept).await, "unpaid orders");
        }
        // The ids are those of the payments, which are older than their charges.
        let before = first_id(now - SANDBOX_CHARGES_KEPT - LONGEST_RESERVATION);
        let sandbox =
            drop_all(async || persistence.drop_sandbox_charges(before, ROWS_PER_TRANSACTION).await).await;
        log_result(sandbox, "charges of the sandbox");
        clock.sleep_since(began, INTERVAL).await;
    }
}

/// Deletes the orders of before that time that ended unpaid.
async fn drop_unpaid(persistence: &Persistence, before: Timestamp) -> Result<u64, DbError> {
    let mut dropped = 0;
    loop {
        let step = persistence.drop_unpaid(first_id(before), ROWS_PER_TRANSACTION).await?;
        dropped += step.orders;
        if step.done {
            return Ok(dropped);
        }
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
