//! What an insider can do to a draw, played against the real service with the database's superuser. Each attack is
//! refused, or it stops the draw, or it is found: docs/verifiable-draw.md lists them.

mod list;
mod numbers;
mod restored;

use crate::world::*;

/// As the superuser with all triggers off: nothing in the database is in the way.
async fn tamper(world: &World, sql: &str) {
    let sql = format!("BEGIN; SET LOCAL session_replication_role = replica; {sql}; COMMIT");
    world.sql().await.batch_execute(&sql).await.unwrap();
}

/// A trigger that a session of the service fires.
async fn plant(world: &World, trigger: &str, body: &str) {
    let sql = format!(
        "CREATE FUNCTION planted() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN {body} END $$;
         CREATE TRIGGER planted {trigger} EXECUTE FUNCTION planted()"
    );
    world.sql().await.batch_execute(&sql).await.unwrap();
}

async fn uproot(world: &World, table: &str) {
    let sql = format!("DROP TRIGGER planted ON {table}; DROP FUNCTION planted()");
    world.sql().await.batch_execute(&sql).await.unwrap();
}
