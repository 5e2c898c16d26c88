//! The steps of a draw, as its machine takes them: one at a time, and each is written before the state in memory
//! changes. This file is a part of the machine and decides nothing about the sale.

use std::mem;

use jiff::Timestamp;
use serde_json::json;

use super::machine::{DrawMachine, MAX_WAITING_STEPS, StepPhase, StepRequest};
use super::{
    Allowed, DrawAction, DrawAnswer, DrawFault, GiveUpReason, SaleError, Step, StepError, StepKind, StepOutcome,
    StepRefusal, StepWrite, TimesChange, WinningPick,
};
use crate::domain::audit::{Action, AuditEntry};
use crate::domain::lottery::DrawStatus;
use crate::domain::record::{EndCharge, Record, Refusal};

impl<W> StepRequest<W> {
    pub(super) fn answer(self, result: Result<(), StepRefusal>, actions: &mut Vec<DrawAction<W>>) {
        actions.extend(self.waiter.map(|waiter| DrawAction::Answer(waiter, DrawAnswer::Step(result))));
    }
}

impl<W> DrawMachine<W> {
    /// An admin requests a step. A step that can never be taken again is refused at once, so that the admin does
    /// not wait for a long settlement only to get a refusal.
    pub(super) fn request_step(
        &mut self,
        request: StepRequest<W>,
        now: Timestamp,
        actions: &mut Vec<DrawAction<W>>,
    ) {
        match self.draw.never_again(request.step, now) {
            Some(status) => request.answer(Err(StepRefusal::InvalidTransition(status)), actions),
            None if self.requested.len() >= MAX_WAITING_STEPS => {
                request.answer(Err(StepRefusal::Overloaded), actions);
            }
            None => {
                self.requested.push_back(request);
                self.advance(now, actions);
            }
        }
    }

    /// Begins the next requested step, if no step has begun.
    pub(super) fn advance(&mut self, now: Timestamp, actions: &mut Vec<DrawAction<W>>) {
        while matches!(self.phase, StepPhase::Idle) {
            let Some(request) = self.requested.pop_front() else { return };
            let refusal = match self.draw.allows(request.step, now) {
                Allowed::Yes | Allowed::UnderWay => {
                    self.begin(request, now, actions);
                    continue;
                }
                Allowed::Already => {
                    request.answer(Ok(()), actions);
                    continue;
                }
                Allowed::No => StepRefusal::InvalidTransition(self.draw.status()),
                Allowed::CloseToRound(error) => StepRefusal::CloseToRound(error),
                Allowed::BeaconNotReady => StepRefusal::BeaconNotReady(self.draw.round_at()),
                Allowed::DrawDue => StepRefusal::DrawDue,
            };
            request.answer(Err(refusal), actions);
        }
    }

    fn begin(&mut self, request: StepRequest<W>, now: Timestamp, actions: &mut Vec<DrawAction<W>>) {
        match (request.step, self.draw.status()) {
            (Step::Open, _) => {
                let audit = self.audit(request.by, Action::OpenDraw, json!({}), now);
                let round = self.draw.round_to_announce();
                self.write(request, StepKind::Open(round), audit, now, actions);
            }
            (Step::Reschedule(change), _) => self.reschedule(change, request, now, actions),
            (Step::Conduct, _) => self.conduct(request, now, actions),
            (Step::Cancel, DrawStatus::Cancelling) => self.refund(request, now, actions),
            (Step::Close | Step::Cancel, _) => {
                self.phase = StepPhase::EndingSale(request);
                self.go_on_ending_sale(now, actions);
            }
        }
    }

    fn write(
        &mut self,
        request: StepRequest<W>,
        kind: StepKind,
        audit: Option<AuditEntry>,
        at: Timestamp,
        actions: &mut Vec<DrawAction<W>>,
    ) {
        self.phase = StepPhase::Writing(request);
        actions.push(DrawAction::Write(StepWrite { fence: self.draw.fence(), kind, at, audit }));
    }

    /// Nothing is in flight any more: writes the seal, or the cancellation.
    pub(super) fn end_sale(&mut self, now: Timestamp, actions: &mut Vec<DrawAction<W>>) {
        let request = match mem::replace(&mut self.phase, StepPhase::Idle) {
            StepPhase::EndingSale(request) => request,
            other => {
                self.phase = other;
                return;
            }
        };
        let (kind, audit) = if request.step == Step::Cancel {
            let audit = self.audit(request.by, Action::CancelDraw, json!({"reason": request.reason}), now);
            (StepKind::BeginCancel { reason: self.published_reason(&request) }, audit)
        } else {
            (StepKind::Seal, self.audit(request.by, Action::CloseDraw, json!({}), now))
        };
        self.write(request, kind, audit, now, actions);
    }

    /// Why the draw is cancelled, as everybody reads it. If it cannot take place as it was announced, only this counts.
    fn published_reason(&self, request: &StepRequest<W>) -> String {
        self.draw.published_reason(&request.reason)
    }

    /// Draws the winning numbers and settles. If a crash came after the numbers were drawn, only settles.
    fn conduct(&mut self, request: StepRequest<W>, now: Timestamp, actions: &mut Vec<DrawAction<W>>) {
        match self.draw.winning() {
            Some(winning) => self.settle(winning, request, now, actions),
            None => {
                let audit = self.audit(request.by, Action::ConductDraw, json!({}), now);
                let round = self.draw.verified_round();
                self.write(request, StepKind::Conduct(round), audit, now, actions);
            }
        }
    }

    fn settle(
        &mut self,
        winning: WinningPick,
        request: StepRequest<W>,
        now: Timestamp,
        actions: &mut Vec<DrawAction<W>>,
    ) {
        let kind = StepKind::Settle { winning, sold: self.draw.sold() };
        self.write(request, kind, None, now, actions);
    }

    fn refund(&mut self, request: StepRequest<W>, now: Timestamp, actions: &mut Vec<DrawAction<W>>) {
        let kind = StepKind::Refund { sold: self.draw.sold() };
        self.write(request, kind, None, now, actions);
    }

    /// Changes the times of the draw. What was given is merged with the times as they are now, so that of two
    /// changes at once each keeps its effect.
    fn reschedule(
        &mut self,
        change: TimesChange,
        request: StepRequest<W>,
        now: Timestamp,
        actions: &mut Vec<DrawAction<W>>,
    ) {
        let times = self.draw.parts().times.with(change);
        let mut errors = times.errors(now);
        errors.extend(self.draw.margin_error(&times));
        if !errors.is_empty() {
            return request.answer(Err(StepRefusal::InvalidTimes(errors)), actions);
        }
        let audit = self.audit(request.by, Action::RescheduleDraw, json!(times), now);
        let round = self.draw.round_of(&times).map(|announced| announced.round);
        self.write(request, StepKind::Reschedule(times, round), audit, now, actions);
    }

    /// Whether this end of a charge must wait: its time is after the cut-off, and other times are being written. If
    /// the sale goes on, its tickets are paid.
    pub(super) fn cut_off_may_move(&self, end: &EndCharge) -> bool {
        let rescheduling =
            matches!(&self.phase, StepPhase::Writing(request) if matches!(request.step, Step::Reschedule(_)));
        rescheduling && end.at >= self.draw.parts().times.sales_close_at
    }

    /// The times are known: decides the ends of charges that waited for them.
    fn end_charges(&mut self, actions: &mut Vec<DrawAction<W>>) {
        for (end, waiter) in mem::take(&mut self.charge_ends) {
            actions.push(match self.end_charge(end) {
                Ok(record) => DrawAction::Submit { record, waiter: Some(waiter) },
                Err(error) => DrawAction::Answer(waiter, DrawAnswer::Sale(Err(error))),
            });
        }
    }

    /// Money that was taken must be written in any case. But while a payment of this reservation is in flight, it is
    /// not known whether the tickets are still held, and without them the money would go to the wallet. The caller
    /// tries again.
    pub(super) fn end_charge(&mut self, end: EndCharge) -> Result<Record, SaleError> {
        if self.draw.is_paying(end.payment) {
            return Err(SaleError::Refused(Refusal::Overloaded));
        }
        Ok(Record::EndCharge(self.draw.end_charge(end)))
    }

    /// The result of [`DrawAction::Write`].
    pub fn step_written(
        &mut self,
        result: Result<StepOutcome, StepError>,
        now: Timestamp,
        actions: &mut Vec<DrawAction<W>>,
    ) {
        match (mem::replace(&mut self.phase, StepPhase::Idle), result) {
            (StepPhase::Writing(request), Ok(outcome)) => self.step_taken(request, outcome, now, actions),
            // Nothing was written, and another try would find the same. The draw stays as it is until an admin acts.
            (StepPhase::Writing(request), Err(error @ StepError::ListMismatch { prizes_fixed })) => {
                self.draw.payout_stopped(prizes_fixed);
                actions.push(DrawAction::Publish);
                request.answer(Err(error.into()), actions);
                self.tick(now, actions);
            }
            // The step was not written, and the machine does not know what the database has instead.
            (StepPhase::Writing(request), Err(error)) => {
                request.answer(Err(error.into()), actions);
                self.give_up(GiveUpReason::StepFailed(error), actions);
            }
            (StepPhase::Idle | StepPhase::EndingSale(_), result) => self.step_fault(result, actions),
        }
    }

    /// A step was written: changes the draw, then begins the next part of the step or finishes it.
    fn step_taken(
        &mut self,
        request: StepRequest<W>,
        outcome: StepOutcome,
        now: Timestamp,
        actions: &mut Vec<DrawAction<W>>,
    ) {
        match (request.step, self.draw.status(), outcome) {
            (Step::Open, DrawStatus::Scheduled, StepOutcome::Opened) => self.draw.opened(),
            (Step::Reschedule(_), DrawStatus::Scheduled | DrawStatus::Open, StepOutcome::Rescheduled(times)) => {
                self.draw.rescheduled(times);
                self.end_charges(actions);
            }
            (Step::Close, DrawStatus::Open, StepOutcome::Sealed { epoch }) => self.draw.sealed(epoch),
            (Step::Conduct, DrawStatus::Closed, StepOutcome::Conducted(winning)) => {
                self.draw.conducted(winning);
                actions.push(DrawAction::Publish);
                self.refuse_too_late(now, actions);
                return self.settle(winning, request, now, actions);
            }
            (Step::Conduct, DrawStatus::Closed, StepOutcome::Waits(earlier)) => {
                if self.draw.wait_for_turn() {
                    actions.push(DrawAction::AwaitTurn);
                }
                request.answer(Err(StepRefusal::DrawWaits(earlier)), actions);
                return self.tick(now, actions);
            }
            (Step::Conduct, DrawStatus::Settling, StepOutcome::Settled) => self.draw.completed(),
            (
                Step::Cancel,
                DrawStatus::Scheduled | DrawStatus::Open | DrawStatus::Closed | DrawStatus::Settling,
                StepOutcome::Cancelling { epoch },
            ) => {
                self.draw.cancelling(self.published_reason(&request), epoch);
                actions.push(DrawAction::Publish);
                self.refuse_too_late(now, actions);
                return self.refund(request, now, actions);
            }
            (Step::Cancel, DrawStatus::Cancelling, StepOutcome::Refunded) => self.draw.cancelled(),
            _ => return self.step_fault(Ok(outcome), actions),
        }
        self.finish(request, now, actions);
    }

    /// The step is done: publishes, answers the admin, and begins the next step.
    fn finish(&mut self, request: StepRequest<W>, now: Timestamp, actions: &mut Vec<DrawAction<W>>) {
        actions.push(DrawAction::Publish);
        request.answer(Ok(()), actions);
        if self.draw.status().is_over() {
            actions.push(DrawAction::Over);
        }
        self.tick(now, actions);
    }

    /// Refuses the waiting steps that can never be taken again, before a long settlement or refund begins.
    fn refuse_too_late(&mut self, now: Timestamp, actions: &mut Vec<DrawAction<W>>) {
        for request in mem::take(&mut self.requested) {
            match self.draw.never_again(request.step, now) {
                Some(status) => request.answer(Err(StepRefusal::InvalidTransition(status)), actions),
                None => self.requested.push_back(request),
            }
        }
    }

    fn step_fault(&mut self, result: Result<StepOutcome, StepError>, actions: &mut Vec<DrawAction<W>>) {
        actions.push(DrawAction::Fault(DrawFault::StepNotAwaited(result)));
        self.give_up(GiveUpReason::Fault, actions);
    }
}
