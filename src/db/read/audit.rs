//! Reads the audit log for admins.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{Page, PageRows};
use crate::db::{Db, DbError};
use crate::domain::audit::Action;
use crate::domain::id::UserId;

/// One entry, with the fields that the API returns.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct AuditRow {
    pub id: i64,
    pub at: Timestamp,
    /// `None`: the action came from the command line, or from several users who are counted together.
    pub actor_id: Option<UserId>,
    pub action: String,
    pub subject: String,
    pub detail: Value,
    pub address: Option<IpAddr>,
    pub request_id: Option<Uuid>,
    pub count: i64,
}

/// The entries, newest first, with optional filters: an empty list means all.
pub async fn list(
    db: &Db,
    actions: &[Action],
    actors: &[i64],
    page: Page<i64>,
) -> Result<PageRows<AuditRow, i64>, DbError> {
    // With a filter, the newest entries of each of its values are found by an index, and then the newest of these. An
    // actor's entries are looked through for the wanted actions.
    let from = match (actors, actions) {
        ([], []) => "audit_log WHERE id < $1 AND $2::bigint[] = '{}' AND $3::text[] = '{}'",
        ([], _) => {
            "(SELECT DISTINCT unnest($3::text[]) AS wanted) w, LATERAL (
                SELECT * FROM audit_log WHERE action = w.wanted AND id < $1 AND $2::bigint[] = '{}'
                ORDER BY id DESC LIMIT $4) newest WHERE true"
        }
        _ => {
            "(SELECT DISTINCT unnest($2::bigint[]) AS wanted) w, LATERAL (
                SELECT * FROM audit_log
                WHERE actor_id = w.wanted AND id < $1 AND ($3::text[] = '{}' OR action = ANY($3))
                ORDER BY id DESC LIMIT $4) newest WHERE true"
        }
    };
    let sql = format!(
        "-- audit::list()
        SELECT id, at, actor_id, action, subject, detail, address, request_id, count FROM {from}
        ORDER BY id DESC LIMIT $4"
    );
    let actions: Vec<&str> = actions.iter().map(|action| action.as_str()).collect();
    let after = page.after.unwrap_or(i64::MAX);
    let rows = db.query(&sql, &[&after, &actors, &actions, &(page.limit + 1)]).await?;
    let entry = |row: &Row| AuditRow {
        id: row.get("id"),
        at: row.get("at"),
        actor_id: row.get::<_, Option<i64>>("actor_id").map(UserId),
        action: row.get("action"),
        subject: row.get("subject"),
        detail: row.get("detail"),
        address: row.get("address"),
        request_id: row.get("request_id"),
        count: row.get("count"),
    };
    Ok(PageRows::cut(rows.iter().map(entry).collect(), page.limit, |entry| entry.id))
}
