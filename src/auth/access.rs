//! User access: the role and status of each user, cached, so that a request need not ask the database and a block
//! takes effect at once.
//!
//! The database keeps the truth. After a change is committed there, call [`AccessCache::forget`] before the admin is
//! answered: no later request, whatever its token, then passes on the old role or status. Knows neither how user
//! access is loaded nor what it permits.

use std::time::Duration;

use quick_cache::sync::{Cache, GuardResult};

use crate::domain::id::UserId;
use crate::domain::user::{Role, UserStatus};

/// Users cached at most, some 100 bytes each.
pub const MAX_USERS: usize = 1_000_000;

/// What a user may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UserAccess {
    pub role: Role,
    pub status: UserStatus,
}

/// The user access that is cached; shared by all workers.
#[derive(Debug)]
pub struct AccessCache(Cache<UserId, UserAccess>);

impl Default for AccessCache {
    fn default() -> AccessCache {
        AccessCache::with_limit(MAX_USERS)
    }
}

impl AccessCache {
    pub fn new() -> AccessCache {
        AccessCache::default()
    }

    fn with_limit(limit: usize) -> AccessCache {
        AccessCache(Cache::new(limit))
    }

    pub fn get(&self, user: UserId) -> Option<UserAccess> {
        self.0.get(&user)
    }

    /// The user access in the cache, else what `load` reads. That is cached, unless [`AccessCache::forget`] came in
    /// between: the load may have read what was true before the change. `load` must not begin to read before it is
    /// polled.
    pub async fn get_or_load<E>(
        &self,
        user: UserId,
        load: impl Future<Output = Result<UserAccess, E>>,
    ) -> Result<UserAccess, E> {
        // With no timeout, a request would wait for another's load, and for the next one if that fails.
        match self.0.get_value_or_guard(&user, Some(Duration::ZERO)) {
            GuardResult::Value(access) => Ok(access),
            GuardResult::Guard(guard) => {
                let access = load.await?;
                // Refused, if the user was forgotten since the guard was made. A newer load may have been faster.
                let kept = guard.insert(access);
                Ok(if kept.is_ok() { access } else { self.get(user).unwrap_or(access) })
            }
            // Another request loads the same user, and puts it into the cache.
            GuardResult::Timeout => load.await.map(|access| self.get(user).unwrap_or(access)),
        }
    }

    /// Forgets a user after a change was committed: the next request loads what is true by then, in whichever order
    /// changes come here.
    pub fn forget(&self, user: UserId) {
        self.0.remove(&user);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::ready;

    use futures_util::future::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    const ANN: UserId = UserId(1);
    const ACTIVE: UserAccess = UserAccess { role: Role::Player, status: UserStatus::Active };
    const BLOCKED: UserAccess = UserAccess { role: Role::Player, status: UserStatus::Blocked };
    const ADMIN: UserAccess = UserAccess { role: Role::Admin, status: UserStatus::Active };

    /// Loads at once.
    fn load(cache: &AccessCache, user: UserId, access: UserAccess) -> UserAccess {
        let Ok(access) = cache.get_or_load(user, ready(Ok::<_, Infallible>(access))).now_or_never().unwrap();
        access
    }

    /// A load that has begun. It ends with what is sent.
    fn begin(
        cache: &AccessCache,
        user: UserId,
    ) -> (oneshot::Sender<UserAccess>, impl Future<Output = Result<UserAccess, oneshot::error::RecvError>> + Unpin)
    {
        let (sender, receiver) = oneshot::channel();
        let mut load = Box::pin(cache.get_or_load(user, receiver));
        assert!(load.as_mut().now_or_never().is_none());
        (sender, load)
    }

    #[test]
    fn what_was_loaded_is_cached() {
        let cache = AccessCache::new();
        assert_eq!(cache.get(ANN), None);
        assert_eq!(load(&cache, ANN, ACTIVE), ACTIVE);
        assert_eq!(cache.get(ANN), Some(ACTIVE));
        assert_eq!(load(&cache, ANN, BLOCKED), ACTIVE, "no second load");
        assert_eq!(cache.get(UserId(2)), None);
    }

    #[test]
    fn a_change_applies_at_once() {
        let cache = AccessCache::new();
        for access in [ACTIVE, BLOCKED, ADMIN] {
            assert_eq!(load(&cache, ANN, access), access);
            assert_eq!(cache.get(ANN), Some(access));
            cache.forget(ANN);
            assert_eq!(cache.get(ANN), None);
        }
    }

    #[test]
    fn a_load_never_undoes_a_change() {
        let cache = AccessCache::new();
        let (sender, loading) = begin(&cache, ANN);
        cache.forget(ANN);
        sender.send(ACTIVE).unwrap();
        assert_eq!(loading.now_or_never(), Some(Ok(ACTIVE)), "it began before the change");
        assert_eq!(cache.get(ANN), None, "but is not cached");
        assert_eq!(load(&cache, ANN, BLOCKED), BLOCKED);
        assert_eq!(cache.get(ANN), Some(BLOCKED));
    }

    #[test]
    fn a_load_never_undoes_a_later_load() {
        let cache = AccessCache::new();
        let (sender, loading) = begin(&cache, ANN);
        cache.forget(ANN);
        assert_eq!(load(&cache, ANN, BLOCKED), BLOCKED);
        sender.send(ACTIVE).unwrap();
        assert_eq!(loading.now_or_never(), Some(Ok(BLOCKED)), "what is cached is newer");
        assert_eq!(cache.get(ANN), Some(BLOCKED));
    }

    #[test]
    fn a_load_never_undoes_a_change_of_a_user_who_was_evicted() {
        let cache = AccessCache::with_limit(10);
        let (sender, loading) = begin(&cache, ANN);
        cache.forget(ANN);
        load(&cache, ANN, BLOCKED);
        // Users who are asked for again take the place of those who are not.
        for other in 2..1000 {
            load(&cache, UserId(other), ACTIVE);
            cache.get(UserId(other));
        }
        assert_eq!(cache.get(ANN), None);
        sender.send(ACTIVE).unwrap();
        assert_eq!(loading.now_or_never(), Some(Ok(ACTIVE)));
        assert_eq!(cache.get(ANN), None);
    }

    #[test]
    fn two_loads_do_not_wait_for_each_other() {
        let cache = AccessCache::new();
        let (sender, first) = begin(&cache, ANN);
        assert_eq!(load(&cache, ANN, ACTIVE), ACTIVE);
        assert_eq!(cache.get(ANN), None, "the first load puts it there");
        sender.send(ACTIVE).unwrap();
        assert_eq!(first.now_or_never(), Some(Ok(ACTIVE)));
        assert_eq!(cache.get(ANN), Some(ACTIVE));
    }

    #[test]
    fn a_load_that_fails_or_is_dropped_leaves_room_for_another() {
        let cache = AccessCache::new();
        let (sender, failed) = begin(&cache, ANN);
        drop(sender);
        assert!(failed.now_or_never().unwrap().is_err());
        drop(begin(&cache, ANN));
        assert_eq!(load(&cache, ANN, ACTIVE), ACTIVE);
        assert_eq!(cache.get(ANN), Some(ACTIVE));
    }

    #[test]
    fn the_cache_never_grows_beyond_its_limit() {
        let cache = AccessCache::with_limit(100);
        for id in -1000..1000 {
            assert_eq!(load(&cache, UserId(id), ACTIVE), ACTIVE);
            assert_eq!(cache.get(UserId(id)), Some(ACTIVE));
        }
        assert!(cache.0.len() <= 100);
    }

    #[test]
    fn forgetting_a_user_leaves_the_others() {
        let cache = AccessCache::new();
        let ben = UserId(2);
        load(&cache, ANN, ACTIVE);
        load(&cache, ben, ACTIVE);
        cache.forget(ANN);
        assert_eq!((cache.get(ANN), cache.get(ben)), (None, Some(ACTIVE)));
    }
}
