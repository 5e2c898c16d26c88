//! The supervisor: starts the server again whenever it dies, until it is stopped.
//!
//! When the postmaster is killed, its backends end too and the connections of their clients break. The next
//! start replays what was committed. A start that fails, because the disk is full for example, is tried again
//! without an end, so the application recovers when the reason has passed.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::error::PostgresError;
use crate::launch::{Launch, RetryPolicy};
use crate::postmaster::Postmaster;
use crate::{orphan, socket};

/// How often the size of the log is checked.
const LOG_CHECK: Duration = Duration::from_secs(60);

/// A server that dies is started again at once. If it dies again within a `LOG_CHECK`, the pause before the
/// next start grows by this much each time.
const PAUSE_STEP: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Ends when `stop` is sent or dropped, and the server is down.
pub(crate) async fn run(
    launch: Launch,
    postmaster: Postmaster,
    mut stop: oneshot::Receiver<()>,
) -> Result<(), PostgresError> {
    let outcome = keep_running(&launch, postmaster, &mut stop).await;
    match &outcome {
        Ok(()) => tracing::info!("the private Postgres has stopped"),
        Err(error) => tracing::error!(%error, "the private Postgres is no longer supervised"),
    }
    socket::remove_dir(&launch.socket_dir);
    outcome
}

async fn keep_running(
    launch: &Launch,
    mut postmaster: Postmaster,
    stop: &mut oneshot::Receiver<()>,
) -> Result<(), PostgresError> {
    let mut pause = Duration::ZERO;
    loop {
        let status = tokio::select! {
            _ = &mut *stop => {
                orphan::resume(&launch.cluster);
                return postmaster.stop().await;
            }
            status = postmaster.exited() => status,
            () = tokio::time::sleep(LOG_CHECK) => {
                launch.log.limit_size();
                pause = Duration::ZERO;
                continue;
            }
        };
        tracing::warn!("the private Postgres died ({status}): starting it again");
        postmaster = tokio::select! {
            // An unfinished start was cancelled and its lifeline is closed, so its server is an orphan now.
            _ = &mut *stop => return orphan::stop(&launch.cluster).await,
            started = async {
                tokio::time::sleep(pause).await;
                launch.start(RetryPolicy::Always).await
            } => started?,
        };
        pause = (pause + PAUSE_STEP).min(LONGEST_PAUSE);
        tracing::info!(pid = postmaster.pid(), "the private Postgres runs again");
    }
}
