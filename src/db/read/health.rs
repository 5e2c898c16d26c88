//! Whether the database answers at all.

use std::time::Duration;

use crate::db::{Db, DbError};

/// How long it may take.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// Asks it for nothing.
pub async fn answers(db: &Db) -> Result<(), DbError> {
    let sql = "-- health::answers()
        SELECT";
    db.read(ANSWER_WAIT, sql, &[]).await.map(drop)
}
