//! Counts refused calls and failed log-ins, and writes the counts to the audit log once a minute: anybody may cause them
//! at any rate, so no call waits for the database or adds a row by itself. A crash loses what the last minute counted.
//! Everything else is written where it happens, not here.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::SignedDuration;

use super::persistence::Persistence;
use crate::clock::Clock;
use crate::db::DbError;
use crate::domain::audit::{AuditEntry, RepeatedActions};

/// The time between two writes.
const INTERVAL: SignedDuration = SignedDuration::from_mins(1);

/// The counts of the current minute; a handle that all workers share.
#[derive(Clone, Default)]
pub struct AuditCounts {
    actions: Arc<Mutex<RepeatedActions>>,
    /// Held during a write: when the service stops, what a write could not write is written again.
    writing: Arc<tokio::sync::Mutex<()>>,
}

impl AuditCounts {
    /// Counts an entry. True if it is the first of its account and action in this minute.
    pub fn count(&self, entry: AuditEntry) -> bool {
        self.actions().count(entry)
    }

    /// Writes the counts once a minute. Runs until the service stops.
    pub async fn run(self, persistence: Persistence, clock: Clock) {
        loop {
            let began = clock.since_boot();
            clock.sleep_since(began, INTERVAL).await;
            if let Err(error) = self.write(&persistence).await {
                tracing::warn!(%error, "refused calls and failed log-ins are not in the audit log yet; the next minute tries again");
            }
        }
    }

    /// Writes what was counted. If that fails, it is counted further. After a write with an unknown outcome, too:
    /// rather twice in the log than not at all.
    pub async fn write(&self, persistence: &Persistence) -> Result<(), DbError> {
        let _turn = self.writing.lock().await;
        let entries = self.actions().take();
        if entries.is_empty() {
            return Ok(());
        }
        let written = persistence.record(&entries).await;
        if written.is_err() {
            self.actions().put_back(entries);
        }
        written
    }

    fn actions(&self) -> std::sync::MutexGuard<'_, RepeatedActions> {
        // A panic while the lock is held cannot leave the counts half changed.
        self.actions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
