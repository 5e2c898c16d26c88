//! The operating system's user that the server runs as. It starts no server.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, fchown, lchown};
use std::path::Path;
use std::process::Stdio;

use nix::unistd::{Uid, User};
use tokio::process::Command;

use crate::error::{FileContext, PostgresError};

/// The user that root makes new clusters as.
const POSTGRES: &str = "postgres";
/// The user of clusters that older versions made where there was no user `postgres`. Other programs may run as it, too.
const NOBODY: &str = "nobody";

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
    /// As root: the owner of an existing cluster, otherwise `postgres`.
    pub(crate) fn choose(cluster: Option<&Path>) -> Result<ServerUser, PostgresError> {
        if !we_are_root() {
            return Ok(ServerUser::of_this_process());
        }
        ServerUser::for_root(cluster.and_then(owner), account_of(POSTGRES))
    }

    pub(crate) fn of_this_process() -> ServerUser {
        ServerUser(None)
    }

    fn for_root(owner: Option<UnixAccount>, postgres: Option<UnixAccount>) -> Result<ServerUser, PostgresError> {
        let account = owner.filter(|account| account.uid != 0).or(postgres);
        Ok(ServerUser(Some(account.ok_or(PostgresError::NoUser)?)))
    }

    /// Whether programs that do not belong to the application may run as this user.
    pub(crate) fn is_shared(&self) -> bool {
        self.0.as_ref().is_some_and(|account| account.name == NOBODY)
    }

    pub(crate) fn uid(&self) -> Uid {
        self.0.as_ref().map_or_else(Uid::effective, |account| Uid::from_raw(account.uid))
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

    /// Makes this user the owner of an open file.
    pub(crate) fn own(&self, file: &File) -> io::Result<()> {
        self.0.as_ref().map_or(Ok(()), |account| fchown(file, Some(account.uid), Some(account.gid)))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn account(uid: u32, name: &str) -> Option<UnixAccount> {
        Some(UnixAccount { uid, gid: uid, name: name.to_owned() })
    }

    #[test]
    fn root_makes_new_clusters_as_postgres_alone_and_runs_old_ones_as_their_owner() {
        let chosen = |owner, postgres| ServerUser::for_root(owner, postgres).map(|user| user.name());
        let (ann, nobody) = (account(1000, "ann"), account(65534, NOBODY));
        assert_eq!(chosen(None, account(101, POSTGRES)).unwrap(), POSTGRES);
        assert_eq!(chosen(ann, account(101, POSTGRES)).unwrap(), "ann");
        assert_eq!(chosen(account(0, "root"), account(101, POSTGRES)).unwrap(), POSTGRES);
        assert_eq!(chosen(nobody.clone(), None).unwrap(), NOBODY);
        for owner in [None, account(0, "root")] {
            let refusal = chosen(owner, None).unwrap_err();
            assert!(refusal.to_string().contains("useradd --system"), "{refusal}");
        }
        assert!(ServerUser::for_root(nobody, None).unwrap().is_shared());
        assert!(!ServerUser::for_root(None, account(101, POSTGRES)).unwrap().is_shared());
    }
}
