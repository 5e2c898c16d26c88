//! Whether the wall clock can be trusted. The wall clock can be set by anybody who administers the machine, and by time
//! synchronisation. The boot clock (`CLOCK_BOOTTIME`, the time since the machine's start, suspend included) cannot be
//! set. So a jump of the wall clock shows as a change of the difference between the two. This file reads no clock.

use jiff::{SignedDuration, Timestamp};

/// How far the wall clock may be from the expected time and is still trusted.
pub const MAX_DEPARTURE: SignedDuration = SignedDuration::from_secs(60);
/// The expected time follows the wall clock by at most one second in this many, so that small corrections over months
/// do not add up to an alarm. Time synchronisation needs less: the rate of Linux' clock is corrected by at most one
/// second in 2,000.
const FOLLOWS: i32 = 1_000;

/// Both clocks at the same time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    pub wall: Timestamp,
    /// The time since the machine's start.
    pub boot: SignedDuration,
}

impl Reading {
    /// The time of the machine's start, according to both clocks.
    fn start(self) -> SignedDuration {
        self.wall.duration_since(Timestamp::UNIX_EPOCH) - self.boot
    }
}

/// What the wall clock should show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExpectedWall {
    start: SignedDuration,
    /// The boot clock when this was last compared.
    compared: SignedDuration,
}

impl ExpectedWall {
    /// Trusts this reading.
    pub fn trusting(reading: Reading) -> ExpectedWall {
        ExpectedWall { start: reading.start(), compared: reading.boot }
    }

    /// How far the wall clock is ahead of the expected time; negative if it is behind.
    pub fn departure(&self, reading: Reading) -> SignedDuration {
        reading.start() - self.start
    }

    /// Follows small corrections of the wall clock. After a jump of more than [`MAX_DEPARTURE`] the expected time
    /// stays what it was, until the wall clock returns.
    pub fn follow(&mut self, reading: Reading) {
        let most = (reading.boot - self.compared) / FOLLOWS;
        self.compared = reading.boot;
        let departure = self.departure(reading);
        if is_trusted(departure) {
            self.start += departure.clamp(-most, most);
        }
    }
}

/// Whether a wall clock with this departure can be trusted.
pub fn is_trusted(departure: SignedDuration) -> bool {
    departure.abs() <= MAX_DEPARTURE
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reading this many seconds after the first, with a wall clock that is so far ahead.
    fn at(second: i64, ahead_ms: i64) -> Reading {
        let boot = SignedDuration::from_secs(second);
        let wall = Timestamp::from_second(1_900_000_000).unwrap() + boot + SignedDuration::from_millis(ahead_ms);
        Reading { wall, boot }
    }

    #[test]
    fn a_jump_of_more_than_a_minute_is_not_trusted_until_the_clock_returns() {
        for direction in [1, -1] {
            let mut expected = ExpectedWall::trusting(at(0, 0));
            assert!(is_trusted(expected.departure(at(1, 60_000 * direction))));
            for second in 1..100_000 {
                let jumped = at(second, 60_001 * direction);
                assert!(!is_trusted(expected.departure(jumped)), "second {second}");
                expected.follow(jumped);
            }
            assert!(is_trusted(expected.departure(at(100_000, 5_000))), "it returned");
        }
    }

    #[test]
    fn small_corrections_over_months_do_not_add_up() {
        let mut expected = ExpectedWall::trusting(at(0, 0));
        // A clock that is corrected by half a second in a thousand, for half a year.
        for second in 0..180 * 24 * 3_600 / 10 {
            let reading = at(second * 10, second * 5);
            assert!(expected.departure(reading).abs() < SignedDuration::from_secs(1));
            expected.follow(reading);
        }
    }

    #[test]
    fn many_small_jumps_in_a_row_add_up() {
        let mut expected = ExpectedWall::trusting(at(0, 0));
        let trusted = (1..=7).map(|jump| {
            let reading = at(jump, jump * 10_000);
            expected.follow(reading);
            is_trusted(expected.departure(reading))
        });
        assert_eq!(trusted.collect::<Vec<_>>(), [true, true, true, true, true, true, false]);
    }

    #[test]
    fn a_long_suspend_is_no_jump() {
        let expected = ExpectedWall::trusting(at(0, 0));
        assert_eq!(expected.departure(at(30 * 24 * 3_600, 0)), SignedDuration::ZERO);
    }
}
