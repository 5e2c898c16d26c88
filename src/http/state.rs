//! What the handlers work with: handles to the rooms below, shared by all workers.

use crate::actors::draws::Draws;
use crate::actors::persistence::Persistence;
use crate::actors::snapshots::DrawSnapshots;
use crate::auth::{AccessCache, Hasher, Tokens};
use crate::charges::Charges;
use crate::clock::Clock;
use crate::db::Db;
use crate::domain::lottery::Lottery;
use crate::domain::money::Currency;

use super::address::Proxies;
use super::idempotency::KeysInProgress;
use super::limits::RateLimits;
use super::metrics::Metrics;
use super::response_cache::ResponseCache;
use super::slots::{Exports, Watchers};

/// One for the whole service.
pub struct State {
    pub db: Db,
    pub draws: Draws,
    pub persistence: Persistence,
    pub snapshots: DrawSnapshots,
    pub clock: Clock,
    pub tokens: Tokens,
    /// How long a refresh token is good for.
    pub refresh_ttl: std::time::Duration,
    /// How long the right to set a password anew is good for.
    pub reset_ttl: std::time::Duration,
    pub hasher: Hasher,
    pub access: AccessCache,
    /// As configured, in their order.
    pub lotteries: Vec<Lottery>,
    pub currency: Currency,
    pub charges: Charges,
    pub limits: RateLimits,
    pub proxies: Proxies,
    pub metrics: Metrics,
    pub keys: KeysInProgress,
    pub exports: Exports,
    pub watchers: Watchers,
    pub response_cache: ResponseCache,
}
