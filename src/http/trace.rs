//! A request's id, its span in the log, and the one line that says how it ended. Never logs a header or
//! a body: tokens and passwords travel in them.

use std::time::Instant;

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use tracing::Instrument;

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
    let id = IDS.with(|ids| ids.next(now)).to_string();
    let span = tracing::info_span!("request", %id, method = %request.method(), path = request.path());
    #[allow(clippy::disallowed_methods, reason = "how long it took, not the draw's time")]
    let started = Instant::now();
    async move {
        let mut response = match next.call(request).await {
            Ok(response) => response,
            Err(error) => return Err(error),
        };
        // A UUID is visible ASCII.
        if let Ok(value) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        let (status, took) = (response.status().as_u16(), started.elapsed());
        tracing::debug!(status, ?took, "answered");
        Ok(response)
    }
    .instrument(span)
    .await
}
