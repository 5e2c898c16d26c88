//! Reads what the logs of this installation are: their name, and the fingerprint of the master secret.

use tokio_postgres::Client;

use crate::db::DbError;
use crate::domain::log_keys::{LogIdentity, LogOrigin};

/// What the first start of the service recorded. `None`: the service has not been started on this schema.
pub async fn identity(db: &Client) -> Result<Option<LogIdentity>, DbError> {
    let sql = "-- public_log::identity()
        SELECT origin, fingerprint FROM log_identity";
    let Some(row) = db.query_opt(sql, &[]).await? else { return Ok(None) };
    let origin = LogOrigin::parse(row.get("origin")).ok_or(DbError::Corrupt("origin of the public log"))?;
    let fingerprint = row.get::<_, &[u8]>("fingerprint").try_into();
    let fingerprint = fingerprint.map_err(|_| DbError::Corrupt("fingerprint of the master secret"))?;
    Ok(Some(LogIdentity { origin, fingerprint }))
}
