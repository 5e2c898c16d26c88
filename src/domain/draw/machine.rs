//! The state machine of a draw: a [`Draw`] with the requests that wait for it.
//!
//! The inputs are requests, the results of records and steps, and the time. Each input appends
//! [actions](DrawAction) to a list, and the driver carries them out in their order.
//!
//! A request of the sale is decided at once, in memory; its record is written later, in a batch. The steps of the
//! draw (open, close, conduct, cancel) run one at a time. Each is written before the state in memory changes.
//! Closing and cancelling first wait for the results of all records in flight. If a result contradicts the state
//! in memory, or a step fails, the machine gives up, and the draw is loaded again.
//!
//! The draw actor and the simulation drive the same machine. It has no SQL, channel, clock or source of randomness.
//!
//! ```text
//! sale:  decide ─┬─ submit the record ─ written ─ publish ─ answer
//!                └─ refused: answer
//! step:  wait for its turn ─ end the sale, to close or cancel ─ write ─ step_written ─ publish ─ answer
//! ```

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::mem;

use jiff::Timestamp;
use rand::Rng;
use uuid::Uuid;

use super::{
    Draw, DrawAction, DrawAnswer, DrawFault, DrawRequest, Due, GiveUpReason, NewPool, PoolCreated, PoolError,
    PoolOrder, SaleError, Step, StepRefusal, Stopping, WriteResult,
};
use crate::domain::audit::{self, AuditActor, AuditEntry, Subject};
use crate::domain::beacon::VerifiedRound;
use crate::domain::lottery::{DrawStatus, VoidReason};
use crate::domain::record::{EndCharge, Expire, Key, Outcome, Record, Refusal};

/// The most requested steps that wait for the current step of a draw. Further ones are refused.
pub(super) const MAX_WAITING_STEPS: usize = 64;

/// The state of one draw and of the requests that wait for it. The time comes with every input; ids and
/// randomness come with the requests. So the same inputs give the same actions. There is no input after
/// [`DrawAction::GiveUp`].
#[derive(Debug)]
pub struct DrawMachine<W> {
    pub(super) draw: Draw,
    /// The machine refuses orders while this many records are in flight.
    in_flight: usize,
    /// Requested steps that wait until the current step ends; at most [`MAX_WAITING_STEPS`].
    pub(super) requested: VecDeque<StepRequest<W>>,
    pub(super) phase: StepPhase<W>,
    /// Ends of charges that came after the cut-off while new times are being written. Whether they are in time is
    /// known when the times are written. Each belongs to a reservation, so they are bounded like these.
    pub(super) charge_ends: Vec<(EndCharge, W)>,
    timer: Option<Timestamp>,
}

/// A step that was requested by an admin, who waits for the answer, or by the clock.
#[derive(Debug)]
pub(super) struct StepRequest<W> {
    pub step: Step,
    pub reason: String,
    /// `None`: the clock.
    pub by: Option<AuditActor>,
    pub waiter: Option<W>,
}

/// The current step. There is one at a time.
#[derive(Debug)]
pub(super) enum StepPhase<W> {
    Idle,
    /// The sale has ended: nothing is sold any more, and the machine waits for the records in flight.
    EndingSale(StepRequest<W>),
    /// A step is being written.
    Writing(StepRequest<W>),
}

impl<W> DrawMachine<W> {
    /// A machine for a draw that was loaded. It refuses orders while `in_flight` of its records are in flight.
    pub fn new(draw: Draw, in_flight: usize) -> DrawMachine<W> {
        let (requested, charge_ends) = (VecDeque::new(), Vec::new());
        DrawMachine { draw, in_flight, requested, phase: StepPhase::Idle, charge_ends, timer: None }
    }

    /// The draw as the machine has it in memory.
    pub fn draw(&self) -> &Draw {
        &self.draw
    }

    /// Whether the times of the inputs from now on can be trusted. The driver tells it before each input. While they
    /// cannot, the draw takes no step by itself; steps that admins request are taken. When trust is won back, the
    /// driver calls [`wake`](DrawMachine::wake).
    pub fn trust_clock(&mut self, trusted: bool) {
        self.draw.trust_clock(trusted);
    }

    /// Whether no step has begun and none waits.
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, StepPhase::Idle) && self.requested.is_empty()
    }

    /// The first input: continues a settlement or refund that a crash has interrupted.
    pub fn start(&mut self, now: Timestamp, actions: &mut Vec<DrawAction<W>>) {
        actions.push(DrawAction::Publish);
        let interrupted = match self.draw.status() {
            DrawStatus::Settling => Some(Step::Conduct),
            DrawStatus::Cancelling => Some(Step::Cancel),
            _ => None,
        };
        if let Some(step) = interrupted {
            self.requested.push_back(StepRequest { step, reason: String::new(), by: None, waiter: None });
        }
        self.tick(now, actions);
    }

    /// A request, and the waiter for its answer. `id` gives the ids in ascending order: first the id of the
    /// payment, then one for each ticket. Quick picks come from `rng`.
    pub fn request(
        &mut self,
        request: DrawRequest,
        waiter: W,
        now: Timestamp,
        id: impl FnMut() -> Uuid,
        rng: &mut impl Rng,
        actions: &mut Vec<DrawAction<W>>,
    ) {
        let decided = match request {
            DrawRequest::Order(order) => {
                // A draw under load must leave capacity for the other draws.
                if self.draw.in_flight() >= self.in_flight {
                    Err(SaleError::Refused(Refusal::Overloaded))
                } else {
                    self.draw.order(order, now, id, rng).map(Record::Order).map_err(SaleError::Order)
                }
            }
            DrawRequest::Pay { user, payment, key } => {
                self.draw.pay(user, payment, now, key).map(Record::Pay).ok_or(SaleError::NotPayable)
            }
            DrawRequest::BeginCharge { user, payment, key } => {
                let begin = self.draw.begin_charge(user, payment, now, key);
                begin.map(Record::BeginCharge).ok_or(SaleError::NotPayable)
            }
            DrawRequest::EndCharge(end) if self.cut_off_may_move(&end) => {
                return self.charge_ends.push((end, waiter));
            }
            DrawRequest::EndCharge(end) => self.end_charge(end),
            DrawRequest::GiveBack { user, payment, ticket } => {
                let back = self.draw.give_back(user, payment, ticket, now);
                back.map(Record::GiveBack).ok_or(SaleError::NotReserved)
            }
            DrawRequest::Step { step, reason, by } => {
                let request = StepRequest { step, reason, by: Some(by), waiter: Some(waiter) };
                return self.request_step(request, now, actions);
            }
            DrawRequest::AddToPool { count, key, by } => {
                return self.make_pool(count, key, by, waiter, now, actions);
            }
        };
        actions.push(match decided {
            Ok(record) => DrawAction::Submit { record, waiter: Some(waiter) },
            Err(error) => DrawAction::Answer(waiter, DrawAnswer::Sale(Err(error))),
        });
    }

    /// The results of records, in the order in which the records were submitted.
    pub fn written(&mut self, results: Vec<WriteResult<W>>, now: Timestamp, actions: &mut Vec<DrawAction<W>>) {
        let (mut lost, mut faults) = (None, Vec::new());
        for WriteResult { record, result, .. } in &results {
            match self.record_fault(record, result) {
                Some(fault) => faults.push(fault),
                None => {
                    self.draw.answered(record, result);
                    lost = lost.or(contradiction(record, result));
                }
            }
        }
        actions.reserve(results.len() + 4);
        // Publish before the answers: a client that reads after its answer must see the effect.
        actions.push(DrawAction::Publish);
        for WriteResult { record, result, waiter } in results {
            let Some(waiter) = waiter else { continue };
            let fits = result.as_ref().map_or(true, |outcome| is_outcome_of(outcome, &record));
            let answer = match fits {
                true => DrawAnswer::of_record(record, result),
                false => DrawAnswer::Sale(Err(SaleError::OutcomeUnknown)),
            };
            actions.push(DrawAction::Answer(waiter, answer));
        }
        let lost = if faults.is_empty() { lost } else { Some(GiveUpReason::Fault) };
        actions.extend(faults.into_iter().map(DrawAction::Fault));
        match lost {
            Some(reason) => self.give_up(reason, actions),
            None => {
                self.go_on_ending_sale(now, actions);
                self.tick(now, actions);
            }
        }
    }

    /// Finds a result that only a bug can cause.
    fn record_fault(&self, record: &Record, result: &Result<Outcome, Refusal>) -> Option<DrawFault> {
        match result {
            Ok(outcome) if !is_outcome_of(outcome, record) => {
                Some(DrawFault::WrongOutcome(Box::new((record.clone(), outcome.clone()))))
            }
            _ if !self.draw.awaits(record) => Some(DrawFault::RecordNotAwaited(Box::new(record.clone()))),
            _ => None,
        }
    }

    /// The timer has fired.
    pub fn wake(&mut self, now: Timestamp, actions: &mut Vec<DrawAction<W>>) {
        self.timer = None;
        self.tick(now, actions);
    }

    /// The result of [`DrawAction::FetchRound`]. `None`: the signature was not there.
    pub fn round_fetched(
        &mut self,
        verified: Option<VerifiedRound>,
        now: Timestamp,
        actions: &mut Vec<DrawAction<W>>,
    ) {
        self.draw.round_fetched(verified, now);
        self.tick(now, actions);
    }

    /// The end of [`DrawAction::AwaitTurn`].
    pub fn turn_came(&mut self, now: Timestamp, actions: &mut Vec<DrawAction<W>>) {
        self.draw.turn_came();
        self.tick(now, actions);
    }

    /// A draw that is closed cannot take place as it was announced. It is cancelled by itself, or waits for an admin who
    /// cancels it, as the reason says.
    pub fn stop_for(&mut self, reason: VoidReason, now: Timestamp, actions: &mut Vec<DrawAction<W>>) {
        self.draw.stop_for(reason);
        if self.draw.waits_for_admin() {
            actions.push(DrawAction::Publish);
        }
        self.tick(now, actions);
    }

    /// Does what is due now, and sets the timer for the next time.
    pub(super) fn tick(&mut self, now: Timestamp, actions: &mut Vec<DrawAction<W>>) {
        while let Some(due) = self.draw.due(now) {
            match due {
                Due::Expire(records) => submit_expiries(records, actions),
                Due::Step(step) => {
                    self.request_by_clock(step, String::new());
                    break;
                }
                Due::CancelUnopened => {
                    self.request_by_clock(Step::Cancel, "its sale was not opened before the cut-off".to_owned());
                    break;
                }
                Due::Void(reason) => {
                    self.request_by_clock(Step::Cancel, reason.as_str().to_owned());
                    break;
                }
                Due::CancelAgain(reason) => {
                    self.request_by_clock(Step::Cancel, reason);
                    break;
                }
            }
        }
        actions.extend(self.draw.fetch_round(now).map(DrawAction::FetchRound));
        self.set_timer(now, actions);
        self.advance(now, actions);
    }

    fn request_by_clock(&mut self, step: Step, reason: String) {
        // If a step has begun, its result checks the clock again, so nothing is lost here. A step that only waits
        // may be refused without such a check, so the clock's step goes first.
        if matches!(self.phase, StepPhase::Idle) {
            self.requested.push_front(StepRequest { step, reason, by: None, waiter: None });
        }
    }

    /// What is due already waits for a result, and every result checks the clock again. So no timer is needed for
    /// it.
    fn set_timer(&mut self, now: Timestamp, actions: &mut Vec<DrawAction<W>>) {
        let next = self.draw.next_due().filter(|next| *next > now);
        if self.timer != next {
            self.timer = next;
            actions.push(DrawAction::SetTimer(next));
        }
    }

    fn make_pool(
        &mut self,
        count: usize,
        key: Option<Key>,
        by: Option<AuditActor>,
        waiter: W,
        now: Timestamp,
        actions: &mut Vec<DrawAction<W>>,
    ) {
        if !self.draw.takes_pool_tickets() {
            let refusal = StepRefusal::InvalidTransition(self.draw.status());
            actions.push(DrawAction::Answer(waiter, DrawAnswer::Pool(Err(refusal.into()))));
            return;
        }
        let audit = self.audit(by, audit::Action::AddToPool, serde_json::json!({"count": count}), now);
        let (fence, game) = (self.draw.fence(), self.draw.rules().game);
        actions.push(DrawAction::MakePool(PoolOrder { fence, game, count, key, audit }, waiter));
    }

    /// The result of [`DrawAction::MakePool`].
    pub fn pool_written(
        &mut self,
        result: Result<NewPool, PoolError>,
        waiter: W,
        actions: &mut Vec<DrawAction<W>>,
    ) {
        let result = result.map(|new| {
            let created = new.tickets.len();
            self.draw.add_to_pool(new.tickets);
            actions.push(DrawAction::Publish);
            let tickets_available = new.available.unwrap_or_else(|| self.draw.available());
            PoolCreated { created, tickets_available }
        });
        let unsure = matches!(result, Err(PoolError::OutcomeUnknown | PoolError::Step(StepRefusal::Failed)));
        actions.push(DrawAction::Answer(waiter, DrawAnswer::Pool(result)));
        if unsure {
            self.give_up(GiveUpReason::PoolUnknown, actions);
        }
    }

    /// The last actions of the machine. What waited and has not begun had no effect, and its waiters hear so: a
    /// retry soon finds the draw loaded again.
    pub(super) fn give_up(&mut self, reason: GiveUpReason, actions: &mut Vec<DrawAction<W>>) {
        let begun = match mem::replace(&mut self.phase, StepPhase::Idle) {
            StepPhase::EndingSale(request) => Some(request),
            // It is not known whether this step was written.
            StepPhase::Writing(_) | StepPhase::Idle => None,
        };
        for request in begun.into_iter().chain(self.requested.drain(..)) {
            request.answer(Err(StepRefusal::Unavailable), actions);
        }
        for (_, waiter) in self.charge_ends.drain(..) {
            actions.push(DrawAction::Answer(waiter, DrawAnswer::Sale(Err(Refusal::Overloaded.into()))));
        }
        actions.push(DrawAction::GiveUp(reason));
    }

    /// The audit entry for an action of an admin. `None`: the clock or a schedule asked for the action.
    pub(super) fn audit(
        &self,
        by: Option<AuditActor>,
        action: audit::Action,
        detail: serde_json::Value,
        at: Timestamp,
    ) -> Option<AuditEntry> {
        let subject = Subject::Draw(self.draw.id());
        by.map(|admin| AuditEntry::once(Some(admin), action, subject, detail, at))
    }

    /// Continues the end of the sale, if the sale is being ended.
    pub(super) fn go_on_ending_sale(&mut self, now: Timestamp, actions: &mut Vec<DrawAction<W>>) {
        if !matches!(self.phase, StepPhase::EndingSale(_)) {
            return;
        }
        match self.draw.stop(now) {
            Stopping::Expire(records) => submit_expiries(records, actions),
            Stopping::Wait => {}
            Stopping::Done => self.end_sale(now, actions),
        }
    }
}

fn submit_expiries<W>(records: Vec<Expire>, actions: &mut Vec<DrawAction<W>>) {
    let submit = |record| DrawAction::Submit { record: Record::Expire(record), waiter: None };
    actions.extend(records.into_iter().map(submit));
}

fn is_outcome_of(outcome: &Outcome, record: &Record) -> bool {
    match record {
        Record::Order(_) => matches!(outcome, Outcome::Ordered { .. }),
        Record::Pay(_) | Record::BeginCharge(_) => matches!(outcome, Outcome::Payment(_)),
        Record::EndCharge(_) => matches!(outcome, Outcome::Payment(_) | Outcome::LateCredit(_)),
        Record::GiveBack(_) | Record::Expire(_) => matches!(outcome, Outcome::Released),
        // No draw decides these records.
        Record::BeginDeposit(_) | Record::BeginWithdrawal(_) | Record::EndWithdrawal(_) => false,
    }
}

/// A refusal that is impossible while the draw's memory agrees with the database.
fn contradiction(record: &Record, result: &Result<Outcome, Refusal>) -> Option<GiveUpReason> {
    match (record, result) {
        (_, Err(Refusal::StaleEpoch)) => Some(GiveUpReason::StaleEpoch),
        (_, Err(Refusal::TicketLog(fault))) => Some(GiveUpReason::TicketLog(*fault)),
        // The charge may have ended before, because the provider can report it twice.
        (Record::EndCharge(_), Err(Refusal::NotPayable)) => None,
        (_, Err(Refusal::NotPayable)) => Some(GiveUpReason::ReservationLost),
        (Record::Expire(_), Err(_)) => Some(GiveUpReason::ExpiryRefused),
        (Record::Order(order), Err(Refusal::Rejected)) if order.takes_from_pool() => {
            Some(GiveUpReason::PoolTicketTaken)
        }
        _ => None,
    }
}
