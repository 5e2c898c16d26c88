//! Makes a new cluster: `initdb` into a temporary directory of the location, then a rename.
//!
//! So a cluster exists completely or not at all, even if this process is killed. Temporary directories of
//! killed attempts are removed later. It does not choose the location and does not start the server.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::binaries::Binaries;
use crate::error::{FileContext, PostgresError};
use crate::log::last_lines;
use crate::user::ServerUser;
use crate::{files, location};

/// `initdb` takes a second or two, but minutes on a machine that is under heavy load or emulated.
const INITDB_LIMIT: Duration = Duration::from_secs(10 * 60);

/// How many lines of its output the error shows.
const LINES_SHOWN: usize = 8;

/// The name of the temporary directory begins so and ends with our pid: the `initdb` of a killed attempt may
/// still be writing into the directory of that attempt.
const TEMPORARY: &str = "postgres.new.";

/// Makes the cluster of a location unless it exists. `name` is its superuser.
pub(crate) async fn ensure(
    location: &Path,
    binaries: &Binaries,
    user: &ServerUser,
    name: &str,
) -> Result<(), PostgresError> {
    remove_unfinished(location);
    if location::has_cluster(location) {
        return Ok(());
    }
    let cluster = location::cluster_in(location);
    let new = location.join(format!("{TEMPORARY}{}", std::process::id()));
    tracing::info!(cluster = %cluster.display(), major = binaries.major, "making a new cluster");
    files::private_dir(&new, user)?;
    initdb(&new, binaries, user, name).await?;
    fs::rename(&new, &cluster).on_file("rename the new cluster to", &cluster)?;
    files::sync_parent(&cluster)
}

async fn initdb(new: &Path, binaries: &Binaries, user: &ServerUser, name: &str) -> Result<(), PostgresError> {
    let mut command = user.command(&binaries.initdb());
    command.arg("--pgdata").arg(new).kill_on_drop(true);
    command.args(["--encoding=UTF8", "--locale=C", "--username", name]);
    // `access` replaces these rules before the server starts.
    command.args(["--auth=peer", "--no-instructions"]);
    let failed = |output| PostgresError::Initdb { cluster: new.to_owned(), output };
    let output = tokio::time::timeout(INITDB_LIMIT, command.output())
        .await
        .map_err(|_| failed(format!("initdb did not end within {INITDB_LIMIT:?}")))?
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(last_lines(&String::from_utf8_lossy(&output.stderr), LINES_SHOWN)))
}

fn remove_unfinished(location: &Path) {
    for entry in fs::read_dir(location).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            let unfinished = entry.path();
            tracing::info!(unfinished = %unfinished.display(), "removing an unfinished cluster");
            if let Err(error) = fs::remove_dir_all(&unfinished) {
                tracing::warn!(unfinished = %unfinished.display(), %error, "it could not be removed");
            }
        }
    }
}
