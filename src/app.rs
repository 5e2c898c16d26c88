//! The whole service: reads the configuration, starts the modules from the lowest layer up and stops them in
//! the opposite order.

mod database;
mod fairness;
mod log_keys;
mod lotteries;
mod sandbox;
mod servers;
mod settings;
mod state;
mod witnesses;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::Arbiter;
use actix_web::web;
use private_postgres::PostgresError;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::actors::audit::AuditCounts;
use crate::actors::draws::Draws;
use crate::actors::housekeeping;
use crate::actors::lease::Lease;
use crate::actors::node::{self, Node, NodeError, NodeInfo};
use crate::actors::persistence::{self, Persistence, WriterMetrics};
use crate::actors::public_log::{PublicLog, PublicLogError};
use crate::actors::schedule;
use crate::actors::snapshots::DrawSnapshots;
use crate::actors::witnesses::largest_seen;
use crate::auth::SecretError;
use crate::auth::master_secret::MasterSecretError;
use crate::auth::secret::{self, SecretFile};
use crate::beacon::RoundSource;
use crate::charges::Charges;
use crate::clock::Clock;
use crate::config::{Config, ProviderKind};
use crate::db::read::{health, public_log};
use crate::db::{self, Db, DbError, Target, TlsError};
use crate::domain::id::LotteryId;
use crate::domain::installation::OtherInstallation;
use crate::domain::lottery::Lottery;
use crate::domain::money::Currency;
use crate::domain::ticket_log::TicketLogs;
use crate::http::{Metrics, State};
use crate::payment::{self, Sandbox, Signing, Stripe};
use crate::version;

use log_keys::{SecretOrigin, log_keys};
use lotteries::{lotteries, plans};
use servers::{Ports, Servers};
use settings::{check_sandbox, draw_options, installation, signed, tokens, write_limits};
use state::{StartedParts, state};

pub use database::{Database, DatabaseUse};
pub use fairness::known_chains;
pub use log_keys::{existing_log_keys, ticket_logs_to_check};
pub use sandbox::StoredCharges;
pub use settings::currency;
pub use witnesses::configured as configured_policy;

/// How often the service checks whether its actors are alive.
const ALIVE_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How long a service that hands over waits for the payment provider. Nothing is sold meanwhile, and the node that takes
/// over ends the charges that are under way.
const PROVIDER_WAIT: Duration = Duration::from_millis(200);

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
    #[error(transparent)]
    StoredMasterSecret(#[from] MasterSecretError),
    #[error(
        "this database is recorded with a master secret, from which the keys of its logs and the seeds of its draws come, \
         and this service has none: {SAME_SECRET}"
    )]
    NoMasterSecret,
    #[error("the master secret of {0} is not the one that this database is recorded with: {SAME_SECRET}")]
    OtherMasterSecret(SecretOrigin),
    #[error("the service was never started on this database, so it has no logs")]
    NoLogs,
    #[error(transparent)]
    PublicLog(#[from] PublicLogError),
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
    /// The variable sets another address.
    #[error("cannot listen on {address}: {}", no_listener(address, variable, cause))]
    Listen { address: String, variable: &'static str, cause: std::io::Error },
    #[error("the HTTP server cannot be started: {0}")]
    HttpServer(std::io::Error),
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

/// Where the right master secret is.
const SAME_SECRET: &str = "copy the file log_master from the data_dir of the service that first served this database, or \
                           from its backup, into this data_dir, or set fairness.master_secret to it. All services on a \
                           database need the same one";

/// What else an operator can do about the error: the crate of the private server does not know the configuration.
fn alternative(error: &PostgresError) -> &'static str {
    match error {
        PostgresError::NotInstalled { .. } => {
            ", or give the URL of a running server as database.url in config.yaml or as DATABASE_URL"
        }
        PostgresError::NoCluster { .. } => "; is data_dir right? `lottery serve` makes a new one",
        _ => "",
    }
}

/// Why nothing can listen on the address.
fn no_listener(address: &str, variable: &str, cause: &std::io::Error) -> String {
    let port = address.rsplit(':').next().unwrap_or_default();
    match cause.kind() {
        ErrorKind::AddrInUse => format!("port {port} is in use; set {variable} to another one"),
        _ => cause.to_string(),
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
    /// The renewal of the lease, the upkeep of the metrics, and the history of sales. They end when this is dropped.
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
        fairness::terms(config)?;
        check_sandbox(config).await?;
        // Before a database is made or migrated.
        let ports = Ports::bind(config)?;
        let database = Database::open(config, DatabaseUse::Serve).await?;
        database.prepare(config.database.allow_unsafe).await?;
        let mut node = register(&database.target, &ports).await?;
        let target = node.target().clone();
        let db = Db::new(&target, config.database.pool_size)?;
        let currency = record_installation(config, &db, &clock).await?;
        let logs = TicketLogs::new(Arc::new(log_keys(config, &db, &clock).await?));
        let signer = logs.log_keys().public_log(public_log::key_generations(&db).await?);
        let policy = witnesses::configured(config, &signer)?;
        let witnesses = witnesses::clients(policy.as_deref(), signer.verifier())?;
        let tokens = tokens(config)?;
        let metrics = Metrics::new().map_err(|error| AppError::Metrics(error.to_string()))?;
        let rounds = fairness::round_source(config, metrics.beacon_failures())?;
        let (lease, standby) = become_active(&mut node, &ports, database.is_exclusive()).await?;
        let (mut tasks, working) = (JoinSet::new(), Arc::new(OnceLock::new()));
        tasks.spawn(node.renew(lease.clone(), working.clone()));

        let thread = ActorThread(Arbiter::new());
        let arbiter = &thread.0;
        arbiter.spawn(clock.clone().watch());
        let seen = largest_seen(&witnesses, &signer).await;
        let public_log = PublicLog::open(db.clone(), logs.log_keys(), &config.data_dir, policy, seen).await?;
        let actors = start_actors(
            arbiter,
            config,
            (&target, &lease),
            (&db, logs, public_log),
            &lotteries,
            &clock,
            (metrics.writer(), rounds),
        )
        .await?;
        // From now on the lease is renewed only while they answer.
        let _ = working.set((actors.draws.clone(), actors.persistence.clone()));
        let charges = charges(config, &actors, &lease, &db, &clock, currency).await?;
        arbiter.spawn(charges.clone().reconcile());
        arbiter.spawn(actors.public_log.clone().run(actors.persistence.clone(), clock.clone()));
        let of_log = (&db, &actors.public_log, &actors.persistence);
        tasks.spawn_local(witnesses::log_witnesses(witnesses, &metrics, of_log).await?.run());
        let audit = AuditCounts::default();
        arbiter.spawn(audit.clone().run(actors.persistence.clone(), clock.clone()));
        arbiter.spawn(schedule::run(plans, actors.draws.clone(), db.clone(), clock.clone()));

        let started =
            StartedParts { lease, db, actors, clock, tokens, audit, lotteries, currency, charges, metrics };
        let state = web::Data::new(state(config, started));
        let servers = Servers::start(config, &ports, &state)?;
        if let Some(standby) = standby {
            standby.stop_at_once().await;
        }
        let (address, admin_address) = (servers.address, servers.admin_address);
        tasks.spawn(state.metrics.upkeep());
        tasks.spawn(state.sales_history.clone().run(state.snapshots.clone()));
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
    /// empty. Until another node has taken it nothing is sold, so nothing here may take long.
    async fn hand_over(&mut self) {
        let State { lease, persistence, audit, charges, .. } = &**self.state;
        let (tell, has_standby) = oneshot::channel();
        let written = async {
            let mut drain = pin!(lease.drain());
            if tokio::time::timeout(PROVIDER_WAIT, &mut drain).await.is_err() {
                if has_standby.await == Ok(true) {
                    charges.hand_over();
                }
                drain.await;
            }
            tracing::info!("the last request is answered");
            persistence.flush().await;
            audit.write(persistence).await
        };
        // Meanwhile the session is opened that gives the place up.
        let written = tokio::time::timeout(self.stop_wait, written);
        let session = async {
            let session = node::open(&self.target).await?;
            // Nobody listens when all requests have been answered meanwhile.
            let _ = tell.send(node::has_standby(&session, lease.node()).await?);
            Ok::<_, DbError>(session)
        };
        let (written, session) = tokio::join!(written, session);
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "the last refused calls and failed log-ins are not in the audit log");
            }
            // The next active node finds out whether that transaction was committed.
            Err(_) => {
                tracing::warn!("requests or a transaction are still in progress: stopping without their end");
            }
        }
        // First the renewal of the lease, which would warn of actors that do not answer. The lease is long enough.
        self.tasks.shutdown().await;
        // Nothing more is begun by a schedule or a clock.
        self.actors.stop();
        let ended = async { node::end(&session?, lease.node()).await };
        match ended.await {
            Ok(()) => {
                lease.lost();
                tracing::info!("another node may take over");
            }
            Err(error) => {
                let error = db::describe(&error);
                tracing::warn!(
                    error,
                    "the node could not leave its place: another one has to find out that it has ended"
                );
            }
        }
        charges.hand_over();
    }
}

/// Makes this run of the service known as a node.
async fn register(database: &Target, ports: &Ports) -> Result<Node, AppError> {
    let host =
        nix::unistd::gethostname().map_or_else(|_| String::new(), |name| name.to_string_lossy().into_owned());
    let url = format!("http://{}", ports.address());
    let info = NodeInfo { host: &host, url: &url, version: version::VERSION };
    Ok(Node::register(database, &info).await?)
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

/// Records what this installation is, or compares it with the record, before anything else is read, written or asked of
/// the payment provider. Returns the currency.
async fn record_installation(config: &Config, db: &Db, clock: &Clock) -> Result<Currency, AppError> {
    warn_of_asynchronous_replication(db).await?;
    let configured = installation(config)?;
    persistence::record_installation(db, &configured, clock.now()).await?.verify(configured)?;
    Ok(configured.currency)
}

/// Waits until this node is the active one. While another one is, the returned servers answer.
async fn become_active(
    node: &mut Node,
    ports: &Ports,
    exclusive: bool,
) -> Result<(Lease, Option<Servers>), AppError> {
    let (ready, mut standby) = (node.ready(), None);
    let lease = node.become_active(exclusive, || {
        standby = Some(Servers::stand_by(ports, ready)?);
        tracing::info!(address = %ports.address(), "another node is active: this one stands by");
        Ok::<_, AppError>(())
    });
    let lease = lease.await?;
    Ok((lease, standby))
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
pub struct Actors {
    draws: Draws,
    persistence: Persistence,
    snapshots: DrawSnapshots,
    public_log: PublicLog,
}

/// Starts the actors on their own arbiter. Every draw that is not over is loaded when this returns.
async fn start_actors(
    arbiter: &Arbiter,
    config: &Config,
    (database, lease): (&Target, &Lease),
    (db, logs, public_log): (&Db, TicketLogs, PublicLog),
    lotteries: &[Lottery],
    clock: &Clock,
    (meters, rounds): (WriterMetrics, Arc<dyn RoundSource>),
) -> Result<Actors, AppError> {
    let (limits, options) = (write_limits(config), draw_options(config)?);
    let keys_kept = signed(config.persistence.keys_kept);
    let (writer, lease, db, clock) = (database.clone(), lease.clone(), db.clone(), clock.clone());
    let currency = currency(config)?;
    let lottery_ids: Vec<LotteryId> = lotteries.iter().map(|lottery| lottery.rules.lottery.clone()).collect();
    let (ready, started) = oneshot::channel();
    arbiter.spawn(async move {
        let snapshots = DrawSnapshots::default();
        let persistence =
            Persistence::start((writer, lease), db.clone(), currency, logs, snapshots.clone(), limits, meters);
        let start = async {
            persistence.ensure_lotteries(lottery_ids.iter()).await?;
            let read = (db, public_log.clone());
            let draws =
                Draws::start(read, persistence.clone(), snapshots.clone(), clock.clone(), options, rounds).await?;
            actix::spawn(housekeeping::run(persistence.clone(), clock, keys_kept));
            Ok::<_, DbError>(draws)
        };
        let started = start.await.map(|draws| Actors { draws, persistence, snapshots, public_log });
        // The receiver may have given up the start.
        let _ = ready.send(started);
    });
    match started.await {
        Ok(started) => Ok(started?),
        Err(_) => Err(AppError::Stopped("the actors' thread ended".to_owned())),
    }
}

/// The charges of cards, with the configured payment provider.
async fn charges(
    config: &Config,
    actors: &Actors,
    lease: &Lease,
    db: &Db,
    clock: &Clock,
    currency: Currency,
) -> Result<Charges, AppError> {
    let (lease, draws, persistence) = (lease.clone(), actors.draws.clone(), actors.persistence.clone());
    let provider = provider(config, clock, db, &persistence).await?;
    let may_act = Arc::new(move || lease.is_held());
    Ok(Charges::new(provider, may_act, draws, persistence, db.clone(), clock.clone(), currency))
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
