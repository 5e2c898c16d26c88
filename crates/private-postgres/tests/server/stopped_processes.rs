//! The server's processes are stopped by SIGSTOP. Until they are resumed, only SIGKILL ends them.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use private_postgres::PostgresServer;

use crate::support::*;

/// Every process of a server, stopped by SIGSTOP; the postmaster is the first. They are resumed when this is
/// dropped, also by a failed test.
struct StoppedProcesses(Vec<Pid>);

impl StoppedProcesses {
    async fn of(server: &PostgresServer) -> StoppedProcesses {
        let rows = connect(server).await.query("SELECT pid FROM pg_stat_activity", &[]).await.unwrap();
        let children = rows.iter().map(|row| Pid::from_raw(row.get(0)));
        let stopped = StoppedProcesses(std::iter::once(postmaster(server).await).chain(children).collect());
        stopped.send(Signal::SIGSTOP);
        stopped
    }

    fn send(&self, signal: Signal) {
        for pid in &self.0 {
            // It may have ended.
            let _ = kill(*pid, signal);
        }
    }

    fn any_is_running(&self) -> bool {
        self.0.iter().any(|pid| is_running(*pid))
    }
}

impl Drop for StoppedProcesses {
    fn drop(&mut self) {
        self.send(Signal::SIGCONT);
    }
}

#[tokio::test]
async fn a_stopped_orphan_is_shut_down() {
    let project = project();
    let owner = OwnerProcess::start(project.path());
    let joined = PostgresServer::start_or_join(&options(project.path())).await.unwrap();
    insert_rows(&joined, 5).await;
    let orphans = StoppedProcesses::of(&joined).await;
    owner.kill();
    assert!(is_running(orphans.0[0]), "a stopped process cannot end by itself");

    // It is resumed first, so it ends at the first signal and not only after that signal's time limit.
    let options = options(project.path());
    let starting = tokio::time::timeout(WAIT_LIMIT / 3, PostgresServer::start(&options));
    let server = starting.await.expect("the orphan ends at the first signal").unwrap();
    assert!(!orphans.any_is_running());
    assert_eq!(count_rows(&server).await, 5);

    let stopped = StoppedProcesses::of(&server).await;
    server.stop().await.unwrap();
    assert!(!stopped.any_is_running());
}

/// Its stopped backends do not notice its death, and keep the shared memory that the next postmaster needs.
#[tokio::test]
async fn a_stopped_postmaster_that_is_killed_is_started_again_with_its_rows() {
    let project = project();
    let server = PostgresServer::start(&options(project.path())).await.unwrap();
    insert_rows(&server, 5).await;
    let stopped = StoppedProcesses::of(&server).await;
    kill(stopped.0[0], Signal::SIGKILL).unwrap();
    wait_until_gone(stopped.0[0]).await;
    until("the server takes connections again", || async { try_connect(&server).await.is_ok() }).await;
    assert_eq!(count_rows(&server).await, 5);
    assert!(!stopped.any_is_running());
    server.stop().await.unwrap();
}
