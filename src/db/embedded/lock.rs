//! The lock file: which process owns the server of a directory, and where its socket is.
//!
//! The kernel holds the lock for the life of the process, so a killed one leaves it free. The file
//! itself stays: deleting a locked file would let two processes lock two files of one name. It
//! knows nothing of Postgres; Postgres' own pid file is in [`super::leftover`].

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{At, ServerError};

const FILE: &str = "postgres.lock";

/// The lock, held until it is dropped. Children do not inherit it: std opens files close-on-exec.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    path: PathBuf,
    /// The socket directory of the last holder, which a killed one had no time to remove.
    pub previous_socket_dir: Option<PathBuf>,
}

/// What the file says: first line the pid, second the socket directory once the server is ready.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Holder {
    pub pid: Option<u32>,
    pub socket_dir: Option<PathBuf>,
}

impl Lock {
    pub(super) fn take(dir: &Path) -> Result<Lock, ServerError> {
        let path = dir.join(FILE);
        let mut open = OpenOptions::new();
        open.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = open.open(&path).at("open", &path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(ServerError::InUse { data_dir: dir.to_owned(), pid: holder(dir).pid });
            }
            Err(TryLockError::Error(error)) => return Err(error).at("lock", &path),
        }
        let previous_socket_dir = holder(dir).socket_dir;
        let mut lock = Lock { file, path, previous_socket_dir };
        lock.write("")?;
        Ok(lock)
    }

    /// Tells joining processes that the server is ready, and where.
    pub(super) fn announce(&mut self, socket_dir: &Path) -> Result<(), ServerError> {
        self.write(&socket_dir.to_string_lossy())
    }

    fn write(&mut self, socket_dir: &str) -> Result<(), ServerError> {
        let text = format!("{}\n{socket_dir}\n", std::process::id());
        let written = self
            .file
            .set_len(0)
            .and_then(|()| self.file.rewind())
            .and_then(|()| self.file.write_all(text.as_bytes()));
        written.at("write", &self.path)
    }
}

impl Drop for Lock {
    /// Gives it up now: a child that another thread has just forked, and that is not yet what it will be,
    /// shares the open file and would hold the lock for a moment longer.
    fn drop(&mut self) {
        // Closing the file does the same a little later.
        let _ = self.file.unlock();
    }
}

/// Who holds, or last held, the lock of a directory.
pub(super) fn holder(dir: &Path) -> Holder {
    parse(&std::fs::read_to_string(dir.join(FILE)).unwrap_or_default())
}

fn parse(text: &str) -> Holder {
    // A line counts only with its end: the writer may be half-way.
    let mut lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    let pid = lines.next().and_then(|pid| pid.parse().ok());
    let socket_dir = lines.next().filter(|dir| !dir.is_empty()).map(PathBuf::from);
    Holder { pid, socket_dir }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_written_lines_do_not_count() {
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
            assert_eq!(parse(text), Holder { pid, socket_dir }, "{text:?}");
        }
    }
}
