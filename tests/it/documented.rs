//! The OpenAPI document, the catalogue for Insomnia and the route table agree. (`common::openapi` holds every answer
//! that a test gets against the document.)

mod catalogue;

use std::collections::BTreeSet;
use std::{env, fs};

use serde_json::{Value, json};

use crate::common::openapi::{self, DOCUMENT, resolve};
use crate::matrix;
use crate::world::*;

/// The catalogue, generated from the document.
const CATALOGUE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/insomnia.json");
const RENEW: &str = "RENEW_CATALOGUE=1 cargo test --test it -- documented";

/// Every call of the document: its method, its path, and its description.
fn calls() -> impl Iterator<Item = (String, &'static str, &'static Value)> {
    DOCUMENT["paths"].as_object().unwrap().iter().flat_map(|(path, calls)| {
        let calls = calls.as_object().unwrap().iter();
        calls.map(move |(method, call)| (method.to_uppercase(), path.as_str(), call))
    })
}

#[test]
fn the_document_has_every_route_and_no_other() {
    let documented: BTreeSet<_> = calls().map(|(method, path, _)| (method, path.to_owned())).collect();
    // The pages for people are not part of it, nor what only they call.
    let pages = ["/api/docs", "/assets/", "/web/", "/verify"];
    let is_page = |path: &str| {
        ["/", "/admin", "/favicon.ico", "/api/problems"].contains(&path)
            || pages.iter().any(|page| path.starts_with(page))
    };
    let routes: BTreeSet<_> = matrix::table().into_iter().filter(|(_, path)| !is_page(path)).collect();
    let (new, gone): (Vec<_>, Vec<_>) =
        (routes.difference(&documented).collect(), documented.difference(&routes).collect());
    assert!(new.is_empty() && gone.is_empty(), "not documented: {new:?}; no routes: {gone:?}");
}

#[test]
fn every_call_is_fully_described() {
    assert!(DOCUMENT["openapi"].as_str().unwrap().starts_with("3.1."));
    let tags: BTreeSet<_> =
        DOCUMENT["tags"].as_array().unwrap().iter().map(|tag| tag["name"].clone()).map(text).collect();
    let mut names = BTreeSet::new();
    for (method, path, call) in calls() {
        let what = format!("{method} {path}");
        assert!(names.insert(text(call["operationId"].clone())), "{what}: its name is another's");
        let summary = call["summary"].as_str().unwrap_or_else(|| panic!("{what}: says not what it is"));
        assert!(!summary.contains('`'), "{what}: its summary is plain text, which has no marks: {summary}");
        assert!(tags.contains(call["tags"][0].as_str().unwrap()), "{what}: {}", call["tags"]);
        let asks = !call["security"].as_array().unwrap().is_empty();
        assert_eq!(asks, matrix::asks_for_a_token(&method, path), "{what}: who may call it?");
        let named = path.matches('{').count();
        let parameters = call["parameters"].as_array().into_iter().flatten();
        assert_eq!(parameters.filter(|parameter| parameter["in"] == "path").count(), named, "{what}");
        let mut good = false;
        for (status, response) in call["responses"].as_object().unwrap() {
            let response = resolve(response);
            good |= status.starts_with('2');
            assert!(response["description"].is_string(), "{what}: {status}");
            let problem = &response["content"]["application/problem+json"]["examples"];
            assert!(status.starts_with('2') || problem.is_object(), "{what}: {status} without an example");
            for (code, example) in problem.as_object().into_iter().flatten() {
                assert_eq!(
                    (&example["value"]["code"], &example["value"]["status"].to_string()),
                    (&json!(code), status)
                );
                fits(&what, &json!({"$ref": "#/components/schemas/Problem"}), &example["value"]);
            }
        }
        assert!(good, "{what} has no good end");
        if let Some(body) = example_body(call) {
            assert!(body.is_object(), "{what}: no example of its body");
            fits(&what, &call["requestBody"]["content"]["application/json"]["schema"], body);
        }
    }
    assert!(names.len() > 40);
    every_reference_leads_somewhere(&DOCUMENT);
}

#[test]
fn every_link_leads_from_something_that_an_answer_has_to_something_that_a_call_needs() {
    let call = |name: &str| calls().map(|(_, _, call)| call).find(|call| call["operationId"] == name).unwrap();
    let mut links = 0;
    for (_, _, from) in calls() {
        for response in from["responses"].as_object().unwrap().values() {
            for (_, link) in resolve(response)["links"].as_object().into_iter().flatten() {
                links += 1;
                let to = call(link["operationId"].as_str().unwrap());
                assert_eq!(link["description"], to["summary"]);
                let parameters = link["parameters"].as_object().into_iter().flatten();
                for (name, value) in parameters {
                    let known =
                        to["parameters"].as_array().unwrap().iter().any(|parameter| parameter["name"] == *name);
                    assert!(known && has(from, resolve(response), value.as_str().unwrap()), "{link}");
                }
                let body = &to["requestBody"]["content"]["application/json"]["schema"];
                for (name, value) in link["requestBody"].as_object().into_iter().flatten() {
                    assert!(!part(body, name).is_null(), "{link}");
                    let expressions = value.as_str().into_iter().filter(|text| text.starts_with('$'));
                    expressions.for_each(|text| assert!(has(from, resolve(response), text), "{link}"));
                }
            }
        }
    }
    assert!(links > 40, "{links}");
}

/// Whether a call, or its answer, has what a runtime expression (OpenAPI, section 4.7.20) names.
fn has(call: &'static Value, answer: &'static Value, expression: &str) -> bool {
    let (schema, path) = match expression.split_once("#/") {
        Some(("$response.body", path)) => (&answer["content"]["application/json"]["schema"], path),
        Some(("$request.body", path)) => (&call["requestBody"]["content"]["application/json"]["schema"], path),
        _ => {
            return call["parameters"]
                .as_array()
                .unwrap()
                .iter()
                .any(|one| expression.ends_with(one["name"].as_str().unwrap()));
        }
    };
    !path.split('/').fold(schema, part).is_null()
}

/// The schema of a part of an object or an array.
fn part(schema: &'static Value, name: &str) -> &'static Value {
    let schema = resolve(schema);
    if name.parse::<usize>().is_ok() {
        return &schema["items"];
    }
    let kinds = ["allOf", "oneOf"].into_iter().filter_map(|kinds| schema[kinds].as_array()).flatten();
    let parts = kinds.map(resolve).chain([schema]);
    parts.map(|part| &part["properties"][name]).find(|part| !part.is_null()).unwrap_or(&Value::Null)
}

/// An example must be what its schema says.
#[track_caller]
fn fits(what: &str, schema: &Value, example: &Value) {
    let errors = openapi::errors(schema, example);
    assert!(errors.is_empty(), "{what}: {example}: {errors:#?}");
}

fn schemas() -> impl Iterator<Item = (&'static String, &'static Value)> {
    DOCUMENT["components"]["schemas"].as_object().unwrap().iter()
}

#[test]
fn every_type_has_a_name_that_clients_can_use() {
    for (name, schema) in schemas() {
        let is_plain = name.chars().all(char::is_alphabetic) && name.starts_with(char::is_uppercase);
        assert!(is_plain, "{name} is no name of a type");
        let example = &schema["example"];
        if !example.is_null() {
            fits(name, &json!({"$ref": format!("#/components/schemas/{name}")}), example);
        }
        // Generators invent a name for an object that has none.
        for (property, schema) in properties(schema) {
            let inner = schema["items"].as_object().map_or(schema, |_| &schema["items"]);
            let is_named = inner.get("properties").is_none()
                && inner.get("enum").is_none_or(|one| one.as_array().unwrap().len() == 1);
            assert!(is_named, "{name}.{property}: its type has no name");
        }
    }
    for page in schemas().filter(|(name, _)| name.ends_with("Page")) {
        let item = page.0.strip_suffix("Page").unwrap();
        assert_eq!(
            page.1["properties"]["items"]["items"],
            json!({"$ref": format!("#/components/schemas/{item}")})
        );
    }
    assert!(schemas().filter(|(name, _)| name.ends_with("Page")).count() > 10);
}

/// The properties of a schema, also of one that adds some to another.
fn properties(schema: &'static Value) -> impl Iterator<Item = (&'static String, &'static Value)> {
    let parts = schema["allOf"].as_array().into_iter().flatten().chain([schema]);
    parts.flat_map(|part| part["properties"].as_object().into_iter().flatten())
}

#[test]
fn every_operation_and_every_property_has_a_sentence() {
    let mut without = Vec::new();
    let mut sentence = |what: String, text: &Value| {
        let begins = |text: &str| text.starts_with(|first: char| !first.is_alphabetic() || first.is_uppercase());
        if !text.as_str().is_some_and(|text| begins(text) && text.ends_with('.') && text.contains(' ')) {
            without.push(format!("{what}: {text}"));
        }
    };
    for (method, path, call) in calls() {
        sentence(format!("{method} {path}"), &call["summary"]);
        sentence(format!("{method} {path}, the description"), &call["description"]);
        for parameter in call["parameters"].as_array().into_iter().flatten() {
            sentence(format!("{method} {path} {}", parameter["name"]), &parameter["description"]);
        }
    }
    for (name, schema) in schemas() {
        sentence(name.clone(), &schema["description"]);
        for (property, schema) in properties(schema) {
            sentence(format!("{name}.{property}"), &schema["description"]);
        }
    }
    for tag in DOCUMENT["tags"].as_array().unwrap() {
        sentence(tag["name"].to_string(), &tag["description"]);
    }
    assert!(without.is_empty(), "no sentence: {without:#?}");
}

/// The files that send errors.
fn sources_of_errors() -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/http");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    // These two only list and describe the codes.
    let others = files.filter(|path| !path.ends_with("codes.rs") && !path.ends_with("openapi.rs"));
    others.map(|path| fs::read_to_string(path).unwrap()).collect()
}

#[test]
fn the_codes_are_exactly_those_that_are_sent_and_documented() {
    let codes = DOCUMENT["components"]["schemas"]["ProblemCode"]["enum"].as_array().unwrap();
    let sources = sources_of_errors();
    for code in codes {
        let words = code.as_str().unwrap().split('_');
        let variant: String = words.map(|word| format!("{}{}", word[..1].to_uppercase(), &word[1..])).collect();
        let sends = sources.split("Code::").skip(1).any(|rest| {
            rest.strip_prefix(&variant).is_some_and(|rest| !rest.starts_with(|next: char| next.is_alphanumeric()))
        });
        assert!(sends, "{code} is never sent");
    }
    let documented: BTreeSet<&str> = calls()
        .flat_map(|(_, _, call)| call["responses"].as_object().unwrap().values())
        .flat_map(|response| resolve(response)["content"]["application/problem+json"]["examples"].as_object())
        .flat_map(|examples| examples.keys().map(String::as_str))
        .collect();
    // A method that an address does not have is not in the document.
    let missing: Vec<&Value> = codes.iter().filter(|code| !documented.contains(code.as_str().unwrap())).collect();
    assert_eq!(missing, [&json!("method_not_allowed")]);
}

#[actix_web::test]
async fn the_type_of_every_error_leads_to_its_place_on_a_page() {
    let world = World::new().await;
    let outside = world.anonymous().without_base_path();
    let page = http_client().get(format!("{}/api/problems", outside.base())).send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    let html = page.text().await.unwrap();
    for code in DOCUMENT["components"]["schemas"]["ProblemCode"]["enum"].as_array().unwrap() {
        assert!(html.contains(&format!("<section id={code}>")), "{code}");
    }
    let problem = outside.get("/nothing").await.refused(404, "not_found");
    assert_eq!(problem["type"], "/api/problems#not_found");
}

fn text(value: Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// The objects of an example that have this field.
fn with_field<'a>(value: &'a Value, field: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| with_field(item, field, found)),
        Value::Object(fields) => {
            found.extend(fields.get(field).filter(|value| value.is_i64()));
            fields.values().for_each(|value| with_field(value, field, found));
        }
        _ => {}
    }
}

#[actix_web::test]
async fn the_examples_have_the_prices_that_are_shipped() {
    let schemas = DOCUMENT["components"]["schemas"].as_object().unwrap();
    let mut prices = Vec::new();
    schemas.values().for_each(|schema| with_field(&schema["example"], "price", &mut prices));
    assert!(prices.len() > 3);
    assert!(prices.iter().all(|price| **price == PRICE), "{prices:?}");
    let example = &schemas["Lottery"]["example"];
    assert_eq!(example["prizes"], schemas["DrawWithPrizes"]["example"]["prizes"]);
    let shipped = World::new().await.anonymous().get("/lotteries/5of36").await.expect(200);
    let rounded = |mut lottery: Value| {
        for prize in lottery["prizes"].as_array_mut().unwrap() {
            prize["odds"] = Value::from((prize["odds"].as_f64().unwrap() * 100.0).round());
        }
        lottery
    };
    assert_eq!(rounded(example.clone()), rounded(shipped));
}

fn every_reference_leads_somewhere(value: &Value) {
    resolve(value);
    match value {
        Value::Array(items) => items.iter().for_each(every_reference_leads_somewhere),
        Value::Object(fields) => fields.values().for_each(every_reference_leads_somewhere),
        _ => {}
    }
}

/// The example of a call's body, if it has a body.
fn example_body(call: &'static Value) -> Option<&'static Value> {
    let content = &call.get("requestBody")?["content"]["application/json"];
    Some(content.get("example").unwrap_or(&resolve(&content["schema"])["example"]))
}

#[test]
fn the_insomnia_catalogue_is_generated_from_the_document() {
    let catalogue = format!("{:#}\n", catalogue::catalogue());
    if env::var_os("RENEW_CATALOGUE").is_some() {
        fs::write(CATALOGUE, &catalogue).unwrap();
    }
    let kept = fs::read_to_string(CATALOGUE).unwrap_or_default();
    assert!(kept == catalogue, "docs/insomnia.json is not what the document says; renew it: {RENEW}");
}

#[actix_web::test]
async fn the_documentation_page_loads_nothing_from_another_server() {
    let world = World::with(|config| config.server.web = false).await;
    let outside = world.anonymous().without_base_path();
    let document = outside.get("/api/openapi.json").await;
    assert_eq!(document.headers["content-type"], "application/json");
    assert_eq!(document.expect(200), *DOCUMENT);

    let http = lottery::tls::http_client().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let get = async |path: &str| http.get(format!("{}{path}", outside.base())).send().await.unwrap();
    let root = get("/").await;
    assert_eq!(root.status(), 302);
    assert_eq!(root.headers()["location"], "/api/docs");
    let page = get("/api/docs").await;
    assert_eq!(page.status(), 200, "no redirect");
    assert!(page.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    let html = page.text().await.unwrap();
    let named = html.split([' ', '\n']).filter_map(|word| {
        let path = word.strip_prefix("href=\"").or_else(|| word.strip_prefix("src=\""))?;
        path.split('"').next()
    });
    let mut scripts = 0;
    for path in named {
        assert!(path.starts_with("/api/docs/"), "{path} is not ours");
        let file = get(path).await;
        assert_eq!(file.status(), 200, "{path}");
        let kind = file.headers()["content-type"].to_str().unwrap().to_owned();
        scripts += u32::from(kind.contains("javascript"));
        // `nosniff` makes browsers rely on this header.
        assert!(["text/css", "text/javascript", "image/png"].contains(&kind.as_str()), "{path}: {kind}");
        if path.ends_with("initializer.js") {
            let text = file.text().await.unwrap();
            assert!(text.contains("\"/api/openapi.json\"") && !text.contains("https://"), "{text}");
            for setting in ["persistAuthorization", "tryItOutEnabled", "filter", "displayRequestDuration"] {
                assert!(text.contains(&format!("\"{setting}\": true")), "{setting} is not on: {text}");
            }
        }
    }
    assert!(scripts >= 2, "{html}");
    assert_eq!(get("/api/docs/nothing.js").await.status(), 404);
}
