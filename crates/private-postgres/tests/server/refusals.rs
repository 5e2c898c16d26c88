//! Starts that fail, and what their errors say.

use std::fs;

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
