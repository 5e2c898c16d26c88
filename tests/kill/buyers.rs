//! Many players who buy, reserve, pay, return tickets and deposit, all at the same time and each one request after
//! the other. Requests and outcomes go into the journal.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::{RwLock, watch};
use tokio::task::JoinHandle;

use crate::common::MASTER_SECRET;
use crate::common::body;
use crate::common::process::Program;
use crate::common::wait::TIMEOUT;
use crate::journal::{Action, Call, Expected, Journal, Line, Outcome};
use crate::player::{PAUSE, Player};
use crate::world::World;

pub const PLAYERS: usize = 32;
/// Most requests wait for as long as any answer may take; a few hang up early.
const LONG: Duration = Duration::from_secs(30);
/// What all buyers share.
struct Shared {
    players: Vec<Player>,
    journal: RefCell<Journal>,
    /// The draws whose tickets they buy.
    draws: Vec<i64>,
    /// Each buyer holds it for reading while one call lasts: who holds it for writing knows that no call is under
    /// way.
    gate: RwLock<()>,
    over: Cell<bool>,
    /// Purchases answered 2xx.
    bought: watch::Sender<usize>,
    requests: Cell<usize>,
    /// How long the slowest call took, with all its tries, since this was last asked.
    slowest: Cell<Duration>,
}

/// The settings that the buyers need, and under which faults show all kinds of answers.
pub fn configured(program: Program) -> Program {
    program
        .with("LOTTERY__AUTH__JWT_SECRET", "what the kill rounds sign their tokens with")
        // Of the cluster, each machine has a data directory of its own.
        .with("LOTTERY__FAIRNESS__MASTER_SECRET", MASTER_SECRET)
        .with("LOTTERY__LOG__FORMAT", "json")
        .with("LOTTERY__LIMITS__ENABLED", "false")
        // Everybody logs in at the start of a series, and the tokens must outlive it.
        .with("LOTTERY__AUTH__HASH_THREADS", "2")
        .with("LOTTERY__AUTH__ACCESS_TOKEN", "24h")
        // Short enough that a frozen database leads to all three answers: late, overloaded, unknown.
        .with("LOTTERY__PERSISTENCE__DEADLINE", "1s")
        // Short enough that reservations expire while faults happen.
        .with("LOTTERY__TICKETS__RESERVATION", "3s")
}

pub struct Buyers {
    shared: Rc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

/// Registers all players and logs them in. It takes seconds, since passwords are hashed slowly by design.
pub async fn register(world: &World) -> Vec<Player> {
    let register = async |n| Player::new(world.anonymous().register(&format!("player{n}")).await, world);
    join_all((0..PLAYERS).map(register)).await
}

impl Buyers {
    /// The players begin at once to buy tickets of these draws.
    pub fn start(players: Vec<Player>, draws: &[i64], seed: u64) -> Buyers {
        let shared = Rc::new(Shared {
            players,
            journal: RefCell::default(),
            draws: draws.to_vec(),
            gate: RwLock::new(()),
            over: Cell::new(false),
            bought: watch::Sender::new(0),
            requests: Cell::new(0),
            slowest: Cell::default(),
        });
        let task = |who| {
            let buyer = Buyer {
                who,
                shared: shared.clone(),
                rng: StdRng::seed_from_u64(seed ^ (who as u64) << 32),
                keys: 0,
                reserved: Vec::new(),
                seen: Vec::new(),
            };
            actix_web::rt::spawn(buyer.play())
        };
        let tasks = (0..PLAYERS).map(task).collect();
        Buyers { shared, tasks }
    }

    /// Waits until this many more purchases were answered 2xx.
    pub async fn until_bought(&self, more: usize, world: &World) {
        let mut bought = self.shared.bought.subscribe();
        let goal = *bought.borrow() + more;
        let waiting = bought.wait_for(|bought| *bought >= goal);
        if tokio::time::timeout(TIMEOUT, waiting).await.is_err() {
            panic!("nobody can buy any more:\n{}", world.log());
        }
    }

    /// Pauses everybody between two calls while `work` runs.
    pub async fn while_paused<T>(&self, work: impl AsyncFnOnce(&mut Journal) -> T) -> T {
        let _alone = self.shared.gate.write().await;
        // No buyer uses it while the gate is held for writing.
        let mut journal = self.shared.journal.take();
        let done = work(&mut journal).await;
        self.shared.journal.replace(journal);
        done
    }

    /// Reads the journal while everybody goes on.
    pub fn read_journal<T>(&self, look: impl FnOnce(&Journal) -> T) -> T {
        look(&self.shared.journal.borrow())
    }

    /// Ends all buyers; those who wait for an answer under a key ask until they have it.
    pub async fn finish(&mut self) {
        self.shared.over.set(true);
        for task in self.tasks.drain(..) {
            tokio::time::timeout(TIMEOUT, task).await.expect("the buyers end in time").unwrap();
        }
    }

    /// Repeats a call under its key until there is an answer.
    pub async fn repeat(&self, call: &Call) -> Outcome {
        let asking = async {
            loop {
                match self.shared.send(call, LONG).await {
                    Ok(Outcome::NoAnswer | Outcome::NotTaken(_)) => tokio::time::sleep(PAUSE).await,
                    Ok(outcome) => return outcome,
                    Err(wrong) => panic!("{wrong}"),
                }
            }
        };
        tokio::time::timeout(TIMEOUT, asking).await.expect("an answer in time")
    }

    /// Repeats every call with a key and without an answer until there is one. Returns how many there were.
    pub async fn resolve_unknown(&self, journal: &mut Journal) -> usize {
        for at in journal.open() {
            let outcome = self.repeat(&journal.calls[at]).await;
            journal.record(at, outcome);
        }
        journal.calls.iter().filter(|call| call.key.is_some() && call.had_no_answer()).count()
    }

    /// Replays some of the successes: the answers are the same. Returns how many it replayed.
    pub async fn replay(&self, journal: &Journal, count: usize, rng: &mut StdRng) -> usize {
        let kept = journal.kept();
        let chosen = kept.sample(rng, count.min(kept.len()));
        let chosen: Vec<_> = chosen.map(|at| &journal.calls[*at]).collect();
        for call in &chosen {
            let Expected::Done { status, body } = call.expected() else { continue };
            let first = body::without_receipt(body.clone());
            match self.repeat(call).await {
                Outcome::Success { status: again, body: same } if again == status && same == first => {}
                // A charge that was processing may have ended since.
                Outcome::Success { body: same, .. }
                    if body["status"] == "processing" && same["id"] == body["id"] => {}
                other => panic!("a replay that differs: {other:?} of {call:?}"),
            }
        }
        chosen.len()
    }

    pub fn requests(&self) -> usize {
        self.shared.requests.get()
    }

    /// Counts the purchases answered 2xx.
    pub fn purchases(&self) -> watch::Receiver<usize> {
        self.shared.bought.subscribe()
    }

    /// How long the slowest call took, with all its tries, since this was last asked.
    pub fn take_slowest(&self) -> Duration {
        self.shared.slowest.take()
    }
}

impl Shared {
    async fn send(&self, call: &Call, timeout: Duration) -> Result<Outcome, String> {
        self.requests.set(self.requests.get() + 1);
        let method = if matches!(call.action, Action::Return { .. }) { Method::DELETE } else { Method::POST };
        self.players[call.who].send(method, &call.path, call.key.as_deref(), &call.body, timeout).await
    }
}

/// A reservation that was answered.
struct Reserved {
    order: usize,
    payment: String,
    tickets: Vec<String>,
}

struct Buyer {
    who: usize,
    shared: Rc<Shared>,
    rng: StdRng,
    keys: usize,
    reserved: Vec<Reserved>,
    /// Pool tickets that were for sale when the pool was last read.
    seen: Vec<String>,
}

impl Buyer {
    async fn play(mut self) {
        let shared = self.shared.clone();
        while !shared.over.get() {
            let _playing = shared.gate.read().await;
            match self.rng.random_range(0..100) {
                _ if self.keys == 0 => self.deposit().await,
                0..62 => self.order(true).await,
                62..78 => self.order(false).await,
                78..89 => self.pay().await,
                89..95 => self.return_ticket().await,
                _ => self.deposit().await,
            }
        }
    }

    /// Sends a request: with a key until there is an answer, without one once. Returns the call's index in the
    /// journal, and the body of a success.
    async fn request(&mut self, action: Action, path: String, body: Value) -> (usize, Option<Value>) {
        let keyed = !matches!(action, Action::Return { .. }) && self.rng.random_bool(0.75);
        let key = keyed.then(|| {
            self.keys += 1;
            format!("key-{}", self.keys)
        });
        let user = self.shared.players[self.who].id();
        let call = Call { who: self.who, user, action, path, body, key, outcomes: Vec::new() };
        let at = self.shared.journal.borrow_mut().begin(call.clone());
        #[allow(clippy::disallowed_methods, reason = "measures how long clients wait")]
        let begun = Instant::now();
        loop {
            let impatient = self.rng.random_bool(0.03);
            let timeout = if impatient { Duration::from_millis(self.rng.random_range(2..300)) } else { LONG };
            let outcome = self.shared.send(&call, timeout).await;
            let outcome = outcome.unwrap_or_else(|wrong| {
                self.shared.journal.borrow_mut().wrong.push(wrong);
                Outcome::NoAnswer
            });
            self.shared.journal.borrow_mut().record(at, outcome.clone());
            self.shared.slowest.set(self.shared.slowest.get().max(begun.elapsed()));
            match outcome {
                Outcome::Success { body, .. } => return (at, Some(body)),
                Outcome::Refusal(_) => return (at, None),
                Outcome::NoAnswer if call.key.is_none() => return (at, None),
                // Some give up; the outcome is resolved in the end.
                Outcome::NotTaken("overloaded") if self.rng.random_bool(0.3) => return (at, None),
                Outcome::NotTaken("overloaded") => tokio::time::sleep(4 * PAUSE).await,
                Outcome::NoAnswer | Outcome::NotTaken(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    fn last_refusal(&self, call: usize) -> String {
        match self.shared.journal.borrow().calls[call].outcomes.last() {
            Some(Outcome::Refusal(code)) => code.clone(),
            _ => String::new(),
        }
    }

    fn bought(&self) {
        self.shared.bought.send_modify(|bought| *bought += 1);
    }

    async fn order(&mut self, paid: bool) {
        let draw = self.shared.draws[self.rng.random_range(0..self.shared.draws.len())];
        let count = match self.rng.random_range(0..100) {
            0..70 => 1,
            70..94 => self.rng.random_range(2..6),
            // Enough for a settlement of many steps.
            _ => self.rng.random_range(20..=100),
        };
        if self.seen.is_empty() && self.rng.random_bool(0.05) {
            let pool = self.shared.players[self.who].get(&format!("/draws/{draw}/pool?limit=20")).await;
            let ids = pool["items"].as_array().into_iter().flatten();
            self.seen = ids.filter_map(|ticket| Some(ticket["id"].as_str()?.to_owned())).collect();
        }
        let mut lines: Vec<Line> = (0..count).map(|_| self.line(count)).collect();
        if paid
            && count == 1
            && let Some(ticket) = self.seen.pop()
        {
            // Another buyer may take it first, and it may belong to the other draw.
            lines = vec![Line::Pool(ticket)];
        }
        let body = json!({
            "tickets": lines.iter().map(line_body).collect::<Vec<_>>(),
            "payment": if paid { "wallet" } else { "later" },
        });
        let path = format!("/draws/{draw}/tickets");
        let (call, success) = self.request(Action::Order { draw, paid, lines }, path, body).await;
        match success {
            Some(_) if paid => self.bought(),
            Some(body) => {
                let tickets = body["tickets"].as_array().into_iter().flatten();
                let tickets = tickets.map(|ticket| ticket["id"].as_str().unwrap().to_owned()).collect();
                let payment = body["payment"]["id"].as_str().unwrap().to_owned();
                self.reserved.push(Reserved { order: call, payment, tickets });
            }
            None => match self.last_refusal(call).as_str() {
                "insufficient_funds" => self.deposit().await,
                // Nothing can be bought of this draw any more: no need to hurry.
                "draw_not_open" => tokio::time::sleep(PAUSE).await,
                _ => {}
            },
        }
    }

    fn line(&mut self, count: usize) -> Line {
        match self.rng.random_range(0..10) {
            0..4 if count < 20 => Line::FromPool,
            4..6 => {
                let mut numbers: Vec<i64> = Vec::new();
                while numbers.len() < 5 {
                    let number = self.rng.random_range(1..=36);
                    if !numbers.contains(&number) {
                        numbers.push(number);
                    }
                }
                numbers.sort_unstable();
                Line::Numbers(numbers)
            }
            _ => Line::QuickPick,
        }
    }

    async fn pay(&mut self) {
        let Some(reserved) = self.reserved.pop() else { return self.order(true).await };
        let card = self.rng.random_bool(0.5);
        let token = self.card(0.2);
        let body = if card { body::card(token) } else { body::wallet() };
        let path = format!("/payments/{}/pay", reserved.payment);
        let action = Action::Pay { order: reserved.order, payment: reserved.payment.clone(), card };
        let (call, success) = self.request(action, path, body).await;
        match success {
            Some(payment) if payment["status"] == "paid" => self.bought(),
            // Declined: it can be paid until the reservation expires.
            Some(_) => self.reserved.push(reserved),
            None if self.last_refusal(call) == "insufficient_funds" => self.reserved.push(reserved),
            None => {}
        }
    }

    /// A card that is declined with this probability.
    fn card(&mut self, declined: f64) -> &'static str {
        if self.rng.random_bool(declined) { body::DECLINED_CARD } else { body::GOOD_CARD }
    }

    async fn return_ticket(&mut self) {
        let Some(mut reserved) = self.reserved.pop() else { return self.order(false).await };
        let at = self.rng.random_range(0..reserved.tickets.len());
        let ticket = reserved.tickets.swap_remove(at);
        let path = format!("/tickets/{ticket}");
        self.request(Action::Return { order: reserved.order, ticket }, path, Value::Null).await;
        if !reserved.tickets.is_empty() {
            self.reserved.push(reserved);
        }
    }

    async fn deposit(&mut self) {
        let amount = self.rng.random_range(1..=100) * 10_000;
        let token = self.card(0.1);
        let body = body::deposit(amount, token);
        self.request(Action::Deposit { amount }, "/wallet/deposits".to_owned(), body).await;
    }
}

fn line_body(line: &Line) -> Value {
    match line {
        Line::QuickPick => body::quick_pick(),
        Line::Numbers(numbers) => json!({"numbers": numbers}),
        Line::Pool(id) => json!({"pool_ticket_id": id}),
        Line::FromPool => body::from_pool(),
    }
}
