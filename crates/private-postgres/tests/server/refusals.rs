//! Starts that fail, and what their errors say.

use std::fs;
use std::path::PathBuf;

use private_postgres::{PostgresError, PostgresOptions, PostgresServer};

use crate::support::*;

#[tokio::test]
async fn without_postgres_it_says_what_to_do() {
    let project = project();
    let binary_dirs = Some(vec![project.path().join("no-bin")]);
    let options = PostgresOptions { binary_dirs, ..options(project.path()) };
    let refusal = PostgresServer::start(&options).await.unwrap_err();
    assert!(matches!(refusal, PostgresError::NotInstalled { min_major: 14 }));
    assert!(refusal.to_string().contains("apt-get install postgresql"), "{refusal}");
}

#[tokio::test]
async fn a_reader_makes_no_cluster() {
    let project = project();
    let existing = |data_dir: PathBuf| PostgresOptions { create: false, ..options(&data_dir) };
    for data_dir in [project.path().join("not/there"), project.path().to_owned()] {
        let refusal = PostgresServer::start_or_join(&existing(data_dir.clone())).await.unwrap_err();
        assert!(matches!(refusal, PostgresError::NoCluster { .. }), "{refusal}");
        assert!(refusal.to_string().contains(data_dir.to_str().unwrap()), "{refusal}");
    }
    assert_eq!(fs::read_dir(project.path()).unwrap().count(), 0, "nothing was written");
    PostgresServer::start(&options(project.path())).await.unwrap().stop().await.unwrap();
    PostgresServer::start_or_join(&existing(project.path().to_owned())).await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn a_cluster_of_another_version_is_reported() {
    let project = project();
    PostgresServer::start(&options(project.path())).await.unwrap().stop().await.unwrap();
    fs::write(project.path().join("postgres/PG_VERSION"), "11\n").unwrap();
    let refusal = PostgresServer::start(&options(project.path())).await.unwrap_err();
    assert!(matches!(refusal, PostgresError::WrongVersion { needed: 11, .. }), "{refusal}");
}

#[tokio::test]
async fn a_failed_start_shows_the_log() {
    let project = project();
    let settings = vec![("no_such_setting".into(), "1".into())];
    let options = PostgresOptions { settings, ..options(project.path()) };
    let refusal = PostgresServer::start(&options).await.unwrap_err();
    assert!(matches!(refusal, PostgresError::Start { .. }), "{refusal}");
    assert!(refusal.to_string().contains("no_such_setting"), "{refusal}");
}
