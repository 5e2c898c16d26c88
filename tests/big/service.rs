//! The service as a process of its own, told by its environment alone, and one who speaks HTTP with it.

use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What has not come by then never will.
const PATIENCE: Duration = Duration::from_secs(600);
const PASSWORD: &str = "correct horse battery";

/// A running service. Goes with this value.
pub struct Service {
    child: Child,
    pub ready_after: Duration,
    api: Api,
    log: watch::Receiver<Vec<Value>>,
}

fn command(database: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lottery"));
    // No configuration of whoever runs the tests.
    command.current_dir(std::env::temp_dir()).env_clear().env("DATABASE_URL", database);
    for (name, value) in [
        ("LOTTERY__AUTH__JWT_SECRET", "what these tests sign their tokens with"),
        ("LOTTERY__SERVER__PORT", "0"),
        ("LOTTERY__LIMITS__ENABLED", "false"),
        ("LOTTERY__LOG__FORMAT", "json"),
    ] {
        command.env(name, value);
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// An admin, made from the command line; no service needs to run.
pub async fn create_admin(database: &str) {
    let mut command = command(database);
    command.args(["admin", "create", "--username", "boss", "--email", "boss@example.com", "--password-stdin"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{PASSWORD}\n").as_bytes()).await.unwrap();
    assert!(child.wait().await.unwrap().success());
}

impl Service {
    /// Starts it and waits until it answers.
    pub async fn start(database: &str) -> Service {
        let started = Instant::now();
        let mut child = command(database).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let (lines, log) = watch::channel(Vec::new());
        tokio::spawn(async move {
            while let Ok(Some(line)) = output.next_line().await {
                let line = serde_json::from_str(&line).unwrap();
                lines.send_modify(|lines: &mut Vec<Value>| lines.push(line));
            }
        });
        let api =
            Api { base: String::new(), http: lottery::tls::http_client().build().unwrap(), token: String::new() };
        let mut service = Service { child, ready_after: Duration::ZERO, api, log };
        let address = service.said("the service answers").await["address"].as_str().unwrap().to_owned();
        service.ready_after = started.elapsed();
        service.api.base = format!("http://{address}/api/v1");
        service
    }

    /// Waits for a line of the log.
    pub async fn said(&mut self, message: &str) -> Value {
        let is = |line: &&Value| line["message"] == message;
        let waiting = self.log.wait_for(|lines| lines.iter().any(|line| is(&line)));
        let lines = tokio::time::timeout(PATIENCE, waiting).await.expect("it says so in time");
        lines.expect("it runs").iter().find(is).unwrap().clone()
    }

    /// Whether a line of the log said so until now.
    pub fn has_said(&self, message: &str) -> bool {
        self.log.borrow().iter().any(|line| line["message"] == message)
    }

    pub async fn admin(&self) -> Api {
        self.api.log_in("boss").await
    }

    /// Somebody new with money.
    pub async fn player(&self, name: &str) -> Api {
        let body = json!({"username": name, "email": format!("{name}@example.com"), "password": PASSWORD});
        self.api.post("/auth/register", body).await;
        let player = self.api.log_in(name).await;
        player.post("/wallet/deposits", json!({"amount": 1_000_000_000, "token": "tok_visa"})).await;
        player
    }

    /// Waits until a draw has this status.
    pub async fn until_draw_is(&self, draw: i64, status: &str) {
        let waiting = async {
            while self.api.get(&format!("/draws/{draw}")).await["status"] != status {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the draw gets on");
    }

    /// The most memory that it ever held, in MiB, where the system says so.
    pub fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().unwrap() as i32), signal).unwrap();
    }

    pub async fn kill_9(mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().await.unwrap();
    }

    pub async fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        assert!(self.child.wait().await.unwrap().success());
    }
}

/// One who calls the service.
#[derive(Clone)]
pub struct Api {
    base: String,
    http: Client,
    token: String,
}

impl Api {
    async fn log_in(&self, login: &str) -> Api {
        let pair = self.post("/auth/login", json!({"login": login, "password": PASSWORD})).await;
        Api { token: pair["access_token"].as_str().unwrap().to_owned(), ..self.clone() }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token)
    }

    pub async fn get(&self, path: &str) -> Value {
        self.request(Method::GET, path).send().await.unwrap().json().await.unwrap()
    }

    /// Posts without waiting for the answer: of a service that is about to be killed none comes.
    pub fn ask(&self, path: &str, body: Value) -> JoinHandle<bool> {
        let request = self.request(Method::POST, path).json(&body);
        tokio::spawn(async move { request.send().await.is_ok_and(|answer| answer.status().is_success()) })
    }

    /// Posts; what is refused fails the test.
    pub async fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.request(Method::POST, path).json(&body).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }
}
