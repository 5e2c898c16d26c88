//! Sessions: an access token is accepted only while its session exists and is active, also after a restore and beside
//! lookups that are under way; the keys that sign access tokens are rotated.

use std::fs;

use futures_util::future::join3;
use sha2::Digest;

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

// How many sessions and tokens there are, and how long.

const SESSIONS: &str = "SELECT count(*) FROM sessions";

#[actix_web::test]
async fn a_session_has_one_refresh_token_however_often_it_is_refreshed_and_each_used_one_ends_it() {
    // The token that is used again expired long ago.
    let world = World::with(|config| config.auth.refresh_token = Duration::from_secs(10 * 3600)).await;
    let first = session(&world, "ann").await;
    let mut last = first.clone();
    for _ in 0..10 {
        world.advance(SignedDuration::from_hours(8));
        last = refresh(&world, &last).await.expect(200);
        assert_eq!(world.count("SELECT count(*) FROM refresh_tokens").await, 1);
    }
    bearer(&world, &last).get("/me").await.expect(200);
    refresh(&world, &first).await.refused(401, "unauthorized");
    refresh(&world, &last).await.refused(401, "unauthorized");
    bearer(&world, &last).get("/me").await.refused(401, "unauthorized");
    assert_eq!(world.count(SESSIONS).await, 0);
}

#[actix_web::test]
async fn a_session_from_before_the_families_of_tokens_goes_on() {
    let world = World::new().await;
    let first = session(&world, "ann").await;
    let older = json!({"refresh_token": URL_SAFE_NO_PAD.encode([7; 32])});
    let before = async || {
        let sql = world.sql().await;
        sql.batch_execute("UPDATE sessions SET family = NULL").await.unwrap();
        let spent = "INSERT INTO refresh_tokens (hash, session_id, expires_at, spent_at)
            SELECT $1, session_id, expires_at, now() FROM refresh_tokens LIMIT 1";
        sql.execute(spent, &[&Sha256::digest([7; 32]).as_slice()]).await.unwrap();
    };
    before().await;
    let second = refresh(&world, &first).await.expect(200);
    let third = refresh(&world, &second).await.expect(200);
    refresh(&world, &older).await.refused(401, "unauthorized");
    refresh(&world, &third).await.refused(401, "unauthorized");

    let first = log_in(&world, "ann", PASSWORD).await.expect(200);
    before().await;
    let second = refresh(&world, &first).await.expect(200);
    refresh(&world, &first).await.refused(401, "unauthorized");
    refresh(&world, &second).await.refused(401, "unauthorized");
}

#[actix_web::test]
async fn a_user_has_100_sessions_and_the_one_that_was_not_used_for_the_longest_time_ends() {
    let world = World::new().await;
    let old = session(&world, "ann").await;
    world.advance(SignedDuration::from_mins(1));
    let unused = log_in(&world, "ann", PASSWORD).await.expect(200);
    world.advance(SignedDuration::from_mins(1));
    let old = refresh(&world, &old).await.expect(200);
    let other = session(&world, "bob").await;
    world.advance(SignedDuration::from_mins(1));
    let sql = world.sql().await;
    let more = "INSERT INTO sessions (id, user_id, created_at, used_at)
        SELECT gen_random_uuid(), u.id, $1, $1 FROM users u, generate_series(1, 98) WHERE u.username = 'ann'";
    sql.execute(more, &[&world.minutes(0)]).await.unwrap();
    for pair in [&old, &unused, &other] {
        bearer(&world, pair).get("/me").await.expect(200);
    }

    let new = log_in(&world, "ann", PASSWORD).await.expect(200);
    bearer(&world, &unused).get("/me").await.refused(401, "unauthorized");
    refresh(&world, &unused).await.refused(401, "unauthorized");
    for pair in [&old, &new, &other] {
        bearer(&world, pair).get("/me").await.expect(200);
    }
    assert_eq!(world.count(SESSIONS).await, 100 + 1);

    // Log-ins at the same time: the second counts the session of the first.
    sql.batch_execute("BEGIN; SELECT FROM users WHERE username = 'ann' FOR UPDATE").await.unwrap();
    let (one, two, ()) = join3(log_in(&world, "ann", PASSWORD), log_in(&world, "ann", PASSWORD), async {
        until("both wait", async || world.count(SESSIONS_WAITING_FOR_LOCKS).await == 2).await;
        sql.batch_execute("COMMIT").await.unwrap();
    })
    .await;
    assert_eq!(world.count(SESSIONS).await, 100 + 1);
    for pair in [one.expect(200), two.expect(200)] {
        bearer(&world, &pair).get("/me").await.expect(200);
    }
}

#[actix_web::test]
async fn a_session_ends_by_its_age_however_often_it_is_refreshed() {
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let mut world = World::with(|config| {
        config.auth.refresh_token = hours(48);
        config.auth.session_max_age = hours(72);
    })
    .await;
    let mut pair = session(&world, "ann").await;
    for _ in 0..2 {
        world.advance(SignedDuration::from_hours(35));
        pair = refresh(&world, &pair).await.expect(200);
    }
    let young = log_in(&world, "ann", PASSWORD).await.expect(200);
    world.advance(SignedDuration::from_hours(2));
    refresh(&world, &pair).await.refused(401, "unauthorized");
    let young = refresh(&world, &young).await.expect(200);

    // A shorter age counts for the sessions that there are.
    world.config.auth.session_max_age = hours(1);
    world.restart().await;
    refresh(&world, &young).await.refused(401, "unauthorized");
    log_in(&world, "ann", PASSWORD).await.expect(200);
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
