//! The audit log. It only grows: the database refuses everything else.

use tokio_postgres::{Client, Error};

use crate::domain::audit::Deed;

/// The deeds of a batch, column by column.
pub const RECORD_ALL: &str = "-- audit::record_all(times, actors, actions, subjects, details)
    INSERT INTO audit_log (at, actor_id, action, subject, detail)
    SELECT * FROM unnest($1::timestamptz[], $2::bigint[], $3::text[], $4::text[], $5::jsonb[])";

/// Writes down what an admin did, in the transaction that makes it true. What the clock did is nobody's deed.
pub async fn record(db: &Client, deed: Option<&Deed>) -> Result<(), Error> {
    let Some(deed) = deed else { return Ok(()) };
    let sql = "-- audit::record()
        INSERT INTO audit_log (at, actor_id, action, subject, detail) VALUES ($1, $2, $3, $4, $5)";
    let (actor, action, subject) =
        (deed.actor.map(|actor| actor.0), deed.action.as_str(), deed.subject.to_string());
    db.execute(sql, &[&deed.at, &actor, &action, &subject, &deed.detail]).await.map(drop)
}
