//! Work that goes on although its client hangs up: when a connection is reset, the framework drops the request's handler
//! at whatever it awaits. Does not limit how long the work takes; every write has a time limit of its own.

use super::error::Problem;

/// Runs to its end what must not stop in the middle: a write, and what has to follow as soon as it is committed.
pub async fn complete<T: 'static>(work: impl Future<Output = T> + 'static) -> Result<T, Problem> {
    actix_web::rt::spawn(work).await.map_err(Problem::internal)
}
