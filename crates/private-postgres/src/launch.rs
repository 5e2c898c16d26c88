//! All that is needed to start the server, and the start itself: with another try where that may help.
//!
//! It does not notice when a started server dies: that is `supervisor`'s part.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_postgres::error::SqlState;

use crate::binaries::{self, Binaries};
use crate::error::PostgresError;
use crate::lock::OwnerLock;
use crate::log::LogFile;
use crate::postmaster::Postmaster;
use crate::user::{self, ServerUser};
use crate::{PostgresOptions, access, client, cluster, install, location, orphan, socket};

/// How long a start may take: after a crash, Postgres first replays up to `max_wal_size` of its log.
const START_LIMIT: Duration = Duration::from_secs(10 * 60);
/// The pause between two attempts to connect to a server that is starting.
const CONNECT_PAUSE: Duration = Duration::from_millis(20);

/// How often the first start is tried while a passing error prevents it: for about a minute in all.
const START_ATTEMPTS: u32 = 16;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

const SHARED_BUFFERS: &str = "256MB";
/// Used where the machine has not enough memory for `SHARED_BUFFERS`.
const SMALL_SHARED_BUFFERS: &str = "16MB";

/// What Postgres logs when it cannot allocate its shared memory.
const OUT_OF_MEMORY: &str = "could not map anonymous shared memory";
/// What it logs when backends of a dead postmaster still use the old shared memory.
const STILL_IN_USE: [&str; 2] = ["is still in use", "already exists"];

/// Every other setting has Postgres' default. Those that make a commit durable are stated explicitly.
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

/// What is needed to start the server, as often as necessary.
#[derive(Debug)]
pub(crate) struct Launch {
    pub cluster: PathBuf,
    pub socket_dir: PathBuf,
    pub log: LogFile,
    /// The name of the database and of its owner.
    name: String,
    login_roles: Vec<String>,
    binaries: Binaries,
    user: ServerUser,
    settings: Vec<(String, String)>,
}

/// After which errors a start is tried again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum RetryPolicy {
    /// After errors that pass by themselves, such as backends that outlived their postmaster.
    WhileBusy,
    /// After every error, without an end. The server ran before, so what prevents it now (a full disk, too
    /// little memory) may pass at any time.
    Always,
}

impl Launch {
    /// Finds or installs the binaries, finds or makes the cluster, and shuts down an orphan that runs on it.
    /// It returns a second lock if the location is not the data directory: a copy of the data directory has
    /// the same location.
    pub(crate) async fn prepare(
        options: &PostgresOptions,
        data_dir: &Path,
        lock: &OwnerLock,
    ) -> Result<(Launch, Option<OwnerLock>), PostgresError> {
        let name = options.name.clone();
        let existing = location::existing(data_dir)?;
        let (user, binaries) = find_or_install(options, existing.as_deref()).await?;
        let location = location::choose(data_dir, existing, &user, &name).await?;
        let location_lock = (location != data_dir).then(|| OwnerLock::acquire(&location)).transpose()?;
        cluster::ensure(&location, &binaries, &user, &name).await?;

        let cluster = location::cluster_in(&location);
        orphan::stop(&cluster).await?;
        if user.is_shared() {
            tracing::warn!(
                cluster = %cluster.display(),
                "the database belongs to the user {}, and any program of that user can read and change it: stop \
                 this, make a user postgres, and give it the cluster (chown -R postgres:)",
                user.name()
            );
        }
        access::write_rules(&cluster, &user, &name, &options.login_roles)?;
        if let Some(previous) = &lock.previous_socket_dir {
            socket::remove_dir(previous);
        }
        let log = LogFile::create(data_dir)?;
        let socket_dir = socket::create_dir(&location, &user, &name)?;
        let (settings, login_roles) = (options.settings.clone(), options.login_roles.clone());
        Ok((Launch { cluster, socket_dir, log, name, login_roles, binaries, user, settings }, location_lock))
    }

    /// Starts the server and waits until it takes connections. `retry` says which failures are tried again.
    pub(crate) async fn start(&self, retry: RetryPolicy) -> Result<Postmaster, PostgresError> {
        let mut buffers = SHARED_BUFFERS;
        let mut pause = FIRST_PAUSE;
        let mut attempts = 0;
        loop {
            self.log.limit_size();
            let error = match self.attempt(buffers).await {
                Ok(postmaster) => return Ok(postmaster),
                Err(error) => error,
            };
            attempts += 1;
            let out_of_memory = log_contains(&error, &[OUT_OF_MEMORY]);
            if out_of_memory {
                tracing::warn!("too little memory: shared_buffers is now {SMALL_SHARED_BUFFERS}");
                buffers = SMALL_SHARED_BUFFERS;
            }
            let passing = out_of_memory || log_contains(&error, &STILL_IN_USE);
            if retry == RetryPolicy::WhileBusy && (!passing || attempts == START_ATTEMPTS) {
                return Err(error);
            }
            tracing::warn!(%error, "the start is tried again in {pause:?}");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn attempt(&self, buffers: &str) -> Result<Postmaster, PostgresError> {
        orphan::stop(&self.cluster).await?;
        socket::clear(&self.socket_dir);
        let log_start = self.log.size()?;
        let arguments = self.arguments(buffers);
        let mut postmaster = Postmaster::spawn(&self.user, &self.binaries.postgres(), arguments, &self.log)?;

        let reason = tokio::select! {
            status = postmaster.exited() => status.to_string(),
            ready = tokio::time::timeout(START_LIMIT, self.ready()) => match ready {
                Ok(Ok(())) => return Ok(postmaster),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("it took no connection within {START_LIMIT:?}"),
            },
        };
        postmaster.stop().await?;
        Err(PostgresError::Start { cluster: self.cluster.clone(), reason, log: self.log.tail(log_start) })
    }

    /// The arguments of `postgres`. Of two values for one setting, Postgres takes the later one.
    fn arguments(&self, buffers: &str) -> Vec<OsString> {
        let socket_dir = self.socket_dir.to_string_lossy();
        let port = socket::PORT.to_string();
        let computed =
            [("port", port.as_str()), ("unix_socket_directories", &socket_dir), ("shared_buffers", buffers)];
        let chosen = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut arguments = vec!["-D".into(), self.cluster.clone().into_os_string()];
        for (name, value) in SETTINGS.iter().copied().chain(computed).chain(chosen) {
            arguments.extend(["-c".into(), format!("{name}={value}").into()]);
        }
        arguments
    }

    /// Waits until the server takes connections, and makes the database and the roles that do not exist.
    async fn ready(&self) -> Result<(), tokio_postgres::Error> {
        let name = &self.name;
        let database = client::config(&self.socket_dir, name, name);
        loop {
            let error = match client::connect(&database).await {
                Ok(client) => return access::ensure_roles(&client, &self.login_roles).await,
                Err(error) => error,
            };
            match error.code() {
                Some(&SqlState::INVALID_CATALOG_NAME) => {
                    let maintenance = client::config(&self.socket_dir, name, "postgres");
                    let client = client::connect(&maintenance).await?;
                    client.batch_execute(&format!("CREATE DATABASE \"{name}\"")).await?;
                }
                None | Some(&SqlState::CANNOT_CONNECT_NOW | &SqlState::TOO_MANY_CONNECTIONS) => {}
                Some(_) => return Err(error),
            }
            tokio::time::sleep(CONNECT_PAUSE).await;
        }
    }
}

/// The binaries, and the user that will run them. Both are looked up again after an installation, because the
/// Postgres package may create that user.
async fn find_or_install(
    options: &PostgresOptions,
    existing: Option<&Path>,
) -> Result<(ServerUser, Binaries), PostgresError> {
    let cluster = existing.filter(|location| location::has_cluster(location)).map(location::cluster_in);
    let find = || async {
        let user = match ServerUser::choose(cluster.as_deref()) {
            // An installation makes the user as well as the binaries.
            Err(PostgresError::NoUser) if none_installed(options).await => {
                return Err(PostgresError::NotInstalled { min_major: options.min_major });
            }
            chosen => chosen?,
        };
        let found = binaries::find(options.binary_dirs.as_deref(), &user).await;
        binaries::pick(found, cluster.as_deref(), options.min_major).map(|binaries| (user, binaries))
    };
    match find().await {
        Err(PostgresError::NotInstalled { .. }) if options.install && user::we_are_root() => {
            install::install(&options.name).await?;
            find().await
        }
        outcome => outcome,
    }
}

async fn none_installed(options: &PostgresOptions) -> bool {
    binaries::find(options.binary_dirs.as_deref(), &ServerUser::of_this_process()).await.is_empty()
}

fn log_contains(error: &PostgresError, messages: &[&str]) -> bool {
    matches!(error, PostgresError::Start { log, .. } if messages.iter().any(|message| log.contains(message)))
}
