//! What the services stand on, on three machines: etcd on each, Patroni with Postgres on the first two, HAProxy on the
//! third; configured by the files in deploy/. Knows no lottery.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};
use serde_json::Value;

use crate::common::client::http_client;
use crate::common::process::postmaster;
use crate::common::wait::until;
use crate::network::{MACHINES, Network};
use crate::process::{Process, family, signal_family};

/// The machines with Postgres and a service. The third one has etcd and HAProxy.
pub const NODES: usize = 2;
pub const PORT: u16 = 8080;
/// How long a Patroni may take to say what it is.
const ANSWER_WAIT: Duration = Duration::from_millis(800);
/// Where `.ci/cluster` installs Patroni.
const PATRONI: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/cluster/patroni");

pub struct Stack {
    directory: PathBuf,
    /// Whether the database's machines have clocks that can be set.
    fake_clocks: bool,
    etcd: Vec<Process>,
    patroni: Vec<Option<Process>>,
    _proxy: Process,
    http: reqwest::Client,
    // The last one to be dropped: its machines are gone when nothing runs on them.
    pub network: Network,
}

impl Stack {
    /// Starts all of it from nothing; returns when the database exists and has a synchronous standby.
    pub async fn start(directory: &Path, fake_clocks: bool) -> Stack {
        let network = Network::new();
        copy(Path::new(PATRONI), &directory.join("patroni"));
        let bootstrap = deployed("make_database.sh");
        fs::write(directory.join("make_database.sh"), bootstrap).unwrap();
        fs::set_permissions(directory.join("make_database.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        let script = directory.join("make_database.sh").display().to_string();
        let settings = deployed("patroni.yml").replace("/etc/patroni/make_database.sh", &script);
        // In a build without optimisation, a log-in with a password takes a second of the processor.
        let settings = settings.replace("scram-sha-256", "trust");
        fs::write(directory.join("patroni.yml"), settings).unwrap();
        for secret in ["owner_password", "service_password"] {
            fs::write(directory.join(secret), PASSWORD).unwrap();
        }
        for machine in 0..MACHINES {
            fs::create_dir(machine_directory(directory, machine)).unwrap();
            set_clock_file(directory, machine, 0);
            if Uid::effective().is_root() {
                let postgres = User::from_name("postgres").unwrap().expect("Postgres is installed with its user");
                let owner = (Some(postgres.uid.as_raw()), Some(postgres.gid.as_raw()));
                chown(machine_directory(directory, machine), owner.0, owner.1).unwrap();
            }
        }
        if fake_clocks {
            (0..NODES).for_each(|machine| make_programs_with_a_fake_clock(directory, machine));
        }
        let etcd = (0..MACHINES).map(|machine| start_etcd(directory, &network, machine)).collect();
        let proxy = start_proxy(directory, &network);
        let mut stack = Stack {
            directory: directory.to_owned(),
            fake_clocks,
            etcd,
            patroni: (0..NODES).map(|_| None).collect(),
            _proxy: proxy,
            http: http_client(),
            network,
        };
        stack.start_patroni(0);
        until("the first Postgres is the primary", async || stack.primary().await == Some(0)).await;
        stack.start_patroni(1);
        until("the second Postgres is its standby", async || stack.has_standby().await).await;
        stack
    }

    pub fn start_patroni(&mut self, machine: usize) {
        let address = self.network.address(machine);
        let home = machine_directory(&self.directory, machine);
        let mut words = self.network.launcher(machine);
        if Uid::effective().is_root() {
            let user = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--init-groups"];
            words.extend(user.map(str::to_owned));
        }
        // Not the first Python in PATH: the user postgres must be able to run it.
        words.push("/usr/bin/python3".to_owned());
        words.push(self.directory.join("patroni/bin/patroni").display().to_string());
        words.push(self.directory.join("patroni.yml").display().to_string());
        let etcd: Vec<String> = (0..MACHINES).map(|it| format!("{}:2379", self.network.address(it))).collect();
        let path = |name: &str| home.join(name).display().to_string();
        let programs = if self.fake_clocks { path("bin") } else { postgres_programs() };
        let variables = [
            ("PYTHONPATH", self.directory.join("patroni").display().to_string()),
            ("SECRETS", self.directory.display().to_string()),
            ("PATRONI_NAME", format!("node{}", machine + 1)),
            ("PATRONI_ETCD3_HOSTS", etcd.join(",")),
            ("PATRONI_RESTAPI_LISTEN", format!("{address}:8008")),
            ("PATRONI_RESTAPI_CONNECT_ADDRESS", format!("{address}:8008")),
            ("PATRONI_POSTGRESQL_LISTEN", format!("{address}:5432")),
            ("PATRONI_POSTGRESQL_CONNECT_ADDRESS", format!("{address}:5432")),
            ("PATRONI_POSTGRESQL_DATA_DIR", path("postgres")),
            ("PATRONI_POSTGRESQL_BIN_DIR", programs),
            ("PATRONI_POSTGRESQL_PGPASS", path("pgpass")),
            ("PATRONI_SUPERUSER_USERNAME", "postgres".to_owned()),
            ("PATRONI_SUPERUSER_PASSWORD", PASSWORD.to_owned()),
            ("PATRONI_REPLICATION_USERNAME", "replicator".to_owned()),
            ("PATRONI_REPLICATION_PASSWORD", PASSWORD.to_owned()),
        ];
        self.patroni[machine] =
            Some(Process::start(&words, &variables, &log(&self.directory, machine, "patroni")));
    }

    /// The logs of everything.
    pub fn logs(&self) -> Vec<PathBuf> {
        (0..NODES).map(|machine| log(&self.directory, machine, "patroni")).collect()
    }

    /// The address of the services for clients.
    pub fn proxy_address(&self) -> String {
        format!("{}:{PORT}", self.network.address(NODES))
    }

    /// Sets the clock of a machine of the database to this many seconds after the true time.
    pub fn set_clock(&self, machine: usize, seconds: i32) {
        assert!(self.fake_clocks);
        set_clock_file(&self.directory, machine, seconds);
    }

    /// The machine whose Patroni says that its Postgres is the primary, if one does.
    pub async fn primary(&self) -> Option<usize> {
        for machine in 0..NODES {
            if self.ask(machine, "primary").await.is_some_and(|answer| answer.status().is_success()) {
                return Some(machine);
            }
        }
        None
    }

    /// Whether the primary has a standby that each commit waits for.
    pub async fn has_standby(&self) -> bool {
        let Some(primary) = self.primary().await else { return false };
        let Some(answer) = self.ask(primary, "cluster").await else { return false };
        let cluster: Value = answer.json().await.unwrap_or_default();
        let members = cluster["members"].as_array().into_iter().flatten();
        members.filter(|it| it["role"] == "sync_standby" && it["state"] == "streaming").count() == 1
    }

    async fn ask(&self, machine: usize, path: &str) -> Option<reqwest::Response> {
        let url = format!("http://{}:8008/{path}", self.network.address(machine));
        self.http.get(url).timeout(ANSWER_WAIT).send().await.ok()
    }

    fn postmaster(&self, machine: usize) -> Option<Pid> {
        postmaster(&machine_directory(&self.directory, machine))
    }

    /// Kills Patroni and every process of its Postgres, as the loss of the machine's power does.
    pub async fn kill_database(&mut self, machine: usize) {
        let postgres: Vec<Pid> = self.postmaster(machine).map(family).unwrap_or_default();
        if let Some(patroni) = self.patroni[machine].take() {
            patroni.kill_9().await;
        }
        for pid in postgres {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }

    /// Sends SIGSTOP or SIGCONT to Patroni alone.
    pub fn signal_patroni(&self, machine: usize, signal: Signal) {
        self.patroni[machine].as_ref().expect("it runs").signal(signal);
    }

    /// Sends SIGSTOP or SIGCONT to Patroni and every process of its Postgres.
    pub fn signal_database(&self, machine: usize, signal: Signal) {
        self.signal_patroni(machine, signal);
        signal_family(self.postmaster(machine).expect("it runs"), signal);
    }

    pub fn signal_etcd(&self, machine: usize, signal: Signal) {
        self.etcd[machine].signal(signal);
    }
}

impl Drop for Stack {
    /// Patroni leaves its Postgres behind when it is killed.
    fn drop(&mut self) {
        for machine in 0..NODES {
            self.patroni[machine] = None;
            if let Some(postmaster) = self.postmaster(machine) {
                signal_family(postmaster, Signal::SIGKILL);
            }
        }
    }
}

/// The password of every login of the database.
pub const PASSWORD: &str = "correct-horse";

/// A file of deploy/.
fn deployed(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)).unwrap()
}

pub fn machine_directory(directory: &Path, machine: usize) -> PathBuf {
    directory.join(format!("machine{}", machine + 1))
}

fn log(directory: &Path, machine: usize, name: &str) -> PathBuf {
    directory.join(format!("{name}{}.log", machine + 1))
}

fn set_clock_file(directory: &Path, machine: usize, seconds: i32) {
    fs::write(directory.join(format!("clock{}", machine + 1)), format!("{seconds:+}")).unwrap();
}

/// The variables that let a program see the clock of [`Stack::set_clock`]. The clocks that cannot be set stay.
pub fn fake_clock(directory: &Path, machine: usize) -> [(&'static str, String); 4] {
    let library =
        glob_first("/usr/lib", "faketime/libfaketime.so.1").expect("faketime is installed: see .ci/cluster");
    [
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", directory.join(format!("clock{}", machine + 1)).display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ]
}

/// The directory with the newest version of Postgres.
fn postgres_programs() -> String {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("Postgres is installed: see .ci/cluster").flatten();
    let version = |name: String| name.parse::<u32>().ok();
    let newest = versions.filter_map(|entry| version(entry.file_name().to_string_lossy().into_owned())).max();
    format!("/usr/lib/postgresql/{}/bin", newest.expect("a version"))
}

/// Makes a directory with the programs of Postgres, of which the server sees the clock of [`Stack::set_clock`]. Patroni
/// does not see it: Python cannot sleep with the library.
fn make_programs_with_a_fake_clock(directory: &Path, machine: usize) {
    let (programs, made) = (postgres_programs(), machine_directory(directory, machine).join("bin"));
    fs::create_dir(&made).unwrap();
    for program in fs::read_dir(&programs).unwrap().flatten() {
        symlink(program.path(), made.join(program.file_name())).unwrap();
    }
    let variables = fake_clock(directory, machine).map(|(name, value)| format!("{name}={value}"));
    let script = format!("#!/bin/sh\nexec env {} {programs}/postgres \"$@\"\n", variables.join(" "));
    fs::remove_file(made.join("postgres")).unwrap();
    fs::write(made.join("postgres"), script).unwrap();
    fs::set_permissions(made.join("postgres"), fs::Permissions::from_mode(0o755)).unwrap();
}

/// The first file of this name in a direct subdirectory.
fn glob_first(top: &str, name: &str) -> Option<String> {
    let candidates = fs::read_dir(top).ok()?.flatten().map(|entry| entry.path().join(name));
    candidates.into_iter().find(|path| path.exists()).map(|path| path.display().to_string())
}

/// The user postgres may not be able to enter the project's directory.
fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-r").args([from, to]).status().unwrap();
    assert!(copied.success(), "Patroni is installed by .ci/cluster");
}

fn start_etcd(directory: &Path, network: &Network, machine: usize) -> Process {
    let url = |machine: usize, port: u16| format!("http://{}:{port}", network.address(machine));
    let members: Vec<String> = (0..MACHINES).map(|it| format!("etcd{}={}", it + 1, url(it, 2380))).collect();
    let data = directory.join(format!("etcd{}", machine + 1)).display().to_string();
    let mut words = network.launcher(machine);
    for word in [
        "etcd",
        "--name",
        &format!("etcd{}", machine + 1),
        "--data-dir",
        &data,
        "--listen-client-urls",
        &url(machine, 2379),
        "--advertise-client-urls",
        &url(machine, 2379),
        "--listen-peer-urls",
        &url(machine, 2380),
        "--initial-advertise-peer-urls",
        &url(machine, 2380),
        "--initial-cluster",
        &members.join(","),
        // As docs/high-availability.md says.
        "--heartbeat-interval",
        "50",
        "--election-timeout",
        "500",
        "--pre-vote",
    ] {
        words.push(word.to_owned());
    }
    Process::start(&words, &[], &log(directory, machine, "etcd"))
}

fn start_proxy(directory: &Path, network: &Network) -> Process {
    let mut settings = deployed("haproxy.cfg").replace("bind :", &format!("bind {}:", network.address(NODES)));
    for machine in 0..NODES {
        let named = format!("lottery{}:", machine + 1);
        settings = settings.replace(&named, &format!("{}:", network.address(machine)));
    }
    let file = directory.join("haproxy.cfg");
    fs::write(&file, settings).unwrap();
    let mut words = network.launcher(NODES);
    words.extend(["haproxy", "-db", "-f", &file.display().to_string()].map(str::to_owned));
    Process::start(&words, &[], &log(directory, NODES, "haproxy"))
}
