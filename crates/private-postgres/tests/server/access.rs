//! Who may log in, and as which role.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use nix::unistd::{Uid, User};
use private_postgres::{PostgresOptions, PostgresServer};

use crate::support::*;

const SERVICE: &str = "private_postgres_test_service";

fn with_service_role(data_dir: &Path) -> PostgresOptions {
    PostgresOptions { login_roles: vec![SERVICE.to_owned()], ..options(data_dir) }
}

/// The role of a session, and whether it is a superuser.
async fn session(server: &PostgresServer, role: &str) -> (String, bool) {
    let (client, connection) = server.connection_as(role).connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let sql = "SELECT rolname::text, rolsuper FROM pg_roles WHERE rolname = current_user";
    let row = client.query_one(sql, &[]).await.unwrap();
    (row.get(0), row.get(1))
}

#[tokio::test]
async fn the_roles_of_the_application_may_log_in_and_are_no_superusers() {
    let project = project();
    let server = PostgresServer::start(&with_service_role(project.path())).await.unwrap();
    assert_eq!(session(&server, NAME).await, (NAME.to_owned(), true));
    assert_eq!(session(&server, SERVICE).await, (SERVICE.to_owned(), false));
    let unknown = server.connection_as("postgres").connect(tokio_postgres::NoTls).await.err().unwrap();
    assert!(unknown.as_db_error().unwrap().message().contains("authentication failed"), "{unknown:?}");
    // What was given to the role by hand is taken away by the next start; it also makes a role that is missing.
    let sql = format!("ALTER ROLE {SERVICE} SUPERUSER CREATEROLE");
    connect(&server).await.batch_execute(&sql).await.unwrap();
    server.stop().await.unwrap();
    let server = PostgresServer::start(&with_service_role(project.path())).await.unwrap();
    assert_eq!(session(&server, SERVICE).await, (SERVICE.to_owned(), false));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_cluster_of_an_older_version_gets_the_rules_and_the_role() {
    let project = project();
    let trusting = "local all all trust\nhost all all 127.0.0.1/32 trust\n";
    let hba = project.path().join("postgres/pg_hba.conf");
    PostgresServer::start(&options(project.path())).await.unwrap().stop().await.unwrap();
    fs::write(&hba, trusting).unwrap();
    let server = PostgresServer::start(&with_service_role(project.path())).await.unwrap();
    assert_eq!(session(&server, SERVICE).await, (SERVICE.to_owned(), false));
    let rules =
        "SELECT type, array_to_string(database, ','), auth_method FROM pg_hba_file_rules ORDER BY line_number";
    let rules = connect(&server).await.query(rules, &[]).await.unwrap();
    let rules: Vec<[String; 3]> = rules.iter().map(|row| [row.get(0), row.get(1), row.get(2)]).collect();
    assert_eq!(rules, [["local", "all", "peer"], ["local", "replication", "peer"]]);
    for file in [hba, project.path().join("postgres/pg_ident.conf")] {
        let (mode, owner) = (fs::metadata(&file).unwrap(), fs::metadata(project.path().join("postgres")).unwrap());
        assert_eq!((mode.permissions().mode() & 0o777, mode.uid()), (0o600, owner.uid()), "{}", file.display());
    }
    // A process that joins may know more roles than the one that started the server.
    let other = PostgresOptions { login_roles: vec!["later".to_owned()], ..options(project.path()) };
    let joined = PostgresServer::start_or_join(&other).await.unwrap();
    let sql = "SELECT count(*) FROM pg_roles WHERE rolname = 'later'";
    assert_eq!(connect(&joined).await.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 1);
    server.stop().await.unwrap();
}

/// The link that the server's user has put where root writes the new file.
#[tokio::test]
async fn no_link_in_the_cluster_is_followed() {
    let project = project();
    PostgresServer::start(&options(project.path())).await.unwrap().stop().await.unwrap();
    let victim = project.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    for name in ["pg_hba.conf.new", "pg_ident.conf.new", "pg_hba.conf"] {
        let link = project.path().join("postgres").join(name);
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(&victim, link).unwrap();
    }
    let server = PostgresServer::start(&options(project.path())).await.unwrap();
    connect(&server).await;
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert_eq!(fs::metadata(&victim).unwrap().uid(), Uid::effective().as_raw());
    server.stop().await.unwrap();
}

/// `psql` as this user of the operating system.
fn psql_as(user: &User, server: &PostgresServer, role: &str) -> Output {
    let mut psql = Command::new("psql");
    psql.arg("-h").arg(server.socket_dir()).args(["-U", role, "-d", NAME, "-Atc", "SELECT current_user"]);
    psql.current_dir("/").uid(user.uid.as_raw()).gid(user.gid.as_raw()).output().unwrap()
}

/// Only root can become other users.
#[tokio::test]
async fn only_root_and_the_servers_user_may_log_in() {
    if !Uid::effective().is_root() {
        return;
    }
    let project = project();
    let mut options = with_service_role(project.path());
    options.settings.push(("unix_socket_permissions".into(), "0777".into()));
    let server = PostgresServer::start(&options).await.unwrap();
    // Without these permissions, any other user cannot even try.
    fs::set_permissions(server.socket_dir(), fs::Permissions::from_mode(0o755)).unwrap();
    let user = |name| User::from_name(name).unwrap().unwrap();
    let owner = User::from_uid(Uid::from_raw(fs::metadata(server.socket_dir()).unwrap().uid())).unwrap().unwrap();
    for role in [NAME, SERVICE] {
        for allowed in [&user("root"), &owner] {
            let output = psql_as(allowed, &server, role);
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), role, "{output:?}");
        }
        let refused = psql_as(&user("nobody"), &server, role);
        let error = String::from_utf8_lossy(&refused.stderr);
        assert!(error.contains("authentication failed"), "{error}");
    }
    server.stop().await.unwrap();
}

/// Older versions made clusters as `nobody` where there was no user `postgres`. Only root can give a cluster away.
#[tokio::test]
async fn roots_cluster_of_nobody_still_runs() {
    if !Uid::effective().is_root() {
        return;
    }
    let project = project();
    let server = PostgresServer::start(&options(project.path())).await.unwrap();
    insert_rows(&server, 3).await;
    server.stop().await.unwrap();
    let nobody = User::from_name("nobody").unwrap().unwrap();
    give_away(&project.path().join("postgres"), &nobody);
    let server = PostgresServer::start(&with_service_role(project.path())).await.unwrap();
    assert_eq!(count_rows(&server).await, 3);
    assert_eq!(session(&server, SERVICE).await, (SERVICE.to_owned(), false));
    let process = format!("/proc/{}", postmaster(&server).await);
    assert_eq!(fs::metadata(process).unwrap().uid(), nobody.uid.as_raw());
    server.stop().await.unwrap();
}

fn give_away(path: &Path, to: &User) {
    chown(path, Some(to.uid.as_raw()), Some(to.gid.as_raw())).unwrap();
    if path.is_dir() {
        fs::read_dir(path).unwrap().flatten().for_each(|entry| give_away(&entry.path(), to));
    }
}
