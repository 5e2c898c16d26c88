//! What an insider can do to a draw, played against the real service with the database's superuser. Each attack is
//! refused, or it stops the draw, or it is found: docs/verifiable-draw.md lists them.

mod list;
mod numbers;
mod restored;
mod rules;
mod verified;

use verifiable_draw::Hash;
use verifiable_draw::event::Event;
use verifiable_draw::merkle::edge::Edge;
use verifiable_draw::merkle::hash_leaf;

use crate::logs::entry_mac;
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

/// Writes another root wherever the database has the sealed one. The seal is the last entry of the public log, and has the
/// MAC that only who knows the master secret can make.
async fn reseal(world: &World, root: Hash) {
    let sql = world.sql().await;
    let rows = sql.query("SELECT entry FROM log_entries ORDER BY index", &[]).await.unwrap();
    let mut entries: Vec<Vec<u8>> = rows.iter().map(|row| row.get(0)).collect();
    let sealed = entries.last_mut().unwrap();
    let Event::DrawSealed { draw: of, at, orders, tickets, by_hand, .. } = Event::parse(sealed).unwrap() else {
        panic!("the seal is the last entry");
    };
    *sealed = Event::DrawSealed { draw: of, at, orders, tickets, root, by_hand }.to_bytes().unwrap();
    let leaves = entries.iter().map(|entry| hash_leaf(entry)).collect();
    let edge = Edge::new().append_batch(leaves).unwrap().into_edge().to_bytes();
    sql.batch_execute("BEGIN; SET LOCAL session_replication_role = replica").await.unwrap();
    let last = entries.len() as i64 - 1;
    let mac = entry_mac(last as u64, Some(of), &entries[last as usize]);
    let update = "UPDATE log_entries SET entry = $1, mac = $2 WHERE index = $3";
    sql.execute(update, &[&entries[last as usize], &mac.as_slice(), &last]).await.unwrap();
    sql.execute("UPDATE log_edge SET edge = $1", &[&edge]).await.unwrap();
    sql.execute("UPDATE draw_seals SET root = $1", &[&root.as_slice()]).await.unwrap();
    sql.batch_execute("COMMIT").await.unwrap();
}
