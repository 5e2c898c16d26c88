//! The directory of the server's unix socket: chosen, cleared and removed. It does not connect.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::mkdtemp;

use crate::error::{FileContext, PostgresError};
use crate::files;
use crate::user::ServerUser;

/// The name of a Postgres socket contains a port. No TCP port is opened.
pub(crate) const PORT: u16 = 5432;

const DIRECTORY: &str = "postgres.sock";

/// The address of a unix socket holds 104 bytes on macOS and 108 on Linux, with a zero at the end.
const PATH_LIMIT: usize = 100;

/// The socket's directory: beside the cluster, or under a short path if that path would be too long.
/// The short path has a random name and its directory is new, so no other user can have put a file there.
pub(crate) fn create_dir(location: &Path, user: &ServerUser, name: &str) -> Result<PathBuf, PostgresError> {
    let beside = location.join(DIRECTORY);
    if fits(&beside) {
        files::private_dir(&beside, user)?;
        return Ok(beside);
    }
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    // The server's user cannot enter the runtime directory of root.
    let usable =
        |dir: &PathBuf| !user.differs_from_ours() && dir.is_dir() && fits(&dir.join(format!("{name}-123456")));
    let base = runtime_dir.filter(usable).unwrap_or_else(|| "/tmp".into());
    let template = base.join(format!("{name}-XXXXXX"));
    let dir = mkdtemp(&template).map_err(io::Error::from).on_file("create", &template)?;
    files::private_dir(&dir, user)?;
    Ok(dir)
}

/// Whether the path is short enough, and has no character that needs quotes in `unix_socket_directories`.
fn fits(dir: &Path) -> bool {
    let socket = socket(dir);
    let plain = |c: char| !matches!(c, '"' | ',' | '\'' | '\\') && !c.is_whitespace();
    socket.as_os_str().len() <= PATH_LIMIT && dir.to_str().is_some_and(|dir| dir.chars().all(plain))
}

fn socket(dir: &Path) -> PathBuf {
    dir.join(format!(".s.PGSQL.{PORT}"))
}

/// Removes the socket and its lock file, which a killed server leaves. Only called while no server runs.
pub(crate) fn clear(dir: &Path) {
    let socket = socket(dir);
    let _ = fs::remove_file(&socket);
    let _ = fs::remove_file(socket.with_extension(format!("{PORT}.lock")));
}

/// Clears the directory, and removes it if it is under a short path. The one beside the cluster stays.
pub(crate) fn remove_dir(dir: &Path) {
    clear(dir);
    if !dir.ends_with(DIRECTORY) {
        let _ = fs::remove_dir(dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_or_unusual_path_cannot_hold_a_socket() {
        let cases = [
            ("/home/ann/lottery/data/postgres.sock".to_string(), true),
            (format!("/{}", "d".repeat(PATH_LIMIT - 16)), true),
            (format!("/{}", "d".repeat(PATH_LIMIT - 14)), false),
            ("/home/ann/my lottery/data/postgres.sock".to_string(), false),
            ("/home/a,b/data/postgres.sock".to_string(), false),
        ];
        for (dir, good) in cases {
            assert_eq!(fits(Path::new(&dir)), good, "{dir}");
        }
    }
}
