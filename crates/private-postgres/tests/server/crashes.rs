//! The owner or Postgres is killed: no committed row is lost, and no orphan remains.

use std::fs;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use private_postgres::{PostgresError, PostgresServer};

use crate::support::*;

#[tokio::test]
async fn a_killed_postmaster_is_started_again_with_its_rows() {
    let project = project();
    let server = PostgresServer::start(&options(project.path())).await.unwrap();
    insert_rows(&server, 5).await;
    for _ in 0..2 {
        let pid = postmaster(&server).await;
        kill(pid, Signal::SIGKILL).unwrap();
        wait_until_gone(pid).await;
        until("the server takes connections again", || async { try_connect(&server).await.is_ok() }).await;
        assert_ne!(postmaster(&server).await, pid);
        assert_eq!(count_rows(&server).await, 5);
    }
    server.stop().await.unwrap();
}

/// A busy backend does not notice that its postmaster has died. It keeps the shared memory, so no new postmaster
/// may start before it ends.
#[tokio::test]
async fn a_restart_waits_for_an_orphaned_backend() {
    let project = project();
    let server = PostgresServer::start(&options(project.path())).await.unwrap();
    insert_rows(&server, 5).await;
    let busy = connect(&server).await;
    let orphan: i32 = busy.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let orphan = Pid::from_raw(orphan);
    let query = tokio::spawn(async move {
        let sql = "DO $$ DECLARE till timestamptz := clock_timestamp() + interval '2 s'; \
                   BEGIN WHILE clock_timestamp() < till LOOP END LOOP; END $$";
        busy.batch_execute(sql).await
    });
    let observer = connect(&server).await;
    until("the backend is busy", || async {
        let sql = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'DO%'";
        !observer.query(sql, &[]).await.unwrap().is_empty()
    })
    .await;

    kill(postmaster(&server).await, Signal::SIGKILL).unwrap();
    until("the server takes connections again", || async { try_connect(&server).await.is_ok() }).await;
    assert!(!is_running(orphan), "two servers ran on one cluster at once");
    assert_eq!(count_rows(&server).await, 5);
    let _ = query.await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_killed_owner_leaves_no_server_and_loses_no_row() {
    let project = project();
    let owner = OwnerProcess::start(project.path());
    let joined = PostgresServer::start_or_join(&options(project.path())).await.unwrap();
    insert_rows(&joined, 9).await;
    let pid = postmaster(&joined).await;
    owner.kill();
    wait_until_gone(pid).await;

    let server = PostgresServer::start(&options(project.path())).await.unwrap();
    assert_eq!(count_rows(&server).await, 9);
    server.stop().await.unwrap();
}

/// Here the test does not wait until the old server is gone: the next start must do that.
#[tokio::test]
async fn a_start_right_after_a_kill_of_the_owner_works() {
    let project = project();
    for count in [1, 2, 3] {
        let owner = OwnerProcess::start(project.path());
        let joined = PostgresServer::start_or_join(&options(project.path())).await.unwrap();
        connect(&joined).await.batch_execute("DROP TABLE IF EXISTS item").await.unwrap();
        insert_rows(&joined, count).await;
        owner.kill();
        let server = PostgresServer::start(&options(project.path())).await.unwrap();
        assert_eq!(count_rows(&server).await, count);
        server.stop().await.unwrap();
    }
}

/// If the watcher of the lifeline is killed too, the server runs until the next start.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_orphan_is_shut_down_at_the_next_start() {
    let project = project();
    let owner = OwnerProcess::start(project.path());
    let joined = PostgresServer::start_or_join(&options(project.path())).await.unwrap();
    insert_rows(&joined, 4).await;
    let orphan = postmaster(&joined).await;
    let watcher = group_of(orphan).into_iter().find(|pid| *pid != orphan).expect("a watcher");
    kill(watcher, Signal::SIGKILL).unwrap();
    owner.kill();

    let server = PostgresServer::start(&options(project.path())).await.unwrap();
    assert!(!is_running(orphan));
    assert_eq!(count_rows(&server).await, 4);
    server.stop().await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn killing_owner_postmaster_and_watcher_loses_no_row() {
    let project = project();
    let owner = OwnerProcess::start(project.path());
    let joined = PostgresServer::start_or_join(&options(project.path())).await.unwrap();
    insert_rows(&joined, 6).await;
    let orphan = postmaster(&joined).await;
    for pid in group_of(orphan) {
        kill(pid, Signal::SIGKILL).unwrap();
    }
    owner.kill();

    let server = PostgresServer::start(&options(project.path())).await.unwrap();
    assert_eq!(count_rows(&server).await, 6);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_kill_during_initdb_leaves_no_unfinished_cluster() {
    let project = project();
    let entries = || fs::read_dir(project.path()).unwrap().flatten();
    let unfinished = || entries().any(|entry| entry.file_name().to_string_lossy().starts_with("postgres.new."));
    let cluster = project.path().join("postgres");
    let owner = OwnerProcess::spawn(project.path());
    until("initdb is running", || async { unfinished() || cluster.exists() }).await;
    owner.kill();
    assert_eq!(cluster.exists(), cluster.join("PG_VERSION").exists(), "a cluster exists completely or not at all");

    // And the directory of an older attempt.
    fs::create_dir_all(project.path().join("postgres.new.1/base")).unwrap();
    let server = loop {
        match PostgresServer::start(&options(project.path())).await {
            Err(PostgresError::InUse { .. }) => tokio::task::yield_now().await, // its child may still hold the lock
            started => break started.unwrap(),
        }
    };
    insert_rows(&server, 1).await;
    server.stop().await.unwrap();
    assert!(!project.path().join("postgres.new.1").exists());
}

#[tokio::test]
async fn a_pid_file_with_the_pid_of_another_program_is_harmless() {
    let project = project();
    let server = PostgresServer::start(&options(project.path())).await.unwrap();
    insert_rows(&server, 2).await;
    let pid_file = project.path().join("postgres/postmaster.pid");
    let text = fs::read_to_string(&pid_file).unwrap();
    let (_, rest) = text.split_once('\n').unwrap();
    server.stop().await.unwrap();
    let mut other = Command::new("sleep").arg("600").spawn().unwrap();
    fs::write(&pid_file, format!("{}\n{rest}", other.id())).unwrap();

    let server = PostgresServer::start(&options(project.path())).await.unwrap();
    assert_eq!(count_rows(&server).await, 2);
    assert!(other.try_wait().unwrap().is_none(), "it was not signalled");
    server.stop().await.unwrap();
    other.kill().unwrap();
    other.wait().unwrap();
}
