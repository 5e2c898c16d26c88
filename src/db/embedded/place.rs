//! Where the server's files live, and which user it runs as.
//!
//! Usually the cluster is `postgres` in the data directory. But Postgres refuses to run as root,
//! and the unprivileged user it then runs as may not be able to get there: a project cloned under
//! `/root`, say. Then the cluster goes to a directory under `/var/lib/lottery`, and the file
//! `postgres.place` in the data directory says which: written before the cluster is made and
//! obeyed ever after, whatever becomes of the permissions. A deleted data directory takes that
//! file along, so a new one gets a new place and never somebody's old database.
//!
//! It starts no server; it only runs one `cd` as the server's user, to see whether it may.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::unistd::{Uid, User, mkdtemp};
use tokio::process::Command;

use super::process::PORT;
use super::{At, ServerError};

const CLUSTER: &str = "postgres";
const SOCKET_DIR: &str = "postgres.sock";
const POINTER: &str = "postgres.place";

/// Where root keeps the clusters that cannot be in their data directory, and how many for one path.
const ELSEWHERE: &str = "/var/lib/lottery";
const ELSEWHERE_LIMIT: u32 = 1000;

/// The address of a unix socket holds 104 bytes on macOS and 108 on Linux, with a closing zero.
const SOCKET_PATH_LIMIT: usize = 100;

/// The user the server runs as: an unprivileged one if we are root, or else ourselves.
#[derive(Debug, Clone)]
pub(super) struct ServerUser(Option<Account>);

#[derive(Debug, Clone)]
struct Account {
    uid: u32,
    gid: u32,
    name: String,
}

impl ServerUser {
    /// As root: the owner of the cluster there is, or else `postgres`, or else `nobody`.
    pub(super) fn choose(cluster: Option<&Path>) -> Result<ServerUser, ServerError> {
        if !we_are_root() {
            return Ok(ServerUser(None));
        }
        let owner = cluster.and_then(owner).filter(|account| account.uid != 0);
        let mut names = ["postgres", "nobody"].into_iter();
        let account = owner.or_else(|| names.find_map(named)).ok_or(ServerError::NoUser)?;
        Ok(ServerUser(Some(account)))
    }

    fn is_other(&self) -> bool {
        self.0.is_some()
    }

    /// A command that will run as this user, without what our environment says to Postgres, and
    /// in its own process group: the terminal's Ctrl-C is for us, and we tell Postgres.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).current_dir("/").process_group(0);
        for (name, _) in std::env::vars_os() {
            if name.as_bytes().starts_with(b"PG") {
                command.env_remove(name);
            }
        }
        command.env("LC_ALL", "C");
        if let Some(account) = &self.0 {
            // With a uid and as root, std also drops our supplementary groups.
            command.uid(account.uid).gid(account.gid);
        }
        command
    }

    /// Makes this user the owner.
    fn give(&self, path: &Path) -> Result<(), ServerError> {
        let Some(account) = &self.0 else {
            return Ok(());
        };
        lchown(path, Some(account.uid), Some(account.gid)).at("give to the server's user", path)
    }

    /// Asked by trying: modes alone would not tell of ACLs, mounts and confinement.
    async fn can_enter(&self, dir: &Path) -> bool {
        if !self.is_other() {
            return true;
        }
        let mut cd = self.command(Path::new("/bin/sh"));
        cd.arg("-c").arg("cd -- \"$1\"").arg("sh").arg(dir).stderr(Stdio::null());
        cd.status().await.is_ok_and(|status| status.success())
    }

    fn name(&self) -> String {
        self.0.as_ref().map_or_else(|| "running this".into(), |account| account.name.clone())
    }
}

pub(super) fn we_are_root() -> bool {
    Uid::effective().is_root()
}

fn owner(path: &Path) -> Option<Account> {
    let metadata = fs::metadata(path).ok()?;
    let (uid, gid) = (metadata.uid(), metadata.gid());
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    Some(Account { uid, gid, name: user.map_or_else(|| uid.to_string(), |user| user.name) })
}

fn named(name: &str) -> Option<Account> {
    let user = User::from_name(name).ok().flatten()?;
    Some(Account { uid: user.uid.as_raw(), gid: user.gid.as_raw(), name: user.name })
}

/// Makes the data directory if need be. Its path becomes absolute and free of symlinks, since by
/// its path we later recognise our own server.
pub(super) fn prepare(data_dir: &Path) -> Result<PathBuf, ServerError> {
    fs::create_dir_all(data_dir).at("create", data_dir)?;
    fs::canonicalize(data_dir).at("find", data_dir)
}

/// The cluster of a place, whether it exists or not.
pub(super) fn cluster_in(place: &Path) -> PathBuf {
    place.join(CLUSTER)
}

/// The place that was chosen at an earlier start, if there was one.
pub(super) fn known(data_dir: &Path) -> Result<Option<PathBuf>, ServerError> {
    let pointer = data_dir.join(POINTER);
    match fs::read_to_string(&pointer) {
        Ok(place) => return Ok(Some(PathBuf::from(place.trim_end_matches('\n')))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).at("read", &pointer),
    }
    Ok(has_cluster(data_dir).then(|| data_dir.to_owned()))
}

/// Clusters are renamed into place when complete, so any content is a cluster. One that we may
/// not look into is one too: Postgres then says whose it is.
pub(super) fn has_cluster(place: &Path) -> bool {
    match fs::read_dir(cluster_in(place)) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// The place to use: the known one, the data directory itself, or one elsewhere.
pub(super) async fn decide(
    data_dir: &Path,
    known: Option<PathBuf>,
    user: &ServerUser,
) -> Result<PathBuf, ServerError> {
    let place = match known {
        Some(place) => place,
        None if user.can_enter(data_dir).await => return Ok(data_dir.to_owned()),
        None => elsewhere(data_dir, user)?,
    };
    if !user.can_enter(&place).await {
        return Err(ServerError::Unreachable { place, user: user.name() });
    }
    if place != data_dir {
        tracing::info!(
            place = %place.display(),
            "this database is kept outside of the data directory"
        );
    }
    Ok(place)
}

/// A directory of our own for this data directory, noted down before anything is put there.
fn elsewhere(data_dir: &Path, user: &ServerUser) -> Result<PathBuf, ServerError> {
    let mut hasher = DefaultHasher::new();
    data_dir.hash(&mut hasher);
    let name = format!("{:016x}", hasher.finish());
    fs::create_dir_all(ELSEWHERE).at("create", Path::new(ELSEWHERE))?;

    // Not the name must be the same at the next start, only the note.
    let mut taken = Err(io::ErrorKind::AlreadyExists.into());
    let mut place = PathBuf::new();
    for number in 1..=ELSEWHERE_LIMIT {
        place = Path::new(ELSEWHERE).join(format!("{name}-{number}"));
        taken = fs::DirBuilder::new().mode(0o755).create(&place);
        match &taken {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                tracing::warn!(left = %place.display(), "this database of a data directory now deleted is still there");
            }
            _ => break,
        }
    }
    taken.at("create", &place)?;
    // The umask may have taken the others' right to enter.
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).at("open up", &place)?;
    write_durably(&data_dir.join(POINTER), &format!("{}\n", place.display()))?;
    tracing::warn!(
        data_dir = %data_dir.display(), place = %place.display(),
        "the server's user {} cannot get into the data directory: the database goes elsewhere",
        user.name()
    );
    Ok(place)
}

fn write_durably(path: &Path, text: &str) -> Result<(), ServerError> {
    let new = path.with_extension("place.new");
    let write = || -> io::Result<()> {
        let mut file = fs::File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().at("write", path)?;
    sync_parent(path)
}

/// Makes a rename or a new name in the same directory durable.
pub(super) fn sync_parent(path: &Path) -> Result<(), ServerError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    fs::File::open(parent).and_then(|dir| dir.sync_all()).at("sync", parent)
}

/// A directory for the server's user alone, and empty if it is new.
pub(super) fn private_dir(path: &Path, user: &ServerUser) -> Result<(), ServerError> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let is_dir = fs::symlink_metadata(path).at("look at", path)?.is_dir();
            let kind = if is_dir { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) };
            kind.at("use", path)?;
        }
        made => made.at("create", path)?,
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).at("close", path)?;
    user.give(path)
}

/// The socket's directory: beside the cluster, or under a short path if that one is too long.
/// The short one has a random name and is new, so nobody can have put something there before us.
pub(super) fn socket_dir(place: &Path, user: &ServerUser) -> Result<PathBuf, ServerError> {
    let beside = place.join(SOCKET_DIR);
    if fits(&beside) {
        private_dir(&beside, user)?;
        return Ok(beside);
    }
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    // Root's runtime directory is closed to the server's user.
    let usable = |dir: &PathBuf| !user.is_other() && dir.is_dir() && fits(&dir.join("lottery-123456"));
    let base = runtime_dir.filter(usable).unwrap_or_else(|| "/tmp".into());
    let template = base.join("lottery-XXXXXX");
    let dir = mkdtemp(&template).map_err(io::Error::from).at("create", &template)?;
    private_dir(&dir, user)?;
    Ok(dir)
}

/// Whether the path is short enough, and free of what would need quoting in Postgres' list.
fn fits(dir: &Path) -> bool {
    let socket = socket(dir);
    let plain = |c: char| !matches!(c, '"' | ',' | '\'' | '\\') && !c.is_whitespace();
    socket.as_os_str().len() <= SOCKET_PATH_LIMIT && dir.to_str().is_some_and(|dir| dir.chars().all(plain))
}

fn socket(dir: &Path) -> PathBuf {
    dir.join(format!(".s.PGSQL.{PORT}"))
}

/// Removes what a killed server left of its socket. Only when none runs.
pub(super) fn clear_socket(dir: &Path) {
    let socket = socket(dir);
    let _ = fs::remove_file(&socket);
    let _ = fs::remove_file(socket.with_extension(format!("{PORT}.lock")));
}

/// Removes a socket directory under a short path; the one beside the cluster stays.
pub(super) fn remove_socket_dir(dir: &Path) {
    clear_socket(dir);
    if !dir.ends_with(SOCKET_DIR) {
        let _ = fs::remove_dir(dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_or_odd_path_does_not_hold_a_socket() {
        let cases = [
            ("/home/ann/lottery/data/postgres.sock".to_string(), true),
            (format!("/{}", "d".repeat(SOCKET_PATH_LIMIT - 16)), true),
            (format!("/{}", "d".repeat(SOCKET_PATH_LIMIT - 14)), false),
            ("/home/ann/my lottery/data/postgres.sock".to_string(), false),
            ("/home/a,b/data/postgres.sock".to_string(), false),
        ];
        for (dir, good) in cases {
            assert_eq!(fits(Path::new(&dir)), good, "{dir}");
        }
    }

    #[test]
    fn the_place_is_known_by_its_cluster_or_its_note() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(known(dir.path()).unwrap(), None);
        fs::create_dir(dir.path().join(CLUSTER)).unwrap();
        assert_eq!(known(dir.path()).unwrap(), None, "an empty directory is no cluster");
        fs::write(dir.path().join(CLUSTER).join("PG_VERSION"), "15\n").unwrap();
        assert_eq!(known(dir.path()).unwrap(), Some(dir.path().to_owned()));
        fs::write(dir.path().join(POINTER), "/var/lib/lottery/x-1\n").unwrap();
        assert_eq!(known(dir.path()).unwrap(), Some("/var/lib/lottery/x-1".into()));
    }
}
