//! The call of payment providers: notices about charges. The module [`crate::charges`] checks the signature.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::body::bytes;
use super::error::Problem;
use super::state::State;
use crate::payment::signature::HEADER;

/// Receives a notice of a payment provider, signed as the provider's documentation says.
#[utoipa::path(
    post, path = "/api/v1/webhooks/payments/{provider}", tag = "webhooks", operation_id = "tell_payment",
    params(("provider" = String, Path, example = "sandbox"), ("Stripe-Signature" = Option<String>, Header)),
    request_body(content = Object, example = json!({
        "payment": "01980000-0000-7000-8000-000000000001", "begun": "2030-05-01T12:00:00Z", "status": "paid"
    })),
    responses(
        (status = 200, body = Object),
        (status = "default", description = "malformed_json unauthorized payload_too_large validation_failed request_timeout"),
    ),
)]
pub async fn notice(
    state: web::Data<State>,
    request: HttpRequest,
    provider: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    // The bytes as they came, because the signature covers every byte.
    let body = bytes(payload).await?;
    let signature = request.headers().get(HEADER).and_then(|header| header.to_str().ok()).unwrap_or_default();
    if let Some(user) = state.charges.notice(&provider, signature, &body).await? {
        state.limits.card_declined_later(user, state.clock.since_boot());
    }
    Ok(HttpResponse::Ok().json(json!({"received": true})))
}
