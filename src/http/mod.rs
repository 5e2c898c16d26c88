//! Layer 3: the REST API. Parses requests, calls the layers below, and writes their answers as JSON. Decides
//! nothing about draws or money.

mod address;
mod admin;
mod audit;
mod auth;
mod auth_user;
mod body;
mod charges;
mod clock;
mod codes;
mod completion;
mod connection;
mod declined_cards;
mod docs;
mod draws;
mod error;
mod events;
mod export;
mod finance;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod head;
mod health;
mod idempotency;
mod limits;
mod links;
mod live_metrics;
mod logs;
mod lotteries;
mod metrics;
mod openapi;
mod orders;
mod pages;
mod payments;
mod preferences;
mod problems;
mod query;
mod rate_window;
mod replay;
mod response_cache;
mod schemas;
mod sessions;
mod slots;
mod standby;
mod state;
mod stats;
mod tickets;
mod trace;
mod users;
mod wallet;
mod web_files;
mod web_session;
mod webhooks;
mod withdrawals;

use actix_web::ResponseError;
use actix_web::guard::fn_guard;
use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::web::{self, ServiceConfig};

pub use address::Proxies;
pub use connection::{ClientConnection, ClientConnections, HEAD_WAIT};
pub use idempotency::KeysInProgress;
pub use limits::{GuessedAccount, Rate, RateLimits, Rates};
pub use metrics::Metrics;
pub use openapi::document;
pub use response_cache::ResponseCache;
pub use slots::{Exports, Watchers};
pub use standby::{Standby, standby_admin_routes, standby_routes, standby_routes_with_metrics};
pub use state::State;
pub use trace::trace;
pub use web_files::{CardEntry, Pages};

use error::{Code, Problem};
use metrics::Route;

/// What the main port shows beside the API.
#[derive(Clone, Copy)]
pub struct PublicPages {
    /// The pages for people, and their session.
    pub web: bool,
    /// The documentation: the page, and the OpenAPI document that it shows.
    pub docs: bool,
    /// The metrics, to this machine only.
    pub metrics: bool,
}

/// The table of all routes of the main port.
pub fn routes(public: PublicPages) -> impl FnOnce(&mut ServiceConfig) {
    move |config| add_routes(config, public)
}

fn add_routes(config: &mut ServiceConfig, public: PublicPages) {
    // Routes are tried from the top: the ones that are called most come first.
    let api = web::scope("/api/v1")
        .service(resource("/draws/{id}/tickets", "POST").route(web::post().to(tickets::order)))
        .service(resource("/draws", "GET").route(web::get().to(draws::list)))
        .service(resource("/draws/{id}", "GET").route(web::get().to(draws::one)))
        .service(resource("/lotteries", "GET").route(web::get().to(lotteries::list)))
        .service(resource("/auth/register", "POST").route(web::post().to(auth::register)))
        .service(resource("/auth/login", "POST").route(web::post().to(auth::login)))
        .service(resource("/auth/refresh", "POST").route(web::post().to(auth::refresh)))
        .service(resource("/auth/logout", "POST").route(web::post().to(auth::logout)))
        .service(resource("/auth/password-reset", "POST").route(web::post().to(auth::reset_password)))
        .service(resource("/me/password", "POST").route(web::post().to(auth::change_password)))
        .service(resource("/me/sessions", "GET").route(web::get().to(sessions::list)))
        .service(resource("/me/sessions/{id}", "DELETE").route(web::delete().to(sessions::end)))
        .service(resource("/me", "GET").route(web::get().to(auth::me)))
        .service(resource("/lotteries/{id}", "GET").route(web::get().to(lotteries::one)))
        .service(resource("/draws/{id}/pool", "GET").route(web::get().to(draws::pool)))
        .service(resource("/draws/{id}/events", "GET").route(web::get().to(events::events)))
        .service(resource("/draws/{id}/results", "GET").route(web::get().to(draws::results)))
        .service(resource("/draws/{id}/proof", "GET").route(web::get().to(logs::draw_proof)))
        .service(resource("/draws/{id}/log/checkpoint", "GET").route(web::get().to(logs::ticket_checkpoint)))
        .service(resource("/draws/{id}/log/tile/{tile:.*}", "GET").route(web::get().to(logs::ticket_tile)))
        .service(resource("/log/checkpoint", "GET").route(web::get().to(logs::public_checkpoint)))
        .service(resource("/log/tile/{tile:.*}", "GET").route(web::get().to(logs::public_tile)))
        .service(resource("/log/policy", "GET").route(web::get().to(logs::policy)))
        .service(resource("/keys", "GET").route(web::get().to(logs::keys)))
        .service(resource("/tickets", "GET").route(web::get().to(tickets::list)))
        .service(
            resource("/tickets/{id}", "GET, DELETE")
                .route(web::get().to(tickets::one))
                .route(web::delete().to(tickets::give_back)),
        )
        .service(resource("/tickets/{id}/proof", "GET").route(web::get().to(tickets::proof)))
        .service(resource("/payments", "GET").route(web::get().to(payments::list)))
        .service(resource("/payments/{id}", "GET").route(web::get().to(payments::one)))
        .service(resource("/payments/{id}/pay", "POST").route(web::post().to(payments::pay)))
        .service(resource("/wallet", "GET").route(web::get().to(wallet::balance)))
        .service(resource("/wallet/transfers", "GET").route(web::get().to(wallet::transfers)))
        .service(resource("/wallet/deposits", "POST").route(web::post().to(wallet::deposit)))
        .service(resource("/wallet/withdrawals", "POST").route(web::post().to(wallet::withdraw)))
        .service(resource("/webhooks/payments/{provider}", "POST").route(web::post().to(webhooks::notice)))
        .service(
            web::scope("/admin")
                .wrap(actix_web::middleware::from_fn(auth_user::admins_only))
                .service(resource("/draws", "POST").route(web::post().to(admin::create)))
                .service(resource("/draws/{id}", "PATCH").route(web::patch().to(admin::reschedule)))
                .service(resource("/draws/{id}/tickets", "GET").route(web::get().to(admin::tickets)))
                .service(resource("/payments", "GET").route(web::get().to(admin::payments)))
                .service(resource("/payments/{id}/end", "POST").route(web::post().to(charges::end)))
                .service(resource("/charges", "GET").route(web::get().to(charges::list)))
                .service(resource("/withdrawals/{id}/approve", "POST").route(web::post().to(withdrawals::approve)))
                .service(resource("/withdrawals/{id}/reject", "POST").route(web::post().to(withdrawals::reject)))
                .service(resource("/export/{table}", "GET").route(web::get().to(export::export)))
                .service(resource("/finance", "GET").route(web::get().to(finance::accounts)))
                .service(resource("/finance/draws", "GET").route(web::get().to(finance::draws)))
                .service(resource("/draws/{id}/pool", "POST").route(web::post().to(admin::add_to_pool)))
                .service(resource("/draws/{id}/open", "POST").route(web::post().to(admin::open)))
                .service(resource("/draws/{id}/close", "POST").route(web::post().to(admin::close)))
                .service(resource("/draws/{id}/conduct", "POST").route(web::post().to(admin::conduct)))
                .service(resource("/draws/{id}/cancel", "POST").route(web::post().to(admin::cancel)))
                .service(resource("/users", "GET").route(web::get().to(users::list)))
                .service(
                    resource("/users/{id}", "GET, PATCH")
                        .route(web::get().to(users::one))
                        .route(web::patch().to(users::change)),
                )
                .service(
                    resource("/users/{id}/password-reset", "POST").route(web::post().to(users::reset_password)),
                )
                .service(resource("/stats", "GET").route(web::get().to(stats::stats)))
                .service(resource("/audit-log", "GET").route(web::get().to(admin::audit_log)))
                .service(resource("/clock", "GET").route(web::get().to(clock::show)))
                .service(resource("/clock/confirm", "POST").route(web::post().to(clock::confirm)))
                .default_service(web::to(error::not_found)),
        );
    config
        .app_data(Route::nowhere())
        .service(api)
        .configure(common_routes)
        .default_service(web::to(error::not_found));
    if public.metrics {
        let metrics = resource("/metrics", "GET").route(web::get().to(health::metrics));
        config.service(metrics.guard(fn_guard(address::is_local)));
    }
    if public.web {
        config
            .service(resource("/", "GET").route(web::get().to(pages::player)))
            .service(resource("/admin", "GET").route(web::get().to(pages::admin)))
            .service(resource("/verify", "GET").route(web::get().to(pages::verify)))
            .service(resource("/verify/{draw}", "GET").route(web::get().to(pages::verify)))
            .service(resource("/assets/{hash}/{file:.*}", "GET").route(web::get().to(pages::file)))
            .service(resource("/favicon.ico", "GET").route(web::get().to(pages::favicon)))
            .service(
                resource("/web/session", "POST, DELETE")
                    .route(web::post().to(web_session::begin))
                    .route(web::delete().to(web_session::end)),
            )
            .service(resource("/web/config", "GET").route(web::get().to(pages::config)))
            .service(resource("/web/session/refresh", "POST").route(web::post().to(web_session::refresh)));
    } else if public.docs {
        config.service(resource("/", "GET").route(web::get().to(docs::root)));
    }
    if public.docs {
        config
            .service(resource("/api/openapi.json", "GET").route(web::get().to(openapi::show)))
            .service(resource("/api/docs", "GET").route(web::get().to(docs::page)))
            .service(resource("/api/docs/{file}", "GET").route(web::get().to(docs::file)));
    }
}

/// All routes of the admin address.
pub fn admin_routes(config: &mut ServiceConfig) {
    config
        .app_data(Route::nowhere())
        .configure(common_routes)
        .service(resource("/metrics", "GET").route(web::get().to(health::metrics)))
        .default_service(web::to(error::not_found));
}

/// What each address serves: it can answer an error, whose `type` leads to the page of all codes.
fn common_routes(config: &mut ServiceConfig) {
    config
        .service(resource("/api/problems", "GET").route(web::get().to(problems::page)))
        .service(resource("/health/live", "GET").route(web::get().to(health::live)))
        .service(resource("/health/ready", "GET").route(web::get().to(health::ready)));
}

/// A resource with metrics. It answers a method that it does not have with 405 and a list of those that it has
/// (RFC 9110, section 15.5.6). A resource that has GET has HEAD too.
fn resource(path: &str, allow: &'static str) -> actix_web::Resource {
    web::resource(path).app_data(Route::new()).default_service(web::to(move || async move {
        let mut response = Problem::from(Code::MethodNotAllowed).error_response();
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
        if allow.contains("GET") {
            response.headers_mut().append(ALLOW, HeaderValue::from_static("HEAD"));
        }
        response
    }))
}
