//! Revoked sessions: log-ins that have ended before their access tokens expire, by a log-out or a new password.
//! [`super::token`] refuses the tokens of these sessions.
//!
//! The database keeps the truth. This copy of it is what a request needs, and an entry is needed no longer than an
//! access token lives.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::id::SessionId;

/// Sessions kept at most, some 50 bytes each. Only an attack can end more within the life of one token. The tokens of
/// the sessions beyond the limit stay valid until they expire.
const MAX_REVOKED: usize = 1_000_000;

/// Each with a lock of its own, so that workers seldom meet at one.
const SHARDS: usize = 16;

/// The revoked sessions; shared by all workers.
#[derive(Debug)]
pub struct RevokedSessions {
    shards: [RwLock<HashMap<SessionId, Timestamp>>; SHARDS],
    shard_limit: usize,
    /// How long a token lives.
    kept: Duration,
}

impl RevokedSessions {
    pub fn new(kept: Duration) -> RevokedSessions {
        RevokedSessions::with_shard_limit(kept, MAX_REVOKED / SHARDS)
    }

    fn with_shard_limit(kept: Duration, shard_limit: usize) -> RevokedSessions {
        RevokedSessions { shards: std::array::from_fn(|_| RwLock::default()), shard_limit, kept }
    }

    pub fn contains(&self, session: SessionId) -> bool {
        self.shard(session).read().unwrap_or_else(PoisonError::into_inner).contains_key(&session)
    }

    /// Adds a session that ends now.
    pub fn put(&self, session: SessionId, now: Timestamp) {
        // A panic under the lock leaves no half-done change: each is one step of the map.
        let mut revoked = self.shard(session).write().unwrap_or_else(PoisonError::into_inner);
        if revoked.len() >= self.shard_limit {
            revoked.retain(|_, at| now.duration_since(*at).unsigned_abs() < self.kept);
        }
        if revoked.len() < self.shard_limit {
            revoked.insert(session, now);
        } else {
            tracing::warn!("too many sessions are revoked: some access tokens stay valid until they expire");
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
    fn a_full_shard_drops_the_sessions_whose_tokens_have_expired() {
        let revoked = RevokedSessions::with_shard_limit(Duration::from_secs(900), 2);
        let session = |n: u128| SessionId(Uuid::from_u128(n * SHARDS as u128));
        let later = |secs| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(secs);
        revoked.put(session(1), later(0));
        revoked.put(session(2), later(500));
        revoked.put(session(3), later(899));
        assert_eq!([1, 2, 3].map(|n| revoked.contains(session(n))), [true, true, false], "no room yet");
        revoked.put(session(4), later(900));
        assert_eq!([1, 2, 4].map(|n| revoked.contains(session(n))), [false, true, true]);
    }
}
