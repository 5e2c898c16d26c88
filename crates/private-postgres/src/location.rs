//! The location: the directory that holds the cluster (`postgres`) and its socket (`postgres.sock`).
//!
//! Usually it is the data directory. But Postgres refuses to run as root, and the unprivileged user that it
//! runs as instead may be unable to enter the data directory, for example in a project under `/root`. Then the
//! location is a new directory under `/var/lib/<name of the application>`, and the file `postgres.place` in
//! the data directory contains its path. That file is written before the cluster is made, and from then on it
//! alone decides, even if the permissions change. A new data directory has no such file, so it gets a new
//! location and never the database of an older data directory.
//!
//! It starts no server.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::{FileContext, PostgresError};
use crate::files;
use crate::user::ServerUser;

const CLUSTER: &str = "postgres";
const POINTER: &str = "postgres.place";
const NEW_POINTER: &str = "postgres.place.new";

/// The parent of the directory that holds the locations outside of a data directory.
const STATE_DIR: &str = "/var/lib";

/// How many locations outside there may be for one path of a data directory.
const OUTSIDE_LIMIT: u32 = 1000;

/// Makes the data directory if it does not exist. The returned path is absolute and without symlinks, because
/// a server that runs is recognised by its path later.
pub(crate) fn prepare(data_dir: &Path) -> Result<PathBuf, PostgresError> {
    fs::create_dir_all(data_dir).on_file("create", data_dir)?;
    fs::canonicalize(data_dir).on_file("find", data_dir)
}

/// The path of the cluster, whether the cluster exists or not.
pub(crate) fn cluster_in(location: &Path) -> PathBuf {
    location.join(CLUSTER)
}

/// The location that an earlier start has chosen, if there was one.
pub(crate) fn existing(data_dir: &Path) -> Result<Option<PathBuf>, PostgresError> {
    let pointer = data_dir.join(POINTER);
    match fs::read_to_string(&pointer) {
        Ok(location) => return Ok(Some(PathBuf::from(location.trim_end_matches('\n')))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).on_file("read", &pointer),
    }
    Ok(has_cluster(data_dir).then(|| data_dir.to_owned()))
}

/// A complete cluster is renamed to its path, so a directory with any content is a cluster. A directory that we
/// cannot read counts as a cluster too: Postgres then reports the wrong owner.
pub(crate) fn has_cluster(location: &Path) -> bool {
    match fs::read_dir(cluster_in(location)) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// Refuses a data directory that has no cluster. It makes nothing, not even the directory.
pub(crate) fn require_cluster(data_dir: &Path) -> Result<(), PostgresError> {
    if existing(data_dir)?.is_some_and(|location| has_cluster(&location)) {
        return Ok(());
    }
    // A relative path would not tell the user where the data was looked for.
    let data_dir = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
    Err(PostgresError::NoCluster { data_dir })
}

/// The location to use: the existing one, otherwise the data directory itself if the server's user can enter
/// it, otherwise a new one outside.
pub(crate) async fn choose(
    data_dir: &Path,
    existing: Option<PathBuf>,
    user: &ServerUser,
    name: &str,
) -> Result<PathBuf, PostgresError> {
    let location = match existing {
        Some(location) => location,
        None if user.can_enter(data_dir).await => return Ok(data_dir.to_owned()),
        None => create_outside(data_dir, user, name)?,
    };
    if !user.can_enter(&location).await {
        return Err(PostgresError::Unreachable { directory: location, user: user.name() });
    }
    if location != data_dir {
        tracing::info!(location = %location.display(), "the database is outside of the data directory");
    }
    Ok(location)
}

/// Makes a location for this data directory, and writes its path to the pointer file before anything is put
/// there.
fn create_outside(data_dir: &Path, user: &ServerUser, name: &str) -> Result<PathBuf, PostgresError> {
    let parent = Path::new(STATE_DIR).join(name);
    fs::create_dir_all(&parent).on_file("create", &parent)?;

    // The name need not be the same at the next start, which reads the pointer file.
    let mut hasher = DefaultHasher::new();
    data_dir.hash(&mut hasher);
    let hash = hasher.finish();
    let mut made = Err(io::ErrorKind::AlreadyExists.into());
    let mut location = PathBuf::new();
    for number in 1..=OUTSIDE_LIMIT {
        location = parent.join(format!("{hash:016x}-{number}"));
        made = fs::DirBuilder::new().mode(0o755).create(&location);
        match &made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                tracing::warn!(
                    location = %location.display(),
                    "the database of a data directory that was deleted still exists"
                );
            }
            _ => break,
        }
    }
    made.on_file("create", &location)?;
    // The umask may have removed the permission of other users to enter.
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&location, open).on_file("set the permissions of", &location)?;
    let text = format!("{}\n", location.display());
    files::write_durably(&data_dir.join(POINTER), &data_dir.join(NEW_POINTER), &text)?;
    tracing::warn!(
        data_dir = %data_dir.display(), location = %location.display(),
        "the server's user {} cannot enter the data directory: the database is made outside of it",
        user.name()
    );
    Ok(location)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_location_is_found_by_its_cluster_or_by_the_pointer_file() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(existing(dir.path()).unwrap(), None);
        fs::create_dir(dir.path().join(CLUSTER)).unwrap();
        assert_eq!(existing(dir.path()).unwrap(), None, "an empty directory is no cluster");
        fs::write(dir.path().join(CLUSTER).join("PG_VERSION"), "15\n").unwrap();
        assert_eq!(existing(dir.path()).unwrap(), Some(dir.path().to_owned()));
        fs::write(dir.path().join(POINTER), "/var/lib/lottery/x-1\n").unwrap();
        assert_eq!(existing(dir.path()).unwrap(), Some("/var/lib/lottery/x-1".into()));
    }
}
