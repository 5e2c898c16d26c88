//! The steps of a draw's life: one at a time, each written before the draw hears of it. The long ones,
//! settling and refunding, are `payout`.

use std::sync::Arc;

use actix::prelude::*;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use serde_json::{Value, json};

use super::{Deps, DrawActor, StepPhase, StepRequest, payout};
use crate::actors::messages::{DrawActorEnded, DrawAnswer, PoolCreated, PoolError, Reply, StepRefusal};
use crate::actors::persistence::{
    BeginCancel, Conduct, Open, Persistence, PoolWrite, Reschedule, Seal, StepTransaction,
};
use crate::db::read::draws;
use crate::db::{DbError, describe};
use crate::domain::audit::{Action, AuditEntry, Subject};
use crate::domain::draw::{Allowed, Step, StepError, Times, WinningPick};
use crate::domain::game::{Game, Pick};
use crate::domain::id::{PoolTicketId, UserId};
use crate::domain::lottery::{DrawStatus, Rules};
use crate::domain::record::{Fence, Key};

impl DrawActor {
    /// A settlement or refund that a crash has interrupted goes on.
    pub(super) fn resume(&mut self, ctx: &mut Context<Self>) {
        let step = match self.draw.status() {
            DrawStatus::Settling => Step::Conduct,
            DrawStatus::Cancelling => Step::Cancel,
            _ => return,
        };
        self.asked.push_back(StepRequest { step, reason: String::new(), by: None, reply: None });
        self.advance(ctx);
    }

    /// What an admin does to this draw; none, if it is the clock that asks.
    fn audit(&self, actor: Option<UserId>, action: Action, detail: Value) -> Option<AuditEntry> {
        let subject = Subject::Draw(self.draw.id());
        actor.map(|actor| AuditEntry { actor: Some(actor), action, subject, detail, at: self.now() })
    }

    /// Begins the next step that was asked for, if none is under way.
    pub(super) fn advance(&mut self, ctx: &mut Context<Self>) {
        while self.under_way.is_none() {
            let Some(asked) = self.asked.pop_front() else { return };
            match self.draw.allows(asked.step, self.now()) {
                Allowed::No => {
                    let status = self.draw.status();
                    asked.answer(Err(StepRefusal::InvalidTransition(status)));
                }
                Allowed::Already => asked.answer(Ok(())),
                Allowed::Yes | Allowed::UnderWay => self.begin(asked, ctx),
            }
        }
    }

    fn begin(&mut self, asked: StepRequest, ctx: &mut Context<Self>) {
        tracing::info!(step = ?asked.step, by_clock = asked.reply.is_none(), "a step begins");
        match (asked.step, self.draw.status()) {
            (Step::Open, _) => self.open(asked, ctx),
            (Step::Close, _) => self.stop_sale(asked, ctx),
            (Step::Conduct, _) => self.conduct(asked, ctx),
            (Step::Cancel, DrawStatus::Cancelling) => self.refund(asked, ctx),
            (Step::Cancel, _) => self.stop_sale(asked, ctx),
        }
    }

    /// Writes, then tells the draw, then the one who asked; what was asked meanwhile comes next. A step
    /// that failed leaves the draw to be loaded anew.
    fn write<T: 'static>(
        &mut self,
        asked: StepRequest,
        work: impl Future<Output = Result<T, StepError>> + 'static,
        tell: impl FnOnce(&mut DrawActor, T, StepRequest, &mut Context<Self>) + 'static,
        ctx: &mut Context<Self>,
    ) {
        self.under_way = Some(StepPhase::Writing);
        let done = move |result: Result<T, StepError>, actor: &mut DrawActor, ctx: &mut Context<Self>| {
            let _in = actor.span.clone().entered();
            match result {
                Ok(output) => tell(actor, output, asked, ctx),
                Err(error) => {
                    tracing::error!(step = ?asked.step, %error, "a step failed");
                    asked.answer(Err(error.into()));
                    actor.give_up("a step failed", ctx);
                }
            }
        };
        ctx.spawn(work.into_actor(self).map(done));
    }

    /// The step is done and published: whoever asked hears it, and the next may begin.
    fn finish(&mut self, asked: StepRequest, ctx: &mut Context<Self>) {
        self.publish();
        tracing::info!(status = self.draw.status().as_str(), "a step is done");
        self.under_way = None;
        asked.answer(Ok(()));
        if self.draw.status().is_over() {
            self.guard.registry.do_send(DrawActorEnded::Over(self.draw.id()));
        }
        self.tick(ctx);
    }

    fn open(&mut self, asked: StepRequest, ctx: &mut Context<Self>) {
        let audit = self.audit(asked.by, Action::OpenDraw, json!({}));
        let work = step(&self.deps.persistence, Open { fence: self.draw.fence(), audit });
        let tell = |actor: &mut DrawActor, (), asked, ctx: &mut Context<Self>| {
            actor.draw.opened();
            actor.finish(asked, ctx);
        };
        self.write(asked, work, tell, ctx);
    }

    /// From here on nothing is sold. What was handed on before is awaited, what is unpaid expires.
    fn stop_sale(&mut self, asked: StepRequest, ctx: &mut Context<Self>) {
        self.under_way = Some(StepPhase::Stopping(asked));
        self.go_on_stopping(ctx);
    }

    /// Nothing is on its way any more: the list is sealed, or the draw is cancelled.
    pub(super) fn end_sale(&mut self, asked: StepRequest, ctx: &mut Context<Self>) {
        let (fence, at) = (self.draw.fence(), self.now());
        if asked.step == Step::Cancel {
            let reason = asked.reason.clone();
            let audit = self.audit(asked.by, Action::CancelDraw, json!({"reason": reason}));
            let work = step(&self.deps.persistence, BeginCancel { fence, reason, at, audit });
            let tell = |actor: &mut DrawActor, epoch, asked: StepRequest, ctx: &mut Context<Self>| {
                actor.draw.cancelling(asked.reason.clone(), epoch);
                actor.publish();
                actor.refund(asked, ctx);
            };
            self.write(asked, work, tell, ctx);
        } else {
            let audit = self.audit(asked.by, Action::CloseDraw, json!({}));
            let work = step(&self.deps.persistence, Seal { fence, at, audit });
            let tell = |actor: &mut DrawActor, epoch, asked, ctx: &mut Context<Self>| {
                actor.draw.sealed(epoch);
                actor.finish(asked, ctx);
            };
            self.write(asked, work, tell, ctx);
        }
    }

    /// Draws the numbers, unless a crash came after they were drawn, and settles.
    fn conduct(&mut self, asked: StepRequest, ctx: &mut Context<Self>) {
        if let Some(winning) = self.draw.view().winning {
            return self.settle(winning, asked, ctx);
        }
        let rules = Arc::new(self.draw.rules().clone());
        let pick = winning_numbers(&rules);
        let (fence, at) = (self.draw.fence(), self.now());
        let audit = self.audit(asked.by, Action::ConductDraw, json!({}));
        let work = step(&self.deps.persistence, Conduct { fence, rules, pick, at, audit });
        let tell = |actor: &mut DrawActor, winning: WinningPick, asked, ctx: &mut Context<Self>| {
            actor.draw.conducted(winning);
            actor.publish();
            actor.settle(winning, asked, ctx);
        };
        self.write(asked, work, tell, ctx);
    }

    fn settle(&mut self, winning: WinningPick, asked: StepRequest, ctx: &mut Context<Self>) {
        let (rules, sold) = (Arc::new(self.draw.rules().clone()), self.draw.view().sold);
        let work = payout::settle(self.deps.clone(), self.draw.fence(), rules, winning, sold);
        let tell = |actor: &mut DrawActor, (), asked, ctx: &mut Context<Self>| {
            actor.draw.completed();
            actor.finish(asked, ctx);
        };
        self.write(asked, work, tell, ctx);
    }

    fn refund(&mut self, asked: StepRequest, ctx: &mut Context<Self>) {
        let (price, sold) = (self.draw.rules().price, self.draw.view().sold);
        let work = payout::refund(self.deps.clone(), self.draw.fence(), price, sold);
        let tell = |actor: &mut DrawActor, (), asked, ctx: &mut Context<Self>| {
            actor.draw.cancelled();
            actor.finish(asked, ctx);
        };
        self.write(asked, work, tell, ctx);
    }

    /// Gives the draw other times, unless a step is under way that they could not touch any more.
    pub(super) fn reschedule(&mut self, times: Times, by: UserId, reply: Reply, ctx: &mut Context<Self>) {
        if self.under_way.is_some() || !self.draw.may_be_rescheduled(self.now()) {
            reply.send(DrawAnswer::Step(Err(StepRefusal::InvalidTransition(self.draw.status()))));
            return;
        }
        self.under_way = Some(StepPhase::Writing);
        let audit = self.audit(Some(by), Action::RescheduleDraw, json!(times));
        let work = step(&self.deps.persistence, Reschedule { fence: self.draw.fence(), times, audit });
        let done = move |result: Result<(), StepError>, actor: &mut DrawActor, ctx: &mut Context<Self>| {
            let _in = actor.span.clone().entered();
            if let Err(error) = result {
                tracing::error!(%error, "the draw could not be given other times");
                reply.send(DrawAnswer::Step(Err(error.into())));
                actor.give_up("the times were not written", ctx);
                return;
            }
            actor.draw.rescheduled(times);
            actor.under_way = None;
            actor.publish();
            tracing::info!("the draw has other times");
            reply.send(DrawAnswer::Step(Ok(())));
            actor.tick(ctx);
        };
        ctx.spawn(work.into_actor(self).map(done));
    }

    /// Makes pool tickets beside the sale: chosen off the actor, written on a connection of the pool, and
    /// for sale when they are durable.
    pub(super) fn add_to_pool(
        &mut self,
        count: usize,
        key: Option<Key>,
        by: Option<UserId>,
        reply: Reply,
        ctx: &mut Context<Self>,
    ) {
        if !self.draw.takes_pool_tickets() {
            let refusal = StepRefusal::InvalidTransition(self.draw.status());
            reply.send(DrawAnswer::Pool(Err(refusal.into())));
            return;
        }
        let (deps, making) = (self.deps.clone(), self.making.clone());
        let (fence, game) = (self.draw.fence(), self.draw.rules().game);
        let audit = self.audit(by, Action::AddToPool, json!({"count": count}));
        let work = async move {
            let _one_at_a_time = making.lock().await;
            make_pool(&deps, fence, game, count, key, audit).await
        };
        let done = |made: Result<PoolTickets, PoolError>, actor: &mut DrawActor, ctx: &mut Context<Self>| {
            let answer = made.map(|made| {
                let created = made.tickets.len();
                actor.draw.add_to_pool(made.tickets);
                actor.publish();
                tracing::info!(draw = %actor.draw.id(), created, "pool tickets were made");
                let tickets_available = made.kept.unwrap_or(actor.draw.view().available);
                PoolCreated { created, tickets_available }
            });
            let unsure = matches!(answer, Err(PoolError::OutcomeUnknown | PoolError::Step(StepRefusal::Failed)));
            reply.send(DrawAnswer::Pool(answer));
            if unsure {
                actor.give_up("it is not known which pool tickets were written", ctx);
            }
        };
        ctx.spawn(work.into_actor(self).map(done));
    }
}

/// Pool tickets that were written, and how many were for sale then, as the kept answer says.
struct PoolTickets {
    tickets: Vec<(PoolTicketId, Pick)>,
    kept: Option<i64>,
}

async fn make_pool(
    deps: &Deps,
    fence: Fence,
    game: Game,
    count: usize,
    key: Option<Key>,
    audit: Option<AuditEntry>,
) -> Result<PoolTickets, PoolError> {
    let failed = |error: DbError| {
        tracing::error!(draw = %fence.draw, error = describe(&error), "pool tickets could not be made");
        match error {
            DbError::Unknown(_) => PoolError::OutcomeUnknown,
            error if error.is_passing() => StepRefusal::Unavailable.into(),
            _ => StepRefusal::Failed.into(),
        }
    };
    let held = draws::pool_picks(&deps.db, fence.draw, game).await.map_err(failed)?;
    let choose = move || game.distinct_picks(count, &held, &mut UnwrapErr(SysRng));
    let picks = match tokio::task::spawn_blocking(choose).await {
        Ok(picks) => picks.map_err(|error| PoolError::TooFewLeft { left: error.left })?,
        Err(_) => return Err(StepRefusal::Failed.into()),
    };
    let (ids, now) = (deps.clock.ids(), deps.clock.now());
    let tickets: Vec<_> = picks.into_iter().map(|pick| (PoolTicketId(ids.next(now)), pick)).collect();
    match deps.persistence.add_to_pool(fence, &tickets, key.as_ref(), audit.as_ref(), now).await.map_err(failed)? {
        PoolWrite::Written { available } => Ok(PoolTickets { tickets, kept: available }),
        PoolWrite::KeyTaken => Err(PoolError::KeyTaken),
        // The sale has ended meanwhile, and with it the epoch.
        PoolWrite::StaleEpoch => Err(StepRefusal::InvalidTransition(DrawStatus::Closed).into()),
    }
}

/// A step's transaction, on a handle of its own.
fn step<S: StepTransaction + 'static>(
    persistence: &Persistence,
    step: S,
) -> impl Future<Output = Result<S::Output, StepError>> + 'static {
    let persistence = persistence.clone();
    async move { persistence.step(step).await }
}

/// The winning numbers, from the operating system's CSPRNG, every combination as likely as any other.
fn winning_numbers(rules: &Rules) -> Pick {
    // It does not fail once it has worked; if it ever does, no numbers are better than poor ones: the
    // actor panics, nothing is written, and the draw is loaded anew.
    rules.game.random_pick(&mut UnwrapErr(SysRng))
}
