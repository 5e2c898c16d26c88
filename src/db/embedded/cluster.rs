//! Makes a new cluster: `initdb` into a directory beside, then a rename.
//!
//! So a cluster is there completely or not at all, whenever we are killed. What killed attempts
//! left is removed later. It does not choose the place and does not start the server.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::binaries::Binaries;
use super::place::{self, ServerUser};
use super::process::tail;
use super::{At, NAME, ServerError};

/// A second or two, but minutes on a machine that is starved or emulated.
const INITDB_LIMIT: Duration = Duration::from_secs(10 * 60);
const OUTPUT_LINES: usize = 8;

/// What a cluster in the making is called, before our pid: a killed attempt's `initdb` may still
/// be writing into its own.
const IN_THE_MAKING: &str = "postgres.new.";

pub(super) async fn ensure(place: &Path, binaries: &Binaries, user: &ServerUser) -> Result<(), ServerError> {
    clean_up(place);
    if place::has_cluster(place) {
        return Ok(());
    }
    let cluster = place::cluster_in(place);
    let new = place.join(format!("{IN_THE_MAKING}{}", std::process::id()));
    tracing::info!(cluster = %cluster.display(), major = binaries.major, "making a new cluster");
    place::private_dir(&new, user)?;
    initdb(&new, binaries, user).await?;
    fs::rename(&new, &cluster).at("rename into place", &cluster)?;
    place::sync_parent(&cluster)
}

async fn initdb(new: &Path, binaries: &Binaries, user: &ServerUser) -> Result<(), ServerError> {
    let mut command = user.command(&binaries.initdb());
    command.arg("--pgdata").arg(new).kill_on_drop(true);
    command.args(["--encoding=UTF8", "--locale=C", "--username", NAME]);
    // Whoever gets to the socket may log in; its directory keeps all but its owner and root out.
    command.args(["--auth=trust", "--no-instructions"]);
    let failed = |output| ServerError::Initdb { cluster: new.to_owned(), output };
    let output = tokio::time::timeout(INITDB_LIMIT, command.output())
        .await
        .map_err(|_| failed(format!("initdb was not done within {INITDB_LIMIT:?}")))?
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(tail(&String::from_utf8_lossy(&output.stderr), OUTPUT_LINES)))
}

fn clean_up(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(IN_THE_MAKING) {
            let half_made = entry.path();
            tracing::info!(half_made = %half_made.display(), "removing a cluster never finished");
            if let Err(error) = fs::remove_dir_all(&half_made) {
                tracing::warn!(half_made = %half_made.display(), %error, "it stays");
            }
        }
    }
}
