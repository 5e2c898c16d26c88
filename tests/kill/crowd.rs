//! The crowd: many who buy, reserve, pay, give back and bring money, all at once and each one thing after
//! the other. What they ask and hear goes into the journal.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use lottery::actors::persistence::insert_user;
use lottery::auth::Tokens;
use lottery::clock::Clock;
use lottery::domain::id::SessionId;
use lottery::domain::user::{Email, Role, Username};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::{RwLock, watch};
use tokio::task::JoinHandle;

use crate::house::{House, PATIENCE, SECRET};
use crate::journal::{Call, Heard, Journal, Line, What};
use crate::player::{PAUSE, Player};

pub const PLAYERS: usize = 32;
/// Most wait for as long as any answer may take; a few hang up early.
const LONG: Duration = Duration::from_secs(30);
/// Nobody's password: tokens are signed here.
const NO_HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA";

/// Somebody new, whose token outlives the run.
pub async fn person(house: &House, name: &str, role: Role) -> Player {
    let clock = Clock::system();
    let username = Username::parse(name).unwrap();
    let email = Email::parse(&format!("{name}@example.com")).unwrap();
    let made = insert_user(&house.db(), (&username, &email, None), NO_HASH, role, clock.now()).await;
    let user = made.unwrap().unwrap().id;
    let tokens = Tokens::new(&SECRET.into(), Duration::from_secs(24 * 3600));
    let token = tokens.issue(user, SessionId(clock.ids().next(clock.now())), clock.now());
    Player::new(user.0, token, house.address())
}

/// What all of them share.
struct Shared {
    players: Vec<Player>,
    journal: RefCell<Journal>,
    /// The draws they buy of.
    draws: Vec<i64>,
    /// Held by each for as long as one call takes: whoever takes it alone finds nobody in the middle of
    /// anything.
    gate: RwLock<()>,
    over: Cell<bool>,
    /// Purchases answered 2xx.
    bought: watch::Sender<usize>,
    requests: Cell<usize>,
}

pub struct Crowd {
    shared: Rc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl Crowd {
    /// They begin at once, on these draws.
    pub async fn gather(house: &House, draws: &[i64], seed: u64) -> Crowd {
        let mut players = Vec::new();
        for n in 0..PLAYERS {
            players.push(person(house, &format!("player{n}"), Role::Player).await);
        }
        let shared = Rc::new(Shared {
            players,
            journal: RefCell::default(),
            draws: draws.to_vec(),
            gate: RwLock::new(()),
            over: Cell::new(false),
            bought: watch::Sender::new(0),
            requests: Cell::new(0),
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
        Crowd { shared, tasks }
    }

    /// Waits until so many more purchases were answered 2xx.
    pub async fn buys(&self, more: usize, house: &House) {
        let mut bought = self.shared.bought.subscribe();
        let goal = *bought.borrow() + more;
        let waiting = bought.wait_for(|bought| *bought >= goal);
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            panic!("nobody can buy any more:\n{}", house.log());
        }
    }

    /// Holds everybody up between two calls, for as long as this is done.
    pub async fn meanwhile<T>(&self, work: impl AsyncFnOnce(&mut Journal) -> T) -> T {
        let _alone = self.shared.gate.write().await;
        // Nobody else looks into it while the gate is taken.
        let mut journal = self.shared.journal.take();
        let done = work(&mut journal).await;
        self.shared.journal.replace(journal);
        done
    }

    /// Looks into the journal while everybody goes on.
    pub fn glimpse<T>(&self, look: impl FnOnce(&Journal) -> T) -> T {
        look(&self.shared.journal.borrow())
    }

    /// Everybody goes home; those who wait for an answer under a key ask until they have it.
    pub async fn go_home(&mut self) {
        self.shared.over.set(true);
        for task in self.tasks.drain(..) {
            tokio::time::timeout(PATIENCE, task).await.expect("everybody goes home in time").unwrap();
        }
    }

    /// Asks once more for what was said under a key.
    pub async fn ask_again(&self, call: &Call) -> Heard {
        let asking = async {
            loop {
                match self.shared.send(call, LONG).await {
                    Ok(Heard::Nothing | Heard::NotTaken(_)) => tokio::time::sleep(PAUSE).await,
                    Ok(heard) => return heard,
                    Err(wrong) => panic!("{wrong}"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.expect("an answer in time")
    }

    pub fn requests(&self) -> usize {
        self.shared.requests.get()
    }
}

impl Shared {
    async fn send(&self, call: &Call, patience: Duration) -> Result<Heard, String> {
        self.requests.set(self.requests.get() + 1);
        let method = if matches!(call.what, What::GiveBack { .. }) { Method::DELETE } else { Method::POST };
        self.players[call.who].send(method, &call.path, call.key.as_deref(), &call.body, patience).await
    }
}

/// A reservation that was heard of.
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
    /// Pool tickets that were for sale a while ago.
    seen: Vec<String>,
}

impl Buyer {
    async fn play(mut self) {
        let shared = self.shared.clone();
        while !shared.over.get() {
            let _at_play = shared.gate.read().await;
            match self.rng.random_range(0..100) {
                _ if self.keys == 0 => self.deposit().await,
                0..62 => self.order(true).await,
                62..78 => self.order(false).await,
                78..89 => self.pay().await,
                89..95 => self.give_back().await,
                _ => self.deposit().await,
            }
        }
    }

    /// Says it until there is an answer, if it has a key; else once. Returns the call's place in the
    /// journal, and the success, if that was the answer.
    async fn say(&mut self, what: What, path: String, body: Value) -> (usize, Option<Value>) {
        let keyed = !matches!(what, What::GiveBack { .. }) && self.rng.random_bool(0.75);
        let key = keyed.then(|| {
            self.keys += 1;
            format!("key-{}", self.keys)
        });
        let user = self.shared.players[self.who].user;
        let call = Call { who: self.who, user, what, path, body, key, heard: Vec::new() };
        let at = self.shared.journal.borrow_mut().begin(call.clone());
        loop {
            let hasty = self.rng.random_bool(0.03);
            let patience = if hasty { Duration::from_millis(self.rng.random_range(2..300)) } else { LONG };
            let heard = self.shared.send(&call, patience).await;
            let heard = heard.unwrap_or_else(|wrong| {
                self.shared.journal.borrow_mut().wrong.push(wrong);
                Heard::Nothing
            });
            self.shared.journal.borrow_mut().hear(at, heard.clone());
            match heard {
                Heard::Success { body, .. } => return (at, Some(body)),
                Heard::Refusal(_) => return (at, None),
                Heard::Nothing if call.key.is_none() => return (at, None),
                // Some lose patience; what became of it is found out in the end.
                Heard::NotTaken("overloaded") if self.rng.random_bool(0.3) => return (at, None),
                Heard::NotTaken("overloaded") => tokio::time::sleep(4 * PAUSE).await,
                Heard::Nothing | Heard::NotTaken(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    fn last_refusal(&self, call: usize) -> String {
        match self.shared.journal.borrow().calls[call].heard.last() {
            Some(Heard::Refusal(code)) => code.clone(),
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
            // Another may be quicker, and it may be the other draw's.
            lines = vec![Line::Pool(ticket)];
        }
        let body = json!({
            "tickets": lines.iter().map(line_body).collect::<Vec<_>>(),
            "payment": if paid { "wallet" } else { "later" },
        });
        let path = format!("/draws/{draw}/tickets");
        let (call, success) = self.say(What::Order { draw, paid, lines }, path, body).await;
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
                // The rush for a draw that is over need not be as hot.
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
        let token = if self.rng.random_bool(0.2) { "tok_declined" } else { "tok_visa" };
        let body = if card { json!({"method": "card", "token": token}) } else { json!({"method": "wallet"}) };
        let path = format!("/payments/{}/pay", reserved.payment);
        let what = What::Pay { order: reserved.order, payment: reserved.payment.clone(), card };
        let (call, success) = self.say(what, path, body).await;
        match success {
            Some(payment) if payment["status"] == "paid" => self.bought(),
            // Declined: to be tried again, until its time is up.
            Some(_) => self.reserved.push(reserved),
            None if self.last_refusal(call) == "insufficient_funds" => self.reserved.push(reserved),
            None => {}
        }
    }

    async fn give_back(&mut self) {
        let Some(mut reserved) = self.reserved.pop() else { return self.order(false).await };
        let at = self.rng.random_range(0..reserved.tickets.len());
        let ticket = reserved.tickets.swap_remove(at);
        let path = format!("/tickets/{ticket}");
        self.say(What::GiveBack { order: reserved.order, ticket }, path, Value::Null).await;
        if !reserved.tickets.is_empty() {
            self.reserved.push(reserved);
        }
    }

    async fn deposit(&mut self) {
        let amount = self.rng.random_range(1..=100) * 10_000;
        let token = if self.rng.random_bool(0.1) { "tok_declined" } else { "tok_visa" };
        let body = json!({"amount": amount, "token": token});
        self.say(What::Deposit { amount }, "/wallet/deposits".to_owned(), body).await;
    }
}

fn line_body(line: &Line) -> Value {
    match line {
        Line::QuickPick => json!({"quick_pick": true}),
        Line::Numbers(numbers) => json!({"numbers": numbers}),
        Line::Pool(id) => json!({"pool_ticket_id": id}),
        Line::FromPool => json!({"from_pool": true}),
    }
}
