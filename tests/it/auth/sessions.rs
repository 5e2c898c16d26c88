//! Sessions: an access token is accepted only while its session exists and is active, also after a restore and beside
//! lookups that are under way; the keys that sign access tokens are rotated.

use std::fs;

use futures_util::future::join3;

use super::*;
use crate::common::postgres::{self, SESSIONS_WAITING_FOR_LOCKS};

/// A copy of the world's database, to restore later. The service does not run meanwhile.
async fn back_up(world: &mut World) -> String {
    world.stop().await;
    let name = world.database.get_dbname().unwrap();
    let copy = format!("{name}_backup");
    let sql = postgres_database(world).await;
    // Postgres waits a few seconds for sessions that are ending.
    sql.batch_execute(&format!("CREATE DATABASE {copy} TEMPLATE {name}")).await.unwrap();
    world.start().await;
    copy
}

/// Puts the copy in the place of the database, and starts the service again.
async fn restore(world: &mut World, copy: &str) {
    world.stop().await;
    let name = world.database.get_dbname().unwrap();
    let sql = postgres_database(world).await;
    sql.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
    sql.batch_execute(&format!("ALTER DATABASE {copy} RENAME TO {name}")).await.unwrap();
    world.start().await;
}

/// A connection to another database of the same server.
async fn postgres_database(world: &World) -> tokio_postgres::Client {
    lottery::db::connect(&postgres::database(&world.database, "postgres")).await.unwrap()
}

#[actix_web::test]
async fn after_a_restore_an_old_token_does_not_open_the_wallet_of_a_user_with_the_same_id() {
    let mut world = World::new().await;
    let before = session(&world, "early").await;
    let backup = back_up(&mut world).await;
    let lost = world.player("lost").await;
    restore(&mut world, &backup).await;

    let new = world.rich_player("new", 50_000).await;
    assert_eq!(new.id, lost.id, "the id is given out again");
    let thief = world.reconnect(&lost);
    thief.get("/wallet").await.refused(401, "unauthorized");
    thief.get("/me").await.refused(401, "unauthorized");
    thief.post("/wallet/withdrawals", json!({"amount": 50_000})).await.refused(401, "unauthorized");
    assert_eq!(new.balance().await, 50_000);
    // A session that the backup has goes on.
    bearer(&world, &before).get("/me").await.expect(200);
}

// Lookups and deletion.

#[actix_web::test]
async fn a_log_out_beside_a_lookup_of_the_session_holds_from_the_next_request_on() {
    let world = World::new().await;
    register(&world, "ann").await;
    for _ in 0..3 {
        // The session is not cached yet: its first request looks it up.
        let pair = log_in(&world, "ann", PASSWORD).await.expect(200);
        let ann = bearer(&world, &pair);
        let lock = world.sql().await;
        lock.batch_execute("BEGIN; LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let release = async {
            until("both wait", async || world.count(SESSIONS_WAITING_FOR_LOCKS).await == 2).await;
            lock.batch_execute("COMMIT").await.unwrap();
        };
        let (beside, out, ()) = join3(ann.get("/me"), log_out(&world, &pair), release).await;
        assert!(beside.status == 200 || beside.is(401, "unauthorized"), "{}", beside.text);
        assert_eq!(out.status, 204);
        ann.get("/me").await.refused(401, "unauthorized");
    }
}

#[actix_web::test]
async fn a_session_is_not_deleted_while_its_access_token_is_valid() {
    // As long as the refresh token: the configuration allows no more.
    let day = Duration::from_secs(24 * 3600);
    let mut world = World::with(|config| {
        config.auth.access_token = day;
        config.auth.refresh_token = day;
    })
    .await;
    session(&world, "old").await;
    world.advance(SignedDuration::from_hours(25));
    let young = session(&world, "young").await;
    world.advance(SignedDuration::from_hours(24) - SignedDuration::from_secs(1));
    until("the old session is deleted", async || world.count("SELECT count(*) FROM sessions").await == 1).await;
    bearer(&world, &young).get("/me").await.expect(200);
    world.restart().await;
    bearer(&world, &young).get("/me").await.expect(200);
}

// Keys.

/// Replaces the key that signs, keeps the one before, and then drops that.
async fn rotate(mut world: World, replace: impl FnOnce(&mut Config), drop_previous: impl FnOnce(&mut Config)) {
    let before = session(&world, "ann").await;
    replace(&mut world.config);
    world.restart().await;
    let (old, new) = (bearer(&world, &before), bearer(&world, &refresh(&world, &before).await.expect(200)));
    old.get("/me").await.expect(200);
    new.get("/me").await.expect(200);
    assert_ne!(part_of(&old, 0)["kid"], part_of(&new, 0)["kid"]);
    assert_eq!(part_of(&old, 1)["sid"], part_of(&new, 1)["sid"]);
    drop_previous(&mut world.config);
    world.restart().await;
    let (old, new) = (world.reconnect(&old), world.reconnect(&new));
    old.get("/me").await.refused(401, "unauthorized");
    new.get("/me").await.expect(200);
}

#[actix_web::test]
async fn a_configured_key_is_replaced_and_nobody_is_logged_out() {
    let replace = |config: &mut Config| {
        let next = "the next secret of the tests, long enough to sign with".into();
        config.auth.jwt_secret_previous = config.auth.jwt_secret.replace(next);
    };
    rotate(World::new().await, replace, |config| config.auth.jwt_secret_previous = None).await;
}

#[actix_web::test]
async fn the_key_in_the_data_directory_is_replaced_by_renaming_its_file() {
    let replace = |config: &mut Config| {
        fs::rename(config.data_dir.join("jwt_secret"), config.data_dir.join("jwt_secret_previous")).unwrap();
    };
    let drop_previous =
        |config: &mut Config| fs::remove_file(config.data_dir.join("jwt_secret_previous")).unwrap();
    rotate(World::with(|config| config.auth.jwt_secret = None).await, replace, drop_previous).await;
}
