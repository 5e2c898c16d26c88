//! Connections outside the pool.

use tokio::task::JoinHandle;
use tokio_postgres::{Client, Error};

use super::error::describe;
use super::tls::Target;

/// Opens a connection outside the pool. A task serves it until the client is dropped.
pub async fn connect(target: impl Into<Target>) -> Result<Client, Error> {
    let (client, _) = connect_with_task(target).await?;
    Ok(client)
}

/// The same with the task, which ends with the connection.
pub async fn connect_with_task(target: impl Into<Target>) -> Result<(Client, JoinHandle<()>), Error> {
    let Target { config, tls } = target.into();
    let (client, connection) = config.connect(tls).await?;
    let task = tokio::spawn(async move {
        // The user of the client gets the error as well; here it only ends the task.
        if let Err(error) = connection.await {
            tracing::debug!(error = describe(&error), "a database connection ended");
        }
    });
    Ok((client, task))
}
