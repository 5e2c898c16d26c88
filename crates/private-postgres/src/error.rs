//! Why there is no private server. Each sentence says what to do, where that is known.

use std::io;
use std::path::{Path, PathBuf};

/// Why a server could not be started, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    #[error(
        "no Postgres (version {min_major} or later) is installed on this machine: install it \
         (Debian, Ubuntu: apt-get install postgresql; Fedora: dnf install postgresql-server; \
         Alpine: apk add postgresql; macOS: brew install postgresql@17)"
    )]
    NotInstalled { min_major: u32 },
    #[error(
        "{} was made by Postgres {needed} and needs that version, but installed {}: \
         install Postgres {needed}, or bring the cluster up to date with pg_upgrade",
        cluster.display(), versions(found)
    )]
    WrongVersion { cluster: PathBuf, needed: u32, found: Vec<u32> },
    #[error("no database in {}", data_dir.display())]
    NoCluster { data_dir: PathBuf },
    #[error("{} is in use by {}: stop that first", data_dir.display(), process(*pid))]
    InUse { data_dir: PathBuf, pid: Option<u32> },
    #[error(
        "{name:?} cannot name a database here: use up to 32 lower-case letters, digits and _, with a letter first"
    )]
    Name { name: String },
    #[error("the Postgres package could not be installed: {0}")]
    Install(String),
    #[error(
        "Postgres refuses to run as root, and there is no user postgres to run it as: make one \
         (useradd --system --user-group postgres), or start this as another user than root"
    )]
    NoUser,
    #[error(
        "the database is in {}, but the server's user {user} cannot enter that directory, or it no longer \
         exists: let that user enter each directory of its path",
        directory.display()
    )]
    Unreachable { directory: PathBuf, user: String },
    #[error("cannot {action} {}: {source}", path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error("no new cluster could be made in {}: {output}", cluster.display())]
    Initdb { cluster: PathBuf, output: String },
    #[error("Postgres did not start on {} ({reason}): {log}", cluster.display())]
    Start { cluster: PathBuf, reason: String, log: String },
    #[error("Postgres (process {pid}) does not stop")]
    Stop { pid: i32 },
    #[error("the task that supervises Postgres failed: {0}")]
    Supervisor(tokio::task::JoinError),
}

fn process(pid: Option<u32>) -> String {
    pid.map_or("another process".into(), |pid| format!("process {pid}"))
}

fn versions(found: &[u32]) -> String {
    match found {
        [] => "is none".into(),
        [one] => format!("is {one}"),
        many => format!("are {}", many.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// Adds to an I/O error what was done with which file.
pub(crate) trait FileContext<T> {
    fn on_file(self, action: &'static str, path: &Path) -> Result<T, PostgresError>;
}

impl<T> FileContext<T> for io::Result<T> {
    fn on_file(self, action: &'static str, path: &Path) -> Result<T, PostgresError> {
        self.map_err(|source| PostgresError::File { action, path: path.to_owned(), source })
    }
}
