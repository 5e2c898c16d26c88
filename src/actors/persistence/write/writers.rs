//! The rows of the writer's connections in `writers`. Every transaction sets its mark in the row of its
//! connection. After a lost connection the mark shows whether the transaction was committed; `domain::writer`
//! decides what to do then.

use tokio_postgres::{Client, Error};

use super::params::Params;
use crate::actors::persistence::connection::WriterConnection;
use crate::domain::id::NodeId;
use crate::domain::writer::Mark;

// A closed row accepts no mark: its connection was given up, and none of its transactions may be committed any
// more.
pub const MARK: &str = "-- writers::mark(mark, writer)
    UPDATE writers SET mark = $1 WHERE id = $2 AND NOT closed";

fn mark_params(mark: Mark) -> Params<'static> {
    Params::with_capacity(2).value(mark.number).value(mark.writer)
}

/// Sets the mark of a step's transaction. False if the row of the connection was closed meanwhile.
pub async fn mark(connection: &WriterConnection, mark: Mark) -> Result<bool, Error> {
    let statement = connection.prepare(MARK).await?;
    Ok(mark_params(mark).execute(&connection.client, &statement).await? == 1)
}

/// Inserts the row of a new connection. Its id is random: after a failover or a restore, the sequence could give the
/// id of a row that the database has forgotten to another connection, and that one's marks would be taken for those of
/// the first. `None`: the node is dead. The lock lets no other node declare it dead meanwhile and miss the new row.
pub async fn insert(db: &Client, node: NodeId) -> Result<Option<i64>, Error> {
    let sql = "-- writers::insert(node)
        INSERT INTO writers (id, node) OVERRIDING SYSTEM VALUE
        SELECT (random() * 9e18)::bigint, id FROM nodes WHERE id = $1 AND NOT dead FOR SHARE RETURNING id";
    Ok(db.query_opt(sql, &[&node.0]).await?.map(|row| row.get(0)))
}

/// Closes the row of a lost connection and returns its last mark. It waits for a transaction that has set its
/// mark and has not ended. A transaction that has not set its mark yet will not be committed. A row that is missing has
/// no mark.
pub async fn close(db: &Client, writer: i64) -> Result<i64, Error> {
    let sql = "-- writers::close(writer)
        UPDATE writers SET closed = true WHERE id = $1 RETURNING mark";
    Ok(db.query_opt(sql, &[&writer]).await?.map_or(Mark::NONE, |row| row.get(0)))
}

/// Runs an empty query.
pub async fn ping(db: &Client) -> Result<(), Error> {
    db.batch_execute("-- writers::ping()").await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_uses_all_its_parameters_in_order() {
        mark_params(Mark { writer: 1, number: 1 }).assert_fit(MARK);
    }
}
