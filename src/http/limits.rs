//! Rate limits: how often an address or an account may make calls that are expensive or that help to guess
//! passwords. Counts in fixed windows of the server's clock. Does not know which calls it limits.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::error::Problem;
use crate::domain::id::UserId;

/// The most addresses or accounts that one limit counts. When it is full, those whose window is over are dropped.
const MAX_REMEMBERED: usize = 100_000;

/// The number of calls that are allowed in a time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rate {
    pub count: u32,
    pub within: SignedDuration,
}

/// Every rate limit of the service.
pub struct RateLimits {
    logins: RateWindow<IpAddr>,
    login_failures: RateWindow<String>,
    registrations: RateWindow<IpAddr>,
    purchases: RateWindow<UserId>,
}

/// The rates, as configured.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rates {
    pub logins: Rate,
    pub login_failures: Rate,
    pub registrations: Rate,
    pub purchases: Rate,
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
    pub fn login(&self, address: IpAddr, now: Timestamp) -> Result<(), Problem> {
        self.logins.count(address, now)
    }

    /// Refuses an account whose log-ins failed too often.
    pub fn account(&self, account: &str, now: Timestamp) -> Result<(), Problem> {
        self.login_failures.look(account, now)
    }

    /// Counts a failed log-in to this account. Refused if the limit is exceeded: guesses may run at the same time.
    pub fn login_failed(&self, account: &str, now: Timestamp) -> Result<(), Problem> {
        self.login_failures.count(account.to_owned(), now)
    }

    /// Counts a registration from this address.
    pub fn registration(&self, address: IpAddr, now: Timestamp) -> Result<(), Problem> {
        self.registrations.count(address, now)
    }

    /// Counts a purchase by this account.
    pub fn purchase(&self, user: UserId, now: Timestamp) -> Result<(), Problem> {
        self.purchases.count(user, now)
    }
}

/// Counts calls by key. The window of a key begins with its first call.
struct RateWindow<K> {
    rate: Option<Rate>,
    counts: Mutex<HashMap<K, (u32, Timestamp)>>,
}

impl<K: Eq + Hash> RateWindow<K> {
    fn new(rate: Option<Rate>) -> RateWindow<K> {
        RateWindow { rate, counts: Mutex::default() }
    }

    /// Counts a call, or refuses it.
    fn count(&self, key: K, now: Timestamp) -> Result<(), Problem> {
        let Some(rate) = self.rate else { return Ok(()) };
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= MAX_REMEMBERED && !counts.contains_key(&key) {
            counts.retain(|_, (_, began)| now < *began + rate.within);
            if counts.len() >= MAX_REMEMBERED {
                // Too many keys to count each: all new ones are refused.
                return Err(Problem::rate_limited(seconds(rate.within)));
            }
        }
        let (count, began) = counts.entry(key).or_insert((0, now));
        if now >= *began + rate.within {
            (*count, *began) = (0, now);
        }
        if *count >= rate.count {
            return Err(Problem::rate_limited(seconds(*began + rate.within - now)));
        }
        *count += 1;
        Ok(())
    }

    /// Refuses if the next call would be refused. Counts nothing.
    fn look<Q: Eq + Hash + ?Sized>(&self, key: &Q, now: Timestamp) -> Result<(), Problem>
    where
        K: Borrow<Q>,
    {
        let Some(rate) = self.rate else { return Ok(()) };
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get(key) {
            Some((count, began)) if *count >= rate.count && now < *began + rate.within => {
                Err(Problem::rate_limited(seconds(*began + rate.within - now)))
            }
            _ => Ok(()),
        }
    }
}

/// Whole seconds, at least one.
fn seconds(left: impl TryInto<SignedDuration>) -> u64 {
    let left = left.try_into().unwrap_or(SignedDuration::ZERO);
    u64::try_from(left.as_secs()).unwrap_or(0) + 1
}

#[cfg(test)]
mod tests {
    use super::super::error::Code;
    use super::*;

    #[test]
    fn a_window_lets_so_many_through_and_opens_again() {
        let rate = Rate { count: 2, within: SignedDuration::from_secs(60) };
        let window = RateWindow::new(Some(rate));
        let start = Timestamp::UNIX_EPOCH;
        assert!(window.count("ann", start).is_ok());
        assert!(window.look(&"ann", start).is_ok());
        assert!(window.count("ann", start).is_ok());
        assert_eq!(window.look(&"ann", start).unwrap_err().code(), Code::RateLimited);
        assert_eq!(window.count("ann", start).unwrap_err().code(), Code::RateLimited);
        assert!(window.count("bob", start).is_ok(), "one account does not limit another");
        let later = start + SignedDuration::from_secs(60);
        assert!(window.look(&"ann", later).is_ok());
        assert!(window.count("ann", later).is_ok());
    }

    #[test]
    fn without_a_rate_nothing_is_counted() {
        let window = RateWindow::new(None);
        assert!((0..1000).all(|_| window.count((), Timestamp::UNIX_EPOCH).is_ok()));
    }
}
