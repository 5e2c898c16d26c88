//! The metrics of the service, for Prometheus. Each counter and histogram has a handle that is made once, so that
//! measuring is a few atomic additions. Gauges are set only when somebody reads the metrics.

use std::cell::RefCell;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::dev::ServiceResponse;
use actix_web::http::{Method, StatusCode};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusRecorder};

use crate::actors::persistence::WriterMetrics;
use crate::domain::lottery::DrawStatus;

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
const CONNECTIONS: &str = "lottery_pool_connections";
const REFUSED: &str = "lottery_http_connections_refused_total";
const SYNCHRONOUS: &str = "lottery_synchronous_replication";
const ACTIVE: &str = "lottery_active";
const STANDBY_READY: &str = "lottery_standby_ready";
const CLOCK_PAUSED: &str = "lottery_clock_paused";
const CLOCK_OFFSET: &str = "lottery_clock_offset_seconds";

/// The media type of the text format for Prometheus.
pub const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const ACTIVE_MEANS: &str = "1 while this node is the active one and may serve.";
const STANDBY_READY_MEANS: &str = "1 while this node stands by and could take over.";

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
    /// Open, idle, waited for.
    pub connections: [usize; 3],
    /// `None`: the database has one host.
    pub synchronous_replication: Option<bool>,
    pub clock_paused: bool,
    /// In seconds.
    pub clock_offset: f64,
}

/// The metrics of one service.
pub struct Metrics {
    recorder: PrometheusRecorder,
    active: Gauge,
    in_flight: Gauge,
    waiting: Gauge,
    draws: [Gauge; DrawStatus::ALL.len()],
    /// Open, idle, waited for.
    connections: [Gauge; 3],
    clock_paused: Gauge,
    clock_offset: Gauge,
}

impl Metrics {
    pub fn new() -> Result<Metrics, BuildError> {
        let exact = |name: &str| Matcher::Full(name.to_owned());
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(exact(REQUEST_SECONDS), &SECONDS)?
            .set_buckets_for_metric(exact(COMMIT), &SECONDS)?
            .set_buckets_for_metric(exact(BATCH), &RECORDS)?
            .build_recorder();
        let describe = |name: &'static str| KeyName::from_const_str(name);
        recorder.describe_counter(describe(REQUESTS), None, "Requests answered, by route.".into());
        recorder.describe_histogram(
            describe(REQUEST_SECONDS),
            None,
            "The time from a request to its response.".into(),
        );
        recorder.describe_histogram(describe(BATCH), None, "Records in one batch of the writer.".into());
        recorder.describe_histogram(
            describe(COMMIT),
            None,
            "The time from the begin of a batch to its commit.".into(),
        );
        recorder.describe_gauge(describe(QUEUE), None, "Records and steps in the queue of the writer.".into());
        recorder.describe_counter(describe(SOLD), None, "Tickets paid for.".into());
        let late = "Charges of cards whose money came too late and went into a wallet.";
        recorder.describe_counter(describe(LATE), None, late.into());
        recorder.describe_gauge(describe(WAITING), None, "Charges of cards that wait for an admin.".into());
        recorder.describe_gauge(describe(IN_FLIGHT), None, "Orders and payments in flight.".into());
        let draws = "Draws by status: all active ones, and the newest thousand that are over.";
        recorder.describe_gauge(describe(DRAWS), None, draws.into());
        recorder.describe_gauge(describe(CONNECTIONS), None, "The pool of connections for reading.".into());
        let refused = "Connections refused because their address had too many.";
        recorder.describe_counter(describe(REFUSED), None, refused.into());
        let synchronous =
            "1 while commits wait for a standby, 0 while they do not or the database does not answer.";
        recorder.describe_gauge(describe(SYNCHRONOUS), None, synchronous.into());
        let paused = "1 while the machine's clock is not trusted and draws do nothing by it.";
        recorder.describe_gauge(describe(CLOCK_PAUSED), None, paused.into());
        let offset = "How far the machine's clock is ahead of the expected time.";
        recorder.describe_gauge(describe(CLOCK_OFFSET), None, offset.into());
        recorder.describe_gauge(describe(ACTIVE), None, ACTIVE_MEANS.into());
        recorder.describe_gauge(describe(STANDBY_READY), None, STANDBY_READY_MEANS.into());
        let gauge = |key: Key| recorder.register_gauge(&key, &METADATA);
        let active = gauge(Key::from_static_name(ACTIVE));
        // What has a recorder is no standby.
        gauge(Key::from_static_name(STANDBY_READY)).set(0.0);
        let in_flight = gauge(Key::from_static_name(IN_FLIGHT));
        let waiting = gauge(Key::from_static_name(WAITING));
        let draws = DrawStatus::ALL.map(|status| gauge(Key::from_parts(DRAWS, &[("status", status.as_str())])));
        let states = ["open", "idle", "waited_for"];
        let connections = states.map(|state| gauge(Key::from_parts(CONNECTIONS, &[("state", state)])));
        let [clock_paused, clock_offset] =
            [CLOCK_PAUSED, CLOCK_OFFSET].map(|name| gauge(Key::from_static_name(name)));
        Ok(Metrics { recorder, active, in_flight, waiting, draws, connections, clock_paused, clock_offset })
    }

    /// The handles for the persistence actor.
    pub fn writer(&self) -> WriterMetrics {
        let histogram = |name| self.recorder.register_histogram(&Key::from_static_name(name), &METADATA);
        let counter = |name| self.recorder.register_counter(&Key::from_static_name(name), &METADATA);
        WriterMetrics {
            batch: histogram(BATCH),
            commit: histogram(COMMIT),
            queue: self.recorder.register_gauge(&Key::from_static_name(QUEUE), &METADATA),
            sold: counter(SOLD),
            late: counter(LATE),
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
        for (gauge, draws) in self.draws.iter().zip(gauges.draws) {
            gauge.set(draws as f64);
        }
        for (gauge, connections) in self.connections.iter().zip(gauges.connections) {
            gauge.set(connections as f64);
        }
        if let Some(synchronous) = gauges.synchronous_replication {
            let gauge = self.recorder.register_gauge(&Key::from_static_name(SYNCHRONOUS), &METADATA);
            gauge.set(f64::from(u8::from(synchronous)));
        }
        self.clock_paused.set(f64::from(u8::from(gauges.clock_paused)));
        self.clock_offset.set(gauges.clock_offset);
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
    let gauges = [(ACTIVE, ACTIVE_MEANS, false), (STANDBY_READY, STANDBY_READY_MEANS, ready)];
    let lines = gauges.map(|(name, means, value)| {
        format!("# HELP {name} {means}\n# TYPE {name} gauge\n{name} {}\n", u8::from(value))
    });
    lines.concat()
}

/// The metric handles of a route, one pair for each method and status. Each worker has its own handles, so that
/// the workers share only the counters behind them.
pub struct Route {
    /// False for the route of all unknown addresses: they are counted together.
    leads: bool,
    known: RefCell<Vec<(&'static str, StatusCode, Series)>>,
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
        Route { leads: true, known: RefCell::default() }
    }

    /// The route of all unknown addresses.
    pub fn nowhere() -> Route {
        Route { leads: false, ..Route::new() }
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
    let mut known = route.known.borrow_mut();
    if let Some((.., series)) = known.iter().find(|(known, of, _)| *known == method && *of == status) {
        return series.count(took);
    }
    let Some(metrics) = metrics(request) else { return };
    let pattern = if route.leads { request.match_pattern() } else { None };
    let series = metrics.series(method, pattern.unwrap_or_else(|| "none".to_owned()), status);
    series.count(took);
    known.push((method, status, series));
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
