//! Whether the database answers, and whether its commits wait for a standby.

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

/// Whether a COMMIT waits for a standby. If it does not, what was answered is lost when the standby takes over.
pub async fn is_replication_synchronous(db: &Db) -> Result<bool, DbError> {
    let sql = "-- health::is_replication_synchronous()
        SELECT current_setting('synchronous_standby_names') <> ''";
    let row = db.query_opt(sql, &[]).await?.ok_or(DbError::Corrupt("no answer"))?;
    Ok(row.get(0))
}
