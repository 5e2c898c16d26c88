//! Data directories with long or unusual paths, and those that the server's user cannot enter.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use nix::unistd::Uid;
use private_postgres::{PostgresError, PostgresServer};

use crate::support::*;

#[tokio::test]
async fn a_long_or_unusual_path_works() {
    let project = project();
    for name in ["d".repeat(120), "my lottery, again".into()] {
        let data_dir = project.path().join(name);
        let server = PostgresServer::start(&options(&data_dir)).await.unwrap();
        let socket_dir = server.socket_dir().to_owned();
        assert!(!socket_dir.starts_with(&data_dir), "{}", socket_dir.display());
        let mode = fs::metadata(&socket_dir).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let joined = PostgresServer::start_or_join(&options(&data_dir)).await.unwrap();
        insert_rows(&joined, 1).await;
        server.stop().await.unwrap();
        assert!(!socket_dir.exists(), "a socket under a short path is removed");
    }
}

#[tokio::test]
async fn the_short_socket_directory_of_a_killed_owner_is_removed() {
    let project = project();
    let data_dir = project.path().join("d".repeat(120));
    let owner = OwnerProcess::start(&data_dir);
    let joined = PostgresServer::start_or_join(&options(&data_dir)).await.unwrap();
    let socket_dir = joined.socket_dir().to_owned();
    owner.kill();
    let server = PostgresServer::start(&options(&data_dir)).await.unwrap();
    assert!(!socket_dir.exists());
    server.stop().await.unwrap();
}

/// Root's server runs as another user, who may be unable to enter the data directory. Any other user's server
/// runs as that user, so the database is always in the data directory.
#[tokio::test]
async fn below_a_closed_directory_roots_database_is_outside_of_the_data_directory() {
    let home = directory(0o700);
    let data_dir = home.path().join("project/data");
    let server = PostgresServer::start(&options(&data_dir)).await.unwrap();
    insert_rows(&server, 8).await;
    let cluster = PathBuf::from(show(&server, "data_directory").await);
    let pointer = data_dir.join("postgres.place");
    if !Uid::effective().is_root() {
        assert_eq!(cluster, fs::canonicalize(&data_dir).unwrap().join("postgres"));
        assert!(!pointer.exists());
        return server.stop().await.unwrap();
    }
    let pointer = fs::read_to_string(pointer).unwrap();
    let location = PathBuf::from(pointer.trim());
    assert!(location.starts_with(format!("/var/lib/{NAME}")), "{}", location.display());
    assert_eq!(cluster, location.join("postgres"));
    server.stop().await.unwrap();

    // The server's user can enter the data directory now, but the rows stay where they are.
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let server = PostgresServer::start(&options(&data_dir)).await.unwrap();
    assert_eq!(count_rows(&server).await, 8);

    // A copy of the data directory has the same cluster, and is refused while that is in use.
    let copy = home.path().join("copy");
    fs::create_dir(&copy).unwrap();
    fs::write(copy.join("postgres.place"), pointer).unwrap();
    let refusal = PostgresServer::start(&options(&copy)).await.unwrap_err();
    assert!(matches!(refusal, PostgresError::InUse { .. }), "{refusal}");
    assert_eq!(count_rows(&server).await, 8);
    server.stop().await.unwrap();
    fs::remove_dir_all(location).unwrap();
}

/// The cluster is made in the data directory, which the server's user can no longer enter later.
#[tokio::test]
async fn an_unreachable_cluster_is_reported_and_not_replaced() {
    let home = project();
    let data_dir = home.path().join("data");
    PostgresServer::start(&options(&data_dir)).await.unwrap().stop().await.unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
    if !Uid::effective().is_root() {
        // The server's user is the owner of the directory, who can still enter it.
        let server = PostgresServer::start(&options(&data_dir)).await.unwrap();
        return server.stop().await.unwrap();
    }
    let refusal = PostgresServer::start(&options(&data_dir)).await.unwrap_err();
    assert!(matches!(refusal, PostgresError::Unreachable { .. }), "{refusal}");
    assert!(refusal.to_string().contains(&data_dir.display().to_string()), "{refusal}");
}
