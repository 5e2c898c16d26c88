//! The rows of the nodes: a node's beat, its death, and who is active. Each statement is a transaction of its own.
//! This file does not decide who is dead.

use tokio_postgres::{Client, Error};

use crate::db::SESSION_PREFIX;
use crate::domain::id::NodeId;

/// Inserts a node; returns its new id.
pub async fn insert(db: &Client, host: &str, url: &str, version: &str) -> Result<NodeId, Error> {
    // As many digits as a number in JSON keeps.
    let sql = "-- nodes::insert(host, url, version)
        INSERT INTO nodes (id, host, url, version) VALUES ((random() * 9e15)::bigint, $1, $2, $3) RETURNING id";
    Ok(NodeId(db.query_one(sql, &[&host, &url, &version]).await?.get(0)))
}

/// Shows that the node works. False if it is dead.
pub async fn beat(db: &Client, node: NodeId) -> Result<bool, Error> {
    let sql = "-- nodes::beat(node)
        UPDATE nodes SET beat = beat + 1, seen_at = now() WHERE id = $1 AND NOT dead";
    Ok(db.execute(sql, &[&node.0]).await? == 1)
}

/// Marks a node as dead, if it still has this beat. From the commit on it writes nothing: its writer's
/// rows can be closed, and it makes no new one.
pub async fn declare_dead(db: &Client, node: NodeId, beat: i64) -> Result<bool, Error> {
    let sql = "-- nodes::declare_dead(node, beat)
        UPDATE nodes SET dead = true WHERE id = $1 AND beat = $2 AND NOT dead";
    Ok(db.execute(sql, &[&node.0, &beat]).await? == 1)
}

/// Tells the sessions of all dead nodes to end, so that they release their locks and commit nothing more; returns how
/// many there are. A session that begins later finds its node dead.
pub async fn end_sessions_of_the_dead(db: &Client) -> Result<i64, Error> {
    let sql = "-- nodes::end_sessions_of_the_dead(prefix)
        SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity JOIN nodes ON application_name = $1 || id
        WHERE dead AND datname = current_database()";
    Ok(db.query_one(sql, &[&SESSION_PREFIX]).await?.get(0))
}

/// Closes the writer's rows of all dead nodes. It waits for a transaction that has set its mark and has not ended.
pub async fn close_writers_of_the_dead(db: &Client) -> Result<u64, Error> {
    let sql = "-- nodes::close_writers_of_the_dead()
        UPDATE writers SET closed = true WHERE NOT closed AND node IN (SELECT id FROM nodes WHERE dead)";
    db.execute(sql, &[]).await
}

/// Makes the node the active one in the place of this one. False if another node came first.
pub async fn claim(db: &Client, node: NodeId, before: Option<NodeId>) -> Result<bool, Error> {
    let sql = "-- nodes::claim(node, before)
        UPDATE active SET node = $1
        WHERE node IS NOT DISTINCT FROM $2 AND EXISTS (SELECT FROM nodes WHERE id = $1 AND NOT dead)";
    Ok(db.execute(sql, &[&node.0, &before.map(|node| node.0)]).await? == 1)
}

/// Ends a node that stops by itself, and leaves its place empty if it is the active one. Both are one transaction: it is
/// as if another node had declared it dead. Who takes the place closes the writer's rows.
pub async fn end(db: &Client, node: NodeId) -> Result<(), Error> {
    let sql = "-- nodes::end(node)
        WITH ended AS (UPDATE nodes SET dead = true WHERE id = $1)
        UPDATE active SET node = NULL WHERE node = $1";
    db.execute(sql, &[&node.0]).await.map(drop)
}

/// Deletes up to `most` nodes, with their writer's rows, whose beat has not changed for this many hours by the
/// database's clock. The active node stays. A standby that was deleted ends when it finds that out.
pub async fn drop_old(db: &Client, hours: i32, most: i64) -> Result<u64, Error> {
    let sql = "-- nodes::drop_old(hours, most)
        WITH old AS (
            SELECT id FROM nodes WHERE seen_at < now() - make_interval(hours => $1)
                AND id NOT IN (SELECT node FROM active WHERE node IS NOT NULL) ORDER BY seen_at LIMIT $2
        ), writers AS (
            DELETE FROM writers WHERE node IN (SELECT id FROM old)
        )
        DELETE FROM nodes WHERE id IN (SELECT id FROM old)";
    db.execute(sql, &[&hours, &most]).await
}
