//! The search for the intent of a charge: which times are searched, and how far each unfinished search has come.
//! Calls nothing.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::SignedDuration;

use crate::domain::charge::ChargeName;

/// How far Stripe's clock and the service's clock may differ, and the intent of a charge is still found.
const FAR: SignedDuration = SignedDuration::from_hours(24);
/// The intent is created within this time if the clocks agree. This time is searched first.
const NEAR: SignedDuration = SignedDuration::from_mins(10);
/// Unfinished searches that are remembered. When there are more, the search for the oldest charge begins anew.
const MAX_SEARCHES: usize = 1_000;

/// How far the search for one charge has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SearchPosition {
    /// The times that are not searched through yet, in seconds: the first and the last of each. The last element is the
    /// next one.
    windows: Vec<(i64, i64)>,
    /// The last intent that was read of the next window.
    after: Option<String>,
}

impl SearchPosition {
    /// The beginning of a search: first the likely time, then the time after it, then the time before it.
    pub fn start(name: ChargeName) -> SearchPosition {
        let second = |distance: SignedDuration| name.begun.as_second().saturating_add(distance.as_secs());
        let windows = vec![
            (second(-FAR), second(-NEAR) - 1),
            (second(NEAR) + 1, second(FAR)),
            (second(-NEAR), second(NEAR)),
        ];
        SearchPosition { windows, after: None }
    }

    /// The next page: the first and the last second of its window, and the intent that it begins after. `None`: all
    /// is searched.
    pub fn next_page(&self) -> Option<(i64, i64, Option<&str>)> {
        self.windows.last().map(|(from, to)| (*from, *to, self.after.as_deref()))
    }

    /// Goes on after a page. `last`: the page's last intent, if its window has more pages.
    pub fn advance(&mut self, last: Option<String>) {
        if last.is_none() {
            self.windows.pop();
        }
        self.after = last;
    }
}

/// The unfinished searches.
#[derive(Default)]
pub struct UnfinishedSearches(Mutex<HashMap<ChargeName, SearchPosition>>);

impl UnfinishedSearches {
    /// Takes the position of a search out, or begins it.
    pub fn take(&self, name: ChargeName) -> SearchPosition {
        self.searches().remove(&name).unwrap_or_else(|| SearchPosition::start(name))
    }

    /// Keeps the position of a search that is not finished.
    pub fn keep(&self, name: ChargeName, position: SearchPosition) {
        let mut searches = self.searches();
        if searches.len() >= MAX_SEARCHES {
            // It may be of a charge that has ended meanwhile by a webhook; otherwise its search begins anew.
            if let Some(oldest) = searches.keys().min_by_key(|name| name.begun).copied() {
                searches.remove(&oldest);
            }
        }
        searches.insert(name, position);
    }

    fn searches(&self) -> std::sync::MutexGuard<'_, HashMap<ChargeName, SearchPosition>> {
        // A panic under the lock leaves the map consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::domain::id::PaymentId;

    fn name(number: i64) -> ChargeName {
        let begun = Timestamp::from_second(1_900_000_000 + number).unwrap();
        ChargeName { payment: PaymentId(uuid::Uuid::from_u128(7)), begun }
    }

    #[test]
    fn every_second_of_a_day_before_and_after_is_searched_once_and_the_likely_time_first() {
        let (mut position, begun) = (SearchPosition::start(name(0)), 1_900_000_000);
        let mut windows = Vec::new();
        while let Some((from, to, after)) = position.next_page() {
            assert_eq!(after, None);
            windows.push((from, to));
            position.advance(None);
        }
        assert_eq!(windows[0], (begun - 600, begun + 600));
        windows.sort_unstable();
        assert_eq!((windows[0].0, windows[2].1), (begun - 86_400, begun + 86_400));
        assert!(windows.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0), "{windows:?}");
    }

    #[test]
    fn a_kept_search_goes_on_after_its_last_page() {
        let searches = UnfinishedSearches::default();
        let mut position = searches.take(name(0));
        position.advance(Some("pi_1".to_owned()));
        searches.keep(name(0), position.clone());
        assert_eq!(searches.take(name(1)), SearchPosition::start(name(1)), "another charge");
        assert_eq!(searches.take(name(0)), position);
        assert_eq!(searches.take(name(0)), SearchPosition::start(name(0)), "taken out");
    }

    #[test]
    fn the_search_for_the_oldest_charge_is_forgotten_first() {
        let searches = UnfinishedSearches::default();
        for number in 0..=MAX_SEARCHES as i64 {
            let mut position = SearchPosition::start(name(number));
            position.advance(Some("pi_1".to_owned()));
            searches.keep(name(number), position);
        }
        assert_eq!(searches.searches().len(), MAX_SEARCHES);
        assert_eq!(searches.take(name(0)), SearchPosition::start(name(0)));
        assert_ne!(searches.take(name(1)), SearchPosition::start(name(1)));
    }
}
