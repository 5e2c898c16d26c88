//! What a step of a draw's life is to the writer: statements that run in a transaction of their own. The steps
//! themselves are in `write`.

use tokio_postgres::Error;

use super::connection::WriterConnection;
use crate::actors::snapshots::DrawSnapshots;
use crate::domain::writer_cache::Invalidation;

/// Why a step's statements ended early.
#[derive(Debug, thiserror::Error)]
pub enum StepFailure {
    #[error("the draw has been taken over by a newer epoch")]
    StaleEpoch,
    #[error(transparent)]
    Postgres(#[from] Error),
    /// Money or state that does not add up: a bug, and nothing is written.
    #[error("{0}")]
    Rejected(String),
}

/// A transaction of its own. It may be run again after a failure, and must then do the same.
pub trait StepTransaction: Send + Sync {
    type Output: Send;

    /// The statements between BEGIN and COMMIT. They are sent before BEGIN is answered: the first of them must
    /// write nothing, and be awaited.
    fn run(&self, session: &WriterConnection) -> impl Future<Output = Result<Self::Output, StepFailure>> + Send;

    /// What of the writer's cache it may change.
    fn invalidates(&self) -> Invalidation {
        Invalidation::Everything
    }

    /// Publishes what is true now. Called in the order of the commits.
    fn committed(&self, _output: &Self::Output, _snapshots: &DrawSnapshots) {}
}
