//! The operating system's user that the server runs as. It starts no server.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;
use std::process::Stdio;

use nix::unistd::{Uid, User};
use tokio::process::Command;

use crate::error::{FileContext, PostgresError};

/// The users that root may run the server as, in the order of preference.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// The user the server runs as: an unprivileged one if we are root, otherwise the user of this process.
#[derive(Debug, Clone)]
pub(crate) struct ServerUser(Option<UnixAccount>);

#[derive(Debug, Clone)]
struct UnixAccount {
    uid: u32,
    gid: u32,
    name: String,
}

impl ServerUser {
    /// As root: the owner of an existing cluster, otherwise `postgres`, otherwise `nobody`.
    pub(crate) fn choose(cluster: Option<&Path>) -> Result<ServerUser, PostgresError> {
        if !we_are_root() {
            return Ok(ServerUser(None));
        }
        let owner = cluster.and_then(owner).filter(|account| account.uid != 0);
        let account = owner.or_else(|| UNPRIVILEGED.into_iter().find_map(account_of));
        Ok(ServerUser(Some(account.ok_or(PostgresError::NoUser)?)))
    }

    /// Whether the server runs as another user than this process.
    pub(crate) fn differs_from_ours(&self) -> bool {
        self.0.is_some()
    }

    /// A command that runs as this user. The `PG…` variables of our environment are removed, since they would
    /// change what Postgres does. It gets its own process group, so that Ctrl-C in a terminal reaches only
    /// this process, which then stops Postgres.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).current_dir("/").process_group(0);
        for (name, _) in std::env::vars_os() {
            if name.as_bytes().starts_with(b"PG") {
                command.env_remove(name);
            }
        }
        command.env("LC_ALL", "C");
        if let Some(account) = &self.0 {
            // Given a uid, and run by root, the standard library also drops our supplementary groups.
            command.uid(account.uid).gid(account.gid);
        }
        command
    }

    /// Makes this user the owner of a file or a directory.
    pub(crate) fn give_ownership(&self, path: &Path) -> Result<(), PostgresError> {
        let Some(account) = &self.0 else {
            return Ok(());
        };
        lchown(path, Some(account.uid), Some(account.gid)).on_file("give to the server's user", path)
    }

    /// Whether this user can enter a directory. It tries, because permission bits alone do not show access
    /// control lists, mount options and confinement.
    pub(crate) async fn can_enter(&self, dir: &Path) -> bool {
        if !self.differs_from_ours() {
            return true;
        }
        let mut cd = self.command(Path::new("/bin/sh"));
        cd.arg("-c").arg("cd -- \"$1\"").arg("sh").arg(dir).stderr(Stdio::null());
        cd.status().await.is_ok_and(|status| status.success())
    }

    pub(crate) fn name(&self) -> String {
        self.0.as_ref().map_or_else(|| "of this process".into(), |account| account.name.clone())
    }
}

pub(crate) fn we_are_root() -> bool {
    Uid::effective().is_root()
}

fn owner(path: &Path) -> Option<UnixAccount> {
    let metadata = fs::metadata(path).ok()?;
    let (uid, gid) = (metadata.uid(), metadata.gid());
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    Some(UnixAccount { uid, gid, name: user.map_or_else(|| uid.to_string(), |user| user.name) })
}

fn account_of(name: &str) -> Option<UnixAccount> {
    let user = User::from_name(name).ok().flatten()?;
    Some(UnixAccount { uid: user.uid.as_raw(), gid: user.gid.as_raw(), name: user.name })
}
