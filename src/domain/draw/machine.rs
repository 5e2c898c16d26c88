//! The machine of a draw: a [`Draw`] with the requests that wait for it. Takes requests, results and the time,
//! and says what is to be done, as [actions](DrawAction). The service's draw actor and the simulation drive the
//! same machine. It neither writes nor waits, and knows no clock and no channel.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use jiff::Timestamp;
use rand::Rng;
use uuid::Uuid;

use super::{
    Draw, DrawAction, DrawAnswer, DrawFault, DrawRequest, Due, GiveUpReason, NewPool, PoolCreated, PoolError,
    PoolOrder, SaleError, Step, StepRefusal, Stopping, Times, WriteResult,
};
use crate::domain::audit::{self, AuditEntry, Subject};
use crate::domain::id::UserId;
use crate::domain::lottery::DrawStatus;
use crate::domain::record::{Expire, Key, Outcome, Record, Refusal};

/// The state of one draw and of the requests that wait for it. The time comes with every input, ids and chance
/// with the requests, so that the same inputs give the same actions. No input follows [`DrawAction::GiveUp`].
#[derive(Debug)]
pub struct DrawMachine<W> {
    pub(super) draw: Draw,
    /// Records on their way at which orders are refused.
    in_flight: usize,
    /// Steps that wait for their turn.
    pub(super) requested: VecDeque<StepRequest<W>>,
    pub(super) phase: StepPhase<W>,
    timer: Option<Timestamp>,
}

/// A step that was asked for: by an admin who waits, or by the clock.
#[derive(Debug)]
pub(super) struct StepRequest<W> {
    pub step: Step,
    pub reason: String,
    /// None: the clock.
    pub by: Option<UserId>,
    pub waiter: Option<W>,
}

/// The step under way. There is one at a time.
#[derive(Debug)]
pub(super) enum StepPhase<W> {
    Idle,
    /// The sale ends: nothing is sold any more, and the records on their way are awaited.
    EndingSale(StepRequest<W>),
    /// A step is being written.
    Writing(StepRequest<W>),
    /// Other times are being written.
    Rescheduling(Times, W),
}

impl<W> DrawMachine<W> {
    /// A machine over a draw as it was loaded. `in_flight`: so many records may be on their way before orders
    /// are refused.
    pub fn new(draw: Draw, in_flight: usize) -> DrawMachine<W> {
        DrawMachine { draw, in_flight, requested: VecDeque::new(), phase: StepPhase::Idle, timer: None }
    }

    /// The draw as it is remembered.
    pub fn draw(&self) -> &Draw {
        &self.draw
    }

    /// Whether no step is under way and none waits.
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, StepPhase::Idle) && self.requested.is_empty()
    }

    /// The first input: a settlement or refund that a crash has interrupted goes on.
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

    /// A request, and who waits for its answer. Ids come from `id`, a payment's first and then one a ticket,
    /// ascending; quick picks from `rng`.
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
                // One draw under load leaves room for the others.
                if self.draw.on_its_way() >= self.in_flight {
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
            // Money that was taken is written in any case.
            DrawRequest::EndCharge(end) => Ok(Record::EndCharge(self.draw.end_charge(end))),
            DrawRequest::GiveBack { user, payment, ticket } => {
                let back = self.draw.give_back(user, payment, ticket, now);
                back.map(Record::GiveBack).ok_or(SaleError::NotReserved)
            }
            DrawRequest::Step { step, reason, by } => {
                let request = StepRequest { step, reason, by: Some(by), waiter: Some(waiter) };
                return self.request_step(request, now, actions);
            }
            DrawRequest::Reschedule { times, by } => return self.reschedule(times, by, waiter, now, actions),
            DrawRequest::AddToPool { count, key, by } => {
                return self.make_pool(count, key, by, waiter, now, actions);
            }
        };
        actions.push(match decided {
            Ok(record) => DrawAction::Submit { record, waiter: Some(waiter) },
            Err(error) => DrawAction::Answer(waiter, DrawAnswer::Sale(Err(error))),
        });
    }

    /// The results of records, in the order in which they were submitted.
    pub fn written(&mut self, results: Vec<WriteResult<W>>, now: Timestamp, actions: &mut Vec<DrawAction<W>>) {
        let (mut lost, mut faults) = (None, Vec::new());
        for WriteResult { record, result, .. } in &results {
            match self.fault(record, result) {
                Some(fault) => faults.push(fault),
                None => {
                    self.draw.answered(record, result);
                    lost = lost.or(contradiction(record, result));
                }
            }
        }
        actions.reserve(results.len() + 4);
        // Before the answers: a client that looks after its answer sees the effect.
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
            Some(reason) => actions.push(DrawAction::GiveUp(reason)),
            None => {
                self.go_on_ending_sale(now, actions);
                self.tick(now, actions);
            }
        }
    }

    /// A result that only a bug can bring about.
    fn fault(&self, record: &Record, result: &Result<Outcome, Refusal>) -> Option<DrawFault> {
        match result {
            Ok(outcome) if !is_outcome_of(outcome, record) => {
                Some(DrawFault::WrongOutcome(Box::new((record.clone(), outcome.clone()))))
            }
            _ if !self.draw.awaits(record) => Some(DrawFault::RecordNotAwaited(Box::new(record.clone()))),
            _ => None,
        }
    }

    /// The timer has come to its time.
    pub fn wake(&mut self, now: Timestamp, actions: &mut Vec<DrawAction<W>>) {
        self.timer = None;
        self.tick(now, actions);
    }

    /// Does what the clock asks for, and sets the timer for the next time.
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
            }
        }
        self.set_timer(now, actions);
        self.advance(now, actions);
    }

    fn request_by_clock(&mut self, step: Step, reason: String) {
        // A step under way is followed by another look at the clock. A step that only waits is not, if it is
        // refused: the clock's own goes before it.
        if matches!(self.phase, StepPhase::Idle) {
            self.requested.push_front(StepRequest { step, reason, by: None, waiter: None });
        }
    }

    /// What is due already waits for a result, and every result looks at the clock again: no timer for it.
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
        by: Option<UserId>,
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
            actions.push(DrawAction::GiveUp(GiveUpReason::PoolUnknown));
        }
    }

    /// What an admin does to this draw; none, if it is the clock or a schedule that asks.
    pub(super) fn audit(
        &self,
        by: Option<UserId>,
        action: audit::Action,
        detail: serde_json::Value,
        at: Timestamp,
    ) -> Option<AuditEntry> {
        let subject = Subject::Draw(self.draw.id());
        by.map(|admin| AuditEntry { actor: Some(admin), action, subject, detail, at })
    }

    /// Goes on with the end of the sale, if it is being ended.
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
        Record::Pay(_) | Record::BeginCharge(_) | Record::EndCharge(_) => matches!(outcome, Outcome::Payment(_)),
        Record::GiveBack(_) | Record::Expire(_) => matches!(outcome, Outcome::Released),
        // No draw decides them.
        Record::BeginDeposit(_)
        | Record::EndDeposit(_)
        | Record::BeginWithdrawal(_)
        | Record::EndWithdrawal(_) => false,
    }
}

/// A refusal that a draw with a true memory never meets.
fn contradiction(record: &Record, result: &Result<Outcome, Refusal>) -> Option<GiveUpReason> {
    match (record, result) {
        (_, Err(Refusal::StaleEpoch)) => Some(GiveUpReason::StaleEpoch),
        // The charge may have ended before: the provider tells twice.
        (Record::EndCharge(_), Err(Refusal::NotPayable)) => None,
        (_, Err(Refusal::NotPayable)) => Some(GiveUpReason::ReservationLost),
        (Record::Expire(_), Err(_)) => Some(GiveUpReason::ExpiryRefused),
        (Record::Order(order), Err(Refusal::Rejected)) if order.takes_from_pool() => {
            Some(GiveUpReason::PoolTicketTaken)
        }
        _ => None,
    }
}
