//! Installs the platform's Postgres package, with the package manager that it finds.
//!
//! It needs root. It does not decide whether an installation is allowed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

use crate::error::PostgresError;
use crate::log::last_lines;

/// How long one command of the package manager may take, also with a slow mirror.
const INSTALL_LIMIT: Duration = Duration::from_secs(15 * 60);

/// How many lines of a failed command's output the error shows.
const LINES_SHOWN: usize = 8;

/// The configuration directory of Debian's package. A file in it keeps the package from making and starting a
/// cluster of its own.
const CREATE_CLUSTER_DIR: &str = "/etc/postgresql-common/createcluster.d";

struct Installer {
    program: &'static str,
    /// Refreshes the list of packages. `None`: the installation does that.
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

/// Does nothing on a machine with none of these package managers. `name` is the application's name.
pub(crate) async fn install(name: &str) -> Result<(), PostgresError> {
    for Installer { program, update, install } in INSTALLERS {
        let version = run(program, &["--version"]).await;
        if matches!(version, Err(error) if error.kind() == io::ErrorKind::NotFound) {
            continue;
        }
        tracing::warn!("no Postgres is installed: running {program} {}", install.join(" "));
        if let Some(update) = update
            && let Err(error) = run(program, update).await
        {
            // One package source may be broken and another one have the package.
            tracing::warn!("the list of packages could not be refreshed: {program}: {error}");
        }
        let configuration = (program == "apt-get").then(|| forbid_main_cluster(name).ok()).flatten();
        let outcome = run(program, install).await;
        if let Some(path) = configuration {
            let _ = fs::remove_file(path);
        }
        return outcome.map_err(|error| PostgresError::Install(format!("{program}: {error}")));
    }
    Ok(())
}

/// Writes the file that keeps Debian's package from making its main cluster, and returns its path.
fn forbid_main_cluster(name: &str) -> io::Result<PathBuf> {
    let dir = Path::new(CREATE_CLUSTER_DIR);
    fs::create_dir_all(dir)?;
    let path = dir.join(format!("{name}.conf"));
    fs::write(&path, "create_main_cluster = false\n")?;
    Ok(path)
}

async fn run(program: &str, arguments: &[&str]) -> io::Result<()> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).env("DEBIAN_FRONTEND", "noninteractive");
    let output = tokio::time::timeout(INSTALL_LIMIT, command.output()).await??;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{} ({})", output.status, output_tail(&output))))
}

fn output_tail(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    last_lines(&String::from_utf8_lossy(&text), LINES_SHOWN)
}
