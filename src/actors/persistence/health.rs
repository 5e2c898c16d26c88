//! When the database last did what the writer asked for. Readiness depends on it: sales need the writer, and the
//! connections for reading may work while the writer's does not. This file asks the database nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The longest time without success of a writer that works.
const MAX_SILENCE: Duration = Duration::from_secs(5);

/// Shared by the writer and the handle to the persistence actor.
#[derive(Clone)]
pub struct WriterHealth {
    started: Instant,
    /// Milliseconds from the start to the last success.
    last: Arc<AtomicU64>,
    /// Milliseconds from the start to the begin of the current transaction; [`NONE`] between two.
    begun: Arc<AtomicU64>,
}

const NONE: u64 = u64::MAX;

impl WriterHealth {
    /// A writer that begins now.
    pub fn new() -> WriterHealth {
        WriterHealth { started: now(), last: Arc::default(), begun: Arc::new(AtomicU64::new(NONE)) }
    }

    /// Measures how long the database takes for what the writer asks.
    pub async fn timed<T>(&self, transaction: impl Future<Output = T>) -> T {
        self.begun.store(self.elapsed(), Ordering::Relaxed);
        let done = transaction.await;
        self.begun.store(NONE, Ordering::Relaxed);
        done
    }

    /// How long the current transaction has taken until now. `None`: the writer waits for nothing.
    pub fn transaction_time(&self) -> Option<Duration> {
        let begun = self.begun.load(Ordering::Relaxed);
        (begun != NONE).then(|| Duration::from_millis(self.elapsed().saturating_sub(begun)))
    }

    /// A transaction was committed, or the database answered a ping.
    pub fn succeeded(&self) {
        self.last.store(self.elapsed(), Ordering::Relaxed);
    }

    /// The time since the last success.
    pub fn silence(&self) -> Duration {
        Duration::from_millis(self.elapsed().saturating_sub(self.last.load(Ordering::Relaxed)))
    }

    /// Whether the last success is not too long ago.
    pub fn is_good(&self) -> bool {
        self.silence() <= MAX_SILENCE
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(now().duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }
}

fn now() -> Instant {
    #[allow(clippy::disallowed_methods, reason = "how long the database is silent, not the draw's time")]
    Instant::now()
}
