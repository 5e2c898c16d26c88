//! Several hosts, of which one takes writes: it is found although others are frozen or only standbys, and what was
//! answered is also at the standby that takes over.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};

use lottery::db::Target;
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::process::Command;

use super::*;
use crate::common::postgres::url;
use crate::common::process::Program;
use crate::common::wait::TIMEOUT;
use crate::server;

/// The same database with this host in front of its own.
fn behind(first: &Path, database: &tokio_postgres::Config) -> tokio_postgres::Config {
    let mut both = tokio_postgres::Config::new();
    both.host_path(first).user(database.get_user().unwrap()).dbname(database.get_dbname().unwrap());
    for host in database.get_hosts() {
        let tokio_postgres::config::Host::Unix(socket) = host else { panic!("a Unix socket") };
        both.host_path(socket);
    }
    both
}

#[actix_web::test]
async fn a_service_whose_first_host_is_frozen_starts_and_sells_at_the_second() {
    let (_directory, other) = own_server(LATE_WAL.0, LATE_WAL.1).await;
    let _frozen = Frozen::of(&connect(other.connection()).await.unwrap()).await;
    let database = behind(other.socket_dir(), &server::database().await);
    let starting = tokio::time::timeout(TIMEOUT, World::on(database, |_| {}));
    let world = starting.await.expect("it does not wait for the frozen host");
    let admin = world.admin().await;
    let draw = admin.open_draw(&world, 0).await;
    let ann = world.rich_player("ann", 1_000_000).await;
    ann.buy_quick(draw, 1).await;
    // Every connection is opened again.
    world.sql().await.batch_execute(END_OTHER_SESSIONS).await.unwrap();
    order_until_done(&ann, draw, quick_pick(), "again").await;
    assert_eq!(paid(&world, draw).await, 2);
    assert!(world.metrics().await.contains("lottery_synchronous_replication 0"), "nothing can take over safely");
    world.check_invariants().await;
}

#[actix_web::test]
async fn the_host_that_worked_is_tried_first_by_the_next_connection() {
    let directory = tempfile::tempdir().unwrap();
    let silent = UnixListener::bind(directory.path().join(".s.PGSQL.5432")).unwrap();
    let tried = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = tried.clone();
    actix_web::rt::spawn(async move {
        let mut kept = Vec::new();
        while let Ok(connection) = silent.accept().await {
            kept.push(connection);
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let target = Target::from(behind(directory.path(), &server::database().await));
    for _ in 0..3 {
        connect(&target).await.unwrap().batch_execute("SELECT").await.unwrap();
        assert_eq!(tried.load(Ordering::Relaxed), 1);
    }
    // That one accepts connections, but does not do what is asked of it.
    target.skip_host();
    connect(&target).await.unwrap();
    assert_eq!(tried.load(Ordering::Relaxed), 2);
}

#[actix_web::test]
async fn connections_to_one_database_end_together_except_lasting_ones() {
    let target = Target::from(server::database().await);
    let (idle, busy) = (connect(&target).await.unwrap(), connect(&target).await.unwrap());
    let lasting = connect(&target.lasting()).await.unwrap();
    let reading = actix_web::rt::spawn(async move { busy.batch_execute("SELECT pg_sleep(600)").await });
    target.end_connections().await;
    assert!(reading.await.unwrap().unwrap_err().is_closed());
    until("the idle one ends", async || idle.is_closed()).await;
    lasting.batch_execute("SELECT").await.unwrap();
    connect(&target).await.unwrap().batch_execute("SELECT").await.unwrap();
}

#[actix_web::test]
async fn a_read_whose_session_is_ended_is_answered_over_another_one() {
    let world = World::new().await;
    let ann = world.rich_player("ann", 500).await;
    let (locking, sql) = (world.sql().await, world.sql().await);
    locking.batch_execute("BEGIN; LOCK TABLE accounts").await.unwrap();
    let reading = actix_web::rt::spawn(async move { ann.balance().await });
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND query LIKE '-- wallet::balance()%' AND wait_event_type = 'Lock'";
    until("its session is ended", async || !sql.query(end, &[]).await.unwrap().is_empty()).await;
    locking.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(reading.await.unwrap(), 500);
}

/// The old primary may still answer reads over connections that are open.
#[actix_web::test]
async fn when_the_connection_of_the_lease_is_replaced_all_others_are() {
    let (_directory, server) = own_server(LATE_WAL.0, LATE_WAL.1).await;
    let program = Program::new()
        .with("DATABASE_URL", &url(&server.connection()))
        .with("LOTTERY__AUTH__JWT_SECRET", "what these tests sign their tokens with");
    let service = program.start().await;
    let sql = connect(server.connection()).await.unwrap();
    let sessions = async || -> Vec<i32> {
        let others =
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
            AND query !~ '^-- nodes::beat'";
        sql.query(others, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    };
    until("the service has connections", async || sessions().await.len() > 1).await;
    let before = sessions().await;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND query ~ '^-- nodes::beat' AND pid <> pg_backend_pid()";
    assert_eq!(sql.query(end, &[]).await.unwrap().len(), 1);
    until("all are replaced", async || {
        let now = sessions().await;
        !now.is_empty() && !now.iter().any(|pid| before.contains(pid))
    })
    .await;
    service.stop().await;
    server.stop().await.unwrap();
}

/// Cancels the waits of the commits that wait for a standby now; `statement` is what their sessions run. Returns whether
/// there was one.
async fn cancel_waits(sql: &Client, statement: &str) -> bool {
    let find = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE datname = current_database()
        AND wait_event = 'SyncRep' AND query ~ $1";
    !sql.query(find, &[&statement]).await.unwrap().is_empty()
}

#[actix_web::test]
async fn a_commit_whose_wait_for_the_standby_was_cancelled_is_not_answered_before_it_is_certain() {
    let (_directory, server) = own_server(LATE_WAL.0, LATE_WAL.1).await;
    let sql = connect(server.connection()).await.unwrap();
    // The server would say nothing of it.
    sql.batch_execute("ALTER DATABASE lottery SET client_min_messages = error").await.unwrap();
    sql.batch_execute("SET synchronous_commit = local").await.unwrap();
    let mut world = World::on(server.connection(), |_| {}).await;
    let admin = world.admin().await;
    let draw = admin.open_draw(&world, 5).await;
    let ann = world.rich_player("ann", 1_000_000).await;
    wait_for_standby(&sql, &world.database).await;

    // They are sent while the lease holds, which is not renewed without the standby: an order, and a direct write.
    let buying = order(&ann, draw, from_pool(), "order");
    let person = json!({"username": "eve", "email": "eve@example.com", "password": "correct horse battery"});
    let anonymous = world.anonymous();
    let registering = actix_web::rt::spawn(async move { anonymous.post("/auth/register", person).await });
    // The writer asks over another connection, whose first commit waits, too; and it asks again. A beat that waits for
    // the standby keeps its lock on the node.
    let asked = Cell::new(0);
    until("the commits are cancelled", async || {
        cancel_waits(&sql, "^(COMMIT|-- sales::write|-- nodes::beat)").await;
        let one = usize::from(cancel_waits(&sql, "^-- writers::insert").await);
        asked.set(asked.get() + one);
        registering.is_finished() && asked.get() >= 2
    })
    .await;
    registering.await.unwrap().refused(503, "outcome_unknown");
    assert_eq!(paid(&world, draw).await, 1, "it is committed here");
    assert!(!buying.is_finished(), "and perhaps not at the standby");

    set_standbys(&sql, "").await;
    let bought = buying.await.unwrap().expect(201);
    assert_eq!(bought["tickets"][0]["number"], 1);
    let outside = world.anonymous().without_base_path();
    until("the lease is held again", async || outside.get("/health/ready").await.status == 200).await;
    assert_eq!((paid(&world, draw).await, ann.balance().await), (1, 1_000_000 - PRICE));
    assert_eq!(admin.conduct(draw).await["tickets_sold"], 1);
    world.check_invariants().await;
    world.stop().await;
    server.stop().await.unwrap();
}

/// A standby of this server, which streams from it.
async fn standby_of(primary: &PostgresServer, sql: &Client) -> (TempDir, PostgresServer) {
    let directory = tempfile::Builder::new().prefix("lottery-standby-").tempdir().unwrap();
    // The server's user must be able to enter it.
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let cluster = directory.path().join("postgres");
    let postmaster = processes(sql).await[0];
    let programs = fs::read_link(format!("/proc/{postmaster}/exe")).unwrap();
    let mut copy = Command::new(programs.with_file_name("pg_basebackup"));
    copy.arg("-h").arg(primary.socket_dir()).args(["-U", "lottery", "-R", "-c", "fast", "-D"]).arg(&cluster);
    let copied = copy.output().await.unwrap();
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    let mut give = Command::new("chown");
    give.arg("-R").arg(format!("--reference={}", data_directory(sql).await.display())).arg(&cluster);
    assert!(give.status().await.unwrap().success());
    let standby = PostgresServer::start(&private_server_options(directory.path())).await.unwrap();
    (directory, standby)
}

#[actix_web::test]
async fn the_sale_goes_on_at_the_standby_and_nothing_that_was_answered_is_lost() {
    let (_primary_directory, primary) = own_server(LATE_WAL.0, LATE_WAL.1).await;
    let sql = connect(primary.connection()).await.unwrap();
    let (_standby_directory, standby) = standby_of(&primary, &sql).await;
    set_standbys(&sql, "*").await;
    let synchronous = "SELECT FROM pg_stat_replication WHERE sync_state = 'sync'";
    until("the standby is synchronous", async || sql.query(synchronous, &[]).await.unwrap().len() == 1).await;

    // The standby is the first host: it is passed over as long as it takes no writes.
    let database = behind(standby.socket_dir(), &primary.connection());
    let mut world = World::on(database, |_| {}).await;
    assert!(world.metrics().await.contains("lottery_synchronous_replication 1"));
    let admin = world.admin().await;
    let draw = admin.open_draw(&world, 60).await;
    let buyers = join_all((0..4).map(async |n| world.rich_player(&format!("buyer{n}"), 10_000_000).await)).await;
    let orders = 40;
    let line = |n: i64| if n % 4 == 0 { from_pool() } else { quick_pick() };
    let answered = AtomicUsize::new(0);
    let buy = async |buyer: &User| {
        let mut tickets = Vec::new();
        for n in 0..orders {
            let order = order_until_done(buyer, draw, line(n), &format!("order-{n}")).await;
            tickets.push(order["tickets"].clone());
            answered.fetch_add(1, Ordering::Relaxed);
        }
        tickets
    };
    let buying = join_all(buyers.iter().map(buy));
    let failing_over = async {
        until("half is sold", async || answered.load(Ordering::Relaxed) as i64 > 2 * orders).await;
        // Its supervisor cannot start it again.
        let version = data_directory(&sql).await.join("PG_VERSION");
        fs::remove_file(version).unwrap();
        kill_9(&sql).await;
        let promote = connect(standby.connection()).await.unwrap();
        assert!(promote.query_one("SELECT pg_promote()", &[]).await.unwrap().get::<_, bool>(0));
    };
    let (bought, ()) = tokio::join!(buying, failing_over);

    assert_eq!(paid(&world, draw).await, 4 * orders);
    for (buyer, bought) in buyers.iter().zip(bought) {
        assert_eq!(buyer.balance().await, 10_000_000 - orders * PRICE);
        let tickets = buyer.all("/tickets").await;
        for ticket in bought {
            assert!(tickets.iter().any(|it| it["id"] == ticket[0]["id"]), "{ticket} was answered and is lost");
        }
    }
    assert_eq!(admin.conduct(draw).await["tickets_sold"], 4 * orders);
    world.check_invariants().await;
    world.stop().await;
    standby.stop().await.unwrap();
}
