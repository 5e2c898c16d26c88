//! The program as a process: the command line, the configuration, the log, starting and stopping.

mod charges;
pub mod check;
mod demo;
mod export;
mod health;
mod installation;
mod line;
mod log;
mod log_keys;
mod nodes;
mod schema;
mod session;
mod start;
mod traces;
mod version;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use futures_util::future::join_all;
use lottery::db;
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::common::commits::{at_commit, committing};
use crate::common::postgres::{self, END_OTHER_SESSIONS, SESSIONS_WAITING_FOR_LOCKS};
use crate::common::process::{Program, READY, Service, is_alive, postmaster};
use crate::common::{MASTER_SECRET, PASSWORD, wait::until};
use crate::server;
use crate::world::*;

const OWNER_URL: &str = "LOTTERY__DATABASE__OWNER_URL";
const MASTER_VARIABLE: &str = "LOTTERY__FAIRNESS__MASTER_SECRET";
const SECRET: &str = "what these tests sign their tokens with";

/// The program with a database of its own on the tests' server.
pub async fn program_with_database() -> Program {
    program_on(&server::database().await)
}

/// The program with a login of its own on the owner's database.
pub fn program_on(database: &tokio_postgres::Config) -> Program {
    let program = Program::new().with("DATABASE_URL", &postgres::url(&postgres::service(database)));
    program
        .with(OWNER_URL, &postgres::url(database))
        .with("LOTTERY__AUTH__JWT_SECRET", SECRET)
        .with(MASTER_VARIABLE, MASTER_SECRET)
}

/// The database that the program was given, as its owner.
pub fn database(program: &Program) -> tokio_postgres::Config {
    program.variable(OWNER_URL).unwrap().parse().unwrap()
}

/// Runs a command that must refuse, and returns what it prints.
async fn refusal(program: &Program, arguments: &[&str]) -> String {
    let output = program.run(arguments).await;
    let printed = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(printed.starts_with("lottery: "), "{printed}");
    printed
}

/// A draw on sale, made by an admin who was made for it.
async fn open_draw(service: &Service, program: &Program) -> i64 {
    let admin = service.admin(program, "the.admin").await;
    let draw = admin.create_draw(json!({"lottery": "5of36", "sales_close_at": "2099-01-01T00:00:00Z"})).await;
    admin.step(draw, "open").await.expect(200);
    draw
}

/// The same user at this service.
fn reconnect(user: &User, service: &Service) -> User {
    user.moved_to(&service.address)
}

/// The exit code, standard output and standard error.
fn printed(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

// With the private Postgres.

#[actix_web::test]
async fn admin_create_works_before_the_service_runs_and_beside_it() {
    let program = Program::new();
    let before = printed(&program.create_admin("first", "first@example.com", PASSWORD).await);
    assert_eq!(before, (Some(0), "admin first has the id 1\n".to_owned(), String::new()));
    assert!(!program.data().join("postgres/postmaster.pid").exists(), "its server went with it");

    let service = program.start().await;
    let beside = printed(&program.create_admin("second", "second@example.com", PASSWORD).await);
    assert_eq!((beside.0, beside.2), (Some(0), String::new()));
    for (username, email, taken) in
        [("First", "other@example.com", "the username First is taken"), ("other", "SECOND@example.com", "SECOND@")]
    {
        let (code, out, error) = printed(&program.create_admin(username, email, PASSWORD).await);
        assert_eq!((code, out.as_str()), (Some(1), ""));
        assert!(error.starts_with("lottery: ") && error.contains(taken), "{error}");
    }
    for name in ["first", "second"] {
        let admin = service.log_in(name).await;
        assert_eq!(admin.get("/me").await.expect(200)["role"], "admin");
        admin.post("/admin/draws", json!({})).await.refused(422, "validation_failed");
        service.try_log_in(name, "wrong horse battery").await.refused(401, "invalid_credentials");
    }
    service.stop().await;
}

#[actix_web::test]
async fn sigterm_stops_the_service_and_its_postgres_and_the_next_start_finds_the_data() {
    let program = Program::new();
    let service = program.start().await;
    let ann = service.player("ann").await;
    ann.deposit(50_000).await;
    let postgres = postmaster(&program.data()).unwrap();
    assert!(is_alive(postgres));
    let in_use = refusal(&program, &["serve"]).await;
    assert!(in_use.contains("in use"), "one at a time: {in_use}");
    ann.get("/me").await.expect(200);

    let log = service.stop().await;
    assert!(log.iter().any(|line| line.contains("the service has stopped")));
    assert!(!is_alive(postgres), "its server outlived it");

    let service = program.start().await;
    // The signing secret was kept as well: tokens are still valid.
    assert_eq!(reconnect(&ann, &service).balance().await, 50_000);
    service.signal(Signal::SIGINT);
    let (status, _) = service.ended().await;
    assert_eq!(status.code(), Some(0), "Ctrl-C stops it too");
}

#[actix_web::test]
async fn an_answered_purchase_survives_kill_9() {
    let program = Program::new();
    let mut service = program.start().await;
    let draw = open_draw(&service, &program).await;
    let ann = service.player("ann").await;
    ann.deposit(100_000).await;
    let mut bought = Vec::new();
    for postgres_too in [false, true] {
        bought.insert(0, reconnect(&ann, &service).buy(draw, &[1, 7, 13, 22, 36]).await["tickets"][0].clone());
        if postgres_too {
            kill(postmaster(&program.data()).unwrap(), Signal::SIGKILL).unwrap();
        }
        service.kill_9().await;
        service = program.start().await;
        let ann = reconnect(&ann, &service);
        assert_eq!(ann.get("/tickets").await.expect(200)["items"], json!(bought));
        assert_eq!(ann.balance().await, 100_000 - 10_000 * bought.len() as i64);
    }
    let open = service.anonymous().get(&format!("/draws/{draw}")).await.expect(200);
    assert_eq!((&open["status"], &open["tickets_sold"]), (&json!("open"), &json!(2)));
    service.stop().await;
}

#[actix_web::test]
async fn two_services_run_side_by_side_and_share_nothing() {
    let programs = [Program::new(), Program::new()];
    let (left, right) = tokio::join!(programs[0].start(), programs[1].start());
    let (ann, bob) = (left.player("ann").await, right.player("bob").await);
    assert_eq!(ann.get("/me").await.expect(200)["id"], bob.get("/me").await.expect(200)["id"]);
    ann.deposit(100).await;
    assert_eq!(bob.balance().await, 0);
    // The secret is not hard-coded: each service created its own, readable only by its owner.
    reconnect(&ann, &right).get("/me").await.refused(401, "unauthorized");
    reconnect(&bob, &left).get("/me").await.refused(401, "unauthorized");
    let secret = |program: &Program| fs::read_to_string(program.data().join("jwt_secret")).unwrap();
    assert_ne!(secret(&programs[0]), secret(&programs[1]));
    let mode = fs::metadata(programs[0].data().join("jwt_secret")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    left.stop().await;
    bob.get("/me").await.expect(200);
    right.stop().await;
}

// With a configured database.

#[actix_web::test]
async fn the_service_uses_the_database_of_database_url() {
    let program = program_with_database().await;
    let service = program.start().await;
    service.player("ann").await;
    let config = database(&program);
    let found = db::connect(&config).await.unwrap().query("SELECT username FROM users", &[]).await.unwrap();
    assert_eq!(found.iter().map(|row| row.get(0)).collect::<Vec<&str>>(), ["ann"]);
    assert!(!program.data().join("postgres").exists(), "no server of its own");
    assert!(!program.data().join("jwt_secret").exists(), "no secret of its own");
    service.stop().await;
}

#[actix_web::test]
async fn migrate_brings_the_schema_up_to_date_and_does_nothing_else() {
    let database = server::database().await;
    let name = format!("{}_empty", database.get_dbname().unwrap());
    let client = db::connect(&database).await.unwrap();
    client.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0")).await.unwrap();
    let mut empty = database.clone();
    empty.dbname(&name);
    let program = program_on(&empty);

    let migrations = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations")).unwrap().count();
    assert_eq!(
        printed(&program.run(&["migrate"]).await),
        (Some(0), format!("{migrations} migrations applied\n"), String::new())
    );
    assert_eq!(
        printed(&program.run(&["migrate"]).await),
        (Some(0), "0 migrations applied\n".to_owned(), String::new())
    );
    let client = db::connect(&empty).await.unwrap();
    let lotteries: i64 = client.query_one("SELECT count(*) FROM lotteries", &[]).await.unwrap().get(0);
    assert_eq!(lotteries, 0);
    program.start().await.stop().await;
}

// Stopping.

/// A row that the purchase needs is locked, so that it is certainly under way during the stop.
#[actix_web::test]
async fn a_stop_waits_for_the_request_under_way() {
    let program = program_with_database().await;
    let mut service = program.start().await;
    let draw = open_draw(&service, &program).await;
    let ann = service.player("ann").await;
    ann.deposit(100_000).await;
    let config = database(&program);
    let mut locker = db::connect(&config).await.unwrap();
    let watcher = db::connect(&config).await.unwrap();
    let lock = locker.transaction().await.unwrap();
    lock.batch_execute("SELECT FROM accounts WHERE kind = 'wallet' FOR UPDATE").await.unwrap();
    let buying = actix_web::rt::spawn({
        let ann = ann.clone();
        async move { ann.order(draw, json!([{"numbers": [1, 7, 13, 22, 36]}]), "wallet").await }
    });
    until("the purchase waits for the lock", || async {
        watcher.query_one(SESSIONS_WAITING_FOR_LOCKS, &[]).await.unwrap().get::<_, i64>(0) > 0
    })
    .await;

    service.signal(Signal::SIGTERM);
    service.logged("the service stops").await;
    assert!(!buying.is_finished());
    lock.rollback().await.unwrap();

    let bought = buying.await.unwrap().expect(201);
    assert_eq!(bought["tickets"][0]["status"], "paid");
    let (status, _) = service.ended().await;
    assert_eq!(status.code(), Some(0));
    let service = program.start().await;
    assert_eq!(reconnect(&ann, &service).get("/tickets").await.expect(200)["items"], bought["tickets"]);
    service.stop().await;
}

#[actix_web::test]
async fn during_a_stop_under_load_every_purchase_is_answered_or_not_taken() {
    let program = program_with_database().await.with("LOTTERY__LIMITS__ENABLED", "false");
    let service = program.start().await;
    let draw = open_draw(&service, &program).await;
    let ann = service.player("ann").await;
    ann.deposit(1_000_000_000).await;
    let (sold, mut sales) = watch::channel(0_i64);
    let buyers = (0..8).map(|_| async {
        let ann = reconnect(&ann, &service);
        // Until the service is gone.
        loop {
            let body = json!({"tickets": [{"quick_pick": true}], "payment": "wallet"});
            let path = format!("/draws/{draw}/tickets");
            match ann.request(reqwest::Method::POST, &path).json(&body).send().await {
                Ok(answer) if answer.status() == 201 => sold.send_modify(|sold| *sold += 1),
                Ok(answer) => assert_eq!(answer.status(), 503),
                Err(_) => return,
            }
        }
    });
    let stop = async {
        sales.wait_for(|sold| *sold >= 50).await.unwrap();
        service.signal(Signal::SIGTERM);
    };
    tokio::join!(join_all(buyers), stop);
    let answered = *sold.borrow();
    let (status, _) = service.ended().await;
    assert_eq!(status.code(), Some(0));
    let service = program.start().await;
    let open = service.anonymous().get(&format!("/draws/{draw}")).await.expect(200);
    assert_eq!(open["tickets_sold"], answered, "sold, and answered");
    assert_eq!(reconnect(&ann, &service).balance().await, 1_000_000_000 - 10_000 * answered);
    service.stop().await;
}

#[actix_web::test]
async fn a_stop_during_the_start_is_graceful() {
    let program = program_with_database().await.with("LOTTERY__LOG__LEVEL", "debug");
    for moment in ["the schema is up to date", READY] {
        let service = program.start_until(moment).await;
        service.stop().await;
    }
}

#[actix_web::test]
async fn an_idle_connection_does_not_delay_a_stop() {
    let program = program_with_database().await.with("LOTTERY__SERVER__SHUTDOWN_TIMEOUT", "1h");
    let service = program.start().await;
    let idle = service.anonymous();
    idle.get("/draws").await.expect(200);
    service.stop().await;
    drop(idle);
}

// The configuration.

#[actix_web::test]
async fn an_error_names_the_invalid_environment_variable() {
    let secret = ("LOTTERY__AUTH__JWT_SECRET", SECRET);
    let hunter2 = "hunter2".repeat(10);
    for (variables, named) in [
        (vec![("LOTTERY__TICKETS__RESERVATIONS", "5m")], "LOTTERY__TICKETS__RESERVATIONS: "),
        (vec![("LOTTERY__TICKETS", "5m")], "LOTTERY__TICKETS: "),
        (vec![("LOTTERY__TICKETS__RESERVATION", "soon")], "tickets.reservation: "),
        (vec![("LOTTERY__SERVER__PORT", "eighty")], "server.port: "),
        (vec![("LOTTERY__SERVER__PORT", "65536")], "server.port: "),
        (vec![("LOTTERY__CURRENCY", "rubles")], "currency: "),
        (vec![("LOTTERY__LIMITS__LOGIN_FAILURES", "0")], "limits.login_failures: "),
        (vec![("LOTTERY__LOTTERIES", "[]")], "lotteries: "),
        (vec![("LOTTERY__LOG__LEVEL", "lottery=loud")], "log.level: "),
        (vec![("LOTTERY__LOG__FORMAT", "xml")], "log.format: "),
        (vec![("LOTTERY__AUTH__JWT_SECRET", "hunter2")], "auth.jwt_secret: "),
        (vec![("LOTTERY__AUTH__JWT_SECRET", &hunter2)], "openssl rand -base64 32"),
        (vec![("LOTTERY__AUTH__JWT_SECRET_PREVIOUS", &hunter2)], "auth.jwt_secret_previous: "),
        (vec![("DATABASE_URL", "postgres://ann@localhost/lottery")], "auth.jwt_secret: "),
        (vec![("LOTTERY__DATABASE__URL", "postgres://ann@localhost/lottery")], "auth.jwt_secret: "),
        (vec![("DATABASE_URL", "postgres://ann:hunter2@local host:x/y"), secret], "database.url: "),
    ] {
        let program = variables.iter().fold(Program::new(), |program, (name, value)| program.with(name, value));
        let said = refusal(&program, &[]).await;
        assert!(said.contains(named), "{named} {said}");
        assert!(!said.contains("hunter2"), "{said}");
        assert!(!program.data().exists(), "nothing is begun: {named}");
    }
}

#[actix_web::test]
async fn an_error_names_the_invalid_key_of_the_configuration_file() {
    let program = Program::new();
    let file = program.directory().join("my.yaml");
    let schedule = |lottery: &str, zone: &str, pool: u32| {
        format!(
            "schedules: [{{lottery: {lottery}, at: every day at 20:00, time_zone: {zone}, on_sale: 1d, cut_off: 1h,
               pool: {pool}, ahead: 1}}]"
        )
    };
    for (yaml, named) in [
        ("tickets: { reservations: 5m }", "tickets.reservations: "),
        ("ticket: { reservation: 5m }", "ticket: "),
        ("tickets: { reservation: 5 years }", "tickets.reservation: "),
        ("tickets: 5m", "tickets: "),
        ("limits: { enabled: perhaps }", "limits.enabled: "),
        (
            "lotteries: [{id: x, name: x, pick: 9, of: 5, price: 1, fund_share: 1, prizes: []}]",
            "lotteries[0].pick: ",
        ),
        (
            "lotteries: [{id: x, name: x, pick: 2, of: 4, price: 120, fund_share: 5000,
               prizes: [{matches: 2, share: 10000, minimum: 41}, {matches: 1, fixed: 80}]}]",
            "lotteries[0].prizes: the guaranteed prizes (fixed prizes and minimums) cost 60.17 on average for each \
             ticket, but of its price of 120 the fund receives only 60.00. Lower them, raise `price` or `fund_share`, \
             or set `allow_loss: true`",
        ),
        (&schedule("6of49", "UTC", 1), "schedules[0].lottery: "),
        (&schedule("5of36", "Moscow", 1), "schedules[0].time_zone: "),
        (&schedule("5of36", "UTC", 376_993), "schedules[0].pool: "),
        ("tickets: {", "my.yaml"),
    ] {
        fs::write(&file, yaml).unwrap();
        let said = refusal(&program, &["--config", "my.yaml"]).await;
        assert!(said.contains(named), "{named} {said}");
    }
    let said = refusal(&program, &["--config", "none.yaml", "migrate"]).await;
    assert!(said.contains("none.yaml"), "{said}");
    // `config.yaml` in the working directory is read by default.
    fs::rename(&file, program.directory().join("config.yaml")).unwrap();
    assert!(refusal(&program, &[]).await.contains("config.yaml"));
    assert!(!program.data().exists());
}

#[actix_web::test]
async fn admin_create_refuses_invalid_arguments() {
    let program = Program::new();
    for (username, email, password, named) in [
        ("a", "a@example.com", PASSWORD, "--username"),
        ("ann", "nowhere", PASSWORD, "--email"),
        ("ann", "a@example.com", "short", "the password"),
        ("ann", "a@example.com", "", "the password"),
        ("ann", "a@example.com", "PassWord1", "the password is one of the most common"),
        ("boss.of.all", "a@example.com", "Boss.Of.All", "the password must not be the username"),
    ] {
        let (code, out, error) = printed(&program.create_admin(username, email, password).await);
        assert_eq!((code, out.as_str()), (Some(1), ""));
        assert!(error.contains(named), "{error}");
    }
    assert_eq!(
        program.run(&["admin", "create", "--username", "ann"]).await.status.code(),
        Some(2),
        "a usage error"
    );
    assert!(!program.data().exists(), "no server was started for them");
}
