//! Whether the database answers.

use std::time::Duration;

use crate::db::{Db, DbError};

/// The time limit for an answer.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// Runs an empty query.
pub async fn answers(db: &Db) -> Result<(), DbError> {
    let sql = "-- health::answers()
        SELECT";
    db.read(ANSWER_WAIT, sql, &[]).await.map(drop)
}
