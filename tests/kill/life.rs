//! The admin's part: draws are made and ended, step by step, whatever is killed meanwhile.

use std::rc::Rc;
use std::time::Duration;

use jiff::SignedDuration;
use lottery::clock::Clock;
use lottery::domain::user::Role;
use rand::RngExt;
use rand::rngs::StdRng;
use reqwest::Method;
use serde_json::{Value, json};

use crate::crowd::person;
use crate::faults::Fault;
use crate::house::{House, PATIENCE};
use crate::journal::Heard;
use crate::player::{PAUSE, Player};

/// Pre-made tickets of a draw; and so many that something may fall into their making.
const POOL: usize = 1_500;
pub const LARGE_POOL: usize = 20_000;

pub struct Admin(Rc<Player>);

impl Admin {
    pub async fn new(house: &House) -> Admin {
        Admin(Rc::new(person(house, "the.admin", Role::Admin).await))
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        match self.0.send(Method::POST, path, None, &body, PATIENCE).await {
            Ok(Heard::Success { body, .. }) => body,
            other => panic!("{path}: {other:?}"),
        }
    }

    /// A draw that nobody has opened. Nothing is killed yet.
    pub async fn make_draw(&self) -> i64 {
        let body = json!({"lottery": "5of36", "sales_close_at": "2099-01-01T00:00:00Z"});
        self.post("/admin/draws", body).await["id"].as_i64().unwrap()
    }

    /// A draw on sale until somebody ends it, with a pool. Nothing is killed yet.
    pub async fn open_draw(&self) -> i64 {
        let draw = self.make_draw().await;
        self.open(draw).await;
        draw
    }

    /// A draw on sale until the clock ends it, and conducts it a second later.
    pub async fn open_draw_for(&self, time: SignedDuration) -> i64 {
        let close = Clock::system().now() + time;
        let draw_at = close + SignedDuration::from_secs(1);
        let body = json!({"lottery": "5of36", "sales_close_at": close, "draw_at": draw_at});
        let draw = self.post("/admin/draws", body).await["id"].as_i64().unwrap();
        self.open(draw).await;
        draw
    }

    async fn open(&self, draw: i64) {
        self.post(&format!("/admin/draws/{draw}/pool"), json!({"count": POOL})).await;
        self.post(&format!("/admin/draws/{draw}/open"), Value::Null).await;
    }

    pub async fn draw(&self, draw: i64) -> Value {
        self.0.get(&format!("/draws/{draw}")).await
    }

    /// The result of a draw, once it is completed.
    pub async fn result(&self, draw: i64) -> Value {
        self.0.get(&format!("/draws/{draw}/results")).await
    }

    /// Makes a large pool under one key, until it is answered; so many faults befall the house meanwhile.
    pub async fn insist_on_pool(&self, draw: i64, faults: usize, house: &mut House, rng: &mut StdRng) -> Value {
        let ask = |admin: Rc<Player>| async move {
            let (path, body) = (format!("/admin/draws/{draw}/pool"), json!({"count": LARGE_POOL}));
            match admin.send(Method::POST, &path, Some("the-pool"), &body, PATIENCE).await {
                Ok(Heard::Success { body, .. }) => Some(body),
                Ok(Heard::Nothing | Heard::NotTaken(_)) => None,
                other => panic!("{other:?}"),
            }
        };
        for _ in 0..faults {
            let asking = actix_web::rt::spawn(ask(self.0.clone()));
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..700))).await;
            Fault::quick(rng).befall(house, rng).await;
            asking.await.unwrap();
        }
        let insisting = async {
            loop {
                match ask(self.0.clone()).await {
                    Some(made) => return made,
                    None => tokio::time::sleep(PAUSE).await,
                }
            }
        };
        let made = tokio::time::timeout(PATIENCE, insisting).await;
        made.unwrap_or_else(|_| panic!("the pool is never made:\n{}", house.log()))
    }

    /// Takes a step until it is taken; so many faults befall the house in the middle of it. Returns the
    /// winning numbers, each time they were seen.
    pub async fn insist(
        &self,
        draw: i64,
        step: &'static str,
        faults: usize,
        house: &mut House,
        rng: &mut StdRng,
    ) -> Vec<Value> {
        let mut seen = Vec::new();
        for _ in 0..faults {
            let asking = actix_web::rt::spawn(ask(self.0.clone(), draw, step));
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..120))).await;
            Fault::quick(rng).befall(house, rng).await;
            asking.await.unwrap();
            seen.push(self.draw(draw).await["winning_numbers"].clone());
        }
        let insisting = async { while !ask(self.0.clone(), draw, step).await {} };
        let done = tokio::time::timeout(PATIENCE, insisting).await;
        done.unwrap_or_else(|_| panic!("{step} of draw {draw} is never taken:\n{}", house.log()));
        seen.retain(|numbers| !numbers.is_null());
        seen
    }
}

/// Asks once for a step; whether it is taken.
async fn ask(admin: Rc<Player>, draw: i64, step: &str) -> bool {
    let body = if step == "cancel" { json!({"reason": "the drum is broken"}) } else { Value::Null };
    let goal = match step {
        "close" => "closed",
        "conduct" => "completed",
        _ => "cancelled",
    };
    match admin.send(Method::POST, &format!("/admin/draws/{draw}/{step}"), None, &body, PATIENCE).await {
        Ok(Heard::Success { body, .. }) => body["status"] == goal,
        Ok(Heard::Nothing | Heard::NotTaken(_)) => {
            tokio::time::sleep(PAUSE).await;
            false
        }
        // Such as `invalid_transition`: a step that was taken is 200 again, never refused.
        other => panic!("{other:?}"),
    }
}
