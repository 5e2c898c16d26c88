//! Whether the service is there, for whoever restarts it, and whether it can do its work, for whoever sends
//! it requests.

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::error::Problem;
use super::state::State;
use crate::db::read::health;

/// Whether the service is there.
#[utoipa::path(
    get, path = "/health/live", tag = "operations", operation_id = "get_live",
    responses((status = 200, body = Object)),
)]
pub async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "live"}))
}

/// Whether it can do its work: nearly all of it needs the database.
#[utoipa::path(
    get, path = "/health/ready", tag = "operations", operation_id = "get_ready",
    responses((status = 200, body = Object), (status = "default", description = "overloaded internal_error")),
)]
pub async fn ready(state: web::Data<State>) -> Result<HttpResponse, Problem> {
    health::answers(&state.db).await?;
    Ok(HttpResponse::Ok().json(json!({"status": "ready"})))
}
