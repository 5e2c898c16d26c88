//! The settings of Postgres without which an answered purchase could be lost. This file does not decide whether a
//! server with other settings is refused.

use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Hook, HookError};

use super::connect::connect;
use super::error::DbError;
use super::tls::Target;

/// Lets each COMMIT of a session wait for the disk, whatever the server, the database or the role is set to.
const SYNCHRONOUS: &str = "-- durability::synchronous()
    SELECT set_config('synchronous_commit', 'on', false)";

/// Applies the setting to each new connection of a pool, within this time. Direct writes use the pool, too.
pub fn synchronous_commits(wait: Duration) -> Hook {
    Hook::async_fn(move |client: &mut ClientWrapper, _| {
        Box::pin(async move {
            match tokio::time::timeout(wait, client.batch_execute(SYNCHRONOUS)).await {
                Ok(set) => set.map_err(HookError::Backend),
                Err(_) => Err(HookError::message("no answer to the settings of a new connection")),
            }
        })
    })
}

/// The settings of the server that are off, although a crash of its machine can then lose or damage what was
/// committed.
pub async fn unsafe_settings(target: impl Into<Target>) -> Result<Vec<String>, DbError> {
    let client = connect(target).await?;
    let sql = "-- durability::unsafe_settings()
        SELECT name FROM pg_settings WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off' ORDER BY name";
    Ok(client.query(sql, &[]).await?.iter().map(|row| row.get("name")).collect())
}
