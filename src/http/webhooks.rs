//! The call of payment providers: notices about charges. The module [`crate::charges`] checks the signature.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::body::bytes;
use super::error::Problem;
use super::state::State;
use crate::payment::signature::HEADER;

/// The answer to a notice.
#[derive(Serialize, ToSchema)]
struct WebhookReceipt {
    /// Always `true`.
    received: bool,
}

/// Receives a notice of a payment provider.
///
/// For the provider, not for clients. The notice is signed as the provider's documentation says. A notice that comes twice has
/// one effect.
#[utoipa::path(
    post, path = "/api/v1/webhooks/payments/{provider}", tag = "webhooks", operation_id = "receive_payment_webhook",
    params(
        ("provider" = String, Path, example = "sandbox", description = "The configured payment provider."),
        ("Stripe-Signature" = Option<String>, Header, description = "The signature of the body. The sandbox signs in the same way."),
    ),
    request_body(content = Object, description = "What the provider tells. The example is the sandbox's.", example = json!({
        "payment": "01980000-0000-7000-8000-000000000001", "begun": "2030-05-01T12:00:00Z", "status": "paid"
    })),
    responses(
        (status = 200, body = WebhookReceipt),
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
    Ok(HttpResponse::Ok().json(WebhookReceipt { received: true }))
}
