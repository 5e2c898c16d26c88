//! Reads the nodes: who is active, and all of them for the operator.

use jiff::Timestamp;
use tokio_postgres::Client;

use crate::db::{DbError, SESSION_PREFIX};
use crate::domain::id::NodeId;
use crate::domain::node::ActiveNode;

/// How long a server must have run until a node without a session there is taken for gone: those that live have
/// connected again by then. By the server's own clock alone.
const CONNECTED_WITHIN: f64 = 5.0;

/// The most nodes in a list.
const MAX_NODES: i64 = 200;

/// The active node. `None`: no node has ever been active, or the last one has given up its place.
pub async fn active(db: &Client) -> Result<Option<ActiveNode>, tokio_postgres::Error> {
    let sql = "-- nodes::active(prefix, seconds)
        SELECT n.id, n.beat, n.dead,
               EXISTS (SELECT FROM pg_stat_activity
                       WHERE application_name = $1 || n.id AND datname = current_database())
               OR pg_postmaster_start_time() > now() - make_interval(secs => $2) AS may_be_connected
        FROM active JOIN nodes n ON n.id = active.node";
    let row = db.query_opt(sql, &[&SESSION_PREFIX, &CONNECTED_WITHIN]).await?;
    Ok(row.map(|row| ActiveNode {
        node: NodeId(row.get("id")),
        beat: row.get("beat"),
        dead: row.get("dead"),
        may_be_connected: row.get("may_be_connected"),
    }))
}

/// Whether another node than this one, which lives, has a session at the server.
pub async fn has_standby(db: &Client, node: NodeId) -> Result<bool, tokio_postgres::Error> {
    let sql = "-- nodes::has_standby(prefix, node)
        SELECT EXISTS (SELECT FROM nodes JOIN pg_stat_activity ON application_name = $1 || id
                       WHERE id <> $2 AND NOT dead AND datname = current_database())";
    Ok(db.query_one(sql, &[&SESSION_PREFIX, &node.0]).await?.get(0))
}

/// A node as the database knows it.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct NodeView {
    pub id: NodeId,
    pub host: String,
    pub url: String,
    pub version: String,
    pub started_at: Timestamp,
    /// By the database's clock.
    pub seen_at: Timestamp,
    /// How long ago that was, by the same clock.
    pub seen_seconds_ago: f64,
    pub active: bool,
    pub dead: bool,
}

/// The nodes, the newest first.
pub async fn list(db: &Client) -> Result<Vec<NodeView>, DbError> {
    let sql = "-- nodes::list(limit)
        SELECT n.*, extract(epoch FROM now() - n.seen_at)::float8 AS seconds_ago, active.node IS NOT NULL AS active
        FROM nodes n LEFT JOIN active ON active.node = n.id ORDER BY n.started_at DESC, n.id LIMIT $1";
    let rows = db.query(sql, &[&MAX_NODES]).await?;
    let view = |row: &tokio_postgres::Row| NodeView {
        id: NodeId(row.get("id")),
        host: row.get("host"),
        url: row.get("url"),
        version: row.get("version"),
        started_at: row.get("started_at"),
        seen_at: row.get("seen_at"),
        seen_seconds_ago: row.get("seconds_ago"),
        active: row.get("active"),
        dead: row.get("dead"),
    };
    Ok(rows.iter().map(view).collect())
}
