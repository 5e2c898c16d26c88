//! The private Postgres: the server that `lottery serve` starts when no database is configured.
//!
//! It is a real server made of the binaries installed on the machine: fsync on, no TCP, one unix
//! socket in a directory that only its user (and root) can enter. Its cluster is `postgres` in the
//! service's data directory, or elsewhere if, as root, its user could not get there (`place`).
//!
//! **Who lives how long.** Nothing outlives the service for long, however the service ends:
//! - A lock file in the data directory names the one process that owns the server (`lock`). The
//!   kernel releases it when that process dies.
//! - Postgres is our direct child, so its death is noticed at once and it is started again
//!   (`watch`). Recovery brings back all that was committed.
//! - Postgres hangs on a *lifeline*, a pipe from us: when it closes, because we stopped, panicked
//!   or were killed, a shell shuts Postgres down (`process`).
//! - What still runs at the next start is shut down first, never adopted: so every server we use
//!   is our child, started with our settings, and no transaction of a lost process goes on.
//!
//! It knows nothing of the schema, of pools or of the configuration file.

mod binaries;
mod cluster;
mod install;
mod leftover;
mod lock;
mod place;
mod process;
mod watch;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use self::lock::Lock;
use self::process::{Launch, Retry};

/// The database and its owner carry the same name.
const NAME: &str = "lottery";

/// How often a joining process looks whether the server's owner has got it ready, and how long.
const JOIN_LOOKS: u32 = 600;
const JOIN_PAUSE: Duration = Duration::from_millis(100);

/// What the private server should be like.
#[derive(Debug, Clone)]
pub struct Options {
    /// The service's data directory; relative to the working directory if it is relative.
    pub data_dir: PathBuf,
    /// Whether root may install the platform's Postgres package where there is none.
    pub install: bool,
    /// Settings of `postgresql.conf` which override ours, as name and value.
    pub settings: Vec<(String, String)>,
    /// Directories to search for Postgres' binaries, instead of `PATH` and the usual places.
    pub search: Option<Vec<PathBuf>>,
}

impl Options {
    pub fn new(data_dir: impl Into<PathBuf>) -> Options {
        Options { data_dir: data_dir.into(), install: true, settings: Vec::new(), search: None }
    }
}

/// A running server that this process owns or has joined.
///
/// Dropping an owned one shuts it down in the background; [`Server::stop`] waits for that.
#[derive(Debug)]
pub struct Server {
    socket_dir: PathBuf,
    owned: Option<Owned>,
}

#[derive(Debug)]
struct Owned {
    stop: oneshot::Sender<()>,
    watch: JoinHandle<Result<(), ServerError>>,
}

impl Server {
    /// Starts the server and owns it: what the service does.
    ///
    /// Refused with [`ServerError::InUse`] if another process owns the server of this directory.
    /// Must be called on a Tokio runtime, which then also watches the server.
    pub async fn start(options: &Options) -> Result<Server, ServerError> {
        let data_dir = place::prepare(&options.data_dir)?;
        let mut lock = Lock::take(&data_dir)?;
        let (launch, place_lock) = Launch::prepare(options, &data_dir, &lock).await?;
        let postmaster = launch.patiently(Retry::WhileBusy).await?;
        let socket_dir = launch.socket_dir.clone();
        lock.announce(&socket_dir)?;
        tracing::info!(cluster = %launch.cluster.display(), "the private Postgres is ready");

        let (stop, stopped) = oneshot::channel();
        let locks = (lock, place_lock);
        let watch = tokio::spawn(async move {
            // The locks go with the task: another process may start only once this one is done.
            let _locks = locks;
            watch::keep_running(launch, postmaster, stopped).await
        });
        Ok(Server { socket_dir, owned: Some(Owned { stop, watch }) })
    }

    /// Uses the server of a running service, or else starts one of its own: what subcommands do.
    ///
    /// A joined server goes when its owner stops it, also under our feet.
    pub async fn start_or_join(options: &Options) -> Result<Server, ServerError> {
        for _ in 1..JOIN_LOOKS {
            match Server::start(options).await {
                Err(ServerError::InUse { .. }) => {}
                outcome => return outcome,
            }
            if let Some(server) = Server::join(&options.data_dir).await? {
                return Ok(server);
            }
            tokio::time::sleep(JOIN_PAUSE).await;
        }
        Server::start(options).await
    }

    /// The server of the process that holds the lock, if that has got it ready.
    async fn join(data_dir: &Path) -> Result<Option<Server>, ServerError> {
        let Some(socket_dir) = lock::holder(&place::prepare(data_dir)?).socket_dir else {
            return Ok(None);
        };
        let server = Server { socket_dir, owned: None };
        Ok(process::connect(&server.connection()).await.is_ok().then_some(server))
    }

    /// How to connect: over the unix socket, as the owner of the database `lottery`.
    pub fn connection(&self) -> tokio_postgres::Config {
        connection(&self.socket_dir, NAME)
    }

    /// Where the socket is, as `psql -h` wants it (the user and the database are `lottery`).
    pub fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    /// Resolves when nobody watches the server any more, which only a bug of ours can do; `stop` then says
    /// why. Never for a joined one.
    pub async fn lost(&mut self) {
        match &mut self.owned {
            Some(owned) => owned.stop.closed().await,
            None => std::future::pending().await,
        }
    }

    /// Shuts the server down (open transactions are rolled back) and waits until it is gone.
    /// A joined one is left running.
    pub async fn stop(self) -> Result<(), ServerError> {
        let Some(owned) = self.owned else {
            return Ok(());
        };
        // The task may have ended by itself, after `lost`: then its result tells.
        let _ = owned.stop.send(());
        owned.watch.await.unwrap_or_else(|panic| Err(ServerError::Watch(panic)))
    }
}

fn connection(socket_dir: &Path, database: &str) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    config.host_path(socket_dir).port(process::PORT).user(NAME).dbname(database);
    config
}

/// Why there is no private server. Each says what to do about it, where we know.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error(
        "no Postgres (version {oldest} or later) is installed on this machine: install it \
         (Debian, Ubuntu: apt-get install postgresql; Fedora: dnf install postgresql-server; \
         Alpine: apk add postgresql; macOS: brew install postgresql@17), or give the URL of a \
         running server as database.url in config.yaml or as DATABASE_URL",
        oldest = binaries::OLDEST_MAJOR
    )]
    NotInstalled,
    #[error(
        "{} was made by Postgres {needed} and needs that version, but installed {}: \
         install Postgres {needed}, or bring the cluster up to date with pg_upgrade",
        cluster.display(), versions(found)
    )]
    WrongVersion { cluster: PathBuf, needed: u32, found: Vec<u32> },
    #[error("{} is in use by {}: stop that first", data_dir.display(), holder(*pid))]
    InUse { data_dir: PathBuf, pid: Option<u32> },
    #[error("the package of Postgres could not be installed: {0}")]
    Install(String),
    #[error("Postgres refuses to run as root, and there is neither a user postgres nor a user nobody")]
    NoUser,
    #[error(
        "the database is kept in {}, where the server's user {user} cannot get (or which is \
         gone): let that user into each directory on the way there",
        place.display()
    )]
    Unreachable { place: PathBuf, user: String },
    #[error("cannot {doing} {}: {source}", path.display())]
    File { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("no new cluster could be made in {}: {output}", cluster.display())]
    Initdb { cluster: PathBuf, output: String },
    #[error("Postgres did not start on {} ({why}): {log}", cluster.display())]
    Start { cluster: PathBuf, why: String, log: String },
    #[error("Postgres (process {pid}) does not stop")]
    Stop { pid: i32 },
    #[error("the private Postgres answers, but not as it should: {0}")]
    Sql(#[from] tokio_postgres::Error),
    #[error("the task that watches Postgres broke: {0}")]
    Watch(tokio::task::JoinError),
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or("another process".into(), |pid| format!("process {pid}"))
}

fn versions(found: &[u32]) -> String {
    match found {
        [] => "is none".into(),
        [one] => format!("is {one}"),
        many => format!("are {}", many.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// Says which file an I/O error was about.
trait At<T> {
    fn at(self, doing: &'static str, path: &Path) -> Result<T, ServerError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, doing: &'static str, path: &Path) -> Result<T, ServerError> {
        self.map_err(|source| ServerError::File { doing, path: path.to_owned(), source })
    }
}
