//! What payment providers tell on their own. Their signature says who they are; the cashier checks it.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::body::bytes;
use super::error::Problem;
use super::state::State;
use crate::payment::signature::HEADER;

pub async fn told(
    state: web::Data<State>,
    request: HttpRequest,
    provider: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    // As it came: every byte was signed.
    let body = bytes(payload).await?;
    let signature = request.headers().get(HEADER).and_then(|header| header.to_str().ok()).unwrap_or_default();
    state.cashier.told(&provider, signature, &body).await?;
    Ok(HttpResponse::Ok().json(json!({"received": true})))
}
