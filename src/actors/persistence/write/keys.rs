//! Deletes old idempotency keys. It does not store them: `sales` does.

use jiff::Timestamp;
use tokio_postgres::{Client, Error};

/// Deletes up to `most` keys from before that time; returns how many.
pub async fn drop_older(db: &Client, before: Timestamp, most: i64) -> Result<u64, Error> {
    let sql = "-- keys::drop_older(before, most)
        DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM idempotency_keys WHERE created_at < $1 LIMIT $2))";
    db.execute(sql, &[&before, &most]).await
}
