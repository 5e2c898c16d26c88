//! What the handlers work with: handles to the rooms below, shared by all workers.

use crate::actors::board::Board;
use crate::actors::draws::Draws;
use crate::actors::persistence::Persistence;
use crate::auth::{Hasher, Standings, Tokens};
use crate::cashier::Cashier;
use crate::clock::Clock;
use crate::db::Db;
use crate::domain::lottery::Lottery;
use crate::domain::money::Currency;

use super::address::Proxies;
use super::events::Watchers;
use super::export::Exports;
use super::idempotency::InFlight;
use super::limits::Limits;
use super::metrics::Metrics;
use super::rendered::Rendered;

/// One for the whole service.
pub struct State {
    pub db: Db,
    pub draws: Draws,
    pub persistence: Persistence,
    pub board: Board,
    pub clock: Clock,
    pub tokens: Tokens,
    /// How long a refresh token is good for.
    pub refresh_ttl: std::time::Duration,
    /// How long the right to set a password anew is good for.
    pub reset_ttl: std::time::Duration,
    pub hasher: Hasher,
    pub standings: Standings,
    /// As configured, in their order.
    pub lotteries: Vec<Lottery>,
    pub currency: Currency,
    pub cashier: Cashier,
    pub limits: Limits,
    pub proxies: Proxies,
    pub metrics: Metrics,
    pub keys: InFlight,
    pub exports: Exports,
    pub watchers: Watchers,
    pub rendered: Rendered,
}
