//! The draw actor: owns one draw, lets it decide, hands its records on in the order they were decided,
//! and moves it through its life by the clock and by the admins' word. Knows no SQL.

mod payout;
mod steps;

use std::collections::VecDeque;
use std::sync::Arc;

use actix::prelude::*;
use jiff::Timestamp;
use rand::SeedableRng;
use rand::rngs::{StdRng, SysRng};
use tokio::sync::Semaphore;

use super::messages::{
    DrawActorEnded, DrawAnswer, DrawMessage, DrawRequest, Reply, ReplyTo, SaleError, StepRefusal, StopActor,
    WriteResults,
};
use super::persistence::Persistence;
use super::snapshots::DrawSnapshots;
use crate::clock::{Clock, Ids};
use crate::db::Db;
use crate::domain::draw::{Draw, Due, Step, Stopping, WriteResult};
use crate::domain::id::{DrawId, UserId};
use crate::domain::record::{Record, Refusal};

/// What every draw's actor works with.
#[derive(Clone)]
pub struct Deps {
    pub persistence: Persistence,
    pub snapshots: DrawSnapshots,
    pub clock: Clock,
    /// How many records of one draw may be on their way before its orders are refused.
    pub in_flight: usize,
    pub db: Db,
    /// For what is about to be paid out.
    payouts: Arc<Semaphore>,
}

impl Deps {
    pub fn new(
        persistence: Persistence,
        snapshots: DrawSnapshots,
        clock: Clock,
        in_flight: usize,
        db: Db,
    ) -> Deps {
        Deps { persistence, snapshots, clock, in_flight, db, payouts: payout::places() }
    }
}

/// A step that was asked for, by an admin who waits or by the clock.
struct StepRequest {
    step: Step,
    reason: String,
    /// The admin, if it was one.
    by: Option<UserId>,
    reply: Option<Reply>,
}

impl StepRequest {
    fn answer(self, result: Result<(), StepRefusal>) {
        if let Some(reply) = self.reply {
            reply.send(DrawAnswer::Step(result));
        }
    }
}

/// How far the step under way has come.
enum StepPhase {
    /// The sale is being stopped: what is on its way is awaited.
    Stopping(StepRequest),
    /// A transaction runs.
    Writing,
}

/// Tells the registry when the actor goes, a panic included.
struct ActorGuard {
    draw: DrawId,
    over: bool,
    registry: Recipient<DrawActorEnded>,
}

impl Drop for ActorGuard {
    fn drop(&mut self) {
        if !self.over {
            self.registry.do_send(DrawActorEnded::Lost(self.draw));
        }
    }
}

/// The actor of one draw.
pub struct DrawActor {
    draw: Draw,
    deps: Deps,
    ids: Ids,
    /// For quick picks. The winning numbers come from the operating system itself.
    rng: StdRng,
    asked: VecDeque<StepRequest>,
    under_way: Option<StepPhase>,
    timer: Option<(Timestamp, SpawnHandle)>,
    /// Makes pool tickets, one call at a time.
    making: Arc<tokio::sync::Mutex<()>>,
    guard: ActorGuard,
    /// Every line that this actor logs stands in it.
    span: tracing::Span,
}

impl DrawActor {
    pub fn new(draw: Draw, deps: Deps, registry: Recipient<DrawActorEnded>) -> DrawActor {
        let guard = ActorGuard { draw: draw.id(), over: false, registry };
        let ids = deps.clock.ids().clone();
        let span = tracing::info_span!("draw", id = %draw.id());
        DrawActor {
            draw,
            deps,
            ids,
            rng: seeded(),
            asked: VecDeque::new(),
            under_way: None,
            timer: None,
            making: Arc::default(),
            guard,
            span,
        }
    }

    fn now(&self) -> Timestamp {
        self.deps.clock.now()
    }

    fn publish(&self) {
        self.deps.snapshots.publish(self.draw.view());
    }

    /// Hands a record on, in the handler that decided it.
    fn submit(&self, record: Record, waiter: Option<Reply>, ctx: &mut Context<Self>) {
        let deadline = waiter.as_ref().and_then(Reply::deadline);
        let reply_to = ReplyTo::Draw(ctx.address().recipient(), waiter);
        self.deps.persistence.submit(record, deadline, reply_to);
    }

    /// Hands on what was decided, or refuses.
    fn decided(&self, decided: Result<Record, SaleError>, reply: Reply, ctx: &mut Context<Self>) {
        match decided {
            Ok(record) => self.submit(record, Some(reply), ctx),
            Err(error) => reply.send(DrawAnswer::Sale(Err(error))),
        }
    }

    fn request(&mut self, DrawMessage { request, reply, .. }: DrawMessage, ctx: &mut Context<Self>) {
        let now = self.now();
        match request {
            // One draw in a rush leaves places to the others.
            DrawRequest::Order(_) if self.draw.on_its_way() >= self.deps.in_flight => {
                reply.send(DrawAnswer::Sale(Err(SaleError::Refused(Refusal::Overloaded))));
            }
            DrawRequest::Order(order) => {
                // A payment's tickets follow it, and nothing else does: lists rest on it.
                let order = self.draw.order(order, now, self.ids.in_a_row(now), &mut self.rng);
                self.decided(order.map(Record::Order).map_err(SaleError::Order), reply, ctx);
            }
            DrawRequest::Pay { user, payment, key } => {
                let pay = self.draw.pay(user, payment, now, key).map(Record::Pay);
                self.decided(pay.ok_or(SaleError::NotPayable), reply, ctx);
            }
            DrawRequest::BeginCharge { user, payment, key } => {
                let begin = self.draw.begin_charge(user, payment, now, key).map(Record::BeginCharge);
                self.decided(begin.ok_or(SaleError::NotPayable), reply, ctx);
            }
            DrawRequest::EndCharge(end) => {
                let end = self.draw.end_charge(end);
                self.submit(Record::EndCharge(end), Some(reply), ctx);
            }
            DrawRequest::GiveBack { user, payment, ticket } => {
                let back = self.draw.give_back(user, payment, ticket, now).map(Record::GiveBack);
                self.decided(back.ok_or(SaleError::NotReserved), reply, ctx);
            }
            DrawRequest::Step { step, reason, by } => {
                let asked = StepRequest { step, reason, by: Some(by), reply: Some(reply) };
                match self.draw.never_again(step, now) {
                    Some(status) => asked.answer(Err(StepRefusal::InvalidTransition(status))),
                    None => {
                        self.asked.push_back(asked);
                        self.advance(ctx);
                    }
                }
            }
            DrawRequest::Reschedule { times, by } => self.reschedule(times, by, reply, ctx),
            DrawRequest::AddToPool { count, key, by } => self.add_to_pool(count, key, by, reply, ctx),
        }
    }

    /// What the clock asks for, and when to look again.
    fn tick(&mut self, ctx: &mut Context<Self>) {
        let now = self.now();
        while let Some(due) = self.draw.due(now) {
            match due {
                Due::Expire(records) => {
                    for record in records {
                        self.submit(Record::Expire(record), None, ctx);
                    }
                }
                Due::Step(step) => {
                    self.ask_by_clock(step, String::new());
                    break;
                }
                Due::CancelUnopened => {
                    self.ask_by_clock(Step::Cancel, "its sale was not opened before the cut-off".to_owned());
                    break;
                }
            }
        }
        self.arm(now, ctx);
        self.advance(ctx);
    }

    fn ask_by_clock(&mut self, step: Step, reason: String) {
        // Whatever is under way is followed by another look at the clock. What only waits is not, if it is
        // refused: the clock goes before it.
        if self.under_way.is_none() {
            self.asked.push_front(StepRequest { step, reason, by: None, reply: None });
        }
    }

    /// Sets the timer for the next time the draw waits for. What is due already waits for an answer, and
    /// every answer looks again.
    fn arm(&mut self, now: Timestamp, ctx: &mut Context<Self>) {
        let next = self.draw.next_due().filter(|next| *next > now);
        if self.timer.map(|(at, _)| at) == next {
            return;
        }
        if let Some((_, handle)) = self.timer.take() {
            ctx.cancel_future(handle);
        }
        if let Some(at) = next {
            let clock = self.deps.clock.clone();
            let sleep = async move { clock.sleep_until(at).await };
            let wake = |(), actor: &mut DrawActor, ctx: &mut Context<Self>| {
                let _in = actor.span.clone().entered();
                actor.timer = None;
                actor.tick(ctx);
            };
            self.timer = Some((at, ctx.spawn(sleep.into_actor(self).map(wake))));
        }
    }

    /// The memory is not the truth: the draw is loaded anew from the database.
    fn give_up(&mut self, why: &str, ctx: &mut Context<Self>) {
        tracing::error!(why, "a draw's actor gives up");
        ctx.stop();
    }
}

/// A generator seeded by the operating system.
fn seeded() -> StdRng {
    // The operating system's source does not fail once it has worked, and it seeded the hash maps before.
    StdRng::try_from_rng(&mut SysRng).expect("the operating system gives random bytes")
}

impl Actor for DrawActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let _in = self.span.clone().entered();
        self.publish();
        self.resume(ctx);
        self.tick(ctx);
    }
}

impl Handler<DrawMessage> for DrawActor {
    type Result = ();

    fn handle(&mut self, message: DrawMessage, ctx: &mut Context<Self>) {
        let _in = self.span.clone().entered();
        self.request(message, ctx);
    }
}

impl Handler<WriteResults> for DrawActor {
    type Result = ();

    fn handle(&mut self, WriteResults(results): WriteResults, ctx: &mut Context<Self>) {
        let _in = self.span.clone().entered();
        let mut lost = None;
        for WriteResult { record, result, .. } in &results {
            self.draw.answered(record, result);
            lost = lost.or(contradiction(record, result));
        }
        // Before anybody is told: whoever looks then sees it.
        self.publish();
        for WriteResult { record, result, waiter } in results {
            if let Some(reply) = waiter {
                reply.send(DrawAnswer::of_record(record, result));
            }
        }
        match lost {
            Some(why) => self.give_up(why, ctx),
            None => {
                self.go_on_stopping(ctx);
                self.tick(ctx);
            }
        }
    }
}

/// A refusal that a draw with a true memory never meets.
fn contradiction(
    record: &Record,
    result: &Result<crate::domain::record::Outcome, Refusal>,
) -> Option<&'static str> {
    match (record, result) {
        (_, Err(Refusal::StaleEpoch)) => Some("a newer epoch has taken the draw over"),
        (Record::EndCharge(_), Err(Refusal::NotPayable)) => None,
        (_, Err(Refusal::NotPayable)) => Some("a reservation is not what it was held for"),
        (Record::Expire(_), Err(_)) => Some("an expiry was refused"),
        // Put back, it would be the next one's too: whoever holds it stands in the database.
        (Record::Order(order), Err(Refusal::Rejected)) if order.takes_from_pool() => {
            Some("a pool ticket is not free, or not of this draw")
        }
        _ => None,
    }
}

impl Handler<StopActor> for DrawActor {
    type Result = ();

    fn handle(&mut self, _: StopActor, ctx: &mut Context<Self>) {
        self.guard.over = true;
        ctx.stop();
    }
}

impl DrawActor {
    /// After each answer: goes on with the end of the sale, if it is being ended.
    fn go_on_stopping(&mut self, ctx: &mut Context<Self>) {
        let now = self.now();
        if !matches!(self.under_way, Some(StepPhase::Stopping(_))) {
            return;
        }
        match self.draw.stop(now) {
            Stopping::Expire(records) => {
                for record in records {
                    self.submit(Record::Expire(record), None, ctx);
                }
            }
            Stopping::Wait => {}
            Stopping::Done => {
                if let Some(StepPhase::Stopping(asked)) = self.under_way.replace(StepPhase::Writing) {
                    self.end_sale(asked, ctx);
                }
            }
        }
    }
}

#[cfg(test)]
impl Handler<super::messages::PanicActor> for DrawActor {
    type Result = ();

    fn handle(&mut self, _: super::messages::PanicActor, _: &mut Context<Self>) {
        panic!("a test asked for it");
    }
}
