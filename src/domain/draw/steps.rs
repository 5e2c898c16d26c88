//! The steps of a draw, as its machine takes them: one at a time, and each is written before the state in memory
//! changes. This file is a part of the machine and decides nothing about the sale.

use std::mem;

use jiff::Timestamp;
use serde_json::json;

use super::machine::{DrawMachine, StepPhase, StepRequest};
use super::{
    Allowed, DrawAction, DrawAnswer, DrawFault, GiveUpReason, Step, StepError, StepKind, StepOutcome, StepRefusal,
    StepWrite, Times, WinningPick,
};
use crate::domain::audit::{Action, AuditEntry};
use crate::domain::id::UserId;
use crate::domain::lottery::DrawStatus;

impl<W> StepRequest<W> {
    fn answer(self, result: Result<(), StepRefusal>, actions: &mut Vec<DrawAction<W>>) {
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
            match self.draw.allows(request.step, now) {
                Allowed::No => {
                    let refusal = StepRefusal::InvalidTransition(self.draw.status());
                    request.answer(Err(refusal), actions);
                }
                Allowed::Already => request.answer(Ok(()), actions),
                Allowed::Yes | Allowed::UnderWay => self.begin(request, now, actions),
            }
        }
    }

    fn begin(&mut self, request: StepRequest<W>, now: Timestamp, actions: &mut Vec<DrawAction<W>>) {
        match (request.step, self.draw.status()) {
            (Step::Open, _) => {
                let audit = self.audit(request.by, Action::OpenDraw, json!({}), now);
                self.write(request, StepKind::Open, audit, now, actions);
            }
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
            let reason = request.reason.clone();
            let audit = self.audit(request.by, Action::CancelDraw, json!({"reason": reason}), now);
            (StepKind::BeginCancel { reason }, audit)
        } else {
            (StepKind::Seal, self.audit(request.by, Action::CloseDraw, json!({}), now))
        };
        self.write(request, kind, audit, now, actions);
    }

    /// Draws the winning numbers and settles. If a crash came after the numbers were drawn, only settles.
    fn conduct(&mut self, request: StepRequest<W>, now: Timestamp, actions: &mut Vec<DrawAction<W>>) {
        match self.draw.winning() {
            Some(winning) => self.settle(winning, request, now, actions),
            None => {
                let audit = self.audit(request.by, Action::ConductDraw, json!({}), now);
                self.write(request, StepKind::Conduct, audit, now, actions);
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

    /// Changes the times of the draw, unless a step has begun or the times cannot be changed any more.
    pub(super) fn reschedule(
        &mut self,
        times: Times,
        by: UserId,
        waiter: W,
        now: Timestamp,
        actions: &mut Vec<DrawAction<W>>,
    ) {
        if !matches!(self.phase, StepPhase::Idle) || !self.draw.may_be_rescheduled(now) {
            let refusal = StepRefusal::InvalidTransition(self.draw.status());
            actions.push(DrawAction::Answer(waiter, DrawAnswer::Step(Err(refusal))));
            return;
        }
        self.phase = StepPhase::Rescheduling(times, waiter);
        let audit = self.audit(Some(by), Action::RescheduleDraw, json!(times), now);
        let (fence, kind) = (self.draw.fence(), StepKind::Reschedule(times));
        actions.push(DrawAction::Write(StepWrite { fence, kind, at: now, audit }));
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
            (StepPhase::Rescheduling(times, waiter), Ok(StepOutcome::Rescheduled)) => {
                self.draw.rescheduled(times);
                actions.push(DrawAction::Publish);
                actions.push(DrawAction::Answer(waiter, DrawAnswer::Step(Ok(()))));
                self.tick(now, actions);
            }
            // The step was not written, and the machine does not know what the database has instead.
            (StepPhase::Writing(request), Err(error)) => {
                request.answer(Err(error.into()), actions);
                actions.push(DrawAction::GiveUp(GiveUpReason::StepFailed(error)));
            }
            (StepPhase::Rescheduling(_, waiter), Err(error)) => {
                actions.push(DrawAction::Answer(waiter, DrawAnswer::Step(Err(error.into()))));
                actions.push(DrawAction::GiveUp(GiveUpReason::StepFailed(error)));
            }
            (StepPhase::Idle | StepPhase::EndingSale(_) | StepPhase::Rescheduling(..), result) => {
                fault(result, actions)
            }
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
            (Step::Close, DrawStatus::Open, StepOutcome::Sealed { epoch }) => self.draw.sealed(epoch),
            (Step::Conduct, DrawStatus::Closed, StepOutcome::Conducted(winning)) => {
                self.draw.conducted(winning);
                actions.push(DrawAction::Publish);
                return self.settle(winning, request, now, actions);
            }
            (Step::Conduct, DrawStatus::Settling, StepOutcome::Settled) => self.draw.completed(),
            (
                Step::Cancel,
                DrawStatus::Scheduled | DrawStatus::Open | DrawStatus::Closed,
                StepOutcome::Cancelling { epoch },
            ) => {
                self.draw.cancelling(request.reason.clone(), epoch);
                actions.push(DrawAction::Publish);
                return self.refund(request, now, actions);
            }
            (Step::Cancel, DrawStatus::Cancelling, StepOutcome::Refunded) => self.draw.cancelled(),
            _ => return fault(Ok(outcome), actions),
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
}

fn fault<W>(result: Result<StepOutcome, StepError>, actions: &mut Vec<DrawAction<W>>) {
    actions.push(DrawAction::Fault(DrawFault::StepNotAwaited(result)));
    actions.push(DrawAction::GiveUp(GiveUpReason::Fault));
}
