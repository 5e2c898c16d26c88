//! The draw actor: drives the state machine of one draw. It gives the machine requests, results and the time, and
//! carries out the actions that the machine returns: it submits records and steps to the persistence actor,
//! answers clients, publishes snapshots and sets timers. It decides nothing, and it contains no SQL.

mod count;
mod payout;
mod reads;
mod rounds;
mod steps;

use std::sync::Arc;

use actix::prelude::*;
use jiff::Timestamp;
use rand::SeedableRng;
use rand::rngs::{StdRng, SysRng};
use tokio::sync::{Semaphore, watch};
use tracing::Instrument;

use super::messages::{DrawActorEnded, DrawMessage, Reply, ReplyTo, StopActor, WriteResults};
use super::persistence::Persistence;
use super::public_log::PublicLog;
use super::snapshots::DrawSnapshots;
use crate::beacon::RoundSource;
use crate::clock::{Clock, Ids};
use crate::db::Db;
use crate::domain::beacon::AnnouncedRound;
use crate::domain::draw::{
    Draw, DrawAction, DrawMachine, DrawRequest, FairnessTerms, OpenReservations, PoolOrder, StepOutcome, StepWrite,
};
use crate::domain::id::DrawId;
use crate::domain::lottery::{Rules, VoidReason};
use crate::domain::record::Record;

/// The actor keeps the memory for this many actions between two inputs. A request causes one or two actions, the
/// results of a batch cause hundreds.
const KEPT_ACTIONS: usize = 16;

/// What every draw actor needs; shared by all of them.
#[derive(Clone)]
pub struct Deps {
    pub persistence: Persistence,
    pub snapshots: DrawSnapshots,
    pub clock: Clock,
    /// The draw refuses orders while this many of its records are in flight.
    pub in_flight: usize,
    /// Counts what the users have reserved, over all draws.
    pub reservations: OpenReservations,
    pub db: Db,
    pub public_log: PublicLog,
    pub terms: FairnessTerms,
    pub rounds: Arc<dyn RoundSource>,
    /// Changes with each step that is written.
    steps: watch::Sender<()>,
    /// Limits the memory for payouts of all draws together.
    payouts: Arc<Semaphore>,
}

impl Deps {
    pub fn new(
        persistence: Persistence,
        snapshots: DrawSnapshots,
        clock: Clock,
        in_flight: usize,
        reservations: OpenReservations,
        (db, public_log): (Db, PublicLog),
        (terms, rounds): (FairnessTerms, Arc<dyn RoundSource>),
    ) -> Deps {
        let (payouts, steps) = (payout::places(), watch::Sender::new(()));
        Deps {
            persistence,
            snapshots,
            clock,
            in_flight,
            reservations,
            db,
            public_log,
            terms,
            rounds,
            steps,
            payouts,
        }
    }

    /// Publishes what a step has logged, and wakes the draws that wait for another one.
    async fn step_written(&self) {
        // If it does not succeed now, it does later: the entry is committed.
        self.public_log.publish().await;
        self.steps.send_replace(());
    }
}

/// Reports to the registry when the actor ends without `StopActor`, also after a panic.
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
    machine: DrawMachine<Reply>,
    /// The actions of the machine. Empty between two inputs; kept to reuse its memory.
    actions: Vec<DrawAction<Reply>>,
    deps: Deps,
    rules: Arc<Rules>,
    ids: Ids,
    /// For quick picks only.
    rng: StdRng,
    /// How often the round was asked for in vain.
    missed_rounds: u32,
    timer: Option<SpawnHandle>,
    /// Held while pool tickets are made: one call at a time.
    pool_lock: Arc<tokio::sync::Mutex<()>>,
    guard: ActorGuard,
    /// The tracing span of every log line of this actor.
    span: tracing::Span,
}

impl DrawActor {
    pub fn new(draw: Draw, deps: Deps, registry: Recipient<DrawActorEnded>) -> DrawActor {
        let guard = ActorGuard { draw: draw.id(), over: false, registry };
        let ids = deps.clock.ids().clone();
        let span = tracing::info_span!("draw", id = %draw.id());
        let rules = draw.rules().clone();
        let draw = draw.counted_in(&deps.reservations).on_terms(deps.terms.clone());
        if let Some(error) = draw.opening_error() {
            tracing::warn!(draw = %draw.id(), %error, "a draw cannot be opened: give it other times");
        }
        DrawActor {
            machine: DrawMachine::new(draw, deps.in_flight),
            actions: Vec::new(),
            deps,
            rules,
            ids,
            rng: seeded(),
            missed_rounds: 0,
            timer: None,
            pool_lock: Arc::default(),
            guard,
            span,
        }
    }

    /// Gives the machine an input, and carries out the actions that it returns.
    fn drive(
        &mut self,
        ctx: &mut Context<Self>,
        input: impl FnOnce(&mut DrawMachine<Reply>, Timestamp, &mut Vec<DrawAction<Reply>>),
    ) {
        let _in = self.span.clone().entered();
        let now = self.compare_clocks();
        input(&mut self.machine, now, &mut self.actions);
        self.act(ctx);
    }

    /// The time of the next input. Tells the machine whether it can be trusted.
    fn compare_clocks(&mut self) -> Timestamp {
        let report = self.deps.clock.report();
        self.machine.trust_clock(report.trusted);
        report.wall
    }

    /// Wakes the machine whenever trust in the clock is lost or won back.
    fn follow_trust(&self, mut changes: watch::Receiver<bool>, ctx: &mut Context<Self>) {
        let change = async move { changes.changed().await.map(|()| changes) };
        let wake = |changed: Result<_, _>, actor: &mut DrawActor, ctx: &mut Context<Self>| {
            // It fails only when the service ends.
            let Ok(changes) = changed else { return };
            actor.drive(ctx, DrawMachine::wake);
            actor.follow_trust(changes, ctx);
        };
        ctx.spawn(change.into_actor(self).map(wake));
    }

    fn act(&mut self, ctx: &mut Context<Self>) {
        let mut actions = std::mem::take(&mut self.actions);
        for action in actions.drain(..) {
            match action {
                DrawAction::Submit { record, waiter } => self.submit(record, waiter, ctx),
                DrawAction::Write(step) => self.write(step, ctx),
                DrawAction::MakePool(order, waiter) => self.make_pool(order, waiter, ctx),
                DrawAction::FetchRound(round) => self.fetch_round(round, ctx),
                DrawAction::AwaitTurn => self.await_turn(ctx),
                DrawAction::Answer(waiter, answer) => waiter.send(answer),
                DrawAction::SetTimer(at) => self.set_timer(at, ctx),
                DrawAction::Publish => self.deps.snapshots.publish(self.machine.draw().view()),
                DrawAction::Over => self.guard.registry.do_send(DrawActorEnded::Over(self.guard.draw)),
                DrawAction::Fault(fault) => tracing::error!(%fault, "the impossible happened to a draw: a bug"),
                DrawAction::GiveUp(reason) => {
                    tracing::error!(%reason, "a draw's actor gives up; the draw is loaded anew");
                    ctx.stop();
                }
            }
        }
        actions.shrink_to(KEPT_ACTIONS);
        self.actions = actions;
    }

    /// Submits a record inside the handler that decided it, so that the records are written in the order of the
    /// decisions.
    fn submit(&self, record: Record, waiter: Option<Reply>, ctx: &mut Context<Self>) {
        let deadline = waiter.as_ref().and_then(Reply::deadline);
        let reply_to = ReplyTo::Draw(ctx.address().recipient(), waiter);
        self.deps.persistence.submit(record, deadline, reply_to);
    }

    fn write(&mut self, step: StepWrite, ctx: &mut Context<Self>) {
        tracing::info!(step = ?step.kind, by_admin = step.audit.is_some(), "a step begins");
        let work = steps::write(self.deps.clone(), self.rules.clone(), step);
        let done = |result, actor: &mut DrawActor, ctx: &mut Context<Self>| {
            actor.drive(ctx, |machine, now, actions| {
                match &result {
                    // What it waits for is logged by the wait.
                    Ok(StepOutcome::Waits(_)) => {}
                    Ok(outcome) => tracing::info!(?outcome, "a step is written"),
                    Err(error) => tracing::error!(%error, "a step failed"),
                }
                machine.step_written(result, now, actions);
            });
        };
        ctx.spawn(work.into_actor(self).map(done));
    }

    /// Asks for the round once. If it is not there, pauses before the machine may ask again. A round that is there is used
    /// only if witnesses have seen the list before it.
    fn fetch_round(&mut self, round: AnnouncedRound, ctx: &mut Context<Self>) {
        let (deps, draw, missed) = (self.deps.clone(), self.guard.draw, self.missed_rounds);
        // A draw whose result was published had its quorum. A restored backup may lack the cosignatures.
        let was_completed = self.machine.draw().is_drawn_again();
        let work = async move {
            let verified = rounds::fetch(deps.rounds, round.clone(), missed).await;
            if verified.is_some() && !was_completed {
                rounds::await_quorum(&deps.db, &deps.public_log, &deps.clock, draw, &round).await?;
            }
            Ok(verified)
        };
        let done = |fetched: Result<Option<_>, VoidReason>, actor: &mut DrawActor, ctx: &mut Context<Self>| {
            let missed = fetched == Ok(None);
            actor.missed_rounds = if missed { actor.missed_rounds.saturating_add(1) } else { 0 };
            actor.drive(ctx, |machine, now, actions| match fetched {
                Ok(verified) => machine.round_fetched(verified, now, actions),
                Err(reason) => machine.stop_for(reason, now, actions),
            });
        };
        ctx.spawn(work.instrument(self.span.clone()).into_actor(self).map(done));
    }

    fn await_turn(&mut self, ctx: &mut Context<Self>) {
        let (changes, db, draw) = (self.deps.steps.subscribe(), self.deps.db.clone(), self.guard.draw);
        let work = async move { rounds::await_turn(changes, &db, draw).await };
        let came = |(), actor: &mut DrawActor, ctx: &mut Context<Self>| actor.drive(ctx, DrawMachine::turn_came);
        ctx.spawn(work.instrument(self.span.clone()).into_actor(self).map(came));
    }

    /// Makes pool tickets while the sale goes on, one call at a time.
    fn make_pool(&mut self, order: PoolOrder, waiter: Reply, ctx: &mut Context<Self>) {
        let (deps, lock) = (self.deps.clone(), self.pool_lock.clone());
        let work = async move {
            let _one_at_a_time = lock.lock().await;
            steps::make_pool(&deps, order).await
        };
        let done = |result, actor: &mut DrawActor, ctx: &mut Context<Self>| {
            actor.drive(ctx, |machine, _, actions| machine.pool_written(result, waiter, actions));
        };
        ctx.spawn(work.into_actor(self).map(done));
    }

    fn set_timer(&mut self, at: Option<Timestamp>, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let Some(at) = at else { return };
        let clock = self.deps.clock.clone();
        let sleep = async move { clock.sleep_until(at).await };
        let wake = |(), actor: &mut DrawActor, ctx: &mut Context<Self>| {
            actor.timer = None;
            actor.drive(ctx, DrawMachine::wake);
        };
        self.timer = Some(ctx.spawn(sleep.into_actor(self).map(wake)));
    }
}

/// A generator seeded by the operating system.
fn seeded() -> StdRng {
    // The source of the operating system does not fail once it has worked. It has worked before, because it also
    // seeded the hash maps.
    StdRng::try_from_rng(&mut SysRng).expect("the operating system gives random bytes")
}

impl Actor for DrawActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let changes = self.deps.clock.trust_changes();
        self.drive(ctx, DrawMachine::start);
        self.follow_trust(changes, ctx);
    }
}

impl Handler<DrawMessage> for DrawActor {
    type Result = ();

    fn handle(&mut self, DrawMessage { request, reply, .. }: DrawMessage, ctx: &mut Context<Self>) {
        let _in = self.span.clone().entered();
        // An order is only held against the draw's times.
        let is_order = matches!(request, DrawRequest::Order(_));
        let now = if is_order { self.deps.clock.now() } else { self.compare_clocks() };
        // The ids of a payment and of its tickets are consecutive. The lists rely on this order. The lock is taken with
        // the first id, since most requests but orders need none.
        let (ids, mut row) = (&self.ids, None);
        let id = || row.get_or_insert_with(|| ids.in_a_row(now))();
        self.machine.request(request, reply, now, id, &mut self.rng, &mut self.actions);
        drop(row);
        self.act(ctx);
    }
}

impl Handler<WriteResults> for DrawActor {
    type Result = ();

    fn handle(&mut self, WriteResults(results): WriteResults, ctx: &mut Context<Self>) {
        self.drive(ctx, |machine, now, actions| machine.written(results, now, actions));
    }
}

impl Handler<StopActor> for DrawActor {
    type Result = ();

    fn handle(&mut self, _: StopActor, ctx: &mut Context<Self>) {
        self.guard.over = true;
        ctx.stop();
    }
}

#[cfg(test)]
impl Handler<super::messages::PanicActor> for DrawActor {
    type Result = ();

    fn handle(&mut self, _: super::messages::PanicActor, _: &mut Context<Self>) {
        panic!("requested by a test");
    }
}
