//! Holds every answer that a test gets against the OpenAPI document.

use std::sync::LazyLock;

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
    if status >= 400 {
        let codes = &response["content"]["application/problem+json"]["schema"]["properties"]["code"]["enum"];
        let known = codes.as_array().is_some_and(|codes| codes.contains(&body["code"]));
        assert!(known, "{method} {pattern} answers {status} {}, of {codes}", body["code"]);
    }
}
