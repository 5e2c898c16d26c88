//! The admin: creates draws and ends them step by step, whatever is killed meanwhile.

use std::rc::Rc;
use std::time::Duration;

use jiff::SignedDuration;
use lottery::clock::Clock;
use rand::RngExt;
use rand::rngs::StdRng;
use reqwest::Method;
use serde_json::{Value, json};

use crate::common::client::User;
use crate::common::wait::TIMEOUT;
use crate::faults::Fault;
use crate::journal::Outcome;
use crate::player::{PAUSE, Player};
use crate::world::World;

/// Pool tickets of a draw; and a number whose creation takes long enough for a fault.
const POOL: usize = 1_500;
pub const LARGE_POOL: usize = 20_000;

pub struct Admin {
    player: Rc<Player>,
    /// For what is done while nothing is killed.
    user: User,
}

impl Admin {
    pub async fn new(world: &World) -> Admin {
        let user = world.service().admin(&world.program, "the.admin").await;
        Admin { player: Rc::new(Player::new(user.clone(), world)), user }
    }

    /// A draw that is not open. Must not be called while faults are injected.
    pub async fn create_draw(&self) -> i64 {
        self.user.create_draw(json!({"lottery": "5of36", "sales_close_at": "2099-01-01T00:00:00Z"})).await
    }

    /// A draw with a pool, on sale until an admin ends it. Must not be called while faults are injected.
    pub async fn open_draw(&self) -> i64 {
        let draw = self.create_draw().await;
        self.open(draw).await;
        draw
    }

    /// A draw on sale until the clock closes it, and conducts it a second later.
    pub async fn open_draw_for(&self, time: SignedDuration) -> i64 {
        let close = Clock::system().now() + time;
        let draw_at = close + SignedDuration::from_secs(1);
        let body = json!({"lottery": "5of36", "sales_close_at": close, "draw_at": draw_at});
        let draw = self.user.create_draw(body).await;
        self.open(draw).await;
        draw
    }

    async fn open(&self, draw: i64) {
        self.user.pool(draw, POOL).await.expect(201);
        self.user.step(draw, "open").await.expect(200);
    }

    pub async fn draw(&self, draw: i64) -> Value {
        self.player.get(&format!("/draws/{draw}")).await
    }

    /// The result of a draw, once it is completed.
    pub async fn result(&self, draw: i64) -> Value {
        self.player.get(&format!("/draws/{draw}/results")).await
    }

    /// Asks for a large pool under one key until it is created, with this number of faults meanwhile.
    pub async fn create_pool_under_faults(
        &self,
        draw: i64,
        faults: usize,
        world: &mut World,
        rng: &mut StdRng,
    ) -> Value {
        let ask = |admin: Rc<Player>| async move {
            let (path, body) = (format!("/admin/draws/{draw}/pool"), json!({"count": LARGE_POOL}));
            match admin.send(Method::POST, &path, Some("the-pool"), &body, TIMEOUT).await {
                Ok(Outcome::Success { body, .. }) => Some(body),
                Ok(Outcome::NoAnswer | Outcome::NotTaken(_)) => None,
                other => panic!("{other:?}"),
            }
        };
        for _ in 0..faults {
            let asking = actix_web::rt::spawn(ask(self.player.clone()));
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..700))).await;
            Fault::quick(rng).inject(world, rng).await;
            asking.await.unwrap();
        }
        let insisting = async {
            loop {
                match ask(self.player.clone()).await {
                    Some(made) => return made,
                    None => tokio::time::sleep(PAUSE).await,
                }
            }
        };
        let made = tokio::time::timeout(TIMEOUT, insisting).await;
        made.unwrap_or_else(|_| panic!("the pool is never created:\n{}", world.log()))
    }

    /// Asks for a step until it is taken, with this number of faults meanwhile. Returns the winning numbers, each
    /// time they were seen.
    pub async fn step_under_faults(
        &self,
        draw: i64,
        step: &'static str,
        faults: usize,
        world: &mut World,
        rng: &mut StdRng,
    ) -> Vec<Value> {
        let mut seen = Vec::new();
        for _ in 0..faults {
            let asking = actix_web::rt::spawn(ask(self.player.clone(), draw, step));
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..120))).await;
            Fault::quick(rng).inject(world, rng).await;
            asking.await.unwrap();
            seen.push(self.draw(draw).await["winning_numbers"].clone());
        }
        let insisting = async { while !ask(self.player.clone(), draw, step).await {} };
        let done = tokio::time::timeout(TIMEOUT, insisting).await;
        done.unwrap_or_else(|_| panic!("{step} of draw {draw} is never taken:\n{}", world.log()));
        seen.retain(|numbers| !numbers.is_null());
        seen
    }
}

/// Asks once for a step. Returns whether it was taken.
async fn ask(admin: Rc<Player>, draw: i64, step: &str) -> bool {
    let body = if step == "cancel" { json!({"reason": "the drum is broken"}) } else { Value::Null };
    let goal = match step {
        "close" => "closed",
        "conduct" => "completed",
        _ => "cancelled",
    };
    match admin.send(Method::POST, &format!("/admin/draws/{draw}/{step}"), None, &body, TIMEOUT).await {
        Ok(Outcome::Success { body, .. }) => body["status"] == goal,
        Ok(Outcome::NoAnswer | Outcome::NotTaken(_)) => {
            tokio::time::sleep(PAUSE).await;
            false
        }
        // Also `invalid_transition`: a step that was taken before is answered 200, not refused.
        other => panic!("{other:?}"),
    }
}
