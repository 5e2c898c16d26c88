//! Compares Stripe's clock, from the `Date` header of each answer, with the service's clock. Corrects nothing: it
//! warns when the clocks begin to differ.

use std::sync::atomic::{AtomicBool, Ordering};

use jiff::fmt::rfc2822::DateTimeParser;
use jiff::{SignedDuration, Timestamp};

/// How far the clocks may differ. The header has whole seconds, and an answer may be on its way for half a minute.
const MAX_DIFFERENCE: SignedDuration = SignedDuration::from_mins(1);

/// Whether the clocks differed at the last answer, so that each change is logged once.
#[derive(Default)]
pub struct ProviderClock {
    differs: AtomicBool,
}

impl ProviderClock {
    /// Compares the header of an answer that came now. A header that is not a date says nothing.
    pub fn compare(&self, date: &str, now: Timestamp) {
        let Ok(date) = DateTimeParser::new().parse_timestamp(date) else { return };
        let ahead = now.duration_since(date);
        let differs = ahead.abs() > MAX_DIFFERENCE;
        if self.differs.swap(differs, Ordering::Relaxed) == differs {
            return;
        }
        let seconds = ahead.as_secs();
        if differs {
            tracing::warn!(
                seconds_ahead = seconds,
                "this service's clock differs from the payment provider's; from five minutes on, webhooks are refused. Set the clock right"
            );
        } else {
            tracing::info!(
                seconds_ahead = seconds,
                "this service's clock agrees with the payment provider's again"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payment::tests::logged;

    #[test]
    fn a_difference_is_logged_once_and_so_is_its_end() {
        let clock = ProviderClock::default();
        // Wed, 01 May 2030 12:00:00 GMT
        let date = Timestamp::from_second(1_903_867_200).unwrap();
        let log = |seconds: i64| {
            let now = date + SignedDuration::from_secs(seconds);
            logged(|| clock.compare("Wed, 01 May 2030 12:00:00 GMT", now))
        };
        assert_eq!(log(60), "");
        assert!(log(61).contains("WARN") && log(90).is_empty() && log(-300).is_empty());
        assert!(log(-60).contains("INFO") && log(0).is_empty());
        let behind = log(-61);
        assert!(
            behind.contains("WARN") && behind.contains("seconds_ahead=-61") && behind.contains("clock"),
            "{behind}"
        );
        assert_eq!(logged(|| clock.compare("yesterday", date)), "", "not a date");
    }
}
