//! The OpenAPI document, the catalogue for Insomnia and the route table agree. (`common::openapi` holds every answer
//! that a test gets against the document.)

use std::collections::BTreeSet;
use std::{env, fs};

use serde_json::{Value, json};

use crate::common::openapi::{DOCUMENT, resolve};
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
    // The page that shows the document is not part of it.
    let routes: BTreeSet<_> =
        matrix::table().into_iter().filter(|(_, path)| !path.starts_with("/api/docs")).collect();
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
        assert!(call["summary"].is_string(), "{what}: says not what it is");
        assert!(tags.contains(call["tags"][0].as_str().unwrap()), "{what}: {}", call["tags"]);
        let asks = call.get("security").is_some();
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
        }
        assert!(good, "{what} has no good end");
        if let Some(body) = example_body(call) {
            assert!(body.is_object(), "{what}: no example of its body");
        }
    }
    assert!(names.len() > 40);
    every_reference_leads_somewhere(&DOCUMENT);
}

fn text(value: Value) -> String {
    value.as_str().unwrap().to_owned()
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
    let catalogue = format!("{:#}\n", catalogue());
    if env::var_os("RENEW_CATALOGUE").is_some() {
        fs::write(CATALOGUE, &catalogue).unwrap();
    }
    let kept = fs::read_to_string(CATALOGUE).unwrap_or_default();
    assert!(kept == catalogue, "docs/insomnia.json is not what the document says; renew it: {RENEW}");
}

/// Every call in Insomnia's export format 4: one folder for each noun; what differs between installations is in the
/// environment.
fn catalogue() -> Value {
    let made = |kind: &str, id: &str, parent: &str, name: &str| json!({"_type": kind, "_id": id, "parentId": parent, "name": name, "created": 0, "modified": 0});
    let with = |mut resource: Value, more: Value| {
        resource.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        resource
    };
    let mut resources = vec![
        with(made("workspace", "wrk_lottery", "", "Lottery"), json!({"parentId": null, "scope": "collection"})),
        with(
            made("environment", "env_lottery", "wrk_lottery", "Base environment"),
            json!({"data": {"base_url": "http://127.0.0.1:8080", "token": "", "id": "1", "table": "tickets", "provider": "sandbox"}}),
        ),
    ];
    for tag in DOCUMENT["tags"].as_array().unwrap() {
        let name = tag["name"].as_str().unwrap();
        let folder = made("request_group", &format!("fld_{name}"), "wrk_lottery", name);
        resources.push(with(folder, json!({"description": tag["description"]})));
    }
    for (method, path, call) in calls() {
        let (name, tag) = (call["operationId"].as_str().unwrap(), call["tags"][0].as_str().unwrap());
        let mut headers = Vec::new();
        let mut asked = Vec::new();
        for parameter in call["parameters"].as_array().into_iter().flatten() {
            let name = &parameter["name"];
            match parameter["in"].as_str().unwrap() {
                // A new key for each request that is sent.
                "header" if name == "Idempotency-Key" => {
                    headers.push(json!({"name": name, "value": "{% uuid 'v4' %}"}))
                }
                "header" => headers.push(json!({"name": name, "value": "", "disabled": true})),
                "query" => asked.push(json!({"name": name, "value": "", "disabled": true})),
                _ => {}
            }
        }
        let body = example_body(call).map_or(json!({}), |example| {
            headers.push(json!({"name": "Content-Type", "value": "application/json"}));
            json!({"mimeType": "application/json", "text": format!("{example:#}")})
        });
        let mut authentication = json!({});
        if call.get("security").is_some() {
            authentication = json!({"type": "bearer", "token": "{{ _.token }}"});
        }
        let url = path.replace('{', "{{ _.").replace('}', " }}");
        let request = made("request", &format!("req_{name}"), &format!("fld_{tag}"), &format!("{method} {path}"));
        let said = json!({
            "method": method, "url": format!("{{{{ _.base_url }}}}{url}"), "description": call["summary"],
            "headers": headers, "parameters": asked, "body": body, "authentication": authentication,
        });
        resources.push(with(request, said));
    }
    json!({"_type": "export", "__export_format": 4, "__export_source": "lottery", "resources": resources})
}

#[actix_web::test]
async fn the_documentation_page_loads_nothing_from_another_server() {
    let world = World::new().await;
    let outside = world.anonymous().without_base_path();
    let document = outside.get("/api/openapi.json").await;
    assert_eq!(document.headers["content-type"], "application/json");
    assert_eq!(document.expect(200), *DOCUMENT);

    let http = lottery::tls::http_client().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let get = async |path: &str| http.get(format!("{}{path}", outside.base())).send().await.unwrap();
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
        }
    }
    assert!(scripts >= 2, "{html}");
    assert_eq!(get("/api/docs/nothing.js").await.status(), 404);
}
