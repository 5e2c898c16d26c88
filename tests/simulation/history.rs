//! A history: chooses the events by random numbers. First come any events in any order. Then the history lets all
//! open work finish, with faults at first, and sends every request once more. The model, not this file, checks
//! the money and the draws.

use jiff::Timestamp;
use lottery::domain::draw::{DrawRequest, Step, TimesChange};
use lottery::domain::id::DrawId;
use lottery::domain::lottery::DrawStatus;

use crate::coverage::{Coverage, Seen};
use crate::facts::{Line, NewTimes, OrderRequest, What};
use crate::faults::Temper;
use crate::process::{Message, Waiter, Waiting, WriterJob};
use crate::store::{self, id, mask};
use crate::world::{ADMIN, PLAYERS, Stage, World};

/// The fewest and the most events in a history before the open work is finished.
const SHORTEST: i64 = 50;
const LONGEST: i64 = 200;
const TRIES: usize = 4;
/// The limit of events while the open work is finished.
const PATIENCE: usize = 6_000;
/// The number of events with faults while the open work is finished.
const UNREST: usize = 60;

/// The possible events with their weights.
const ACTS: [(Act, usize); 28] = [
    (Act::Order, 26),
    (Act::Pay, 10),
    (Act::Card, 12),
    (Act::GiveBack, 6),
    (Act::Deposit, 3),
    (Act::Withdrawal, 3),
    (Act::WithdrawalDecision, 3),
    (Act::ChargeDecision, 1),
    (Act::Again, 8),
    (Act::OtherKey, 2),
    (Act::Write, 40),
    (Act::Read, 40),
    (Act::Load, 30),
    (Act::Provider, 9),
    (Act::Notice, 4),
    (Act::Resolve, 3),
    (Act::LateCall, 2),
    (Act::TellAgain, 4),
    (Act::HangUp, 3),
    (Act::Pass, 12),
    (Act::Wake, 8),
    (Act::Admin, 3),
    (Act::Pool, 3),
    (Act::Lose, 1),
    (Act::Late, 3),
    (Act::PayAside, 1),
    (Act::Disconnect, 1),
    (Act::Process, 1),
];

#[derive(Clone, Copy, Debug)]
enum Act {
    Order,
    Pay,
    Card,
    GiveBack,
    Deposit,
    Withdrawal,
    WithdrawalDecision,
    ChargeDecision,
    Again,
    OtherKey,
    Write,
    Read,
    Load,
    Provider,
    Notice,
    /// A process asks the provider for a charge that is not finished.
    Resolve,
    /// The call of a killed process arrives at the provider.
    LateCall,
    TellAgain,
    HangUp,
    Pass,
    Wake,
    Admin,
    Pool,
    Lose,
    /// A late transaction from the socket of a lost connection arrives.
    Late,
    PayAside,
    /// The writer loses its connection while it has nothing to do.
    Disconnect,
    Process,
}

/// A waiter without a deadline.
fn waits(who: Waiting) -> Waiter {
    Waiter { who, deadline: None }
}

/// Plays the history of this seed to its end. Panics if an invariant does not hold.
pub fn play(seed: u64, log: &mut Option<Vec<String>>) -> Coverage {
    let mut history = History::new(seed, log.is_some());
    std::mem::swap(&mut history.world.log, log);
    let mut guard = Guard { history, log };
    guard.history.play();
    guard.history.world.coverage.clone()
}

/// Returns the log when it is dropped, also after a panic.
struct Guard<'l> {
    history: History,
    log: &'l mut Option<Vec<String>>,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        std::mem::swap(&mut self.history.world.log, self.log);
    }
}

struct History {
    world: World,
    weights: [usize; ACTS.len()],
    keys: usize,
}

impl History {
    fn new(seed: u64, logged: bool) -> History {
        let mut world = World::new(seed, logged);
        // Each history has its own weights.
        let weights = ACTS.map(|(_, weight)| weight * world.dice.one_of(&[1, 2, 2, 3, 4]).unwrap());
        History { world, weights, keys: 0 }
    }

    fn play(&mut self) {
        if self.world.dice.chance(900) {
            self.open_all();
        }
        let length = self.world.dice.between(SHORTEST, LONGEST);
        for _ in 0..length {
            self.world.step += 1;
            // If an event has nothing to do, another one is tried, a few times.
            for _ in 0..TRIES {
                let act = ACTS[self.world.dice.weighted(&self.weights)].0;
                if self.act(act) {
                    break;
                }
            }
            if self.world.step.is_multiple_of(8) {
                self.compare();
            }
        }
        self.come_to_rest(UNREST);
        self.ask_again();
        self.come_to_rest(0);
        self.apply();
    }

    /// Most histories begin with draws on sale.
    fn open_all(&mut self) {
        let temper = std::mem::replace(&mut self.world.temper, Temper::CALM);
        while self.something_to_do() {}
        for draw in self.world.processes[0].live() {
            if self.world.dice.chance(850) {
                self.ask_for(0, draw, Step::Open, DrawStatus::Open);
            }
        }
        while self.something_to_do() {}
        self.world.temper = temper;
    }

    fn compare(&mut self) {
        for p in 0..self.world.processes.len() {
            for draw in self.world.processes[p].live() {
                self.world.compare_with_reload(p, draw);
            }
        }
    }

    /// A process: mostly the newest, sometimes an older one that should have ended.
    fn process(&mut self) -> usize {
        let newest = self.world.processes.len() - 1;
        if newest > 0 && self.world.dice.chance(400) { newest - 1 } else { newest }
    }

    /// Plays an event. False if it has nothing to do.
    fn act(&mut self, act: Act) -> bool {
        let p = self.process();
        match act {
            Act::Order => {
                if self.on_sale().is_empty() && self.world.dice.chance(850) {
                    return false;
                }
                let what = self.order();
                self.ask(p, what, 700);
            }
            Act::Pay | Act::Card => {
                // After a declined card, payers often try again.
                let again = if self.world.dice.chance(900) { self.some_declined() } else { None };
                let Some((user, payment)) = again.or_else(|| self.some_payment()) else { return false };
                let wallet = matches!(act, Act::Pay);
                let what = if wallet { What::Wallet { payment } } else { What::Card { payment } };
                self.ask_as(p, user, what, 600);
            }
            Act::GiveBack => return self.give_back(p),
            Act::Deposit => {
                let amount = self.world.dice.between(1, 300);
                self.ask(p, What::Deposit { amount }, 600);
            }
            Act::Withdrawal => {
                let amount = self.world.dice.between(1, 300);
                self.ask(p, What::Withdrawal { amount }, 600);
            }
            Act::WithdrawalDecision => return self.world.verdict(p),
            Act::ChargeDecision => return self.world.admin_ends(p),
            Act::Again => match self.some_keyed() {
                Some(ask) => self.world.send(p, ask),
                None => return false,
            },
            Act::OtherKey => return self.other_key(p),
            Act::Write => {
                if self.world.dice.chance(100) {
                    self.world.sweep(p);
                }
                if !self.world.processes[p].has_work_for_writer() {
                    return false;
                }
                self.world.write(p);
            }
            Act::Read => return self.world.deliver(p),
            Act::Load => {
                let loading = self.world.processes[p].loading();
                let Some(draw) = self.world.dice.one_of(&loading) else { return false };
                self.world.load(p, draw);
            }
            Act::Provider => {
                let asked = self.world.charges_at(|stage| *stage == Stage::AtProvider);
                let Some(charge) = self.world.dice.one_of(&asked) else { return false };
                self.world.provider_answers(charge);
            }
            Act::Notice => {
                if self.world.notices.is_empty() {
                    return false;
                }
                let place = self.world.dice.below(self.world.notices.len());
                self.world.notify(place);
            }
            Act::Resolve => {
                let unfinished = self.world.unfinished(p);
                let Some(payment) = self.world.dice.one_of(&unfinished) else { return false };
                self.world.resolve(p, payment);
            }
            Act::LateCall => {
                if self.world.late_calls.is_empty() {
                    return false;
                }
                let place = self.world.dice.below(self.world.late_calls.len());
                self.world.late_call(place);
            }
            Act::TellAgain => {
                let telling = self.world.charges_at(|stage| matches!(stage, Stage::Telling(_)));
                let Some(charge) = self.world.dice.one_of(&telling) else { return false };
                self.world.coverage.saw(Seen::ChargeAgain);
                self.world.tell_end(charge);
            }
            Act::HangUp => {
                let requests = &self.world.requests;
                let open: Vec<usize> = (0..requests.len()).filter(|r| requests[*r].is_open()).collect();
                let Some(request) = self.world.dice.one_of(&open) else { return false };
                self.world.hang_up(request);
            }
            Act::Pass => self.pass(),
            Act::Wake => {
                let live = self.world.processes[p].live();
                let Some(draw) = self.world.dice.one_of(&live) else { return false };
                if !self.world.wake(p, draw) {
                    return false;
                }
                self.world.coverage.saw(Seen::WokeLate);
            }
            Act::Admin => self.admin(p),
            Act::Pool => self.pool(p),
            Act::Lose => {
                let live = self.world.processes[p].live();
                let Some(draw) = self.world.dice.one_of(&live) else { return false };
                self.world.coverage.saw(Seen::ActorLost);
                self.world.lose_actor(p, draw);
            }
            Act::Late => {
                if self.world.late.is_empty() {
                    return false;
                }
                let place = self.world.dice.below(self.world.late.len());
                self.world.arrive(place);
            }
            Act::PayAside => self.world.pay_aside(),
            Act::Disconnect => {
                let writer = &mut self.world.processes[p].writer;
                if !matches!(writer.job, WriterJob::Idle) || writer.state.connection().is_none() {
                    return false;
                }
                writer.state.lost();
            }
            Act::Process => match self.world.processes.len() {
                1 if self.world.dice.chance(300) => self.world.take_over(),
                1 if self.world.dice.chance(500) => self.world.start_process(),
                1 => self.world.kill(0),
                _ => self.world.kill(p),
            },
        }
        true
    }

    /// Sends a new request of some player.
    fn ask(&mut self, p: usize, what: What, keyed: usize) {
        let user = self.world.dice.between(1, PLAYERS);
        self.ask_as(p, user, what, keyed);
    }

    fn ask_as(&mut self, p: usize, user: i64, what: What, keyed: usize) {
        let key = self.world.dice.chance(keyed).then(|| {
            self.keys += 1;
            format!("k{}", self.keys)
        });
        let ask = self.world.model.ask(OrderRequest { user, key, what });
        self.world.send(p, ask);
    }

    fn draws(&self) -> Vec<DrawId> {
        self.world.store.draws.keys().copied().collect()
    }

    fn on_sale(&self) -> Vec<DrawId> {
        let open = |draw: &DrawId| self.world.store.draws[draw].status == DrawStatus::Open;
        self.draws().into_iter().filter(open).collect()
    }

    fn order(&mut self) -> What {
        let (draws, on_sale) = (self.draws(), self.on_sale());
        let dice = &mut self.world.dice;
        let draw = dice.one_of(&on_sale).filter(|_| dice.chance(950)).or_else(|| dice.one_of(&draws)).unwrap();
        let row = &self.world.store.draws[&draw];
        let pool: Vec<u64> = row.pool.keys().map(|ticket| id(ticket.0)).collect();
        let count = [1, 1, 1, 2, 3][dice.below(5)];
        let mut lines = Vec::new();
        for _ in 0..count {
            lines.push(match dice.weighted(&[4, 4, 6, 3]) {
                0 => Line::QuickPick,
                1 if dice.chance(60) => Line::Numbers(None),
                1 => Line::Numbers(Some(mask(row.rules.game.random_pick(dice.rng())))),
                2 if !pool.is_empty() => Line::PoolTicket(dice.one_of(&pool).unwrap()),
                _ => Line::FromPool,
            });
        }
        What::Order { draw: draw.0, lines, reserve: dice.chance(550) }
    }

    /// A payment, mostly one that can be paid.
    fn some_payment(&mut self) -> Option<(i64, u64)> {
        let purchases = self.world.store.payments.iter().filter(|(_, row)| row.draw.is_some());
        let any: Vec<_> = purchases.clone().map(|(payment, row)| (row.user.0, id(payment.0))).collect();
        let pending = purchases.filter(|(_, row)| row.status.as_str() == "pending");
        let pending: Vec<_> = pending.map(|(payment, row)| (row.user.0, id(payment.0))).collect();
        let dice = &mut self.world.dice;
        dice.one_of(&pending).filter(|_| dice.chance(900)).or_else(|| dice.one_of(&any))
    }

    /// A payment whose card was declined, and that can be paid again.
    fn some_declined(&mut self) -> Option<(i64, u64)> {
        let rows = self.world.store.payments.iter();
        let declined = rows.filter(|(_, row)| row.status.as_str() == "pending" && row.failure_code.is_some());
        let declined: Vec<_> = declined.map(|(payment, row)| (row.user.0, id(payment.0))).collect();
        self.world.dice.one_of(&declined)
    }

    fn give_back(&mut self, p: usize) -> bool {
        let rows = self.world.store.tickets.iter();
        let reserved = rows.filter(|(_, row)| row.status == "reserved");
        let tickets: Vec<_> =
            reserved.map(|(ticket, row)| (row.user.0, id(row.payment.0), id(ticket.0))).collect();
        let Some((user, payment, ticket)) = self.world.dice.one_of(&tickets) else { return false };
        self.ask_as(p, user, What::GiveBack { payment, ticket }, 0);
        true
    }

    /// A request with a key, mostly a recent one.
    fn some_keyed(&mut self) -> Option<usize> {
        let asks = self.world.model.asks();
        let from = if self.world.dice.chance(600) { asks.saturating_sub(12) } else { 0 };
        let keyed: Vec<usize> = (from..asks).filter(|ask| self.world.model.asked(*ask).key.is_some()).collect();
        self.world.dice.one_of(&keyed)
    }

    /// Sends another request under a key that was used.
    fn other_key(&mut self, p: usize) -> bool {
        let Some(ask) = self.some_keyed() else { return false };
        let OrderRequest { user, key, what } = self.world.model.asked(ask).clone();
        if matches!(what, What::Card { .. }) {
            return false;
        }
        let what = self.order();
        let ask = self.world.model.ask(OrderRequest { user, key, what });
        self.world.send(p, ask);
        true
    }

    fn pass(&mut self) {
        let seconds = match self.world.dice.weighted(&[24, 8, 1]) {
            0 => self.world.dice.between(1, 15),
            1 => self.world.dice.between(15, 100),
            _ => self.world.dice.between(100, 2_500),
        };
        self.world.pass(seconds);
        let now = self.world.now;
        let passed =
            |row: &&store::DrawRow| row.status == DrawStatus::Scheduled && row.times.sales_close_at <= now;
        for _ in 0..self.world.store.draws.values().filter(passed).count() {
            self.world.coverage.saw(Seen::ClockJump);
        }
    }

    fn admin(&mut self, p: usize) {
        let draws = self.draws();
        let draw = self.world.dice.one_of(&draws).unwrap();
        let (step, least) = match self.world.dice.weighted(&[4, 2, 3, 2, 3]) {
            0 => (Step::Open, DrawStatus::Open),
            1 => (Step::Close, DrawStatus::Closed),
            2 => (Step::Conduct, DrawStatus::Completed),
            3 => (Step::Cancel, DrawStatus::Cancelled),
            _ => {
                // Sometimes two admins at once.
                for _ in 0..[1, 1, 2][self.world.dice.below(3)] {
                    self.reschedule(p, draw);
                }
                if !self.world.charges_at(|stage| *stage == Stage::AtProvider).is_empty() {
                    self.cut_off_passes(draw);
                }
                return;
            }
        };
        self.ask_for(p, draw, step, least);
    }

    fn ask_for(&mut self, p: usize, draw: DrawId, step: Step, least: DrawStatus) {
        if matches!(step, Step::Close | Step::Cancel) {
            self.world.model.end_asked(draw.0);
        }
        self.world.admins.push((draw, least, None));
        let admin = self.world.admins.len() - 1;
        self.world.say(|| format!("admin {admin} requests {step:?} of draw {draw}"));
        let request = DrawRequest::Step { step, reason: "asked for".to_owned(), by: ADMIN };
        self.world.route(p, draw, Message { request, waiter: waits(Waiting::Admin(admin)) });
    }

    /// An admin changes some of a draw's times, also to times that are refused.
    fn reschedule(&mut self, p: usize, draw: DrawId) {
        let now = store::second(self.world.now);
        let dice = &mut self.world.dice;
        let close = dice.chance(700).then(|| now + dice.between(1, 600));
        let draws = dice.chance(500).then(|| now + dice.between(1, 900));
        let open = dice.chance(200).then(|| now + dice.between(-60, 200));
        let times = self.world.model.times_asked(draw.0, NewTimes { open, close, draw: draws });
        self.world.admins.push((draw, DrawStatus::Scheduled, Some(times)));
        let admin = self.world.admins.len() - 1;
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let change =
            TimesChange { sales_open_at: open.map(at), sales_close_at: close.map(at), draw_at: draws.map(at) };
        self.world.say(|| format!("admin {admin} requests of draw {draw} {change:?}"));
        let request = DrawRequest::Step { step: Step::Reschedule(change), reason: String::new(), by: ADMIN };
        self.world.route(p, draw, Message { request, waiter: waits(Waiting::Admin(admin)) });
    }

    /// The draw's cut-off passes before new times are written, and cards are answered then.
    fn cut_off_passes(&mut self, draw: DrawId) {
        let left =
            store::second(self.world.store.draws[&draw].times.sales_close_at) - store::second(self.world.now);
        if !(0..600).contains(&left) {
            return;
        }
        self.world.pass(left.max(1));
        for charge in self.world.charges_at(|stage| *stage == Stage::AtProvider) {
            self.world.provider_answers(charge);
        }
    }

    fn pool(&mut self, p: usize) {
        if !self.world.processes[p].pools.is_empty() {
            return self.world.write_pool(p);
        }
        let draws = self.draws();
        let draw = self.world.dice.one_of(&draws).unwrap();
        let count = self.world.dice.below(4);
        let request = DrawRequest::AddToPool { count, key: None, by: None };
        self.world.route(p, draw, Message { request, waiter: waits(Waiting::Nobody) });
    }

    /// Plays until no work is left and every draw is over. Faults occur at first.
    fn come_to_rest(&mut self, unrest: usize) {
        let temper = self.world.temper;
        for turn in 0..PATIENCE {
            self.world.step += 1;
            self.world.temper = if turn < unrest { temper } else { Temper::CALM };
            if turn >= unrest / 2 && self.world.processes.len() > 1 {
                self.world.kill(0);
            }
            if !self.something_to_do() && !self.let_time_pass() {
                self.world.temper = Temper::CALM;
                return;
            }
        }
        panic!("the open work does not finish");
    }

    fn something_to_do(&mut self) -> bool {
        let p = self.process();
        let process = &self.world.processes[p];
        let loading = !process.loading().is_empty();
        let asked = !self.world.charges_at(|stage| *stage == Stage::AtProvider).is_empty();
        let telling = !self.world.charges_at(|stage| matches!(stage, Stage::Telling(_))).is_empty();
        let unfinished = !self.world.unfinished(p).is_empty();
        let process = &self.world.processes[p];
        let ready = [
            (Act::Load, loading),
            (Act::Read, !process.inbox.is_empty()),
            (Act::Write, process.has_work_for_writer()),
            (Act::Pool, !process.pools.is_empty()),
            (Act::Provider, asked),
            (Act::TellAgain, telling),
            (Act::Notice, !self.world.notices.is_empty()),
            (Act::LateCall, !self.world.late_calls.is_empty()),
            (Act::Resolve, unfinished),
            (Act::Late, !self.world.late.is_empty()),
        ];
        let ready: Vec<Act> = ready.into_iter().filter(|(_, ready)| *ready).map(|(act, _)| act).collect();
        match self.world.dice.one_of(&ready) {
            Some(act) => {
                self.act(act);
                true
            }
            None => self.world.processes.len() > 1,
        }
    }

    /// Moves the clock to the next time that something waits for. False if nothing waits.
    fn let_time_pass(&mut self) -> bool {
        let process = &self.world.processes[0];
        let timers = process.draws.values().filter_map(|entry| match entry {
            crate::process::Entry::Live(actor) => actor.timer,
            crate::process::Entry::Loading { .. } => None,
        });
        let Some(next) = timers.min() else { return false };
        let seconds = store::second(next) - store::second(self.world.now);
        self.world.pass(seconds.max(1));
        true
    }

    /// Sends every request with a key again. If it had an effect, the answer is the first answer; otherwise it
    /// has no effect now.
    fn ask_again(&mut self) {
        let asks = self.world.model.asks();
        for ask in 0..asks {
            if self.world.model.asked(ask).key.is_some() && self.world.dice.chance(400) {
                let had_effect = self.world.model.has_effect(ask);
                self.world.send(0, ask);
                self.come_to_rest(0);
                let order = matches!(self.world.model.asked(ask).what, What::Order { .. });
                let has_effect = self.world.model.has_effect(ask);
                assert!(had_effect == has_effect || !order, "an order of a draw that is over had an effect");
            }
        }
    }

    fn apply(&mut self) {
        let world = &mut self.world;
        let payments = world.store.payments.iter().map(|(payment, row)| store::payment_fact(*payment, row));
        let tickets = world.store.tickets.iter().map(|(ticket, row)| store::ticket_fact(*ticket, row));
        world.model.finish(payments, tickets);
        for highlight in world.model.highlights() {
            world.coverage.saw(match highlight {
                "fixed" => Seen::PrizeFixed,
                "share" => Seen::PrizeShared,
                "minimum" => Seen::PrizeMinimum,
                "reserve" => Seen::FromReserve,
                "rollover" => Seen::RolledOver,
                "jackpot" => Seen::RolledIn,
                _ => continue,
            });
        }
        for _ in 0..world.model.refunds() {
            world.coverage.saw(Seen::Refunded);
        }
        world.coverage.histories = 1;
        world.coverage.steps = world.step;
    }
}
