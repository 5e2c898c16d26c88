//! Installs the platform's Postgres package, as root and only where no Postgres was found.
//!
//! It knows the package managers' commands; it does not decide whether it may.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

use super::ServerError;

/// How long one command of the package manager may take, on a slow mirror too.
const INSTALL_LIMIT: Duration = Duration::from_secs(15 * 60);

/// The lines of a failed command's output that go into the error.
const OUTPUT_LINES: usize = 8;

/// Tells Debian's package not to make and start a cluster of its own, which nobody asked for.
const NO_MAIN_CLUSTER: &str = "/etc/postgresql-common/createcluster.d/lottery.conf";

struct Installer {
    program: &'static str,
    /// What refreshes its list of packages, if it does not do that by itself.
    update: Option<&'static [&'static str]>,
    install: &'static [&'static str],
}

const INSTALLERS: [Installer; 3] = [
    Installer {
        program: "apt-get",
        update: Some(&["update"]),
        install: &[
            "install",
            "--yes",
            "--no-install-recommends",
            "--option=DPkg::Lock::Timeout=120",
            "postgresql",
        ],
    },
    Installer { program: "dnf", update: None, install: &["install", "--assumeyes", "postgresql-server"] },
    Installer { program: "apk", update: None, install: &["add", "--update-cache", "postgresql"] },
];

pub(super) async fn install() -> Result<(), ServerError> {
    for Installer { program, update, install } in INSTALLERS {
        let there = run(program, &["--version"]).await;
        if matches!(there, Err(error) if error.kind() == io::ErrorKind::NotFound) {
            continue;
        }
        tracing::warn!("no Postgres here: installing it: {program} {}", install.join(" "));
        if let Some(update) = update
            && let Err(error) = run(program, update).await
        {
            // One broken source of several need not keep the package from us.
            tracing::warn!("{program}: {error}");
        }
        let main_cluster = refuse_main_cluster(program);
        let outcome = run(program, install).await;
        if main_cluster.is_ok() {
            let _ = fs::remove_file(NO_MAIN_CLUSTER);
        }
        return outcome.map_err(|error| ServerError::Install(format!("{program}: {error}")));
    }
    Err(ServerError::NotInstalled)
}

fn refuse_main_cluster(program: &str) -> io::Result<()> {
    if program != "apt-get" {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let path = Path::new(NO_MAIN_CLUSTER);
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::write(path, "create_main_cluster = false\n")
}

async fn run(program: &str, arguments: &[&str]) -> io::Result<()> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).env("DEBIAN_FRONTEND", "noninteractive");
    let output = tokio::time::timeout(INSTALL_LIMIT, command.output()).await??;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{} ({})", output.status, last_lines(&output))))
}

fn last_lines(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    super::process::tail(&String::from_utf8_lossy(&text), OUTPUT_LINES)
}
