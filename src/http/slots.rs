//! How many long answers may run at the same time: event streams and exports. A request that finds no free slot is
//! refused as overloaded. Knows nothing of what the answers hold.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::Problem;

/// Event streams at the same time, over all draws.
const MAX_WATCHERS: usize = 10_000;
/// Exports at the same time: each keeps a snapshot and a connection of its own.
const MAX_EXPORTS: usize = 4;

/// The slots for event streams.
pub struct Watchers(Arc<Semaphore>);

impl Default for Watchers {
    fn default() -> Watchers {
        Watchers(Arc::new(Semaphore::new(MAX_WATCHERS)))
    }
}

impl Watchers {
    /// Takes a slot. It is free again when the permit is dropped.
    pub fn acquire(&self) -> Result<OwnedSemaphorePermit, Problem> {
        acquire(&self.0)
    }

    /// Ends all event streams, because the service stops: each checks [`Watchers::are_closed`].
    pub fn close(&self) {
        self.0.close();
    }

    pub fn are_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// The slots for exports.
pub struct Exports(Arc<Semaphore>);

impl Default for Exports {
    fn default() -> Exports {
        Exports(Arc::new(Semaphore::new(MAX_EXPORTS)))
    }
}

impl Exports {
    /// Takes a slot. It is free again when the permit is dropped.
    pub fn acquire(&self) -> Result<OwnedSemaphorePermit, Problem> {
        acquire(&self.0)
    }
}

fn acquire(slots: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Problem> {
    slots.clone().try_acquire_owned().map_err(|_| Problem::overloaded())
}
