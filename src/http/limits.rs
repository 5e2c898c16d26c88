//! Rate limits: how often a client or an account may make calls that are expensive or that help to guess passwords.
//! A client is counted by its network (see [`super::address::network`]). The windows are of the time since the
//! machine's start, which nobody can set. Does not know which calls it limits.

use std::net::IpAddr;

use jiff::SignedDuration;
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::declined_cards::{CardAttempt, DeclinedCards};
use super::error::Problem;
use super::rate_window::RateWindow;
use crate::domain::id::UserId;
use crate::domain::record::short;

pub use super::rate_window::Rate;

/// The most users whose networks are remembered; those that are seldom needed are forgotten first. And the most
/// networks of each, the last ones.
const MAX_KNOWN_USERS: usize = 100_000;
const MAX_KNOWN_NETWORKS: usize = 8;

/// Every rate limit of the service.
pub struct RateLimits {
    logins: RateWindow<IpAddr>,
    login_failures: RateWindow<(GuessedAccount, IpAddr)>,
    login_failures_everywhere: RateWindow<GuessedAccount>,
    known_networks: KnownNetworks,
    registrations: RateWindow<IpAddr>,
    refreshes: RateWindow<IpAddr>,
    password_resets: RateWindow<IpAddr>,
    /// Orders, and their tickets.
    purchases: RateWindow<UserId, 2>,
    declined_cards: DeclinedCards,
}

/// The rates, as configured.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rates {
    pub logins: Rate,
    pub login_failures: Rate,
    pub login_failures_everywhere: Rate,
    pub registrations: Rate,
    pub refreshes: Rate,
    pub password_resets: Rate,
    /// Orders, and their tickets.
    pub purchases: Rate<2>,
    /// Of an account.
    pub declined_cards: Rate,
    /// From a network.
    pub declined_cards_nearby: Rate,
}

impl RateLimits {
    /// `None`: no limits.
    pub fn new(rates: Option<Rates>) -> RateLimits {
        RateLimits {
            logins: RateWindow::new(
                rates.map(|rates| rates.logins),
                ["too many log-ins from your network (limits.logins_per_minute)"],
            ),
            login_failures: RateWindow::new(
                rates.map(|rates| rates.login_failures),
                ["too many wrong passwords for this account from your network (limits.login_failures)"],
            ),
            login_failures_everywhere: RateWindow::new(
                rates.map(|rates| rates.login_failures_everywhere),
                [
                    "too many wrong passwords for this account; for now only networks from which its owner logged in \
                  before may log in (limits.login_failures_everywhere)",
                ],
            ),
            known_networks: KnownNetworks(Cache::new(MAX_KNOWN_USERS)),
            registrations: RateWindow::new(
                rates.map(|rates| rates.registrations),
                ["too many registrations from your network (limits.registrations_per_hour)"],
            ),
            refreshes: RateWindow::new(
                rates.map(|rates| rates.refreshes),
                ["too many refreshes and log-outs from your network (limits.refreshes_per_minute)"],
            ),
            password_resets: RateWindow::new(
                rates.map(|rates| rates.password_resets),
                ["too many password resets from your network (limits.password_resets_per_minute)"],
            ),
            purchases: RateWindow::new(
                rates.map(|rates| rates.purchases),
                [
                    "too many orders of your account (limits.purchases_per_second)",
                    "too many tickets of your account (limits.tickets_per_second)",
                ],
            ),
            declined_cards: DeclinedCards::new(
                rates.map(|rates| (rates.declined_cards, rates.declined_cards_nearby)),
            ),
        }
    }

    /// Counts a log-in from this network.
    pub fn login(&self, network: IpAddr, now: SignedDuration) -> Result<(), Problem> {
        self.logins.count(network, [1], now)
    }

    /// A password that a client tries. `user`: whose account it is, if anybody's.
    pub fn guess(&self, account: GuessedAccount, user: Option<UserId>, network: IpAddr) -> Guess<'_> {
        let is_known = user.is_some_and(|user| self.known_networks.has(user, network));
        Guess { limits: self, account, network, is_known }
    }

    /// Remembers a network from which a user proved who it is: wrong passwords from elsewhere do not lock it out.
    pub fn remember(&self, user: UserId, network: IpAddr) {
        self.known_networks.add(user, network);
    }

    /// Counts a registration from this network.
    pub fn registration(&self, network: IpAddr, now: SignedDuration) -> Result<(), Problem> {
        self.registrations.count(network, [1], now)
    }

    /// Counts a refresh of tokens or a log-out from this network.
    pub fn refresh(&self, network: IpAddr, now: SignedDuration) -> Result<(), Problem> {
        self.refreshes.count(network, [1], now)
    }

    /// Counts a password reset from this network.
    pub fn password_reset(&self, network: IpAddr, now: SignedDuration) -> Result<(), Problem> {
        self.password_resets.count(network, [1], now)
    }

    /// Counts an order of so many tickets by this account.
    pub fn purchase(&self, user: UserId, tickets: usize, now: SignedDuration) -> Result<(), Problem> {
        self.purchases.count(user, [1, u32::try_from(tickets).unwrap_or(u32::MAX)], now)
    }

    /// Refuses a card if too many of the user's, or from the network, were declined or are being charged.
    pub fn card(&self, user: UserId, network: IpAddr, now: SignedDuration) -> Result<CardAttempt, Problem> {
        self.declined_cards.begin(user, network, now)
    }

    /// Counts a card of this user that was declined after its request was answered.
    pub fn card_declined_later(&self, user: UserId, now: SignedDuration) {
        self.declined_cards.declined_later(user, now);
    }
}

/// The account whose password is tried.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum GuessedAccount {
    /// By a name, as a digest. Username and email address of one user are counted apart: otherwise the refusal of one
    /// name after guesses with the other would tell that they are one user's. A name that no user has counts alike.
    Named(Uuid),
    /// By a session of this user, so that others cannot use up these tries.
    LoggedIn(UserId),
}

impl GuessedAccount {
    /// The account with this name, in lower case. Names of any length take the same memory.
    pub fn named(name: &str) -> GuessedAccount {
        GuessedAccount::Named(short(Sha256::new().chain_update(name)))
    }
}

/// A password that a client tries. Failures are counted for the account and the client's network, and for the account
/// from everywhere; the latter refuses only networks from which its owner never logged in.
pub struct Guess<'a> {
    limits: &'a RateLimits,
    account: GuessedAccount,
    network: IpAddr,
    is_known: bool,
}

impl Guess<'_> {
    /// Refuses if too many failed. To be called before the password is checked, and after it again: of many guesses at
    /// the same time, no more than the limit get a result.
    pub fn check(&self, now: SignedDuration) -> Result<(), Problem> {
        self.limits.login_failures.left(&(self.account, self.network), now)?;
        if !self.is_known {
            self.limits.login_failures_everywhere.left(&self.account, now)?;
        }
        Ok(())
    }

    /// Counts that it failed. Refused if too many did: guesses may run at the same time.
    pub fn failed(&self, now: SignedDuration) -> Result<(), Problem> {
        self.limits.login_failures.count((self.account, self.network), [1], now)?;
        let everywhere = self.limits.login_failures_everywhere.count(self.account, [1], now);
        if self.is_known { Ok(()) } else { everywhere }
    }
}

/// The networks from which users proved who they are since the service started.
struct KnownNetworks(Cache<UserId, [Option<IpAddr>; MAX_KNOWN_NETWORKS]>);

impl KnownNetworks {
    fn has(&self, user: UserId, network: IpAddr) -> bool {
        self.0.get(&user).is_some_and(|networks| networks.contains(&Some(network)))
    }

    /// The last used ones come first.
    fn add(&self, user: UserId, network: IpAddr) {
        let mut networks = self.0.get(&user).unwrap_or_default();
        let place = networks.iter().position(|known| *known == Some(network)).unwrap_or(MAX_KNOWN_NETWORKS - 1);
        networks[..=place].rotate_right(1);
        networks[0] = Some(network);
        self.0.insert(user, networks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_networks_of_a_user_are_known() {
        let known = KnownNetworks(Cache::new(10));
        let (ann, bob) = (UserId(1), UserId(2));
        let network = |n: u8| IpAddr::from([10, 0, 0, n]);
        for n in 0..9 {
            known.add(ann, network(n));
            known.add(ann, network(1));
        }
        let have = |user| (0..9).filter(|n| known.has(user, network(*n))).collect::<Vec<_>>();
        assert_eq!(have(ann), [1, 2, 3, 4, 5, 6, 7, 8], "one that is used again is not forgotten");
        assert_eq!(have(bob), [0_u8; 0]);
    }
}
