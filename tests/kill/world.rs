//! The service's program in a directory of its own, with the private Postgres that it starts there. Knows how to
//! start, stop, kill and freeze either; knows nothing of draws.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use lottery::db;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use private_postgres::PostgresServer;
use tokio::sync::watch;
use tokio_postgres::{Client, Config};

use crate::buyers::configured;
use crate::common::client::User;
use crate::common::process::{self, Program, Service, is_alive};
use crate::common::wait::TIMEOUT;

/// Lines of the service's log that are kept, to be shown when something is wrong.
const LOG_LINES: usize = 400;

pub struct World {
    pub program: Program,
    service: Option<Service>,
    database: Config,
    /// Where the service answers; empty while it does not run.
    address: watch::Sender<String>,
    /// The end of the log of the services that ran before.
    earlier_log: VecDeque<String>,
    /// How often each fault was injected.
    pub injected: BTreeMap<String, usize>,
    /// The processes of Postgres that were stopped by SIGSTOP and have to be resumed.
    frozen: Vec<Pid>,
}

impl World {
    /// In a new directory; the service answers.
    pub async fn new() -> World {
        World::with(Program::new()).await
    }

    /// In this directory, which is empty.
    pub async fn in_directory(directory: &Path) -> World {
        World::with(Program::in_directory(directory)).await
    }

    async fn with(program: Program) -> World {
        let mut world = World {
            program: configured(program),
            service: None,
            database: Config::new(),
            address: watch::Sender::default(),
            earlier_log: VecDeque::new(),
            injected: BTreeMap::new(),
            frozen: Vec::new(),
        };
        world.start().await;
        world
    }

    /// Starts the service and waits until it answers.
    pub async fn start(&mut self) {
        let service = self.program.start().await;
        // The service runs the server; this joins it.
        let joined =
            PostgresServer::start_or_join(&db::private_server_options(self.program.data())).await.unwrap();
        self.database = joined.connection();
        self.address.send_replace(service.address.clone());
        self.service = Some(service);
    }

    /// Where the service answers, now and after every start.
    pub fn address(&self) -> watch::Receiver<String> {
        self.address.subscribe()
    }

    pub fn service(&self) -> &Service {
        self.service.as_ref().expect("the service runs")
    }

    /// A client without a token.
    pub fn anonymous(&self) -> User {
        self.service().anonymous()
    }

    fn take_service(&mut self) -> Service {
        self.address.send_replace(String::new());
        self.service.take().expect("the service runs")
    }

    fn keep_log(&mut self, lines: Vec<String>) {
        self.earlier_log.extend(lines);
        self.earlier_log.drain(..self.earlier_log.len().saturating_sub(LOG_LINES));
    }

    pub async fn kill_service(&mut self) {
        let log = self.take_service().kill_9().await;
        self.keep_log(log);
    }

    /// Stops the service gracefully.
    pub async fn stop(&mut self) {
        let log = self.take_service().stop().await;
        self.keep_log(log);
    }

    /// Whether the service still runs, as it must whatever happens to its Postgres.
    pub fn is_running(&mut self) -> bool {
        self.service.as_mut().is_some_and(Service::is_running)
    }

    /// A connection to the service's Postgres, as soon as that accepts one.
    pub async fn sql(&self) -> Client {
        let connecting = async {
            loop {
                match db::connect(&self.database).await {
                    Ok(client) => return client,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        let connected = tokio::time::timeout(TIMEOUT, connecting).await;
        connected.unwrap_or_else(|_| panic!("Postgres does not come back:\n{}", self.log()))
    }

    pub fn postmaster(&self) -> Pid {
        process::postmaster(&self.program.data()).unwrap_or_else(|| panic!("no Postgres runs:\n{}", self.log()))
    }

    /// The postmaster first, then all its children.
    async fn postgres(&self) -> Vec<Pid> {
        let rows = self.sql().await.query("SELECT pid FROM pg_stat_activity", &[]).await.unwrap();
        let children = rows.iter().map(|row| Pid::from_raw(row.get(0)));
        std::iter::once(self.postmaster()).chain(children).collect()
    }

    /// Kills every process of Postgres at once, as the loss of a machine's power does.
    pub async fn kill_postgres(&self) {
        for pid in self.postgres().await {
            // It may have ended already.
            let _ = kill(pid, Signal::SIGKILL);
        }
    }

    /// Stops every process of Postgres by SIGSTOP.
    pub async fn freeze(&mut self) {
        self.frozen = self.postgres().await;
        for pid in &self.frozen {
            let _ = kill(*pid, Signal::SIGSTOP);
        }
    }

    pub fn resume(&mut self) {
        for pid in self.frozen.drain(..) {
            let _ = kill(pid, Signal::SIGCONT);
        }
    }

    /// Leaves the frozen processes to the next service, which has to end them.
    pub fn leave_frozen(&mut self) -> Vec<Pid> {
        std::mem::take(&mut self.frozen)
    }

    /// The end of the service's log, shown when a test fails.
    pub fn log(&self) -> String {
        let running = self.service.iter().flat_map(Service::log);
        let lines: Vec<String> = self.earlier_log.iter().cloned().chain(running).collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// Stops everything. After all faults `lottery check` finds nothing, neither beside the service nor without it.
    pub async fn close(mut self) {
        let postmaster = self.postmaster();
        self.check().await;
        self.stop().await;
        assert!(!is_alive(postmaster), "its Postgres outlived the service");
        self.check().await;
    }

    async fn check(&self) {
        let checked = self.program.command(&["check"]).stderr(Stdio::piped()).output();
        let checked = tokio::time::timeout(TIMEOUT, checked).await.expect("a check has an end").unwrap();
        let printed = String::from_utf8_lossy(&[checked.stdout, checked.stderr].concat()).into_owned();
        assert!(checked.status.success() && printed.contains("every law holds"), "{printed}");
    }
}

impl Drop for World {
    /// Also when a test fails half-way: no process may outlive it.
    fn drop(&mut self) {
        self.resume();
        drop(self.service.take());
        if let Some(postmaster) = process::postmaster(&self.program.data()) {
            let _ = kill(postmaster, Signal::SIGKILL);
        }
    }
}
