//! The draw registry: forwards each request to the actor of its draw, loads a draw that has no actor, and loads
//! it again after its actor was lost. A draw whose rows are corrupt is left out. It knows no rule of a draw.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;
use tracing::Instrument;

use super::draw::{Deps, DrawActor};
use super::messages::{DrawAbsent, DrawActorEnded, DrawMessage, LoadDraw, Ping, StopActor};
use super::persistence::Persistence;
use super::public_log::PublicLog;
use super::snapshots::DrawSnapshots;
use crate::beacon::RoundSource;
use crate::clock::Clock;
use crate::db::read::{draws, ticket_log};
use crate::db::{Db, DbError};
use crate::domain::draw::{Draw, DrawLoad, DrawState, FairnessTerms, OpenReservations};
use crate::domain::id::DrawId;
use crate::domain::lottery::DrawStatus;

/// The pause before a draw is loaded again after its load failed or its actor was lost.
const RELOAD: Duration = Duration::from_millis(500);

enum ActorEntry {
    Live(Addr<DrawActor>),
    Loading {
        messages: Vec<DrawMessage>,
        waiting: Vec<oneshot::Sender<()>>,
    },
    /// Its rows are corrupt. It is not loaded again before the next start of the service.
    LeftOut,
}

/// The actor.
pub struct DrawRegistry {
    db: Db,
    deps: Deps,
    draws: HashMap<DrawId, ActorEntry>,
}

impl DrawRegistry {
    pub fn new(
        (db, public_log): (Db, PublicLog),
        persistence: Persistence,
        snapshots: DrawSnapshots,
        clock: Clock,
        in_flight: usize,
        reservations: OpenReservations,
        fairness: (FairnessTerms, Arc<dyn RoundSource>),
    ) -> DrawRegistry {
        let read = (db.clone(), public_log);
        let deps = Deps::new(persistence, snapshots, clock, in_flight, reservations, read, fairness);
        DrawRegistry { db, deps, draws: HashMap::new() }
    }

    fn load(&mut self, draw: DrawId, ctx: &mut Context<Self>) {
        let (db, deps) = (self.db.clone(), self.deps.clone());
        let span = tracing::info_span!("load", %draw);
        let load = async move { load(&db, &deps, draw).await }.instrument(span);
        let done =
            move |loaded, actor: &mut DrawRegistry, ctx: &mut Context<Self>| actor.loaded(draw, loaded, ctx);
        ctx.spawn(load.into_actor(self).map(done));
    }

    fn loaded(&mut self, id: DrawId, loaded: Result<Result<Draw, DrawAbsent>, DbError>, ctx: &mut Context<Self>) {
        let (messages, waiting) = match self.draws.remove(&id) {
            Some(ActorEntry::Loading { messages, waiting }) => (messages, waiting),
            other => {
                // Not expected: a load is started only for an entry in the state `Loading`.
                self.draws.extend(other.map(|entry| (id, entry)));
                return;
            }
        };
        match loaded {
            Ok(Ok(draw)) => {
                let actor = DrawActor::new(draw, self.deps.clone(), ctx.address().recipient()).start();
                for message in messages {
                    actor.do_send(message);
                }
                self.draws.insert(id, ActorEntry::Live(actor));
            }
            Ok(Err(absent)) => messages.into_iter().for_each(|message| message.answer_absent(absent)),
            Err(error @ DbError::Corrupt(_)) => {
                tracing::error!(%error, draw = %id, "a draw is corrupt and is left out; the others are served");
                self.deps.snapshots.leave_out(id);
                messages.into_iter().for_each(|message| message.answer_absent(DrawAbsent::Unreachable));
                self.draws.insert(id, ActorEntry::LeftOut);
            }
            Err(error) => {
                tracing::warn!(%error, draw = %id, "a draw could not be loaded; it is tried again");
                messages.into_iter().for_each(|message| message.answer_absent(DrawAbsent::Unreachable));
                self.draws.insert(id, ActorEntry::Loading { messages: Vec::new(), waiting });
                ctx.run_later(RELOAD, move |actor, ctx| actor.load(id, ctx));
                return;
            }
        }
        for waiting in waiting {
            // The caller may have stopped waiting.
            let _ = waiting.send(());
        }
    }

    fn begin_load(&mut self, draw: DrawId, entry: ActorEntry, ctx: &mut Context<Self>) {
        self.draws.insert(draw, entry);
        self.load(draw, ctx);
    }
}

/// Does what the load of a draw asks for, until the draw is loaded or known to have no actor.
async fn load(db: &Db, deps: &Deps, id: DrawId) -> Result<Result<Draw, DrawAbsent>, DbError> {
    let mut load = DrawLoad::default();
    loop {
        load = match load {
            DrawLoad::ReadStatus => DrawLoad::status_read(draws::one(db, id).await?.map(|view| view.status)),
            DrawLoad::TakeOver => DrawLoad::taken_over(deps.persistence.take_over(id).await?),
            DrawLoad::ReadState { epoch } => {
                // The draw is left out if its ticket log went back. Nothing is appended under the older epoch any more.
                ticket_log::read(db, deps.persistence.ticket_logs(), id).await?;
                DrawLoad::state_read(epoch, draws::load(db, id).await?)
            }
            DrawLoad::Loaded(draw) => {
                let DrawState { status, epoch, sold, .. } = draw.parts();
                // The actor before it may have been lost while it waited for this.
                if *status == DrawStatus::Open {
                    deps.public_log.publish_announcement(id).await?;
                }
                tracing::info!(status = status.as_str(), epoch, sold, "a draw was loaded");
                return Ok(Ok(*draw));
            }
            DrawLoad::Absent(absent) => return Ok(Err(absent)),
        };
    }
}

impl Actor for DrawRegistry {
    type Context = Context<Self>;
}

impl Handler<DrawMessage> for DrawRegistry {
    type Result = ();

    fn handle(&mut self, message: DrawMessage, ctx: &mut Context<Self>) {
        let draw = message.draw;
        match self.draws.get_mut(&draw) {
            Some(ActorEntry::Live(actor)) if actor.connected() => actor.do_send(message),
            // Limited by the orders in flight and by the few admins who request steps.
            Some(ActorEntry::Loading { messages, .. }) => messages.push(message),
            Some(ActorEntry::LeftOut) => message.answer_absent(DrawAbsent::Unreachable),
            Some(ActorEntry::Live(_)) | None => {
                let entry = ActorEntry::Loading { messages: vec![message], waiting: Vec::new() };
                self.begin_load(draw, entry, ctx);
            }
        }
    }
}

impl Handler<Ping> for DrawRegistry {
    type Result = ();

    fn handle(&mut self, Ping: Ping, _: &mut Context<Self>) {}
}

impl Handler<LoadDraw> for DrawRegistry {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, LoadDraw(draw): LoadDraw, ctx: &mut Context<Self>) -> ResponseFuture<()> {
        let (loaded, done) = oneshot::channel();
        match self.draws.get_mut(&draw) {
            Some(ActorEntry::Live(actor)) if actor.connected() => drop(loaded.send(())),
            Some(ActorEntry::LeftOut) => drop(loaded.send(())),
            Some(ActorEntry::Loading { waiting, .. }) => waiting.push(loaded),
            Some(ActorEntry::Live(_)) | None => {
                let entry = ActorEntry::Loading { messages: Vec::new(), waiting: vec![loaded] };
                self.begin_load(draw, entry, ctx);
            }
        }
        Box::pin(async move {
            // This fails only if the registry is gone.
            let _ = done.await;
        })
    }
}

impl Handler<DrawActorEnded> for DrawRegistry {
    type Result = ();

    fn handle(&mut self, ended: DrawActorEnded, ctx: &mut Context<Self>) {
        match ended {
            DrawActorEnded::Over(draw) => {
                // `StopActor` comes after all messages that were forwarded to the actor, so every request gets an
                // answer.
                if let Some(ActorEntry::Live(actor)) = self.draws.remove(&draw) {
                    actor.do_send(StopActor);
                }
            }
            DrawActorEnded::Lost(draw) => {
                let lost = matches!(self.draws.get(&draw), Some(ActorEntry::Live(actor)) if !actor.connected());
                if lost {
                    tracing::error!(%draw, "a draw's actor was lost; the draw is loaded anew");
                    let entry = ActorEntry::Loading { messages: Vec::new(), waiting: Vec::new() };
                    self.draws.insert(draw, entry);
                    ctx.run_later(RELOAD, move |actor, ctx| actor.load(draw, ctx));
                }
            }
        }
    }
}

#[cfg(test)]
impl Handler<super::messages::PanicActor> for DrawRegistry {
    type Result = ();

    fn handle(&mut self, panic: super::messages::PanicActor, _: &mut Context<Self>) {
        if let Some(ActorEntry::Live(actor)) = self.draws.get(&panic.0) {
            actor.do_send(panic);
        }
    }
}
