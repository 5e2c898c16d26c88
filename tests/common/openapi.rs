//! Holds every answer that a test gets against the OpenAPI document.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::Validator;
use serde_json::Value;

pub static DOCUMENT: LazyLock<Value> = LazyLock::new(lottery::http::document);

/// Follows a reference inside the document; a value without a reference is returned as it is.
#[track_caller]
pub fn resolve(value: &Value) -> &Value {
    match value["$ref"].as_str() {
        Some(to) => DOCUMENT.pointer(to.strip_prefix('#').unwrap()).unwrap_or_else(|| panic!("{to} is nowhere")),
        None => value,
    }
}

/// Panics unless the document lists this answer for this call. A path or method that the document does not have
/// is not checked.
#[track_caller]
pub fn check(method: &str, path: &str, status: u16, body: &Value) {
    let path = path.split('?').next().unwrap();
    let parts: Vec<&str> = path.split('/').collect();
    let fits = |pattern: &str| {
        let mut both = parts.iter().zip(pattern.split('/'));
        pattern.split('/').count() == parts.len()
            && both.all(|(part, known)| *part == known || known.starts_with('{'))
    };
    let paths = DOCUMENT["paths"].as_object().unwrap().iter().filter(|(pattern, _)| fits(pattern));
    let calls = paths.filter_map(|(pattern, calls)| Some((pattern, calls.get(method.to_lowercase())?)));
    // Where several patterns fit, the one with the fewest parameters is the route.
    let Some((pattern, call)) = calls.min_by_key(|(pattern, _)| pattern.matches('{').count()) else { return };
    let response = call["responses"].get(status.to_string());
    let response = resolve(response.unwrap_or_else(|| panic!("{method} {pattern} answers {status}: {body}")));
    let kind = if status < 400 { "application/json" } else { "application/problem+json" };
    let content = &response["content"][kind];
    if status >= 400 {
        let known = body["code"].as_str().is_some_and(|code| content["examples"].get(code).is_some());
        assert!(known, "{method} {pattern} answers {status} {}, of {}", body["code"], response["description"]);
    }
    // The body of an endless answer is not read.
    if !body.is_null() {
        let errors = errors(&content["schema"], body);
        assert!(errors.is_empty(), "{method} {pattern} answers {status} {body}: {errors:#?}");
    }
}

/// In what a value differs from its schema in the document.
pub fn errors(schema: &Value, value: &Value) -> Vec<String> {
    static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);
    let made = VALIDATORS
        .lock()
        .unwrap()
        .entry(schema.to_string())
        .or_insert_with(|| Arc::new(validator(schema)))
        .clone();
    made.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

fn validator(schema: &Value) -> Validator {
    let mut schema = schema.clone();
    // What its references lead to.
    schema["components"] = DOCUMENT["components"].clone();
    jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
}
