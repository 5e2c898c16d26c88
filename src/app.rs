//! The whole service: alone knows every room, starts them from the ground up and stops them from the top
//! down.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::Arbiter;
use actix_cors::Cors;
use actix_web::dev::ServerHandle;
use actix_web::http::header;
use actix_web::middleware::{Condition, from_fn};
use actix_web::{App as HttpApp, HttpServer, web};
use jiff::SignedDuration;
use private_postgres::{PostgresError, PostgresServer};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::actors::draws::{self, Draws};
use crate::actors::housekeeping;
use crate::actors::persistence::{self, Persistence, WriterMetrics};
use crate::actors::schedule::{self, DrawPlan};
use crate::actors::snapshots::DrawSnapshots;
use crate::auth::secret::{self, SecretFile};
use crate::auth::{AccessCache, Hasher, SecretError, Tokens};
use crate::charges::Charges;
use crate::clock::Clock;
use crate::config::{Config, ForwardedHeader, LotteryConfig, PaysConfig, ProviderKind, ScheduleConfig};
use crate::db::read::users;
use crate::db::{self, Db, DbError, Target, TlsError};
use crate::domain::game::Game;
use crate::domain::id::LotteryId;
use crate::domain::lottery::{Lottery, Rules};
use crate::domain::money::{Currency, CurrencyError, Money, Share};
use crate::domain::prize::{Award, PrizeTable, Tier};
use crate::domain::schedule::{Schedule, ScheduleError};
use crate::http::{
    self, Exports, KeysInProgress, Metrics, Proxies, Rate, RateLimits, Rates, ResponseCache, State, Watchers,
};
use crate::payment::{self, Sandbox, SandboxError, Signing, Stripe};

/// Idle connections are kept for so long.
const KEEP_ALIVE: Duration = Duration::from_secs(90);
/// How long a client may take to send a request's head.
const HEAD_WAIT: Duration = Duration::from_secs(10);

/// How long a browser may remember what a page may do, in seconds.
const CORS_AGE: usize = 3600;

/// How often it is looked whether the actors are still there.
const WATCH: Duration = Duration::from_secs(1);

/// Why the service does not start, or did not stop as it should.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("{0}{alternative}", alternative = alternative(.0))]
    Server(#[from] PostgresError),
    #[error("database.url: {0}")]
    Url(tokio_postgres::Error),
    #[error("database.tls_ca: {0}")]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Database(#[from] DbError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error("{key}: {what}")]
    Setting { key: String, what: String },
    #[error("cannot listen on {host}:{port}: {cause}")]
    Listen { host: String, port: u16, cause: std::io::Error },
    #[error("the metrics cannot be set up: {0}")]
    Metrics(String),
    #[error("the service stopped by itself: {0}")]
    Died(String),
}

/// The crate of the private server does not know the configuration, so its error cannot tell what else to do.
fn alternative(error: &PostgresError) -> &'static str {
    match error {
        PostgresError::NotInstalled { .. } => {
            ", or give the URL of a running server as database.url in config.yaml or as DATABASE_URL"
        }
        _ => "",
    }
}

/// A database to work with: a server of our own, or somebody's by its URL.
pub struct Database {
    pub target: Target,
    server: Option<PostgresServer>,
}

/// Whether the private server is wanted for serving or for a subcommand beside it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DatabaseUse {
    Serve,
    Command,
}

impl Database {
    /// Connects to the configured database, or starts the private one.
    pub async fn open(config: &Config, used: DatabaseUse) -> Result<Database, AppError> {
        if let Some(url) = &config.database.url {
            let url = url.expose_secret().parse().map_err(AppError::Url)?;
            let target = Target::new(url, config.database.tls_ca.as_deref())?;
            return Ok(Database { target, server: None });
        }
        let mut options = db::private_server_options(&config.data_dir);
        options.install = config.database.install;
        let server = match used {
            DatabaseUse::Serve => PostgresServer::start(&options).await?,
            DatabaseUse::Command => PostgresServer::start_or_join(&options).await?,
        };
        Ok(Database { target: server.connection().into(), server: Some(server) })
    }

    /// Stops the private server, if this started it.
    pub async fn close(self) -> Result<(), AppError> {
        match self.server {
            Some(server) => Ok(server.stop().await?),
            None => Ok(()),
        }
    }

    /// Waits until the private server is lost for good; for ever, if there is none.
    async fn lost(&mut self) {
        match &mut self.server {
            Some(server) => server.lost().await,
            None => std::future::pending().await,
        }
    }
}

/// The running service.
pub struct App {
    pub address: SocketAddr,
    pub state: web::Data<State>,
    http: ServerHandle,
    serving: JoinHandle<std::io::Result<()>>,
    upkeep: JoinHandle<()>,
    arbiter: Arbiter,
    database: Database,
    stop_wait: Duration,
}

impl App {
    /// Starts the service; it answers when this returns.
    pub async fn start(config: &Config, clock: Clock) -> Result<App, AppError> {
        let lotteries = lotteries(&config.lotteries)?;
        let plans = plans(&config.schedules, &lotteries)?;
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
        let applied = db::migrate(&database.target).await?;
        tracing::info!(applied, "the schema is up to date");
        let jwt_secret = jwt_secret(config)?;
        let db = Db::new(&database.target, config.database.pool_size)?;

        let (tokens, now) = (Tokens::new(&jwt_secret, config.auth.access_token), clock.now());
        for session in users::sessions_ended(&db, now - signed(config.auth.access_token)).await? {
            tokens.revoke(session, now);
        }
        let metrics = Metrics::new().map_err(|error| AppError::Metrics(error.to_string()))?;

        let arbiter = Arbiter::new();
        let Actors { draws, persistence, snapshots } =
            actors(&arbiter, config, &database.target, &db, &lotteries, &clock, metrics.writer()).await?;
        let currency = currency(config)?;
        let charges = Charges::new(
            provider(config)?,
            draws.clone(),
            persistence.clone(),
            db.clone(),
            clock.clone(),
            currency,
        );
        arbiter.spawn(charges.clone().reconcile());
        arbiter.spawn(schedule::run(plans, draws.clone(), db.clone(), clock.clone()));
        let state = State {
            db,
            draws,
            persistence,
            snapshots,
            clock,
            tokens,
            refresh_ttl: config.auth.refresh_token,
            reset_ttl: config.auth.password_reset,
            hasher: Hasher::new(config.auth.hash_threads, config.auth.hash_queue),
            access: AccessCache::new(),
            lotteries,
            currency,
            charges,
            limits: RateLimits::new(config.limits.enabled.then(|| rates(config))),
            proxies: proxies(config),
            metrics,
            keys: KeysInProgress::default(),
            exports: Exports::default(),
            watchers: Watchers::default(),
            response_cache: ResponseCache::default(),
        };
        let state = web::Data::new(state);
        let (http, serving, address) = serve(config, state.clone())?;
        tracing::info!(%address, "the service answers");
        let upkeep = tokio::spawn(state.metrics.upkeep());
        let stop_wait = config.server.shutdown_timeout;
        Ok(App { address, state, http, serving, upkeep, arbiter, database, stop_wait })
    }

    /// Waits until something goes wrong for good.
    pub async fn failed(&mut self) -> AppError {
        tokio::select! {
            () = self.database.lost() => AppError::Died("the private Postgres is lost".to_owned()),
            what = actors_lost(&self.state) => AppError::Died(what.to_owned()),
            ended = &mut self.serving => AppError::Died(format!("HTTP ended: {ended:?}")),
        }
    }

    /// Stops: no new requests, those accepted are answered, what they decided is written, and then the
    /// rest goes.
    pub async fn stop(self) -> Result<(), AppError> {
        tracing::info!("the service stops");
        self.state.watchers.close();
        self.http.stop(true).await;
        if tokio::time::timeout(self.stop_wait, self.state.persistence.flush()).await.is_err() {
            // Its end is found out at the next start.
            tracing::warn!("the database does not answer: stopping with a transaction under way");
        }
        self.upkeep.abort();
        self.arbiter.stop();
        // The pool's connections end with it.
        drop(self.state);
        self.database.close().await?;
        tracing::info!("the service has stopped");
        Ok(())
    }
}

/// Waits until an actor that nobody starts again is gone: only a panic of ours takes it.
async fn actors_lost(state: &State) -> &'static str {
    loop {
        tokio::time::sleep(WATCH).await;
        if !state.persistence.is_alive() {
            return "the persistence actor is lost";
        }
        if !state.draws.is_alive() {
            return "the draw registry is lost";
        }
    }
}

/// The handles of the actors.
struct Actors {
    draws: Draws,
    persistence: Persistence,
    snapshots: DrawSnapshots,
}

/// Starts the actors on an arbiter of their own; every draw that is not over is loaded when this returns.
async fn actors(
    arbiter: &Arbiter,
    config: &Config,
    database: &Target,
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
        pool_limit: config.tickets.pool_limit as usize,
        reservation: signed(config.tickets.reservation),
    };
    let keys_kept = signed(config.persistence.keys_kept);
    let (writer, db, clock, currency) = (database.clone(), db.clone(), clock.clone(), currency(config)?);
    let known: Vec<LotteryId> = lotteries.iter().map(|lottery| lottery.rules.lottery.clone()).collect();
    let (ready, started) = oneshot::channel();
    arbiter.spawn(async move {
        let snapshots = DrawSnapshots::default();
        let persistence = Persistence::start(writer, db.clone(), currency, snapshots.clone(), limits, meters);
        let start = async {
            persistence.ensure_lotteries(known.iter()).await?;
            let draws = Draws::start(db, persistence.clone(), snapshots.clone(), clock.clone(), options).await?;
            actix::spawn(housekeeping::run(persistence.clone(), clock, keys_kept));
            Ok::<_, DbError>(draws)
        };
        let started = start.await.map(|draws| Actors { draws, persistence, snapshots });
        // The one who waits may have given up on starting.
        let _ = ready.send(started);
    });
    match started.await {
        Ok(started) => Ok(started?),
        Err(_) => Err(AppError::Died("the actors' thread ended".to_owned())),
    }
}

/// Starts to serve HTTP.
#[allow(clippy::type_complexity, reason = "three things that belong together once")]
fn serve(
    config: &Config,
    state: web::Data<State>,
) -> Result<(ServerHandle, JoinHandle<std::io::Result<()>>, SocketAddr), AppError> {
    let (host, port) = (config.server.host.clone(), config.server.port);
    let listen = |cause| AppError::Listen { host: host.clone(), port, cause };
    let origins = config.server.cors_origins.clone();
    let mut server = HttpServer::new(move || {
        HttpApp::new()
            .app_data(state.clone())
            .wrap(Condition::new(!origins.is_empty(), cors(&origins)))
            .wrap(from_fn(http::trace))
            .configure(http::routes)
    })
    .keep_alive(KEEP_ALIVE)
    .client_request_timeout(HEAD_WAIT)
    .shutdown_timeout(config.server.shutdown_timeout.as_secs())
    .disable_signals();
    if config.server.workers > 0 {
        server = server.workers(config.server.workers);
    }
    let server = server.bind((host.as_str(), port)).map_err(listen)?;
    // A server that is bound has an address.
    let address =
        server.addrs().first().copied().ok_or_else(|| listen(std::io::ErrorKind::AddrNotAvailable.into()))?;
    let server = server.run();
    Ok((server.handle(), tokio::spawn(server), address))
}

/// What browsers may do from pages of these origins. They send a token with each request, never a cookie.
fn cors(origins: &[String]) -> Cors {
    let cors = Cors::default()
        .allowed_methods(["GET", "POST", "PATCH", "DELETE"])
        .allowed_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
        .allowed_header("Idempotency-Key")
        .expose_headers([header::RETRY_AFTER, header::CONTENT_DISPOSITION])
        .expose_headers(["X-Request-Id", "Idempotency-Replayed"])
        .max_age(CORS_AGE);
    origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin))
}

fn proxies(config: &Config) -> Proxies {
    let trusted = config.server.trusted_proxies.iter().map(|network| network.0).collect();
    Proxies::new(trusted, config.server.forwarded_header == ForwardedHeader::Forwarded)
}

/// The configured secret, or the one that is kept in the data directory.
fn jwt_secret(config: &Config) -> Result<SecretString, AppError> {
    match &config.auth.jwt_secret {
        Some(secret) => Ok(secret.clone()),
        None => Ok(secret::load_or_create(&config.data_dir, SecretFile::TOKENS)?),
    }
}

/// The configured payment provider. Those of the sandbox that are not given are made and kept.
fn provider(config: &Config) -> Result<Arc<dyn payment::Provider>, AppError> {
    let it = &config.payments;
    let secret = || match &it.webhook_secret {
        Some(secret) => Ok(secret.clone()),
        None => secret::load_or_create(&config.data_dir, SecretFile::WEBHOOKS),
    };
    let signing = Signing::new(secret()?);
    match it.provider {
        ProviderKind::Sandbox => Ok(Arc::new(Sandbox::open(&config.data_dir, signing)?)),
        ProviderKind::Stripe => {
            let setting = |what: String| AppError::Setting { key: "payments.stripe_key".to_owned(), what };
            let key = it.stripe_key.clone().ok_or_else(|| setting("must be set for Stripe".to_owned()))?;
            let stripe = Stripe::new(&it.stripe_url, key, signing).map_err(|error| setting(error.to_string()))?;
            Ok(Arc::new(stripe))
        }
    }
}

fn rates(config: &Config) -> Rates {
    let rate = |count: std::num::NonZeroU32, within| Rate { count: count.get(), within };
    let limits = &config.limits;
    Rates {
        logins: rate(limits.logins_per_minute, SignedDuration::from_mins(1)),
        login_failures: rate(limits.login_failures, signed(limits.login_failure_window)),
        registrations: rate(limits.registrations_per_hour, SignedDuration::from_hours(1)),
        purchases: rate(limits.purchases_per_second, SignedDuration::from_secs(1)),
    }
}

/// The configuration bounds its durations far below this limit.
fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

pub fn currency(config: &Config) -> Result<Currency, AppError> {
    let invalid = |error: CurrencyError| AppError::Setting { key: "currency".to_owned(), what: error.to_string() };
    config.currency.parse().map_err(invalid)
}

/// The configured lotteries, judged by the rules of the domain.
fn lotteries(configured: &[LotteryConfig]) -> Result<Vec<Lottery>, AppError> {
    configured.iter().enumerate().map(|(index, it)| lottery(it, &format!("lotteries[{index}]"))).collect()
}

/// The configured schedules, judged by the rules of the domain.
fn plans(configured: &[ScheduleConfig], lotteries: &[Lottery]) -> Result<Vec<DrawPlan>, AppError> {
    configured.iter().enumerate().map(|(index, it)| plan(it, &format!("schedules[{index}]"), lotteries)).collect()
}

fn plan(it: &ScheduleConfig, key: &str, lotteries: &[Lottery]) -> Result<DrawPlan, AppError> {
    let setting = |name: &str, what: String| AppError::Setting { key: format!("{key}.{name}"), what };
    let lottery = lotteries.iter().find(|lottery| lottery.rules.lottery.0 == it.lottery);
    let rules = lottery.map(|lottery| lottery.rules.clone());
    let rules = rules.ok_or_else(|| setting("lottery", "there is no such lottery".to_owned()))?;
    let schedule = Schedule::new(&it.at, &it.time_zone, signed(it.on_sale), signed(it.cut_off));
    let schedule = schedule.map_err(|error| {
        let name = match error {
            ScheduleError::At(_) => "at",
            ScheduleError::Zone => "time_zone",
            ScheduleError::OnSale => "on_sale",
        };
        setting(name, error.to_string())
    })?;
    let combinations = rules.game.combinations();
    if u64::from(it.pool) > combinations {
        return Err(setting("pool", format!("there are only {combinations} combinations")));
    }
    Ok(DrawPlan { rules, schedule, pool: it.pool as usize, ahead: it.ahead })
}

fn lottery(it: &LotteryConfig, key: &str) -> Result<Lottery, AppError> {
    let setting = |name: &str, error: &dyn std::fmt::Display| AppError::Setting {
        key: format!("{key}.{name}"),
        what: error.to_string(),
    };
    let game = Game::new(it.pick, it.of).map_err(|error| setting("pick", &error))?;
    let fund_share = Share::new(it.fund_share).map_err(|error| setting("fund_share", &error))?;
    let mut tiers = Vec::new();
    for prize in &it.prizes {
        let award = match prize.pays {
            PaysConfig::Fixed(amount) => Award::Fixed(Money::new(amount)),
            PaysConfig::Share(share) => {
                Award::Shared(Share::new(share).map_err(|error| setting("prizes", &error))?)
            }
        };
        tiers.push(Tier { matches: prize.matches, award });
    }
    let prizes = PrizeTable::new(game, tiers).map_err(|error| setting("prizes", &error))?;
    let (lottery, price) = (LotteryId(it.id.clone()), Money::new(it.price));
    Ok(Lottery { name: it.name.clone(), rules: Rules { lottery, game, price, fund_share, prizes } })
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
