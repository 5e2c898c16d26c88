//! The settings: their types, and the range of values that each accepts. Where they come from is in
//! `config/source.rs`.
//!
//! The settings are plain values. Only `app` and `cli` read them; `app` passes to each module the options
//! that it needs. The domain checks the rules of a lottery (k of n, the prize table); this file checks only
//! ranges.

mod connection;
mod fairness;
mod number;
mod proxies;
mod source;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio_postgres::config::SslMode;

use crate::auth::master_secret;
use crate::auth::secret::check_strength;
use crate::telemetry::{LogFilter, LogFormat};
pub use connection::connection;
pub use fairness::{ChainConfig, FairnessConfig, FairnessSetting};
use number::{count, duration, number, optional};
pub use proxies::{ForwardedHeader, Network};

/// The whole configuration. `config.yaml` explains each key and its unit.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub server: ServerConfig,
    pub data_dir: PathBuf,
    pub database: DatabaseConfig,
    pub auth: AuthConfig,
    pub security: SecurityConfig,
    /// A code as in ISO 4217: three capital letters.
    pub currency: String,
    pub tickets: TicketsConfig,
    pub wallet: WalletConfig,
    pub persistence: PersistenceConfig,
    pub limits: LimitsConfig,
    pub log: LogConfig,
    pub telemetry: TelemetryConfig,
    pub fairness: FairnessConfig,
    pub payments: PaymentsConfig,
    /// At least one lottery; their ids differ.
    pub lotteries: Vec<LotteryConfig>,
    pub schedules: Vec<ScheduleConfig>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    pub host: String,
    /// 0: the system chooses any free port.
    #[serde(deserialize_with = "number::<_, _, 0, 65535>")]
    pub port: u16,
    /// Where players reach the service, such as `https://lottery.example`. Only names it, as in the origins of the logs.
    pub public_url: Option<String>,
    /// Where the metrics are, as `host:port`. `None`: on the main port, for this machine only.
    pub admin_address: Option<String>,
    /// Shows the pages for players and admins.
    pub web: bool,
    /// Shows the documentation page and the OpenAPI document.
    pub docs: bool,
    /// 0: one for each core.
    #[serde(deserialize_with = "number::<_, _, 0, 1024>")]
    pub workers: usize,
    /// 0: half of the descriptors that the process may have.
    #[serde(deserialize_with = "number::<_, _, 0, 10_000_000>")]
    pub connections_per_address: usize,
    pub trusted_proxies: Vec<Network>,
    pub forwarded_header: ForwardedHeader,
    /// As browsers send them: scheme, host, and the port if it is not the default one.
    pub cors_origins: Vec<String>,
    #[serde(deserialize_with = "duration")]
    pub shutdown_timeout: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `None`: a private Postgres in the data directory. A secret, because it may contain a password.
    pub url: Option<SecretString>,
    /// The login of the tables' owner, which migrates and grants. `None`: the one of `url` migrates, if it can.
    pub owner_url: Option<SecretString>,
    /// A PEM file. `None`: the certificate authorities that the system trusts.
    pub tls_ca: Option<PathBuf>,
    #[serde(deserialize_with = "number::<_, _, 1, 1000>")]
    pub pool_size: usize,
    pub install: bool,
    /// Accepts a server that a crash can damage.
    pub allow_unsafe: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthConfig {
    /// A service has one if [`DatabaseConfig::url`] is set ([`Config::check_service_secrets`]).
    pub jwt_secret: Option<SecretString>,
    /// Another one than `jwt_secret`.
    pub jwt_secret_previous: Option<SecretString>,
    #[serde(deserialize_with = "duration")]
    pub access_token: Duration,
    #[serde(deserialize_with = "duration")]
    pub refresh_token: Duration,
    #[serde(deserialize_with = "duration")]
    pub session_max_age: Duration,
    #[serde(deserialize_with = "duration")]
    pub password_reset: Duration,
    /// 0: half of the cores.
    #[serde(deserialize_with = "number::<_, _, 0, 1024>")]
    pub hash_threads: usize,
    #[serde(deserialize_with = "number::<_, _, 0, 100_000>")]
    pub hash_queue: usize,
    /// Refuses common passwords, names of the user, and sequences, where a password is set.
    pub refuse_weak_passwords: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecurityConfig {
    /// Whether admins may order and pay for tickets.
    pub admins_play: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TicketsConfig {
    #[serde(deserialize_with = "duration")]
    pub reservation: Duration,
    #[serde(deserialize_with = "number::<_, _, 1, 10_000_000>")]
    pub pool_limit: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WalletConfig {
    /// In minor units.
    #[serde(deserialize_with = "number::<_, _, 1, 1_000_000_000_000>")]
    pub min_withdrawal: i64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersistenceConfig {
    #[serde(deserialize_with = "number::<_, _, 1, 10_000>")]
    pub batch: usize,
    #[serde(deserialize_with = "number::<_, _, 1, 1_000_000>")]
    pub queue: usize,
    #[serde(deserialize_with = "duration")]
    pub deadline: Duration,
    #[serde(deserialize_with = "duration")]
    pub keys_kept: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// Switches these limits off, but not `orders_in_flight`.
    pub enabled: bool,
    #[serde(deserialize_with = "count")]
    pub logins_per_minute: NonZeroU32,
    #[serde(deserialize_with = "count")]
    pub login_failures: NonZeroU32,
    #[serde(deserialize_with = "count")]
    pub login_failures_everywhere: NonZeroU32,
    #[serde(deserialize_with = "duration")]
    pub login_failure_window: Duration,
    #[serde(deserialize_with = "count")]
    pub registrations_per_hour: NonZeroU32,
    #[serde(deserialize_with = "count")]
    pub refreshes_per_minute: NonZeroU32,
    #[serde(deserialize_with = "count")]
    pub password_resets_per_minute: NonZeroU32,
    #[serde(deserialize_with = "count")]
    pub purchases_per_second: NonZeroU32,
    /// The largest order, of 100 tickets, must fit.
    #[serde(deserialize_with = "number::<_, _, 100, 1_000_000>")]
    pub tickets_per_second: u32,
    #[serde(deserialize_with = "count")]
    pub declined_cards_per_hour: NonZeroU32,
    #[serde(deserialize_with = "count")]
    pub declined_cards_per_address: NonZeroU32,
    #[serde(deserialize_with = "number::<_, _, 100, 1_000_000>")]
    pub open_reservations: usize,
    #[serde(deserialize_with = "count")]
    pub watchers_per_address: NonZeroU32,
    #[serde(deserialize_with = "number::<_, _, 1, 1_000_000>")]
    pub orders_in_flight: usize,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    pub level: LogFilter,
    pub format: LogFormat,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetryConfig {
    /// `None`: no traces, unless an environment variable of OpenTelemetry names a collector.
    pub otlp_endpoint: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaymentsConfig {
    pub provider: ProviderKind,
    /// A service has it for Stripe, and the next one, too ([`Config::check_service_secrets`]).
    pub webhook_secret: Option<SecretString>,
    pub stripe_key: Option<SecretString>,
    /// Everybody may see it. `None`: cards cannot be entered on the pages.
    pub stripe_publishable_key: Option<String>,
    /// Without a path; `https`, unless it is an address of this machine.
    pub stripe_url: String,
    /// Allows the sandbox on an address that other machines may reach.
    pub allow_sandbox: bool,
}

/// The payment provider.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub enum ProviderKind {
    Sandbox,
    Stripe,
}

impl TryFrom<String> for ProviderKind {
    type Error = &'static str;

    fn try_from(text: String) -> Result<ProviderKind, &'static str> {
        match text.as_str() {
            "sandbox" => Ok(ProviderKind::Sandbox),
            "stripe" => Ok(ProviderKind::Stripe),
            _ => Err("must be `sandbox` or `stripe`"),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LotteryConfig {
    /// `[a-z0-9_-]{1,32}`.
    pub id: String,
    pub name: String,
    #[serde(deserialize_with = "number::<_, _, 1, 63>")]
    pub pick: u8,
    #[serde(deserialize_with = "number::<_, _, 2, 64>")]
    pub of: u8,
    /// In minor units.
    #[serde(deserialize_with = "number::<_, _, 1, 1_000_000_000_000>")]
    pub price: i64,
    /// In basis points of the sales.
    #[serde(deserialize_with = "number::<_, _, 0, 10_000>")]
    pub fund_share: u16,
    /// Accepts guaranteed prizes that cost more than the fund receives, on average.
    #[serde(default)]
    pub allow_loss: bool,
    pub prizes: Vec<PrizeConfig>,
}

#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "PrizeText")]
pub struct PrizeConfig {
    pub matches: u8,
    pub pays: PaysConfig,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PaysConfig {
    /// The amount in minor units for each winner.
    Fixed(i64),
    /// Basis points of what the guaranteed prizes leave of the fund, divided among the winners; and the amount in
    /// minor units that each winner gets at least.
    Share { share: u16, minimum: Option<i64> },
}

/// A prize as the configuration has it: `{matches, fixed}` or `{matches, share, minimum}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PrizeText {
    #[serde(deserialize_with = "number::<_, _, 0, 64>")]
    matches: u8,
    #[serde(default, deserialize_with = "optional::<_, _, 1, 1_000_000_000_000>")]
    fixed: Option<i64>,
    #[serde(default, deserialize_with = "optional::<_, _, 0, 10_000>")]
    share: Option<u16>,
    #[serde(default, deserialize_with = "optional::<_, _, 1, 1_000_000_000_000>")]
    minimum: Option<i64>,
}

impl TryFrom<PrizeText> for PrizeConfig {
    type Error = &'static str;

    fn try_from(text: PrizeText) -> Result<PrizeConfig, &'static str> {
        let pays = match (text.fixed, text.share, text.minimum) {
            (Some(amount), None, None) => PaysConfig::Fixed(amount),
            (Some(_), None, Some(_)) => {
                return Err("`minimum` belongs to `share`: a fixed prize is guaranteed anyway");
            }
            (None, Some(share), minimum) => PaysConfig::Share { share, minimum },
            _ => return Err("must have either `fixed` or `share`"),
        };
        Ok(PrizeConfig { matches: text.matches, pays })
    }
}

/// Recurring draws of a lottery. The domain checks the pattern and the time zone.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleConfig {
    pub lottery: String,
    pub at: String,
    pub time_zone: String,
    /// How long before the draw the sale opens.
    #[serde(deserialize_with = "duration")]
    pub on_sale: Duration,
    /// How long before the draw the sale closes.
    #[serde(deserialize_with = "duration")]
    pub cut_off: Duration,
    #[serde(deserialize_with = "number::<_, _, 0, 10_000_000>")]
    pub pool: u32,
    #[serde(deserialize_with = "number::<_, _, 1, 100>")]
    pub ahead: usize,
}

/// Why the service cannot start with these settings. It never shows a secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {}: {cause}", path.display())]
    Unreadable { path: PathBuf, cause: std::io::Error },
    #[error("{origin} is not valid YAML: {cause}")]
    Syntax { origin: String, cause: String },
    /// Never empty; one line for each problem.
    #[error("{}", lines(.0))]
    Invalid(Vec<ConfigProblem>),
}

/// A setting with an invalid value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ConfigProblem {
    /// The key, such as `tickets.reservation` or `lotteries[0].price`, or the name of an environment
    /// variable.
    pub key: String,
    pub what: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.what)
    }
}

fn lines(problems: &[ConfigProblem]) -> String {
    problems.iter().map(ConfigProblem::to_string).collect::<Vec<_>>().join("\n")
}

/// How to make a secret that is not weak.
const MAKE_SECRET: &str = "make one with `openssl rand -base64 32`";

/// They are asked one after the other, so many would never all be asked.
const MAX_ENDPOINTS: usize = 16;
/// The name of a log contains the address.
const MAX_PUBLIC_URL: usize = 200;

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

impl Config {
    /// Checks what the types of the settings leave open, and reports all problems, not only the first.
    fn validate(self) -> Result<Config, ConfigError> {
        let mut check = Check::default();
        self.check_service(&mut check);
        self.check_secrets(&mut check);
        self.check_payments(&mut check);
        self.check_lotteries(&mut check);
        self.check_schedules(&mut check);
        check.end().map(|()| self)
    }

    /// Checks that the service has its secrets. The other commands need none of them.
    pub fn check_service_secrets(&self) -> Result<(), ConfigError> {
        let (mut check, it) = (Check::default(), &self.payments);
        let set = self.auth.jwt_secret.is_some() || self.database.url.is_none();
        check.that("auth.jwt_secret", set, "must be set along with database.url (LOTTERY__AUTH__JWT_SECRET)");
        if it.provider == ProviderKind::Stripe {
            check.that("payments.stripe_key", it.stripe_key.is_some(), "must be set for Stripe");
            check.that("payments.webhook_secret", it.webhook_secret.is_some(), "must be set for Stripe");
        }
        check.end()
    }

    fn check_service(&self, check: &mut Check) {
        check.that("server.host", !self.server.host.trim().is_empty(), "must not be empty");
        let admin = self.server.admin_address.as_deref().unwrap_or("localhost:0").rsplit_once(':');
        let whole = admin.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        check.that("server.admin_address", whole, "must be host:port, such as 127.0.0.1:9100");
        check.time("server.shutdown_timeout", self.server.shutdown_timeout, Duration::ZERO..=HOUR);
        let public = self.server.public_url.as_deref();
        let whole = public.is_none_or(|url| url.len() <= MAX_PUBLIC_URL && is_origin(url));
        check.that(
            "server.public_url",
            whole,
            "must be an address without a path, such as https://lottery.example",
        );
        for (i, origin) in self.server.cors_origins.iter().enumerate() {
            check.that(
                &format!("server.cors_origins[{i}]"),
                is_origin(origin),
                "must be an origin such as https://shop.example",
            );
        }
        let collector = self.telemetry.otlp_endpoint.as_deref().unwrap_or("http://");
        let has_scheme = collector.starts_with("http://") || collector.starts_with("https://");
        check.that("telemetry.otlp_endpoint", has_scheme, "must be like http://collector:4318");
        check.that("data_dir", !self.data_dir.as_os_str().is_empty(), "must not be empty");
        check.time("auth.access_token", self.auth.access_token, SECOND..=DAY);
        check.time("auth.refresh_token", self.auth.refresh_token, self.auth.access_token..=DAY * 400);
        check.time("auth.session_max_age", self.auth.session_max_age, self.auth.access_token..=DAY * 400);
        check.time("auth.password_reset", self.auth.password_reset, SECOND..=DAY * 30);
        let iso_4217 = self.currency.len() == 3 && self.currency.bytes().all(|b| b.is_ascii_uppercase());
        check.that("currency", iso_4217, "must be an ISO 4217 code such as RUB");
        check.time("tickets.reservation", self.tickets.reservation, MILLI..=DAY * 30);
        check.within("persistence.queue", self.persistence.queue, self.persistence.batch..=1_000_000);
        check.time("persistence.deadline", self.persistence.deadline, MILLI..=SECOND * 60);
        check.time("persistence.keys_kept", self.persistence.keys_kept, DAY..=DAY * 3650);
        check.time("fairness.margin", self.fairness.margin, SECOND * 10..=DAY);
        let endpoints = &self.fairness.beacon_endpoints;
        check.within("the number of fairness.beacon_endpoints", endpoints.len(), 0..=MAX_ENDPOINTS);
        for (i, endpoint) in endpoints.iter().enumerate() {
            check.that(
                &format!("fairness.beacon_endpoints[{i}]"),
                is_origin(endpoint),
                "must be an address without a path, such as https://api.drand.sh",
            );
        }
        check.time("limits.login_failure_window", self.limits.login_failure_window, SECOND..=DAY);
    }

    fn check_secrets(&self, check: &mut Check) {
        let (url, owner_url) = (self.database.url.as_ref(), self.database.owner_url.as_ref());
        let mut verifies = false;
        for (key, url) in [("database.url", url), ("database.owner_url", owner_url)] {
            let Some(url) = url else { continue };
            // The parser's own message might quote a part of the password.
            let parsed = connection(url.expose_secret());
            let what = "must be like postgres://user:password@host/name; sslmode is disable, prefer or require";
            check.that(key, parsed.is_ok(), what);
            verifies |= parsed.is_ok_and(|url| url.get_ssl_mode() == SslMode::Require);
        }
        let alone = owner_url.is_some() && url.is_none();
        check.that("database.owner_url", !alone, "needs database.url, the login with which the service works");
        let unused = self.database.tls_ca.is_some() && !verifies;
        check.that("database.tls_ca", !unused, "needs sslmode=require, or a host, in database.url");
        let (current, previous) = (&self.auth.jwt_secret, &self.auth.jwt_secret_previous);
        check.secret("auth.jwt_secret", current.as_ref(), MAKE_SECRET);
        check.secret("auth.jwt_secret_previous", previous.as_ref(), MAKE_SECRET);
        let same = current.as_ref().zip(previous.as_ref());
        let same = same.is_some_and(|(current, previous)| current.expose_secret() == previous.expose_secret());
        check.that("auth.jwt_secret_previous", !same, "is the same as auth.jwt_secret: set a new secret there");
        if let Some(Err(refused)) = self.fairness.master_secret.as_ref().map(master_secret::parse) {
            check.that("fairness.master_secret", false, &format!("{refused}: {MAKE_SECRET}"));
        }
    }

    fn check_payments(&self, check: &mut Check) {
        let it = &self.payments;
        let origin = match it.provider {
            ProviderKind::Sandbox => MAKE_SECRET,
            ProviderKind::Stripe => "Stripe shows it beside the webhook's endpoint (whsec_…)",
        };
        check.secret("payments.webhook_secret", it.webhook_secret.as_ref(), origin);
        let local = ["http://127.0.0.1:", "http://[::1]:", "http://localhost:"];
        let safe = it.stripe_url.starts_with("https://") || local.iter().any(|at| it.stripe_url.starts_with(at));
        let key = it.stripe_publishable_key.as_deref();
        let is_public = key.is_none_or(|key| key.starts_with("pk_"));
        check.that(
            "payments.stripe_publishable_key",
            is_public,
            "must be the publishable key, pk_…; all pages show it",
        );
        check.that("payments.stripe_url", safe, "must begin with https://");
    }

    fn check_schedules(&self, check: &mut Check) {
        for (i, schedule) in self.schedules.iter().enumerate() {
            let key = |name: &str| format!("schedules[{i}].{name}");
            let known = self.lotteries.iter().any(|lottery| lottery.id == schedule.lottery);
            check.that(&key("lottery"), known, "must be the id of one of the lotteries");
            check.time(&key("on_sale"), schedule.on_sale, SECOND..=DAY * 400);
            check.time(&key("cut_off"), schedule.cut_off, Duration::ZERO..=DAY * 30);
            let is_wide =
                self.fairness.mode == FairnessSetting::CommitReveal || schedule.cut_off >= self.fairness.margin;
            check.that(&key("cut_off"), is_wide, "must be fairness.margin or more with fairness.mode: beacon");
            check.within(&key("pool"), schedule.pool, 0..=self.tickets.pool_limit);
        }
    }

    fn check_lotteries(&self, check: &mut Check) {
        check.that("lotteries", !self.lotteries.is_empty(), "there must be at least one");
        let mut ids = HashSet::new();
        for (i, lottery) in self.lotteries.iter().enumerate() {
            let key = |name: &str| format!("lotteries[{i}].{name}");
            let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
            let named = (1..=32).contains(&lottery.id.len()) && lottery.id.chars().all(legal);
            check.that(&key("id"), named, "must be 1 to 32 characters of a-z, 0-9, `_` and `-`");
            check.that(&key("id"), ids.insert(&lottery.id), "is taken by another lottery");
            check.that(&key("name"), !lottery.name.trim().is_empty(), "must not be empty");
            check.that(
                &key("pick"),
                (1..lottery.of).contains(&lottery.pick),
                "must be at least 1 and less than `of`",
            );
        }
    }
}

/// Whether this is an origin as browsers send it: scheme, host, and a port if need be.
fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    host.is_some_and(|host| !host.is_empty() && host.chars().all(legal))
}

/// Collects the problems.
#[derive(Default)]
struct Check {
    problems: Vec<ConfigProblem>,
}

impl Check {
    fn end(self) -> Result<(), ConfigError> {
        if self.problems.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(self.problems)) }
    }

    fn that(&mut self, key: &str, holds: bool, what: &str) {
        if !holds {
            self.problems.push(ConfigProblem { key: key.to_owned(), what: what.to_owned() });
        }
    }

    /// Refuses a weak secret; `origin` says where to get a better one.
    fn secret(&mut self, key: &str, secret: Option<&SecretString>, origin: &str) {
        if let Some(Err(weak)) = secret.map(check_strength) {
            self.that(key, false, &format!("{weak}: {origin}"));
        }
    }

    fn within<T: PartialOrd + fmt::Display>(&mut self, key: &str, value: T, range: RangeInclusive<T>) {
        let what = format!("must be {} to {}, not {value}", range.start(), range.end());
        self.that(key, range.contains(&value), &what);
    }

    fn time(&mut self, key: &str, value: Duration, range: RangeInclusive<Duration>) {
        // A duration that jiff cannot represent is far above every range.
        let text = |d: Duration| format!("{:#}", SignedDuration::try_from(d).unwrap_or(SignedDuration::MAX));
        let what = format!("must be {} to {}, not {}", text(*range.start()), text(*range.end()), text(value));
        self.that(key, range.contains(&value), &what);
    }
}
