//! The middleware around every request: refuses it if this node does not serve, gives it an id and a span in the log,
//! logs how it ended, measures it, and sets the security headers. Never logs a header or a body, because they hold tokens
//! and passwords.

use std::time::Instant;

use actix_web::Error;
use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::Data;
use tracing::{Instrument, Span};
use uuid::Uuid;

use super::audit;
use super::connection::HandledRequest;
use super::error::{Code, Problem};
use super::head::{self, Unsent};
use super::metrics;
use super::state::State;
use crate::actors::lease::Admitted;
use crate::clock::Ids;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

thread_local! {
    static IDS: Ids = Ids::new();
}

/// Gives each request an id, sends the id with the response, and logs and measures how the request ended.
pub async fn trace(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let now = request.app_data::<Data<State>>().map(|state| state.clock.now()).unwrap_or_default();
    let id = IDS.with(|ids| ids.next(now));
    audit::keep_id(&request, id);
    let span = span(&request, id);
    let is_head = head::becomes_get(&mut request);
    let handled = HandledRequest::begin(&request);
    #[allow(clippy::disallowed_methods, reason = "how long it took, not the draw's time")]
    let started = Instant::now();
    let answer = async move {
        // Held until the request is handled: a service that stops waits for it.
        let admitted = admit(&request);
        let mut response = match &admitted {
            Ok(_) => next.call(request).await?.map_into_left_body(),
            Err(problem) => request.error_response(problem.clone()).map_into_right_body(),
        };
        let mut text = Uuid::encode_buffer();
        // A UUID is visible ASCII.
        if let Ok(value) = HeaderValue::from_str(id.hyphenated().encode_lower(&mut text)) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        set_security_headers(response.headers_mut());
        log_cause(&response, id);
        let (status, took) = (response.status().as_u16(), started.elapsed());
        tracing::debug!(status, ?took, "answered");
        drop(handled);
        metrics::measure(&response, took, |request| Some(&request.app_data::<Data<State>>()?.metrics));
        Ok(response.map_body(|_, body| match is_head {
            true => EitherBody::right(Unsent(body.size())),
            false => EitherBody::left(body),
        }))
    };
    answer.instrument(span).await
}

/// Admits a call of the API, or of the pages' session, if this node may serve. The other calls are about the node itself,
/// or are answered with files of the program.
fn admit(request: &ServiceRequest) -> Result<Option<Admitted>, Problem> {
    // The decoded path, by which the routes are found.
    let works = ["/api/v1", "/web/session"].iter().any(|scope| request.match_info().as_str().starts_with(scope));
    let Some(state) = request.app_data::<Data<State>>().filter(|_| works) else {
        return Ok(None);
    };
    match state.lease.admit() {
        Some(admitted) => Ok(Some(admitted)),
        None if state.lease.is_draining() => Err(Problem::standby()),
        None => Err(Problem::overloaded()),
    }
}

/// The span for what a request logs. Reads and orders are the most frequent requests, log nothing at `info`, and
/// would pay for a span each time. So their span exists only at `debug`.
fn span(request: &ServiceRequest, id: Uuid) -> Span {
    let (method, path) = (request.method(), request.path());
    if method == Method::GET || path.ends_with("/tickets") || path.ends_with("/pay") {
        tracing::debug_span!("request", %id, %method, path)
    } else {
        tracing::info_span!("request", %id, %method, path)
    }
}

/// Sets the headers that restrict what browsers do with a response (OWASP, REST Security Cheat Sheet). The pages
/// for browsers set their own content security policy and caching.
fn set_security_headers(headers: &mut HeaderMap) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if !headers.contains_key(header::CONTENT_SECURITY_POLICY) {
        let nothing = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
        headers.insert(header::CONTENT_SECURITY_POLICY, nothing);
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

/// Logs the cause of an error that is the service's, with its request.
fn log_cause(response: &ServiceResponse<impl MessageBody>, id: Uuid) {
    let problem = response.response().error().and_then(|error| error.as_error::<Problem>());
    let Some((problem, cause)) = problem.and_then(|problem| Some((problem, problem.cause()?))) else { return };
    let (method, path) = (response.request().method(), response.request().path());
    if problem.code() == Code::InternalError {
        tracing::error!(request = %id, %method, path, cause, "a request failed");
    } else {
        tracing::warn!(request = %id, %method, path, cause, "a request could not be served");
    }
}
