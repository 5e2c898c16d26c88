//! A database whose schema is of another version of the service is refused, and nothing in it changes, unless it is a
//! newer schema that says that this version may work on it.

use std::fs;
use std::path::Path;

use lottery::db::{self, Migrated, connect, migrate, private_server_options};
use private_postgres::PostgresServer;
use refinery::{Migration, Runner};
use tokio_postgres::{Client, Config};

use super::{SECRET, open_draw, printed, program_on, refusal};
use crate::common::postgres::url;
use crate::common::process::Program;
use crate::server;

/// The migrations of an unreleased version, in short.
const UNRELEASED: &[(&str, &str)] = &[
    ("V1__schema", "CREATE TABLE users (id bigint PRIMARY KEY, username text)"),
    ("V2__hot_tables", "CREATE TABLE tickets (id uuid, status text CHECK (status <> ''))"),
    ("V3__payouts", "ALTER TABLE tickets DROP CONSTRAINT tickets_status_check"),
];

const UNRELEASED_REFUSED: &str = "lottery: this database was made by an earlier, unreleased version of the service \
    (schema V3) and cannot be upgraded. Nothing in it was changed. Export what you need with that version, then \
    start on an empty database (database.url) or in another data_dir\n";

/// A database with the migration after the newest one of this version, which older programs may not work on.
fn newer_refused() -> String {
    let newest = newest_migration();
    format!(
        "lottery: this database was made by a newer version of the service (its schema is V{0} and needs a program \
         that knows V{0}, this version knows V{newest}). Nothing in it was changed. Start that version of the \
         service, or a newer one\n",
        newest + 1
    )
}

/// The migrations of this version.
fn migrations() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut migrations: Vec<_> = files.map(|path| (name(&path), fs::read_to_string(&path).unwrap())).collect();
    migrations.sort_by_key(|(name, _)| version(name));
    migrations
}

/// The number in the name of a migration, such as `V1__schema`.
fn version(name: &str) -> i32 {
    name.trim_start_matches('V').split('_').next().unwrap().parse().unwrap()
}

fn newest_migration() -> i32 {
    migrations().iter().map(|(name, _)| version(name)).max().unwrap()
}

#[actix_web::test]
async fn a_database_of_an_unreleased_version_is_refused_and_not_changed() {
    let database = server::empty_database().await;
    let mut db = connect(&database).await.unwrap();
    apply(&mut db, UNRELEASED).await;
    db.batch_execute("INSERT INTO users VALUES (7, 'ann')").await.unwrap();
    let before = contents(&db).await;

    let program = Program::new().with("DATABASE_URL", &url(&database)).with("LOTTERY__AUTH__JWT_SECRET", SECRET);
    assert_refused(&program, UNRELEASED_REFUSED).await;
    assert_eq!(contents(&db).await, before);
    assert_eq!(advisory_locks(&db).await, 0);
}

#[actix_web::test]
async fn a_private_database_of_an_unreleased_version_is_refused_and_not_changed() {
    let program = Program::new();
    let options = private_server_options(program.data());
    let server = PostgresServer::start(&options).await.unwrap();
    let mut db = connect(server.connection()).await.unwrap();
    apply(&mut db, UNRELEASED).await;
    db.batch_execute("INSERT INTO users VALUES (7, 'ann')").await.unwrap();
    let before = contents(&db).await;
    drop(db);
    server.stop().await.unwrap();

    assert_refused(&program, UNRELEASED_REFUSED).await;
    let server = PostgresServer::start(&options).await.unwrap();
    assert_eq!(contents(&connect(server.connection()).await.unwrap()).await, before);
    server.stop().await.unwrap();
}

/// A database that the next version of the service made, with this migration after the newest one of this version.
async fn database_of_the_next_version(migration: &str) -> (Config, Client) {
    let database = server::empty_database().await;
    let mut newer = migrations();
    assert_eq!(migrate(&database).await.unwrap(), Migrated::Applied(newer.len()));
    let mut db = connect(&database).await.unwrap();
    newer.push((format!("V{}__later", newest_migration() + 1), migration.to_owned()));
    let newer: Vec<_> = newer.iter().map(|(name, sql)| (name.as_str(), sql.as_str())).collect();
    apply(&mut db, &newer).await;
    (database, db)
}

#[actix_web::test]
async fn a_database_of_a_newer_version_that_older_ones_cannot_work_on_is_refused_and_not_changed() {
    let breaking = format!(
        "ALTER TABLE users RENAME username TO login; UPDATE schema_compatibility SET oldest_program = {}",
        newest_migration() + 1
    );
    let (database, db) = database_of_the_next_version(&breaking).await;
    let before = contents(&db).await;

    let program = Program::new().with("DATABASE_URL", &url(&database)).with("LOTTERY__AUTH__JWT_SECRET", SECRET);
    assert_refused(&program, &newer_refused()).await;
    assert_eq!(refusal(&program, &["check"]).await, newer_refused());
    assert_eq!(contents(&db).await, before);
}

#[actix_web::test]
async fn this_version_works_on_a_newer_schema_that_only_adds_and_leaves_its_grants() {
    let only_adds = "CREATE TABLE later (id bigint, CHECK (id > 0)); ALTER TABLE draws ADD COLUMN note text;
        GRANT SELECT ON later TO lottery_service; GRANT UPDATE (note) ON draws TO lottery_service;";
    let (database, db) = database_of_the_next_version(only_adds).await;
    let program = program_on(&database);
    let (known, found) = (newest_migration(), newest_migration() + 1);
    let said =
        format!("the schema of this database is V{found}, made by a newer version of the service, and this");

    // The next version has granted what both need.
    db::grant(&database, db::SERVICE_ROLE).await.unwrap();
    db.batch_execute("GRANT UPDATE (note) ON draws TO lottery_service").await.unwrap();
    let mut service = program.start().await;
    service.logged(&said).await;
    let draw = open_draw(&service, &program).await;
    let ann = service.player("ann").await;
    ann.deposit(1_000_000).await;
    ann.buy_quick(draw, 3).await;
    service.stop().await;
    let migrated = program.run(&["migrate"]).await;
    assert_eq!(
        printed(&migrated),
        (Some(0), format!("nothing to migrate: {said} version (V{known}) may work on it\n"), String::new())
    );
    let granted = "SELECT has_column_privilege('lottery_service', 'draws', 'note', 'UPDATE')";
    assert!(db.query_one(granted, &[]).await.unwrap().get::<_, bool>(0), "the newer version's grants stay");

    // Its objects are no violations, and the check says that it did not compare them.
    let (code, checked, _) = printed(&program.run(&["check"]).await);
    assert_eq!(code, Some(0), "{checked}");
    assert!(checked.contains(&format!("The schema is V{found}, of a newer version")), "{checked}");
    db.batch_execute("ALTER TABLE transfers DISABLE TRIGGER ALL; DELETE FROM transfers").await.unwrap();
    let (code, checked, _) = printed(&program.run(&["check"]).await);
    assert_eq!(code, Some(1), "the rows are checked all the same: {checked}");
}

/// Each command that migrates refuses, with this sentence alone.
async fn assert_refused(program: &Program, sentence: &str) {
    assert_eq!(refusal(program, &["migrate"]).await, sentence);
    assert_eq!(refusal(program, &["serve"]).await, sentence);
    let admin = program.create_admin("root", "root@example.com", "correct horse battery").await;
    assert_eq!(printed(&admin), (Some(1), String::new(), sentence.to_owned()));
}

/// Migrates as a version of the service with these migrations does.
async fn apply(db: &mut Client, migrations: &[(&str, &str)]) {
    let migrations: Vec<_> =
        migrations.iter().map(|(name, sql)| Migration::unapplied(name, sql).unwrap()).collect();
    Runner::new(&migrations).run_async(db).await.unwrap();
}

/// Every row of every table and of the catalog of tables, with the transaction that wrote it.
async fn contents(db: &Client) -> Vec<String> {
    let tables = "SELECT oid::regclass::text FROM pg_class
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1";
    let tables: Vec<String> = db.query(tables, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert!(tables.len() > 2, "{tables:?}");
    let catalog = ["pg_class", "pg_attribute", "pg_proc", "pg_constraint"];
    let mut contents = Vec::new();
    for table in tables.iter().map(String::as_str).chain(catalog) {
        // Autovacuum updates pg_class in place, with the same transaction.
        let rows = match table {
            "pg_class" => "SELECT xmin, relname FROM pg_class ORDER BY oid".to_owned(),
            _ => format!("SELECT xmin, t::text FROM {table} t ORDER BY 2"),
        };
        let rows = format!("SELECT concat_ws(' ', r.*) FROM ({rows}) r");
        let rows = db.query(&rows, &[]).await.unwrap();
        contents.extend(rows.iter().map(|row| format!("{table}: {}", row.get::<_, String>(0))));
    }
    contents
}

async fn advisory_locks(db: &Client) -> i64 {
    let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    db.query_one(sql, &[]).await.unwrap().get(0)
}
