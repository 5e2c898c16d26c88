//! The lock file: which process owns the server of a directory, and where its socket is.
//!
//! The kernel holds the lock for as long as the process lives, so a killed process leaves it free. The file
//! itself is never deleted: if a locked file were deleted, a second process could make and lock a new file of
//! the same name. This file does not concern Postgres' own pid file, which `orphan` reads.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::{FileContext, PostgresError};

const FILE: &str = "postgres.lock";

/// The lock, held until it is dropped. Child processes do not inherit it, because the standard library opens
/// files close-on-exec.
#[derive(Debug)]
pub(crate) struct OwnerLock {
    file: File,
    path: PathBuf,
    /// The socket directory of the previous owner, which could not remove it if it was killed.
    pub previous_socket_dir: Option<PathBuf>,
}

/// The content of the file. The first line is the pid; the second is the socket directory, or empty until the
/// server is ready.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct LockOwner {
    pub pid: Option<u32>,
    pub socket_dir: Option<PathBuf>,
}

impl OwnerLock {
    /// Locks a directory. The lock file then names this process, and no socket directory yet.
    pub(crate) fn acquire(dir: &Path) -> Result<OwnerLock, PostgresError> {
        let path = dir.join(FILE);
        let mut open = OpenOptions::new();
        open.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = open.open(&path).on_file("open", &path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(PostgresError::InUse { data_dir: dir.to_owned(), pid: owner(dir).pid });
            }
            Err(TryLockError::Error(error)) => return Err(error).on_file("lock", &path),
        }
        let previous_socket_dir = owner(dir).socket_dir;
        let mut lock = OwnerLock { file, path, previous_socket_dir };
        lock.write("")?;
        Ok(lock)
    }

    /// Tells joining processes that the server is ready, and where its socket is.
    pub(crate) fn announce(&mut self, socket_dir: &Path) -> Result<(), PostgresError> {
        self.write(&socket_dir.to_string_lossy())
    }

    fn write(&mut self, socket_dir: &str) -> Result<(), PostgresError> {
        let text = format!("{}\n{socket_dir}\n", std::process::id());
        let written = self
            .file
            .set_len(0)
            .and_then(|()| self.file.rewind())
            .and_then(|()| self.file.write_all(text.as_bytes()));
        written.on_file("write", &self.path)
    }
}

impl Drop for OwnerLock {
    /// Unlocks explicitly. A child process that another thread has just forked shares the open file until its
    /// `exec`, and would hold the lock until then.
    fn drop(&mut self) {
        // If this fails, closing the file unlocks it a little later.
        let _ = self.file.unlock();
    }
}

/// The process that holds the lock of a directory, or held it last.
pub(crate) fn owner(dir: &Path) -> LockOwner {
    parse(&std::fs::read_to_string(dir.join(FILE)).unwrap_or_default())
}

fn parse(text: &str) -> LockOwner {
    // A line without its end is ignored: the owner may be writing it at this moment.
    let mut lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    let pid = lines.next().and_then(|pid| pid.parse().ok());
    let socket_dir = lines.next().filter(|dir| !dir.is_empty()).map(PathBuf::from);
    LockOwner { pid, socket_dir }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_written_lines_are_ignored() {
        let cases = [
            ("", None, None),
            ("12", None, None),
            ("12\n", Some(12), None),
            ("12\n\n", Some(12), None),
            ("12\n/data/postgres.so", Some(12), None),
            ("12\n/data/postgres.sock\n", Some(12), Some("/data/postgres.sock")),
        ];
        for (text, pid, socket_dir) in cases {
            let socket_dir = socket_dir.map(PathBuf::from);
            assert_eq!(parse(text), LockOwner { pid, socket_dir }, "{text:?}");
        }
    }
}
