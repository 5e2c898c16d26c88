//! Draws with very many tickets, on a real Postgres and a service process of its own: how long settling and
//! cancelling take, how much memory, how purchases of another draw fare meanwhile; and that a kill in the
//! middle changes nothing of the outcome. Small in an ordinary run. For the real thing:
//!
//! ```sh
//! BIG_TICKETS=10000000 BIG_DIR=/somewhere/with/25/GB cargo test --profile dist --test big -- --nocapture
//! ```
//!
//! - `BIG_TICKETS`: how many are sold. One payment each, the dearest case.
//! - `BIG_DIR`: keeps the filled database, so that it is made once. Without it, a directory that goes.
//! - `BIG_PARTS`: makes so many parts (of half a million tickets) and no more, to fill piece by piece.
//! - `BIG_SALE`: purchases a second of another draw meanwhile; 0 for none.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::disallowed_methods, reason = "its times are real ones")]

mod books;
mod fill;
mod service;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use lottery::db::{connect, migrate, private_server_options};
use private_postgres::PostgresServer;
use serde_json::json;
use tokio::sync::Mutex;
use tokio_postgres::{Client, Config};

use fill::DRAW;
use service::{Api, Service};

/// In an ordinary run.
const FEW_TICKETS: i64 = 5_000;
const SOME_SALE: i64 = 50;
/// What the service may hold at a time, in MiB, however many tickets there are.
const MEMORY: u64 = 512;
const TEMPLATE: &str = "filled";

/// One big draw at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
static SERVER: OnceLock<Config> = OnceLock::new();

fn from_environment(name: &str, otherwise: i64) -> i64 {
    std::env::var(name).map_or(otherwise, |value| value.parse().unwrap())
}

/// The server that this process starts, with the filled database. It goes with the process.
fn server() -> &'static Config {
    SERVER.get_or_init(|| {
        let (ready, started) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let kept = std::env::var_os("BIG_DIR").map(PathBuf::from);
                let directory = tempfile::Builder::new().prefix("lottery-big-").tempdir().unwrap();
                let place = kept.unwrap_or_else(|| directory.path().to_owned());
                let server = PostgresServer::start(&private_server_options(place)).await.unwrap();
                ready.send(server.connection()).unwrap();
                std::future::pending::<()>().await;
            });
        });
        started.recv().expect("the server starts")
    })
}

fn named(name: &str) -> Config {
    let mut config = server().clone();
    config.dbname(name);
    config
}

fn url(config: &Config) -> String {
    let tokio_postgres::config::Host::Unix(socket) = &config.get_hosts()[0] else { unreachable!() };
    let (user, name) = (config.get_user().unwrap(), config.get_dbname().unwrap());
    format!("host='{}' user={user} dbname={name}", socket.display())
}

/// The filled database; none if there are parts still to be made.
async fn filled() -> Option<i64> {
    let tickets = from_environment("BIG_TICKETS", FEW_TICKETS);
    let parts = from_environment("BIG_PARTS", i64::MAX);
    let root = connect(server()).await.unwrap();
    if root.query("SELECT FROM pg_database WHERE datname = $1", &[&TEMPLATE]).await.unwrap().is_empty() {
        root.batch_execute(&format!("CREATE DATABASE {TEMPLATE}")).await.unwrap();
        migrate(named(TEMPLATE)).await.unwrap();
    }
    let db = connect(named(TEMPLATE)).await.unwrap();
    let before = fill::sold(&db).await;
    if before < tickets {
        let started = Instant::now();
        let users = (tickets / 100).clamp(200, 100_000);
        let sold = fill::fill(&db, tickets, users, usize::try_from(parts).unwrap()).await;
        println!("{} tickets were made in {:.1?}", sold - before, started.elapsed());
        if sold < tickets {
            return None;
        }
        fill::finish(&db).await;
        // So that the first to run does not pay for it.
        db.batch_execute("CHECKPOINT").await.unwrap();
    }
    Some(tickets)
}

/// A database as the sale left it, to do with as one likes.
struct World {
    config: Config,
    tickets: i64,
}

impl World {
    async fn new(name: &str) -> Option<World> {
        let tickets = filled().await?;
        let root = connect(server()).await.unwrap();
        root.batch_execute(&format!("DROP DATABASE IF EXISTS {name}")).await.unwrap();
        // The way of older servers, which does not write everything to the log first.
        let version: i32 =
            root.query_one("SELECT current_setting('server_version_num')::int", &[]).await.unwrap().get(0);
        let strategy = if version >= 150_000 { "STRATEGY file_copy" } else { "" };
        let sql = format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE} {strategy}");
        root.batch_execute(&sql).await.unwrap();
        root.batch_execute("CHECKPOINT").await.unwrap();
        let config = named(name);
        service::create_admin(&url(&config)).await;
        Some(World { config, tickets })
    }

    async fn sql(&self) -> Client {
        connect(&self.config).await.unwrap()
    }

    async fn service(&self) -> Service {
        let service = Service::start(&url(&self.config)).await;
        println!("ready {:.2?} after its start, with {} tickets", service.ready_after, self.tickets);
        service
    }

    async fn drop(self) {
        let name = self.config.get_dbname().unwrap();
        let root = connect(server()).await.unwrap();
        root.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
    }

    fn told(&self, what: &str, took: Duration, service: &Service) {
        let rate = self.tickets as f64 / took.as_secs_f64();
        let peak = service.peak_memory();
        println!(
            "{what} {} tickets took {took:.1?}: {rate:.0} tickets/s, peak memory {} MiB",
            self.tickets,
            peak.map_or("unknown".to_owned(), |peak| peak.to_string()),
        );
        assert!(peak.is_none_or(|peak| peak <= MEMORY), "it takes more than {MEMORY} MiB");
        assert!(!service.has_said("the writer's memory was not what the database has: it reads anew"));
    }
}

/// Purchases of another draw, so many a second whether or not the earlier ones are answered.
struct Sale {
    stop: tokio::sync::watch::Sender<bool>,
    running: tokio::task::JoinHandle<Vec<Duration>>,
}

impl Sale {
    async fn begin(service: &Service, admin: &Api) -> Sale {
        let rate = from_environment("BIG_SALE", SOME_SALE);
        let body = json!({"lottery": "5of36", "sales_close_at": "2098-01-01T00:00:00Z"});
        let draw = admin.post("/admin/draws", body).await["id"].as_i64().unwrap();
        admin.post(&format!("/admin/draws/{draw}/open"), json!(null)).await;
        let mut buyers = Vec::new();
        for n in 0..8 {
            buyers.push(service.player(&format!("buyer{n}")).await);
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
                        let body = json!({"tickets": [{"quick_pick": true}], "payment": "wallet"});
                        buyer.post(&format!("/draws/{draw}/tickets"), body).await;
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
    let Some(world) = World::new("settled").await else { return };
    let mut service = world.service().await;
    let admin = service.admin().await;
    let sale = Sale::begin(&service, &admin).await;
    let started = Instant::now();
    admin.post(&format!("/admin/draws/{DRAW}/close"), json!(null)).await;
    println!("closing and sealing took {:.1?}", started.elapsed());

    let started = Instant::now();
    admin.post(&format!("/admin/draws/{DRAW}/conduct"), json!(null)).await;
    service.until_draw_is(DRAW, "completed").await;
    world.told("settling", started.elapsed(), &service);
    let said = service.said("everybody is paid").await;
    println!("in {} steps, the longest {}", said["steps"], said["longest"]);
    sale.end().await;
    service.stop().await;

    let winners = books::settled(&world.sql().await).await;
    println!("{winners} winners");
    assert!(winners > world.tickets / 10, "the lottery pays one in 5.7");
    world.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_big_draw_is_cancelled_and_every_payment_refunded_once() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let Some(world) = World::new("cancelled").await else { return };
    let mut service = world.service().await;
    let admin = service.admin().await;
    let sale = Sale::begin(&service, &admin).await;
    let started = Instant::now();
    admin.post(&format!("/admin/draws/{DRAW}/cancel"), json!({"reason": "a test"})).await;
    service.until_draw_is(DRAW, "cancelled").await;
    world.told("cancelling", started.elapsed(), &service);
    let said = service.said("everybody is paid").await;
    println!("in {} steps, the longest {}", said["steps"], said["longest"]);
    sale.end().await;
    service.stop().await;

    books::cancelled(&world.sql().await).await;
    world.drop().await;
}

/// Keeps a wallet from the writer: somebody in the middle of a window's order waits for it.
async fn hold_the_middle(world: &World) -> Client {
    let sql = world.sql().await;
    let middle = "SELECT FROM accounts WHERE id = (SELECT max(user_id) / 2 * 8 + 1 FROM tickets) FOR UPDATE";
    sql.batch_execute("BEGIN").await.unwrap();
    assert_eq!(sql.query(middle, &[]).await.unwrap().len(), 1);
    sql
}

/// Waits until the writer stands before what is held; says how many transfers of a kind it has made.
async fn paid_until_held(world: &World, kind: &str) -> i64 {
    let sql = world.sql().await;
    let waits = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while sql.query(waits, &[]).await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let paid = format!("SELECT count(*) FROM transfers WHERE kind = '{kind}'");
    sql.query_one(&paid, &[]).await.unwrap().get(0)
}

/// Kills the service in the middle of a payout; returns its successor, and how many were paid by then.
async fn killed_in_the_middle(world: &World, held: Client, service: Service, kind: &str) -> (Service, i64) {
    let paid = paid_until_held(world, kind).await;
    service.kill_9().await;
    drop(held);
    (world.service().await, paid)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_of_a_settlement_it_goes_on_where_it_stopped() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let Some(world) = World::new("settled_after_a_kill").await else { return };
    let service = world.service().await;
    let admin = service.admin().await;
    admin.post(&format!("/admin/draws/{DRAW}/close"), json!(null)).await;
    let held = hold_the_middle(&world).await;
    admin.ask(&format!("/admin/draws/{DRAW}/conduct"), json!(null));
    let (service, paid) = killed_in_the_middle(&world, held, service, "prize").await;
    let drawn = "SELECT pick FROM draw_results";
    let numbers: i64 = world.sql().await.query_one(drawn, &[]).await.unwrap().get(0);

    let started = Instant::now();
    service.until_draw_is(DRAW, "completed").await;
    println!("{paid} prizes were paid before the kill; the rest took {:.1?}", started.elapsed());
    service.stop().await;
    let sql = world.sql().await;
    let winners = books::settled(&sql).await;
    assert!(paid > 0 && paid < winners, "the kill was in the middle: {paid} of {winners}");
    assert_eq!(sql.query_one(drawn, &[]).await.unwrap().get::<_, i64>(0), numbers);
    world.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_of_a_cancellation_it_goes_on_where_it_stopped() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let Some(world) = World::new("cancelled_after_a_kill").await else { return };
    let service = world.service().await;
    let admin = service.admin().await;
    let held = hold_the_middle(&world).await;
    admin.ask(&format!("/admin/draws/{DRAW}/cancel"), json!({"reason": "a test"}));
    let (service, paid) = killed_in_the_middle(&world, held, service, "refund").await;
    assert!(paid > 0 && paid < world.tickets, "the kill was in the middle: {paid} of {}", world.tickets);

    let started = Instant::now();
    service.until_draw_is(DRAW, "cancelled").await;
    println!("{paid} payments were refunded before the kill; the rest took {:.1?}", started.elapsed());
    service.stop().await;
    books::cancelled(&world.sql().await).await;
    world.drop().await;
}
