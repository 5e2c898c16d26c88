//! The only module that reads the system's clock and makes ids from the time. It knows no draws. Tests use a
//! clock that they set themselves.

use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use uuid::{ContextV7, Uuid};

/// The longest sleep without a new look at the system's clock, because the clock may have been set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// The server's clock; times that clients send do not count. It gives whole milliseconds, so that a stored
/// time equals the answered one.
#[derive(Clone)]
pub struct Clock {
    source: TimeSource,
    ids: Ids,
}

#[derive(Clone)]
enum TimeSource {
    System,
    /// Moved only by a test.
    Manual(Arc<watch::Sender<Timestamp>>),
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Clock {
        Clock { source: TimeSource::System, ids: Ids::new() }
    }

    /// A clock that stands still until a test moves it.
    pub fn manual(start: Timestamp) -> Clock {
        Clock { source: TimeSource::Manual(Arc::new(watch::Sender::new(start))), ids: Ids::new() }
    }

    /// The only source of ids for everything that a list may show: a later row has a greater id, so a new row
    /// never appears on a page that a client has already read.
    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    pub fn now(&self) -> Timestamp {
        match &self.source {
            // Converts to milliseconds and back, which always succeeds.
            #[allow(clippy::disallowed_methods, reason = "this is the module that clippy.toml names")]
            TimeSource::System => {
                Timestamp::from_millisecond(Timestamp::now().as_millisecond()).unwrap_or_default()
            }
            TimeSource::Manual(time) => *time.borrow(),
        }
    }

    /// Moves a manual clock forward and wakes the tasks that wait for it. Does nothing to the system's clock.
    pub fn advance(&self, by: SignedDuration) {
        if let TimeSource::Manual(time) = &self.source {
            time.send_modify(|now| *now += by);
        }
    }

    /// Waits until this time, by this clock.
    pub async fn sleep_until(&self, time: Timestamp) {
        match &self.source {
            TimeSource::System => loop {
                let left = time.duration_since(self.now());
                if left <= SignedDuration::ZERO {
                    return;
                }
                tokio::time::sleep(left.unsigned_abs().min(LONGEST_SLEEP)).await;
            },
            TimeSource::Manual(now) => {
                if now.subscribe().wait_for(|now| *now >= time).await.is_err() {
                    // The last handle is dropped: nobody can move the clock any more.
                    pending::<()>().await;
                }
            }
        }
    }
}

/// Makes UUIDv7 (RFC 9562, section 5.7), each greater than the one before. Clones share one source.
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

    /// Makes consecutive ids: no other caller gets an id while the returned closure exists.
    pub fn in_a_row(&self, now: Timestamp) -> impl FnMut() -> Uuid {
        let seconds = u64::try_from(now.as_second()).unwrap_or(0);
        let nanos = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
        // A panic while the lock is held cannot leave the context half changed.
        let context = self.context.lock().unwrap_or_else(PoisonError::into_inner);
        #[allow(clippy::disallowed_methods, reason = "this is the module that clippy.toml names")]
        move || Uuid::new_v7(uuid::Timestamp::from_unix(&*context, seconds, nanos))
    }
}

/// The least UUIDv7 of this millisecond: every id that was made before has a lower one.
pub fn first_id(at: Timestamp) -> Uuid {
    Uuid::from_u128(u128::try_from(at.as_millisecond()).unwrap_or(0) << 80)
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
    fn ids_in_a_row_are_consecutive() {
        let (ids, now) = (Ids::new(), Timestamp::from_second(1_800_000_000).unwrap());
        let rows = || (0..1_000).map(|_| ids.in_a_row(now)).map(|mut id| [id(), id(), id()]).collect::<Vec<_>>();
        let mut all = std::thread::scope(|threads| {
            let others = [threads.spawn(rows), threads.spawn(rows)];
            others.map(|thread| thread.join().unwrap()).concat()
        });
        all.sort();
        assert!(all.is_sorted_by(|before, row| before[2] < row[0]));
    }

    #[test]
    fn the_first_id_of_a_time_divides_the_ids_before_from_the_ids_after() {
        let (ids, now) = (Ids::new(), Timestamp::from_second(1_800_000_000).unwrap());
        let first = first_id(now + SignedDuration::from_millis(7));
        assert!(ids.next(now + SignedDuration::from_millis(6)) < first);
        assert!(ids.next(now + SignedDuration::from_millis(7)) > first);
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
