//! Reads the successful answers stored under idempotency keys.

use tokio_postgres::Row;

use crate::db::{Db, DbError};
use crate::domain::id::PaymentId;
use crate::domain::record::{AnswerKind, KeyId, StoredAnswer};

/// How `idempotency_keys.status` stores the kind of an answer: as the HTTP status that it is sent with.
const CREATED: i16 = 201;
const CHANGED: i16 = 200;

/// The stored form of a kind.
pub fn kind_code(kind: AnswerKind) -> i16 {
    match kind {
        AnswerKind::Created => CREATED,
        AnswerKind::Changed => CHANGED,
    }
}

/// The answer stored under this key.
pub async fn one(db: &Db, key: KeyId) -> Result<Option<StoredAnswer>, DbError> {
    let sql = "-- keys::one()
        SELECT request, status, payment_id, answer FROM idempotency_keys WHERE id = $1";
    db.query_opt(sql, &[&key.0]).await?.as_ref().map(|row| Ok(kept(row))).transpose()
}

/// A stored answer from its row.
pub fn kept(row: &Row) -> StoredAnswer {
    StoredAnswer {
        request: row.get("request"),
        kind: if row.get::<_, i16>("status") == CREATED { AnswerKind::Created } else { AnswerKind::Changed },
        payment: row.get::<_, Option<_>>("payment_id").map(PaymentId),
        answer: row.get("answer"),
    }
}
