//! What each person may do at this moment, in memory, so that blocking somebody takes effect at once.
//!
//! The database keeps the truth; this only remembers it. Whoever changes it there tells it here *before*
//! the admin is answered, and then no later request, whatever its token, passes on what was.
//! Knows neither how standings are loaded nor what they permit.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::domain::id::UserId;
use crate::domain::user::{Role, UserStatus};

/// People remembered at most, some 50 bytes each.
pub const MAX_STANDINGS: usize = 1_000_000;

/// Each with a lock of its own, so that workers seldom meet at one.
const SHARDS: usize = 16;

/// What somebody may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    pub role: Role,
    pub status: UserStatus,
}

/// The standings that are remembered; shared by all workers.
#[derive(Debug)]
pub struct Standings {
    shards: [RwLock<Shard>; SHARDS],
    shard_limit: usize,
}

#[derive(Debug, Default)]
struct Shard {
    known: HashMap<UserId, Standing>,
    /// Changes so far. A load that one overtook may have read what was before it.
    changes: u64,
}

/// A load from the database that has begun; see [`Standings::loading`].
#[derive(Debug)]
#[must_use = "take it before reading the database, and give it to `put_if_absent` afterwards"]
pub struct Load {
    user: UserId,
    changes: u64,
}

impl Default for Standings {
    fn default() -> Standings {
        Standings::with_shard_limit(MAX_STANDINGS / SHARDS)
    }
}

impl Standings {
    pub fn new() -> Standings {
        Standings::default()
    }

    fn with_shard_limit(shard_limit: usize) -> Standings {
        Standings { shards: std::array::from_fn(|_| RwLock::default()), shard_limit }
    }

    /// The standing, if it is remembered; else load it: [`Standings::loading`].
    pub fn get(&self, user: UserId) -> Option<Standing> {
        self.read(user).known.get(&user).copied()
    }

    /// Begins a load. Must be called *before* the database is read: only then does
    /// [`Standings::put_if_absent`] see a change that came in between.
    pub fn loading(&self, user: UserId) -> Load {
        Load { user, changes: self.read(user).changes }
    }

    /// Remembers what a load has read, unless somebody knew better meanwhile: a standing that is there
    /// stays, and one that a change may have overtaken is not kept. Returns the standing that counts for
    /// this request.
    pub fn put_if_absent(&self, load: Load, standing: Standing) -> Standing {
        let mut shard = self.write(load.user);
        if let Some(known) = shard.known.get(&load.user) {
            return *known;
        }
        if shard.changes == load.changes {
            shard.remember(load.user, standing, self.shard_limit);
        }
        standing
    }

    /// Remembers a change that was just committed. Two changes of the same person must come here in the
    /// order of their commits; where nobody can say which was first, [`Standings::forget`] is right.
    pub fn put(&self, user: UserId, standing: Standing) {
        let mut shard = self.write(user);
        shard.changes += 1;
        shard.remember(user, standing, self.shard_limit);
    }

    /// Forgets somebody after a change was committed: the next request loads what is true by then, in
    /// whichever order changes come here.
    pub fn forget(&self, user: UserId) {
        let mut shard = self.write(user);
        shard.changes += 1;
        shard.known.remove(&user);
    }

    fn shard(&self, user: UserId) -> &RwLock<Shard> {
        // Ids count up, so their low bits spread evenly.
        &self.shards[user.0 as usize % SHARDS]
    }

    /// A panic under a lock leaves no half-done change: each is one step of the map.
    fn read(&self, user: UserId) -> RwLockReadGuard<'_, Shard> {
        self.shard(user).read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, user: UserId) -> RwLockWriteGuard<'_, Shard> {
        self.shard(user).write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    /// A full shard starts afresh: cheaper than knowing who came last, and all of it can be loaded again.
    fn remember(&mut self, user: UserId, standing: Standing, limit: usize) {
        if self.known.len() >= limit && !self.known.contains_key(&user) {
            self.known.clear();
        }
        self.known.insert(user, standing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: UserId = UserId(1);
    const ACTIVE: Standing = Standing { role: Role::Player, status: UserStatus::Active };
    const BLOCKED: Standing = Standing { role: Role::Player, status: UserStatus::Blocked };
    const ADMIN: Standing = Standing { role: Role::Admin, status: UserStatus::Active };

    #[test]
    fn what_was_loaded_is_remembered() {
        let standings = Standings::new();
        assert_eq!(standings.get(ANN), None);
        let load = standings.loading(ANN);
        assert_eq!(standings.put_if_absent(load, ACTIVE), ACTIVE);
        assert_eq!(standings.get(ANN), Some(ACTIVE));
        assert_eq!(standings.get(UserId(2)), None);
    }

    #[test]
    fn a_change_shows_at_once() {
        let standings = Standings::new();
        standings.put(ANN, ACTIVE);
        standings.put(ANN, BLOCKED);
        assert_eq!(standings.get(ANN), Some(BLOCKED));
        standings.put(ANN, ADMIN);
        assert_eq!(standings.get(ANN), Some(ADMIN));
    }

    #[test]
    fn a_load_never_undoes_a_change() {
        let standings = Standings::new();
        let load = standings.loading(ANN);
        standings.put(ANN, BLOCKED);
        assert_eq!(standings.put_if_absent(load, ACTIVE), BLOCKED);
        assert_eq!(standings.get(ANN), Some(BLOCKED));
    }

    #[test]
    fn nor_one_that_was_forgotten() {
        let standings = Standings::new();
        let load = standings.loading(ANN);
        standings.forget(ANN);
        assert_eq!(standings.put_if_absent(load, ACTIVE), ACTIVE, "it began before the change");
        assert_eq!(standings.get(ANN), None, "but is not kept");
        let load = standings.loading(ANN);
        assert_eq!(standings.put_if_absent(load, BLOCKED), BLOCKED);
        assert_eq!(standings.get(ANN), Some(BLOCKED));
    }

    #[test]
    fn nor_one_that_fell_out() {
        let standings = Standings::with_shard_limit(1);
        let load = standings.loading(ANN);
        standings.put(ANN, BLOCKED);
        standings.put(UserId(ANN.0 + SHARDS as i64), ACTIVE);
        assert_eq!(standings.get(ANN), None);
        let _ = standings.put_if_absent(load, ACTIVE);
        assert_eq!(standings.get(ANN), None);
    }

    #[test]
    fn of_two_loads_the_first_stays() {
        let standings = Standings::new();
        let (one, two) = (standings.loading(ANN), standings.loading(ANN));
        assert_eq!(standings.put_if_absent(one, ACTIVE), ACTIVE);
        assert_eq!(standings.put_if_absent(two, ACTIVE), ACTIVE);
        assert_eq!(standings.get(ANN), Some(ACTIVE));
    }

    #[test]
    fn it_never_grows_beyond_its_limit() {
        let standings = Standings::with_shard_limit(10);
        for id in -1000..1000 {
            standings.put(UserId(id), ACTIVE);
            assert_eq!(standings.get(UserId(id)), Some(ACTIVE));
        }
        let known = |shard: &RwLock<Shard>| shard.read().unwrap().known.len();
        assert!(standings.shards.iter().all(|shard| known(shard) <= 10));
    }

    #[test]
    fn a_change_of_one_who_is_there_throws_nobody_out() {
        let standings = Standings::with_shard_limit(2);
        let ben = UserId(ANN.0 + SHARDS as i64);
        standings.put(ANN, ACTIVE);
        standings.put(ben, ACTIVE);
        standings.put(ANN, BLOCKED);
        assert_eq!((standings.get(ANN), standings.get(ben)), (Some(BLOCKED), Some(ACTIVE)));
    }
}
