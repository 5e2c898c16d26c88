//! A request's id, its span in the log, and the line that says how it ended. Never logs a header or a
//! body: tokens and passwords travel in them.

use std::time::Instant;

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use tracing::{Instrument, Span};
use uuid::Uuid;

use super::error::{Code, Problem};
use super::state::State;
use crate::clock::Ids;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

thread_local! {
    static IDS: Ids = Ids::new();
}

/// Gives each request an id, answers with it, and logs how it ended.
pub async fn trace(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let now = request.app_data::<actix_web::web::Data<State>>().map(|state| state.clock.now()).unwrap_or_default();
    let id = IDS.with(|ids| ids.next(now));
    let span = span(&request, id);
    #[allow(clippy::disallowed_methods, reason = "how long it took, not the draw's time")]
    let started = Instant::now();
    let answer = async move {
        let mut response = next.call(request).await?;
        let mut text = Uuid::encode_buffer();
        // A UUID is visible ASCII.
        if let Ok(value) = HeaderValue::from_str(id.hyphenated().encode_lower(&mut text)) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        blame(&response, id);
        let (status, took) = (response.status().as_u16(), started.elapsed());
        tracing::debug!(status, ?took, "answered");
        Ok(response)
    };
    answer.instrument(span).await
}

/// What a request logs stands in its span. Reads and orders are far more than all others, log nothing of
/// their own below `debug`, and would pay for the span each time: theirs is there from `debug` on.
fn span(request: &ServiceRequest, id: Uuid) -> Span {
    let (method, path) = (request.method(), request.path());
    if method == Method::GET || path.ends_with("/tickets") || path.ends_with("/pay") {
        tracing::debug_span!("request", %id, %method, path)
    } else {
        tracing::info_span!("request", %id, %method, path)
    }
}

/// Logs a cause that is ours, with the request it befell.
fn blame(response: &ServiceResponse<impl MessageBody>, id: Uuid) {
    let problem = response.response().error().and_then(|error| error.as_error::<Problem>());
    let Some((problem, cause)) = problem.and_then(|problem| Some((problem, problem.cause()?))) else { return };
    let (method, path) = (response.request().method(), response.request().path());
    if problem.code() == Code::InternalError {
        tracing::error!(request = %id, %method, path, cause, "a request failed");
    } else {
        tracing::warn!(request = %id, %method, path, cause, "a request could not be served");
    }
}
