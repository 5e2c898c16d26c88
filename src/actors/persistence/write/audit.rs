//! The statements of the audit log. Rows are only added: the database refuses to change or delete them.

use tokio_postgres::{Client, Error};

use super::params::Params;
use crate::domain::audit::AuditEntry;

/// The audit entries of a batch.
pub const RECORD_ALL: &str = "-- audit::record_all(times, actors, actions, subjects, details)
    INSERT INTO audit_log (at, actor_id, action, subject, detail)
    SELECT * FROM unnest($1::timestamptz[], $2::bigint[], $3::text[], $4::text[], $5::jsonb[])";

pub fn record_all_params(entries: &[AuditEntry]) -> Params<'_> {
    Params::with_capacity(5)
        .column(entries.iter().map(|entry| entry.at))
        .column(entries.iter().map(|entry| entry.actor.map(|actor| actor.0)))
        .column(entries.iter().map(|entry| entry.action.as_str()))
        .column(entries.iter().map(|entry| entry.subject.to_string()))
        .column(entries.iter().map(|entry| &entry.detail))
}

/// Records the action of an admin, in the transaction of the action. Actions of the clock are not recorded.
pub async fn record(db: &Client, audit: Option<&AuditEntry>) -> Result<(), Error> {
    let Some(audit) = audit else { return Ok(()) };
    let sql = "-- audit::record()
        INSERT INTO audit_log (at, actor_id, action, subject, detail) VALUES ($1, $2, $3, $4, $5)";
    let (actor, action, subject) =
        (audit.actor.map(|actor| actor.0), audit.action.as_str(), audit.subject.to_string());
    db.execute(sql, &[&audit.at, &actor, &action, &subject, &audit.detail]).await.map(drop)
}
