//! Waiting for a condition, with a limit.

use std::time::Duration;

/// The limit of every wait. No test depends on its being short: it only ends tests that would never end.
pub const TIMEOUT: Duration = Duration::from_secs(90);
/// The pause between two looks at a condition.
const POLL: Duration = Duration::from_millis(5);

/// Waits until the condition holds; panics with its name when it does not hold within [`TIMEOUT`].
pub async fn until<F: Future<Output = bool>>(what: &str, condition: impl FnMut() -> F) {
    until_within(TIMEOUT, what, condition).await;
}

/// The same with another limit.
pub async fn until_within<F: Future<Output = bool>>(
    limit: Duration,
    what: &str,
    mut condition: impl FnMut() -> F,
) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(limit, waiting).await.unwrap_or_else(|_| panic!("not within {limit:?}: {what}"));
}
