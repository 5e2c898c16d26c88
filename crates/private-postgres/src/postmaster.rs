//! One Postgres process: started with a lifeline, waited for, and shut down.
//!
//! **The lifeline** is a pipe whose writing end only this process holds. Postgres is started by a shell that
//! first leaves a small watcher in the background and then becomes Postgres, so Postgres is our direct child.
//! The watcher reads from the pipe. A line means that Postgres has ended, and the watcher ends too. End of file
//! means that *this process* has ended, for whatever reason, and the watcher sends Postgres the signal for a
//! fast shutdown. (`PR_SET_PDEATHSIG` of Linux is no replacement: it reports the death of the thread that
//! started Postgres, not of the process.)
//!
//! It does not start Postgres again when it dies: `supervisor` does that.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin};

use crate::error::{FileContext, PostgresError};
use crate::log::LogFile;
use crate::user::ServerUser;

/// How a server is shut down: the signals, and how long to wait after each. SIGINT is Postgres' fast shutdown,
/// which ends with a checkpoint. After SIGQUIT there is no checkpoint, and the next start does crash recovery.
pub(crate) const SHUTDOWN: [(Signal, Duration); 2] =
    [(Signal::SIGINT, Duration::from_secs(60)), (Signal::SIGQUIT, Duration::from_secs(10))];

const SHELL: &str = "/bin/sh";

/// `$$` is the pid of the shell, which then becomes Postgres. The watcher is started by a subshell that ends at
/// once, so that it is not a child of Postgres: Postgres would treat the end of a child as a crash.
const WITH_LIFELINE: &str = r#"
exec 3<&0 </dev/null
( ( trap '' HUP INT TERM; read -r line <&3 || kill -INT $$ ) >/dev/null 2>&1 & )
exec "$@" 3<&-
"#;

/// A running Postgres.
#[derive(Debug)]
pub(crate) struct Postmaster {
    child: Child,
    lifeline: ChildStdin,
}

impl Postmaster {
    /// Starts `postgres` with its arguments. It may not be ready for connections yet.
    pub(crate) fn spawn(
        user: &ServerUser,
        postgres: &Path,
        arguments: impl IntoIterator<Item = OsString>,
        log: &LogFile,
    ) -> Result<Postmaster, PostgresError> {
        let (output, errors) = log.handles()?;
        let mut command = user.command(Path::new(SHELL));
        command.arg("-c").arg(WITH_LIFELINE).arg("sh").arg(postgres).args(arguments);
        command.stdin(Stdio::piped()).stdout(output).stderr(errors);
        let mut child = command.spawn().on_file("start", Path::new(SHELL))?;
        let lifeline = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe.into());
        Ok(Postmaster { child, lifeline: lifeline.on_file("open a pipe to", postgres)? })
    }

    /// Waits until the process is gone. Safe to cancel.
    pub(crate) async fn exited(&mut self) -> ExitStatus {
        let status = self.child.wait().await;
        // Another program may get the pid now, and the watcher must not send a signal to it.
        let _ = self.lifeline.write_all(b"\n").await;
        status.unwrap_or_default()
    }

    /// `None` after the process has exited.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Shuts the process down, if it still runs.
    pub(crate) async fn stop(mut self) -> Result<(), PostgresError> {
        let Some(id) = self.pid() else { return Ok(()) };
        let pid = Pid::from_raw(id.cast_signed());
        for (signal, limit) in SHUTDOWN {
            // We have not waited for the child yet, so the pid still belongs to it.
            let _ = kill(pid, signal);
            if tokio::time::timeout(limit, self.exited()).await.is_ok() {
                return Ok(());
            }
            tracing::warn!(%pid, "{signal} did not stop Postgres within {limit:?}");
        }
        Err(PostgresError::Stop { pid: pid.as_raw() })
    }
}
