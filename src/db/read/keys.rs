//! Successes kept under idempotency keys.

use tokio_postgres::Row;

use crate::db::{Db, DbError};
use crate::domain::id::{PaymentId, UserId};
use crate::domain::record::Kept;

/// What is kept for this user under this key.
pub async fn one(db: &Db, user: UserId, key: &str) -> Result<Option<Kept>, DbError> {
    let sql = "-- keys::one()
        SELECT request, status, payment_id, answer FROM idempotency_keys WHERE user_id = $1 AND key = $2";
    db.query_opt(sql, &[&user.0, &key]).await?.as_ref().map(kept).transpose()
}

/// A kept success from its row.
pub fn kept(row: &Row) -> Result<Kept, DbError> {
    let request: &[u8] = row.get("request");
    Ok(Kept {
        request: request.try_into().map_err(|_| DbError::Corrupt("request digest"))?,
        status: row.get("status"),
        payment: row.get::<_, Option<_>>("payment_id").map(PaymentId),
        answer: row.get("answer"),
    })
}
