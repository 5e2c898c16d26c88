//! The state that all handlers share: handles to the layers below, and what HTTP keeps itself.

use crate::actors::audit::AuditCounts;
use crate::actors::draws::Draws;
use crate::actors::lease::Lease;
use crate::actors::persistence::Persistence;
use crate::actors::public_log::PublicLog;
use crate::actors::sales_history::SalesHistory;
use crate::actors::snapshots::DrawSnapshots;
use crate::auth::{AccessCache, Hasher, PasswordPolicy, SessionCache, Tokens};
use crate::charges::Charges;
use crate::clock::Clock;
use crate::db::Db;
use crate::domain::lottery::Lottery;
use crate::domain::money::Currency;
use crate::domain::user::SessionLifetimes;

use super::address::Proxies;
use super::idempotency::KeysInProgress;
use super::limits::RateLimits;
use super::metrics::Metrics;
use super::response_cache::ResponseCache;
use super::slots::{Exports, Watchers};
use super::web_files::Pages;

/// One for the whole service, shared by all workers.
pub struct State {
    pub lease: Lease,
    pub db: Db,
    pub draws: Draws,
    pub persistence: Persistence,
    pub snapshots: DrawSnapshots,
    pub sales_history: SalesHistory,
    pub public_log: PublicLog,
    pub clock: Clock,
    pub tokens: Tokens,
    pub session_lifetimes: SessionLifetimes,
    /// How long a token for a password reset is valid.
    pub reset_ttl: std::time::Duration,
    pub password_policy: PasswordPolicy,
    pub hasher: Hasher,
    pub sessions: SessionCache,
    pub access: AccessCache,
    /// Refused calls and failed log-ins that are not in the audit log yet.
    pub audit: AuditCounts,
    /// All lotteries, in the order of the configuration.
    pub lotteries: Vec<Lottery>,
    pub currency: Currency,
    /// The smallest withdrawal, in minor units.
    pub min_withdrawal: i64,
    /// Whether admins may order and pay for tickets.
    pub admins_play: bool,
    pub charges: Charges,
    pub limits: RateLimits,
    pub proxies: Proxies,
    pub metrics: Metrics,
    pub pages: Pages,
    pub keys: KeysInProgress,
    pub exports: Exports,
    pub watchers: Watchers,
    pub response_cache: ResponseCache,
}
