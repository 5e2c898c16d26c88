//! What a request prefers: how much of an answer (RFC 7240), and in which format. Decides nothing else about it.

use actix_web::HttpRequest;
use actix_web::http::header::{Accept, Header, HeaderName};
use utoipa::IntoParams;

const PREFER: HeaderName = HeaderName::from_static("prefer");
/// The header of an answer that follows [`is_minimal`].
pub const APPLIED: (HeaderName, &str) = (HeaderName::from_static("preference-applied"), "return=minimal");

/// The header that leaves a receipt out, for the OpenAPI document.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "only described")]
pub struct PreferHeader {
    /// `return=minimal` leaves the receipt out (RFC 7240). Other preferences are ignored.
    #[param(rename = "Prefer", example = "return=minimal")]
    prefer: Option<String>,
}

/// Whether the client prefers an answer without what it does not need: `Prefer: return=minimal`.
pub fn is_minimal(request: &HttpRequest) -> bool {
    let headers = request.headers().get_all(PREFER).filter_map(|value| value.to_str().ok());
    headers.flat_map(|value| value.split(',')).any(|preference| {
        let preference = preference.split(';').next().unwrap_or_default();
        let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
        name.trim().eq_ignore_ascii_case("return") && value.trim().trim_matches('"') == "minimal"
    })
}

/// Whether the client prefers plain text to JSON.
pub fn is_plain_text(request: &HttpRequest) -> bool {
    let Ok(accept) = Accept::parse(request) else { return false };
    let known =
        |kind: &&str| matches!(*kind, "text/plain" | "text/*" | "application/json" | "application/*" | "*/*");
    let ranked = accept.ranked();
    let first = ranked.iter().map(|kind| kind.essence_str()).find(known);
    first.is_some_and(|kind| kind.starts_with("text/"))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn request(name: &'static str, values: &[&str]) -> HttpRequest {
        let request = values.iter().fold(TestRequest::default(), |it, value| it.append_header((name, *value)));
        request.to_http_request()
    }

    #[test]
    fn return_minimal_may_stand_among_other_preferences() {
        for values in [
            &["return=minimal"][..],
            &["Return=\"minimal\""],
            &["respond-async, return = minimal; foo=bar"],
            &["handling=lenient", "return=minimal"],
        ] {
            assert!(is_minimal(&request("prefer", values)), "{values:?}");
        }
        for values in [&[][..], &["return=representation"], &["minimal"], &["return"], &["x=return=minimal"]] {
            assert!(!is_minimal(&request("prefer", values)), "{values:?}");
        }
    }

    #[test]
    fn json_is_the_answer_unless_plain_text_is_preferred() {
        let plain =
            ["text/plain", "text/*", "application/json;q=0.5, text/plain", "image/png, text/plain, */*;q=0.1"];
        let json =
            ["application/json", "*/*", "text/html", "text/plain;q=0.5, application/json", "text/html, */*", ";"];
        for (values, expected) in [(&plain[..], true), (&json, false)] {
            for value in values {
                assert_eq!(is_plain_text(&request("accept", &[*value])), expected, "{value}");
            }
        }
        assert!(!is_plain_text(&request("accept", &[])));
    }
}
