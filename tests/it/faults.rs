//! Faults of the database: connections, commits, locks, the server itself. What a client was answered stays true,
//! unknown outcomes are resolved, and the service recovers by itself.

mod cache;
mod durability;
mod failover;
mod hang_up;
mod unavailable;
mod writer;

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use lottery::db::{connect, migrate, private_server_options};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use private_postgres::PostgresServer;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::common::commits::{at_commit, committing};
use crate::common::postgres::{END_OTHER_SESSIONS, SESSIONS_WAITING_FOR_LOCKS};
use crate::common::receipts::DrawLog;
use crate::world::*;

fn short_deadline(config: &mut lottery::config::Config) {
    config.persistence.deadline = Duration::from_millis(300);
}

/// Orders one ticket in the background, paid from the wallet.
fn order(who: &User, draw: i64, line: Value, key: &str) -> JoinHandle<Answer> {
    let (who, key) = (who.clone(), key.to_owned());
    let body = json!({"tickets": [line], "payment": "wallet"});
    actix_web::rt::spawn(async move { who.post_keyed(&format!("/draws/{draw}/tickets"), &key, body).await })
}

/// An order whose transaction has begun and waits for a locked row.
async fn order_that_waits(world: &World, who: &User, draw: i64, line: Value, key: &str) -> JoinHandle<Answer> {
    let waiting = order(who, draw, line, key);
    world.until_writer_waits().await;
    waiting
}

/// Orders with the same key until it succeeds; the only other answers may be 503, and that an earlier try is still
/// under way.
async fn order_until_done(who: &User, draw: i64, line: Value, key: &str) -> Value {
    loop {
        let answer = order(who, draw, line.clone(), key).await.unwrap();
        let passes = [(503, "overloaded"), (503, "outcome_unknown"), (409, "idempotency_in_progress")];
        if !passes.iter().any(|(status, code)| answer.is(*status, code)) {
            return answer.expect(201);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Paid tickets of a draw, in the database.
async fn paid(world: &World, draw: i64) -> i64 {
    world.count(&format!("SELECT count(*) FROM tickets WHERE draw_id = {draw} AND status = 'paid'")).await
}

#[actix_web::test]
async fn connections_killed_under_load_lose_nothing_and_charge_nobody_twice() {
    let world = World::new().await;
    let admin = world.admin().await;
    let draw = admin.open_draw(&world, 60).await;
    let buyers = join_all((0..6).map(async |n| world.rich_player(&format!("buyer{n}"), 10_000_000).await)).await;
    let orders = 40;
    let buy = async |buyer: &User| {
        let mut receipts = Vec::new();
        for n in 0..orders {
            let line = if n % 4 == 0 { from_pool() } else { quick_pick() };
            let bought = order_until_done(buyer, draw, line, &format!("order-{n}")).await;
            // A replay has none.
            receipts.extend(bought.get("receipt").cloned());
        }
        receipts
    };
    let buying = join_all(buyers.iter().map(buy));
    let killing = async {
        let sql = world.sql().await;
        for _ in 0..30 {
            sql.batch_execute(END_OTHER_SESSIONS).await.unwrap();
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    };
    let (receipts, ()) = tokio::join!(buying, killing);
    assert_eq!(paid(&world, draw).await, 6 * orders);
    let log = DrawLog::read(&world.sql().await, draw).await;
    let forks: Vec<_> = receipts.iter().flatten().filter_map(|receipt| log.check(receipt).err()).collect();
    assert!(forks.is_empty(), "{forks:#?}");
    for buyer in &buyers {
        assert_eq!(buyer.balance().await, 10_000_000 - orders * PRICE);
        let first = order_until_done(buyer, draw, from_pool(), "order-0").await;
        assert_eq!(first["tickets"][0]["origin"], "pool", "the first answer again");
    }
    assert_eq!(admin.conduct(draw).await["tickets_sold"], 6 * orders);
    world.check_invariants().await;
}

#[actix_web::test]
async fn after_a_connection_is_killed_at_commit_its_order_is_written_once() {
    let world = World::new().await;
    let admin = world.admin().await;
    let draw = admin.open_draw(&world, 5).await;
    let ann = world.rich_player("ann", 1_000_000).await;
    let sql = world.sql().await;
    at_commit(&sql, "INSERT ON tickets", "pg_advisory_xact_lock(1)").await;
    for n in 0..5 {
        sql.batch_execute("SELECT pg_advisory_lock(1)").await.unwrap();
        let buying = order(&ann, draw, from_pool(), &format!("order-{n}"));
        let pid = committing(&sql, "advisory").await;
        sql.execute("SELECT pg_terminate_backend($1)", &[&pid]).await.unwrap();
        sql.batch_execute("SELECT pg_advisory_unlock(1)").await.unwrap();
        let bought = buying.await.unwrap().expect(201);
        assert_eq!(bought["tickets"][0]["number"], n + 1);
        // The receipt of an unknown commit that has happened is of the committed log.
        let proved = DrawLog::read(&sql, draw).await.check(&bought["receipt"]).unwrap();
        assert_eq!((proved.index, proved.head.size), (n as u64, n as u64 + 1));
    }
    assert_eq!((paid(&world, draw).await, ann.balance().await), (5, 1_000_000 - 5 * PRICE));
    world.drop_trigger("at_commit").await;
    world.check_invariants().await;
}

/// With this setting of a server, commits reach the disk as late as possible.
const LATE_WAL: (&str, &str) = ("wal_writer_delay", "10s");

/// A server for this test alone, which may crash, with this setting.
async fn own_server(setting: &str, value: &str) -> (tempfile::TempDir, PostgresServer) {
    let directory = tempfile::Builder::new().prefix("lottery-faults-").tempdir().unwrap();
    let mut options = private_server_options(directory.path());
    options.settings.push((setting.to_owned(), value.to_owned()));
    let server = PostgresServer::start(&options).await.unwrap();
    migrate(server.connection()).await.unwrap();
    (directory, server)
}

async fn data_directory(sql: &Client) -> PathBuf {
    sql.query_one("SHOW data_directory", &[]).await.unwrap().get::<_, String>(0).into()
}

/// Every process of the server, the postmaster first.
async fn processes(sql: &Client) -> Vec<Pid> {
    let file = std::fs::read_to_string(data_directory(sql).await.join("postmaster.pid")).unwrap();
    let postmaster: i32 = file.lines().next().unwrap().parse().unwrap();
    let backends = sql.query("SELECT pid FROM pg_stat_activity", &[]).await.unwrap();
    let backends = backends.iter().map(|row| row.get::<_, i32>(0));
    std::iter::once(postmaster).chain(backends).map(Pid::from_raw).collect()
}

/// A server whose processes are stopped until this value is dropped.
struct Frozen(Vec<Pid>);

impl Frozen {
    async fn of(sql: &Client) -> Frozen {
        let frozen = Frozen(processes(sql).await);
        frozen.tell(Signal::SIGSTOP);
        frozen
    }

    fn tell(&self, signal: Signal) {
        for pid in &self.0 {
            // It may have ended.
            let _ = kill(*pid, signal);
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.tell(Signal::SIGCONT);
    }
}

async fn kill_9(sql: &Client) {
    for pid in processes(sql).await {
        // It may have ended already.
        let _ = kill(pid, Signal::SIGKILL);
    }
}

#[actix_web::test]
async fn a_commit_undone_by_a_crash_is_not_confused_with_another_transaction() {
    let (_directory, server) = own_server(LATE_WAL.0, LATE_WAL.1).await;
    let mut world = World::on(server.connection(), |_| {}).await;
    let admin = world.admin().await;
    let draw = admin.open_draw(&world, 5).await;
    let ann = world.rich_player("ann", 1_000_000).await;
    let sql = world.sql().await;
    at_commit(&sql, "INSERT ON tickets", "pg_advisory_xact_lock(1)").await;
    // A durable commit: what was written before it is durable, too.
    ann.buy(draw, &[1, 2, 3, 4, 5]).await;

    // The crash ends the lock as well, so that the order goes on afterwards.
    sql.batch_execute("SELECT pg_advisory_lock(1)").await.unwrap();
    let buying = order(&ann, draw, quick_pick(), "order");
    committing(&sql, "advisory").await;
    kill_9(&sql).await;
    // The next transaction gets the id of the one that the crash undid.
    until("the server is back", async || connect(&world.database).await.is_ok()).await;
    world.sql().await.batch_execute("CREATE TABLE another ()").await.unwrap();

    // A server that is slow to come back may have let the order wait for longer than its deadline.
    buying.await.unwrap();
    let bought = order_until_done(&ann, draw, quick_pick(), "order").await;
    let ticket = bought["tickets"][0]["id"].as_str().unwrap();
    assert_eq!(ann.get(&format!("/tickets/{ticket}")).await.expect(200)["status"], "paid");
    assert_eq!((paid(&world, draw).await, ann.balance().await), (2, 1_000_000 - 2 * PRICE));
    admin.conduct(draw).await;
    world.drop_trigger("at_commit").await;
    world.check_invariants().await;
    world.stop().await;
    server.stop().await.unwrap();
}

/// Lets each COMMIT of the server wait for this standby, which never connects: it is durable here, and then waits.
async fn wait_for_standby(sql: &Client, database: &tokio_postgres::Config) {
    set_standbys(sql, "nobody").await;
    // The server's processes learn it one after the other.
    until("commits wait", async || {
        let probe = connect(database).await.unwrap();
        let pid: i32 = probe.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
        let commit = "SELECT pg_logical_emit_message(true, 'probe', '')";
        let commit = actix_web::rt::spawn(async move { probe.batch_execute(commit).await });
        let end =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'SyncRep'";
        let waits = async || !sql.query(end, &[&pid]).await.unwrap().is_empty();
        until("it waits or has ended", async || commit.is_finished() || waits().await).await;
        commit.await.unwrap().is_err()
    })
    .await;
}

/// Sets the standbys that each COMMIT of the server waits for.
async fn set_standbys(sql: &Client, names: &str) {
    sql.batch_execute(&format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'")).await.unwrap();
    sql.batch_execute("SELECT pg_reload_conf()").await.unwrap();
}

#[actix_web::test]
async fn a_commit_whose_answer_was_lost_is_not_repeated() {
    let (_directory, server) = own_server(LATE_WAL.0, LATE_WAL.1).await;
    let mut world = World::on(server.connection(), |_| {}).await;
    let admin = world.admin().await;
    let draw = admin.open_draw(&world, 5).await;
    let ann = world.rich_player("ann", 1_000_000).await;
    let sql = world.sql().await;
    sql.batch_execute("SET synchronous_commit = local").await.unwrap();
    wait_for_standby(&sql, &world.database).await;
    let buying = order(&ann, draw, from_pool(), "order");
    let pid = committing(&sql, "SyncRep").await;
    sql.execute("SELECT pg_terminate_backend($1)", &[&pid]).await.unwrap();
    set_standbys(&sql, "").await;
    let bought = buying.await.unwrap().expect(201);
    assert_eq!(bought["tickets"][0]["number"], 1);
    assert_eq!((paid(&world, draw).await, ann.balance().await), (1, 1_000_000 - PRICE));
    assert_eq!(admin.conduct(draw).await["tickets_sold"], 1);
    world.check_invariants().await;
    world.stop().await;
    server.stop().await.unwrap();
}

#[actix_web::test]
async fn a_bad_record_fails_alone_and_the_rest_of_its_batch_succeeds() {
    let world = World::new().await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 1_000_000).await;
    let draw = admin.open_draw(&world, 4).await;
    let pool = ann.all(&format!("/draws/{draw}/pool")).await;
    // The last ticket, which an order of "any" takes first, has a holder already: the order breaks a constraint.
    let bad = pool[3]["id"].as_str().unwrap();
    let sql = world.sql().await;
    sql.batch_execute(&format!(
        "INSERT INTO tickets SELECT 999, gen_random_uuid(), gen_random_uuid(), 0, NULL, pick, 'pool', id, 'reserved'
         FROM pool_tickets WHERE id = '{bad}'"
    ))
    .await
    .unwrap();

    let lock = world.lock_draw(draw).await;
    let mut orders = vec![order_that_waits(&world, &ann, draw, quick_pick(), "first").await];
    for (n, line) in
        [quick_pick(), from_pool(), json!({"pool_ticket_id": pool[0]["id"]}), quick_pick()].into_iter().enumerate()
    {
        orders.push(order(&ann, draw, line, &format!("order-{n}")));
    }
    until("all are on their way", async || orders_in_flight(&world) == 5).await;
    lock.release().await;
    let statuses: Vec<u16> = join_all(orders).await.into_iter().map(|it| it.unwrap().status).collect();
    assert_eq!(statuses, [201, 201, 500, 201, 201]);
    assert_eq!((paid(&world, draw).await, ann.balance().await), (4, 1_000_000 - 4 * PRICE));

    // The draw has reloaded from the database meanwhile, and does not offer the ticket again.
    for n in 0..2 {
        order_until_done(&ann, draw, from_pool(), &format!("after-{n}")).await;
    }
    ann.order(draw, json!([{"from_pool": true}]), "wallet").await.refused(409, "pool_empty");
    // A trigger refuses it otherwise: the ticket belongs to no order that ended unpaid.
    let clean = "SET session_replication_role = replica; DELETE FROM tickets WHERE draw_id = 0";
    sql.batch_execute(clean).await.unwrap();
    world.check_invariants().await;
}

/// The number of orders under way.
fn orders_in_flight(world: &World) -> usize {
    world.app().state.draws.orders_in_flight()
}

#[actix_web::test]
async fn a_draw_with_a_stale_epoch_refuses_orders_and_reloads() {
    let world = World::new().await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 1_000_000).await;
    let draw = admin.open_draw(&world, 3).await;
    let reserved = ann.reserve(draw).await;
    let sql = world.sql().await;
    let bump = format!("UPDATE draw_sales SET epoch = epoch + 1 WHERE draw_id = {draw}");
    sql.batch_execute(&bump).await.unwrap();
    let refused = ann.order(draw, json!([{"from_pool": true}]), "wallet").await;
    assert!(refused.headers.contains_key("retry-after"));
    refused.refused(503, "overloaded");
    assert_eq!((paid(&world, draw).await, ann.balance().await), (0, 1_000_000));

    order_until_done(&ann, draw, from_pool(), "again").await;
    let payment = reserved["payment"]["id"].as_str().unwrap();
    assert_eq!(ann.pay(payment, wallet()).await.expect(200)["status"], "paid");
    sql.batch_execute(&bump).await.unwrap();
    admin.step(draw, "close").await.refused(503, "overloaded");
    until("it is closed all the same", async || admin.step(draw, "close").await.body["status"] == "closed").await;
    assert_eq!(admin.conduct(draw).await["tickets_sold"], 2);
    world.check_invariants().await;
}

#[actix_web::test]
async fn an_admin_who_waits_for_a_step_of_the_clock_does_not_block_it() {
    let world = World::new().await;
    let admin = world.admin().await;
    let body = json!({
        "lottery": "5of36", "sales_open_at": world.minutes(10), "sales_close_at": world.minutes(60),
        "draw_at": world.minutes(120),
    });
    let draw = admin.post("/admin/draws", body).await.expect(201)["id"].as_i64().unwrap();
    // Its sale is due while it cannot be opened.
    let lock = world.lock_draw(draw).await;
    world.advance(jiff::SignedDuration::from_mins(30));
    world.until_writer_waits().await;
    let asks = admin.clone();
    let closing = actix_web::rt::spawn(async move { asks.step(draw, "close").await });
    for _ in 0..3 {
        admin.order(draw, json!([{"quick_pick": true}]), "wallet").await.refused(409, "draw_not_open");
    }
    lock.release().await;
    // The clock opens it first, and then it can be closed.
    assert_eq!(closing.await.unwrap().expect(200)["status"], "closed");
    world.check_invariants().await;
}

#[actix_web::test]
async fn past_its_deadline_a_queued_order_is_refused_and_one_under_way_is_unknown() {
    let world = World::with(short_deadline).await;
    let admin = world.admin().await;
    let (ann, bob) = (world.rich_player("ann", 1_000_000).await, world.rich_player("bob", 1_000_000).await);
    let draw = admin.open_draw(&world, 2).await;
    let pool = ann.all(&format!("/draws/{draw}/pool")).await;
    let line = json!({"pool_ticket_id": pool[0]["id"]});

    let lock = world.lock_draw(draw).await;
    let begun = order_that_waits(&world, &ann, draw, line.clone(), "begun").await;
    let queued = order(&bob, draw, json!({"pool_ticket_id": pool[1]["id"]}), "queued").await.unwrap();
    assert!(queued.headers.contains_key("retry-after"));
    queued.refused(503, "overloaded");
    begun.await.unwrap().refused(503, "outcome_unknown");
    // The ticket stays reserved for her until the outcome is known; the other is free again.
    bob.order(draw, json!([line]), "later").await.refused(409, "ticket_unavailable");
    // Her retry is not answered `ticket_unavailable`, which would mean that nothing was taken.
    order(&ann, draw, line.clone(), "begun").await.unwrap().refused(409, "idempotency_in_progress");
    assert_eq!(paid(&world, draw).await, 0);
    lock.release().await;

    let replayed = order_until_done(&ann, draw, line, "begun").await;
    assert_eq!(replayed["tickets"][0]["pool_ticket_id"], pool[0]["id"]);
    assert_eq!(paid(&world, draw).await, 1);
    assert_eq!((ann.balance().await, bob.balance().await), (1_000_000 - PRICE, 1_000_000));
    order_until_done(&bob, draw, json!({"pool_ticket_id": pool[1]["id"]}), "queued").await;
    world.check_invariants().await;
}

#[actix_web::test]
async fn orders_beyond_the_in_flight_limit_are_refused_at_once() {
    let world = World::with(|config| config.limits.orders_in_flight = 2).await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 1_000_000).await;
    let (draw, other) = (admin.open_draw(&world, 0).await, admin.open_draw(&world, 0).await);
    let lock = world.lock_draw(draw).await;
    let first = order_that_waits(&world, &ann, draw, quick_pick(), "first").await;
    let second = order(&ann, draw, quick_pick(), "second");
    // Each draw has its own limit.
    until("both have their places", async || orders_in_flight(&world) == 2).await;
    let third = order(&ann, draw, quick_pick(), "third").await.unwrap();
    assert!(third.headers.contains_key("retry-after"));
    third.refused(503, "overloaded");
    assert!(!first.is_finished() && !second.is_finished(), "it waited for nobody");
    let elsewhere = order(&ann, other, quick_pick(), "elsewhere");
    until("another draw has places", async || orders_in_flight(&world) == 3).await;
    lock.release().await;
    first.await.unwrap().expect(201);
    second.await.unwrap().expect(201);
    elsewhere.await.unwrap().expect(201);
    order_until_done(&ann, draw, quick_pick(), "third").await;
    assert_eq!((paid(&world, draw).await, orders_in_flight(&world)), (3, 0));
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_client_that_hangs_up_is_charged_once_and_finds_its_ticket() {
    let world = World::new().await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 1_000_000).await;
    let draw = admin.open_draw(&world, 1).await;
    let lock = world.lock_draw(draw).await;
    let gone = order_that_waits(&world, &ann, draw, from_pool(), "gone").await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    lock.release().await;
    until("it came true", async || paid(&world, draw).await == 1).await;
    let found = order_until_done(&ann, draw, from_pool(), "gone").await;
    assert_eq!(ann.all("/tickets").await[0]["id"], found["tickets"][0]["id"]);
    assert_eq!((paid(&world, draw).await, ann.balance().await), (1, 1_000_000 - PRICE));
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_pool_whose_creation_was_interrupted_is_created_by_a_retry() {
    let world = World::new().await;
    let admin = world.admin().await;
    let draw = admin.schedule(&world).await;
    let sql = world.sql().await;
    sql.batch_execute("BEGIN; LOCK TABLE pool_tickets IN SHARE MODE").await.unwrap();
    let making = actix_web::rt::spawn({
        let admin = admin.clone();
        async move { admin.pool(draw, 50).await }
    });
    world.until_writer_waits().await;
    sql.batch_execute(END_OTHER_SESSIONS).await.unwrap();
    making.await.unwrap().refused(503, "overloaded");
    sql.batch_execute("ROLLBACK").await.unwrap();
    // The first retry may still get an idle connection that was killed.
    let made = loop {
        let answer = admin.pool(draw, 50).await;
        if !answer.is(503, "overloaded") {
            break answer.expect(201);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(made, json!({"created": 50, "tickets_available": 50}));
    assert_eq!(world.count("SELECT count(*) FROM pool_tickets").await, 50);
}
