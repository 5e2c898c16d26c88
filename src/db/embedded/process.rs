//! One Postgres process: started, waited for until it answers, and shut down.
//!
//! **The lifeline.** Postgres is started by a shell that first leaves a small watcher behind and
//! then becomes Postgres, so Postgres is our own child. The watcher reads from a pipe whose other
//! end only we hold. A line says that Postgres is gone and the watcher may go; an end of file says
//! that *we* are gone, in whatever way, and the watcher has Postgres shut down fast. (Linux's
//! `PR_SET_PDEATHSIG` would follow the thread that started it, not the process.)
//!
//! It does not start a second one when the first dies: that is [`super::watch`].

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::kill;
use nix::unistd::Pid;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};

use super::binaries::{self, Binaries};
use super::leftover::{self, SHUTDOWN};
use super::lock::Lock;
use super::place::{self, ServerUser};
use super::{At, NAME, Options, ServerError, cluster, install};

/// The socket's name carries a port, though nothing listens on one.
pub(super) const PORT: u16 = 5432;

const LOG: &str = "postgres.log";
const LOG_LINES: usize = 12;
/// The log is emptied when it grows beyond this.
const LOG_LIMIT: u64 = 16 << 20;

/// How long a start may take: after a crash Postgres first replays up to `max_wal_size` of log.
const START_LIMIT: Duration = Duration::from_secs(10 * 60);
const ANSWER_PAUSE: Duration = Duration::from_millis(20);
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// How often the first start is tried while something stands in its way, about a minute in all.
const START_ATTEMPTS: u32 = 16;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

const SHARED_BUFFERS: &str = "256MB";
const SHORT_OF_MEMORY: &str = "16MB";

/// The rest stays at its default. What makes a commit durable is said outright.
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", ""),
    ("unix_socket_permissions", "0700"),
    ("fsync", "on"),
    ("full_page_writes", "on"),
    ("synchronous_commit", "on"),
    ("max_connections", "100"),
    ("max_wal_size", "4GB"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("logging_collector", "off"),
];

/// `$$` is the process that becomes Postgres. The watcher is the child of a child that ends at
/// once: a child of Postgres it must not be, for Postgres would take its death for a crash.
const WITH_LIFELINE: &str = r#"
exec 3<&0 </dev/null
( ( trap '' HUP INT TERM; read -r line <&3 || kill -INT $$ ) >/dev/null 2>&1 & )
exec "$@" 3<&-
"#;

/// All it takes to start the server, again and again.
#[derive(Debug)]
pub(super) struct Launch {
    pub cluster: PathBuf,
    pub socket_dir: PathBuf,
    log: PathBuf,
    binaries: Binaries,
    user: ServerUser,
    settings: Vec<(String, String)>,
}

/// Which failures to start are worth another try.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Retry {
    /// Those that pass by themselves: backends that outlived their postmaster.
    WhileBusy,
    /// All, for as long as it takes: it ran before, and what keeps it from running now (a full disk, no
    /// memory) may pass at any time.
    Always,
}

/// A running postmaster.
#[derive(Debug)]
pub(super) struct Postmaster {
    child: Child,
    lifeline: ChildStdin,
}

impl Launch {
    /// Finds or installs the binaries, finds or makes the cluster, and sees that nothing runs on
    /// it. The second lock is that of a place elsewhere, which a copied data directory shares.
    pub(super) async fn prepare(
        options: &Options,
        data_dir: &Path,
        lock: &Lock,
    ) -> Result<(Launch, Option<Lock>), ServerError> {
        let known = place::known(data_dir)?;
        let (user, binaries) = programs(options, known.as_deref()).await?;
        let place = place::decide(data_dir, known, &user).await?;
        let place_lock = (place != data_dir).then(|| Lock::take(&place)).transpose()?;
        cluster::ensure(&place, &binaries, &user).await?;

        let cluster = place::cluster_in(&place);
        leftover::stop(&cluster).await?;
        if let Some(previous) = &lock.previous_socket_dir {
            place::remove_socket_dir(previous);
        }
        let log = data_dir.join(LOG);
        open_log(&log)?.set_len(0).at("empty", &log)?;
        let socket_dir = place::socket_dir(&place, &user)?;
        let settings = options.settings.clone();
        Ok((Launch { cluster, socket_dir, log, binaries, user, settings }, place_lock))
    }

    /// Starts the server, again if that failed for a reason that passes.
    pub(super) async fn patiently(&self, retry: Retry) -> Result<Postmaster, ServerError> {
        let mut buffers = SHARED_BUFFERS;
        let mut pause = FIRST_PAUSE;
        let mut attempts = 0;
        loop {
            self.bound_log();
            let error = match self.once(buffers).await {
                Ok(postmaster) => return Ok(postmaster),
                Err(error) => error,
            };
            attempts += 1;
            let short = says(&error, &["could not map anonymous shared memory"]);
            if short {
                tracing::warn!("memory is short: Postgres gets {SHORT_OF_MEMORY} of buffers");
                buffers = SHORT_OF_MEMORY;
            }
            let passes = short || says(&error, &["is still in use", "already exists"]);
            if retry == Retry::WhileBusy && (!passes || attempts == START_ATTEMPTS) {
                return Err(error);
            }
            tracing::warn!(%error, "trying again in {pause:?}");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn once(&self, buffers: &str) -> Result<Postmaster, ServerError> {
        leftover::stop(&self.cluster).await?;
        place::clear_socket(&self.socket_dir);
        let log = open_log(&self.log)?;
        let log_start = log.metadata().at("measure", &self.log)?.len();
        let mut postmaster = self.spawn(buffers, log)?;

        let why = tokio::select! {
            status = postmaster.exited() => status.to_string(),
            answer = tokio::time::timeout(START_LIMIT, self.answers()) => match answer {
                Ok(Ok(())) => return Ok(postmaster),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {START_LIMIT:?}"),
            },
        };
        postmaster.stop().await?;
        let log = self.log_since(log_start);
        Err(ServerError::Start { cluster: self.cluster.clone(), why, log })
    }

    fn spawn(&self, buffers: &str, log: File) -> Result<Postmaster, ServerError> {
        let mut command = self.user.command(Path::new("/bin/sh"));
        command.arg("-c").arg(WITH_LIFELINE).arg("sh");
        command.arg(self.binaries.postgres()).arg("-D").arg(&self.cluster);
        let socket_dir = self.socket_dir.to_string_lossy();
        let port = PORT.to_string();
        let ours =
            [("port", port.as_str()), ("unix_socket_directories", &socket_dir), ("shared_buffers", buffers)];
        let settings = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in SETTINGS.iter().copied().chain(ours).chain(settings) {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        let other_log = log.try_clone().at("share", &self.log)?;
        command.stdin(Stdio::piped()).stdout(log).stderr(other_log);
        let mut child = command.spawn().at("start", Path::new("/bin/sh"))?;
        let lifeline = child.stdin.take().ok_or(std::io::ErrorKind::BrokenPipe.into());
        Ok(Postmaster { child, lifeline: lifeline.at("hold on to", &self.cluster)? })
    }

    /// Waits until the server takes connections, and sees to it that there is our database.
    async fn answers(&self) -> Result<(), tokio_postgres::Error> {
        let connection = super::connection(&self.socket_dir, NAME);
        loop {
            let Err(error) = connect(&connection).await else {
                return Ok(());
            };
            match error.code() {
                Some(&SqlState::INVALID_CATALOG_NAME) => {
                    let client = connect(&super::connection(&self.socket_dir, "postgres")).await?;
                    client.batch_execute(&format!("CREATE DATABASE {NAME}")).await?;
                }
                None | Some(&SqlState::CANNOT_CONNECT_NOW | &SqlState::TOO_MANY_CONNECTIONS) => {}
                Some(_) => return Err(error),
            }
            tokio::time::sleep(ANSWER_PAUSE).await;
        }
    }

    fn log_since(&self, start: u64) -> String {
        let mut text = Vec::new();
        let read = File::open(&self.log).and_then(|mut log| {
            log.seek(SeekFrom::Start(start))?;
            log.take(LOG_LIMIT).read_to_end(&mut text)
        });
        match read {
            Ok(_) => tail(&String::from_utf8_lossy(&text), LOG_LINES),
            Err(error) => format!("{}: {error}", self.log.display()),
        }
    }

    /// Keeps the log's size bounded. Postgres appends, so it goes on at the new end.
    pub(super) fn bound_log(&self) {
        if fs::metadata(&self.log).is_ok_and(|log| log.len() > LOG_LIMIT) {
            let _ = open_log(&self.log).map(|log| log.set_len(0));
        }
    }
}

impl Postmaster {
    /// Waits until the process is gone. Safe to cancel.
    pub(super) async fn exited(&mut self) -> ExitStatus {
        let status = self.child.wait().await;
        // The process is gone and its pid may go to another: the watcher must not signal it.
        let _ = self.lifeline.write_all(b"\n").await;
        status.unwrap_or_default()
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Shuts it down, if it still runs.
    pub(super) async fn stop(mut self) -> Result<(), ServerError> {
        let Some(id) = self.pid() else { return Ok(()) };
        let pid = Pid::from_raw(id.cast_signed());
        for (signal, limit) in SHUTDOWN {
            // Not reaped yet, so the pid is still this child's.
            let _ = kill(pid, signal);
            if tokio::time::timeout(limit, self.exited()).await.is_ok() {
                return Ok(());
            }
            tracing::warn!(%pid, "{signal} did not stop Postgres within {limit:?}");
        }
        Err(ServerError::Stop { pid: pid.as_raw() })
    }
}

/// The binaries, and the user who will run them: Postgres' package may bring that user along.
async fn programs(options: &Options, known: Option<&Path>) -> Result<(ServerUser, Binaries), ServerError> {
    let cluster = known.filter(|place| place::has_cluster(place)).map(place::cluster_in);
    let search = || async {
        let user = ServerUser::choose(cluster.as_deref())?;
        let found = binaries::find(options.search.as_deref(), &user).await;
        binaries::pick(found, cluster.as_deref()).map(|binaries| (user, binaries))
    };
    match search().await {
        Err(ServerError::NotInstalled) if options.install && place::we_are_root() => {
            install::install().await?;
            search().await
        }
        outcome => outcome,
    }
}

pub(super) async fn connect(config: &Config) -> Result<Client, tokio_postgres::Error> {
    let mut config = config.clone();
    let (client, connection) = config.connect_timeout(CONNECT_LIMIT).connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

fn open_log(path: &Path) -> Result<File, ServerError> {
    let mut open = OpenOptions::new();
    open.create(true).append(true).mode(0o600).open(path).at("open", path)
}

fn says(error: &ServerError, words: &[&str]) -> bool {
    matches!(error, ServerError::Start { log, .. } if words.iter().any(|word| log.contains(word)))
}

/// The last lines of a text, in one line.
pub(super) fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join(" | ")
}
