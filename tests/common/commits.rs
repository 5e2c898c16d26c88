//! Commits that wait, so that a fault can come in the middle of one.

use tokio_postgres::Client;

use super::wait::until;

/// Runs this SQL at each COMMIT after such a change, by a deferred trigger with the name `at_commit`.
pub async fn at_commit(sql: &Client, after: &str, run: &str) {
    sql.batch_execute(&format!(
        "CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN PERFORM {run}; RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER at_commit AFTER {after} DEFERRABLE INITIALLY DEFERRED
         FOR EACH ROW EXECUTE FUNCTION at_commit()"
    ))
    .await
    .unwrap();
}

/// Waits until a session that commits waits for this event; returns its process id. The only statement of a batch is
/// a transaction of its own.
pub async fn committing(sql: &Client, event: &str) -> i32 {
    let find =
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND (query = 'COMMIT' OR query LIKE '-- sales::write(%')
        AND state = 'active' AND wait_event = $1";
    until("something commits", async || !sql.query(find, &[&event]).await.unwrap().is_empty()).await;
    sql.query(find, &[&event]).await.unwrap()[0].get(0)
}
