//! The trait of a draw's steps: statements that run in a transaction of their own. The steps themselves are in
//! `write`.

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
    /// The money or the state is inconsistent: a bug. Nothing is written.
    #[error("{0}")]
    Rejected(String),
}

/// A transaction of its own. It may run again after a failure, and must do the same then.
pub trait StepTransaction: Send + Sync {
    type Output: Send;

    /// The statements between BEGIN and COMMIT. They are sent before the answer to BEGIN arrives. So the first
    /// statement must write nothing, and `run` must await it before the others.
    fn run(&self, session: &WriterConnection) -> impl Future<Output = Result<Self::Output, StepFailure>> + Send;

    /// Which part of the writer's cache the step may change.
    fn invalidates(&self) -> Invalidation {
        Invalidation::default()
    }

    /// Publishes the new state. Called in the order of the commits.
    fn committed(&self, _output: &Self::Output, _snapshots: &DrawSnapshots) {}
}
