//! The service on the filled database, as a process of its own, and what these tests ask of it.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinHandle;

use crate::common::PASSWORD;
use crate::common::client::User;
use crate::common::process::{Program, Service};
use crate::common::wait::until_within;
use crate::fill::MASTER_SECRET;

/// The limit of every wait: ten million tickets take their time.
const TIMEOUT: Duration = Duration::from_secs(600);
const ADMIN: &str = "boss";

/// The program on this database, with an admin.
pub async fn program(database: &str) -> Program {
    let program = Program::new()
        .with("DATABASE_URL", database)
        .with("LOTTERY__AUTH__JWT_SECRET", "what these tests sign their tokens with")
        .with("LOTTERY__FAIRNESS__MASTER_SECRET", MASTER_SECRET)
        .with("LOTTERY__LIMITS__ENABLED", "false")
        .with("LOTTERY__LOG__FORMAT", "json")
        .with_timeout(TIMEOUT);
    let created = program.create_admin(ADMIN, "boss@example.com", PASSWORD).await;
    assert!(created.status.success(), "{created:?}");
    program
}

/// Starts the service; says how long it took until it answered.
pub async fn start(program: &Program) -> (Service, Duration) {
    let started = Instant::now();
    let service = program.start().await;
    (service, started.elapsed())
}

pub async fn admin(service: &Service) -> User {
    service.log_in(ADMIN).await
}

/// A new player with money.
pub async fn rich_player(service: &Service, name: &str) -> User {
    let player = service.player(name).await;
    player.deposit(1_000_000_000).await;
    player
}

/// Waits for a line of the log with this message.
pub async fn logged(service: &mut Service, message: &str) -> Value {
    serde_json::from_str(&service.logged(message).await).unwrap()
}

/// Waits until a draw has this status.
pub async fn until_draw_is(service: &Service, draw: i64, status: &str) {
    let (user, path) = (service.anonymous(), format!("/draws/{draw}"));
    let what = format!("draw {draw} is {status}");
    until_within(TIMEOUT, &what, async || user.get(&path).await.expect(200)["status"] == status).await;
}

/// Posts without waiting for the answer: a service that is killed meanwhile gives none.
pub fn post_in_background(user: &User, path: &str, body: &Value) -> JoinHandle<bool> {
    let request = user.request(reqwest::Method::POST, path).json(body);
    tokio::spawn(async move { request.send().await.is_ok_and(|answer| answer.status().is_success()) })
}

/// The most memory that the service ever held, in MiB, where the system says so.
pub fn peak_memory(service: &Service) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.pid())).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}
