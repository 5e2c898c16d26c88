//! The log-ins that have ended while access tokens of theirs still live: whoever logs out, or changes a password
//! because somebody else knows it, must not have to wait for them.
//!
//! The database keeps the truth; this remembers of it what a request must know, and no longer than a token lives.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::id::SessionId;

/// Log-ins remembered at most, some 50 bytes each. More cannot end within one token's life but by an attack;
/// the tokens of those beyond live to their end.
const MAX_ENDED: usize = 1_000_000;

/// Each with a lock of its own, so that workers seldom meet at one.
const SHARDS: usize = 16;

/// The log-ins that have ended; shared by all workers.
#[derive(Debug)]
pub struct Ended {
    shards: [RwLock<HashMap<SessionId, Timestamp>>; SHARDS],
    shard_limit: usize,
    /// How long a token lives.
    kept: Duration,
}

impl Ended {
    pub fn new(kept: Duration) -> Ended {
        Ended::with_shard_limit(kept, MAX_ENDED / SHARDS)
    }

    fn with_shard_limit(kept: Duration, shard_limit: usize) -> Ended {
        Ended { shards: std::array::from_fn(|_| RwLock::default()), shard_limit, kept }
    }

    pub fn contains(&self, session: SessionId) -> bool {
        self.shard(session).read().unwrap_or_else(PoisonError::into_inner).contains_key(&session)
    }

    /// Remembers one that ends now.
    pub fn put(&self, session: SessionId, now: Timestamp) {
        // A panic under the lock leaves no half-done change: each is one step of the map.
        let mut ended = self.shard(session).write().unwrap_or_else(PoisonError::into_inner);
        if ended.len() >= self.shard_limit {
            ended.retain(|_, at| now.duration_since(*at).unsigned_abs() < self.kept);
        }
        if ended.len() < self.shard_limit {
            ended.insert(session, now);
        } else {
            tracing::warn!("too many log-ins end at once: the access tokens of some live to their end");
        }
    }

    fn shard(&self, session: SessionId) -> &RwLock<HashMap<SessionId, Timestamp>> {
        // The last byte of a version 7 UUID is random (RFC 9562, section 5.7).
        &self.shards[usize::from(session.0.as_bytes()[15]) % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_full_shard_makes_room_by_those_whose_tokens_are_dead() {
        let ended = Ended::with_shard_limit(Duration::from_secs(900), 2);
        let session = |n: u128| SessionId(Uuid::from_u128(n * SHARDS as u128));
        let later = |secs| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(secs);
        ended.put(session(1), later(0));
        ended.put(session(2), later(500));
        ended.put(session(3), later(899));
        assert_eq!([1, 2, 3].map(|n| ended.contains(session(n))), [true, true, false], "no room yet");
        ended.put(session(4), later(900));
        assert_eq!([1, 2, 4].map(|n| ended.contains(session(n))), [false, true, true]);
    }
}
