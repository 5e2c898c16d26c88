//! Makes the state of the HTTP handlers from what the start has made and from the settings. Starts nothing.

use std::num::NonZeroU32;

use jiff::SignedDuration;

use super::Actors;
use super::settings::signed;
use crate::actors::audit::AuditCounts;
use crate::actors::lease::Lease;
use crate::actors::sales_history::SalesHistory;
use crate::auth::{AccessCache, Hasher, MAX_SESSIONS, MAX_USERS, PasswordPolicy, SessionCache, Tokens};
use crate::charges::Charges;
use crate::clock::Clock;
use crate::config::{Config, ForwardedHeader, ProviderKind};
use crate::db::Db;
use crate::domain::lottery::Lottery;
use crate::domain::money::Currency;
use crate::domain::user::SessionLifetimes;
use crate::http::{
    CardEntry, Exports, KeysInProgress, Metrics, Pages, Proxies, Rate, RateLimits, Rates, ResponseCache, State,
    Watchers,
};

/// What the start has made for the handlers.
pub struct StartedParts {
    pub lease: Lease,
    pub db: Db,
    pub actors: Actors,
    pub clock: Clock,
    pub tokens: Tokens,
    pub audit: AuditCounts,
    pub lotteries: Vec<Lottery>,
    pub currency: Currency,
    pub charges: Charges,
    pub metrics: Metrics,
}

/// The state of the handlers.
pub fn state(config: &Config, started: StartedParts) -> State {
    let StartedParts { lease, db, actors, clock, tokens, audit, lotteries, currency, charges, metrics } = started;
    let watchers = config.limits.enabled.then_some(config.limits.watchers_per_address.get() as usize);
    State {
        lease,
        db,
        draws: actors.draws,
        persistence: actors.persistence,
        snapshots: actors.snapshots,
        sales_history: SalesHistory::default(),
        public_log: actors.public_log,
        clock,
        tokens,
        session_lifetimes: SessionLifetimes {
            unused: config.auth.refresh_token,
            age: config.auth.session_max_age,
        },
        reset_ttl: config.auth.password_reset,
        password_policy: PasswordPolicy { refuse_weak: config.auth.refuse_weak_passwords },
        hasher: Hasher::new(config.auth.hash_threads, config.auth.hash_queue),
        sessions: SessionCache::new(MAX_SESSIONS),
        access: AccessCache::new(MAX_USERS),
        audit,
        lotteries,
        currency,
        min_withdrawal: config.wallet.min_withdrawal,
        admins_play: config.security.admins_play,
        charges,
        limits: RateLimits::new(config.limits.enabled.then(|| rates(config))),
        proxies: proxies(config),
        metrics,
        pages: pages(config),
        keys: KeysInProgress::default(),
        exports: Exports::default(),
        watchers: Watchers::new(watchers),
        response_cache: ResponseCache::default(),
    }
}

fn pages(config: &Config) -> Pages {
    let cards = match config.payments.provider {
        ProviderKind::Sandbox => CardEntry::Sandbox,
        ProviderKind::Stripe => CardEntry::Stripe(config.payments.stripe_publishable_key.clone()),
    };
    Pages::new(cards)
}

fn proxies(config: &Config) -> Proxies {
    let trusted = config.server.trusted_proxies.iter().map(|network| network.0).collect();
    Proxies::new(trusted, config.server.forwarded_header == ForwardedHeader::Forwarded)
}

fn rates(config: &Config) -> Rates {
    let rate = |count: NonZeroU32, within| Rate { counts: [count.get()], within };
    let limits = &config.limits;
    Rates {
        logins: rate(limits.logins_per_minute, SignedDuration::from_mins(1)),
        login_failures: rate(limits.login_failures, signed(limits.login_failure_window)),
        login_failures_everywhere: rate(limits.login_failures_everywhere, signed(limits.login_failure_window)),
        registrations: rate(limits.registrations_per_hour, SignedDuration::from_hours(1)),
        refreshes: rate(limits.refreshes_per_minute, SignedDuration::from_mins(1)),
        password_resets: rate(limits.password_resets_per_minute, SignedDuration::from_mins(1)),
        purchases: Rate {
            counts: [limits.purchases_per_second.get(), limits.tickets_per_second],
            within: SignedDuration::from_secs(1),
        },
        declined_cards: rate(limits.declined_cards_per_hour, SignedDuration::from_hours(1)),
        declined_cards_nearby: rate(limits.declined_cards_per_address, SignedDuration::from_hours(1)),
    }
}
