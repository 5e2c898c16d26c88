//! A private PostgreSQL server for one application: found, started, supervised and stopped.
//!
//! The README says what it is for and what it guarantees. This is how it is done:
//! - `lock`: a lock file in the data directory names the one process that owns the server. The kernel
//!   releases the lock when that process dies.
//! - `postmaster`: Postgres is a direct child of its owner, and reads from a pipe that only the owner holds
//!   open. When the pipe closes, because the owner stopped, panicked or was killed, Postgres is shut down.
//! - `supervisor`: when Postgres dies, it is started again. Its crash recovery restores every committed
//!   transaction.
//! - `orphan`: a server that still runs at the next start is shut down first and never reused. So every server
//!   is the child of its owner and has its owner's settings, and no transaction of a dead owner goes on.
//! - `access`: who may log in, and as which role.
//! - `binaries`, `install`, `user`, `location`, `cluster`, `socket`: which Postgres is started, as which user,
//!   and where its files are.
//!
//! It does not know the application's schema, its connection pool or its configuration file.

mod access;
mod binaries;
mod client;
mod cluster;
mod error;
mod files;
mod install;
mod launch;
mod location;
mod lock;
mod log;
mod orphan;
mod postmaster;
mod socket;
mod supervisor;
mod user;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use error::PostgresError;
use launch::{Launch, RetryPolicy};
use lock::OwnerLock;

/// How often, and with which pause, a joining process checks whether the owner's server is ready.
const JOIN_ATTEMPTS: u32 = 600;
const JOIN_PAUSE: Duration = Duration::from_millis(100);

/// The longest name of an application: the short paths of sockets contain it.
const NAME_LIMIT: usize = 32;

/// Which server to start, and where.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// The application's name: the database and its owner are called so. It also names what is made outside of
    /// the data directory. At most 32 lower-case letters, digits and `_`; a letter comes first.
    pub name: String,
    /// The application's data directory. A relative path starts at the working directory.
    pub data_dir: PathBuf,
    /// Roles besides the owner that may log in. They are made at the start and may do nothing until the owner grants
    /// it. Their names are like the application's.
    pub login_roles: Vec<String>,
    /// Whether a new cluster may be made. If not, a data directory without one is refused and nothing is written.
    pub create: bool,
    /// The oldest major version that a new cluster may be made with.
    pub min_major: u32,
    /// Whether root may install the platform's Postgres package where no Postgres is found.
    pub install: bool,
    /// Settings of `postgresql.conf` as name and value. They override the defaults of this crate.
    pub settings: Vec<(String, String)>,
    /// Directories to search for Postgres' binaries, instead of `PATH` and the usual directories.
    pub binary_dirs: Option<Vec<PathBuf>>,
}

impl PostgresOptions {
    /// Postgres 14 or later, installed if it is missing and root asks, with the default settings.
    pub fn new(name: impl Into<String>, data_dir: impl Into<PathBuf>) -> PostgresOptions {
        PostgresOptions {
            name: name.into(),
            data_dir: data_dir.into(),
            login_roles: Vec::new(),
            create: true,
            min_major: 14,
            install: true,
            settings: Vec::new(),
            binary_dirs: None,
        }
    }

    /// The names become part of paths and of SQL.
    fn check_names(&self) -> Result<(), PostgresError> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let valid = |name: &&String| {
            name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.chars().all(allowed)
                && name.len() <= NAME_LIMIT
        };
        match std::iter::once(&self.name).chain(&self.login_roles).find(|name| !valid(name)) {
            None => Ok(()),
            Some(name) => Err(PostgresError::Name { name: name.clone() }),
        }
    }
}

/// A running server, which this process owns or has joined.
///
/// An owned server that is dropped shuts down in the background; [`PostgresServer::stop`] waits for the end of
/// the shutdown.
#[derive(Debug)]
pub struct PostgresServer {
    name: String,
    socket_dir: PathBuf,
    /// `None`: another process owns the server.
    supervisor: Option<SupervisorHandle>,
}

#[derive(Debug)]
struct SupervisorHandle {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), PostgresError>>,
}

impl PostgresServer {
    /// Starts the server and owns it. A service does this.
    ///
    /// It returns [`PostgresError::InUse`] if another process owns the server of this data directory. It must
    /// be called on a Tokio runtime, which then also runs the supervisor.
    pub async fn start(options: &PostgresOptions) -> Result<PostgresServer, PostgresError> {
        options.check_names()?;
        if !options.create {
            location::require_cluster(&options.data_dir)?;
        }
        let data_dir = location::prepare(&options.data_dir)?;
        let mut lock = OwnerLock::acquire(&data_dir)?;
        let (launch, location_lock) = Launch::prepare(options, &data_dir, &lock).await?;
        let postmaster = launch.start(RetryPolicy::WhileBusy).await?;
        let socket_dir = launch.socket_dir.clone();
        lock.announce(&socket_dir)?;
        tracing::info!(cluster = %launch.cluster.display(), "the private Postgres is ready");

        let (stop, stopped) = oneshot::channel();
        let locks = (lock, location_lock);
        let task = tokio::spawn(async move {
            // Another process may start a server only after this task has ended, so the task owns the locks.
            let _locks = locks;
            supervisor::run(launch, postmaster, stopped).await
        });
        let supervisor = Some(SupervisorHandle { stop, task });
        Ok(PostgresServer { name: options.name.clone(), socket_dir, supervisor })
    }

    /// Joins the server of another process, or starts one if there is none. A subcommand does this while the
    /// service may be running.
    ///
    /// A joined server stops when its owner stops it, even while it is in use here.
    pub async fn start_or_join(options: &PostgresOptions) -> Result<PostgresServer, PostgresError> {
        for _ in 1..JOIN_ATTEMPTS {
            match PostgresServer::start(options).await {
                Err(PostgresError::InUse { .. }) => {}
                outcome => return outcome,
            }
            if let Some(server) = PostgresServer::join(options).await? {
                return Ok(server);
            }
            tokio::time::sleep(JOIN_PAUSE).await;
        }
        PostgresServer::start(options).await
    }

    /// The server of the process that holds the lock; `None` while that server is not ready.
    async fn join(options: &PostgresOptions) -> Result<Option<PostgresServer>, PostgresError> {
        let Some(socket_dir) = lock::owner(&location::prepare(&options.data_dir)?).socket_dir else {
            return Ok(None);
        };
        let server = PostgresServer { name: options.name.clone(), socket_dir, supervisor: None };
        let Ok(client) = client::connect(&server.connection()).await else { return Ok(None) };
        // An older version of the application may have started it.
        Ok(access::ensure_roles(&client, &options.login_roles).await.is_ok().then_some(server))
    }

    /// How to connect: over the unix socket, as the owner of the application's database, who is a superuser.
    pub fn connection(&self) -> tokio_postgres::Config {
        self.connection_as(&self.name)
    }

    /// The same as another role, such as one of [`PostgresOptions::login_roles`].
    pub fn connection_as(&self, role: &str) -> tokio_postgres::Config {
        client::config(&self.socket_dir, role, &self.name)
    }

    /// The directory of the unix socket, for `psql -h`. The application's name is the owner and the database.
    pub fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    /// Waits until the supervisor has ended although nobody stopped it. Only a bug in this crate can cause
    /// that, and [`PostgresServer::stop`] then returns its error. For a joined server this waits for ever.
    pub async fn lost(&mut self) {
        match &mut self.supervisor {
            Some(supervisor) => supervisor.stop.closed().await,
            None => std::future::pending().await,
        }
    }

    /// Shuts the server down and waits until it is gone. Open transactions are rolled back. A joined server
    /// keeps running.
    pub async fn stop(self) -> Result<(), PostgresError> {
        let Some(supervisor) = self.supervisor else {
            return Ok(());
        };
        // Sending fails if the task has already ended. Its result then says why.
        let _ = supervisor.stop.send(());
        supervisor.task.await.unwrap_or_else(|panic| Err(PostgresError::Supervisor(panic)))
    }
}

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_safe_in_paths_and_in_sql() {
        let longest = "n".repeat(NAME_LIMIT);
        let too_long = "n".repeat(NAME_LIMIT + 1);
        for (name, valid) in [
            ("lottery", true),
            ("my_app_2", true),
            (longest.as_str(), true),
            (too_long.as_str(), false),
            ("", false),
            ("2nd", false),
            ("My", false),
            ("a-b", false),
            ("a/b", false),
            ("a\"; DROP DATABASE x", false),
        ] {
            assert_eq!(PostgresOptions::new(name, "data").check_names().is_ok(), valid, "{name}");
            let role =
                PostgresOptions { login_roles: vec![name.to_owned()], ..PostgresOptions::new("app", "data") };
            assert_eq!(role.check_names().is_ok(), valid, "{name}");
        }
    }
}
