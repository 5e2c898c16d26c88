//! The pages for people: players, admins, and everybody who verifies a draw. They show only what the API gives to
//! the user who is logged in. Their files are in `web_files.rs`.

use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use super::error::Problem;
use super::state::State;
use super::web_files::{CardEntry, FOR_GOOD, loaded_file};
use crate::domain::money::Currency;

/// What the pages must know of the configuration.
#[derive(Serialize)]
struct PageConfig<'a> {
    provider: &'static str,
    stripe_publishable_key: Option<&'a str>,
    currency: Currency,
    admins_play: bool,
}

/// What the page for players must know before it can take money.
pub async fn config(state: Data<State>) -> HttpResponse {
    let (provider, stripe_publishable_key) = match &state.pages.cards {
        CardEntry::Sandbox => ("sandbox", None),
        CardEntry::Stripe(key) => ("stripe", key.as_deref()),
    };
    let (currency, admins_play) = (state.currency, state.admins_play);
    let config = PageConfig { provider, stripe_publishable_key, currency, admins_play };
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-cache")).json(config)
}

/// The page for players.
pub async fn player(state: Data<State>, request: HttpRequest) -> HttpResponse {
    state.pages.player.answer(&request)
}

/// The page for admins.
pub async fn admin(state: Data<State>, request: HttpRequest) -> HttpResponse {
    state.pages.admin.answer(&request)
}

/// The page that verifies a draw or a receipt in the browser.
pub async fn verify(state: Data<State>, request: HttpRequest) -> HttpResponse {
    state.pages.verify.answer(&request)
}

/// The icon that browsers ask for without being told of it.
pub async fn favicon(state: Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let icon = state.pages.favicon.ok_or_else(|| Problem::not_found("file"))?;
    Ok(icon.answer(&request, "public, max-age=86400"))
}

/// A file that a page loads.
pub async fn file(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let part = |name| request.match_info().get(name).unwrap_or_default();
    let file = loaded_file(part("hash"), part("file")).ok_or_else(|| Problem::not_found("file"))?;
    Ok(file.answer(&request, FOR_GOOD))
}
