//! The only room that asks what time it is and makes ids from it. Knows no draws; tests set its hands.

use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use uuid::{ContextV7, Uuid};

/// The longest sleep before the system's clock is looked at again: it may have been set.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// The server's clock: the only one that counts. Whole milliseconds, so that what is stored and what is
/// answered are the same.
#[derive(Clone)]
pub struct Clock {
    hands: TimeSource,
    ids: Ids,
}

#[derive(Clone)]
enum TimeSource {
    System,
    /// Moved by a test alone.
    Manual(Arc<watch::Sender<Timestamp>>),
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Clock {
        Clock { hands: TimeSource::System, ids: Ids::new() }
    }

    /// A clock that stands until it is moved.
    pub fn manual(start: Timestamp) -> Clock {
        Clock { hands: TimeSource::Manual(Arc::new(watch::Sender::new(start))), ids: Ids::new() }
    }

    /// One source of ids for everything that a list may show: what comes later has a greater id, so a new
    /// row never slips into a page that was read already.
    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    pub fn now(&self) -> Timestamp {
        match &self.hands {
            // What a Timestamp says in milliseconds is one again.
            #[allow(clippy::disallowed_methods, reason = "the room the ban points to")]
            TimeSource::System => {
                Timestamp::from_millisecond(Timestamp::now().as_millisecond()).unwrap_or_default()
            }
            TimeSource::Manual(time) => *time.borrow(),
        }
    }

    /// Moves a manual clock forward and wakes those who wait for it. The system's clock stays as it is.
    pub fn advance(&self, by: SignedDuration) {
        if let TimeSource::Manual(time) = &self.hands {
            time.send_modify(|now| *now += by);
        }
    }

    /// Waits until the clock shows this time or a later one.
    pub async fn sleep_until(&self, time: Timestamp) {
        match &self.hands {
            TimeSource::System => loop {
                let left = time.duration_since(self.now());
                if left <= SignedDuration::ZERO {
                    return;
                }
                tokio::time::sleep(left.unsigned_abs().min(LONGEST_SLEEP)).await;
            },
            TimeSource::Manual(now) => {
                if now.subscribe().wait_for(|now| *now >= time).await.is_err() {
                    // Nobody can move the clock any more.
                    pending::<()>().await;
                }
            }
        }
    }
}

/// Makes UUIDv7 (RFC 9562, section 5.7), each greater than the one before it. Clones share one source.
#[derive(Clone)]
pub struct Ids {
    context: Arc<Mutex<ContextV7>>,
}

impl Ids {
    pub fn new() -> Ids {
        Ids { context: Arc::new(Mutex::new(ContextV7::new())) }
    }

    pub fn next(&self, now: Timestamp) -> Uuid {
        self.in_a_row(now)()
    }

    /// Ids between which nobody else's come, for as long as this is held.
    pub fn in_a_row(&self, now: Timestamp) -> impl FnMut() -> Uuid {
        let seconds = u64::try_from(now.as_second()).unwrap_or(0);
        let nanos = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
        // A panic under the lock leaves the context as good as it was.
        let context = self.context.lock().unwrap_or_else(PoisonError::into_inner);
        #[allow(clippy::disallowed_methods, reason = "the room the ban points to")]
        move || Uuid::new_v7(uuid::Timestamp::from_unix(&*context, seconds, nanos))
    }
}

impl Default for Ids {
    fn default() -> Ids {
        Ids::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_ascend_even_when_the_clock_stands_still_or_goes_back() {
        let ids = Ids::new();
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let mut made: Vec<Uuid> = (0..10_000).map(|_| ids.next(now)).collect();
        made.extend((0..100).map(|_| ids.next(now - SignedDuration::from_secs(5))));
        assert!(made.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn no_other_id_comes_between_ids_in_a_row() {
        let (ids, now) = (Ids::new(), Timestamp::from_second(1_800_000_000).unwrap());
        let rows = || (0..1_000).map(|_| ids.in_a_row(now)).map(|mut id| [id(), id(), id()]).collect::<Vec<_>>();
        let mut all = std::thread::scope(|threads| {
            let others = [threads.spawn(rows), threads.spawn(rows)];
            others.map(|thread| thread.join().unwrap()).concat()
        });
        all.sort();
        assert!(all.is_sorted_by(|before, row| before[2] < row[0]));
    }

    #[tokio::test]
    async fn a_manual_clock_wakes_sleepers_when_it_is_moved() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let sleeper = clock.clone();
        let until = clock.now() + SignedDuration::from_secs(10);
        let task = tokio::spawn(async move { sleeper.sleep_until(until).await });
        clock.advance(SignedDuration::from_secs(9));
        tokio::task::yield_now().await;
        assert!(!task.is_finished());
        clock.advance(SignedDuration::from_secs(1));
        task.await.unwrap();
    }
}
