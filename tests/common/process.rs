//! The service as a process of its own: how it is configured, started, stopped and killed, and what it logs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::client::User;
use super::wait::TIMEOUT;
use super::{PASSWORD, body};

/// The line that the service logs once it answers requests.
pub const READY: &str = "the service answers";
/// The line that a service logs that waits for the end of the active one.
pub const STANDS_BY: &str = "this one stands by";

/// The program in a directory of its own, configured by nothing but these variables.
pub struct Program {
    directory: PathBuf,
    /// Removes the directory, if it was made for this program.
    _temporary: Option<TempDir>,
    variables: Vec<(String, String)>,
    /// A program that starts this one, with its arguments.
    launcher: Vec<String>,
    timeout: Duration,
}

impl Program {
    /// In a new directory.
    pub fn new() -> Program {
        let directory = tempfile::Builder::new().prefix("lottery-").tempdir().unwrap();
        // The user of the private Postgres must be able to enter it.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let program = Program::in_directory(directory.path());
        Program { _temporary: Some(directory), ..program }
    }

    /// In this directory, on any free port.
    pub fn in_directory(directory: &Path) -> Program {
        let program = Program {
            directory: directory.to_owned(),
            _temporary: None,
            variables: Vec::new(),
            launcher: Vec::new(),
            timeout: TIMEOUT,
        };
        program.with("LOTTERY__SERVER__PORT", "0").with("LOTTERY__SERVER__WORKERS", "2")
    }

    /// With this environment variable.
    pub fn with(mut self, name: &str, value: &str) -> Program {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Started by a program that becomes this one, such as `ip netns exec`.
    pub fn launched_by(self, launcher: Vec<String>) -> Program {
        Program { launcher, ..self }
    }

    /// With another limit for every wait.
    pub fn with_timeout(self, timeout: Duration) -> Program {
        Program { timeout, ..self }
    }

    /// The value of an environment variable that was set.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The default `data_dir`.
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let program = [env!("CARGO_BIN_EXE_lottery").to_owned()];
        let mut words = self.launcher.iter().chain(&program);
        let mut command = Command::new(words.next().expect("the program is a word"));
        command.args(words).args(arguments).current_dir(&self.directory).env_clear();
        command.envs(["PATH", "HOME"].iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        // The process ends with the test, also when that fails.
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs a command to its end.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        tokio::time::timeout(self.timeout, self.command(arguments).output()).await.expect("it ends").unwrap()
    }

    /// `lottery admin create`, with the password as a line of standard input.
    pub async fn create_admin(&self, username: &str, email: &str, password: &str) -> Output {
        let arguments = ["admin", "create", "--username", username, "--email", email, "--password-stdin"];
        let mut command = self.command(&arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(format!("{password}\n").as_bytes()).await.unwrap();
        drop(stdin);
        tokio::time::timeout(self.timeout, child.wait_with_output()).await.expect("it ends").unwrap()
    }

    /// Starts the service and waits until it answers requests.
    pub async fn start(&self) -> Service {
        let mut service = self.start_until(READY).await;
        service.address = address(&service.logged(READY).await);
        service
    }

    /// Starts the service beside another one and waits until it stands by.
    pub async fn stand_by(&self) -> Service {
        let mut service = self.start_until(STANDS_BY).await;
        service.address = address(&service.logged(STANDS_BY).await);
        service
    }

    /// Starts the service and waits until it has logged this.
    pub async fn start_until(&self, message: &str) -> Service {
        let mut service = self.spawn();
        service.logged(message).await;
        service
    }

    /// Starts the service. Its address is not known.
    pub fn spawn(&self) -> Service {
        self.spawn_with(&[])
    }

    /// Starts a command that runs for a while, to be watched and stopped like a service.
    pub fn spawn_with(&self, arguments: &[&str]) -> Service {
        let mut child = self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (lines, log) = watch::channel(Vec::new());
        tokio::spawn(collect(child.stdout.take().unwrap(), lines.clone()));
        tokio::spawn(collect(child.stderr.take().unwrap(), lines));
        Service { child, address: String::new(), log, timeout: self.timeout }
    }
}

/// Appends each line of an output of the process.
async fn collect(output: impl AsyncRead + Unpin, to: watch::Sender<Vec<String>>) {
    let mut output = BufReader::new(output).lines();
    while let Ok(Some(line)) = output.next_line().await {
        to.send_modify(|lines| lines.push(line));
    }
}

/// A running service. It is killed when this value is dropped.
pub struct Service {
    child: Child,
    pub address: String,
    /// Every line of standard output and standard error so far; closed when the process ends.
    log: watch::Receiver<Vec<String>>,
    timeout: Duration,
}

impl Service {
    /// Waits for a line of the log that contains this.
    pub async fn logged(&mut self, message: &str) -> String {
        let is = |line: &&String| line.contains(message);
        let waiting = self.log.wait_for(|lines| lines.iter().any(|line| is(&line)));
        let waited = tokio::time::timeout(self.timeout, waiting).await.map(|found| found.is_ok());
        match (waited, self.log().iter().find(is)) {
            (Ok(true), Some(line)) => line.clone(),
            (ended, _) => {
                let why = if ended.is_ok() { "it ended" } else { "it still runs" };
                panic!("{why} and never logged: {message}\n{}", self.log().join("\n"))
            }
        }
    }

    /// Whether a line of the log contained this until now.
    pub fn has_logged(&self, message: &str) -> bool {
        self.log.borrow().iter().any(|line| line.contains(message))
    }

    /// Every line until now.
    pub fn log(&self) -> Vec<String> {
        self.log.borrow().clone()
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id().expect("it runs")).unwrap())
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits for its end; returns its exit status and its whole log.
    pub async fn ended(mut self) -> (ExitStatus, Vec<String>) {
        let ended = tokio::time::timeout(self.timeout, self.child.wait()).await;
        let status = ended.unwrap_or_else(|_| panic!("it does not end:\n{}", self.log().join("\n"))).unwrap();
        while self.log.changed().await.is_ok() {}
        let log = self.log.borrow().clone();
        (status, log)
    }

    /// Stops it as an operator does; it must end with code 0. Returns its log.
    pub async fn stop(self) -> Vec<String> {
        self.signal(Signal::SIGTERM);
        let (status, log) = self.ended().await;
        assert_eq!(status.code(), Some(0), "{}", log.join("\n"));
        log
    }

    /// Returns its log.
    pub async fn kill_9(self) -> Vec<String> {
        self.signal(Signal::SIGKILL);
        self.ended().await.1
    }

    /// A client without a token.
    pub fn anonymous(&self) -> User {
        User::at(&self.address)
    }

    /// A new player, registered and logged in.
    pub async fn player(&self, name: &str) -> User {
        self.anonymous().register(name).await
    }

    pub async fn log_in(&self, login: &str) -> User {
        self.anonymous().log_in(login, PASSWORD).await
    }

    /// The admin of this name, created by the command line and logged in.
    pub async fn admin(&self, program: &Program, name: &str) -> User {
        let created = program.create_admin(name, &format!("{name}@example.com"), PASSWORD).await;
        assert!(created.status.success(), "{created:?}");
        self.log_in(name).await
    }

    pub async fn try_log_in(&self, login: &str, password: &str) -> super::client::Answer {
        self.anonymous().post("/auth/login", body::login(login, password)).await
    }
}

/// The address in the line that logs it, in either log format.
fn address(line: &str) -> String {
    match serde_json::from_str::<Value>(line) {
        Ok(event) => event["address"].as_str().unwrap().to_owned(),
        Err(_) => line.split("address=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned(),
    }
}

/// The process id of the private Postgres of this data directory, if its file names one.
pub fn postmaster(data: &Path) -> Option<Pid> {
    let text = fs::read_to_string(data.join("postgres/postmaster.pid")).ok()?;
    Some(Pid::from_raw(text.lines().next()?.parse().ok()?))
}

pub fn is_alive(pid: Pid) -> bool {
    // A zombie has ended. Where there is no /proc, the tests' processes leave no zombies.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let zombie = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'));
    kill(pid, None) != Err(Errno::ESRCH) && !zombie
}
