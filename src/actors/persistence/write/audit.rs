//! The statements of the audit log. Rows are only added: the database refuses to change or delete them.

use tokio_postgres::{Client, Error};

use super::params::Params;
use crate::domain::audit::AuditEntry;

/// Several audit entries, as those of a batch.
pub const RECORD_ALL: &str =
    "-- audit::record_all(times, actors, actions, subjects, details, addresses, requests, counts)
    INSERT INTO audit_log (at, actor_id, action, subject, detail, address, request_id, count)
    SELECT * FROM unnest($1::timestamptz[], $2::bigint[], $3::text[], $4::text[], $5::jsonb[], $6::inet[], $7::uuid[],
        $8::bigint[])";

pub fn record_all_params(entries: &[AuditEntry]) -> Params<'_> {
    let actors = || entries.iter().map(|entry| entry.actor);
    Params::with_capacity(8)
        .column(entries.iter().map(|entry| entry.at))
        .column(actors().map(|actor| actor.map(|actor| actor.user.0)))
        .column(entries.iter().map(|entry| entry.action.as_str()))
        .column(entries.iter().map(|entry| entry.subject.to_string()))
        .column(entries.iter().map(|entry| &entry.detail))
        .column(actors().map(|actor| actor.map(|actor| actor.address)))
        .column(actors().map(|actor| actor.map(|actor| actor.request)))
        .column(entries.iter().map(|entry| entry.count))
}

/// Records these entries, in the transaction of what they tell of.
pub async fn record_all(db: &Client, entries: &[AuditEntry]) -> Result<(), Error> {
    record_all_params(entries).execute(db, RECORD_ALL).await.map(drop)
}

/// Records the action of an admin, in the transaction of the action. Actions of the clock are not recorded. The entry
/// locks the end of the chain (`audit_chain`) until the transaction ends, so it is written when all other rows are locked:
/// otherwise two transactions could wait for each other.
pub async fn record(db: &Client, audit: Option<&AuditEntry>) -> Result<(), Error> {
    match audit {
        Some(audit) => record_all(db, std::slice::from_ref(audit)).await,
        None => Ok(()),
    }
}
