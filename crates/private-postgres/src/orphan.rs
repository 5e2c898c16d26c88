//! Shuts down an orphan: a server whose owner has died, and which still runs on the cluster.
//!
//! Postgres' own pid file contains its pid. Another program may have got the same pid since, so only processes
//! that run on this cluster get a signal. The caller holds the lock of the data directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::{FileContext, PostgresError};
use crate::postmaster::SHUTDOWN;

/// The pause between two checks whether the orphan is gone.
const CHECK_PAUSE: Duration = Duration::from_millis(20);

/// Waits until no server runs on the cluster. Does nothing if there is none.
pub(crate) async fn stop(cluster: &Path) -> Result<(), PostgresError> {
    resume(cluster);
    let Some(pid) = recorded_pid(cluster) else {
        return Ok(());
    };
    if !exists(pid) {
        return Ok(());
    }
    if !runs_on(pid, cluster) {
        return replace_pid(cluster, pid);
    }
    tracing::info!(%pid, "shutting down an orphaned Postgres, which an earlier process had started");
    for (signal, limit) in SHUTDOWN {
        // This fails if it has just ended, which is what the next lines wait for.
        let _ = kill(pid, signal);
        let gone = async {
            while runs_on(pid, cluster) {
                tokio::time::sleep(CHECK_PAUSE).await;
            }
        };
        if tokio::time::timeout(limit, gone).await.is_ok() {
            return Ok(());
        }
        tracing::warn!(%pid, "{signal} did not stop it within {limit:?}");
    }
    Err(PostgresError::Stop { pid: pid.as_raw() })
}

/// Resumes all stopped processes of the cluster (after SIGSTOP, or after a debugger). A stopped process does
/// not react to SIGINT and SIGQUIT. A stopped backend does not notice that its postmaster has died, and keeps
/// the shared memory that the next postmaster needs. Postmaster and backends have the cluster as their working
/// directory.
pub(crate) fn resume(cluster: &Path) {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let inside = processes.filter_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        (fs::read_link(process.path().join("cwd")).ok()? == cluster).then_some(Pid::from_raw(pid))
    });
    // Where there is no /proc, only the postmaster is found, by the pid file.
    let recorded = recorded_pid(cluster).filter(|pid| runs_on(*pid, cluster));
    for pid in inside.chain(recorded) {
        // It may have ended by now. A process that is not stopped ignores the signal.
        let _ = kill(pid, Signal::SIGCONT);
    }
}

fn pid_file(cluster: &Path) -> PathBuf {
    cluster.join("postmaster.pid")
}

fn recorded_pid(cluster: &Path) -> Option<Pid> {
    let text = fs::read_to_string(pid_file(cluster)).ok()?;
    let pid: i32 = text.lines().next()?.trim().parse().ok()?;
    // Zero and negative numbers would signal whole process groups.
    (pid > 1).then(|| Pid::from_raw(pid))
}

fn exists(pid: Pid) -> bool {
    kill(pid, None) != Err(Errno::ESRCH)
}

/// Whether the process is a postmaster of this cluster. A zombie is not: it has no command line. If the command
/// line cannot be found out, the pid file is taken as correct.
fn runs_on(pid: Pid, cluster: &Path) -> bool {
    exists(pid) && command_line(pid).is_none_or(|line| mentions(&line, cluster))
}

fn command_line(pid: Pid) -> Option<Vec<u8>> {
    if Path::new("/proc/self/cmdline").exists() {
        return Some(fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default());
    }
    let ps = Command::new("ps").args(["-ww", "-o", "args=", "-p", &pid.to_string()]).output();
    ps.ok().map(|output| output.stdout)
}

fn mentions(line: &[u8], cluster: &Path) -> bool {
    let cluster = cluster.as_os_str().as_encoded_bytes();
    line.windows(cluster.len()).any(|window| window == cluster)
}

/// Puts our own pid into Postgres' pid file, in place of the pid of another program. Postgres refuses to start
/// while the process in its pid file lives, unless that process is its parent. The file is not deleted, because
/// it also tells Postgres which shared memory must be free of orphaned backends first.
fn replace_pid(cluster: &Path, pid: Pid) -> Result<(), PostgresError> {
    tracing::info!(%pid, "the pid in the pid file of Postgres belongs to another program now");
    let path = pid_file(cluster);
    let text = fs::read_to_string(&path).on_file("read", &path)?;
    let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
    // The file is written in place, so that the server's user stays its owner.
    fs::write(&path, format!("{}\n{rest}", std::process::id())).on_file("write", &path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_postmaster_is_recognised_by_the_cluster_in_its_command_line() {
        let cluster = Path::new("/data/postgres");
        assert!(mentions(b"/usr/bin/postgres\0-D\0/data/postgres\0-c\0x=y\0", cluster));
        assert!(!mentions(b"/usr/bin/postgres\0-D\0/other/postgres\0", cluster));
        assert!(!mentions(b"", cluster));
    }

    #[tokio::test]
    async fn a_reused_pid_is_replaced_and_not_signalled() {
        let cluster = tempfile::tempdir().unwrap();
        let mut stranger = Command::new("sleep").arg("600").spawn().unwrap();
        let rest = "/data/postgres\n1700000000\n5432\n";
        fs::write(pid_file(cluster.path()), format!("{}\n{rest}", stranger.id())).unwrap();

        stop(cluster.path()).await.unwrap();

        assert!(stranger.try_wait().unwrap().is_none(), "it still runs");
        let text = fs::read_to_string(pid_file(cluster.path())).unwrap();
        assert_eq!(text, format!("{}\n{rest}", std::process::id()));
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }
}
