//! Shuts down the server that an earlier process left behind, if one still runs.
//!
//! Postgres' own pid file says which process it was. A pid may have gone to somebody else since,
//! so nothing is signalled that does not run on our cluster. The caller holds the lock.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{At, ServerError};

/// How a server is shut down: the signal, and how long it gets. SIGINT is Postgres' fast shutdown,
/// which ends with a checkpoint; SIGQUIT leaves that to the recovery of the next start.
pub(super) const SHUTDOWN: [(Signal, Duration); 2] =
    [(Signal::SIGINT, Duration::from_secs(60)), (Signal::SIGQUIT, Duration::from_secs(10))];

const LOOK_PAUSE: Duration = Duration::from_millis(20);

pub(super) async fn stop(cluster: &Path) -> Result<(), ServerError> {
    wake(cluster);
    let Some(pid) = recorded_pid(cluster) else {
        return Ok(());
    };
    if !exists(pid) {
        return Ok(());
    }
    if !serves(pid, cluster) {
        return disown(cluster, pid);
    }
    tracing::info!(%pid, "shutting down the Postgres that an earlier process left running");
    for (signal, limit) in SHUTDOWN {
        // It may be gone by now, and then that is what we wait for.
        let _ = kill(pid, signal);
        let gone = async {
            while serves(pid, cluster) {
                tokio::time::sleep(LOOK_PAUSE).await;
            }
        };
        if tokio::time::timeout(limit, gone).await.is_ok() {
            return Ok(());
        }
        tracing::warn!(%pid, "{signal} did not stop it within {limit:?}");
    }
    Err(ServerError::Stop { pid: pid.as_raw() })
}

/// Lets whatever stands still on our cluster (SIGSTOP, a debugger that went away) go on: a stopped
/// process hears no signal to end, and a stopped orphan does not see that its postmaster is gone and
/// keeps the shared memory from the next one. A server and its backends run in the cluster's directory.
pub(super) fn wake(cluster: &Path) {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let inside = processes.filter_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        (fs::read_link(process.path().join("cwd")).ok()? == cluster).then_some(Pid::from_raw(pid))
    });
    // Without /proc at least the postmaster is known.
    let recorded = recorded_pid(cluster).filter(|pid| serves(*pid, cluster));
    for pid in inside.chain(recorded) {
        // It may be gone by now; to one that runs it means nothing.
        let _ = kill(pid, Signal::SIGCONT);
    }
}

fn pid_file(cluster: &Path) -> PathBuf {
    cluster.join("postmaster.pid")
}

fn recorded_pid(cluster: &Path) -> Option<Pid> {
    let text = fs::read_to_string(pid_file(cluster)).ok()?;
    let pid: i32 = text.lines().next()?.trim().parse().ok()?;
    // Zero and below would signal whole groups.
    (pid > 1).then(|| Pid::from_raw(pid))
}

fn exists(pid: Pid) -> bool {
    kill(pid, None) != Err(Errno::ESRCH)
}

/// Whether the process is a postmaster on this cluster. A zombie is not: it has no command line.
/// If nothing tells, the pid file is believed.
fn serves(pid: Pid, cluster: &Path) -> bool {
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

/// Postgres refuses to start while the process in its pid file lives, whatever that is, except if
/// it is its own parent: so we put ourselves there. Deleting the file would be wrong, for it also
/// tells Postgres which shared memory must be free of orphaned backends first.
fn disown(cluster: &Path, pid: Pid) -> Result<(), ServerError> {
    tracing::info!(%pid, "the pid file of Postgres names a process that is something else now");
    let path = pid_file(cluster);
    let text = fs::read_to_string(&path).at("read", &path)?;
    let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
    // Rewritten, not replaced: the server's user keeps owning it.
    fs::write(&path, format!("{}\n{rest}", std::process::id())).at("write", &path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_command_on_our_cluster_is_ours() {
        let cluster = Path::new("/data/postgres");
        assert!(mentions(b"/usr/bin/postgres\0-D\0/data/postgres\0-c\0x=y\0", cluster));
        assert!(!mentions(b"/usr/bin/postgres\0-D\0/other/postgres\0", cluster));
        assert!(!mentions(b"", cluster));
    }

    #[tokio::test]
    async fn a_reused_pid_is_disowned_and_not_signalled() {
        let cluster = tempfile::tempdir().unwrap();
        let mut stranger = Command::new("sleep").arg("600").spawn().unwrap();
        let rest = "/data/postgres\n1700000000\n5432\n";
        fs::write(pid_file(cluster.path()), format!("{}\n{rest}", stranger.id())).unwrap();

        stop(cluster.path()).await.unwrap();

        assert!(stranger.try_wait().unwrap().is_none(), "it lives on");
        let text = fs::read_to_string(pid_file(cluster.path())).unwrap();
        assert_eq!(text, format!("{}\n{rest}", std::process::id()));
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }
}
