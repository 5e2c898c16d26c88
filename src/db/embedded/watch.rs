//! Keeps the server running: starts it again when it dies, until we stop it.
//!
//! A killed postmaster takes its backends along, and its clients' connections break; the next
//! start replays what was committed. One that does not succeed (the disk is full, say) is tried again
//! for as long as it takes: who serves meanwhile says that the database is away, and heals by itself.

use std::time::Duration;

use tokio::sync::oneshot;

use super::process::{Launch, Postmaster, Retry};
use super::{ServerError, leftover, place};

const LOG_CHECK: Duration = Duration::from_secs(60);

/// A server that died is started at once; one that dies again within a `LOG_CHECK` waits for this
/// much longer each time.
const PAUSE_STEP: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Ends when `stop` is sent or dropped, and the server is down.
pub(super) async fn keep_running(
    launch: Launch,
    postmaster: Postmaster,
    mut stop: oneshot::Receiver<()>,
) -> Result<(), ServerError> {
    let outcome = run(&launch, postmaster, &mut stop).await;
    match &outcome {
        Ok(()) => tracing::info!("the private Postgres has stopped"),
        Err(error) => tracing::error!(%error, "the private Postgres is lost"),
    }
    place::remove_socket_dir(&launch.socket_dir);
    outcome
}

async fn run(
    launch: &Launch,
    mut postmaster: Postmaster,
    stop: &mut oneshot::Receiver<()>,
) -> Result<(), ServerError> {
    let mut pause = Duration::ZERO;
    loop {
        let status = tokio::select! {
            _ = &mut *stop => {
                leftover::wake(&launch.cluster);
                return postmaster.stop().await;
            }
            status = postmaster.exited() => status,
            () = tokio::time::sleep(LOG_CHECK) => {
                launch.bound_log();
                pause = Duration::ZERO;
                continue;
            }
        };
        tracing::warn!("the private Postgres died ({status}): starting it again");
        postmaster = tokio::select! {
            // A start that is half done has lost its lifeline now.
            _ = &mut *stop => return leftover::stop(&launch.cluster).await,
            again = async {
                tokio::time::sleep(pause).await;
                launch.patiently(Retry::Always).await
            } => again?,
        };
        pause = (pause + PAUSE_STEP).min(LONGEST_PAUSE);
        tracing::info!(pid = postmaster.pid(), "the private Postgres is back");
    }
}
