//! A user of the service who speaks HTTP with it, in whichever process the service runs. Holds every answer
//! against the OpenAPI document.

use lottery::domain::id::UserId;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use super::{PASSWORD, body, openapi};

/// A user of the service: an address, and a token unless the user is anonymous.
#[derive(Clone)]
pub struct User {
    pub id: UserId,
    pub name: String,
    pub token: Option<String>,
    /// What all addresses begin with.
    base: String,
    http: Client,
}

/// An answer of the service.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    /// The body as it was received.
    pub text: String,
    /// The body as JSON: null if it is empty.
    pub body: Value,
}

impl Answer {
    /// The body of a success of this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.body
    }

    /// The body of a success of any status.
    #[track_caller]
    pub fn success(self) -> Value {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.text);
        self.body
    }

    /// A refusal must have this status and code, and the shape of every problem.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Value {
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(code)), "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.body["status"], status);
        assert_eq!(self.body["type"], format!("/api/problems#{code}"));
        assert!(self.body["title"].is_string() && self.body["detail"].is_string());
        self.body
    }

    pub fn is(&self, status: u16, code: &str) -> bool {
        self.status == status && self.body["code"] == code
    }
}

/// Counts the answers of this status and code; a success has no code.
pub fn count(answers: &[Answer], status: u16, code: Option<&str>) -> usize {
    answers.iter().filter(|it| it.status == status && it.body["code"].as_str() == code).count()
}

/// An HTTP client without the system's certificates, which take long to read: the tests speak plain HTTP.
pub fn http_client() -> Client {
    lottery::tls::http_client().tls_certs_only([]).build().unwrap()
}

impl User {
    /// An anonymous user of the service at this address.
    pub fn at(address: &str) -> User {
        let base = format!("http://{address}/api/v1");
        User { id: UserId(0), name: String::new(), token: None, base, http: http_client() }
    }

    /// The same user at another address, as after a restart of the service. The connections are kept.
    pub fn moved_to(&self, address: &str) -> User {
        User { base: format!("http://{address}/api/v1"), ..self.clone() }
    }

    /// The same user outside the API's base path.
    pub fn without_base_path(&self) -> User {
        User { base: self.base.trim_end_matches("/api/v1").to_owned(), ..self.clone() }
    }

    /// The same client with this token.
    pub fn with_token(&self, token: &str) -> User {
        User { token: Some(token.to_owned()), ..self.clone() }
    }

    /// Registers a new player with the tests' password, and logs in.
    pub async fn register(&self, name: &str) -> User {
        self.post("/auth/register", body::registration(name)).await.expect(201);
        self.log_in(name, PASSWORD).await
    }

    /// Logs in by username or email address.
    pub async fn log_in(&self, login: &str, password: &str) -> User {
        let pair = self.post("/auth/login", body::login(login, password)).await.expect(200);
        let user = self.with_token(pair["access_token"].as_str().unwrap());
        let me = user.get("/me").await.expect(200);
        let name = me["username"].as_str().unwrap().to_owned();
        User { id: UserId(me["id"].as_i64().unwrap()), name, ..user }
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request; there must be an answer, and the OpenAPI document must know it.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let request = request.build().unwrap();
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let response = self.http.execute(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        assert!(headers.contains_key("x-request-id"), "every answer carries X-Request-Id");
        let text = response.text().await.unwrap();
        let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() };
        openapi::check(method.as_str(), &path, status, &body);
        Answer { status, headers, text, body }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// Every item of a list, page by page.
    pub async fn all(&self, path: &str) -> Vec<Value> {
        let (mut items, mut next) = (Vec::new(), path.to_owned());
        loop {
            let page = self.get(&next).await.expect(200);
            items.extend(page["items"].as_array().unwrap().iter().cloned());
            let Some(cursor) = page["next_cursor"].as_str() else { return items };
            let and = if path.contains('?') { '&' } else { '?' };
            next = format!("{path}{and}cursor={cursor}");
        }
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).json(&body)).await
    }

    /// Posts with an Idempotency-Key.
    pub async fn post_keyed(&self, path: &str, key: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).header("Idempotency-Key", key).json(&body)).await
    }

    /// Deposits an amount by the sandbox's good card.
    pub async fn deposit(&self, amount: i64) -> Value {
        let payment = self.post("/wallet/deposits", body::deposit(amount, body::GOOD_CARD)).await.expect(201);
        assert_eq!(payment["status"], "paid");
        payment
    }

    pub async fn balance(&self) -> i64 {
        self.get("/wallet").await.expect(200)["balance"].as_i64().unwrap()
    }

    /// Orders these lines; `payment` is `wallet` or `later`.
    pub async fn order(&self, draw: i64, lines: Value, payment: &str) -> Answer {
        self.post(&format!("/draws/{draw}/tickets"), body::order(lines, payment)).await
    }

    /// Buys one ticket with these numbers, paid from the wallet.
    pub async fn buy(&self, draw: i64, numbers: &[u8]) -> Value {
        self.order(draw, json!([{"numbers": numbers}]), "wallet").await.expect(201)
    }

    /// Buys a number of quick picks, paid from the wallet.
    pub async fn buy_quick(&self, draw: i64, count: usize) -> Value {
        self.order(draw, json!(vec![body::quick_pick(); count]), "wallet").await.expect(201)
    }

    /// Reserves one ticket of the pool.
    pub async fn reserve(&self, draw: i64) -> Value {
        self.order(draw, json!([body::from_pool()]), "later").await.expect(201)
    }

    pub async fn pay(&self, payment: &str, body: Value) -> Answer {
        self.post(&format!("/payments/{payment}/pay"), body).await
    }

    // What admins do.

    /// Ends the charge of a payment.
    pub async fn end(&self, payment: &str, body: Value) -> Answer {
        self.post(&format!("/admin/payments/{payment}/end"), body).await
    }

    /// Creates a draw; returns its id.
    pub async fn create_draw(&self, body: Value) -> i64 {
        self.post("/admin/draws", body).await.expect(201)["id"].as_i64().unwrap()
    }

    pub async fn pool(&self, draw: i64, count: usize) -> Answer {
        self.post(&format!("/admin/draws/{draw}/pool"), json!({"count": count})).await
    }

    /// `open`, `close` or `conduct`.
    pub async fn step(&self, draw: i64, step: &str) -> Answer {
        self.send(self.request(Method::POST, &format!("/admin/draws/{draw}/{step}"))).await
    }

    pub async fn cancel(&self, draw: i64) -> Answer {
        self.post(&format!("/admin/draws/{draw}/cancel"), json!({"reason": "the drum is broken"})).await
    }

    /// Closes and conducts; returns the result.
    pub async fn conduct(&self, draw: i64) -> Value {
        self.step(draw, "close").await.expect(200);
        self.step(draw, "conduct").await.expect(200);
        self.get(&format!("/draws/{draw}/results")).await.expect(200)
    }
}
