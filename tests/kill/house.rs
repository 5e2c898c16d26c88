//! A house to ill-treat: the service's own program in a directory of its own, with the private Postgres
//! that it starts there. Knows how to start, stop, kill and freeze either; knows nothing of draws.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lottery::db::{self, Db};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use private_postgres::PostgresServer;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio_postgres::{Client, Config};

/// No test depends on this being short; it only ends those that would never end.
pub const PATIENCE: Duration = Duration::from_secs(90);
pub const SECRET: &str = "what the kill rounds sign their tokens with";

/// Lines of the service's log that are kept, to be shown when something is wrong.
const LOG_LINES: usize = 400;

pub struct House {
    dir: PathBuf,
    /// Goes with the house, if it was made for it.
    _own: Option<TempDir>,
    service: Option<Child>,
    database: Config,
    /// Where the service answers; empty while it does not run.
    address: watch::Sender<String>,
    log: Arc<Mutex<VecDeque<String>>>,
    /// What was done to it, and how often.
    pub befallen: BTreeMap<String, usize>,
    /// What was stopped, and must go on some time.
    frozen: Vec<Pid>,
}

impl House {
    /// With nothing prepared; the service answers.
    pub async fn open() -> House {
        let dir = tempfile::Builder::new().prefix("lottery-kill-").tempdir().unwrap();
        // The private server's user may enter, as it usually may.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut house = House::open_in(dir.path()).await;
        house._own = Some(dir);
        house
    }

    /// In this directory, where there is nothing yet.
    pub async fn open_in(dir: &Path) -> House {
        let mut house = House {
            dir: dir.to_owned(),
            _own: None,
            service: None,
            database: Config::new(),
            address: watch::Sender::default(),
            log: Arc::default(),
            befallen: BTreeMap::new(),
            frozen: Vec::new(),
        };
        house.start().await;
        house
    }

    /// The program, in this house.
    fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lottery"));
        command.current_dir(&self.dir).env_clear();
        command.envs(["PATH", "HOME"].iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.envs([
            ("LOTTERY__SERVER__PORT", "0"),
            ("LOTTERY__SERVER__WORKERS", "2"),
            ("LOTTERY__AUTH__JWT_SECRET", SECRET),
            ("LOTTERY__LOG__FORMAT", "json"),
            ("LOTTERY__LIMITS__ENABLED", "false"),
            // Short enough that a frozen database is met by all three: waiting, overloaded, unknown.
            ("LOTTERY__PERSISTENCE__DEADLINE", "1s"),
            // Short enough that reservations run out in the middle of everything.
            ("LOTTERY__TICKETS__RESERVATION", "3s"),
        ]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Starts the service and waits until it answers.
    pub async fn start(&mut self) {
        let mut child = self.program().spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (log, found) = (self.log.clone(), watch::Sender::new(String::new()));
        let mut answers = found.subscribe();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let event: Value = serde_json::from_str(&line).unwrap_or_default();
                if event["message"] == "the service answers" {
                    found.send_replace(event["address"].as_str().unwrap_or_default().to_owned());
                }
                let mut log = log.lock().unwrap();
                log.push_back(line);
                if log.len() > LOG_LINES {
                    log.pop_front();
                }
            }
        });
        self.service = Some(child);
        let answering = answers.wait_for(|address| !address.is_empty());
        let address = match tokio::time::timeout(PATIENCE, answering).await {
            Ok(Ok(address)) => address.clone(),
            _ => panic!("the service does not start:\n{}", self.log()),
        };
        // The service runs its server, so this joins that one.
        let joined =
            PostgresServer::start_or_join(&db::private_server_options(self.dir.join("data"))).await.unwrap();
        self.database = joined.connection();
        self.address.send_replace(address);
    }

    /// Where the service answers, now and after every start.
    pub fn address(&self) -> watch::Receiver<String> {
        self.address.subscribe()
    }

    fn signal(&self, signal: Signal) {
        let id = self.service.as_ref().and_then(Child::id).expect("the service runs");
        kill(Pid::from_raw(id.cast_signed()), signal).unwrap();
    }

    pub async fn kill_service(&mut self) {
        self.signal(Signal::SIGKILL);
        self.gone().await;
    }

    /// Stops the service in good order; it must end well.
    pub async fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let code = self.gone().await;
        assert_eq!(code, Some(0), "{}", self.log());
    }

    async fn gone(&mut self) -> Option<i32> {
        let mut service = self.service.take().expect("the service runs");
        self.address.send_replace(String::new());
        let ended = tokio::time::timeout(PATIENCE, service.wait()).await;
        ended.unwrap_or_else(|_| panic!("the service does not end:\n{}", self.log())).unwrap().code()
    }

    /// Whether the service still runs, as it must whatever becomes of its Postgres.
    pub fn runs(&mut self) -> bool {
        self.service.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// A connection of our own to the service's Postgres, as soon as that takes one.
    pub async fn sql(&self) -> Client {
        let connecting = async {
            loop {
                match db::connect(&self.database).await {
                    Ok(client) => return client,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        let connected = tokio::time::timeout(PATIENCE, connecting).await;
        connected.unwrap_or_else(|_| panic!("Postgres does not come back:\n{}", self.log()))
    }

    /// For writing people without the hashing of their passwords.
    pub fn db(&self) -> Db {
        Db::new(&self.database, 2).unwrap()
    }

    pub fn postmaster(&self) -> Pid {
        self.recorded().unwrap_or_else(|| panic!("no Postgres runs:\n{}", self.log()))
    }

    /// The postmaster that its own file names.
    fn recorded(&self) -> Option<Pid> {
        let file = fs::read_to_string(self.dir.join("data/postgres/postmaster.pid")).ok()?;
        Some(Pid::from_raw(file.lines().next()?.parse().ok()?))
    }

    /// The postmaster first, then all its children.
    async fn postgres(&self) -> Vec<Pid> {
        let rows = self.sql().await.query("SELECT pid FROM pg_stat_activity", &[]).await.unwrap();
        let children = rows.iter().map(|row| Pid::from_raw(row.get(0)));
        std::iter::once(self.postmaster()).chain(children).collect()
    }

    /// Kills every process of Postgres at once, as a machine that loses its power would.
    pub async fn kill_postgres(&self) {
        for pid in self.postgres().await {
            // It may be gone already.
            let _ = kill(pid, Signal::SIGKILL);
        }
    }

    /// Stops every process of Postgres in the middle of whatever it does.
    pub async fn freeze(&mut self) {
        self.frozen = self.postgres().await;
        for pid in &self.frozen {
            let _ = kill(*pid, Signal::SIGSTOP);
        }
    }

    pub fn thaw(&mut self) {
        for pid in self.frozen.drain(..) {
            let _ = kill(pid, Signal::SIGCONT);
        }
    }

    /// Frozen, and to be found so by the next service.
    pub fn leave_frozen(&mut self) -> Vec<Pid> {
        std::mem::take(&mut self.frozen)
    }

    /// The end of the service's log, for whoever reads a failure.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().iter().cloned().collect::<Vec<_>>().join("\n")
    }

    /// Stops everything; the directory goes. After all that befell it, `lottery check` finds nothing, neither beside
    /// the service nor without it.
    pub async fn close(mut self) {
        let postmaster = self.postmaster();
        self.check().await;
        self.stop().await;
        assert!(!lives(postmaster), "its Postgres outlived the service");
        self.check().await;
    }

    /// What any operator would ask.
    async fn check(&self) {
        let checked = self.program().arg("check").stderr(Stdio::piped()).output();
        let checked = tokio::time::timeout(PATIENCE, checked).await.expect("a check has an end").unwrap();
        let said = String::from_utf8_lossy(&[checked.stdout, checked.stderr].concat()).into_owned();
        assert!(checked.status.success() && said.contains("every law holds"), "{said}");
    }
}

impl Drop for House {
    /// Also when a test fails half-way: nothing may outlive it.
    fn drop(&mut self) {
        self.thaw();
        if let Some(mut service) = self.service.take() {
            let _ = service.start_kill();
        }
        if let Some(postmaster) = self.recorded() {
            let _ = kill(postmaster, Signal::SIGKILL);
        }
    }
}

pub fn lives(pid: Pid) -> bool {
    // A zombie has done all that a process does. Without /proc there are none of ours.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let zombie = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'));
    kill(pid, None) != Err(Errno::ESRCH) && !zombie
}
