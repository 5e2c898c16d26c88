//! What a node answers that stands by: that it lives, whether it could take over, its metrics, the page of error codes, and
//! 503 to everything else. Knows nothing of draws and asks the database nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::HttpResponse;
use actix_web::guard::fn_guard;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::web::{self, ServiceConfig};

use super::error::Problem;
use super::{address, health, metrics, problems};

/// The state of a node that stands by.
pub struct Standby {
    /// Whether the node could take over if it had to.
    pub ready: Arc<AtomicBool>,
}

/// The routes of the main port while the node stands by.
pub fn standby_routes(config: &mut ServiceConfig) {
    let live = web::resource("/health/live").route(web::get().to(health::live));
    let problems = web::resource(problems::PAGE).route(web::get().to(problems::page));
    config.service(live).service(problems).default_service(web::to(stands_by));
}

/// The same with the metrics, for this machine only.
pub fn standby_routes_with_metrics(config: &mut ServiceConfig) {
    let metrics = web::resource("/metrics").guard(fn_guard(address::is_local));
    config.service(metrics.route(web::get().to(show_metrics)));
    standby_routes(config);
}

/// The routes of the admin address while the node stands by.
pub fn standby_admin_routes(config: &mut ServiceConfig) {
    config.service(web::resource("/metrics").route(web::get().to(show_metrics)));
    standby_routes(config);
}

async fn stands_by() -> Problem {
    Problem::standby()
}

async fn show_metrics(standby: web::Data<Standby>) -> HttpResponse {
    let text = HeaderValue::from_static(metrics::TEXT);
    let ready = standby.ready.load(Ordering::Relaxed);
    HttpResponse::Ok().insert_header((CONTENT_TYPE, text)).body(metrics::render_standby(ready))
}
