//! The OpenAPI document, collected from the annotations at handlers and types. An annotation says only what is
//! special to its call. This file adds what many calls share: authentication, the errors that a body, a page or an
//! idempotency key can cause, and the form of errors.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use super::error::{Code, Problem, ProblemBody};
use super::{
    admin, auth, charges, clock, draws, events, export, finance, health, lotteries, payments, tickets, users,
    wallet, webhooks, withdrawals,
};
use crate::db::read::charges::ChargeFilter;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Lottery",
        description = "Times are RFC 3339 in UTC. Money is an integer in minor units. A list answers \
            `{\"items\", \"next_cursor\"}` in a stable order; a filter may be given several times. Errors are problem \
            details (RFC 9457) with a stable `code`. `Idempotency-Key` makes a POST safe to repeat: a replay gives \
            the first answer again, with the header `Idempotency-Replayed: true`.",
    ),
    servers((url = "/", description = "The base path is /api/v1.")),
    tags(
        (name = "auth", description = "Registration, log-in, and the logged-in user."),
        (name = "lotteries", description = "The lotteries that can be played."),
        (name = "draws", description = "Draws, their pools and results. Public."),
        (name = "tickets", description = "Ordering tickets, and the user's tickets."),
        (name = "payments", description = "The user's payments, and paying."),
        (name = "wallet", description = "The wallet, deposits and withdrawals."),
        (name = "webhooks", description = "For payment providers."),
        (name = "admin", description = "Only for admins."),
        (name = "operations", description = "For the operator of the service."),
    ),
    paths(
        auth::register,
        auth::login,
        auth::refresh,
        auth::logout,
        auth::reset_password,
        auth::me,
        auth::change_password,
        lotteries::list,
        lotteries::one,
        draws::list,
        draws::one,
        draws::pool,
        draws::results,
        events::events,
        tickets::order,
        tickets::list,
        tickets::one,
        tickets::give_back,
        payments::list,
        payments::one,
        payments::pay,
        wallet::balance,
        wallet::transfers,
        wallet::deposit,
        wallet::withdraw,
        webhooks::notice,
        admin::create,
        admin::reschedule,
        admin::tickets,
        admin::payments,
        charges::list,
        charges::end,
        admin::audit_log,
        admin::add_to_pool,
        admin::open,
        admin::close,
        admin::conduct,
        admin::cancel,
        users::list,
        users::one,
        users::change,
        users::reset_password,
        withdrawals::approve,
        withdrawals::reject,
        export::export,
        finance::accounts,
        finance::draws,
        clock::show,
        clock::confirm,
        health::live,
        health::ready,
        health::metrics,
        show,
    ),
    components(schemas(ProblemBody, ChargeFilter)),
)]
struct Annotated;

/// The OpenAPI document. 404 with `server.docs: false`.
#[utoipa::path(
    get, path = "/api/openapi.json", tag = "operations", operation_id = "get_openapi",
    responses((status = 200, body = Object), (status = "default", description = "not_found")),
)]
pub async fn show() -> HttpResponse {
    static TEXT: LazyLock<String> = LazyLock::new(|| document().to_string());
    HttpResponse::Ok().content_type("application/json").body(TEXT.as_str())
}

/// The whole document.
///
/// # Panics
/// If an annotation names an unknown code. Every test that reads the document finds that.
pub fn document() -> Value {
    // This cannot fail: the document is strings, numbers and maps of them.
    let mut document = serde_json::to_value(Annotated::openapi()).unwrap_or_default();
    let mut problems = BTreeMap::new();
    for (path, calls) in entries(&mut document["paths"]) {
        for (method, call) in entries(calls) {
            complete(path, method, call, &mut problems);
        }
    }
    let components = &mut document["components"];
    components["responses"] = json!(problems);
    components["securitySchemes"] = json!({"bearer": {
        "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
        "description": "The `access_token` of `POST /api/v1/auth/login`.",
    }});
    let header = |kind: &str, description: &str| json!({"description": description, "schema": {"type": kind}});
    components["headers"] = json!({
        "X-Request-Id": header("string", "Names this request in the service's log."),
        "Idempotency-Replayed": header("string", "`true`: the answer was given before."),
        "Retry-After": header("integer", "Seconds to wait."),
        "WWW-Authenticate": header("string", "`Bearer`."),
    });
    document
}

/// The members of an object. Other values have none.
fn entries(value: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    value.as_object_mut().into_iter().flatten()
}

/// The schema of a parameter that may be missing. A parameter is never null, so null is taken out.
fn present(mut schema: Value) -> Value {
    let is_null = |value: &Value| *value == json!("null") || value["type"] == "null";
    if let Some(kinds) = schema["type"].as_array() {
        schema["type"] = kinds.iter().find(|kind| !is_null(kind)).cloned().unwrap_or_default();
    }
    match schema.get("oneOf").and_then(Value::as_array) {
        Some(kinds) => kinds.iter().find(|kind| !is_null(kind)).cloned().unwrap_or_default(),
        None => schema,
    }
}

/// Adds to a call the responses that follow from its path, parameters and body.
fn complete(path: &str, method: &str, call: &mut Value, problems: &mut BTreeMap<String, Value>) {
    for parameter in call.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        let schema = parameter["schema"].take();
        parameter["schema"] = present(schema);
    }
    let own = call["responses"].as_object_mut().and_then(|responses| responses.remove("default"));
    let words = own.as_ref().and_then(|own| own["description"].as_str()).unwrap_or_default();
    let mut codes: Vec<Code> = words.split_whitespace().map(code).collect();
    let parameters = call["parameters"].as_array().cloned().unwrap_or_default();
    let is_in = |place: &str| parameters.iter().any(|parameter| parameter["in"] == place);
    let keyed = parameters.iter().any(|parameter| parameter["name"] == "Idempotency-Key");
    let body = call["requestBody"]["content"]["application/json"]["schema"].get("$ref").is_some();
    for (there, added) in [
        (path.starts_with("/api/v1"), &[Code::InternalError, Code::Overloaded, Code::Standby][..]),
        (path.starts_with("/api/v1") && method != "get", &[Code::OutcomeUnknown]),
        (call.get("security").is_some(), &[Code::Unauthorized, Code::AccountBlocked]),
        (path.starts_with("/api/v1/admin"), &[Code::Forbidden]),
        (is_in("path"), &[Code::NotFound]),
        (is_in("query"), &[Code::ValidationFailed]),
        (keyed, &[Code::ValidationFailed, Code::IdempotencyInProgress, Code::IdempotencyKeyReused]),
        (
            body,
            &[
                Code::MalformedJson,
                Code::RequestTimeout,
                Code::PayloadTooLarge,
                Code::UnsupportedMediaType,
                Code::ValidationFailed,
            ],
        ),
    ] {
        codes.extend(added.iter().filter(|_| there));
    }
    let mut by_status: BTreeMap<String, Vec<Code>> = BTreeMap::new();
    for code in codes {
        let same = by_status.entry(code.status().as_str().to_owned()).or_default();
        if !same.contains(&code) {
            same.push(code);
        }
    }
    for (status, response) in entries(&mut call["responses"]) {
        let reason = status.parse().ok().and_then(|status| StatusCode::from_u16(status).ok()?.canonical_reason());
        response["description"] = json!(reason);
        response["headers"] = headers(&["X-Request-Id"]);
        if keyed {
            response["headers"] = headers(&["X-Request-Id", "Idempotency-Replayed"]);
        }
    }
    for (status, mut codes) in by_status {
        codes.sort_by_key(|code| name(*code));
        let name = codes.iter().map(|code| name(*code)).collect::<Vec<_>>().join(".");
        call["responses"][status] = json!({"$ref": format!("#/components/responses/{name}")});
        problems.entry(name).or_insert_with(|| problem(&codes));
    }
}

/// The response for these problems, which share one status.
fn problem(codes: &[Code]) -> Value {
    let lines = codes.iter().map(|code| format!("`{}`: {}", name(*code), code.title())).collect::<Vec<_>>();
    let mut sent = vec!["X-Request-Id"];
    if codes.iter().any(|code| matches!(code, Code::Overloaded | Code::Standby | Code::RateLimited)) {
        sent.push("Retry-After");
    }
    if codes.contains(&Code::Unauthorized) {
        sent.push("WWW-Authenticate");
    }
    let example = |code: &Code| {
        let problem = match code {
            Code::ValidationFailed => Problem::field("name", "what it must be"),
            code => Problem::new(*code, "what to do about it"),
        };
        (name(*code), json!({ "value": problem.body() }))
    };
    let examples: Map<String, Value> = codes.iter().map(example).collect();
    json!({
        "description": lines.join("; "),
        "headers": headers(&sent),
        "content": {"application/problem+json": {
            "schema": {
                "allOf": [{"$ref": "#/components/schemas/Problem"}],
                "properties": {"code": {"enum": codes}},
            },
            "examples": examples,
        }},
    })
}

fn headers(names: &[&str]) -> Value {
    let header = |name: &&str| (name.to_string(), json!({"$ref": format!("#/components/headers/{name}")}));
    Value::Object(names.iter().map(header).collect())
}

/// A code as it is written in JSON.
fn name(code: Code) -> String {
    json!(code).as_str().unwrap_or_default().to_owned()
}

/// The inverse of [`name`].
fn code(name: &str) -> Code {
    serde_json::from_value(json!(name)).unwrap_or_else(|_| panic!("no such code: {name}"))
}
