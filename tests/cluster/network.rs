//! The three machines and the network between them. As root, each machine is a network namespace whose cable can be
//! pulled; otherwise each is a loopback address, and nothing can be cut off. Knows no program that runs on them.

use std::fs;
use std::process::{Command, Stdio};

use nix::unistd::Uid;

pub const MACHINES: usize = 3;
/// The namespaces' names begin with this, the process id and a hyphen.
const PREFIX: &str = "lottery-";

pub struct Network {
    /// The first three parts of every address.
    subnet: String,
    /// Tells the names of this process apart from those of others. `None`: loopback addresses.
    process: Option<u32>,
}

impl Network {
    pub fn new() -> Network {
        let process = std::process::id();
        if !Uid::effective().is_root() {
            return Network { subnet: format!("127.77.{}", process % 250), process: None };
        }
        remove_networks_of_ended_processes();
        // Addresses that are reserved for the tests of network devices (RFC 2544).
        let network = Network { subnet: format!("198.18.{}", process % 250), process: Some(process) };
        let bridge = bridge(process);
        ip(&format!("link add {bridge} type bridge"));
        ip(&format!("addr add {}.254/24 dev {bridge}", network.subnet));
        ip(&format!("link set {bridge} up"));
        for machine in 0..MACHINES {
            let (namespace, cable) = (namespace(process, machine), cable(process, machine));
            ip(&format!("netns add {namespace}"));
            ip(&format!("link add {cable} type veth peer name eth0 netns {namespace}"));
            ip(&format!("-n {namespace} addr add {}/24 dev eth0", network.address(machine)));
            ip(&format!("-n {namespace} link set eth0 up"));
            ip(&format!("-n {namespace} link set lo up"));
            ip(&format!("link set {cable} master {bridge} up"));
        }
        network
    }

    pub fn address(&self, machine: usize) -> String {
        format!("{}.{}", self.subnet, machine + 1)
    }

    /// The command, with its arguments, that starts a program on this machine and becomes it.
    pub fn launcher(&self, machine: usize) -> Vec<String> {
        let Some(process) = self.process else { return Vec::new() };
        ["ip", "netns", "exec", &namespace(process, machine)].map(str::to_owned).into()
    }

    /// Pulls the machine's cable: nothing reaches it and nothing leaves it, and no connection is told so.
    pub fn cut_off(&self, machine: usize) {
        let process = self.process.expect("only root can cut off a machine");
        ip(&format!("link set {} nomaster", cable(process, machine)));
    }

    pub fn reconnect(&self, machine: usize) {
        let process = self.process.expect("only root can cut off a machine");
        ip(&format!("link set {} master {}", cable(process, machine), bridge(process)));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some(process) = self.process {
            remove(process);
        }
    }
}

fn namespace(process: u32, machine: usize) -> String {
    format!("{PREFIX}{process}-{}", machine + 1)
}

fn cable(process: u32, machine: usize) -> String {
    format!("lot{process}-{}", machine + 1)
}

fn bridge(process: u32) -> String {
    format!("lot{process}")
}

/// A namespace, and with it its cable, goes when its last process has ended.
fn remove(process: u32) {
    for machine in 0..MACHINES {
        ip_if_possible(&format!("link del {}", cable(process, machine)));
        ip_if_possible(&format!("netns del {}", namespace(process, machine)));
    }
    ip_if_possible(&format!("link del {}", bridge(process)));
}

/// What a run that was killed has left behind.
fn remove_networks_of_ended_processes() {
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if let Some(process) = process.filter(|process| !fs::exists(format!("/proc/{process}")).unwrap()) {
            remove(process);
        }
    }
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

fn ip_if_possible(arguments: &str) {
    let mut command = Command::new("ip");
    let _ = command.args(arguments.split(' ')).stdout(Stdio::null()).stderr(Stdio::null()).status();
}
