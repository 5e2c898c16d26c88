//! Counts by key in fixed windows of time, with bounded memory. Does not know what is counted.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use jiff::SignedDuration;

use super::error::Problem;

/// The most keys that one window counts. A full one makes room, see [`make_room`].
const MAX_REMEMBERED: usize = 100_000;

/// How much is allowed in a time, of each of the `N` things that a window counts. Most windows count calls alone.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rate<const N: usize = 1> {
    pub counts: [u32; N],
    pub within: SignedDuration,
}

/// Counts by key. The window of a key begins with its first call.
pub struct RateWindow<K, const N: usize = 1> {
    rate: Option<Rate<N>>,
    /// What a client is told that exceeds each of the counts. It names the setting.
    refusals: [&'static str; N],
    counts: Mutex<HashMap<K, WindowCount<N>>>,
}

/// What was counted of a key, and when its window began.
type WindowCount<const N: usize> = ([u32; N], SignedDuration);

impl<K: Eq + Hash, const N: usize> RateWindow<K, N> {
    /// `None`: no limit, and nothing is counted.
    pub fn new(rate: Option<Rate<N>>, refusals: [&'static str; N]) -> RateWindow<K, N> {
        RateWindow { rate, refusals, counts: Mutex::default() }
    }

    /// Counts what a call costs. If one of the counts would exceed its limit, it is refused and counts nothing.
    pub fn count(&self, key: K, costs: [u32; N], now: SignedDuration) -> Result<(), Problem> {
        let Some(rate) = self.rate else { return Ok(()) };
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= MAX_REMEMBERED && !counts.contains_key(&key) {
            make_room(&mut counts, now - rate.within);
        }
        let (counted, began) = counts.entry(key).or_insert(([0; N], now));
        if now >= *began + rate.within {
            (*counted, *began) = ([0; N], now);
        }
        let sums: [u32; N] = std::array::from_fn(|i| counted[i].saturating_add(costs[i]));
        if let Some(exceeded) = (0..N).find(|&i| sums[i] > rate.counts[i]) {
            return Err(refusal(self.refusals[exceeded], *began + rate.within - now));
        }
        *counted = sums;
        Ok(())
    }
}

impl<K: Eq + Hash> RateWindow<K> {
    /// How much more may be counted now. Refuses if it is nothing.
    pub fn left<Q: Eq + Hash + ?Sized>(&self, key: &Q, now: SignedDuration) -> Result<u32, Problem>
    where
        K: Borrow<Q>,
    {
        let Some(Rate { counts: [limit], within }) = self.rate else { return Ok(u32::MAX) };
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get(key).filter(|(_, began)| now < *began + within) {
            Some(([counted], began)) if *counted >= limit => Err(refusal(self.refusals[0], *began + within - now)),
            Some(([counted], _)) => Ok(limit - counted),
            None => Ok(limit),
        }
    }

    /// The refusal of what will soon be allowed or refused for longer: it depends on calls that are not over.
    pub fn busy(&self) -> Problem {
        refusal(self.refusals[0], SignedDuration::ZERO)
    }
}

/// Drops the windows that began before `oldest`, and if more than half of a full table is left, also those that count
/// least, the older ones first. So a flood of new keys evicts its own keys, and no key that counted more: nobody
/// starts anew by filling the table. At least half of it is free afterwards, so few new keys need such a pass.
fn make_room<K: Eq + Hash, const N: usize>(counts: &mut HashMap<K, WindowCount<N>>, oldest: SignedDuration) {
    counts.retain(|_, (_, began)| *began > oldest);
    if counts.len() > MAX_REMEMBERED / 2 {
        let mut windows: Vec<WindowCount<N>> = counts.values().copied().collect();
        let last_dropped = windows.len() - MAX_REMEMBERED / 2 - 1;
        let (_, last_dropped, _) = windows.select_nth_unstable(last_dropped);
        counts.retain(|_, window| *window > *last_dropped);
    }
}

fn refusal(what: &str, wait: SignedDuration) -> Problem {
    // Whole seconds, at least one.
    let seconds = u64::try_from(wait.as_secs()).unwrap_or(0) + 1;
    Problem::rate_limited(seconds).with_detail(format!("{what}; try again in {seconds} s"))
}

#[cfg(test)]
mod tests {
    use super::super::error::Code;
    use super::*;

    const START: SignedDuration = SignedDuration::ZERO;

    fn window<K: Eq + Hash>(limit: u32) -> RateWindow<K> {
        RateWindow::new(Some(Rate { counts: [limit], within: SignedDuration::from_secs(60) }), ["too many"])
    }

    #[test]
    fn a_window_lets_so_many_through_and_opens_again() {
        let window = window(2);
        assert!(window.count("ann", [1], START).is_ok());
        assert_eq!(window.left(&"ann", START), Ok(1));
        assert!(window.count("ann", [1], START).is_ok());
        assert_eq!(window.left(&"ann", START).unwrap_err().code(), Code::RateLimited);
        assert_eq!(window.count("ann", [1], START).unwrap_err().code(), Code::RateLimited);
        assert!(window.count("bob", [1], START).is_ok(), "one account does not limit another");
        let later = START + SignedDuration::from_secs(60);
        assert_eq!(window.left(&"ann", later), Ok(2));
        assert!(window.count("ann", [1], later).is_ok());
    }

    #[test]
    fn a_call_that_exceeds_one_of_two_limits_counts_for_none() {
        let rate = Rate { counts: [3, 100], within: SignedDuration::from_secs(1) };
        let window = RateWindow::new(Some(rate), ["too many orders", "too many tickets"]);
        let refused = |costs| window.count("ann", costs, START).unwrap_err().to_string();
        assert!(window.count("ann", [1, 60], START).is_ok());
        assert_eq!(refused([1, 41]), "Too many requests: too many tickets; try again in 2 s");
        assert!(window.count("ann", [1, 40], START).is_ok(), "the refused call took nothing");
        assert!(window.count("ann", [1, 0], START).is_ok());
        assert_eq!(refused([1, 0]), "Too many requests: too many orders; try again in 2 s");
    }

    #[test]
    fn without_a_rate_nothing_is_counted() {
        let window = RateWindow::<_, 1>::new(None, [""]);
        assert!((0..1000).all(|_| window.count((), [1], START).is_ok()));
        assert!(window.counts.lock().unwrap().is_empty());
    }

    #[test]
    fn a_flood_of_keys_locks_nobody_out_and_starts_nobody_anew() {
        let window = window(10);
        for _ in 0..9 {
            window.count(u32::MAX, [1], START).unwrap();
        }
        let mut largest = 0;
        for key in 0..4 * MAX_REMEMBERED as u32 {
            window.count(key, [1], START).unwrap();
            largest = largest.max(window.counts.lock().unwrap().len());
        }
        assert_eq!(largest, MAX_REMEMBERED);
        assert_eq!(window.left(&u32::MAX, START), Ok(1), "the guesses are still counted");
        // Only a flood that counts more evicts them: it has itself made as many guesses.
        assert_eq!(window.left(&7, START), Ok(10));
    }

    #[test]
    fn windows_that_are_over_make_room_first_and_then_the_older_ones() {
        let window = window(10);
        let (after, limit) = (SignedDuration::from_millis, MAX_REMEMBERED as u32);
        let fill = |keys: std::ops::Range<u32>, count, now: fn(u32) -> i64| {
            keys.for_each(|key| window.count(key, [count], after(now(key))).unwrap());
        };
        fill(0..limit / 2, 9, |_| 0);
        fill(limit / 2..limit, 1, |_| 1);
        window.count(limit, [1], after(60_000)).unwrap();
        assert_eq!(window.left(&(limit - 1), after(60_000)), Ok(9), "it counts less, and its window is open");
        assert_eq!(window.counts.lock().unwrap().len(), MAX_REMEMBERED / 2 + 1);

        fill(0..limit, 1, |key| 200_000 + i64::from(key) / 10);
        window.count(limit, [1], after(210_000)).unwrap();
        let left = |key| window.left(&key, after(210_000)).unwrap();
        assert_eq!([0, limit / 4, limit * 3 / 4, limit - 1].map(left), [10, 10, 9, 9]);
    }
}
