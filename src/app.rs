//! The whole service: reads the configuration, starts the modules from the lowest layer up and stops them in
//! the opposite order.

mod database;
mod lotteries;
mod sandbox;
mod servers;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::Arbiter;
use actix_web::web;
use jiff::SignedDuration;
use private_postgres::PostgresError;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::actors::audit::AuditCounts;
use crate::actors::draws::{self, Draws};
use crate::actors::housekeeping;
use crate::actors::lease::Lease;
use crate::actors::node::{self, Node, NodeError, NodeInfo};
use crate::actors::persistence::{self, Persistence, WriterMetrics};
use crate::actors::schedule::{self, DrawPlan};
use crate::actors::snapshots::DrawSnapshots;
use crate::auth::secret::{self, SecretFile};
use crate::auth::{
    AccessCache, Hasher, MAX_SESSIONS, MAX_USERS, PasswordPolicy, SecretError, SessionCache, Tokens,
};
use crate::charges::Charges;
use crate::clock::Clock;
use crate::config::{Config, ForwardedHeader, ProviderKind};
use crate::db::read::health;
use crate::db::{self, Db, DbError, Migrated, Target, TlsError};
use crate::domain::id::LotteryId;
use crate::domain::installation::{Installation, OtherInstallation, PaymentProvider};
use crate::domain::lottery::Lottery;
use crate::domain::money::{Currency, CurrencyError};
use crate::domain::user::SessionLifetimes;
use crate::http::{
    Exports, KeysInProgress, Metrics, Proxies, Rate, RateLimits, Rates, ResponseCache, State, Watchers,
};
use crate::payment::{self, Sandbox, Signing, Stripe};
use crate::version;

use lotteries::{lotteries, plans};
use servers::{Listeners, Servers};

pub use database::{Database, DatabaseUse};
pub use sandbox::StoredCharges;

/// How often the service checks whether its actors are alive.
const ALIVE_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Why the service could not start or did not stop cleanly.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("{0}{alternative}", alternative = alternative(.0))]
    Server(#[from] PostgresError),
    #[error("{key}: {cause}")]
    Url { key: &'static str, cause: tokio_postgres::Error },
    #[error("database.tls_ca: {0}")]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Database(#[from] DbError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("cannot take over the sandbox's charges in the file {}: {cause}", path.display())]
    SandboxFile { path: PathBuf, cause: std::io::Error },
    #[error("{key}: {what}")]
    Setting { key: String, what: String },
    #[error(
        "the database runs with {0} = off: a crash of its machine can lose or damage what was sold and answered. \
         Switch it on, or set database.allow_unsafe: true if nothing in this database is of value"
    )]
    UnsafeDatabase(String),
    #[error(transparent)]
    Installation(#[from] OtherInstallation),
    #[error(
        "database.owner_url is set, but the login of database.url, {0}, owns the tables, too, or is a superuser: \
         give the service a login of its own, which owns nothing"
    )]
    ServiceOwnsTables(String),
    #[error("cannot listen on {address}: {cause}")]
    Listen { address: String, cause: std::io::Error },
    #[error("the metrics cannot be set up: {0}")]
    Metrics(String),
    #[error(
        "the service stopped, because another node has declared it dead and serves in its place: start it again, and \
         it stands by"
    )]
    TakenOver,
    #[error("the service stopped: {0}")]
    Stopped(String),
}

/// What else an operator can do about the error: the crate of the private server does not know the configuration.
fn alternative(error: &PostgresError) -> &'static str {
    match error {
        PostgresError::NotInstalled { .. } => {
            ", or give the URL of a running server as database.url in config.yaml or as DATABASE_URL"
        }
        _ => "",
    }
}

impl From<NodeError> for AppError {
    fn from(error: NodeError) -> AppError {
        match error {
            NodeError::Database(error) => error.into(),
            NodeError::Dead => AppError::TakenOver,
        }
    }
}

/// The thread of the actors. It ends when this is dropped: a service that was not stopped (a start that failed, a
/// test) must not keep working.
struct ActorThread(Arbiter);

impl ActorThread {
    fn stop(&self) {
        self.0.stop();
    }
}

impl Drop for ActorThread {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The running service.
pub struct App {
    pub address: SocketAddr,
    /// Where the metrics are. `None`: on the main port.
    pub admin_address: Option<SocketAddr>,
    pub state: web::Data<State>,
    servers: Servers,
    /// The renewal of the lease, and the upkeep of the metrics. They end when this is dropped.
    tasks: JoinSet<()>,
    actors: ActorThread,
    /// The database, in sessions of this node.
    target: Target,
    database: Database,
    stop_wait: Duration,
}

impl App {
    /// Starts the service; it accepts requests when this returns. While another node is active on the database, this one
    /// stands by, for as long as it takes.
    pub async fn start(config: &Config, clock: Clock) -> Result<App, AppError> {
        let lotteries = lotteries(&config.lotteries)?;
        let plans = plans(&config.schedules, &lotteries)?;
        check_sandbox(config).await?;
        let database = Database::open(config, DatabaseUse::Serve).await?;
        App::start_on(database, config, lotteries, plans, clock).await
    }

    async fn start_on(
        database: Database,
        config: &Config,
        lotteries: Vec<Lottery>,
        plans: Vec<DrawPlan>,
        clock: Clock,
    ) -> Result<App, AppError> {
        check_durability(&database.target, config.database.allow_unsafe).await?;
        // Before the schema changes: an earlier version may work with the one that is there.
        db::check_no_earlier_service(&database.target).await?;
        match database.migrate().await? {
            Migrated::Applied(applied) => tracing::info!(applied, "the schema is up to date"),
            newer => tracing::warn!("{newer}"),
        }
        let listeners = Listeners::bind(config)?;
        let mut node = register(&database.target, &listeners).await?;
        let target = node.target().clone();
        let db = Db::new(&target, config.database.pool_size)?;
        warn_of_asynchronous_replication(&db).await?;
        // Before anything else is read, written or asked of the payment provider.
        let configured = installation(config)?;
        persistence::record_installation(&db, &configured, clock.now()).await?.verify(configured)?;

        let (jwt_secret, previous) = jwt_secrets(config)?;
        if previous.is_some() {
            tracing::info!("the previous jwt_secret verifies tokens too; remove it when these have expired");
        }
        let tokens = Tokens::new(&jwt_secret, previous.as_ref(), config.auth.access_token);
        let metrics = Metrics::new().map_err(|error| AppError::Metrics(error.to_string()))?;

        let mut standby = None;
        let (ready, exclusive) = (node.ready(), database.is_exclusive());
        let lease = node.become_active(exclusive, || {
            tracing::info!(address = %listeners.address(), "another node is active: this one stands by");
            standby = Some(Servers::stand_by(&listeners, ready)?);
            Ok::<_, AppError>(())
        });
        let lease = lease.await?;
        let (mut tasks, working) = (JoinSet::new(), Arc::new(OnceLock::new()));
        tasks.spawn(node.renew(lease.clone(), working.clone()));

        let thread = ActorThread(Arbiter::new());
        let arbiter = &thread.0;
        arbiter.spawn(clock.clone().watch());
        let Actors { draws, persistence, snapshots } =
            actors(arbiter, config, (&target, &lease), &db, &lotteries, &clock, metrics.writer()).await?;
        // From now on the lease is renewed only while they answer.
        let _ = working.set((draws.clone(), persistence.clone()));
        let currency = configured.currency;
        let held = lease.clone();
        let charges = Charges::new(
            provider(config, &clock, &db, &persistence).await?,
            Arc::new(move || held.is_held()),
            draws.clone(),
            persistence.clone(),
            db.clone(),
            clock.clone(),
            currency,
        );
        arbiter.spawn(charges.clone().reconcile());
        let audit = AuditCounts::default();
        arbiter.spawn(audit.clone().run(persistence.clone(), clock.clone()));
        arbiter.spawn(schedule::run(plans, draws.clone(), db.clone(), clock.clone()));
        let watchers = config.limits.enabled.then_some(config.limits.watchers_per_address.get() as usize);
        let state = State {
            lease,
            db,
            draws,
            persistence,
            snapshots,
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
            keys: KeysInProgress::default(),
            exports: Exports::default(),
            watchers: Watchers::new(watchers),
            response_cache: ResponseCache::default(),
        };
        let state = web::Data::new(state);
        let servers = Servers::start(config, &listeners, &state)?;
        if let Some(standby) = standby {
            standby.stop_at_once().await;
        }
        let (address, admin_address) = (servers.address, servers.admin_address);
        if let Some(address) = admin_address {
            tracing::info!(%address, "the admin address answers");
        }
        tracing::info!(%address, "the service answers");
        tasks.spawn(state.metrics.upkeep());
        let stop_wait = config.server.shutdown_timeout;
        Ok(App { address, admin_address, state, servers, tasks, actors: thread, target, database, stop_wait })
    }

    /// Waits for a failure that the service cannot recover from.
    pub async fn failed(&mut self) -> AppError {
        tokio::select! {
            () = self.state.lease.died() => AppError::TakenOver,
            () = self.database.lost() => AppError::Stopped("the private Postgres failed for good".to_owned()),
            what = actors_lost(&self.state) => AppError::Stopped(what.to_owned()),
            ended = self.servers.ended() => AppError::Stopped(format!("an HTTP server ended: {ended}")),
        }
    }

    /// Stops the service: it refuses new requests, answers those that it has, writes the records in the queue, gives its
    /// place to another node, and then stops the rest. A node that was declared dead just ends: it can write nothing
    /// more, and the node that took over knows what was written.
    pub async fn stop(mut self) -> Result<(), AppError> {
        tracing::info!("the service stops");
        self.state.watchers.close();
        if self.state.lease.is_dead() {
            self.servers.stop_at_once().await;
        } else {
            self.hand_over().await;
            self.servers.stop().await;
        }
        drop(self.actors);
        self.tasks.shutdown().await;
        // This closes the pool's connections.
        drop(self.state);
        self.database.close().await?;
        tracing::info!("the service has stopped");
        Ok(())
    }

    /// Handles the requests that are there, writes what they have decided, and leaves the place of the active node
    /// empty.
    async fn hand_over(&mut self) {
        let State { lease, persistence, audit, .. } = &**self.state;
        let written = async {
            lease.drain().await;
            persistence.flush().await;
            audit.write(persistence).await
        };
        match tokio::time::timeout(self.stop_wait, written).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "the last refused calls and failed log-ins are not in the audit log");
            }
            // The next active node finds out whether that transaction was committed.
            Err(_) => {
                tracing::warn!("requests or a transaction are still in progress: stopping without their end");
            }
        }
        // Nothing more is begun by a schedule or a clock.
        self.actors.stop();
        if let Err(error) = node::end(&self.target, lease.node()).await {
            let error = db::describe(&error);
            tracing::warn!(
                error,
                "the node could not leave its place: another one has to find out that it has ended"
            );
        }
    }
}

/// Makes this run of the service known as a node.
async fn register(database: &Target, listeners: &Listeners) -> Result<Node, AppError> {
    let host =
        nix::unistd::gethostname().map_or_else(|_| String::new(), |name| name.to_string_lossy().into_owned());
    let url = format!("http://{}", listeners.address());
    let info = NodeInfo { host: &host, url: &url, version: version::VERSION };
    Ok(Node::register(database, &info).await?)
}

/// Refuses a server that can lose what it has committed, unless the configuration allows it.
async fn check_durability(target: &Target, allow_unsafe: bool) -> Result<(), AppError> {
    let settings = db::unsafe_settings(target).await?.join(" = off and ");
    match settings.as_str() {
        "" => Ok(()),
        _ if allow_unsafe => {
            tracing::warn!(off = settings, "a crash of the database's machine can lose or damage what was sold");
            Ok(())
        }
        _ => Err(AppError::UnsafeDatabase(settings)),
    }
}

/// Without a synchronous standby, a failover loses what the standby did not have yet.
async fn warn_of_asynchronous_replication(db: &Db) -> Result<(), DbError> {
    if db.target().has_several_hosts() && !health::is_replication_synchronous(db).await? {
        tracing::warn!(
            "database.url has several hosts, but no commit waits for a standby: what was sold and answered is lost when \
             another host takes over. Set synchronous_standby_names (Patroni: synchronous_mode: true)"
        );
    }
    Ok(())
}

/// Refuses the sandbox on an address that other machines may reach, unless the configuration allows it: with its cards,
/// everybody fills a wallet.
async fn check_sandbox(config: &Config) -> Result<(), AppError> {
    if config.payments.provider != ProviderKind::Sandbox {
        return Ok(());
    }
    let (host, port) = (config.server.host.as_str(), config.server.port);
    let listen = |cause| AppError::Listen { address: format!("{host}:{port}"), cause };
    let mut addresses = tokio::net::lookup_host((host, port)).await.map_err(listen)?;
    if addresses.all(|address| address.ip().to_canonical().is_loopback()) {
        return Ok(());
    }
    if config.payments.allow_sandbox {
        tracing::warn!(host, "the sandbox is the payment provider: all money is play money");
        return Ok(());
    }
    Err(AppError::Setting {
        key: "payments.allow_sandbox".to_owned(),
        what: format!(
            "must be true (LOTTERY__PAYMENTS__ALLOW_SANDBOX=true) for the sandbox on server.host {host}, which other \
             machines may reach: its test cards let everybody pay in play money. For real money set \
             payments.provider: stripe"
        ),
    })
}

/// What the configuration says that this installation is.
fn installation(config: &Config) -> Result<Installation, AppError> {
    let is_test_key = |key: &SecretString| payment::is_live_key(key.expose_secret()) == Some(false);
    let provider = match config.payments.provider {
        ProviderKind::Sandbox => PaymentProvider::Sandbox,
        ProviderKind::Stripe if config.payments.stripe_key.as_ref().is_some_and(is_test_key) => {
            PaymentProvider::StripeTest
        }
        ProviderKind::Stripe => PaymentProvider::Stripe,
    };
    Ok(Installation { currency: currency(config)?, provider })
}

/// Waits until an actor has ended that nothing restarts; only a panic, a bug of ours, ends it.
async fn actors_lost(state: &State) -> &'static str {
    loop {
        tokio::time::sleep(ALIVE_CHECK_INTERVAL).await;
        if !state.persistence.is_alive() {
            return "the persistence actor has ended";
        }
        if !state.draws.is_alive() {
            return "the draw registry has ended";
        }
    }
}

/// The handles to the actors.
struct Actors {
    draws: Draws,
    persistence: Persistence,
    snapshots: DrawSnapshots,
}

/// Starts the actors on their own arbiter. Every draw that is not over is loaded when this returns.
async fn actors(
    arbiter: &Arbiter,
    config: &Config,
    (database, lease): (&Target, &Lease),
    db: &Db,
    lotteries: &[Lottery],
    clock: &Clock,
    meters: WriterMetrics,
) -> Result<Actors, AppError> {
    let limits = persistence::WriteLimits {
        batch: config.persistence.batch,
        queue: config.persistence.queue,
        deadline: config.persistence.deadline,
    };
    let options = draws::DrawOptions {
        in_flight: config.limits.orders_in_flight,
        open_reservations: config.limits.enabled.then_some(config.limits.open_reservations),
        pool_limit: config.tickets.pool_limit as usize,
        reservation: signed(config.tickets.reservation),
    };
    let keys_kept = signed(config.persistence.keys_kept);
    let (writer, lease, db, clock) = (database.clone(), lease.clone(), db.clone(), clock.clone());
    let currency = currency(config)?;
    let lottery_ids: Vec<LotteryId> = lotteries.iter().map(|lottery| lottery.rules.lottery.clone()).collect();
    let (ready, started) = oneshot::channel();
    arbiter.spawn(async move {
        let snapshots = DrawSnapshots::default();
        let persistence =
            Persistence::start(writer, lease, db.clone(), currency, snapshots.clone(), limits, meters);
        let start = async {
            persistence.ensure_lotteries(lottery_ids.iter()).await?;
            let draws = Draws::start(db, persistence.clone(), snapshots.clone(), clock.clone(), options).await?;
            actix::spawn(housekeeping::run(persistence.clone(), clock, keys_kept));
            Ok::<_, DbError>(draws)
        };
        let started = start.await.map(|draws| Actors { draws, persistence, snapshots });
        // The receiver may have given up the start.
        let _ = ready.send(started);
    });
    match started.await {
        Ok(started) => Ok(started?),
        Err(_) => Err(AppError::Stopped("the actors' thread ended".to_owned())),
    }
}

fn proxies(config: &Config) -> Proxies {
    let trusted = config.server.trusted_proxies.iter().map(|network| network.0).collect();
    Proxies::new(trusted, config.server.forwarded_header == ForwardedHeader::Forwarded)
}

/// The secret that signs tokens, and the one that signed them before it: the configured ones, or those stored in the
/// data directory. Where a secret is configured, the files have no say.
fn jwt_secrets(config: &Config) -> Result<(SecretString, Option<SecretString>), AppError> {
    let (current, previous) = (config.auth.jwt_secret.clone(), config.auth.jwt_secret_previous.clone());
    let Some(current) = current else {
        let stored = secret::load(&config.data_dir, SecretFile::PREVIOUS_TOKENS)?;
        return Ok((secret::load_or_create(&config.data_dir, SecretFile::TOKENS)?, previous.or(stored)));
    };
    Ok((current, previous))
}

/// The configured payment provider. The sandbox's webhook secret, if not configured, is generated and stored.
async fn provider(
    config: &Config,
    clock: &Clock,
    db: &Db,
    persistence: &Persistence,
) -> Result<Arc<dyn payment::Provider>, AppError> {
    let it = &config.payments;
    let secret = || match &it.webhook_secret {
        Some(secret) => Ok(secret.clone()),
        None => secret::load_or_create(&config.data_dir, SecretFile::WEBHOOKS),
    };
    let signing = Signing::new(secret()?);
    match it.provider {
        ProviderKind::Sandbox => {
            sandbox::take_over_files(&config.data_dir, db, persistence).await?;
            Ok(Arc::new(Sandbox::new(StoredCharges(persistence.clone()), signing)))
        }
        ProviderKind::Stripe => {
            let setting = |what: String| AppError::Setting { key: "payments.stripe_key".to_owned(), what };
            let key = it.stripe_key.clone().ok_or_else(|| setting("must be set for Stripe".to_owned()))?;
            let (clock, url) = (clock.clone(), &it.stripe_url);
            let stripe =
                Stripe::new(url, key, signing, move || clock.now()).map_err(|error| setting(error.to_string()))?;
            Ok(Arc::new(stripe))
        }
    }
}

fn rates(config: &Config) -> Rates {
    let rate = |count: std::num::NonZeroU32, within| Rate { counts: [count.get()], within };
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

/// Converts; the configuration's limits keep all durations far below the maximum.
fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

pub fn currency(config: &Config) -> Result<Currency, AppError> {
    let invalid = |error: CurrencyError| AppError::Setting { key: "currency".to_owned(), what: error.to_string() };
    config.currency.parse().map_err(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_postgres_it_says_what_to_do() {
        let sentence = AppError::from(PostgresError::NotInstalled { min_major: 14 }).to_string();
        for word in ["apt-get install postgresql", "database.url", "DATABASE_URL"] {
            assert!(sentence.contains(word), "{sentence}");
        }
    }
}
