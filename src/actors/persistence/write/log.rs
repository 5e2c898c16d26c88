//! Records what the logs of this installation are: their name, and the fingerprint of the master secret.

use jiff::Timestamp;
use tokio_postgres::{Client, Error};

use crate::domain::log_keys::LogIdentity;

/// Records what the logs are, unless it is recorded. If two services start at the same time, the second waits for the
/// first and records nothing.
pub async fn record_identity(db: &Client, it: &LogIdentity, at: Timestamp) -> Result<(), Error> {
    let sql = "-- log::record_identity()
        INSERT INTO log_identity (origin, fingerprint, recorded_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    db.execute(sql, &[&it.origin.to_string(), &it.fingerprint.as_slice(), &at]).await.map(drop)
}
