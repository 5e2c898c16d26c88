//! A user who sends a request once to whichever service runs, and classifies the outcome by the contract's status
//! codes. Keeps no record of it.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use tokio::sync::watch;

use crate::common::client::User;
use crate::common::wait::TIMEOUT;
use crate::journal::Outcome;
use crate::world::World;

/// The pause between two tries of the same request.
pub const PAUSE: Duration = Duration::from_millis(15);

pub struct Player {
    user: User,
    address: watch::Receiver<String>,
}

impl Player {
    pub fn new(user: User, world: &World) -> Player {
        Player { user, address: world.address() }
    }

    pub fn id(&self) -> i64 {
        self.user.id.0
    }

    /// Waits for a running service, and sends the request once; hangs up without an answer after `timeout`. An
    /// error is an answer that the contract does not allow.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: &Value,
        timeout: Duration,
    ) -> Result<Outcome, String> {
        let mut address = self.address.clone();
        let running = tokio::time::timeout(TIMEOUT, address.wait_for(|address| !address.is_empty())).await;
        let address = running.expect("a service runs in time").expect("the world exists").clone();
        let mut request = self.user.moved_to(&address).request(method, path).timeout(timeout);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        if !body.is_null() {
            request = request.json(body);
        }
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_connect() => return Ok(Outcome::NotTaken("not connected")),
            Err(_) => return Ok(Outcome::NoAnswer),
        };
        let status = response.status().as_u16();
        // Every answer of the service has an id. This one is the proxy's.
        if status >= 500 && !response.headers().contains_key("x-request-id") {
            return Ok(if status == 503 { Outcome::NotTaken("no service") } else { Outcome::NoAnswer });
        }
        let Ok(text) = response.text().await else { return Ok(Outcome::NoAnswer) };
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        classify(status, body).ok_or_else(|| format!("{path}: {status} {text}"))
    }

    /// Asks until the answer is 200.
    pub async fn get(&self, path: &str) -> Value {
        let asking = async {
            loop {
                let answer = self.send(Method::GET, path, None, &Value::Null, TIMEOUT).await;
                if let Ok(Outcome::Success { body, .. }) = answer {
                    return body;
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout(TIMEOUT, asking).await.unwrap_or_else(|_| panic!("never answered: {path}"))
    }
}

/// `None` for an answer that the contract does not allow, whatever is killed.
fn classify(status: u16, body: Value) -> Option<Outcome> {
    let code = body["code"].as_str().unwrap_or_default().to_owned();
    match (status, code.as_str()) {
        (200..=299, _) => Some(Outcome::Success { status, body }),
        (503, "overloaded") => Some(Outcome::NotTaken("overloaded")),
        (503, "standby") => Some(Outcome::NotTaken("standby")),
        (503, "outcome_unknown") => Some(Outcome::NoAnswer),
        (409, "idempotency_in_progress") => Some(Outcome::NotTaken("in progress")),
        (422, "idempotency_key_reused") | (401 | 403, _) => None,
        (400..=499, code) if !code.is_empty() => Some(Outcome::Refusal(code.to_owned())),
        _ => None,
    }
}
