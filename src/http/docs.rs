//! The page that shows the OpenAPI document (Swagger UI). All its files are in the program, so it works without
//! internet.

use std::sync::Arc;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, LOCATION};
use actix_web::{HttpRequest, HttpResponse};
use utoipa_swagger_ui::{Config, serve};

use super::error::Problem;

/// The path of the page. Its files are below it.
const PAGE: &str = "/api/docs";
/// The page may use inline styles and icons, and may call only this service.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; form-action 'none'; frame-ancestors 'none'";

/// Without the pages for people, the address without a path leads to the page.
pub async fn root() -> HttpResponse {
    HttpResponse::Found().insert_header((LOCATION, PAGE)).finish()
}

/// The page. It is served without a slash at the end, so its relative links get the folder of its files in front.
pub async fn page() -> Result<HttpResponse, Problem> {
    let (content_type, bytes) = load("index.html")?;
    let html = String::from_utf8(bytes).map_err(Problem::internal)?;
    let html = [
        ("=\"./", format!("=\"{PAGE}/")),
        ("=\"index.css", format!("=\"{PAGE}/index.css")),
        (">Swagger UI<", ">Lottery<".to_owned()),
    ]
    .into_iter()
    .fold(html, |html, (theirs, ours)| html.replace(theirs, &ours));
    Ok(answer(&content_type, html.into_bytes()))
}

/// A file that the page loads.
pub async fn file(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let (content_type, bytes) = load(request.match_info().get("file").unwrap_or_default())?;
    Ok(answer(&content_type, bytes))
}

fn load(name: &str) -> Result<(String, Vec<u8>), Problem> {
    let config = Config::from("/api/openapi.json")
        .use_base_layout()
        // Swagger UI must not call its validator on the internet.
        .validator_url("none")
        // The token stays when the page is loaded again, in this browser alone.
        .persist_authorization(true)
        .try_it_out_enabled(true)
        .filter(true)
        .display_request_duration(true)
        // The schemas are shown with the calls; a list of all of them only makes the page long.
        .default_models_expand_depth(-1);
    let file = serve(name, Arc::new(config)).map_err(Problem::internal)?;
    let file = file.ok_or_else(|| Problem::not_found("file"))?;
    Ok((file.content_type, file.bytes.into_owned()))
}

fn answer(content_type: &str, bytes: Vec<u8>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(content_type)
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .body(bytes)
}
