//! Start, stop, join, and two servers at once.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use private_postgres::{PostgresError, PostgresServer};

use crate::support::*;

#[tokio::test]
async fn a_restart_finds_the_data() {
    let project = project();
    let options = options(&project.path().join("data"));
    let server = PostgresServer::start(&options).await.unwrap();
    insert_rows(&server, 7).await;
    let pid = postmaster(&server).await;
    server.stop().await.unwrap();
    assert!(!is_running(pid), "stop waits until the server is gone");

    let server = PostgresServer::start(&options).await.unwrap();
    assert_eq!(count_rows(&server).await, 7);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn it_is_durable_and_private() {
    let project = project();
    let data_dir = project.path().join("data");
    let server = PostgresServer::start(&options(&data_dir)).await.unwrap();
    for (setting, value) in [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("listen_addresses", ""),
        ("timezone", "UTC"),
        ("server_encoding", "UTF8"),
        ("shared_buffers", "16MB"),
    ] {
        assert_eq!(show(&server, setting).await, value, "{setting}");
    }
    let mode = fs::metadata(server.socket_dir()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    // It has its own process group, so Ctrl-C in a terminal does not reach it.
    let pid = postmaster(&server).await;
    assert_eq!(nix::unistd::getpgid(Some(pid)).unwrap(), pid);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn two_projects_run_side_by_side() {
    let projects = [project(), project()];
    let one = PostgresServer::start(&options(projects[0].path())).await.unwrap();
    let other = PostgresServer::start(&options(projects[1].path())).await.unwrap();
    insert_rows(&one, 1).await;
    insert_rows(&other, 2).await;
    one.stop().await.unwrap();
    assert_eq!(count_rows(&other).await, 2);
    other.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_owner_is_refused() {
    let project = project();
    let server = PostgresServer::start(&options(project.path())).await.unwrap();
    match PostgresServer::start(&options(project.path())).await.unwrap_err() {
        PostgresError::InUse { data_dir, pid } => {
            assert_eq!(data_dir, fs::canonicalize(project.path()).unwrap());
            assert_eq!(pid, Some(std::process::id()));
        }
        other => panic!("{other}"),
    }
    connect(&server).await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_joined_server_keeps_running_after_stop() {
    let project = project();
    let owner = OwnerProcess::start(project.path());
    let joined = PostgresServer::start_or_join(&options(project.path())).await.unwrap();
    insert_rows(&joined, 3).await;
    let pid = postmaster(&joined).await;
    joined.stop().await.unwrap();
    assert!(is_running(pid));

    let again = PostgresServer::start_or_join(&options(project.path())).await.unwrap();
    assert_eq!(count_rows(&again).await, 3);
    owner.kill();
}

#[tokio::test]
async fn a_join_waits_for_a_server_that_is_starting() {
    let project = project();
    let (one, other) = (options(project.path()), options(project.path()));
    // One of the two calls starts the server; the other waits until it is ready and joins it.
    let (one, other) = tokio::join!(PostgresServer::start_or_join(&one), PostgresServer::start_or_join(&other));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(postmaster(&one).await, postmaster(&other).await);
    one.stop().await.unwrap();
    other.stop().await.unwrap();
}

#[tokio::test]
async fn a_join_without_an_owner_starts_a_server_and_stops_it() {
    let project = project();
    let server = PostgresServer::start_or_join(&options(project.path())).await.unwrap();
    let pid = postmaster(&server).await;
    server.stop().await.unwrap();
    assert!(!is_running(pid));
}

#[tokio::test]
async fn a_dropped_server_shuts_down() {
    let project = project();
    let server = PostgresServer::start(&options(project.path())).await.unwrap();
    let pid = postmaster(&server).await;
    drop(server);
    wait_until_gone(pid).await;
    let again = PostgresServer::start_or_join(&options(project.path())).await.unwrap();
    again.stop().await.unwrap();
}
