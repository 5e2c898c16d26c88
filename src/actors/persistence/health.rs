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
}

impl WriterHealth {
    /// A writer that begins now.
    pub fn new() -> WriterHealth {
        WriterHealth { started: now(), last: Arc::default() }
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
