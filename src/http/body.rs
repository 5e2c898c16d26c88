//! Reads a request's JSON body. Its size and time are limited, and an error names the field that is wrong.

use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::{FromRequest, HttpRequest, web};
use futures_util::future::{FutureExt, LocalBoxFuture};
use serde::de::{DeserializeOwned, IgnoredAny};

use super::error::{Code, FieldError, Problem};

/// The largest body, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// How long a client may take to send a body.
const BODY_WAIT: Duration = Duration::from_secs(10);

/// A parsed body.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Body<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Body<T>, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_json = is_json(request);
        let payload = web::Payload::from_request(request, payload);
        async move {
            if !is_json {
                return Err(Code::UnsupportedMediaType.into());
            }
            // This cannot fail: every request has a payload. Reading its bytes can fail.
            let payload = payload.await.map_err(Problem::internal)?;
            parse(&bytes(payload).await?).map(Body)
        }
        .boxed_local()
    }
}

/// The bytes of a body as they were sent.
pub async fn bytes(payload: web::Payload) -> Result<web::Bytes, Problem> {
    tokio::time::timeout(BODY_WAIT, payload.to_bytes_limited(MAX_BODY))
        .await
        .map_err(|_| too_slow())?
        .map_err(|_| too_large())?
        .map_err(|_| Problem::new(Code::MalformedJson, "the body ended too early"))
}

pub fn too_slow() -> Problem {
    Problem::new(Code::RequestTimeout, format!("send it within {BODY_WAIT:?}"))
}

pub fn too_large() -> Problem {
    Problem::new(Code::PayloadTooLarge, format!("at most {MAX_BODY} bytes"))
}

/// `application/json` (RFC 8259), or a type that ends in `+json` (RFC 6839). A charset is ignored: JSON is UTF-8.
fn is_json(request: &HttpRequest) -> bool {
    let header = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = header.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// Parses a body. A valid one is parsed once; an invalid one is parsed again to find its error.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // Serde would also accept an array with the fields in their order.
    if bytes.trim_ascii_start().starts_with(b"{")
        && let Ok(body) = serde_json::from_slice(bytes)
    {
        return Ok(body);
    }
    explain(bytes)
}

/// Finds the error of a body. A text that is not JSON is one error, JSON with wrong content another. The parser
/// mixes the two (1e400 is JSON, but no `i64`), so this checks first whether the whole text is JSON.
fn explain<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let malformed = |error: &dyn std::fmt::Display| Problem::new(Code::MalformedJson, error.to_string());
    let text = std::str::from_utf8(bytes).map_err(|error| malformed(&error))?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| malformed(&error))?;
    if !text.trim_start().starts_with('{') {
        return Err(Problem::field("body", "must be an object"));
    }
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(text)).map_err(|error| {
        let message = message(error.inner());
        let field = field(&error.path().to_string(), &message);
        Problem::validation(vec![FieldError { field, message }])
    })
}

/// The error, without its position in the text.
fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}

/// The path to the field. A missing, unknown or duplicate field is named only in the message.
fn field(path: &str, message: &str) -> String {
    let about = ["missing field", "unknown field", "duplicate field"];
    let is_about_a_child = about.iter().any(|what| message.starts_with(what));
    let child = message.split('`').nth(1).filter(|_| is_about_a_child);
    let path = if path == "." { "" } else { path };
    match child {
        // The path of an unknown field already ends in the field's name.
        Some(child) if path == child || path.ends_with(&format!(".{child}")) => path.to_owned(),
        Some(child) if path.is_empty() => child.to_owned(),
        Some(child) => format!("{path}.{child}"),
        None if path.is_empty() => "body".to_owned(),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only parsed")]
    struct Order {
        amount: i64,
        #[serde(default)]
        lines: Vec<Line>,
    }

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only parsed")]
    struct Line {
        number: u8,
    }

    #[test]
    fn the_error_names_the_field() {
        for (body, code, field) in [
            ("", Code::MalformedJson, None),
            ("{", Code::MalformedJson, None),
            ("{\"amount\": 1} x", Code::MalformedJson, None),
            ("\u{1}", Code::MalformedJson, None),
            ("[]", Code::ValidationFailed, Some("body")),
            ("[1, []]", Code::ValidationFailed, Some("body")),
            ("5", Code::ValidationFailed, Some("body")),
            ("{}", Code::ValidationFailed, Some("amount")),
            ("{\"amount\": \"1\"}", Code::ValidationFailed, Some("amount")),
            ("{\"amount\": 1.5}", Code::ValidationFailed, Some("amount")),
            ("{\"amount\": 99999999999999999999}", Code::ValidationFailed, Some("amount")),
            ("{\"amount\": 1e400}", Code::ValidationFailed, Some("amount")),
            ("{\"amount\": \"1\", ", Code::MalformedJson, None),
            ("{\"amount\": 1, \"role\": \"admin\"}", Code::ValidationFailed, Some("role")),
            ("{\"amount\": 1, \"lines\": [{\"number\": 1}, {}]}", Code::ValidationFailed, Some("lines[1].number")),
            ("{\"amount\": 1, \"lines\": [{\"number\": 300}]}", Code::ValidationFailed, Some("lines[0].number")),
            ("{\"amount\": 1, \"lines\": [{\"n\": 3}]}", Code::ValidationFailed, Some("lines[0].n")),
        ] {
            let problem = parse::<Order>(body.as_bytes()).unwrap_err();
            assert_eq!(problem.code(), code, "{body}");
            if let Some(field) = field {
                assert!(problem.to_string().contains(&format!("{field}: ")), "{body}: {problem}");
            }
        }
        assert!(parse::<Order>(b" {\"amount\": 1}\n").is_ok());
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_sent_is_a_body_or_a_problem(
            bytes: Vec<u8>, text in r#"[{}\[\]":,ticketsnumbrqu_kp0-9.eE+\- \\]{0,60}"#, deep in 0_usize..2_000
        ) {
            for body in [bytes, text.into_bytes(), b"{\"tickets\":[".repeat(deep)] {
                let parsed = parse::<crate::http::orders::OrderBody>(&body);
                proptest::prop_assert!(parsed.is_ok() || parsed.is_err_and(|problem| problem.cause().is_none()));
            }
        }
    }
}
