//! The metrics of the service, for Prometheus. Each counter and histogram has a handle that is made once, so that
//! measuring is a few atomic additions. Gauges, and what concerns the process, are set only when somebody reads the
//! metrics.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::dev::ServiceResponse;
use actix_web::http::{Method, StatusCode};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Level, Metadata, Recorder, with_local_recorder};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusRecorder};
use metrics_process::Collector;

use super::live_metrics::{CommitLatency, ReadableGauge, RecentCommits};
use crate::actors::persistence::WriterMetrics;
use crate::actors::witnesses::WitnessMetrics;
use crate::db::read::finance::AccountKind;
use crate::domain::lottery::DrawStatus;
use crate::domain::money::Money;
use crate::version;

const REQUESTS: &str = "lottery_http_requests_total";
const REQUEST_SECONDS: &str = "lottery_http_request_seconds";
const BATCH: &str = "lottery_batch_records";
const COMMIT: &str = "lottery_commit_seconds";
const QUEUE: &str = "lottery_persistence_queue";
const SOLD: &str = "lottery_tickets_sold_total";
const LATE: &str = "lottery_late_charges_total";
const WAITING: &str = "lottery_charges_waiting";
const IN_FLIGHT: &str = "lottery_orders_in_flight";
const DRAWS: &str = "lottery_draws";
const DRAWS_STOPPED: &str = "lottery_draws_stopped";
const BALANCE: &str = "lottery_account_balance";
const BEACON_FAILURES: &str = "lottery_beacon_failures_total";
const BEACON_WAITING: &str = "lottery_beacon_draws_waiting";
const CONNECTIONS: &str = "lottery_pool_connections";
const REFUSED: &str = "lottery_http_connections_refused_total";
const SYNCHRONOUS: &str = "lottery_synchronous_replication";
const ACTIVE: &str = "lottery_active";
const STANDBY_READY: &str = "lottery_standby_ready";
const CLOCK_PAUSED: &str = "lottery_clock_paused";
const CLOCK_OFFSET: &str = "lottery_clock_offset_seconds";
const PUBLIC_LOG_SIZE: &str = "lottery_public_log_size";
const CONTRADICTED: &str = "lottery_public_log_contradicted";
const WITNESS_COSIGNED: &str = "lottery_witness_cosigned_size";
const WITNESS_FAILURES: &str = "lottery_witness_failures_total";
const BUILD: &str = "lottery_build_info";

const COUNTERS: [(&str, &str); 6] = [
    (REQUESTS, "Requests answered, by route."),
    (SOLD, "Tickets paid for."),
    (LATE, "Charges of cards whose money came too late and went into a wallet."),
    (BEACON_FAILURES, "Answers of the beacon's servers that gave no round."),
    (REFUSED, "Connections refused because their address had too many."),
    (WITNESS_FAILURES, "Requests to a witness of the public log that gave no cosignature."),
];
const HISTOGRAMS: [(&str, &str); 3] = [
    (REQUEST_SECONDS, "The time from a request to its response."),
    (BATCH, "Records in one batch of the writer."),
    (COMMIT, "The time from the begin of a batch to its commit."),
];
const GAUGES: [(&str, &str); 14] = [
    (QUEUE, "Records and steps in the queue of the writer."),
    (WAITING, "Charges of cards that wait for an admin."),
    (IN_FLIGHT, "Orders and payments in flight."),
    (BEACON_WAITING, "Draws with a beacon whose time has come and whose numbers are not drawn."),
    (DRAWS, "Draws by status: all active ones, and the newest thousand that are over."),
    (
        DRAWS_STOPPED,
        "Draws that pay nothing, because their sold tickets are not those that were sealed or published.",
    ),
    (
        BALANCE,
        "The balances of the accounts that are no player's, in minor units; NaN if the database does not answer.",
    ),
    (CONNECTIONS, "The pool of connections for reading."),
    (SYNCHRONOUS, "1 while commits wait for a standby, 0 while they do not or the database does not answer."),
    (CLOCK_PAUSED, "1 while the machine's clock is not trusted and draws do nothing by it."),
    (CLOCK_OFFSET, "How far the machine's clock is ahead of the expected time."),
    (PUBLIC_LOG_SIZE, "Entries of the public log that are published."),
    (
        CONTRADICTED,
        "1 after a witness has said that it cosigned more of the public log than there is, or other entries, and after the \
         database had entries that are not signed.",
    ),
    (WITNESS_COSIGNED, "Entries of the public log that a witness has cosigned, since the start."),
];
/// The gauges that a node has also while it stands by.
const NODE_GAUGES: [(&str, &str); 3] = [
    (ACTIVE, "1 while this node is the active one and may serve."),
    (STANDBY_READY, "1 while this node stands by and could take over."),
    (BUILD, "1, with the version of the program and the commit that it was built from."),
];

/// The media type of the text format for Prometheus.
pub const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds, in seconds and in records.
const SECONDS: [f64; 13] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
const RECORDS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// How often measured values are aggregated, so that they do not use more and more memory while nobody reads them.
const UPKEEP: Duration = Duration::from_secs(5);

const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

/// Figures that are read only when somebody asks for the metrics.
pub struct Gauges {
    /// Whether this node may serve.
    pub active: bool,
    pub orders_in_flight: usize,
    /// Charges that wait for an admin.
    pub charges_waiting: i64,
    /// For each status, in the order of [`DrawStatus::ALL`].
    pub draws: [usize; DrawStatus::ALL.len()],
    pub draws_stopped: usize,
    /// Draws with a beacon whose time has come and whose numbers are not drawn.
    pub beacon_draws_waiting: usize,
    /// Empty: the database does not answer.
    pub balances: Vec<(AccountKind, Money)>,
    /// Open, idle, waited for.
    pub connections: [usize; 3],
    /// `None`: the database has one host.
    pub synchronous_replication: Option<bool>,
    pub clock_paused: bool,
    /// In seconds.
    pub clock_offset: f64,
    /// The published entries of the public log.
    pub public_log_size: u64,
    /// Whether a witness or the database contradicts the public log.
    pub contradicted: bool,
}

/// The metrics of one service.
pub struct Metrics {
    recorder: PrometheusRecorder,
    process: Collector,
    commits: Arc<RecentCommits>,
    queue: Arc<ReadableGauge>,
    active: Gauge,
    in_flight: Gauge,
    waiting: Gauge,
    beacon_waiting: Gauge,
    draws: [Gauge; DrawStatus::ALL.len()],
    draws_stopped: Gauge,
    balances: [(AccountKind, Gauge); AccountKind::HOUSE.len()],
    /// Open, idle, waited for.
    connections: [Gauge; 3],
    clock_paused: Gauge,
    clock_offset: Gauge,
    public_log_size: Gauge,
    contradicted: Gauge,
}

impl Metrics {
    pub fn new() -> Result<Metrics, BuildError> {
        let exact = |name: &str| Matcher::Full(name.to_owned());
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(exact(REQUEST_SECONDS), &SECONDS)?
            .set_buckets_for_metric(exact(COMMIT), &SECONDS)?
            .set_buckets_for_metric(exact(BATCH), &RECORDS)?
            .build_recorder();
        let process = describe_node(&recorder);
        for (name, means) in COUNTERS {
            recorder.describe_counter(KeyName::from_const_str(name), None, means.into());
        }
        for (name, means) in HISTOGRAMS {
            recorder.describe_histogram(KeyName::from_const_str(name), None, means.into());
        }
        for (name, means) in GAUGES {
            recorder.describe_gauge(KeyName::from_const_str(name), None, means.into());
        }
        let labelled = |name, label, value| gauge(&recorder, &Key::from_parts(name, &[(label, value)]));
        let plain = |name| gauge(&recorder, &Key::from_static_name(name));
        // What has a recorder is no standby.
        plain(STANDBY_READY).set(0.0);
        let [active, in_flight, waiting, beacon_waiting, draws_stopped] =
            [ACTIVE, IN_FLIGHT, WAITING, BEACON_WAITING, DRAWS_STOPPED].map(plain);
        let draws = DrawStatus::ALL.map(|status| labelled(DRAWS, "status", status.as_str()));
        let balances = AccountKind::HOUSE.map(|kind| (kind, labelled(BALANCE, "account", kind.as_str())));
        let connections = ["open", "idle", "waited_for"].map(|state| labelled(CONNECTIONS, "state", state));
        let [clock_paused, clock_offset] = [CLOCK_PAUSED, CLOCK_OFFSET].map(plain);
        let all_commits = recorder.register_histogram(&Key::from_static_name(COMMIT), &METADATA);
        let (commits, queue) = (RecentCommits::new(all_commits), ReadableGauge::new(plain(QUEUE)));
        let [public_log_size, contradicted] = [PUBLIC_LOG_SIZE, CONTRADICTED].map(plain);
        Ok(Metrics {
            recorder,
            process,
            commits: Arc::new(commits),
            queue: Arc::new(queue),
            active,
            in_flight,
            waiting,
            beacon_waiting,
            draws,
            draws_stopped,
            balances,
            connections,
            clock_paused,
            clock_offset,
            public_log_size,
            contradicted,
        })
    }

    /// The handles for the persistence actor.
    pub fn writer(&self) -> WriterMetrics {
        let counter = |name| self.recorder.register_counter(&Key::from_static_name(name), &METADATA);
        WriterMetrics {
            batch: self.recorder.register_histogram(&Key::from_static_name(BATCH), &METADATA),
            commit: Histogram::from_arc(self.commits.clone()),
            queue: Gauge::from_arc(self.queue.clone()),
            sold: counter(SOLD),
            late: counter(LATE),
        }
    }

    /// How long the last commits took.
    pub fn commit_latency(&self) -> CommitLatency {
        self.commits.latency()
    }

    /// Records and steps in the queue of the writer.
    pub fn queue(&self) -> u64 {
        self.queue.value() as u64
    }

    /// Counts answers of the beacon's servers that gave no round.
    pub fn beacon_failures(&self) -> Counter {
        self.recorder.register_counter(&Key::from_static_name(BEACON_FAILURES), &METADATA)
    }

    /// The handles for a witness of the public log.
    pub fn witness(&self, name: &str) -> WitnessMetrics {
        let labels = [("witness", name.to_owned())];
        let failures = Key::from_parts(WITNESS_FAILURES, &labels);
        WitnessMetrics {
            cosigned: gauge(&self.recorder, &Key::from_parts(WITNESS_COSIGNED, &labels)),
            failures: self.recorder.register_counter(&failures, &METADATA),
        }
    }

    /// Counts connections that are refused.
    pub fn refused_connections(&self) -> Counter {
        self.recorder.register_counter(&Key::from_static_name(REFUSED), &METADATA)
    }

    /// Aggregates measured values from time to time, as long as the service runs.
    pub fn upkeep(&self) -> impl Future<Output = ()> + Send + 'static {
        let numbers = self.recorder.handle();
        async move {
            loop {
                tokio::time::sleep(UPKEEP).await;
                numbers.run_upkeep();
            }
        }
    }

    /// All metrics as text, with the gauges as they are at this moment.
    pub fn render(&self, gauges: &Gauges) -> String {
        self.active.set(f64::from(u8::from(gauges.active)));
        self.in_flight.set(gauges.orders_in_flight as f64);
        self.waiting.set(gauges.charges_waiting as f64);
        self.beacon_waiting.set(gauges.beacon_draws_waiting as f64);
        for (gauge, draws) in self.draws.iter().zip(gauges.draws) {
            gauge.set(draws as f64);
        }
        self.draws_stopped.set(gauges.draws_stopped as f64);
        for (kind, gauge) in &self.balances {
            let balance = gauges.balances.iter().find(|(of, _)| of == kind);
            gauge.set(balance.map_or(f64::NAN, |(_, balance)| balance.minor() as f64));
        }
        for (gauge, connections) in self.connections.iter().zip(gauges.connections) {
            gauge.set(connections as f64);
        }
        if let Some(synchronous) = gauges.synchronous_replication {
            gauge(&self.recorder, &Key::from_static_name(SYNCHRONOUS)).set(f64::from(u8::from(synchronous)));
        }
        self.clock_paused.set(f64::from(u8::from(gauges.clock_paused)));
        self.clock_offset.set(gauges.clock_offset);
        self.public_log_size.set(gauges.public_log_size as f64);
        self.contradicted.set(f64::from(u8::from(gauges.contradicted)));
        with_local_recorder(&self.recorder, || self.process.collect());
        self.recorder.handle().render()
    }

    fn series(&self, method: &'static str, route: String, status: StatusCode) -> Series {
        let labels = [("method", method.to_owned()), ("route", route)];
        let seconds = self.recorder.register_histogram(&Key::from_parts(REQUEST_SECONDS, &labels), &METADATA);
        let [method, route] = labels;
        let labels = [method, route, ("status", status.as_u16().to_string())];
        let requests = self.recorder.register_counter(&Key::from_parts(REQUESTS, &labels), &METADATA);
        Series { requests, seconds }
    }
}

/// The metrics of a node that stands by.
pub fn render_standby(ready: bool) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    let process = describe_node(&recorder);
    for (name, value) in [(ACTIVE, false), (STANDBY_READY, ready)] {
        gauge(&recorder, &Key::from_static_name(name)).set(f64::from(u8::from(value)));
    }
    with_local_recorder(&recorder, || process.collect());
    recorder.handle().render()
}

/// Describes what every node has, and says which program it is. Returns what collects the figures of the process.
fn describe_node(recorder: &PrometheusRecorder) -> Collector {
    for (name, means) in NODE_GAUGES {
        recorder.describe_gauge(KeyName::from_const_str(name), None, means.into());
    }
    let build =
        [("version", version::VERSION), ("commit", version::COMMIT), ("commit_date", version::COMMIT_DATE)];
    gauge(recorder, &Key::from_parts(BUILD, &build)).set(1.0);
    let process = Collector::default();
    with_local_recorder(recorder, || process.describe());
    process
}

fn gauge(recorder: &PrometheusRecorder, key: &Key) -> Gauge {
    recorder.register_gauge(key, &METADATA)
}

/// The metric handles of a route, one pair for each method and status. Each worker has its own handles, so that
/// the workers share only the counters behind them.
pub struct Route {
    /// False for the answers that are given before a request is routed, and for unknown addresses.
    is_resource: bool,
    known: RefCell<Vec<KnownSeries>>,
}

struct KnownSeries {
    method: &'static str,
    status: StatusCode,
    /// The pattern of a request that was not routed, if there is one.
    unrouted: Option<String>,
    series: Series,
}

struct Series {
    requests: Counter,
    seconds: Histogram,
}

impl Series {
    fn count(&self, took: Duration) {
        self.requests.increment(1);
        self.seconds.record(took);
    }
}

impl Route {
    pub fn new() -> Route {
        Route { is_resource: true, known: RefCell::default() }
    }

    /// The route of what reaches no resource: the address is unknown, or the request was refused before.
    pub fn nowhere() -> Route {
        Route { is_resource: false, ..Route::new() }
    }
}

/// Counts an answer for its route. `metrics` is asked for only when the route gives this answer for the first
/// time.
pub fn measure<'a, B>(
    answer: &'a ServiceResponse<B>,
    took: Duration,
    metrics: impl FnOnce(&'a HttpRequest) -> Option<&'a Metrics>,
) {
    let (request, status) = (answer.request(), answer.status());
    let Some(route) = request.app_data::<Route>() else { return };
    let method = name(request.method());
    // A request that a middleware refuses would have had a route: it is looked up as the router does, by the decoded
    // path. There are only so many patterns, whatever clients send.
    let unrouted = match route.is_resource {
        true => None,
        false => request.resource_map().match_pattern(request.match_info().as_str()),
    };
    let mut known = route.known.borrow_mut();
    let is_known = |it: &&KnownSeries| it.method == method && it.status == status && it.unrouted == unrouted;
    if let Some(known) = known.iter().find(is_known) {
        return known.series.count(took);
    }
    let Some(metrics) = metrics(request) else { return };
    let pattern = if route.is_resource { request.match_pattern() } else { unrouted.clone() };
    let series = metrics.series(method, pattern.unwrap_or_else(|| "none".to_owned()), status);
    series.count(took);
    known.push(KnownSeries { method, status, unrouted, series });
}

/// The method as a label. Unknown methods share one value, because clients may send any word as a method.
fn name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
