//! What the tests share: data directories, rows, waits, and a second process that owns a server.
//!
//! That process is this test binary again. An environment variable tells it the data directory
//! ([`owns_a_server`]).

use std::fs;
use std::future::Future;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use private_postgres::{PostgresOptions, PostgresServer};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

/// Ends a test that would wait for ever. No test depends on its length.
pub const WAIT_LIMIT: Duration = Duration::from_secs(90);

/// The application's name in these tests.
pub const NAME: &str = "private_postgres_test";

/// The environment variable with the data directory of the server that this binary should own.
const OWNED_DATA_DIR: &str = "PRIVATE_POSTGRES_TEST_DATA_DIR";

/// A directory that the server's user may enter, with any umask. The directory of a project is usually so.
pub fn project() -> TempDir {
    directory(0o755)
}

pub fn directory(mode: u32) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
    dir
}

pub fn options(data_dir: &Path) -> PostgresOptions {
    install_once();
    small_server(data_dir)
}

fn small_server(data_dir: &Path) -> PostgresOptions {
    let settings = vec![("shared_buffers".into(), "16MB".into())];
    PostgresOptions { install: false, settings, ..PostgresOptions::new(NAME, data_dir) }
}

/// Installs Postgres if it is missing and root runs the tests. The tests run side by side, so none of them
/// installs it by itself.
fn install_once() {
    static INSTALLED: Once = Once::new();
    let start_and_stop = || {
        let project = project();
        let options = PostgresOptions { install: true, ..small_server(project.path()) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { PostgresServer::start(&options).await.unwrap().stop().await.unwrap() });
    };
    // A runtime cannot be started on the thread of another one.
    INSTALLED.call_once(|| thread::spawn(start_and_stop).join().expect("Postgres is installed and starts"));
}

pub async fn connect(server: &PostgresServer) -> Client {
    try_connect(server).await.expect("the server takes connections")
}

pub async fn try_connect(server: &PostgresServer) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = server.connection().connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

pub async fn insert_rows(server: &PostgresServer, count: i64) {
    let client = connect(server).await;
    let sql = "CREATE TABLE IF NOT EXISTS item (number bigint PRIMARY KEY)";
    client.batch_execute(sql).await.unwrap();
    let sql = "INSERT INTO item SELECT generate_series(1, $1::bigint)";
    client.execute(sql, &[&count]).await.unwrap();
}

pub async fn count_rows(server: &PostgresServer) -> i64 {
    connect(server).await.query_one("SELECT count(*) FROM item", &[]).await.unwrap().get(0)
}

pub async fn show(server: &PostgresServer, setting: &str) -> String {
    connect(server).await.query_one(&format!("SHOW {setting}"), &[]).await.unwrap().get(0)
}

pub async fn postmaster(server: &PostgresServer) -> Pid {
    let path = Path::new(&show(server, "data_directory").await).join("postmaster.pid");
    let text = fs::read_to_string(path).unwrap();
    Pid::from_raw(text.lines().next().unwrap().parse().unwrap())
}

pub fn is_running(pid: Pid) -> bool {
    // A zombie has ended. Where there is no /proc, the tests have no zombies.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let zombie = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'));
    kill(pid, None) != Err(Errno::ESRCH) && !zombie
}

pub async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(WAIT_LIMIT, wait).await.unwrap_or_else(|_| panic!("this never happened: {what}"));
}

pub async fn wait_until_gone(pid: Pid) {
    until("the server is gone", || async { !is_running(pid) }).await;
}

/// The processes of a process group: the postmaster and its watcher. Each backend has its own group.
#[cfg(target_os = "linux")]
pub fn group_of(leader: Pid) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let members = pids.map(Pid::from_raw);
    members.filter(|pid| nix::unistd::getpgid(Some(*pid)) == Ok(leader)).collect()
}

/// Another process, which owns the server of a data directory. Killed by SIGKILL when it is dropped.
pub struct OwnerProcess(Child);

impl OwnerProcess {
    pub fn spawn(data_dir: &Path) -> OwnerProcess {
        install_once();
        let (_, module) = module_path!().split_once("::").expect("a module of the test binary");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([&format!("{module}::owns_a_server"), "--exact", "--ignored", "--nocapture"]);
        command.env(OWNED_DATA_DIR, data_dir).stdout(Stdio::piped());
        OwnerProcess(command.spawn().unwrap())
    }

    pub fn start(data_dir: &Path) -> OwnerProcess {
        let mut owner = OwnerProcess::spawn(data_dir);
        let lines = BufReader::new(owner.0.stdout.as_mut().unwrap()).lines();
        let ready = lines.map_while(Result::ok).any(|line| line.contains("the server is ready"));
        assert!(ready, "the owner did not start its server");
        owner
    }

    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for OwnerProcess {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Runs as the other process, until that is killed.
#[tokio::test]
#[ignore = "the other tests start it as a process of its own"]
async fn owns_a_server() {
    let Some(data_dir) = std::env::var_os(OWNED_DATA_DIR) else {
        return;
    };
    let _server = PostgresServer::start(&small_server(Path::new(&data_dir))).await.unwrap();
    println!("the server is ready");
    std::future::pending::<()>().await;
}
