//! The Postgres that all tests of this process share: started by the first, gone with the process. Each
//! world gets a database of its own, cloned from a template that was migrated once.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;

use lottery::db::{connect, migrate, private_server_options};
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use private_postgres::PostgresServer;
use tokio::sync::Mutex;
use tokio_postgres::Config;

static SERVER: OnceLock<Config> = OnceLock::new();
/// CREATE DATABASE from a template allows one at a time.
static CLONING: Mutex<()> = Mutex::const_new(());
static CLONES: AtomicU32 = AtomicU32::new(0);

/// Of the servers' directories; the process id follows.
const PREFIX: &str = "lottery-tests-";
const TEMPLATE: &str = "template_lottery";

/// A fresh database with the schema, and nothing else in it.
pub async fn database() -> Config {
    let server = tokio::task::spawn_blocking(|| SERVER.get_or_init(start)).await.unwrap();
    let name = format!("world_{}", CLONES.fetch_add(1, Ordering::Relaxed));
    let _one_at_a_time = CLONING.lock().await;
    let client = connect(server).await.unwrap();
    client.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}")).await.unwrap();
    named(server, &name)
}

fn named(server: &Config, name: &str) -> Config {
    let mut config = server.clone();
    config.dbname(name);
    config
}

/// Removes what earlier processes could not: theirs ended with the server still in its directory.
fn clear() {
    for entry in std::fs::read_dir(std::env::temp_dir()).unwrap().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok());
        let left = pid.is_some_and(|pid| kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH));
        if left {
            // Somebody else's stays.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// The server lives on a thread of its own, since every test has a runtime of its own. Nobody stops it:
/// it goes with the process, however that ends.
fn start() -> Config {
    let (ready, started) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            clear();
            let prefix = format!("{PREFIX}{}-", std::process::id());
            let directory = tempfile::Builder::new().prefix(&prefix).tempdir().unwrap();
            let options = private_server_options(directory.path());
            let server = PostgresServer::start(&options).await.unwrap();
            let config = server.connection();
            connect(&config).await.unwrap().batch_execute(&format!("CREATE DATABASE {TEMPLATE}")).await.unwrap();
            migrate(named(&config, TEMPLATE)).await.unwrap();
            ready.send(config).unwrap();
            std::future::pending::<()>().await;
        });
    });
    started.recv().expect("the test server starts")
}
