//! The log file of the server: opened, kept short, and read for error messages. Postgres writes it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::{FileContext, PostgresError};

const FILE: &str = "postgres.log";

/// A log that is longer is emptied.
const SIZE_LIMIT: u64 = 16 << 20;

/// How many lines of the log an error message shows.
const LINES_SHOWN: usize = 12;

#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
}

impl LogFile {
    /// The log file of a data directory, empty.
    pub(crate) fn create(data_dir: &Path) -> Result<LogFile, PostgresError> {
        let log = LogFile { path: data_dir.join(FILE) };
        log.open()?.set_len(0).on_file("empty", &log.path)?;
        Ok(log)
    }

    /// Two handles to append with: for the standard output and the standard error of the server.
    pub(crate) fn handles(&self) -> Result<(File, File), PostgresError> {
        let output = self.open()?;
        let errors = output.try_clone().on_file("open again", &self.path)?;
        Ok((output, errors))
    }

    pub(crate) fn size(&self) -> Result<u64, PostgresError> {
        Ok(self.open()?.metadata().on_file("measure", &self.path)?.len())
    }

    /// The last lines that were written after the first `start` bytes.
    pub(crate) fn tail(&self, start: u64) -> String {
        let mut text = Vec::new();
        let read = File::open(&self.path).and_then(|mut log| {
            log.seek(SeekFrom::Start(start))?;
            log.take(SIZE_LIMIT).read_to_end(&mut text)
        });
        match read {
            Ok(_) => last_lines(&String::from_utf8_lossy(&text), LINES_SHOWN),
            Err(error) => format!("{}: {error}", self.path.display()),
        }
    }

    /// Empties a log that is too long. Postgres appends, so it continues at the new end.
    pub(crate) fn limit_size(&self) {
        if fs::metadata(&self.path).is_ok_and(|log| log.len() > SIZE_LIMIT) {
            // If this fails, it is tried again at the next check.
            let _ = self.open().map(|log| log.set_len(0));
        }
    }

    fn open(&self) -> Result<File, PostgresError> {
        let mut open = OpenOptions::new();
        open.create(true).append(true).mode(0o600).open(&self.path).on_file("open", &self.path)
    }
}

/// The last lines of a text, joined to one line.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_the_last_lines_in_one() {
        assert_eq!(last_lines("one\n\n  two \nthree\n", 2), "two | three");
        assert_eq!(last_lines("one", 2), "one");
        assert_eq!(last_lines("", 2), "");
    }

    #[test]
    fn a_log_that_is_too_long_is_emptied() {
        let data_dir = tempfile::tempdir().unwrap();
        let log = LogFile::create(data_dir.path()).unwrap();
        log.open().unwrap().set_len(SIZE_LIMIT).unwrap();
        log.limit_size();
        assert_eq!(log.size().unwrap(), SIZE_LIMIT);
        log.open().unwrap().set_len(SIZE_LIMIT + 1).unwrap();
        log.limit_size();
        assert_eq!(log.size().unwrap(), 0);
    }
}
