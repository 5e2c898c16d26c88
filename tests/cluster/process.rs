//! A program of the cluster as a process whose output goes into a file, and signals to a process with all its
//! descendants. Knows no program in particular.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

/// Lines at the end of a file that are shown when a test fails.
const SHOWN: usize = 40;

/// A running program. It is killed when this value is dropped.
pub struct Process {
    child: Child,
}

impl Process {
    /// Runs these words as a command; its output is appended to the file.
    pub fn start(words: &[String], variables: &[(&str, String)], log: &Path) -> Process {
        let log = File::options().create(true).append(true).open(log).unwrap();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).kill_on_drop(true);
        let child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}: see .ci/cluster", words[0]));
        Process { child }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id().expect("it runs")).unwrap())
    }

    pub fn signal(&self, signal: Signal) {
        // It may have ended.
        let _ = kill(self.pid(), signal);
    }

    /// Kills it and waits for its end.
    pub async fn kill_9(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// A process and all its descendants, the process first.
pub fn family(head: Pid) -> Vec<Pid> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // The name, in parentheses, may contain anything; the state and the parent follow.
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        children.entry(parent.unwrap_or_default()).or_default().push(pid);
    }
    let (mut family, mut next) = (Vec::new(), vec![head.as_raw()]);
    while let Some(pid) = next.pop() {
        family.push(Pid::from_raw(pid));
        next.extend(children.remove(&pid).unwrap_or_default());
    }
    family
}

/// Signals a process and all its descendants.
pub fn signal_family(head: Pid, signal: Signal) {
    for pid in family(head) {
        // It may have ended.
        let _ = kill(pid, signal);
    }
}

/// The end of each of these files.
pub fn ends(files: &[PathBuf]) -> String {
    let end = |file: &PathBuf| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        format!("--- {}\n{}", file.display(), lines[lines.len().saturating_sub(SHOWN)..].join("\n"))
    };
    files.iter().map(end).collect::<Vec<_>>().join("\n")
}
