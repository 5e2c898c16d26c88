//! What the pool of connections does with each of them: opens it with the settings of a session, refuses it to a node
//! that is dead, and does not lend one again that is closed.

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use deadpool_postgres::ClientWrapper;

use super::connect::connect_with_task;
use super::durability::WRITING_SESSION;
use super::error::DbError;
use super::node_session::check_alive;
use super::tls::Target;

/// The manager of the pool's connections. Direct writes use them, too.
#[derive(Debug)]
pub struct ConnectionManager(pub Target);

impl Manager for ConnectionManager {
    type Type = ClientWrapper;
    type Error = DbError;

    async fn create(&self) -> Result<ClientWrapper, DbError> {
        let (client, task) = connect_with_task(&self.0).await?;
        client.batch_execute(WRITING_SESSION).await?;
        if let Some(node) = self.0.node {
            check_alive(&client, node).await?;
        }
        Ok(ClientWrapper::new(client, task))
    }

    async fn recycle(&self, client: &mut ClientWrapper, _: &Metrics) -> RecycleResult<DbError> {
        if client.is_closed() { Err(RecycleError::message("it is closed")) } else { Ok(()) }
    }
}
