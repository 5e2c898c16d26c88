//! Somebody at the other end of a connection: sends a request, and says what was heard. Knows the contract's
//! codes, and keeps no memory.

use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::Value;
use tokio::sync::watch;

use crate::house::PATIENCE;
use crate::journal::Heard;

/// Between two tries of the same.
pub const PAUSE: Duration = Duration::from_millis(15);

pub struct Player {
    pub user: i64,
    token: String,
    http: Client,
    address: watch::Receiver<String>,
}

impl Player {
    pub fn new(user: i64, token: String, address: watch::Receiver<String>) -> Player {
        Player { user, token, http: lottery::tls::http_client().build().unwrap(), address }
    }

    /// Waits for a service, and sends this once; hangs up if there is no answer in time.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: &Value,
        patience: Duration,
    ) -> Result<Heard, String> {
        let mut address = self.address.clone();
        let running = tokio::time::timeout(PATIENCE, address.wait_for(|address| !address.is_empty())).await;
        let base = running.expect("a service in time").expect("a house").clone();
        let mut request = self.http.request(method, format!("http://{base}/api/v1{path}"));
        request = request.bearer_auth(&self.token).timeout(patience);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        if !body.is_null() {
            request = request.json(body);
        }
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_connect() => return Ok(Heard::NotTaken("not connected")),
            Err(_) => return Ok(Heard::Nothing),
        };
        let status = response.status().as_u16();
        let Ok(text) = response.text().await else { return Ok(Heard::Nothing) };
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        understand(status, body).ok_or_else(|| format!("{path}: {status} {text}"))
    }

    /// Asks until there is an answer of 200.
    pub async fn get(&self, path: &str) -> Value {
        let asking = async {
            loop {
                let answer = self.send(Method::GET, path, None, &Value::Null, PATIENCE).await;
                if let Ok(Heard::Success { body, .. }) = answer {
                    return body;
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("never answered: {path}"))
    }
}

/// None for an answer that may not be given, whatever is killed.
fn understand(status: u16, body: Value) -> Option<Heard> {
    let code = body["code"].as_str().unwrap_or_default().to_owned();
    match (status, code.as_str()) {
        (200..=299, _) => Some(Heard::Success { status, body }),
        (503, "overloaded") => Some(Heard::NotTaken("overloaded")),
        (503, "outcome_unknown") => Some(Heard::Nothing),
        (409, "idempotency_in_progress") => Some(Heard::NotTaken("in progress")),
        (422, "idempotency_key_reused") | (401 | 403, _) => None,
        (400..=499, code) if !code.is_empty() => Some(Heard::Refusal(code.to_owned())),
        _ => None,
    }
}
