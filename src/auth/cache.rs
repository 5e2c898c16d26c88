//! A cache of what the database knows, so that a request need not ask it and a change still takes effect at once.
//!
//! The database keeps the truth. After a change is committed there, call [`LoadingCache::forget`] before the caller is
//! answered: no later request then sees the old value, not even if a load was under way during the change. Knows
//! neither what is cached nor how it is loaded.

use std::hash::Hash;
use std::time::Duration;

use quick_cache::sync::{Cache, GuardResult};

/// At most so many values as it was made for; a full cache evicts those that are seldom asked for. Shared by all
/// workers.
#[derive(Debug)]
pub struct LoadingCache<K, V>(Cache<K, V>);

impl<K: Copy + Eq + Hash, V: Copy> LoadingCache<K, V> {
    pub fn new(limit: usize) -> LoadingCache<K, V> {
        LoadingCache(Cache::new(limit))
    }

    pub fn get(&self, key: K) -> Option<V> {
        self.0.get(&key)
    }

    /// The value in the cache, else what `load` reads. That is cached, unless [`LoadingCache::forget`] came in
    /// between: the load may have read what was true before the change. `load` must not begin to read before it is
    /// polled.
    pub async fn get_or_load<E>(&self, key: K, load: impl Future<Output = Result<V, E>>) -> Result<V, E> {
        // With no timeout, a request would wait for another's load, and for the next one if that fails.
        match self.0.get_value_or_guard(&key, Some(Duration::ZERO)) {
            GuardResult::Value(value) => Ok(value),
            GuardResult::Guard(guard) => {
                let value = load.await?;
                // Refused, if the key was forgotten since the guard was made. A newer load may have been faster.
                let kept = guard.insert(value);
                Ok(if kept.is_ok() { value } else { self.get(key).unwrap_or(value) })
            }
            // Another request loads the same key, and puts its value into the cache.
            GuardResult::Timeout => load.await.map(|value| self.get(key).unwrap_or(value)),
        }
    }

    /// Forgets a value after a change was committed: the next request loads what is true by then, in whichever order
    /// changes come here.
    pub fn forget(&self, key: K) {
        self.0.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::ready;

    use futures_util::future::FutureExt;
    use tokio::sync::oneshot;
    use uuid::Uuid;

    use super::*;
    use crate::auth::{AccessCache, SessionCache, UserAccess};
    use crate::domain::id::{SessionId, UserId};
    use crate::domain::user::{Role, UserStatus};

    const LIMIT: usize = 1000;
    const ANN: UserId = UserId(1);
    const ACTIVE: UserAccess = UserAccess { role: Role::Player, status: UserStatus::Active };
    const BLOCKED: UserAccess = UserAccess { role: Role::Player, status: UserStatus::Blocked };
    const ADMIN: UserAccess = UserAccess { role: Role::Admin, status: UserStatus::Active };

    /// Loads at once.
    fn load<K: Copy + Eq + Hash, V: Copy>(cache: &LoadingCache<K, V>, key: K, value: V) -> V {
        let Ok(value) = cache.get_or_load(key, ready(Ok::<_, Infallible>(value))).now_or_never().unwrap();
        value
    }

    /// A load that has begun. It ends with what is sent.
    fn begin<K: Copy + Eq + Hash, V: Copy>(
        cache: &LoadingCache<K, V>,
        key: K,
    ) -> (oneshot::Sender<V>, impl Future<Output = Result<V, oneshot::error::RecvError>> + Unpin) {
        let (sender, receiver) = oneshot::channel();
        let mut load = Box::pin(cache.get_or_load(key, receiver));
        assert!(load.as_mut().now_or_never().is_none());
        (sender, load)
    }

    #[test]
    fn what_was_loaded_is_cached() {
        let cache = AccessCache::new(LIMIT);
        assert_eq!(cache.get(ANN), None);
        assert_eq!(load(&cache, ANN, ACTIVE), ACTIVE);
        assert_eq!(cache.get(ANN), Some(ACTIVE));
        assert_eq!(load(&cache, ANN, BLOCKED), ACTIVE, "no second load");
        assert_eq!(cache.get(UserId(2)), None);
    }

    #[test]
    fn a_change_applies_at_once() {
        let cache = AccessCache::new(LIMIT);
        for access in [ACTIVE, BLOCKED, ADMIN] {
            assert_eq!(load(&cache, ANN, access), access);
            assert_eq!(cache.get(ANN), Some(access));
            cache.forget(ANN);
            assert_eq!(cache.get(ANN), None);
        }
    }

    #[test]
    fn a_load_never_undoes_a_change() {
        let cache = AccessCache::new(LIMIT);
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
        let cache = AccessCache::new(LIMIT);
        let (sender, loading) = begin(&cache, ANN);
        cache.forget(ANN);
        assert_eq!(load(&cache, ANN, BLOCKED), BLOCKED);
        sender.send(ACTIVE).unwrap();
        assert_eq!(loading.now_or_never(), Some(Ok(BLOCKED)), "what is cached is newer");
        assert_eq!(cache.get(ANN), Some(BLOCKED));
    }

    #[test]
    fn a_load_never_undoes_a_change_of_a_user_who_was_evicted() {
        let cache = AccessCache::new(10);
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
        let cache = AccessCache::new(LIMIT);
        let (sender, first) = begin(&cache, ANN);
        assert_eq!(load(&cache, ANN, ACTIVE), ACTIVE);
        assert_eq!(cache.get(ANN), None, "the first load puts it there");
        sender.send(ACTIVE).unwrap();
        assert_eq!(first.now_or_never(), Some(Ok(ACTIVE)));
        assert_eq!(cache.get(ANN), Some(ACTIVE));
    }

    #[test]
    fn a_load_that_fails_or_is_dropped_leaves_room_for_another() {
        let cache = AccessCache::new(LIMIT);
        let (sender, failed) = begin(&cache, ANN);
        drop(sender);
        assert!(failed.now_or_never().unwrap().is_err());
        drop(begin(&cache, ANN));
        assert_eq!(load(&cache, ANN, ACTIVE), ACTIVE);
        assert_eq!(cache.get(ANN), Some(ACTIVE));
    }

    #[test]
    fn the_cache_never_grows_beyond_its_limit() {
        let cache = AccessCache::new(100);
        for id in -1000..1000 {
            assert_eq!(load(&cache, UserId(id), ACTIVE), ACTIVE);
            assert_eq!(cache.get(UserId(id)), Some(ACTIVE));
        }
        assert!(cache.0.len() <= 100);
    }

    #[test]
    fn forgetting_a_user_leaves_the_others() {
        let cache = AccessCache::new(LIMIT);
        let ben = UserId(2);
        load(&cache, ANN, ACTIVE);
        load(&cache, ben, ACTIVE);
        cache.forget(ANN);
        assert_eq!((cache.get(ANN), cache.get(ben)), (None, Some(ACTIVE)));
    }

    const SESSION: SessionId = SessionId(Uuid::from_u128(7));

    #[test]
    fn a_lookup_that_read_before_the_end_never_makes_a_session_active_again() {
        let cache = SessionCache::new(LIMIT);
        let (first, looking_up) = begin(&cache, SESSION);
        let (second, beside) = begin(&cache, SESSION);
        // Both have read an active session. It ends, and the caller of the log-out is answered.
        cache.forget(SESSION);
        // A request after that.
        assert_eq!(load(&cache, SESSION, None), None);
        first.send(Some(ANN)).unwrap();
        second.send(Some(ANN)).unwrap();
        assert_eq!(looking_up.now_or_never(), Some(Ok(None)), "what is cached is newer");
        assert_eq!(beside.now_or_never(), Some(Ok(None)));
        assert_eq!(cache.get(SESSION), Some(None));
    }

    #[test]
    fn a_session_that_does_not_exist_is_looked_up_once() {
        let cache = SessionCache::new(LIMIT);
        assert_eq!(load(&cache, SESSION, None), None);
        assert_eq!(load(&cache, SESSION, Some(ANN)), None, "no second lookup");
        assert_eq!(cache.get(SESSION), Some(None));
    }

    #[test]
    fn an_evicted_session_is_looked_up_again() {
        let cache = SessionCache::new(10);
        assert_eq!(load(&cache, SESSION, Some(ANN)), Some(ANN));
        // Sessions that are used again take the place of those that are not.
        for other in 1000..2000 {
            let other = SessionId(Uuid::from_u128(other));
            load(&cache, other, Some(UserId(2)));
            cache.get(other);
        }
        assert_eq!(cache.get(SESSION), None);
        assert!(cache.0.len() <= 10);
        assert_eq!(load(&cache, SESSION, None), None, "it has ended meanwhile");
    }
}
