//! The calls for the operator: health checks and metrics. `live` says that the process answers, `ready` that it
//! can serve requests.

use std::time::Duration;

use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::Problem;
use super::metrics::{Gauges, TEXT};
use super::state::State;
use crate::db::Db;
use crate::db::read::{finance, health};
use crate::domain::lottery::DrawStatus;

/// How long the metrics wait for the database.
const DATABASE_WAIT: Duration = Duration::from_secs(1);

/// The answer of a process that runs.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"status": "live"}))]
struct Liveness {
    /// Always `live`.
    status: &'static str,
}

/// The answer of a service that can serve requests.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"status": "ready", "clock_paused": false}))]
struct Readiness {
    /// Always `ready`.
    status: &'static str,
    /// The machine's clock was set, and draws do nothing by it. Requests are served all the same.
    clock_paused: bool,
}

/// Whether the process answers.
///
/// It asks the database nothing.
#[utoipa::path(
    get, path = "/health/live", tag = "operations", operation_id = "get_live",
    responses((status = 200, body = Liveness)),
)]
pub async fn live() -> HttpResponse {
    HttpResponse::Ok().json(Liveness { status: "live" })
}

/// Whether the service can serve requests.
///
/// It is the active node, the database answers, and its writer works. 503 if not.
#[utoipa::path(
    get, path = "/health/ready", tag = "operations", operation_id = "get_ready",
    responses((status = 200, body = Readiness), (status = "default", description = "overloaded standby internal_error")),
)]
pub async fn ready(state: web::Data<State>) -> Result<HttpResponse, Problem> {
    if state.lease.is_draining() {
        return Err(Problem::standby());
    }
    if !state.lease.is_held() {
        return Err(Problem::overloaded().because(Some("the lease has run out".to_owned())));
    }
    health::answers(&state.db).await?;
    if !state.persistence.is_ready() {
        return Err(Problem::overloaded().because(Some("the database does not answer the writer".to_owned())));
    }
    let paused = !state.clock.report().trusted;
    Ok(HttpResponse::Ok().json(Readiness { status: "ready", clock_paused: paused }))
}

/// The metrics of the service, for Prometheus.
///
/// On `server.admin_address` if it is set, otherwise for programs on the same machine. 404 to everybody else.
#[utoipa::path(
    get, path = "/metrics", tag = "operations", operation_id = "get_metrics",
    responses(
        (status = 200, body = String, content_type = "text/plain"),
        (status = "default", description = "not_found"),
    ),
)]
pub async fn metrics(state: web::Data<State>) -> HttpResponse {
    let (pool, clock) = (state.db.connections(), state.clock.report());
    let balances = tokio::time::timeout(DATABASE_WAIT, finance::house(&state.db));
    let (balances, synchronous_replication) = tokio::join!(balances, synchronous_replication(&state.db));
    let gauges = Gauges {
        active: state.lease.is_held() && !state.lease.is_draining(),
        orders_in_flight: state.draws.orders_in_flight(),
        charges_waiting: state.charges.waiting(),
        beacon_draws_waiting: state.snapshots.beacon_draws_waiting(clock.wall),
        draws: DrawStatus::ALL.map(|status| state.snapshots.count(status)),
        draws_stopped: state.snapshots.payouts_stopped(),
        balances: balances.ok().and_then(Result::ok).unwrap_or_default(),
        connections: [pool.open, pool.idle, pool.waited_for],
        synchronous_replication,
        clock_paused: !clock.trusted,
        clock_offset: clock.departure.as_secs_f64(),
        public_log_size: state.public_log.published().head.size,
        contradicted: state.public_log.is_contradicted(),
    };
    let text = HeaderValue::from_static(TEXT);
    HttpResponse::Ok().insert_header((CONTENT_TYPE, text)).body(state.metrics.render(&gauges))
}

/// `None`: the database has one host, so nothing can take over.
async fn synchronous_replication(db: &Db) -> Option<bool> {
    if !db.target().has_several_hosts() {
        return None;
    }
    let asked = tokio::time::timeout(DATABASE_WAIT, health::is_replication_synchronous(db));
    Some(asked.await.is_ok_and(|answer| answer.unwrap_or(false)))
}
