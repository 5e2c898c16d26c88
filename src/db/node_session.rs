//! The sessions of one node. They have its name, so that another node finds and ends them once it has declared this
//! one dead; and a session that begins after that is refused here. So a process that was stopped and goes on writes
//! nothing. This file does not decide who is dead.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::connect::connect;
use super::durability::WRITING_SESSION;
use super::error::DbError;
use super::tls::Target;
use crate::domain::id::NodeId;

/// Before the node's id in the name of each of its sessions.
pub const SESSION_PREFIX: &str = "lottery-";

/// The advisory lock that versions before the nodes held as long as they ran.
const EARLIER_LOCK: i64 = 0x6c6f_7474_6572_7901;

impl Target {
    /// The same database, in sessions of this node.
    pub fn of_node(&self, node: NodeId) -> Target {
        let mut target = Target { node: Some(node), ..self.clone() };
        target.config.application_name(format!("{SESSION_PREFIX}{node}"));
        target
    }
}

/// Refuses a new session of a dead node. A session whose node dies after this is ended by the other node, because it
/// has its name already.
pub async fn check_alive(client: &Client, node: NodeId) -> Result<(), DbError> {
    let sql = "-- node_session::check_alive(node)
        SELECT FROM nodes WHERE id = $1 AND NOT dead";
    client.query_opt(sql, &[&node.0]).await?.map(drop).ok_or(DbError::DeadNode)
}

/// A node's own connection. It is seldom busy and must not be ended for that, nor with the others. A statement that
/// nobody waits for any more ends, so that sessions that wait for a lock do not pile up.
pub async fn connect_node(target: &Target) -> Result<Client, DbError> {
    let client = connect(target.lasting()).await?;
    client.batch_execute(WRITING_SESSION).await?;
    let settings = "-- node_session::connect_node()
        SELECT set_config('statement_timeout', '10s', false), set_config('idle_session_timeout', '0', false)";
    client.batch_execute(settings).await?;
    Ok(client)
}

/// Refuses a database on which a service of a version works that knows no nodes: it would not notice this one. Waits
/// a while for its end.
pub async fn check_no_earlier_service(target: &Target) -> Result<(), DbError> {
    let client = connect(target).await?;
    let wait = "-- node_session::check_no_earlier_service()
        SELECT set_config('lock_timeout', '10s', false)";
    client.batch_execute(wait).await?;
    let sql = "-- node_session::check_no_earlier_service(key)
        SELECT pg_advisory_lock_shared($1)";
    match client.query_one(sql, &[&EARLIER_LOCK]).await {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => Err(DbError::InUse),
        Err(error) => Err(error.into()),
    }
}
