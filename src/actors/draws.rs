//! The handle to the draws, for the layers above. It limits the orders in flight, sends each request to the draw
//! registry, waits for the answer for a limited time, and returns the result. It decides nothing.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Addr};
use jiff::SignedDuration;
use tokio::sync::{Semaphore, oneshot};

use super::messages::{
    DrawAnswer, DrawMessage, DrawRequest, LoadDraw, Ping, PoolCreated, PoolError, Reply, SaleError, StepRefusal,
    WorkGuard,
};
use super::persistence::Persistence;
use super::public_log::PublicLog;
use super::registry::DrawRegistry;
use super::snapshots::{DrawSnapshots, RECENT};
use crate::beacon::RoundSource;
use crate::clock::Clock;
use crate::db::read::{Page, draws};
use crate::db::{Db, DbError};
use crate::domain::audit::AuditActor;
use crate::domain::draw::{FairnessTerms, LineRequest, OpenReservations, OrderRequest, Step, Times, TimesError};
use crate::domain::id::{DrawId, PaymentId, TicketId, UserId};
use crate::domain::lottery::Rules;
use crate::domain::payment::Payment;
use crate::domain::record::{EndCharge, Key, Order, Outcome, Record, Refusal};
use crate::domain::ticket_log::Receipt;

/// How long a request waits for its result after the deadline of its record.
const OUTCOME_WAIT: Duration = Duration::from_secs(5);
/// How long a call waits for a step of a draw. After that the step still goes on.
const STEP_WAIT: Duration = Duration::from_secs(25);
/// How long a call waits for new pool tickets.
const POOL_WAIT: Duration = Duration::from_secs(120);

/// How many draws can be under full load at once before their orders compete for permits.
pub const BUSY_DRAWS: usize = 2;

/// An order that was written.
#[derive(PartialEq, Debug)]
pub struct WrittenOrder {
    pub order: Order,
    /// The number of its first ticket, if it was paid.
    pub first_number: Option<i64>,
    /// Proves that the draw's ticket log has it, if it was paid and the draw has a log.
    pub receipt: Option<Receipt>,
}

/// The options of the draws from the configuration.
#[derive(Clone, PartialEq, Debug)]
pub struct DrawOptions {
    /// The limit of orders in flight for one draw. The limit for all draws together is [`BUSY_DRAWS`] times as
    /// high.
    pub in_flight: usize,
    /// The most tickets of a user that may be reserved and not paid, over all draws. `None`: no limit.
    pub open_reservations: Option<usize>,
    /// The most pool tickets that one call may create.
    pub pool_limit: usize,
    /// How long a reservation holds its tickets.
    pub reservation: SignedDuration,
    /// How draws are announced that are opened from now on.
    pub terms: FairnessTerms,
}

/// The handle to the draws.
#[derive(Clone)]
pub struct Draws {
    registry: Addr<DrawRegistry>,
    persistence: Persistence,
    clock: Clock,
    in_flight: Arc<Semaphore>,
    options: DrawOptions,
}

impl Draws {
    /// Starts the registry on the current arbiter and loads every draw that is not over and not corrupt. When this
    /// returns, the draws have begun the steps that fell due while the service was down, and an overdue reservation
    /// cannot be paid.
    pub async fn start(
        (db, public_log): (Db, PublicLog),
        persistence: Persistence,
        snapshots: DrawSnapshots,
        clock: Clock,
        options: DrawOptions,
        rounds: Arc<dyn RoundSource>,
    ) -> Result<Draws, DbError> {
        for (lottery, amount) in draws::jackpots(&db).await? {
            snapshots.set_jackpot(&lottery, amount);
        }
        let newest = draws::list(&db, &[], &[], Page { after: None, limit: RECENT as i64 }).await?;
        snapshots.begin(newest.items, newest.next.is_none());
        let active = draws::active(&db).await?;
        let reservations = OpenReservations::new(options.open_reservations);
        let (in_flight, clone) = (options.in_flight, clock.clone());
        let (read, fairness) = ((db, public_log), (options.terms.clone(), rounds));
        let registry =
            DrawRegistry::new(read, persistence.clone(), snapshots, clone, in_flight, reservations, fairness);
        let registry = registry.start();
        for draw in active {
            // The registry lives as long as the service, so it always answers.
            let _ = registry.send(LoadDraw(draw)).await;
        }
        let in_flight = Arc::new(Semaphore::new(options.in_flight * BUSY_DRAWS));
        Ok(Draws { registry, persistence, clock, in_flight, options })
    }

    /// Whether the registry is running.
    pub fn is_alive(&self) -> bool {
        self.registry.connected()
    }

    /// Waits for a sign that the registry handles its messages. False if it has ended.
    pub async fn answers(&self) -> bool {
        self.registry.send(Ping).await.is_ok()
    }

    /// Creates a draw. `by` is the admin who asked for it, if there is one. The draw has an actor when this
    /// returns.
    pub async fn create(&self, rules: &Rules, times: &Times, by: Option<AuditActor>) -> Result<DrawId, DbError> {
        let id = self.persistence.create_draw(rules, times, by, self.clock.now()).await?;
        let _ = self.registry.send(LoadDraw(id)).await;
        tracing::info!(draw = %id, lottery = %rules.lottery, "a draw was made");
        Ok(id)
    }

    /// Creates a draw of a schedule, with an actor, unless the draw exists already.
    pub async fn create_planned(&self, rules: &Rules, times: &Times, pool: usize) -> Result<(), DbError> {
        let made = self.persistence.create_planned_draw(rules, times, pool, self.clock.now()).await?;
        if let Some(id) = made {
            let _ = self.registry.send(LoadDraw(id)).await;
            tracing::info!(draw = %id, lottery = %rules.lottery, at = %times.draw_at, "a scheduled draw was made");
        }
        Ok(())
    }

    /// Orders tickets: reserves them, or pays them from the wallet at once.
    pub async fn order(
        &self,
        draw: DrawId,
        user: UserId,
        lines: Vec<LineRequest>,
        pay_now: bool,
        key: Option<Key>,
        guard: WorkGuard,
    ) -> Result<WrittenOrder, SaleError> {
        let reserve = (!pay_now).then_some(self.options.reservation);
        let request = DrawRequest::Order(OrderRequest { user, lines, reserve, key });
        let deadline = self.persistence.deadline();
        let answer = self.send(draw, request, deadline, guard)?;
        match until(deadline, answer).await? {
            (Record::Order(order), Outcome::Ordered { first_number, receipt }) => {
                Ok(WrittenOrder { order, first_number, receipt })
            }
            (record, outcome) => Err(unexpected(&record, &outcome)),
        }
    }

    /// Pays a reservation from its owner's wallet.
    pub async fn pay(
        &self,
        draw: DrawId,
        user: UserId,
        payment: PaymentId,
        key: Option<Key>,
        guard: WorkGuard,
    ) -> Result<Payment, SaleError> {
        let deadline = self.persistence.deadline();
        let answer = self.send(draw, DrawRequest::Pay { user, payment, key }, deadline, guard)?;
        payment_of(until(deadline, answer).await)
    }

    /// Holds a reservation while a card is charged for it; the payment is `processing` then. Once the transaction
    /// has begun, this waits for its end without a limit, because a payment that is `processing` must be charged.
    pub async fn begin_charge(
        &self,
        draw: DrawId,
        user: UserId,
        payment: PaymentId,
        key: Option<Key>,
    ) -> Result<Payment, SaleError> {
        let deadline = self.persistence.deadline();
        let answer = self.send(draw, DrawRequest::BeginCharge { user, payment, key }, deadline, None)?;
        payment_of(sale_answer(answer).await)
    }

    /// Sends the end of a charge to its draw, once; the caller repeats it if necessary. It waits for a permit of
    /// the orders in flight and is never refused as overloaded, because the money has moved.
    pub async fn end_charge(&self, draw: DrawId, end: EndCharge) -> Result<Payment, SaleError> {
        let permit = self.in_flight.clone().acquire_owned().await.map_err(|_| SaleError::OutcomeUnknown)?;
        let (reply, answer) = Reply::new(None, Some(permit), None);
        self.registry.do_send(DrawMessage { draw, request: DrawRequest::EndCharge(end), reply });
        payment_of(sale_answer(answer).await)
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
        let answer = self.send(draw, DrawRequest::GiveBack { user, payment, ticket }, deadline, None)?;
        match until(deadline, answer).await? {
            (Record::GiveBack(_), Outcome::Released) => Ok(()),
            (record, outcome) => Err(unexpected(&record, &outcome)),
        }
    }

    /// Takes a step of a draw; a step that was taken before succeeds too. Returns true once the step is done, and
    /// false if that is not known in time: a long step (settling, refunding) still goes on, or the draw was lost.
    pub async fn step(
        &self,
        draw: DrawId,
        step: Step,
        reason: String,
        by: AuditActor,
    ) -> Result<bool, StepRefusal> {
        let request = DrawRequest::Step { step, reason, by };
        let (reply, answer) = Reply::new(None, None, None);
        self.registry.do_send(DrawMessage { draw, request, reply });
        match tokio::time::timeout(STEP_WAIT, answer).await {
            Ok(Ok(DrawAnswer::Step(result))) => result.map(|()| true),
            Ok(Ok(answer)) => {
                tracing::error!(?answer, "a draw answered a step with something else");
                Err(StepRefusal::Failed)
            }
            // The draw actor was lost together with the request, or the work takes longer.
            Ok(Err(_)) | Err(_) => Ok(false),
        }
    }

    /// Makes pool tickets: tickets made in advance.
    pub async fn add_to_pool(
        &self,
        draw: DrawId,
        count: usize,
        key: Option<Key>,
        by: Option<AuditActor>,
    ) -> Result<PoolCreated, PoolError> {
        if count > self.options.pool_limit {
            return Err(PoolError::TooMany { limit: self.options.pool_limit });
        }
        let (reply, answer) = Reply::new(None, None, None);
        self.registry.do_send(DrawMessage { draw, request: DrawRequest::AddToPool { count, key, by }, reply });
        match tokio::time::timeout(POOL_WAIT, answer).await {
            Ok(Ok(DrawAnswer::Pool(result))) => result,
            Ok(Ok(answer)) => {
                tracing::error!(?answer, "a draw answered a call for pool tickets with something else");
                Err(PoolError::OutcomeUnknown)
            }
            // The draw actor was lost together with the request, or the work takes longer.
            Ok(Err(_)) | Err(_) => Err(PoolError::OutcomeUnknown),
        }
    }

    /// The rules that the times of a new draw break.
    pub fn times_errors(&self, times: &Times) -> Vec<TimesError> {
        let mut errors = times.errors(self.clock.now());
        errors.extend(self.options.terms.error(times));
        errors
    }

    /// How many orders are in flight now: they have a permit and no answer yet.
    pub fn orders_in_flight(&self) -> usize {
        self.options.in_flight * BUSY_DRAWS - self.in_flight.available_permits()
    }

    /// Until when a request that is sent now waits for its answer.
    pub fn outcome_deadline(&self) -> Instant {
        self.persistence.deadline() + OUTCOME_WAIT
    }

    /// Sends a request of the sale, if there is a permit for another order in flight.
    fn send(
        &self,
        draw: DrawId,
        request: DrawRequest,
        deadline: Instant,
        guard: WorkGuard,
    ) -> Result<oneshot::Receiver<DrawAnswer>, SaleError> {
        let permit = self.in_flight.clone().try_acquire_owned();
        let permit = permit.map_err(|_| SaleError::Refused(Refusal::Overloaded))?;
        let (reply, answer) = Reply::new(Some(deadline), Some(permit), guard);
        self.registry.do_send(DrawMessage { draw, request, reply });
        Ok(answer)
    }
}

/// The result of a record about a payment: the payment in its current state.
pub fn payment_result(answer: Option<Result<Outcome, Refusal>>) -> Result<Payment, SaleError> {
    match answer {
        Some(Ok(Outcome::Payment(payment) | Outcome::LateCredit(payment))) => Ok(payment),
        Some(Err(refused)) => Err(SaleError::Refused(refused)),
        _ => Err(SaleError::OutcomeUnknown),
    }
}

/// Waits for an answer. The persistence actor answers "overloaded" for a record whose transaction has not begun
/// by its deadline. So if there is no answer long after the deadline, the outcome is unknown.
async fn until(deadline: Instant, answer: oneshot::Receiver<DrawAnswer>) -> Result<(Record, Outcome), SaleError> {
    let waiting = tokio::time::timeout_at((deadline + OUTCOME_WAIT).into(), sale_answer(answer)).await;
    waiting.unwrap_or(Err(SaleError::OutcomeUnknown))
}

/// Waits for an answer without a time limit.
async fn sale_answer(answer: oneshot::Receiver<DrawAnswer>) -> Result<(Record, Outcome), SaleError> {
    match answer.await {
        Ok(DrawAnswer::Sale(result)) => result,
        Ok(answer) => {
            tracing::error!(?answer, "a draw answered a request of the sale with something else");
            Err(SaleError::OutcomeUnknown)
        }
        // The draw actor was lost together with the request.
        Err(_) => Err(SaleError::OutcomeUnknown),
    }
}

fn payment_of(answer: Result<(Record, Outcome), SaleError>) -> Result<Payment, SaleError> {
    match answer? {
        (_, Outcome::Payment(payment) | Outcome::LateCredit(payment)) => Ok(payment),
        (record, outcome) => Err(unexpected(&record, &outcome)),
    }
}

/// A bug: the record was written, and its outcome is of another kind.
fn unexpected(record: &Record, outcome: &Outcome) -> SaleError {
    tracing::error!(?record, ?outcome, "a record was answered with an outcome of another kind");
    SaleError::OutcomeUnknown
}
