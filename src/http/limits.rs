//! Rate limits: how often an address or an account may make calls that are expensive or that help to guess
//! passwords. Counts in fixed windows of the time since the machine's start, which nobody can set. Does not know which calls it limits.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use jiff::SignedDuration;

use super::error::Problem;
use crate::domain::id::UserId;

/// The most addresses or accounts that one limit counts. When it is full, those whose window is over are dropped.
const MAX_REMEMBERED: usize = 100_000;

/// How much is allowed in a time, of each of the `N` things that a window counts. Most windows count calls alone.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rate<const N: usize = 1> {
    pub counts: [u32; N],
    pub within: SignedDuration,
}

/// Every rate limit of the service.
pub struct RateLimits {
    logins: RateWindow<IpAddr>,
    login_failures: RateWindow<String>,
    registrations: RateWindow<IpAddr>,
    /// Orders, and their tickets.
    purchases: RateWindow<UserId, 2>,
}

/// The rates, as configured.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rates {
    pub logins: Rate,
    pub login_failures: Rate,
    pub registrations: Rate,
    /// Orders, and their tickets.
    pub purchases: Rate<2>,
}

impl RateLimits {
    /// `None`: no limits.
    pub fn new(rates: Option<Rates>) -> RateLimits {
        RateLimits {
            logins: RateWindow::new(rates.map(|rates| rates.logins)),
            login_failures: RateWindow::new(rates.map(|rates| rates.login_failures)),
            registrations: RateWindow::new(rates.map(|rates| rates.registrations)),
            purchases: RateWindow::new(rates.map(|rates| rates.purchases)),
        }
    }

    /// Counts a log-in from this address.
    pub fn login(&self, address: IpAddr, now: SignedDuration) -> Result<(), Problem> {
        self.logins.count(address, [1], now)
    }

    /// Refuses an account whose log-ins failed too often.
    pub fn account(&self, account: &str, now: SignedDuration) -> Result<(), Problem> {
        self.login_failures.look(account, now)
    }

    /// Counts a failed log-in to this account. Refused if the limit is exceeded: guesses may run at the same time.
    pub fn login_failed(&self, account: &str, now: SignedDuration) -> Result<(), Problem> {
        self.login_failures.count(account.to_owned(), [1], now)
    }

    /// Counts a registration from this address.
    pub fn registration(&self, address: IpAddr, now: SignedDuration) -> Result<(), Problem> {
        self.registrations.count(address, [1], now)
    }

    /// Counts an order of so many tickets by this account.
    pub fn purchase(&self, user: UserId, tickets: usize, now: SignedDuration) -> Result<(), Problem> {
        self.purchases.count(user, [1, u32::try_from(tickets).unwrap_or(u32::MAX)], now)
    }
}

/// Counts by key. The window of a key begins with its first call.
struct RateWindow<K, const N: usize = 1> {
    rate: Option<Rate<N>>,
    counts: Mutex<HashMap<K, ([u32; N], SignedDuration)>>,
}

impl<K: Eq + Hash, const N: usize> RateWindow<K, N> {
    fn new(rate: Option<Rate<N>>) -> RateWindow<K, N> {
        RateWindow { rate, counts: Mutex::default() }
    }

    /// Counts what a call costs. If one of the counts would exceed its limit, it is refused and counts nothing.
    fn count(&self, key: K, costs: [u32; N], now: SignedDuration) -> Result<(), Problem> {
        let Some(rate) = self.rate else { return Ok(()) };
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= MAX_REMEMBERED && !counts.contains_key(&key) {
            counts.retain(|_, (_, began)| now < *began + rate.within);
            if counts.len() >= MAX_REMEMBERED {
                // Too many keys to count each: all new ones are refused.
                return Err(Problem::rate_limited(seconds(rate.within)));
            }
        }
        let (counted, began) = counts.entry(key).or_insert(([0; N], now));
        if now >= *began + rate.within {
            (*counted, *began) = ([0; N], now);
        }
        let sums: [u32; N] = std::array::from_fn(|i| counted[i].saturating_add(costs[i]));
        if sums.iter().zip(rate.counts).any(|(sum, limit)| *sum > limit) {
            return Err(Problem::rate_limited(seconds(*began + rate.within - now)));
        }
        *counted = sums;
        Ok(())
    }
}

impl<K: Eq + Hash> RateWindow<K> {
    /// Refuses if the next call would be refused. Counts nothing.
    fn look<Q: Eq + Hash + ?Sized>(&self, key: &Q, now: SignedDuration) -> Result<(), Problem>
    where
        K: Borrow<Q>,
    {
        let Some(rate) = self.rate else { return Ok(()) };
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get(key) {
            Some((counted, began)) if counted[0] >= rate.counts[0] && now < *began + rate.within => {
                Err(Problem::rate_limited(seconds(*began + rate.within - now)))
            }
            _ => Ok(()),
        }
    }
}

/// Whole seconds, at least one.
fn seconds(left: SignedDuration) -> u64 {
    u64::try_from(left.as_secs()).unwrap_or(0) + 1
}

#[cfg(test)]
mod tests {
    use super::super::error::Code;
    use super::*;

    #[test]
    fn a_window_lets_so_many_through_and_opens_again() {
        let rate = Rate { counts: [2], within: SignedDuration::from_secs(60) };
        let window = RateWindow::new(Some(rate));
        let start = SignedDuration::ZERO;
        assert!(window.count("ann", [1], start).is_ok());
        assert!(window.look(&"ann", start).is_ok());
        assert!(window.count("ann", [1], start).is_ok());
        assert_eq!(window.look(&"ann", start).unwrap_err().code(), Code::RateLimited);
        assert_eq!(window.count("ann", [1], start).unwrap_err().code(), Code::RateLimited);
        assert!(window.count("bob", [1], start).is_ok(), "one account does not limit another");
        let later = start + SignedDuration::from_secs(60);
        assert!(window.look(&"ann", later).is_ok());
        assert!(window.count("ann", [1], later).is_ok());
    }

    #[test]
    fn a_call_that_exceeds_one_of_two_limits_counts_for_none() {
        let window = RateWindow::new(Some(Rate { counts: [3, 100], within: SignedDuration::from_secs(1) }));
        let start = SignedDuration::ZERO;
        assert!(window.count("ann", [1, 60], start).is_ok());
        assert_eq!(window.count("ann", [1, 41], start).unwrap_err().code(), Code::RateLimited);
        assert!(window.count("ann", [1, 40], start).is_ok(), "the refused call took nothing");
        assert!(window.count("ann", [1, 0], start).is_ok());
        assert_eq!(window.count("ann", [1, 0], start).unwrap_err().code(), Code::RateLimited);
    }

    #[test]
    fn without_a_rate_nothing_is_counted() {
        let window = RateWindow::<_, 1>::new(None);
        assert!((0..1000).all(|_| window.count((), [1], SignedDuration::ZERO).is_ok()));
    }
}
