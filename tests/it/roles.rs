//! The two logins of the database: the owner migrates and grants, and the service works with no more than it needs.
//! Every world of the other tests has both logins, too.

use std::collections::BTreeSet;

use lottery::db::{self, DbError, GRANTS, SERVICE_ROLE, connect, private_server_options};
use private_postgres::{PostgresOptions, PostgresServer};
use reqwest::Method;
use serde_json::json;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::common::postgres::{self, service, url};
use crate::common::process::{Program, Service};
use crate::common::{MASTER_SECRET, PASSWORD};
use crate::server;
use crate::world::*;

const OWNER_URL: &str = "LOTTERY__DATABASE__OWNER_URL";

/// The program with this login for the service, on its own database.
fn program(login: &tokio_postgres::Config) -> Program {
    Program::new()
        .with("DATABASE_URL", &url(login))
        .with("LOTTERY__AUTH__JWT_SECRET", "what these tests sign their tokens with")
        .with("LOTTERY__FAIRNESS__MASTER_SECRET", MASTER_SECRET)
}

/// What a command that must refuse prints.
async fn refusal(program: &Program, arguments: &[&str]) -> String {
    let output = program.run(arguments).await;
    let printed = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{printed}");
    printed
}

#[actix_web::test]
async fn every_table_and_view_has_a_line_in_the_grants() {
    let sql = "SELECT relname::text FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND (relkind IN ('r', 'p', 'v', 'm', 'f') OR relname = 'draws_id_seq')";
    let rows = connect(server::database().await).await.unwrap().query(sql, &[]).await.unwrap();
    let tables: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    let listed: BTreeSet<String> = GRANTS.iter().map(|(table, _)| (*table).to_owned()).collect();
    assert_eq!(tables, listed, "each table and view has a line in GRANTS (src/db/grants.rs), and no other has");
    assert_eq!(listed.len(), GRANTS.len(), "one line each");
}

#[actix_web::test]
async fn the_services_login_is_refused_what_it_never_does() {
    let mut world = World::new().await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 1_000_000).await;
    let draw = admin.open_draw(&world, 0).await;
    ann.buy_quick(draw, 1).await;
    admin.conduct(draw).await;
    world.stop().await;

    let sql = connect(service(&world.database)).await.unwrap();
    for forbidden in [
        "UPDATE audit_log SET action = 'none'",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
        "UPDATE draw_seals SET tickets = 0",
        "DELETE FROM draw_seals",
        "INSERT INTO draw_results (draw_id, pick, drawn_at, jackpot, cursor) VALUES (9, 31, now(), 0, 1)",
        "INSERT INTO draw_results (draw_id, pick, drawn_at, jackpot, prize_fund) VALUES (9, 31, now(), 0, 1)",
        "UPDATE draw_results SET pick = 31",
        "UPDATE draw_results SET jackpot = 1",
        "DELETE FROM draw_results",
        "UPDATE draws SET price = 1",
        "UPDATE tickets SET pick = 31",
        "UPDATE transfers SET amount = 1",
        "DELETE FROM transfers",
        "UPDATE payments SET user_id = 1",
        "UPDATE accounts SET kind = 'reserve'",
        "DELETE FROM accounts",
        "DELETE FROM users",
        "UPDATE refinery_schema_history SET checksum = ''",
        "ALTER TABLE audit_log DISABLE TRIGGER audit_log_stays",
        "ALTER TABLE draw_results DISABLE TRIGGER ALL",
        "DROP TRIGGER audit_log_stays ON audit_log",
        "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TABLE mine (id bigint)",
        "CREATE FUNCTION mine() RETURNS bigint LANGUAGE sql AS 'SELECT 1'",
        "ALTER TABLE tickets ADD COLUMN mine bigint",
        "DROP TABLE audit_log",
        "SET session_replication_role = replica",
        "SET ROLE lottery",
        "CREATE ROLE mine",
        "ALTER SYSTEM SET fsync = off",
        "COPY users TO PROGRAM 'cat'",
    ] {
        let refused = sql.batch_execute(forbidden).await.expect_err(forbidden);
        assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{forbidden}: {refused:?}");
    }
    // This is no error in SQL, and has no effect.
    sql.batch_execute("GRANT UPDATE ON audit_log TO lottery_service").await.unwrap();
    assert!(!db::grant(&world.database, SERVICE_ROLE).await.unwrap());
    world.check_invariants().await;
}

/// The logins of this database's sessions, but for the tests'.
async fn logins(sql: &Client) -> BTreeSet<String> {
    let logins = "SELECT usename::text FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND usename IS NOT NULL";
    sql.query(logins, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[actix_web::test]
async fn a_whole_game_and_its_housekeeping_need_only_the_services_login() {
    let world =
        World::with(|config| config.persistence.keys_kept = std::time::Duration::from_secs(24 * 3600)).await;
    let admin = world.admin().await;
    let (ann, bob) = (world.rich_player("ann", 5_000_000).await, world.rich_player("bob", 5_000_000).await);
    let (draw, cancelled) = (admin.open_draw(&world, 5).await, admin.open_draw(&world, 5).await);
    ann.post_keyed(&format!("/draws/{draw}/tickets"), "key", order(json!([quick_pick()]), "wallet"))
        .await
        .expect(201);
    ann.buy_quick(draw, 100).await;
    let reserved = bob.reserve(draw).await;
    bob.pay(id(&reserved["payment"]), card(GOOD_CARD)).await.expect(200);
    bob.delete(&format!("/tickets/{}", id(&bob.reserve(draw).await["tickets"][0]))).await.expect(204);
    bob.buy_quick(cancelled, 3).await;
    admin.cancel(cancelled).await.expect(200);
    let withdrawal = bob.post("/wallet/withdrawals", json!({"amount": 500})).await.expect(201);
    let approve = format!("/admin/withdrawals/{}/approve", id(&withdrawal));
    admin.send(admin.request(Method::POST, &approve)).await.expect(200);
    let body = json!({"current_password": PASSWORD, "new_password": "another horse battery"});
    bob.post("/me/password", body).await.expect(204);
    let reset = admin.send(admin.request(Method::POST, &format!("/admin/users/{}/password-reset", ann.id))).await;
    let reset = json!({"token": reset.expect(200)["token"], "new_password": PASSWORD});
    world.anonymous().post("/auth/password-reset", reset).await.expect(204);
    assert_eq!(admin.conduct(draw).await["tickets_sold"], 102);
    for table in ["draws", "tickets", "users", "payments", "transfers", "winners", "finance", "finance_draws"] {
        let path = format!("/admin/export/{table}?format=ndjson");
        assert_eq!(admin.request(Method::GET, &path).send().await.unwrap().status(), 200, "{table}");
    }
    world.advance(jiff::SignedDuration::from_hours(24 * 60));
    let kept = "SELECT (SELECT count(*) FROM idempotency_keys) + (SELECT count(*) FROM refresh_tokens)
        + (SELECT count(*) FROM sessions)";
    until("old keys, tokens and sessions are dropped", async || world.count(kept).await == 0).await;

    let sql = world.sql().await;
    // The test's own connections as the owner end a moment after they are dropped.
    let service_alone = BTreeSet::from([SERVICE_ROLE.to_owned()]);
    until("only the service is logged in", async || logins(&sql).await == service_alone).await;
    let client = connect(service(&world.database)).await.unwrap();
    let checked = db::read::check::check(&client, Some(&ticket_logs(&client).await), |_| {}).await.unwrap();
    assert!(checked.violations.is_empty(), "{checked:#?}");
}

/// Plays a draw over HTTP, and lets the commands read the books beside the service.
async fn play(service: &Service, program: &Program, admin: &User, player: &str) {
    let ann = service.player(player).await;
    ann.deposit(5_000_000).await;
    let body = json!({"lottery": "5of36", "sales_close_at": "2099-01-01T00:00:00Z"});
    let draw = admin.create_draw(body).await;
    admin.pool(draw, 5).await.expect(201);
    admin.step(draw, "open").await.expect(200);
    ann.buy_quick(draw, 50).await;
    ann.reserve(draw).await;
    admin.conduct(draw).await;
    for command in [&["check"][..], &["export", "tickets"]] {
        let output = program.run(command).await;
        assert!(output.status.success(), "{output:?}");
    }
}

#[actix_web::test]
async fn the_private_server_has_both_logins_and_an_older_cluster_gets_them() {
    let program = Program::new();
    // As older versions made it: one login, which everybody may use.
    let options = PostgresOptions { login_roles: Vec::new(), ..private_server_options(program.data()) };
    let old = PostgresServer::start(&options).await.unwrap();
    db::migrate(old.connection()).await.unwrap();
    old.stop().await.unwrap();
    std::fs::write(program.data().join("postgres/pg_hba.conf"), "local all all trust\n").unwrap();
    let refused = refusal(&program, &["check"]).await;
    assert!(refused.contains("run `lottery migrate`"), "{refused}");

    let service = program.start().await;
    let admin = service.admin(&program, "root").await;
    play(&service, &program, &admin, "ann").await;
    let joined = PostgresServer::start_or_join(&private_server_options(program.data())).await.unwrap();
    let sql = connect(joined.connection()).await.unwrap();
    // The owner's sessions of the start and of the command end a moment after those.
    let service_alone = BTreeSet::from([SERVICE_ROLE.to_owned()]);
    until("the service alone is connected", async || logins(&sql).await == service_alone).await;
    let log = service.stop().await;
    assert!(!log.iter().any(|line| line.contains("owner_url")), "{log:#?}");
    assert!(program.run(&["check"]).await.status.success());
}

#[actix_web::test]
async fn with_one_url_it_works_with_a_warning_and_without_the_owner_it_works_when_migrated() {
    let database = server::empty_database().await;
    db::migrate(&database).await.unwrap();
    let alone = program(&database);
    let mut running = alone.start().await;
    running.logged("database.owner_url").await;
    let admin = running.admin(&alone, "root").await;
    play(&running, &alone, &admin, "ann").await;
    running.stop().await;

    // The service's login alone: first it may not even read, and then it needs no owner any more.
    let served = program(&service(&database));
    for command in ["check", "serve", "migrate"] {
        let refused = refusal(&served, &[command]).await;
        assert!(refused.contains("may not read") && refused.contains("`lottery migrate`"), "{refused}");
    }
    let both = program(&service(&database)).with(OWNER_URL, &url(&database));
    assert!(both.run(&["migrate"]).await.status.success());
    let running = served.start().await;
    play(&running, &served, &running.log_in("root").await, "bob").await;
    let log = running.stop().await;
    assert!(!log.iter().any(|line| line.contains("owner_url")), "{log:#?}");
}

#[actix_web::test]
async fn logins_that_are_mixed_up_are_refused() {
    let database = server::database().await;
    let of_service = service(&database);
    let same = program(&database).with(OWNER_URL, &url(&database));
    let refused = refusal(&same, &["serve"]).await;
    assert!(refused.contains("the login of database.url, lottery, owns the tables"), "{refused}");
    let no_owner = program(&of_service).with(OWNER_URL, &url(&of_service));
    let refused = refusal(&no_owner, &["serve"]).await;
    assert!(refused.contains("lottery_service does not own the table accounts"), "{refused}");

    // Another database than the owner's.
    let empty = server::empty_database().await;
    let two = program(&service(&empty)).with(OWNER_URL, &url(&database));
    let refused = refusal(&two, &["serve"]).await;
    assert!(refused.contains("V0 and this version of the service needs"), "{refused}");
    let refused = refusal(&program(&service(&empty)), &["serve"]).await;
    assert!(refused.contains("lottery_service may not change it: set database.owner_url"), "{refused}");
}

/// The privileges as rows of the catalog, with the transactions that wrote them.
async fn catalog(sql: &Client) -> Vec<(String, String)> {
    let rows = "SELECT xmin::text, relname || coalesce(relacl::text, '') FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v') ORDER BY relname";
    sql.query(rows, &[]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[actix_web::test]
async fn each_start_applies_the_grants_and_writes_only_what_differs() {
    let world = World::new().await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 10_000_000).await;
    let draw = admin.open_draw(&world, 0).await;
    let sql = world.sql().await;
    let before = catalog(&sql).await;
    assert!(!db::grant(&world.database, SERVICE_ROLE).await.unwrap());
    assert_eq!(catalog(&sql).await, before, "nothing was written");

    let stray =
        "GRANT DELETE, UPDATE (tickets) ON draw_seals TO lottery_service; GRANT CREATE ON SCHEMA public TO PUBLIC;
        GRANT CREATE ON SCHEMA public TO lottery_service; REVOKE INSERT ON audit_log FROM lottery_service";
    sql.batch_execute(stray).await.unwrap();
    // While the service sells: no purchase may fail.
    let (selling, granting) = tokio::join!(ann.buy_quick(draw, 50), db::grant(&world.database, SERVICE_ROLE));
    assert_eq!(selling["payment"]["status"], "paid");
    assert!(granting.unwrap());
    let privileges =
        |rows: Vec<(String, String)>| rows.into_iter().map(|(_, privileges)| privileges).collect::<Vec<_>>();
    assert_eq!(privileges(catalog(&sql).await), privileges(before));
    let as_service = connect(service(&world.database)).await.unwrap();
    for forbidden in ["DELETE FROM draw_seals", "UPDATE draw_seals SET tickets = 0", "CREATE TABLE mine ()"] {
        let refused = as_service.batch_execute(forbidden).await.expect_err(forbidden);
        assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{forbidden}");
    }
    ann.buy_quick(draw, 1).await;
}

/// As on a server of a provider, where no login is a superuser.
#[actix_web::test]
async fn the_owner_need_not_be_a_superuser() {
    let directory = tempfile::Builder::new().prefix("lottery-roles-").tempdir().unwrap();
    let mut options = private_server_options(directory.path());
    options.login_roles.push("plain_owner".to_owned());
    let server = PostgresServer::start(&options).await.unwrap();
    let create = "CREATE DATABASE plain OWNER plain_owner";
    connect(server.connection()).await.unwrap().batch_execute(create).await.unwrap();
    let mut database = postgres::database(&server.connection(), "plain");
    database.user("plain_owner");
    let mut world = World::on(database, |_| {}).await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 1_000_000).await;
    let draw = admin.open_draw(&world, 5).await;
    ann.buy_quick(draw, 10).await;
    ann.reserve(draw).await;
    admin.conduct(draw).await;
    world.check_invariants().await;
    assert!(!db::grant(&world.database, SERVICE_ROLE).await.unwrap());
    world.stop().await;
    server.stop().await.unwrap();
}

/// The names in these grants are quoted where SQL needs it.
#[actix_web::test]
async fn a_role_may_have_any_name() {
    let database = server::database().await;
    let sql = connect(&database).await.unwrap();
    sql.batch_execute("CREATE ROLE \"The \"\"Service\"\"; x\" LOGIN").await.unwrap();
    assert!(db::grant(&database, "The \"Service\"; x").await.unwrap());
    assert!(!db::grant(&database, "The \"Service\"; x").await.unwrap());
    let unknown = db::grant(&database, "no_such_role").await.unwrap_err();
    assert!(matches!(&unknown, DbError::Postgres(cause) if cause.code() == Some(&SqlState::UNDEFINED_OBJECT)));
    assert!(db::login(&postgres::database(&database, "postgres")).await.is_ok());
}
