//! The way to the draws: verbs for the handlers above, with the limit of orders in flight. Sends to the
//! registry, waits, and says what is known when the wait is over. Decides nothing.

#[cfg(test)]
mod tests;

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Addr, Message};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use utoipa::ToSchema;

use super::persistence::{Persistence, StepError};
use super::registry::{DrawMessage, DrawRegistry, LoadDraw};
use super::snapshots::{DrawSnapshots, RECENT};
use crate::clock::Clock;
use crate::db::read::{Page, draws};
use crate::db::{Db, DbError};
use crate::domain::draw::{OrderRefusal, OrderRequest, Step, Times};
use crate::domain::id::{DrawId, PaymentId, TicketId, UserId};
use crate::domain::lottery::{DrawStatus, Rules};
use crate::domain::payment::Payment;
use crate::domain::record::{Charge, EndCharge, Key, Order, Outcome, Record, Refusal};

/// How long after a record's deadline its outcome is still waited for.
const OUTCOME_WAIT: Duration = Duration::from_secs(5);
/// How long a step of a draw's life is waited for; it goes on all the same.
const STEP_WAIT: Duration = Duration::from_secs(25);
/// How long new pool tickets are waited for.
const POOL_WAIT: Duration = Duration::from_secs(120);
/// How often the end of a charge is handed on again when its draw's actor was lost with it, or could not be
/// loaded, and how long after.
const CHARGE_TRIES: usize = 60;
const CHARGE_PAUSE: Duration = Duration::from_millis(500);

/// Draws that may be in a rush at once before they take each other's places in flight.
pub const DRAWS_IN_RUSH: usize = 2;

/// What the draws need to know of the configuration.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct DrawOptions {
    /// Orders in flight of one draw; of all together, [`DRAWS_IN_RUSH`] times as many.
    pub in_flight: usize,
    /// Pre-made tickets that one call may create.
    pub pool_limit: usize,
    /// How long a reservation holds its tickets.
    pub reservation: SignedDuration,
}

/// An order that was payment_result. Paid at once, its tickets bear the numbers from the first on.
#[derive(Clone, PartialEq, Debug)]
pub struct PlacedOrder {
    pub order: Order,
    pub first_number: Option<i64>,
}

/// Why an order, a payment or a giving back did not succeed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SaleError {
    #[error("there is no such draw")]
    NoSuchDraw,
    #[error(transparent)]
    Order(#[from] OrderRefusal),
    #[error("the payment is not payable")]
    NotPayable,
    #[error("the ticket is not reserved")]
    NotReserved,
    #[error(transparent)]
    Refused(Refusal),
    /// It may yet come true, or not.
    #[error("the outcome is not known yet")]
    OutcomeUnknown,
}

/// Why a step of a draw's life was not taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StepRefusal {
    #[error("there is no such draw")]
    NoSuchDraw,
    #[error("the draw is {}", .0.as_str())]
    InvalidTransition(DrawStatus),
    #[error("the database is away")]
    Unavailable,
    #[error("it did not work this time")]
    Failed,
}

impl From<StepError> for StepRefusal {
    fn from(error: StepError) -> StepRefusal {
        match error {
            // A draw that was taken over is being loaded anew: in a moment it works again.
            StepError::Unavailable | StepError::StaleEpoch => StepRefusal::Unavailable,
            StepError::Failed => StepRefusal::Failed,
        }
    }
}

/// New pool tickets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[schema(example = json!({"created": 1000, "tickets_available": 1000}))]
pub struct PoolCreated {
    pub created: usize,
    pub tickets_available: i64,
}

/// Why no pool tickets were made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PoolError {
    #[error(transparent)]
    Step(#[from] StepRefusal),
    #[error("only {left} combinations are left")]
    TooFewLeft { left: u64 },
    #[error("at most {limit} at a time")]
    TooMany { limit: usize },
    #[error("the key has an answer already")]
    KeyTaken,
    /// They may have been made, or not.
    #[error("the outcome is not known yet")]
    OutcomeUnknown,
}

/// Something of the one who asks that is kept until what was asked for has its end, also when nobody waits
/// for that any more: the idempotency key, which is in progress for so long.
pub type WorkGuard = Option<Arc<dyn Any + Send + Sync>>;

/// One who waits, and what is taken meanwhile: a place in flight, and the asker's hold.
pub struct Reply<T> {
    to: oneshot::Sender<Result<T, SaleError>>,
    _place: OwnedSemaphorePermit,
    _hold: WorkGuard,
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").finish_non_exhaustive()
    }
}

impl<T> Reply<T> {
    /// Tells the one who waits; the one may have gone.
    pub fn send(self, result: Result<T, SaleError>) {
        let Reply { to, _place: place, _hold: hold } = self;
        // Let go first: whoever has answer_of the answer must find nothing in progress.
        drop((place, hold));
        let _ = to.send(result);
    }
}

/// Who waits for what becomes of a record.
#[derive(Debug)]
pub enum Waiting {
    Order(Reply<PlacedOrder>),
    Payment(Reply<Payment>),
    Release(Reply<()>),
    Nobody,
}

impl Waiting {
    /// Tells the one who waits what became of the record.
    pub fn answer(self, record: Record, result: Result<Outcome, Refusal>) {
        let result = result.map_err(SaleError::Refused);
        match (self, record, result) {
            (Waiting::Order(reply), Record::Order(order), Ok(Outcome::Ordered { first_number })) => {
                reply.send(Ok(PlacedOrder { order, first_number }));
            }
            (Waiting::Payment(reply), _, Ok(Outcome::Payment(payment))) => reply.send(Ok(payment)),
            (Waiting::Release(reply), _, Ok(Outcome::Released)) => reply.send(Ok(())),
            (Waiting::Order(reply), _, Err(error)) => reply.send(Err(error)),
            (Waiting::Payment(reply), _, Err(error)) => reply.send(Err(error)),
            (Waiting::Release(reply), _, Err(error)) => reply.send(Err(error)),
            // An answer of another kind than was waited for would be a bug; the waiter hears "unknown".
            _ => {}
        }
    }
}

/// What a draw is asked.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub enum DrawRequest {
    Order {
        ask: OrderRequest,
        deadline: Instant,
        reply: Reply<PlacedOrder>,
    },
    Pay {
        user: UserId,
        payment: PaymentId,
        key: Option<Key>,
        deadline: Instant,
        reply: Reply<Payment>,
    },
    BeginCharge {
        user: UserId,
        payment: PaymentId,
        key: Option<Key>,
        deadline: Instant,
        reply: Reply<Payment>,
    },
    EndCharge {
        end: EndCharge,
        reply: Reply<Payment>,
    },
    GiveBack {
        user: UserId,
        payment: PaymentId,
        ticket: TicketId,
        deadline: Instant,
        reply: Reply<()>,
    },
    Step {
        step: Step,
        reason: String,
        by: UserId,
        reply: oneshot::Sender<Result<(), StepRefusal>>,
    },
    Reschedule {
        times: Times,
        by: UserId,
        reply: oneshot::Sender<Result<(), StepRefusal>>,
    },
    AddToPool {
        count: usize,
        key: Option<Key>,
        by: Option<UserId>,
        reply: oneshot::Sender<Result<PoolCreated, PoolError>>,
    },
    /// What a bug would do.
    #[cfg(test)]
    Panic,
}

/// Why a draw has no actor to ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Absent {
    NoSuchDraw,
    Over(DrawStatus),
    /// It could not be loaded.
    Unreachable,
}

impl DrawRequest {
    /// Answers for a draw that has no actor.
    pub fn answer_absent(self, absent: Absent) {
        let sale = |over| match absent {
            Absent::NoSuchDraw => SaleError::NoSuchDraw,
            Absent::Over(_) => over,
            Absent::Unreachable => SaleError::Refused(Refusal::Overloaded),
        };
        match self {
            DrawRequest::Order { reply, .. } => reply.send(Err(sale(OrderRefusal::NotOpen.into()))),
            DrawRequest::Pay { reply, .. } | DrawRequest::BeginCharge { reply, .. } => {
                reply.send(Err(sale(SaleError::NotPayable)));
            }
            // Draws::end_charge writes it without the draw.
            DrawRequest::EndCharge { reply, .. } => reply.send(Err(sale(SaleError::NotReserved))),
            DrawRequest::GiveBack { reply, .. } => reply.send(Err(sale(SaleError::NotReserved))),
            DrawRequest::Step { step, reply, .. } => drop(reply.send(absent.answer_step(step))),
            DrawRequest::Reschedule { reply, .. } => drop(reply.send(Err(absent.refusal()))),
            DrawRequest::AddToPool { reply, .. } => {
                drop(reply.send(Err(absent.refusal().into())));
            }
            #[cfg(test)]
            DrawRequest::Panic => {}
        }
    }
}

impl Absent {
    fn refusal(self) -> StepRefusal {
        match self {
            Absent::NoSuchDraw => StepRefusal::NoSuchDraw,
            Absent::Over(status) => StepRefusal::InvalidTransition(status),
            Absent::Unreachable => StepRefusal::Unavailable,
        }
    }

    fn answer_step(self, step: Step) -> Result<(), StepRefusal> {
        match (self, step) {
            (Absent::Over(DrawStatus::Completed), Step::Conduct) => Ok(()),
            (Absent::Over(DrawStatus::Cancelled), Step::Cancel) => Ok(()),
            (Absent::Over(status), _) => Err(StepRefusal::InvalidTransition(status)),
            (Absent::NoSuchDraw, _) => Err(StepRefusal::NoSuchDraw),
            (Absent::Unreachable, _) => Err(StepRefusal::Unavailable),
        }
    }
}

/// The way to the draws.
#[derive(Clone)]
pub struct Draws {
    registry: Addr<DrawRegistry>,
    persistence: Persistence,
    clock: Clock,
    in_flight: Arc<Semaphore>,
    options: DrawOptions,
}

impl Draws {
    /// Starts the registry on the current arbiter and loads every draw that is not over: when this returns,
    /// what fell due while the service was down is being caught up, and nothing overdue can be paid.
    pub async fn start(
        db: Db,
        persistence: Persistence,
        snapshots: DrawSnapshots,
        clock: Clock,
        options: DrawOptions,
    ) -> Result<Draws, DbError> {
        for (lottery, amount) in draws::jackpots(&db).await? {
            snapshots.set_jackpot(&lottery, amount);
        }
        let newest = draws::list(&db, &[], &[], Page { after: None, limit: RECENT as i64 }).await?;
        snapshots.begin(newest.items, newest.next.is_none());
        let active = draws::active(&db).await?;
        let registry = DrawRegistry::new(db, persistence.clone(), snapshots, clock.clone(), options).start();
        for draw in active {
            // The registry lives as long as the service, so it always answers.
            let _ = registry.send(LoadDraw(draw)).await;
        }
        let in_flight = Arc::new(Semaphore::new(options.in_flight * DRAWS_IN_RUSH));
        Ok(Draws { registry, persistence, clock, in_flight, options })
    }

    /// Whether the registry is still there.
    pub fn is_alive(&self) -> bool {
        self.registry.connected()
    }

    /// Makes a draw, asked for by an admin or by nobody; it has an actor when this returns.
    pub async fn create(&self, rules: &Rules, times: &Times, by: Option<UserId>) -> Result<DrawId, DbError> {
        let id = self.persistence.create_draw(rules, times, by, self.clock.now()).await?;
        let _ = self.registry.send(LoadDraw(id)).await;
        tracing::info!(draw = %id, lottery = %rules.lottery, "a draw was made");
        Ok(id)
    }

    /// Makes a draw that a schedule wants, with an actor, unless it was made before.
    pub async fn create_planned(&self, rules: &Rules, times: &Times, pool: usize) -> Result<(), DbError> {
        let made = self.persistence.create_planned_draw(rules, times, pool, self.clock.now()).await?;
        if let Some(id) = made {
            let _ = self.registry.send(LoadDraw(id)).await;
            tracing::info!(draw = %id, lottery = %rules.lottery, at = %times.draw_at, "a scheduled draw was made");
        }
        Ok(())
    }

    /// Orders tickets: reserved, or paid from the wallet at once.
    pub async fn order(
        &self,
        draw: DrawId,
        user: UserId,
        lines: Vec<crate::domain::draw::LineRequest>,
        pay_now: bool,
        key: Option<Key>,
        hold: WorkGuard,
    ) -> Result<PlacedOrder, SaleError> {
        let reserve = (!pay_now).then_some(self.options.reservation);
        let ask = OrderRequest { user, lines, reserve, key };
        let deadline = self.persistence.deadline();
        let answer = self.ask(draw, hold, |reply| DrawRequest::Order { ask, deadline, reply })?;
        answer_until(deadline, answer).await
    }

    /// Pays a reservation from its owner's wallet.
    pub async fn pay(
        &self,
        draw: DrawId,
        user: UserId,
        payment: PaymentId,
        key: Option<Key>,
        hold: WorkGuard,
    ) -> Result<Payment, SaleError> {
        let deadline = self.persistence.deadline();
        let answer = self.ask(draw, hold, |reply| DrawRequest::Pay { user, payment, key, deadline, reply })?;
        answer_until(deadline, answer).await
    }

    /// Holds a reservation while a card is charged for it; the payment is `processing` then. Once its
    /// transaction has begun this waits for the end of that: a payment that is `processing` must be charged.
    pub async fn begin_charge(
        &self,
        draw: DrawId,
        user: UserId,
        payment: PaymentId,
        key: Option<Key>,
    ) -> Result<Payment, SaleError> {
        let deadline = self.persistence.deadline();
        let message = |reply| DrawRequest::BeginCharge { user, payment, key, deadline, reply };
        let answer = self.ask(draw, None, message)?;
        answer_of(answer).await
    }

    /// Writes what became of a charge, for as long as it takes: the money has moved. `begun` is when the
    /// payment was updated as [`Draws::begin_charge`] answered it.
    pub async fn end_charge(
        &self,
        draw: DrawId,
        user: UserId,
        payment: PaymentId,
        begun: Timestamp,
        charge: Charge,
        key: Option<Key>,
    ) -> Result<Payment, SaleError> {
        let (mut unsure, has_key) = (false, key.is_some());
        for _ in 0..CHARGE_TRIES {
            let at = self.clock.now();
            let charge = charge.clone();
            let end = EndCharge { held: None, user, payment, begun, charge, at, key };
            let asked = end.clone();
            // What must become true waits for its place.
            let place = self.in_flight.clone().acquire_owned().await.map_err(|_| SaleError::OutcomeUnknown)?;
            let message = |reply| DrawRequest::EndCharge { end: asked, reply };
            match answer_of(self.ask_from(place, draw, None, message)).await {
                Err(SaleError::NotReserved) => return self.end_charge_without_draw(end).await,
                Err(
                    error @ (SaleError::OutcomeUnknown
                    | SaleError::Refused(Refusal::StaleEpoch | Refusal::Overloaded)),
                ) => {
                    unsure |= error == SaleError::OutcomeUnknown;
                    tokio::time::sleep(CHARGE_PAUSE).await;
                }
                // It may be an earlier try of this very charge that has ended it; with a key its answer is kept.
                Err(SaleError::Refused(Refusal::NotPayable)) if unsure && !has_key => break,
                result => return result,
            }
        }
        // The card was charged: never "nothing was taken".
        Err(SaleError::OutcomeUnknown)
    }

    async fn end_charge_without_draw(&self, end: EndCharge) -> Result<Payment, SaleError> {
        payment_result(self.persistence.write(Record::EndCharge(end), None).await)
    }

    /// Gives a reserved ticket back.
    pub async fn give_back(
        &self,
        draw: DrawId,
        user: UserId,
        payment: PaymentId,
        ticket: TicketId,
    ) -> Result<(), SaleError> {
        let deadline = self.persistence.deadline();
        let message = |reply| DrawRequest::GiveBack { user, payment, ticket, deadline, reply };
        answer_until(deadline, self.ask(draw, None, message)?).await
    }

    /// Takes a step of a draw's life, or finds it taken. True once it is done; false while a long one
    /// (settling, refunding) still goes on.
    pub async fn step(&self, draw: DrawId, step: Step, reason: String, by: UserId) -> Result<bool, StepRefusal> {
        self.ask_step(draw, |reply| DrawRequest::Step { step, reason, by, reply }).await
    }

    /// Gives a draw other times. True once it is done; false while it is not known whether it will be.
    pub async fn reschedule(&self, draw: DrawId, times: Times, by: UserId) -> Result<bool, StepRefusal> {
        self.ask_step(draw, |reply| DrawRequest::Reschedule { times, by, reply }).await
    }

    async fn ask_step(
        &self,
        draw: DrawId,
        message: impl FnOnce(oneshot::Sender<Result<(), StepRefusal>>) -> DrawRequest,
    ) -> Result<bool, StepRefusal> {
        let (reply, answer) = oneshot::channel();
        self.registry.do_send(DrawMessage { draw, message: message(reply) });
        match tokio::time::timeout(STEP_WAIT, answer).await {
            Ok(Ok(result)) => result.map(|()| true),
            // The draw's actor was lost with it, or it takes long.
            Ok(Err(_)) | Err(_) => Ok(false),
        }
    }

    /// Makes tickets in advance.
    pub async fn add_to_pool(
        &self,
        draw: DrawId,
        count: usize,
        key: Option<Key>,
        by: Option<UserId>,
    ) -> Result<PoolCreated, PoolError> {
        if count > self.options.pool_limit {
            return Err(PoolError::TooMany { limit: self.options.pool_limit });
        }
        let (reply, answer) = oneshot::channel();
        self.registry.do_send(DrawMessage { draw, message: DrawRequest::AddToPool { count, key, by, reply } });
        match tokio::time::timeout(POOL_WAIT, answer).await {
            Ok(Ok(result)) => result,
            _ => Err(PoolError::OutcomeUnknown),
        }
    }

    /// How many orders are let in and not answered at this moment.
    pub fn orders_in_flight(&self) -> usize {
        self.options.in_flight * DRAWS_IN_RUSH - self.in_flight.available_permits()
    }

    /// Until when whoever asks for something now waits to hear of it.
    pub fn outcome_deadline(&self) -> Instant {
        self.persistence.deadline() + OUTCOME_WAIT
    }

    /// Takes a place in flight and asks.
    fn ask<T>(
        &self,
        draw: DrawId,
        hold: WorkGuard,
        message: impl FnOnce(Reply<T>) -> DrawRequest,
    ) -> Result<Answer<T>, SaleError> {
        let place = self.in_flight.clone().try_acquire_owned();
        let place = place.map_err(|_| SaleError::Refused(Refusal::Overloaded))?;
        Ok(self.ask_from(place, draw, hold, message))
    }

    /// Asks from a place that was taken.
    fn ask_from<T>(
        &self,
        place: OwnedSemaphorePermit,
        draw: DrawId,
        hold: WorkGuard,
        message: impl FnOnce(Reply<T>) -> DrawRequest,
    ) -> Answer<T> {
        let (to, answer) = oneshot::channel();
        self.registry.do_send(DrawMessage { draw, message: message(Reply { to, _place: place, _hold: hold }) });
        answer
    }
}

/// What became of a record about a payment: the payment as it stands now.
pub fn payment_result(answer: Option<Result<Outcome, Refusal>>) -> Result<Payment, SaleError> {
    match answer {
        Some(Ok(Outcome::Payment(payment))) => Ok(payment),
        Some(Err(refused)) => Err(SaleError::Refused(refused)),
        _ => Err(SaleError::OutcomeUnknown),
    }
}

/// What will be answer_of of something that was asked for.
type Answer<T> = oneshot::Receiver<Result<T, SaleError>>;

/// Waits for it. What nobody has taken up by the deadline is answered "overloaded" by the persistence
/// actor, so that silence long after it means "unknown".
async fn answer_until<T>(deadline: Instant, answer: Answer<T>) -> Result<T, SaleError> {
    let waiting = tokio::time::timeout_at((deadline + OUTCOME_WAIT).into(), answer_of(answer)).await;
    waiting.unwrap_or(Err(SaleError::OutcomeUnknown))
}

/// Waits for it for as long as it takes.
async fn answer_of<T>(answer: Answer<T>) -> Result<T, SaleError> {
    answer.await.unwrap_or(Err(SaleError::OutcomeUnknown))
}
