//! Floor 3: the REST contract. Parses requests, asks the rooms below, and puts their answers into JSON.
//! Decides nothing about draws or money.

mod admin;
mod auth;
mod body;
mod caller;
mod draws;
mod error;
mod idempotency;
mod limits;
mod lotteries;
mod payments;
mod query;
mod state;
mod tickets;
mod trace;
mod wallet;

use actix_web::web::{self, ServiceConfig};

pub use idempotency::InFlight;
pub use limits::{Limits, Rate, Rates};
pub use state::State;
pub use trace::trace;

/// Every call there is.
pub fn routes(config: &mut ServiceConfig) {
    let api = web::scope("/api/v1")
        .service(resource("/auth/register").route(web::post().to(auth::register)))
        .service(resource("/auth/login").route(web::post().to(auth::login)))
        .service(resource("/auth/refresh").route(web::post().to(auth::refresh)))
        .service(resource("/auth/logout").route(web::post().to(auth::logout)))
        .service(resource("/me").route(web::get().to(auth::me)))
        .service(resource("/lotteries").route(web::get().to(lotteries::list)))
        .service(resource("/lotteries/{id}").route(web::get().to(lotteries::one)))
        .service(resource("/draws").route(web::get().to(draws::list)))
        .service(resource("/draws/{id}").route(web::get().to(draws::one)))
        .service(resource("/draws/{id}/pool").route(web::get().to(draws::pool)))
        .service(resource("/draws/{id}/results").route(web::get().to(draws::results)))
        .service(resource("/draws/{id}/tickets").route(web::post().to(tickets::order)))
        .service(resource("/tickets").route(web::get().to(tickets::list)))
        .service(
            resource("/tickets/{id}")
                .route(web::get().to(tickets::one))
                .route(web::delete().to(tickets::give_back)),
        )
        .service(resource("/payments").route(web::get().to(payments::list)))
        .service(resource("/payments/{id}").route(web::get().to(payments::one)))
        .service(resource("/payments/{id}/pay").route(web::post().to(payments::pay)))
        .service(resource("/wallet").route(web::get().to(wallet::balance)))
        .service(resource("/wallet/transfers").route(web::get().to(wallet::transfers)))
        .service(resource("/wallet/deposits").route(web::post().to(wallet::deposit)))
        .service(
            web::scope("/admin")
                .wrap(actix_web::middleware::from_fn(caller::admins_only))
                .service(resource("/draws").route(web::post().to(admin::create)))
                .service(resource("/draws/{id}/pool").route(web::post().to(admin::add_to_pool)))
                .service(resource("/draws/{id}/open").route(web::post().to(admin::open)))
                .service(resource("/draws/{id}/close").route(web::post().to(admin::close)))
                .service(resource("/draws/{id}/conduct").route(web::post().to(admin::conduct)))
                .service(resource("/draws/{id}/cancel").route(web::post().to(admin::cancel)))
                .default_service(web::to(error::not_found)),
        );
    config.service(api).default_service(web::to(error::not_found));
}

/// A resource that answers any other method with 405 and a problem.
fn resource(path: &str) -> actix_web::Resource {
    web::resource(path).default_service(web::to(error::method_not_allowed))
}
