//! Whether the service is there, for whoever restarts it, and whether it can do its work, for whoever sends
//! it requests.

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::error::Problem;
use super::state::State;
use crate::db::read::health;

/// It answers, so it is there.
pub async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "live"}))
}

/// Nearly all it does needs the database.
pub async fn ready(state: web::Data<State>) -> Result<HttpResponse, Problem> {
    health::answers(&state.db).await?;
    Ok(HttpResponse::Ok().json(json!({"status": "ready"})))
}
