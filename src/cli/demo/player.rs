//! A player of the demo: a REST client that uses only the public API.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use rand::RngExt;
use rand::rngs::StdRng;
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::tls;

/// One of this many purchases reserves first and pays with a second call.
const PAYS_LATER: u32 = 20;

/// Why a call failed.
#[derive(Debug)]
pub struct CallError {
    pub code: String,
    what: String,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.what)
    }
}

/// A client with an access token.
#[derive(Clone)]
pub struct Player {
    base: String,
    http: Client,
    token: String,
}

impl Player {
    pub fn new(base: &str) -> Player {
        // It speaks plain HTTP to this machine: no certificates are loaded, so none can be missing.
        let http = tls::http_client()
            .tls_certs_only([])
            .build()
            .expect("a client without certificates can always be built");
        Player { base: base.to_owned(), http, token: String::new() }
    }

    pub async fn log_in(&mut self, login: &str, password: &str) -> Result<(), CallError> {
        let pair = self.post("/auth/login", json!({"login": login, "password": password})).await?;
        self.token = pair["access_token"].as_str().unwrap_or_default().to_owned();
        Ok(())
    }

    pub async fn get(&self, path: &str) -> Result<Value, CallError> {
        self.call(Method::GET, path, Value::Null).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Result<Value, CallError> {
        self.call(Method::POST, path, body).await
    }

    /// An answer that is not JSON.
    pub async fn text(&self, path: &str) -> Result<String, CallError> {
        let request = self.http.get(format!("{}{path}", self.base)).bearer_auth(&self.token);
        let response = request.send().await.and_then(Response::error_for_status).map_err(lost)?;
        response.text().await.map_err(lost)
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> Result<Value, CallError> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if !body.is_null() {
            request = request.json(&body);
        }
        let response = request.send().await.map_err(lost)?;
        let ok = response.status().is_success();
        let body: Value = response.json().await.map_err(lost)?;
        if ok {
            return Ok(body);
        }
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        Err(CallError { code: text("code"), what: format!("{path}: {}", text("detail")) })
    }

    /// Buys `count` tickets, one after the other: pool tickets, chosen numbers and quick picks in turn, most
    /// of them paid at once. Returns how long each purchase took.
    pub async fn buy(
        self,
        draw: i64,
        count: u32,
        game: (u8, u8),
        bar: ProgressBar,
    ) -> Result<Vec<Duration>, CallError> {
        let mut rng: StdRng = rand::make_rng();
        let mut latencies = Vec::new();
        for turn in 0..count {
            let line = match turn % 4 {
                0 | 2 => json!({"from_pool": true}),
                1 => json!({"numbers": random_numbers(game, &mut rng)}),
                _ => json!({"quick_pick": true}),
            };
            #[allow(clippy::disallowed_methods, reason = "how long it took, not the draw's time")]
            let started = Instant::now();
            self.buy_one(draw, line, turn % PAYS_LATER == PAYS_LATER - 1).await?;
            latencies.push(started.elapsed());
            bar.inc(1);
        }
        Ok(latencies)
    }

    async fn buy_one(&self, draw: i64, line: Value, later: bool) -> Result<(), CallError> {
        let path = format!("/draws/{draw}/tickets");
        let when = if later { "later" } else { "wallet" };
        let ordered = match self.post(&path, json!({"tickets": [line], "payment": when})).await {
            // Other players bought the last pool tickets: buy a quick pick instead.
            Err(error) if error.code == "pool_empty" => {
                self.post(&path, json!({"tickets": [{"quick_pick": true}], "payment": when})).await?
            }
            ordered => ordered?,
        };
        if later {
            let payment = ordered["payment"]["id"].as_str().unwrap_or_default();
            self.post(&format!("/payments/{payment}/pay"), json!({"method": "wallet"})).await?;
        }
        Ok(())
    }
}

fn lost(error: reqwest::Error) -> CallError {
    CallError { code: "no_answer".to_owned(), what: error.to_string() }
}

fn random_numbers((pick, of): (u8, u8), rng: &mut StdRng) -> BTreeSet<u8> {
    let mut numbers = BTreeSet::new();
    while numbers.len() < usize::from(pick) {
        numbers.insert(rng.random_range(1..=of));
    }
    numbers
}

/// Runs all tasks, at most `limit` at the same time; the results are in no order. The first error ends it.
pub async fn run_concurrently<T: 'static>(
    limit: usize,
    mut tasks: impl Iterator<Item = impl Future<Output = Result<T, CallError>> + 'static>,
) -> Result<Vec<T>, CallError> {
    let mut running = JoinSet::new();
    let mut done = Vec::new();
    loop {
        while running.len() < limit {
            let Some(task) = tasks.next() else { break };
            running.spawn_local(task);
        }
        match running.join_next().await {
            None => return Ok(done),
            Some(Ok(result)) => done.push(result?),
            Some(Err(error)) => return Err(CallError { code: "panic".to_owned(), what: error.to_string() }),
        }
    }
}
