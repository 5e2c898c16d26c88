//! Stores and deletes the charges of the sandbox. They are no part of the ledger: the sandbox plays another system.

use tokio_postgres::{Client, Error};
use uuid::Uuid;

use crate::db::PooledClient;
use crate::domain::charge::ChargeName;

/// Stores a charge, unless it is stored already. Returns the outcome that is stored. Each statement is a transaction of
/// its own.
pub async fn store(db: &PooledClient, name: ChargeName, outcome: &str) -> Result<String, Error> {
    let sql = "-- sandbox::store(payment, begun, outcome)
        INSERT INTO sandbox_charges (payment_id, begun_at, outcome) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    let insert = db.prepare_cached(sql).await?;
    if db.execute(&insert, &[&name.payment.0, &name.begun, &outcome]).await? == 1 {
        return Ok(outcome.to_owned());
    }
    let sql = "-- sandbox::store(payment, begun)
        SELECT outcome FROM sandbox_charges WHERE payment_id = $1 AND begun_at = $2";
    Ok(db.query_one(sql, &[&name.payment.0, &name.begun]).await?.get("outcome"))
}

/// Deletes up to `most` charges of payments with an id before this one; returns how many. A charge whose end is not
/// written yet stays: the sandbox is asked for it.
pub async fn drop_older(db: &Client, before: Uuid, most: i64) -> Result<u64, Error> {
    let sql = "-- sandbox::drop_older(before, most)
        DELETE FROM sandbox_charges WHERE ctid = ANY (ARRAY(
            SELECT s.ctid FROM sandbox_charges s WHERE s.payment_id < $1 AND NOT EXISTS (
                SELECT FROM charges c
                WHERE c.payment_id = s.payment_id AND c.begun_at = s.begun_at AND c.outcome IS NULL
            ) LIMIT $2))";
    db.execute(sql, &[&before, &most]).await
}
