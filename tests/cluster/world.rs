//! Two services on the first two machines of a stack, behind HAProxy. Knows how to start, stop, kill and freeze one, and
//! which one is active; knows nothing of draws.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;

use lottery::db;
use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_postgres::{Client, Config};

use crate::buyers::configured;
use crate::common::client::{User, http_client};
use crate::common::process::{Program, Service};
use crate::common::wait::{TIMEOUT, until};
use crate::process::ends;
use crate::stack::{NODES, PASSWORD, PORT, Stack, fake_clock, machine_directory};

/// Lines of the services' logs that are kept, to be shown when something is wrong.
const LOG_LINES: usize = 200;
/// How long a service may take to say whether it is ready.
const ANSWER_WAIT: Duration = Duration::from_millis(500);
/// The pause between two looks at which services are ready.
const LOOK: Duration = Duration::from_millis(50);

/// Which clocks can be set in a world.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum FakeClocks {
    None,
    /// Those of the database's machines.
    Database,
    /// Those of the services.
    Services,
}

/// Removed when this value is dropped, unless a test fails: then its logs tell why.
struct Directory(TempDir);

impl Drop for Directory {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.disable_cleanup(true);
            println!("the logs are kept in {}", self.0.path().display());
        }
    }
}

pub struct World {
    programs: Vec<Program>,
    services: Vec<Option<Service>>,
    earlier_log: VecDeque<String>,
    /// Where the clients send their requests: always the proxy.
    address: watch::Sender<String>,
    /// When two services were ready at the same time.
    two_ready: Rc<RefCell<Vec<String>>>,
    http: reqwest::Client,
    // Dropped after the services.
    pub stack: Stack,
    directory: Directory,
}

impl World {
    /// Starts everything from nothing; one service is active and the other one stands by.
    pub async fn new(clocks: FakeClocks) -> World {
        let directory = Directory(tempfile::Builder::new().prefix("lottery-cluster-").tempdir().unwrap());
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(directory.0.path(), everybody).unwrap();
        let stack = Stack::start(directory.0.path(), clocks == FakeClocks::Database).await;
        let hosts: Vec<String> = (0..NODES).map(|node| format!("{}:5432", stack.network.address(node))).collect();
        let url = |login| format!("postgres://{login}:{PASSWORD}@{}/lottery?sslmode=disable", hosts.join(","));
        let program = |node: usize| {
            let program = Program::in_directory(&machine_directory(directory.0.path(), node))
                .with("DATABASE_URL", &url("lottery_service"))
                .with("LOTTERY__DATABASE__OWNER_URL", &url("lottery"))
                .with("LOTTERY__SERVER__HOST", &stack.network.address(node))
                .with("LOTTERY__SERVER__PORT", &PORT.to_string())
                .with("LOTTERY__PAYMENTS__ALLOW_SANDBOX", "true")
                .launched_by(stack.network.launcher(node));
            let fake = (clocks == FakeClocks::Services).then(|| fake_clock(directory.0.path(), node));
            let with = |program: Program, (name, value): (&str, String)| program.with(name, &value);
            configured(fake.into_iter().flatten().fold(program, with))
        };
        let mut world = World {
            programs: (0..NODES).map(program).collect(),
            services: (0..NODES).map(|_| None).collect(),
            earlier_log: VecDeque::new(),
            address: watch::Sender::new(stack.proxy_address()),
            two_ready: Rc::default(),
            http: http_client(),
            stack,
            directory,
        };
        for node in 0..NODES {
            world.start(node);
            until("the first service is ready", async || world.is_ready(0).await).await;
        }
        world.until_whole().await;
        until("the proxy knows it", async || world.is_ready_at(&world.stack.proxy_address()).await).await;
        world.watch();
        world
    }

    /// A client without a token, who sends everything to the proxy.
    pub fn anonymous(&self) -> User {
        User::at(&self.stack.proxy_address())
    }

    pub fn address(&self) -> watch::Receiver<String> {
        self.address.subscribe()
    }

    pub fn program(&self) -> &Program {
        &self.programs[0]
    }

    pub fn start(&mut self, node: usize) {
        self.services[node] = Some(self.programs[node].spawn());
    }

    fn service_address(&self, node: usize) -> String {
        format!("{}:{PORT}", self.stack.network.address(node))
    }

    async fn is_ready(&self, node: usize) -> bool {
        self.is_ready_at(&self.service_address(node)).await
    }

    async fn is_ready_at(&self, address: &str) -> bool {
        ready_status(&self.http, address).await == Some(200)
    }

    /// The node of the service that is ready, as soon as one is.
    pub async fn active(&self) -> usize {
        let looking = async {
            loop {
                for node in 0..NODES {
                    if self.is_ready(node).await {
                        return node;
                    }
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let found = tokio::time::timeout(TIMEOUT, looking).await;
        found.unwrap_or_else(|_| panic!("no service is ready:\n{}", self.log()))
    }

    /// Starts what has ended, as a supervisor does, until the database has its standby, one service is ready and the
    /// other one stands by.
    pub async fn until_whole(&mut self) {
        let waiting = async {
            while !self.is_whole().await {
                self.restart_ended().await;
                tokio::time::sleep(LOOK).await;
            }
        };
        if tokio::time::timeout(2 * TIMEOUT, waiting).await.is_err() {
            panic!("not everything comes back:\n{}\n{}", self.log(), ends(&self.stack.logs()));
        }
    }

    async fn is_whole(&self) -> bool {
        let mut statuses = Vec::new();
        for node in 0..NODES {
            statuses.push(ready_status(&self.http, &self.service_address(node)).await);
        }
        statuses.sort();
        statuses == [Some(200), Some(503)] && self.stack.has_standby().await
    }

    /// Lets the other service become the active one, if this one is.
    pub async fn move_from(&mut self, node: usize) {
        if self.active().await == node {
            let (status, _) = self.end(node, Signal::SIGTERM).await;
            assert_eq!(status.code(), Some(0), "{}", self.log());
            self.start(node);
            self.until_whole().await;
        }
    }

    pub fn signal(&self, node: usize, signal: Signal) {
        self.services[node].as_ref().expect("it runs").signal(signal);
    }

    pub fn is_running(&mut self, node: usize) -> bool {
        self.services[node].as_mut().is_some_and(Service::is_running)
    }

    /// Sends a signal and waits for the service's end.
    pub async fn end(&mut self, node: usize, signal: Signal) -> (ExitStatus, Vec<String>) {
        self.signal(node, signal);
        self.ended(node).await
    }

    /// Waits for the service's end; returns its exit status and its log.
    pub async fn ended(&mut self, node: usize) -> (ExitStatus, Vec<String>) {
        let (status, log) = self.services[node].take().expect("it runs").ended().await;
        self.earlier_log.extend(log.iter().map(|line| format!("node {}: {line}", node + 1)));
        self.earlier_log.drain(..self.earlier_log.len().saturating_sub(LOG_LINES));
        (status, log)
    }

    async fn restart_ended(&mut self) {
        for node in 0..NODES {
            if self.services[node].is_some() && !self.is_running(node) {
                self.ended(node).await;
            }
            if self.services[node].is_none() {
                self.start(node);
            }
        }
    }

    pub fn set_service_clock(&self, node: usize, seconds: i32) {
        let file = self.directory.0.path().join(format!("clock{}", node + 1));
        std::fs::write(file, format!("{seconds:+}")).unwrap();
    }

    /// A connection to the primary, as a superuser.
    pub async fn sql(&self) -> Client {
        let connecting = async {
            loop {
                if let Some(primary) = self.stack.primary().await {
                    let mut config = Config::new();
                    config.host(self.stack.network.address(primary)).port(5432).dbname("lottery");
                    config.user("postgres").password(PASSWORD);
                    if let Ok(client) = db::connect(&config).await {
                        return client;
                    }
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let connected = tokio::time::timeout(TIMEOUT, connecting).await;
        connected.unwrap_or_else(|_| panic!("there is no primary:\n{}", ends(&self.stack.logs())))
    }

    /// The end of the services' logs, shown when a test fails.
    pub fn log(&self) -> String {
        let running = self.services.iter().enumerate().flat_map(|(node, service)| {
            let mut log = service.as_ref().map(Service::log).unwrap_or_default();
            // Each refused request, and each question of the proxy.
            log.retain(|line| !line.contains("a request could not be served"));
            let end = log.len().saturating_sub(LOG_LINES / 4);
            log[end..].iter().map(|line| format!("node {}: {line}", node + 1)).collect::<Vec<_>>()
        });
        self.earlier_log.iter().cloned().chain(running).collect::<Vec<_>>().join("\n")
    }

    /// Looks all the time whether two services are ready at once: the first one before and after the second one.
    fn watch(&self) {
        let (http, found) = (self.http.clone(), self.two_ready.clone());
        let addresses: Vec<String> = (0..NODES).map(|node| self.service_address(node)).collect();
        actix_web::rt::spawn(async move {
            while Rc::strong_count(&found) > 1 {
                let mut ready = Vec::new();
                for node in [0, 1, 0] {
                    ready.push(ready_status(&http, &addresses[node]).await == Some(200));
                }
                if ready == [true, true, true] {
                    found.borrow_mut().push(format!("{:?}", std::time::SystemTime::now()));
                }
                tokio::time::sleep(LOOK).await;
            }
        });
    }

    /// Nothing is wrong after all faults, neither with the services nor with what they wrote.
    pub async fn check(&self) {
        assert_eq!(*self.two_ready.borrow(), [] as [String; 0], "two services were ready at once");
        let checked = self.program().command(&["check"]).stderr(Stdio::piped()).output();
        let checked = tokio::time::timeout(TIMEOUT, checked).await.expect("a check has an end").unwrap();
        let printed = String::from_utf8_lossy(&[checked.stdout, checked.stderr].concat()).into_owned();
        assert!(checked.status.success() && printed.contains("every law holds"), "{printed}");
    }
}

/// What `/health/ready` says; `None` without an answer in time.
async fn ready_status(http: &reqwest::Client, address: &str) -> Option<u16> {
    let asked = http.get(format!("http://{address}/health/ready")).timeout(ANSWER_WAIT).send().await;
    asked.ok().map(|answer| answer.status().as_u16())
}
