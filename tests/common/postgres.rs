//! The private Postgres that all tests of one process share, and how to connect to it.

use std::path::PathBuf;
use std::sync::{OnceLock, mpsc};

use lottery::db::{SERVICE_ROLE, private_server_options};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use private_postgres::PostgresServer;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

static SERVER: OnceLock<Config> = OnceLock::new();

/// The names of the servers' temporary directories begin with this and the process id.
const PREFIX: &str = "lottery-tests-";

/// Connects as the owner to the server of this process, which the first call starts: in this directory, or in a temporary one.
/// It ends with the process.
pub async fn shared_server(directory: Option<PathBuf>) -> Config {
    tokio::task::spawn_blocking(|| SERVER.get_or_init(|| start(directory))).await.unwrap().clone()
}

/// The server runs on a thread of its own, because the runtime of the test that starts it ends before it.
fn start(directory: Option<PathBuf>) -> Config {
    let (ready, started) = mpsc::channel();
    // The services and clients of a test process share its descriptors. Like a service of its own, it takes all it may have.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let directory = directory.unwrap_or_else(temporary_directory);
            let server = PostgresServer::start(&private_server_options(directory)).await.unwrap();
            ready.send(server.connection()).unwrap();
            std::future::pending::<()>().await;
        });
    });
    started.recv().expect("the test server starts")
}

/// Nothing removes it when this process ends, since the server runs until then: a later process does.
fn temporary_directory() -> PathBuf {
    remove_directories_of_ended_processes();
    let prefix = format!("{PREFIX}{}-", std::process::id());
    tempfile::Builder::new().prefix(&prefix).tempdir().unwrap().keep()
}

fn remove_directories_of_ended_processes() {
    for entry in std::fs::read_dir(std::env::temp_dir()).unwrap().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok());
        let ended = pid.is_some_and(|pid| kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH));
        if ended {
            // Another user's directory cannot be removed, and stays.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Another database of the same server.
pub fn database(server: &Config, name: &str) -> Config {
    let mut config = server.clone();
    config.dbname(name);
    config
}

/// The same database with the service's login, given the one of its owner.
pub fn service(owner: &Config) -> Config {
    let mut config = owner.clone();
    config.user(SERVICE_ROLE);
    config
}

/// The sockets' directories, user and database of servers that listen on Unix sockets.
fn parts(config: &Config) -> (String, &str, &str) {
    let socket = |host: &Host| match host {
        Host::Unix(socket) => socket.display().to_string(),
        Host::Tcp(_) => panic!("the tests' servers have Unix sockets"),
    };
    let sockets: Vec<String> = config.get_hosts().iter().map(socket).collect();
    (sockets.join(","), config.get_user().unwrap(), config.get_dbname().unwrap())
}

/// The connection as the configuration key `database.url` takes it, in libpq's keyword form.
pub fn connection_string(config: &Config) -> String {
    let (sockets, user, name) = parts(config);
    format!("host='{sockets}' user={user} dbname={name}")
}

/// The same as a URL, in which the socket's directory stands percent-encoded where the host would (libpq, 34.1.1).
pub fn url(config: &Config) -> String {
    let (sockets, user, name) = parts(config);
    format!("postgres://{user}@{}/{name}", sockets.replace('/', "%2F"))
}

/// Ends every session of this database but the one that runs it.
pub const END_OTHER_SESSIONS: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()";
/// Counts the sessions of this database that wait for a lock.
pub const SESSIONS_WAITING_FOR_LOCKS: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'";
