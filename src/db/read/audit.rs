//! Reads the audit log for admins.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio_postgres::Row;

use super::{Page, PageRows};
use crate::db::{Db, DbError};
use crate::domain::id::UserId;

/// One admin action, with the fields that the API returns.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct AuditRow {
    pub id: i64,
    pub at: Timestamp,
    /// `None`: the action came from the command line.
    pub actor_id: Option<UserId>,
    pub action: String,
    pub subject: String,
    pub detail: Value,
}

/// Every admin action, newest first.
pub async fn list(db: &Db, page: Page<i64>) -> Result<PageRows<AuditRow, i64>, DbError> {
    let sql = "-- audit::list()
        SELECT id, at, actor_id, action, subject, detail FROM audit_log WHERE id < $1 ORDER BY id DESC LIMIT $2";
    let rows = db.query(sql, &[&page.after.unwrap_or(i64::MAX), &(page.limit + 1)]).await?;
    let entry = |row: &Row| AuditRow {
        id: row.get("id"),
        at: row.get("at"),
        actor_id: row.get::<_, Option<i64>>("actor_id").map(UserId),
        action: row.get("action"),
        subject: row.get("subject"),
        detail: row.get("detail"),
    };
    Ok(PageRows::cut(rows.iter().map(entry).collect(), page.limit, |entry| entry.id))
}
