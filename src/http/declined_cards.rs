//! Limits how many cards may be declined, for each account and for each network: a thief who has a list of card numbers
//! tries which of them work. A card that is being charged counts too, until the provider has answered, since it may be
//! declined. A success does not count, and takes nothing back. A charge that the provider leaves open counts only once a
//! notice says that it was declined, and only for the account. Calls no provider.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::SignedDuration;

use super::error::Problem;
use super::rate_window::{Rate, RateWindow};
use crate::domain::id::UserId;

pub struct DeclinedCards {
    of_account: Arc<DeclineLimit<UserId>>,
    from_network: Arc<DeclineLimit<IpAddr>>,
}

/// A card that is being charged. It counts until this is dropped, and then only if it was declined.
pub struct CardAttempt {
    of_account: CardInFlight<UserId>,
    from_network: CardInFlight<IpAddr>,
}

impl DeclinedCards {
    /// The rate of each account, and of each network. `None`: no limits.
    pub fn new(rates: Option<(Rate, Rate)>) -> DeclinedCards {
        DeclinedCards {
            of_account: DeclineLimit::new(
                rates.map(|rates| rates.0),
                "too many cards of your account were declined or are being charged, but you can pay from the wallet \
                 (limits.declined_cards_per_hour)",
            ),
            from_network: DeclineLimit::new(
                rates.map(|rates| rates.1),
                "too many cards from your network were declined or are being charged, but you can pay from the wallet \
                 (limits.declined_cards_per_address)",
            ),
        }
    }

    /// Refuses if too many cards were declined or are being charged.
    pub fn begin(&self, user: UserId, network: IpAddr, now: SignedDuration) -> Result<CardAttempt, Problem> {
        let of_account = self.of_account.begin(user, now)?;
        Ok(CardAttempt { of_account, from_network: self.from_network.begin(network, now)? })
    }

    /// Counts a card that was declined after its attempt had ended. Its network is not known any more.
    pub fn declined_later(&self, user: UserId, now: SignedDuration) {
        // At the limit, one more makes no difference.
        let _ = self.of_account.declined.count(user, [1], now);
    }
}

impl CardAttempt {
    pub fn declined(mut self, now: SignedDuration) {
        self.of_account.declined_at = Some(now);
        self.from_network.declined_at = Some(now);
    }
}

struct DeclineLimit<K> {
    declined: RateWindow<K>,
    /// How many cards of each key are being charged. Bounded by the requests in flight.
    in_flight: Mutex<HashMap<K, u32>>,
}

struct CardInFlight<K: Copy + Eq + Hash> {
    limit: Arc<DeclineLimit<K>>,
    key: K,
    declined_at: Option<SignedDuration>,
}

impl<K: Copy + Eq + Hash> DeclineLimit<K> {
    fn new(rate: Option<Rate>, refusal: &'static str) -> Arc<DeclineLimit<K>> {
        Arc::new(DeclineLimit { declined: RateWindow::new(rate, [refusal]), in_flight: Mutex::default() })
    }

    fn begin(self: &Arc<DeclineLimit<K>>, key: K, now: SignedDuration) -> Result<CardInFlight<K>, Problem> {
        let mut in_flight = self.lock();
        let left = self.declined.left(&key, now)?;
        let count = in_flight.get(&key).copied().unwrap_or(0);
        if count >= left {
            return Err(self.declined.busy());
        }
        in_flight.insert(key, count + 1);
        Ok(CardInFlight { limit: self.clone(), key, declined_at: None })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, u32>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Eq + Hash> Drop for CardInFlight<K> {
    fn drop(&mut self) {
        // Both counts change under one lock: in between, another attempt would find a free place.
        let mut in_flight = self.limit.lock();
        if let Some(now) = self.declined_at {
            let _ = self.limit.declined.count(self.key, [1], now);
        }
        match in_flight.get_mut(&self.key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(in_flight.remove(&self.key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: UserId = UserId(1);
    const BOB: UserId = UserId(2);
    const HOUR: SignedDuration = SignedDuration::from_hours(1);

    fn limit(account: u32, network: u32) -> DeclinedCards {
        let rate = |count| Rate { counts: [count], within: HOUR };
        DeclinedCards::new(Some((rate(account), rate(network))))
    }

    fn home(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    #[test]
    fn declined_cards_and_those_in_flight_count_together() {
        let (cards, now) = (limit(3, 100), SignedDuration::ZERO);
        let begin = || cards.begin(ANN, home(1), now);
        begin().unwrap().declined(now);
        let in_flight = [begin().unwrap(), begin().unwrap()];
        let busy = begin().err().unwrap().to_string();
        assert!(busy.ends_with("(limits.declined_cards_per_hour); try again in 1 s"), "{busy}");
        assert!(cards.begin(BOB, home(1), now).is_ok());
        // What is not declined gives its place back, also if the request panics or is given up.
        drop(in_flight);
        let [one, two] = [begin().unwrap(), begin().unwrap()];
        one.declined(now);
        assert!(begin().is_err());
        two.declined(now);
        assert!(begin().err().unwrap().to_string().ends_with("try again in 3601 s"));
        assert!(cards.of_account.lock().is_empty() && cards.from_network.lock().is_empty());
        assert!(cards.begin(ANN, home(1), now + HOUR).is_ok());
    }

    #[test]
    fn the_cards_of_a_network_count_for_all_its_accounts() {
        let (cards, now) = (limit(2, 3), SignedDuration::ZERO);
        for user in [ANN, BOB, ANN] {
            cards.begin(user, home(1), now).unwrap().declined(now);
        }
        let refused = cards.begin(BOB, home(1), now).err().unwrap().to_string();
        assert!(refused.contains("limits.declined_cards_per_address"), "{refused}");
        // What the network refuses takes no place of the account.
        cards.begin(BOB, home(2), now).unwrap().declined(now);
        cards.declined_later(UserId(3), now);
        cards.declined_later(UserId(3), now);
        assert!(cards.begin(UserId(3), home(2), now).is_err());
    }

    #[test]
    fn without_limits_every_card_is_charged() {
        let cards = DeclinedCards::new(None);
        let begin = || cards.begin(ANN, home(1), SignedDuration::ZERO);
        (0..1000).for_each(|_| begin().unwrap().declined(SignedDuration::ZERO));
        let all: Vec<_> = (0..1000).map(|_| begin().unwrap()).collect();
        drop(all);
        assert!(cards.of_account.lock().is_empty());
    }
}
