//! Recurring draws: the times of a lottery's next draws, by a schedule in a named time zone. This file does
//! not know which draws exist already.

use std::str::FromStr;

use croner::Cron;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::draw::Times;

/// When draws take place.
///
/// ```
/// use jiff::{SignedDuration, Timestamp};
/// use lottery::domain::schedule::Schedule;
///
/// let (day, minutes) = (SignedDuration::from_hours(24), SignedDuration::from_mins(15));
/// let schedule = Schedule::new("every day at 20:00", "Europe/Moscow", day, minutes)?;
/// let noon: Timestamp = "2030-05-01T12:00:00Z".parse()?;
/// let next = schedule.coming(noon).next().ok_or("never")?;
/// assert_eq!(next.draw_at, "2030-05-01T20:00:00+03:00".parse()?);
/// assert_eq!(next.sales_close_at, next.draw_at - minutes);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Schedule {
    cron: Cron,
    zone: TimeZone,
    on_sale: SignedDuration,
    cut_off: SignedDuration,
}

/// Why a schedule is not valid.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ScheduleError {
    #[error("must be like `every day at 20:00`, `every monday at 9:30` or a cron pattern: {0}")]
    At(String),
    #[error("must be a time zone such as Europe/Moscow")]
    Zone,
    #[error("must be longer than the cut-off")]
    OnSale,
}

impl Schedule {
    /// `at` is `every day at 20:00`, `every monday at 20:00`, or a cron pattern of five fields. The sale
    /// opens `on_sale` before the draw and closes `cut_off` before the draw.
    pub fn new(
        at: &str,
        zone: &str,
        on_sale: SignedDuration,
        cut_off: SignedDuration,
    ) -> Result<Schedule, ScheduleError> {
        let cron = Cron::from_str(&pattern(at)).map_err(|error| ScheduleError::At(error.to_string()))?;
        let zone = TimeZone::get(zone).map_err(|_| ScheduleError::Zone)?;
        if on_sale <= cut_off {
            return Err(ScheduleError::OnSale);
        }
        Ok(Schedule { cron, zone, on_sale, cut_off })
    }

    /// The times of the draws whose sale has not closed by `now`, the nearest first. The iterator ends only
    /// when the pattern has no further dates or the calendar ends.
    pub fn coming(&self, now: Timestamp) -> impl Iterator<Item = Times> {
        let from = (now + self.cut_off).to_zoned(self.zone.clone());
        self.cron.iter_after(from).map(|at| {
            let draw_at = at.timestamp();
            Times { sales_open_at: Some(draw_at - self.on_sale), sales_close_at: draw_at - self.cut_off, draw_at }
        })
    }
}

/// Converts words to a cron pattern; any other text is returned unchanged, since it may be a pattern already.
fn pattern(at: &str) -> String {
    let words: Vec<&str> = at.split_whitespace().collect();
    let ["every", day, "at", time] = words[..] else { return at.to_owned() };
    let Some((hour, minute)) = time.split_once(':') else { return at.to_owned() };
    let day = match day {
        "day" => "*",
        "monday" => "MON",
        "tuesday" => "TUE",
        "wednesday" => "WED",
        "thursday" => "THU",
        "friday" => "FRI",
        "saturday" => "SAT",
        "sunday" => "SUN",
        _ => return at.to_owned(),
    };
    format!("{minute} {hour} * * {day}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(at: &str, zone: &str) -> Result<Schedule, ScheduleError> {
        Schedule::new(at, zone, SignedDuration::from_hours(24), SignedDuration::from_mins(15))
    }

    /// The next draws after noon of that day.
    fn draws(at: &str, zone: &str, day: &str, most: usize) -> Vec<String> {
        let noon: Timestamp = format!("{day}T12:00:00Z").parse().unwrap();
        let coming = schedule(at, zone).unwrap();
        coming.coming(noon).take(most).map(|times| times.draw_at.to_string()).collect()
    }

    #[test]
    fn words_and_patterns_are_equivalent() {
        for (words, pattern) in [
            ("every day at 20:00", "0 20 * * *"),
            ("every friday at 9:05", "5 9 * * 5"),
            ("every sunday at 00:00", "0 0 * * SUN"),
        ] {
            let of = |at| draws(at, "Europe/Moscow", "2030-05-01", 4);
            assert_eq!(of(words), of(pattern));
        }
        let fridays = draws("every friday at 9:05", "Europe/Moscow", "2030-05-01", 2);
        assert_eq!(fridays, ["2030-05-03T06:05:00Z", "2030-05-10T06:05:00Z"]);
    }

    #[test]
    fn a_day_has_one_draw_when_summer_time_begins_or_ends() {
        // In New York, summer time begins on 10 March 2030: from then on 20:00 is an hour earlier in UTC.
        let spring = draws("every day at 20:00", "America/New_York", "2030-03-09", 3);
        assert_eq!(spring, ["2030-03-10T01:00:00Z", "2030-03-11T00:00:00Z", "2030-03-12T00:00:00Z"]);
        // Summer time ends on 3 November, when 01:30 occurs twice.
        let autumn = draws("every day at 01:30", "America/New_York", "2030-11-02", 3);
        assert_eq!(autumn, ["2030-11-03T05:30:00Z", "2030-11-04T06:30:00Z", "2030-11-05T06:30:00Z"]);
    }

    #[test]
    fn a_draw_whose_sale_has_ended_is_not_coming() {
        let schedule = schedule("every day at 20:00", "UTC").unwrap();
        let first = |now: &str| schedule.coming(now.parse().unwrap()).next().unwrap().draw_at.to_string();
        assert_eq!(first("2030-05-01T19:44:59Z"), "2030-05-01T20:00:00Z");
        assert_eq!(first("2030-05-01T19:45:00Z"), "2030-05-02T20:00:00Z");
    }

    #[test]
    fn invalid_schedules_are_refused() {
        for at in ["", "tomorrow", "every day at noon", "every day at 25:00", "every month at 20:00", "* * *"] {
            assert!(matches!(schedule(at, "UTC"), Err(ScheduleError::At(_))), "{at}");
        }
        assert_eq!(schedule("every day at 20:00", "Moscow").unwrap_err(), ScheduleError::Zone);
        let day = SignedDuration::from_hours(24);
        assert_eq!(Schedule::new("0 20 * * *", "UTC", day, day).unwrap_err(), ScheduleError::OnSale);
    }
}
