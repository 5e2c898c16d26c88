//! The only module that reads the system's clocks and makes ids from the time. It also tells whether the wall clock
//! can be trusted. It knows no draws. Tests use a clock that they set themselves.

mod expected;

use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use nix::time::{ClockId, clock_gettime};
use tokio::sync::watch;
use uuid::{ContextV7, Uuid};

use expected::{ExpectedWall, Reading, is_trusted};

/// The longest sleep without a new look at the system's clock, because the clock may have been set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// How often the wall clock is compared with the boot clock. It is also compared before each step by the clock.
const COMPARE_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(target_os = "linux")]
const BOOT: ClockId = ClockId::CLOCK_BOOTTIME;
/// Other systems have no such clock, or count suspended time in this one.
#[cfg(not(target_os = "linux"))]
const BOOT: ClockId = ClockId::CLOCK_MONOTONIC;

/// The time since the machine's start, suspend included, whatever clock a test has set: for what happens between
/// processes.
pub fn machine_time() -> SignedDuration {
    // Every supported system has this clock (Linux since 2.6.39).
    let boot = clock_gettime(BOOT).expect("the system has a clock that cannot be set");
    SignedDuration::new(boot.tv_sec(), boot.tv_nsec() as i32)
}

/// The server's clock; times that clients send do not count. It gives whole milliseconds, so that a stored
/// time equals the answered one.
#[derive(Clone)]
pub struct Clock {
    source: TimeSource,
    ids: Ids,
    trust: Arc<Trust>,
}

#[derive(Clone)]
enum TimeSource {
    System,
    /// Moved only by a test.
    Manual(Arc<watch::Sender<Reading>>),
}

/// Shared by all clones of a clock.
struct Trust {
    expected: Mutex<ExpectedWall>,
    /// Whether the wall clock was trusted when it was last compared.
    trusted: watch::Sender<bool>,
}

/// The wall clock, compared with the boot clock.
#[derive(Clone, Copy, Debug)]
pub struct ClockReport {
    pub wall: Timestamp,
    /// How far the wall clock is ahead of the expected time; negative if it is behind.
    pub departure: SignedDuration,
    /// Whether steps may be taken by the clock.
    pub trusted: bool,
    reading: Reading,
}

impl ClockReport {
    pub fn departure_ms(&self) -> i64 {
        i64::try_from(self.departure.as_millis()).unwrap_or(i64::MAX)
    }
}

impl Clock {
    /// The system's clock. It is trusted as it is now.
    pub fn system() -> Clock {
        Clock::of(TimeSource::System)
    }

    /// A clock that stands still until a test moves it.
    pub fn manual(start: Timestamp) -> Clock {
        let start = Reading { wall: start, boot: SignedDuration::ZERO };
        Clock::of(TimeSource::Manual(Arc::new(watch::Sender::new(start))))
    }

    fn of(source: TimeSource) -> Clock {
        let expected = Mutex::new(ExpectedWall::trusting(source.read()));
        let trust = Arc::new(Trust { expected, trusted: watch::Sender::new(true) });
        Clock { source, ids: Ids::new(), trust }
    }

    /// The only source of ids for everything that a list may show: a later row has a greater id, so a new row
    /// never appears on a page that a client has already read.
    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    /// The wall clock.
    pub fn now(&self) -> Timestamp {
        self.source.wall()
    }

    /// The time since the machine's start, suspend included. Nobody can set it, so it is the clock of rate limits and
    /// of intervals.
    pub fn since_boot(&self) -> SignedDuration {
        self.source.read().boot
    }

    /// Compares the clocks now.
    pub fn report(&self) -> ClockReport {
        let reading = self.source.read();
        let departure = self.trust.expected().departure(reading);
        let trusted = is_trusted(departure);
        self.trust.tell(trusted, departure);
        ClockReport { wall: reading.wall, departure, trusted, reading }
    }

    /// From now on the wall clock is trusted as it was in this report.
    pub fn confirm(&self, report: ClockReport) {
        *self.trust.expected() = ExpectedWall::trusting(report.reading);
        self.report();
    }

    /// Compares the clocks regularly, as long as the service runs.
    pub async fn watch(self) {
        loop {
            let seen = self.source.read();
            self.trust.expected().follow(seen);
            self.report();
            self.source.wait(COMPARE_INTERVAL, seen).await;
        }
    }

    /// Changes whenever trust in the wall clock is lost or won back.
    pub fn trust_changes(&self) -> watch::Receiver<bool> {
        self.trust.trusted.subscribe()
    }

    /// The time, as soon as the wall clock is trusted.
    pub async fn trusted_now(&self) -> Timestamp {
        let mut changes = self.trust_changes();
        loop {
            let report = self.report();
            if report.trusted {
                return report.wall;
            }
            // This cannot fail: this clock holds the sender.
            let _ = changes.wait_for(|trusted| *trusted).await;
        }
    }

    /// Moves a manual clock forward and wakes the tasks that wait for it. Does nothing to the system's clock.
    pub fn advance(&self, by: SignedDuration) {
        self.source.adjust(|reading| {
            reading.wall += by;
            reading.boot += by;
        });
    }

    /// Sets the wall clock of a manual clock forward or back; no time passes. Does nothing to the system's clock.
    pub fn set_wall(&self, by: SignedDuration) {
        self.source.adjust(|reading| reading.wall += by);
    }

    /// Waits until this time, by the wall clock.
    pub async fn sleep_until(&self, time: Timestamp) {
        match &self.source {
            TimeSource::System => loop {
                let left = time.duration_since(self.now());
                if left <= SignedDuration::ZERO {
                    return;
                }
                tokio::time::sleep(left.unsigned_abs().min(LONGEST_SLEEP)).await;
            },
            TimeSource::Manual(readings) => wait_for(readings, |reading| reading.wall >= time).await,
        }
    }

    /// Waits for this long, however the wall clock is set meanwhile.
    pub async fn sleep(&self, time: SignedDuration) {
        self.sleep_since(self.since_boot(), time).await;
    }

    /// Waits until so much time has passed since that value of [`since_boot`](Clock::since_boot): the rest of an
    /// interval that began then.
    pub async fn sleep_since(&self, began: SignedDuration, time: SignedDuration) {
        let end = began + time;
        match &self.source {
            TimeSource::System => loop {
                let left = end - self.since_boot();
                if left <= SignedDuration::ZERO {
                    return;
                }
                tokio::time::sleep(left.unsigned_abs().min(LONGEST_SLEEP)).await;
            },
            TimeSource::Manual(readings) => wait_for(readings, |reading| reading.boot >= end).await,
        }
    }
}

impl TimeSource {
    fn wall(&self) -> Timestamp {
        match self {
            // Converts to milliseconds and back, which always succeeds.
            #[allow(clippy::disallowed_methods, reason = "this is the module that clippy.toml names")]
            TimeSource::System => {
                Timestamp::from_millisecond(Timestamp::now().as_millisecond()).unwrap_or_default()
            }
            TimeSource::Manual(readings) => readings.borrow().wall,
        }
    }

    fn read(&self) -> Reading {
        match self {
            TimeSource::System => Reading { wall: self.wall(), boot: machine_time() },
            TimeSource::Manual(readings) => *readings.borrow(),
        }
    }

    fn adjust(&self, change: impl FnOnce(&mut Reading)) {
        if let TimeSource::Manual(readings) = self {
            readings.send_modify(change);
        }
    }

    /// Waits so long; a manual clock, until it shows something else than was seen.
    async fn wait(&self, time: Duration, seen: Reading) {
        match self {
            TimeSource::System => tokio::time::sleep(time).await,
            TimeSource::Manual(readings) => wait_for(readings, |reading| *reading != seen).await,
        }
    }
}

/// Waits until a manual clock is moved to such a reading.
async fn wait_for(readings: &watch::Sender<Reading>, wanted: impl FnMut(&Reading) -> bool) {
    if readings.subscribe().wait_for(wanted).await.is_err() {
        // The last handle is dropped: nobody can move the clock any more.
        pending::<()>().await;
    }
}

impl Trust {
    fn expected(&self) -> std::sync::MutexGuard<'_, ExpectedWall> {
        // A panic while the lock is held cannot leave the value half changed.
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those who wait, if trust was lost or won back.
    fn tell(&self, trusted: bool, departure: SignedDuration) {
        // Nearly always nothing has changed, and a read lock is enough to see it.
        if *self.trusted.borrow() == trusted {
            return;
        }
        let changed = self.trusted.send_if_modified(|before| std::mem::replace(before, trusted) != trusted);
        let seconds = departure.as_secs();
        match (changed, trusted) {
            (false, _) => {}
            (true, true) => tracing::info!("the clock is trusted again; draws go on by it"),
            (true, false) => tracing::error!(
                seconds,
                "the clock was set; draws do nothing by it until it returns or an admin confirms it"
            ),
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
    async fn the_time_is_awaited_until_the_clock_returns_or_is_confirmed() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let watching = tokio::spawn(clock.clone().watch());
        let hour = SignedDuration::from_hours(1);
        for by in [hour, -hour] {
            clock.set_wall(by);
            assert!(!clock.report().trusted);
            let waiting = clock.clone();
            let task = tokio::spawn(async move { waiting.trusted_now().await });
            clock.advance(SignedDuration::from_secs(1));
            tokio::task::yield_now().await;
            assert!(!task.is_finished());
            clock.set_wall(-by);
            assert_eq!(task.await.unwrap(), clock.now());
        }
        let waiting = clock.clone();
        clock.set_wall(hour);
        let task = tokio::spawn(async move { waiting.trusted_now().await });
        let report = clock.report();
        clock.set_wall(hour);
        clock.confirm(report);
        assert!(!clock.report().trusted, "only what was reported is confirmed");
        clock.confirm(clock.report());
        assert_eq!(task.await.unwrap(), clock.now());
        watching.abort();
    }

    #[tokio::test]
    async fn setting_the_wall_clock_is_not_time_that_passes() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let before = clock.since_boot();
        clock.set_wall(SignedDuration::from_hours(5));
        assert_eq!(clock.since_boot(), before);
        let sleeper = clock.clone();
        let task = tokio::spawn(async move { sleeper.sleep(SignedDuration::from_secs(10)).await });
        tokio::task::yield_now().await;
        clock.set_wall(-SignedDuration::from_hours(9));
        clock.advance(SignedDuration::from_secs(10));
        task.await.unwrap();
    }

    #[test]
    fn the_systems_clocks_agree_and_the_boot_clock_goes_on() {
        let clock = Clock::system();
        let (first, report) = (clock.since_boot(), clock.report());
        assert!(report.trusted && report.departure.abs() < SignedDuration::from_secs(30), "{report:?}");
        assert!(first > SignedDuration::ZERO && clock.since_boot() >= first);
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
