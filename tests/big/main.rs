//! Draws with very many tickets, on a real Postgres and a service process of its own: how long settling and
//! cancelling take, how much memory they need, how long purchases of another draw take meanwhile; and that a kill in
//! the middle does not change the outcome. Small by default. With ten million tickets:
//!
//! ```sh
//! BIG_TICKETS=10000000 BIG_DIR=/somewhere/with/25/GB cargo test --profile dist --test big -- --nocapture
//! ```
//!
//! - `BIG_TICKETS`: how many tickets are sold, each in a payment of its own, which costs most.
//! - `BIG_DIR`: a directory that keeps the filled database for the next run. Without it, a temporary one.
//! - `BIG_PARTS`: adds at most this many parts of half a million tickets and fails until all are made, so that the
//!   database can be filled in several runs.
//! - `BIG_SALE`: purchases of another draw per second meanwhile; 0 for none.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::disallowed_methods, reason = "its times are real ones")]

#[path = "../common/mod.rs"]
#[allow(dead_code, reason = "the other test binaries use the rest")]
mod common;

mod fill;
mod rules;
mod service;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use lottery::db::{connect, migrate};
use serde_json::json;
use tokio::sync::Mutex;
use tokio_postgres::{Client, Config};

use common::client::User;
use common::postgres::{self, SESSIONS_WAITING_FOR_LOCKS};
use common::process::{Program, Service};
use common::wait::until;
use fill::DRAW;
use service::{admin, logged, post_in_background, until_draw_is};

/// Without environment variables.
const FEW_TICKETS: i64 = 5_000;
const SOME_SALE: i64 = 50;
/// The memory that the service may use, in MiB, however many tickets there are.
const MEMORY: u64 = 512;
const TEMPLATE: &str = "filled";

/// One big draw at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

fn from_environment(name: &str, otherwise: i64) -> i64 {
    std::env::var(name).map_or(otherwise, |value| value.parse().unwrap())
}

/// The server, which keeps its databases in `BIG_DIR`.
async fn server() -> Config {
    postgres::shared_server(std::env::var_os("BIG_DIR").map(PathBuf::from)).await
}

async fn named(name: &str) -> Config {
    postgres::database(&server().await, name)
}

/// Fills the template database; returns how many tickets it has. Panics while parts of it are still to be made.
async fn filled() -> i64 {
    let tickets = from_environment("BIG_TICKETS", FEW_TICKETS);
    let parts = from_environment("BIG_PARTS", i64::MAX);
    let root = connect(server().await).await.unwrap();
    if root.query("SELECT FROM pg_database WHERE datname = $1", &[&TEMPLATE]).await.unwrap().is_empty() {
        root.batch_execute(&format!("CREATE DATABASE {TEMPLATE}")).await.unwrap();
    }
    migrate(named(TEMPLATE).await).await.unwrap();
    let db = connect(named(TEMPLATE).await).await.unwrap();
    let before = fill::sold(&db).await;
    if before < tickets {
        let started = Instant::now();
        let users = (tickets / 100).clamp(200, 100_000);
        let sold = fill::fill(&db, tickets, users, usize::try_from(parts).unwrap()).await;
        println!("{} tickets were made in {:.1?}", sold - before, started.elapsed());
        assert!(sold == tickets, "{sold} of {tickets} tickets are made: run it again for the next part");
        fill::finish(&db).await;
        // Otherwise the first test would be slowed down by the checkpoint.
        db.batch_execute("CHECKPOINT").await.unwrap();
    }
    fill::log(&db).await;
    tickets
}

/// A copy of the filled database, and the program on it.
struct World {
    config: Config,
    program: Program,
    tickets: i64,
}

impl World {
    async fn new(name: &str) -> World {
        let tickets = filled().await;
        let root = connect(server().await).await.unwrap();
        root.batch_execute(&format!("DROP DATABASE IF EXISTS {name}")).await.unwrap();
        // Copies the files, as older servers do, instead of writing every page to the write-ahead log.
        let version: i32 =
            root.query_one("SELECT current_setting('server_version_num')::int", &[]).await.unwrap().get(0);
        let strategy = if version >= 150_000 { "STRATEGY file_copy" } else { "" };
        let sql = format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE} {strategy}");
        root.batch_execute(&sql).await.unwrap();
        root.batch_execute("CHECKPOINT").await.unwrap();
        let config = named(name).await;
        let program = service::program(&postgres::connection_string(&config)).await;
        World { config, program, tickets }
    }

    async fn sql(&self) -> Client {
        connect(&self.config).await.unwrap()
    }

    async fn service(&self) -> Service {
        let (service, ready_after) = service::start(&self.program).await;
        println!("ready {ready_after:.2?} after its start, with {} tickets", self.tickets);
        service
    }

    async fn drop(self) {
        let name = self.config.get_dbname().unwrap();
        let root = connect(server().await).await.unwrap();
        root.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
    }

    fn report(&self, what: &str, took: Duration, service: &Service) {
        let rate = self.tickets as f64 / took.as_secs_f64();
        let peak = service::peak_memory(service);
        println!(
            "{what} {} tickets took {took:.1?}: {rate:.0} tickets/s, peak memory {} MiB",
            self.tickets,
            peak.map_or("unknown".to_owned(), |peak| peak.to_string()),
        );
        assert!(peak.is_none_or(|peak| peak <= MEMORY), "it takes more than {MEMORY} MiB");
        assert!(!service.has_logged("the writer's memory was not what the database has: it reads anew"));
    }
}

/// Purchases of another draw at a fixed rate, whether or not the earlier ones are answered.
struct Sale {
    stop: tokio::sync::watch::Sender<bool>,
    running: tokio::task::JoinHandle<Vec<Duration>>,
}

impl Sale {
    async fn begin(service: &Service, admin: &User) -> Sale {
        let rate = from_environment("BIG_SALE", SOME_SALE);
        let body = json!({"lottery": "5of36", "sales_close_at": "2098-01-01T00:00:00Z"});
        let draw = admin.create_draw(body).await;
        admin.step(draw, "open").await.expect(200);
        let mut buyers = Vec::new();
        for n in 0..8 {
            buyers.push(service::rich_player(service, &format!("buyer{n}")).await);
        }
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let running = tokio::spawn(async move {
            let mut orders = tokio::task::JoinSet::new();
            if rate > 0 {
                let mut ticks = tokio::time::interval(Duration::from_secs(1) / u32::try_from(rate).unwrap());
                let mut turn = 0;
                while !*stopped.borrow() {
                    let due = ticks.tick().await;
                    let buyer = buyers[turn % buyers.len()].clone();
                    orders.spawn(async move {
                        buyer.buy_quick(draw, 1).await;
                        due.elapsed()
                    });
                    turn += 1;
                }
            }
            orders.join_all().await
        });
        Sale { stop, running }
    }

    /// Stops it and prints how long they took.
    async fn end(self) {
        self.stop.send_replace(true);
        let mut took = self.running.await.unwrap();
        took.sort_unstable();
        let Some(longest) = took.last() else { return };
        let at = |percent: usize| took[(took.len() - 1) * percent / 100];
        println!(
            "meanwhile {} purchases of another draw: p50 {:.1?}, p99 {:.1?}, longest {longest:.1?}",
            took.len(),
            at(50),
            at(99)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_big_draw_is_settled_and_every_winner_paid_once() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let world = World::new("settled").await;
    let mut service = world.service().await;
    let admin = admin(&service).await;
    let sale = Sale::begin(&service, &admin).await;
    let started = Instant::now();
    admin.step(DRAW, "close").await.success();
    println!("closing and sealing took {:.1?}", started.elapsed());

    let started = Instant::now();
    admin.step(DRAW, "conduct").await.success();
    until_draw_is(&service, DRAW, "completed").await;
    world.report("settling", started.elapsed(), &service);
    let line = logged(&mut service, "everybody is paid").await;
    println!("in {} steps, the longest {}", line["steps"], line["longest"]);
    sale.end().await;
    service.stop().await;

    let winners = rules::settled(&world.sql().await).await;
    println!("{winners} winners");
    assert!(winners > world.tickets / 10, "the lottery pays one in 5.7");
    world.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_big_draw_is_cancelled_and_every_payment_refunded_once() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let world = World::new("cancelled").await;
    let mut service = world.service().await;
    let admin = admin(&service).await;
    let sale = Sale::begin(&service, &admin).await;
    let started = Instant::now();
    admin.cancel(DRAW).await.success();
    until_draw_is(&service, DRAW, "cancelled").await;
    world.report("cancelling", started.elapsed(), &service);
    let line = logged(&mut service, "everybody is paid").await;
    println!("in {} steps, the longest {}", line["steps"], line["longest"]);
    sale.end().await;
    service.stop().await;

    rules::cancelled(&world.sql().await).await;
    world.drop().await;
}

/// Locks some wallets in the middle of a step, so that the writer waits there. One wallet alone may have won nothing.
async fn lock_the_middle(world: &World) -> Client {
    let sql = world.sql().await;
    let middle = "SELECT FROM accounts WHERE id IN (
        SELECT (max(user_id) / 2 + n) * 8 + 1 FROM tickets, generate_series(0, 9) n GROUP BY n) FOR UPDATE";
    sql.batch_execute("BEGIN").await.unwrap();
    assert_eq!(sql.query(middle, &[]).await.unwrap().len(), 10);
    sql
}

/// Waits until the writer waits for the lock; returns how many transfers of a kind it has made.
async fn paid_until_locked(world: &World, kind: &str) -> i64 {
    let sql = world.sql().await;
    let waiting = async || sql.query_one(SESSIONS_WAITING_FOR_LOCKS, &[]).await.unwrap().get::<_, i64>(0) > 0;
    until("the writer waits for the lock", waiting).await;
    let paid = format!("SELECT count(*) FROM transfers WHERE kind = '{kind}'");
    sql.query_one(&paid, &[]).await.unwrap().get(0)
}

/// Kills the service in the middle of a payout; returns the next service, and how many were paid before the kill.
async fn killed_in_the_middle(world: &World, lock: Client, service: Service, kind: &str) -> (Service, i64) {
    let paid = paid_until_locked(world, kind).await;
    service.kill_9().await;
    drop(lock);
    (world.service().await, paid)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settlement_goes_on_where_a_kill_interrupted_it() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let world = World::new("settled_after_a_kill").await;
    let service = world.service().await;
    let admin = admin(&service).await;
    admin.step(DRAW, "close").await.success();
    let lock = lock_the_middle(&world).await;
    post_in_background(&admin, &format!("/admin/draws/{DRAW}/conduct"), &json!(null));
    let (service, paid) = killed_in_the_middle(&world, lock, service, "prize").await;
    let drawn = "SELECT pick FROM draw_results";
    let numbers: i64 = world.sql().await.query_one(drawn, &[]).await.unwrap().get(0);

    let started = Instant::now();
    until_draw_is(&service, DRAW, "completed").await;
    println!("{paid} prizes were paid before the kill; the rest took {:.1?}", started.elapsed());
    service.stop().await;
    let sql = world.sql().await;
    let winners = rules::settled(&sql).await;
    assert!(paid > 0 && paid < winners, "the kill was in the middle: {paid} of {winners}");
    assert_eq!(sql.query_one(drawn, &[]).await.unwrap().get::<_, i64>(0), numbers);
    world.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancellation_goes_on_where_a_kill_interrupted_it() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let world = World::new("cancelled_after_a_kill").await;
    let service = world.service().await;
    let admin = admin(&service).await;
    let lock = lock_the_middle(&world).await;
    post_in_background(&admin, &format!("/admin/draws/{DRAW}/cancel"), &json!({"reason": "a test"}));
    let (service, paid) = killed_in_the_middle(&world, lock, service, "refund").await;
    assert!(paid > 0 && paid < world.tickets, "the kill was in the middle: {paid} of {}", world.tickets);

    let started = Instant::now();
    until_draw_is(&service, DRAW, "cancelled").await;
    println!("{paid} payments were refunded before the kill; the rest took {:.1?}", started.elapsed());
    service.stop().await;
    rules::cancelled(&world.sql().await).await;
    world.drop().await;
}
