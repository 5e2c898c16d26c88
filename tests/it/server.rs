//! A database for each world, cloned from a template that is migrated once.

use std::sync::atomic::{AtomicU32, Ordering};

use lottery::db::{SERVICE_ROLE, connect, grant, migrate};
use tokio::sync::{Mutex, OnceCell};
use tokio_postgres::Config;

use crate::common::postgres;
use crate::common::wait::until;

/// The server, once it has the template.
static SERVER: OnceCell<Config> = OnceCell::const_new();
/// CREATE DATABASE from a template allows one at a time.
static CLONING: Mutex<()> = Mutex::const_new(());
static CLONES: AtomicU32 = AtomicU32::new(0);

const TEMPLATE: &str = "template_lottery";

/// A new database with the schema and without rows. The service's login has its privileges.
pub async fn database() -> Config {
    let server = SERVER.get_or_init(server_with_template).await;
    let name = format!("world_{}", CLONES.fetch_add(1, Ordering::Relaxed));
    let _one_at_a_time = CLONING.lock().await;
    let client = connect(server).await.unwrap();
    client.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}")).await.unwrap();
    postgres::database(server, &name)
}

/// A copy of a database that nobody uses: a backup.
pub async fn copy(database: &Config) -> Config {
    let server = SERVER.get_or_init(server_with_template).await;
    let name = format!("world_{}", CLONES.fetch_add(1, Ordering::Relaxed));
    let _one_at_a_time = CLONING.lock().await;
    let of = database.get_dbname().unwrap();
    let client = connect(server).await.unwrap();
    // The sessions of a service that has stopped may end a moment later.
    let copy = format!("CREATE DATABASE {name} TEMPLATE {of}");
    until("nobody uses the database", async || client.batch_execute(&copy).await.is_ok()).await;
    postgres::database(server, &name)
}

/// Puts a backup in the place of a database, also of one that is used.
pub async fn restore(database: &Config, backup: &Config) {
    let client = connect(SERVER.get().unwrap()).await.unwrap();
    let (name, backup) = (database.get_dbname().unwrap(), backup.get_dbname().unwrap());
    let _one_at_a_time = CLONING.lock().await;
    client.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
    client.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {backup}")).await.unwrap();
}

/// A new database without a schema.
pub async fn empty_database() -> tokio_postgres::Config {
    let mut database = database().await;
    let name = format!("{}_empty", database.get_dbname().unwrap());
    let db = connect(&database).await.unwrap();
    db.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0")).await.unwrap();
    database.dbname(&name);
    database
}

async fn server_with_template() -> Config {
    let server = postgres::shared_server(None).await;
    connect(&server).await.unwrap().batch_execute(&format!("CREATE DATABASE {TEMPLATE}")).await.unwrap();
    let template = postgres::database(&server, TEMPLATE);
    migrate(&template).await.unwrap();
    grant(&template, SERVICE_ROLE).await.unwrap();
    server
}
