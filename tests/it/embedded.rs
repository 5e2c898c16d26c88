//! The private Postgres, with real processes: restarts, kills, odd places, two at once.
//!
//! The services that get killed are this test binary again, told by an environment variable to
//! act as one ([`acts_as_a_service`]).

use std::fs;
use std::future::Future;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lottery::db::embedded::{Options, Server, ServerError};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

/// No test depends on this being short; it only ends those that would never end.
const WAIT_LIMIT: Duration = Duration::from_secs(90);

/// The data directory of the service that this binary should act as.
const ACT_AS_SERVICE: &str = "LOTTERY_TEST_ACT_AS_SERVICE";

/// A directory that the server's user may enter, as a project's usually is, whatever our umask.
fn project() -> TempDir {
    directory(0o755)
}

fn directory(mode: u32) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
    dir
}

fn options(data_dir: &Path) -> Options {
    let small = vec![("shared_buffers".into(), "16MB".into())];
    Options { install: false, settings: small, ..Options::new(data_dir) }
}

async fn connect(server: &Server) -> Client {
    try_connect(server).await.expect("the server takes connections")
}

async fn try_connect(server: &Server) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = server.connection().connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn sell(server: &Server, tickets: i64) {
    let client = connect(server).await;
    let sql = "CREATE TABLE IF NOT EXISTS ticket (number bigint PRIMARY KEY)";
    client.batch_execute(sql).await.unwrap();
    let sql = "INSERT INTO ticket SELECT generate_series(1, $1::bigint)";
    client.execute(sql, &[&tickets]).await.unwrap();
}

async fn sold(server: &Server) -> i64 {
    connect(server).await.query_one("SELECT count(*) FROM ticket", &[]).await.unwrap().get(0)
}

async fn show(server: &Server, setting: &str) -> String {
    connect(server).await.query_one(&format!("SHOW {setting}"), &[]).await.unwrap().get(0)
}

async fn postmaster(server: &Server) -> Pid {
    let path = Path::new(&show(server, "data_directory").await).join("postmaster.pid");
    let text = fs::read_to_string(path).unwrap();
    Pid::from_raw(text.lines().next().unwrap().parse().unwrap())
}

fn lives(pid: Pid) -> bool {
    // A zombie has done all that a process does. Without /proc there are none of ours.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let zombie = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'));
    kill(pid, None) != Err(Errno::ESRCH) && !zombie
}

async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(WAIT_LIMIT, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

async fn gone(pid: Pid) {
    until("the server is gone", || async { !lives(pid) }).await;
}

/// Another process that runs the service on a data directory.
struct Service(Child);

impl Service {
    fn spawn(data_dir: &Path) -> Service {
        let (_, module) = module_path!().split_once("::").expect("a module of the test binary");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([&format!("{module}::acts_as_a_service"), "--exact", "--nocapture"]);
        command.env(ACT_AS_SERVICE, data_dir).stdout(Stdio::piped());
        Service(command.spawn().unwrap())
    }

    fn start(data_dir: &Path) -> Service {
        let mut service = Service::spawn(data_dir);
        let lines = BufReader::new(service.0.stdout.as_mut().unwrap()).lines();
        let ready = lines.map_while(Result::ok).any(|line| line.contains("service is ready"));
        assert!(ready, "the service did not start");
        service
    }

    fn kill_9(self) {
        drop(self);
    }
}

impl Drop for Service {
    /// Also when a test fails half-way.
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test]
async fn acts_as_a_service() {
    let Some(data_dir) = std::env::var_os(ACT_AS_SERVICE) else {
        return;
    };
    let _server = Server::start(&options(Path::new(&data_dir))).await.unwrap();
    println!("service is ready");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_restart_finds_the_data() {
    let project = project();
    let options = options(&project.path().join("data"));
    let server = Server::start(&options).await.unwrap();
    sell(&server, 7).await;
    let pid = postmaster(&server).await;
    server.stop().await.unwrap();
    assert!(!lives(pid), "stop waits for the end");

    let server = Server::start(&options).await.unwrap();
    assert_eq!(sold(&server).await, 7);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn it_is_durable_and_private() {
    let project = project();
    let data_dir = project.path().join("data");
    let server = Server::start(&options(&data_dir)).await.unwrap();
    for (setting, value) in [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("listen_addresses", ""),
        ("timezone", "UTC"),
        ("server_encoding", "UTF8"),
        ("shared_buffers", "16MB"),
    ] {
        assert_eq!(show(&server, setting).await, value, "{setting}");
    }
    let mode = fs::metadata(server.socket_dir()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    // It hides from the tests' group, so that the terminal's Ctrl-C is not its business.
    let pid = postmaster(&server).await;
    assert_eq!(nix::unistd::getpgid(Some(pid)).unwrap(), pid);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_owner_is_refused() {
    let project = project();
    let server = Server::start(&options(project.path())).await.unwrap();
    match Server::start(&options(project.path())).await.unwrap_err() {
        ServerError::InUse { data_dir, pid } => {
            assert_eq!(data_dir, fs::canonicalize(project.path()).unwrap());
            assert_eq!(pid, Some(std::process::id()));
        }
        other => panic!("{other}"),
    }
    connect(&server).await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn two_projects_run_side_by_side() {
    let projects = [project(), project()];
    let one = Server::start(&options(projects[0].path())).await.unwrap();
    let other = Server::start(&options(projects[1].path())).await.unwrap();
    sell(&one, 1).await;
    sell(&other, 2).await;
    one.stop().await.unwrap();
    assert_eq!(sold(&other).await, 2);
    other.stop().await.unwrap();
}

#[tokio::test]
async fn a_subcommand_joins_the_service_and_leaves_it_running() {
    let project = project();
    let service = Service::start(project.path());
    let joined = Server::start_or_join(&options(project.path())).await.unwrap();
    sell(&joined, 3).await;
    let pid = postmaster(&joined).await;
    joined.stop().await.unwrap();
    assert!(lives(pid));

    let again = Server::start_or_join(&options(project.path())).await.unwrap();
    assert_eq!(sold(&again).await, 3);
    service.kill_9();
}

#[tokio::test]
async fn a_subcommand_waits_for_a_service_that_is_starting() {
    let project = project();
    let (one, other) = (options(project.path()), options(project.path()));
    // Both at once: one of them starts the server, the other waits for it and joins.
    let (one, other) = tokio::join!(Server::start_or_join(&one), Server::start_or_join(&other));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(postmaster(&one).await, postmaster(&other).await);
    one.stop().await.unwrap();
    other.stop().await.unwrap();
}

#[tokio::test]
async fn a_subcommand_alone_starts_a_server_and_stops_it() {
    let project = project();
    let server = Server::start_or_join(&options(project.path())).await.unwrap();
    let pid = postmaster(&server).await;
    server.stop().await.unwrap();
    assert!(!lives(pid));
}

#[tokio::test]
async fn a_killed_postmaster_comes_back_with_the_rows() {
    let project = project();
    let server = Server::start(&options(project.path())).await.unwrap();
    sell(&server, 5).await;
    for _ in 0..2 {
        let pid = postmaster(&server).await;
        kill(pid, Signal::SIGKILL).unwrap();
        gone(pid).await;
        until("it is back", || async { try_connect(&server).await.is_ok() }).await;
        assert_ne!(postmaster(&server).await, pid);
        assert_eq!(sold(&server).await, 5);
    }
    server.stop().await.unwrap();
}

/// A busy backend does not notice its postmaster's death and holds the shared memory, which a new
/// postmaster must not touch.
#[tokio::test]
async fn an_orphaned_backend_is_outwaited() {
    let project = project();
    let server = Server::start(&options(project.path())).await.unwrap();
    sell(&server, 5).await;
    let busy = connect(&server).await;
    let orphan: i32 = busy.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let orphan = Pid::from_raw(orphan);
    let query = tokio::spawn(async move {
        let sql = "DO $$ DECLARE till timestamptz := clock_timestamp() + interval '2 s'; \
                   BEGIN WHILE clock_timestamp() < till LOOP END LOOP; END $$";
        busy.batch_execute(sql).await
    });
    let watching = connect(&server).await;
    until("the backend is busy", || async {
        let sql = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'DO%'";
        !watching.query(sql, &[]).await.unwrap().is_empty()
    })
    .await;

    kill(postmaster(&server).await, Signal::SIGKILL).unwrap();
    until("it is back", || async { try_connect(&server).await.is_ok() }).await;
    assert!(!lives(orphan), "two servers at once on one cluster");
    assert_eq!(sold(&server).await, 5);
    let _ = query.await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_killed_service_leaves_no_server_and_loses_no_row() {
    let project = project();
    let service = Service::start(project.path());
    let joined = Server::start_or_join(&options(project.path())).await.unwrap();
    sell(&joined, 9).await;
    let pid = postmaster(&joined).await;
    service.kill_9();
    gone(pid).await;

    let server = Server::start(&options(project.path())).await.unwrap();
    assert_eq!(sold(&server).await, 9);
    server.stop().await.unwrap();
}

/// The next start does not wait for us to see that the old server is gone.
#[tokio::test]
async fn a_start_right_after_the_kill_works() {
    let project = project();
    for tickets in [1, 2, 3] {
        let service = Service::start(project.path());
        let joined = Server::start_or_join(&options(project.path())).await.unwrap();
        connect(&joined).await.batch_execute("DROP TABLE IF EXISTS ticket").await.unwrap();
        sell(&joined, tickets).await;
        service.kill_9();
        let server = Server::start(&options(project.path())).await.unwrap();
        assert_eq!(sold(&server).await, tickets);
        server.stop().await.unwrap();
    }
}

/// When the watcher at the lifeline was killed too, the server lives on until the next start.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_server_left_running_is_shut_down_first() {
    let project = project();
    let service = Service::start(project.path());
    let joined = Server::start_or_join(&options(project.path())).await.unwrap();
    sell(&joined, 4).await;
    let left = postmaster(&joined).await;
    let watcher = group_of(left).into_iter().find(|pid| *pid != left).expect("a watcher");
    kill(watcher, Signal::SIGKILL).unwrap();
    service.kill_9();

    let server = Server::start(&options(project.path())).await.unwrap();
    assert!(!lives(left));
    assert_eq!(sold(&server).await, 4);
    server.stop().await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn all_of_it_killed_at_once_loses_no_row() {
    let project = project();
    let service = Service::start(project.path());
    let joined = Server::start_or_join(&options(project.path())).await.unwrap();
    sell(&joined, 6).await;
    let left = postmaster(&joined).await;
    for pid in group_of(left) {
        kill(pid, Signal::SIGKILL).unwrap();
    }
    service.kill_9();

    let server = Server::start(&options(project.path())).await.unwrap();
    assert_eq!(sold(&server).await, 6);
    server.stop().await.unwrap();
}

/// Every process of a server, stopped in the middle of whatever it does; the postmaster first. They go on
/// with the end of the test, however it ends.
#[cfg(target_os = "linux")]
struct Frozen(Vec<Pid>);

#[cfg(target_os = "linux")]
impl Frozen {
    async fn of(server: &Server) -> Frozen {
        let rows = connect(server).await.query("SELECT pid FROM pg_stat_activity", &[]).await.unwrap();
        let children = rows.iter().map(|row| Pid::from_raw(row.get(0)));
        let frozen = Frozen(std::iter::once(postmaster(server).await).chain(children).collect());
        frozen.tell(Signal::SIGSTOP);
        frozen
    }

    fn tell(&self, signal: Signal) {
        for pid in &self.0 {
            // It may be gone.
            let _ = kill(*pid, signal);
        }
    }

    fn any_lives(&self) -> bool {
        self.0.iter().any(|pid| lives(*pid))
    }
}

#[cfg(target_os = "linux")]
impl Drop for Frozen {
    fn drop(&mut self) {
        self.tell(Signal::SIGCONT);
    }
}

/// A stopped process hears no signal but SIGKILL.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_frozen_server_left_behind_is_shut_down_too() {
    let project = project();
    let service = Service::start(project.path());
    let joined = Server::start_or_join(&options(project.path())).await.unwrap();
    sell(&joined, 5).await;
    let left = Frozen::of(&joined).await;
    service.kill_9();
    assert!(lives(left.0[0]), "it cannot go by itself");

    // Woken first, it ends at the first signal, and not only when that has waited its time.
    let options = options(project.path());
    let starting = tokio::time::timeout(WAIT_LIMIT / 3, Server::start(&options));
    let server = starting.await.expect("at once").unwrap();
    assert!(!left.any_lives());
    assert_eq!(sold(&server).await, 5);

    let left = Frozen::of(&server).await;
    server.stop().await.unwrap();
    assert!(!left.any_lives());
}

/// Its children do not see it die, and hold on to what the next one needs.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_postmaster_that_dies_frozen_comes_back_with_the_rows() {
    let project = project();
    let server = Server::start(&options(project.path())).await.unwrap();
    sell(&server, 5).await;
    let left = Frozen::of(&server).await;
    kill(left.0[0], Signal::SIGKILL).unwrap();
    gone(left.0[0]).await;
    until("it is back", || async { try_connect(&server).await.is_ok() }).await;
    assert_eq!(sold(&server).await, 5);
    assert!(!left.any_lives());
    server.stop().await.unwrap();
}

/// Postgres' backends lead groups of their own: here are the postmaster and its watcher.
#[cfg(target_os = "linux")]
fn group_of(leader: Pid) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let members = pids.map(Pid::from_raw);
    members.filter(|pid| nix::unistd::getpgid(Some(*pid)) == Ok(leader)).collect()
}

#[tokio::test]
async fn a_dropped_server_goes_too() {
    let project = project();
    let server = Server::start(&options(project.path())).await.unwrap();
    let pid = postmaster(&server).await;
    drop(server);
    gone(pid).await;
    let again = Server::start_or_join(&options(project.path())).await.unwrap();
    again.stop().await.unwrap();
}

#[tokio::test]
async fn a_kill_while_the_cluster_is_made_leaves_nothing_half_made() {
    let project = project();
    let entries = || fs::read_dir(project.path()).unwrap().flatten();
    let half_made = || entries().any(|entry| entry.file_name().to_string_lossy().starts_with("postgres.new."));
    let cluster = project.path().join("postgres");
    let service = Service::spawn(project.path());
    until("a cluster is in the making", || async { half_made() || cluster.exists() }).await;
    service.kill_9();
    assert_eq!(cluster.exists(), cluster.join("PG_VERSION").exists(), "all or nothing");

    // And something that a much older attempt left.
    fs::create_dir_all(project.path().join("postgres.new.1/base")).unwrap();
    let server = loop {
        match Server::start(&options(project.path())).await {
            Err(ServerError::InUse { .. }) => tokio::task::yield_now().await, // by what was just forked
            started => break started.unwrap(),
        }
    };
    sell(&server, 1).await;
    server.stop().await.unwrap();
    assert!(!project.path().join("postgres.new.1").exists());
}

#[tokio::test]
async fn a_pid_file_that_names_a_stranger_does_no_harm() {
    let project = project();
    let server = Server::start(&options(project.path())).await.unwrap();
    sell(&server, 2).await;
    let pid_file = project.path().join("postgres/postmaster.pid");
    let text = fs::read_to_string(&pid_file).unwrap();
    let (_, rest) = text.split_once('\n').unwrap();
    server.stop().await.unwrap();
    let mut stranger = Command::new("sleep").arg("600").spawn().unwrap();
    fs::write(&pid_file, format!("{}\n{rest}", stranger.id())).unwrap();

    let server = Server::start(&options(project.path())).await.unwrap();
    assert_eq!(sold(&server).await, 2);
    assert!(stranger.try_wait().unwrap().is_none(), "it was not signalled");
    server.stop().await.unwrap();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[tokio::test]
async fn a_deep_or_odd_path_works() {
    let project = project();
    for name in ["d".repeat(120), "my lottery, again".into()] {
        let data_dir = project.path().join(name);
        let server = Server::start(&options(&data_dir)).await.unwrap();
        let socket_dir = server.socket_dir().to_owned();
        assert!(!socket_dir.starts_with(&data_dir), "{}", socket_dir.display());
        let mode = fs::metadata(&socket_dir).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let joined = Server::start_or_join(&options(&data_dir)).await.unwrap();
        sell(&joined, 1).await;
        server.stop().await.unwrap();
        assert!(!socket_dir.exists(), "a socket under a short path is removed");
    }
}

#[tokio::test]
async fn a_killed_service_on_a_deep_path_leaves_no_socket_directories() {
    let project = project();
    let data_dir = project.path().join("d".repeat(120));
    let service = Service::start(&data_dir);
    let joined = Server::start_or_join(&options(&data_dir)).await.unwrap();
    let socket_dir = joined.socket_dir().to_owned();
    service.kill_9();
    let server = Server::start(&options(&data_dir)).await.unwrap();
    assert!(!socket_dir.exists());
    server.stop().await.unwrap();
}

/// As root only: an ordinary user's server is at home where the user is.
#[tokio::test]
async fn below_a_root_only_home_the_database_goes_elsewhere_and_stays_there() {
    if !Uid::effective().is_root() {
        return;
    }
    let home = directory(0o700);
    let data_dir = home.path().join("project/data");
    let server = Server::start(&options(&data_dir)).await.unwrap();
    sell(&server, 8).await;
    let note = fs::read_to_string(data_dir.join("postgres.place")).unwrap();
    let place = PathBuf::from(note.trim());
    assert!(place.starts_with("/var/lib/lottery"), "{}", place.display());
    let cluster = show(&server, "data_directory").await;
    assert_eq!(PathBuf::from(cluster), place.join("postgres"));
    server.stop().await.unwrap();

    // Now the server's user could get into the data directory, but that is not where the rows are.
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let server = Server::start(&options(&data_dir)).await.unwrap();
    assert_eq!(sold(&server).await, 8);

    // A copy of the data directory leads to the same cluster, and is refused while that is in use.
    let copy = home.path().join("copy");
    fs::create_dir(&copy).unwrap();
    fs::write(copy.join("postgres.place"), note).unwrap();
    let refusal = Server::start(&options(&copy)).await.unwrap_err();
    assert!(matches!(refusal, ServerError::InUse { .. }), "{refusal}");
    assert_eq!(sold(&server).await, 8);
    server.stop().await.unwrap();
    fs::remove_dir_all(place).unwrap();
}

/// The other way round: the cluster was made in the data directory, which is closed later.
#[tokio::test]
async fn a_cluster_out_of_reach_is_named_and_not_replaced() {
    if !Uid::effective().is_root() {
        return;
    }
    let home = project();
    let data_dir = home.path().join("data");
    Server::start(&options(&data_dir)).await.unwrap().stop().await.unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let refusal = Server::start(&options(&data_dir)).await.unwrap_err();
    assert!(matches!(refusal, ServerError::Unreachable { .. }), "{refusal}");
    assert!(refusal.to_string().contains(&data_dir.display().to_string()), "{refusal}");
}

#[tokio::test]
async fn without_postgres_it_says_what_to_do() {
    let project = project();
    let search = Some(vec![project.path().join("no-bin")]);
    let options = Options { search, ..options(project.path()) };
    let refusal = Server::start(&options).await.unwrap_err();
    assert!(matches!(refusal, ServerError::NotInstalled));
    let sentence = refusal.to_string();
    for word in ["apt-get install postgresql", "database.url", "DATABASE_URL"] {
        assert!(sentence.contains(word), "{sentence}");
    }
}

#[tokio::test]
async fn a_cluster_of_another_version_is_named() {
    let project = project();
    Server::start(&options(project.path())).await.unwrap().stop().await.unwrap();
    fs::write(project.path().join("postgres/PG_VERSION"), "11\n").unwrap();
    let refusal = Server::start(&options(project.path())).await.unwrap_err();
    assert!(matches!(refusal, ServerError::WrongVersion { needed: 11, .. }), "{refusal}");
}

#[tokio::test]
async fn a_failed_start_shows_the_log() {
    let project = project();
    let settings = vec![("no_such_setting".into(), "1".into())];
    let options = Options { settings, ..options(project.path()) };
    let refusal = Server::start(&options).await.unwrap_err();
    assert!(matches!(refusal, ServerError::Start { .. }), "{refusal}");
    assert!(refusal.to_string().contains("no_such_setting"), "{refusal}");
}
