//! The OpenAPI document, collected from the annotations at handlers and types. An annotation says only what is
//! special to its call. This file adds what many calls share: authentication, the errors that a body, a page or an
//! idempotency key can cause, and the form of errors.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use super::body::{self, parse};
use super::codes::{Code, Retry};
use super::error::{Problem, ProblemBody};
use super::links::links_of;
use super::{
    admin, auth, charges, clock, draws, events, export, finance, health, logs, lotteries, payments, sessions,
    stats, tickets, users, wallet, webhooks, withdrawals,
};
use crate::actors::messages::StepRefusal;
use crate::db::read::charges::ChargeFilter;
use crate::db::read::export::ExportTable;
use crate::domain::draw::{OrderRefusal, TooManyReservations};
use crate::domain::lottery::DrawStatus;
use crate::export::ExportFormat;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Lottery",
        contact(name = "The operator of this service"),
        description = "Times are RFC 3339 in UTC. Money is an integer in minor units. A list answers \
            `{\"items\", \"next_cursor\"}` in a stable order; a filter may be given several times. Errors are problem \
            details (RFC 9457) with a stable `code`; their `type` leads to a page that explains it. \
            `Idempotency-Key` makes a POST safe to repeat: a replay gives the first answer again, with the header \
            `Idempotency-Replayed: true`.",
    ),
    servers((url = "/", description = "The address that this document was read from")),
    tags(
        (name = "auth", description = "Registration, log-in, and the logged-in user."),
        (name = "lotteries", description = "The lotteries that can be played."),
        (name = "draws", description = "Draws, their pools and results. Public."),
        (name = "logs", description = "What verifies a draw: the public log, the list of its orders, keys. Public."),
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
        sessions::list,
        sessions::end,
        lotteries::list,
        lotteries::one,
        draws::list,
        draws::one,
        draws::pool,
        draws::results,
        logs::draw_proof,
        logs::ticket_checkpoint,
        logs::ticket_tile,
        logs::public_checkpoint,
        logs::public_tile,
        logs::policy,
        logs::keys,
        events::events,
        tickets::order,
        tickets::list,
        tickets::one,
        tickets::proof,
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
        stats::stats,
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
    components(schemas(ProblemBody, ChargeFilter, ExportFormat, ExportTable)),
)]
struct Annotated;

/// The OpenAPI document.
///
/// 404 with `server.docs: false`.
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
    let summaries = summaries(&document["paths"]);
    for (path, calls) in entries(&mut document["paths"]) {
        for (method, call) in entries(calls) {
            complete(path, method, call, &mut problems);
            link(call, &summaries);
        }
    }
    let components = &mut document["components"];
    name_pages(&mut components["schemas"]);
    components["responses"] = json!(problems);
    components["securitySchemes"] = json!({"bearer": {
        "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
        "description": "The `access_token` of `POST /api/v1/auth/login`.",
    }});
    let header = |kind: &str, description: &str| json!({"description": description, "schema": {"type": kind}});
    components["headers"] = json!({
        "X-Request-Id": header("string", "Names this request in the service's log."),
        "Idempotency-Replayed": header("string", "`true`: the answer was given before."),
        "Preference-Applied": header("string", "`return=minimal`: the receipt was left out."),
        "Retry-After": header("integer", "Seconds to wait."),
        "WWW-Authenticate": header("string", "`Bearer`."),
    });
    tidy_descriptions(&mut document);
    document
}

/// The members of an object. Other values have none.
fn entries(value: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    value.as_object_mut().into_iter().flatten()
}

fn reference(kind: &str, name: &str) -> Value {
    json!({"$ref": format!("#/components/{kind}/{name}")})
}

/// What the names of pages begin with, as utoipa composes them: `List_Draw`.
const LIST: &str = "List_";

/// The name of the page with these items.
fn page_name(item: &str) -> String {
    format!("{item}Page")
}

/// Gives each page its name, and lets it refer to its items. Utoipa copies the items' schema into the page, so generated
/// clients would have one type for a draw, and another one for a draw in a list.
fn name_pages(schemas: &mut Value) {
    let Some(schemas) = schemas.as_object_mut() else { return };
    let items: Vec<String> =
        schemas.keys().filter_map(|name| name.strip_prefix(LIST)).map(str::to_owned).collect();
    for item in items {
        let Some(mut page) = schemas.remove(&format!("{LIST}{item}")) else { continue };
        page["properties"]["items"]["items"] = reference("schemas", &item);
        schemas.insert(page_name(&item), page);
    }
}

/// Moves the description of a value that may be null (one of a type and null) from the type to where readers look
/// for it. Joins the lines of each paragraph: the page that shows the document would break them.
fn tidy_descriptions(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(tidy_descriptions),
        Value::Object(fields) => {
            if let Some(Value::String(text)) = fields.get_mut("description") {
                *text = text.split("\n\n").map(|part| part.replace('\n', " ")).collect::<Vec<_>>().join("\n\n");
            }
            let kinds = fields.get_mut("oneOf").and_then(Value::as_array_mut).into_iter().flatten();
            let mut described = kinds.filter_map(|kind| kind.as_object_mut()?.remove("description"));
            if let Some(description) = described.next() {
                fields.insert("description".to_owned(), description);
            }
            fields.values_mut().for_each(tidy_descriptions);
        }
        _ => {}
    }
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
    // A doc comment is Markdown, and a summary is plain text.
    if let Some(summary) = call["summary"].as_str() {
        call["summary"] = json!(summary.replace('`', ""));
    }
    let own = call["responses"].as_object_mut().and_then(|responses| responses.remove("default"));
    let words = own.as_ref().and_then(|own| own["description"].as_str()).unwrap_or_default();
    let mut codes: Vec<Code> = words.split_whitespace().map(code).collect();
    let parameters = call["parameters"].as_array().cloned().unwrap_or_default();
    let is_in = |place: &str| parameters.iter().any(|parameter| parameter["in"] == place);
    let has = |name: &str| parameters.iter().any(|parameter| parameter["name"] == name);
    let keyed = has("Idempotency-Key");
    let body = call["requestBody"]["content"]["application/json"]["schema"].get("$ref").is_some();
    let asks = call.get("security").is_some();
    if !asks {
        // For everybody. Without it a reader cannot tell whether it was forgotten.
        call["security"] = json!([]);
    }
    for (there, added) in [
        (path.starts_with("/api/v1"), &[Code::InternalError, Code::Overloaded, Code::Standby][..]),
        (path.starts_with("/api/v1") && method != "get", &[Code::OutcomeUnknown]),
        (asks, &[Code::Unauthorized, Code::AccountBlocked]),
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
        let mut names = vec!["X-Request-Id"];
        names.extend(keyed.then_some("Idempotency-Replayed"));
        names.extend(has("Prefer").then_some("Preference-Applied"));
        response["headers"] = headers(&names);
        for (_, content) in response.get_mut("content").into_iter().flat_map(entries) {
            let named = content["schema"]["$ref"].as_str();
            if let Some((_, item)) = named.and_then(|name| name.split_once(LIST)) {
                content["schema"] = reference("schemas", &page_name(item));
            }
        }
    }
    for (status, mut codes) in by_status {
        codes.sort_by_key(|code| code.as_str());
        let name = codes.iter().map(|code| code.as_str()).collect::<Vec<_>>().join(".");
        call["responses"][status] = reference("responses", &name);
        problems.entry(name).or_insert_with(|| problem(&codes));
    }
}

/// What each operation does, by its name.
fn summaries(paths: &Value) -> BTreeMap<String, Value> {
    let calls =
        paths.as_object().into_iter().flatten().flat_map(|(_, calls)| calls.as_object().into_iter().flatten());
    let named =
        calls.filter_map(|(_, call)| Some((call["operationId"].as_str()?.to_owned(), call["summary"].clone())));
    named.collect()
}

/// Adds to the good answers of a call the links to the calls that use what they hold.
fn link(call: &mut Value, summaries: &BTreeMap<String, Value>) {
    let mut links = links_of(call["operationId"].as_str().unwrap_or_default());
    for (to, link) in &mut links {
        link["description"] = summaries.get(to).cloned().unwrap_or_default();
    }
    for (status, response) in entries(&mut call["responses"]) {
        if status.starts_with('2') && !links.is_empty() {
            response["links"] = json!(links);
        }
    }
}

/// The response for these problems, which share one status. Its examples tell which codes they are: a schema for each
/// set of codes would become a type for each call in generated clients.
fn problem(codes: &[Code]) -> Value {
    let lines = codes.iter().map(|code| format!("`{}`: {}", code.as_str(), code.title())).collect::<Vec<_>>();
    let mut sent = vec!["X-Request-Id"];
    if codes.iter().any(|code| code.retry() == Retry::AfterPause) {
        sent.push("Retry-After");
    }
    if codes.contains(&Code::Unauthorized) {
        sent.push("WWW-Authenticate");
    }
    let example = |code: &Code| (code.as_str().to_owned(), json!({ "value": example(*code).body() }));
    let examples: Map<String, Value> = codes.iter().map(example).collect();
    json!({
        "description": lines.join("; "),
        "headers": headers(&sent),
        "content": {"application/problem+json": {
            "schema": reference("schemas", "Problem"),
            "examples": examples,
        }},
    })
}

/// An answer with this code, built by the code that answers it.
fn example(code: Code) -> Problem {
    let of_body = |body: &[u8]| parse::<auth::Login>(body).err();
    match code {
        Code::MalformedJson => of_body(b"{\"login\": \"ann\",}").unwrap_or(code.into()),
        Code::ValidationFailed => {
            of_body(b"{\"login\": 5, \"password\": \"battery staple\"}").unwrap_or(code.into())
        }
        Code::RequestTimeout => body::too_slow(),
        Code::PayloadTooLarge => body::too_large(),
        Code::NotFound => Problem::not_found("draw"),
        Code::TicketUnavailable => OrderRefusal::TicketUnavailable { line: 0 }.into(),
        Code::TooManyReservations => {
            OrderRefusal::TooManyReservations(TooManyReservations { open: 199, limit: 200 }).into()
        }
        Code::InvalidTransition => StepRefusal::InvalidTransition(DrawStatus::Completed).into(),
        Code::RateLimited => Problem::rate_limited(3),
        Code::Overloaded => Problem::overloaded(),
        Code::Standby => Problem::standby(),
        code => code.into(),
    }
}

fn headers(names: &[&str]) -> Value {
    let header = |name: &&str| (name.to_string(), reference("headers", name));
    Value::Object(names.iter().map(header).collect())
}

/// The inverse of [`Code::as_str`].
fn code(name: &str) -> Code {
    let code = Code::ALL.iter().find(|code| code.as_str() == name);
    *code.unwrap_or_else(|| panic!("no such code: {name}"))
}
