//! The settings of Postgres without which an answered purchase could be lost. This file does not decide whether a
//! server with other settings is refused.

use super::connect::connect;
use super::error::DbError;
use super::tls::Target;

/// The settings of each session that writes, whatever the server, the database or the role is set to:
/// - Each COMMIT waits for the disk, and for the standby if there is a synchronous one. `remote_apply` waits for more.
/// - The server says it when a COMMIT did not wait for the standby (see `connect`).
/// - A service that is stopped in the middle of a transaction does not keep its locks. Between two statements of a
///   transaction the service only computes, for milliseconds.
pub const WRITING_SESSION: &str = "-- durability::writing_session()
    SELECT set_config('client_min_messages', 'warning', false),
        set_config('idle_in_transaction_session_timeout', '10s', false),
        CASE WHEN current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')
             THEN set_config('synchronous_commit', 'on', false) END";

/// The settings of the server that are off, although a crash of its machine can then lose or damage what was
/// committed.
pub async fn unsafe_settings(target: impl Into<Target>) -> Result<Vec<String>, DbError> {
    let client = connect(target).await?;
    let sql = "-- durability::unsafe_settings()
        SELECT name FROM pg_settings WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off' ORDER BY name";
    Ok(client.query(sql, &[]).await?.iter().map(|row| row.get("name")).collect())
}
