//! Connections outside the pool.

use super::error::describe;
use super::tls::Target;

/// Opens a connection outside the pool. A task serves it until the client is dropped.
pub async fn connect(target: impl Into<Target>) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let Target { config, tls } = target.into();
    let (client, connection) = config.connect(tls).await?;
    tokio::spawn(async move {
        // The user of the client gets the error as well; here it only ends the task.
        if let Err(error) = connection.await {
            tracing::debug!(error = describe(&error), "a database connection ended");
        }
    });
    Ok(client)
}
