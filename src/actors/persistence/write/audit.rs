//! The audit log. It only grows: the database refuses everything else.

use tokio_postgres::{Client, Error};

use crate::domain::audit::AuditEntry;

/// The audit_entries of a batch, column by column.
pub const RECORD_ALL: &str = "-- audit::record_all(times, actors, actions, subjects, details)
    INSERT INTO audit_log (at, actor_id, action, subject, detail)
    SELECT * FROM unnest($1::timestamptz[], $2::bigint[], $3::text[], $4::text[], $5::jsonb[])";

/// Writes down what an admin did, in the transaction that makes it true. What the clock did is not recorded.
pub async fn record(db: &Client, audit: Option<&AuditEntry>) -> Result<(), Error> {
    let Some(audit) = audit else { return Ok(()) };
    let sql = "-- audit::record()
        INSERT INTO audit_log (at, actor_id, action, subject, detail) VALUES ($1, $2, $3, $4, $5)";
    let (actor, action, subject) =
        (audit.actor.map(|actor| actor.0), audit.action.as_str(), audit.subject.to_string());
    db.execute(sql, &[&audit.at, &actor, &action, &subject, &audit.detail]).await.map(drop)
}
