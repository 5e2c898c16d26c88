//! Starts that end before they have begun anything: the database is not there, or the port is taken.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::*;

/// The advisory lock that a migration takes.
const MIGRATION_LOCK: i64 = 0x6c6f_7474_6572_7900;

/// A socket at an address of this machine that does not listen. `shared`: as long as nobody listens, others may have
/// the address, too.
fn bind(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(shared)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn address_of(socket: &Socket) -> SocketAddr {
    socket.local_addr().unwrap().as_socket().unwrap()
}

/// An address that only this test process uses.
fn own_address() -> SocketAddr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    (Ipv4Addr::new(127, high | 0x40, middle, low.max(1)), 8080).into()
}

/// The program with a database at this address, and what its URL ends with.
fn program_at(database: SocketAddr, ending: &str) -> Program {
    let program =
        Program::new().with("DATABASE_URL", &format!("postgres://ann:hunter2@{database}/lottery{ending}"));
    program.with("LOTTERY__AUTH__JWT_SECRET", SECRET)
}

/// Runs a command whose database cannot be reached, and returns why.
async fn unreachable(database: SocketAddr, ending: &str, command: &str) -> String {
    let program = program_at(database, ending);
    let (code, out, error) = printed(&program.run(&[command]).await);
    assert_eq!(code, Some(1), "{error}");
    assert_eq!(out.contains(&format!("connecting to the database at {database}\n")), command == "serve", "{out}");
    assert!(!error.contains("hunter2") && !program.data().exists(), "{error}");
    let why = error.strip_prefix(&format!("lottery: cannot reach the database at {database}: "));
    why.unwrap_or_else(|| panic!("{error}")).to_owned()
}

#[actix_web::test]
async fn a_database_that_accepts_and_never_answers_ends_the_start() {
    let silent = TcpListener::bind(any_port()).unwrap();
    let at = silent.local_addr().unwrap();
    let (serve, migrate, check, unsaid) = tokio::join!(
        unreachable(at, "?connect_timeout=1", "serve"),
        unreachable(at, "?connect_timeout=1", "migrate"),
        unreachable(at, "?connect_timeout=1", "check"),
        unreachable(at, "", "serve"),
    );
    for why in [serve, migrate, check] {
        assert_eq!(why, "no answer within 1s\n");
    }
    assert_eq!(unsaid, "no answer within 10s\n");
}

#[actix_web::test]
async fn a_database_whose_packets_are_dropped_ends_the_start() {
    let full = bind(any_port(), false).unwrap();
    full.listen(0).unwrap();
    let at = address_of(&full);
    // A listener whose queue is full drops what else arrives.
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&at, Duration::from_millis(200)) {
        queued.push(stream);
        assert!(queued.len() < 100, "the queue is never full");
    }
    // The driver has the same limit for the connection alone.
    let why = unreachable(at, "?connect_timeout=1", "serve").await;
    assert!(why.contains("no answer within 1s") || why.contains("timed out"), "{why}");
}

#[actix_web::test]
async fn a_database_that_refuses_connections_ends_the_start() {
    let silent = bind(any_port(), false).unwrap();
    for command in ["serve", "migrate", "check", "nodes"] {
        let why = unreachable(address_of(&silent), "", command).await;
        assert!(why.contains("Connection refused"), "{why}");
    }
}

#[actix_web::test]
async fn only_the_service_needs_its_secrets() {
    let database = server::database().await;
    let program = Program::new().with("DATABASE_URL", &postgres::url(&postgres::service(&database)));
    let program = program.with(OWNER_URL, &postgres::url(&database)).with("LOTTERY__PAYMENTS__PROVIDER", "stripe");
    for command in [vec!["migrate"], vec!["check"], vec!["export", "tickets"], vec!["nodes"]] {
        let (code, _, error) = printed(&program.run(&command).await);
        assert_eq!((code, error.as_str()), (Some(0), ""), "{command:?}");
    }
    assert!(program.create_admin("boss", "boss@example.com", PASSWORD).await.status.success());
    let said = refusal(&program, &["serve"]).await;
    for key in
        ["auth.jwt_secret: must be set along with database.url", "payments.stripe_key: ", "payments.webhook_"]
    {
        assert!(said.contains(key), "{said}");
    }
    assert!(!program.data().exists(), "no secret is made in its place");
}

#[actix_web::test]
async fn a_command_that_reads_makes_no_database() {
    let program = Program::new();
    let data = program.data();
    let commands = [vec!["check"], vec!["export", "tickets"], vec!["nodes"]];
    let sentence = format!("lottery: no database in {}; is data_dir right?", data.display());
    for command in &commands {
        let said = refusal(&program, command).await;
        assert!(said.starts_with(&sentence), "{said}");
        assert!(!data.exists(), "{command:?} has made the directory");
    }
    // A directory that has something else, as that of a service with an external database.
    fs::create_dir(&data).unwrap();
    fs::write(data.join("webhook_secret"), SECRET).unwrap();
    for command in &commands {
        let said = refusal(&program, command).await;
        assert!(said.starts_with(&sentence), "{said}");
        assert_eq!(fs::read_dir(&data).unwrap().count(), 1, "{command:?} has made a file");
    }
}

#[actix_web::test]
async fn a_port_that_is_in_use_ends_the_start_before_a_database_is_made() {
    let taken = TcpListener::bind(any_port()).unwrap();
    let at = taken.local_addr().unwrap();
    let port = at.port().to_string();
    let admin = ("LOTTERY__SERVER__ADMIN_ADDRESS", at.to_string());
    for (name, value) in [("LOTTERY__SERVER__PORT", port.clone()), admin] {
        let program = Program::new().with(name, &value);
        let said = refusal(&program, &["serve"]).await;
        let sentence =
            format!("lottery: cannot listen on {at}: port {port} is in use; set {name} to another one\n");
        assert_eq!(said, sentence);
        assert!(!program.data().exists(), "nothing is begun");
    }
}

#[actix_web::test]
async fn a_service_that_starts_has_its_port_and_refuses_connections_until_it_is_ready() {
    let address = own_address();
    let program = program_with_database().await.with("LOTTERY__SERVER__HOST", &address.ip().to_string());
    let program = program.with("LOTTERY__SERVER__PORT", &address.port().to_string());
    let sql = db::connect(&database(&program)).await.unwrap();
    let (take, give) = ("SELECT pg_advisory_lock($1)", "SELECT pg_advisory_unlock($1)");
    sql.query_one(take, &[&MIGRATION_LOCK]).await.unwrap();
    let waits_for_it = async || sql.query_one(SESSIONS_WAITING_FOR_LOCKS, &[]).await.unwrap().get::<_, i64>(0) > 0;

    let mut service = program.spawn();
    until("the start waits for the lock", waits_for_it).await;
    assert_eq!(bind(address, false).unwrap_err().kind(), ErrorKind::AddrInUse);
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    sql.query_one(give, &[&MIGRATION_LOCK]).await.unwrap();
    service.logged(READY).await;
    service.address = address.to_string();
    service.anonymous().get("/draws").await.expect(200);
    service.stop().await;

    // Another program that has taken the port, too, listens first.
    sql.query_one(take, &[&MIGRATION_LOCK]).await.unwrap();
    let other = bind(address, true).unwrap();
    let service = program.spawn();
    until("the start waits for the lock", waits_for_it).await;
    other.listen(1).unwrap();
    sql.query_one(give, &[&MIGRATION_LOCK]).await.unwrap();
    let (status, log) = service.ended().await;
    assert_eq!(status.code(), Some(1));
    let last = log.last().unwrap();
    assert!(last.ends_with("port 8080 is in use; set LOTTERY__SERVER__PORT to another one"), "{last}");
}
