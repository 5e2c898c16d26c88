//! The session of the service's own pages. Scripts never see its refresh token: it is in a cookie that the browser sends
//! to these addresses only. They do what the calls under `/auth` do, by the same functions, for requests that the
//! service's own pages send. Other clients use `/auth`.

use actix_web::cookie::time::Duration;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::dev::Payload;
use actix_web::http::header::{HOST, HeaderName, ORIGIN};
use actix_web::{FromRequest, HttpRequest, HttpResponse, ResponseError, web};
use futures_util::future::{Ready, ready};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::auth::{self, IssuedTokens, Login};
use super::body::Body;
use super::error::{Code, Problem};
use super::state::State;
use crate::auth::OpaqueToken;
use crate::db::read::users::User;

/// The cookie with the refresh token, and the path that it is sent to.
const COOKIE: &str = "lottery_session";
const PATH: &str = "/web/session";
/// How long a spent token is valid. A page that is loaded again, or loses its connection, may not have got the answer with
/// the next one; its browser sends the same cookie again. (RFC 9700, section 4.14.2, leaves this to the server.)
const LEEWAY: SignedDuration = SignedDuration::from_secs(30);
/// Browsers set it to where the request comes from, where the connection is encrypted or to this machine.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// A request of one of this service's own pages. Another site's page may make a browser send a request with the cookie's
/// name, but not with these headers.
pub struct OwnPage {
    /// Whether the cookie may be sent over an encrypted connection only. A page at `http://localhost` has none.
    secure: bool,
}

impl FromRequest for OwnPage {
    type Error = Problem;
    type Future = Ready<Result<OwnPage, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let detail = "only this service's own pages may call this: Sec-Fetch-Site must be same-origin, or Origin must \
                      have the host of the header Host, which a proxy has to pass on. Other clients call /api/v1/auth/login";
        ready(own_page(request).ok_or_else(|| Problem::new(Code::Forbidden, detail)))
    }
}

fn own_page(request: &HttpRequest) -> Option<OwnPage> {
    let header = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    let origin = header(ORIGIN).and_then(|origin| origin.split_once("://"));
    let is_own = match header(FETCH_SITE) {
        Some(site) => site == "same-origin",
        None => origin.zip(header(HOST)).is_some_and(|((_, from), to)| from.eq_ignore_ascii_case(to)),
    };
    let is_on_this_machine = origin.is_some_and(|(scheme, host)| scheme == "http" && is_loopback(host));
    is_own.then_some(OwnPage { secure: !is_on_this_machine })
}

/// Whether a host, with or without a port, is this machine's loopback.
fn is_loopback(host: &str) -> bool {
    let without_port = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = without_port.map_or(host, |(name, _)| name);
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// What a page gets: the access token, which it keeps in memory, and the user.
#[derive(Serialize)]
struct PageSession {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
    user: User,
}

/// A body without fields. A form of another site cannot send JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoFields {}

/// Logs in, and begins a session.
pub async fn begin(
    page: OwnPage,
    state: web::Data<State>,
    request: HttpRequest,
    Body(body): Body<Login>,
) -> Result<HttpResponse, Problem> {
    let tokens = auth::begin_session(&state, &request, body).await?;
    Ok(page.grant(&state, tokens))
}

/// Exchanges the cookie for a new one, and gives a new access token.
pub async fn refresh(
    page: OwnPage,
    state: web::Data<State>,
    request: HttpRequest,
    Body(NoFields {}): Body<NoFields>,
) -> HttpResponse {
    let refreshed = match token(&request) {
        Some(token) => auth::refresh_session(&state, &request, token, Some(LEEWAY)).await,
        None => Err(Problem::unauthorized("there is no session: log in")),
    };
    match refreshed {
        Ok(tokens) => page.grant(&state, tokens),
        Err(problem) if problem.code() == Code::Unauthorized => page.end(problem.error_response()),
        Err(problem) => problem.error_response(),
    }
}

/// Ends the session.
pub async fn end(page: OwnPage, state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    if let Some(token) = token(&request) {
        auth::end_session(&state, &request, &token).await?;
    }
    Ok(page.end(HttpResponse::NoContent().finish()))
}

fn token(request: &HttpRequest) -> Option<OpaqueToken> {
    OpaqueToken::parse(request.cookie(COOKIE)?.value()).ok()
}

impl OwnPage {
    fn grant(&self, state: &State, tokens: IssuedTokens) -> HttpResponse {
        let mut cookie = self.cookie(tokens.refresh.expose());
        let unused = i64::try_from(state.session_lifetimes.unused.as_secs()).unwrap_or(i64::MAX);
        cookie.set_max_age(Duration::seconds(unused));
        HttpResponse::Ok().cookie(cookie).json(PageSession {
            access_token: tokens.access,
            token_type: "Bearer",
            expires_in: tokens.expires_in,
            user: tokens.user,
        })
    }

    /// Takes the cookie away with this response.
    fn end(&self, mut response: HttpResponse) -> HttpResponse {
        // This cannot fail: the cookie has no characters that a header may not have.
        let _ = response.add_removal_cookie(&self.cookie(String::new()));
        response
    }

    fn cookie(&self, value: String) -> Cookie<'static> {
        let cookie = Cookie::build(COOKIE, value).path(PATH).http_only(true).same_site(SameSite::Strict);
        cookie.secure(self.secure).finish()
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    /// Whether a request with these headers is of an own page, and whether its cookie is for encrypted connections only.
    fn secure(headers: &[(&str, &str)]) -> Option<bool> {
        let request = headers.iter().fold(TestRequest::post(), |request, header| request.insert_header(*header));
        own_page(&request.to_http_request()).map(|page| page.secure)
    }

    #[test]
    fn only_requests_of_own_pages_are_answered() {
        let (host, origin) = (("Host", "lottery.example"), ("Origin", "https://lottery.example"));
        for (headers, expected) in [
            (&[host, origin][..], Some(true)),
            (&[host, origin, ("Sec-Fetch-Site", "same-origin")], Some(true)),
            // A proxy has another name for this service.
            (&[("Host", "10.0.0.7:8080"), origin, ("Sec-Fetch-Site", "same-origin")], Some(true)),
            (&[("Host", "10.0.0.7:8080"), origin], None),
            (&[host, origin, ("Sec-Fetch-Site", "same-site")], None),
            (&[host, origin, ("Sec-Fetch-Site", "cross-site")], None),
            (&[host, origin, ("Sec-Fetch-Site", "none")], None),
            (&[host, ("Origin", "https://evil.example")], None),
            (&[host, ("Origin", "https://lottery.example.evil.example")], None),
            (&[host, ("Origin", "null")], None),
            (&[host], None),
            (&[], None),
        ] {
            assert_eq!(secure(headers), expected, "{headers:?}");
        }
    }

    #[test]
    fn a_cookie_is_sent_unencrypted_only_on_the_same_machine() {
        for (host, expected) in [
            ("localhost:8080", false),
            ("localhost", false),
            ("127.0.0.1:8080", false),
            ("[::1]:8080", false),
            ("[::1]", false),
            ("192.168.1.5:8080", true),
            ("lottery.example", true),
            ("localhost.evil.example", true),
        ] {
            let origin = |scheme: &str| format!("{scheme}://{host}");
            assert_eq!(secure(&[("Host", host), ("Origin", &origin("http"))]), Some(expected), "{host}");
            assert_eq!(secure(&[("Host", host), ("Origin", &origin("https"))]), Some(true), "{host}");
        }
    }
}
