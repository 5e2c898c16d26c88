//! Drives the state machine of one draw, as the draw actor of the service does: carries out its actions in the
//! world of the history. It decides nothing. A payout also runs here, because the service runs it in a task of
//! its own.

use std::cell::Cell;

use jiff::Timestamp;
use lottery::domain::draw::{
    Draw, DrawAction, DrawAnswer, DrawMachine, DrawRequest, DrawSnapshot, Step as DrawStep, StepError, StepKind,
    StepOutcome, StepWrite, WriteResult,
};
use lottery::domain::id::DrawId;
use lottery::domain::payout::{Payout, Progress};
use lottery::domain::payout_run::{PayoutAction, PayoutRun};
use lottery::domain::record::{Record, Refusal};
use lottery::domain::settle::{Conduct, FixPrizes, StoredSettlement};
use uuid::Uuid;

use crate::coverage::Seen;
use crate::model;
use crate::process::{Around, Effect, Job, Mail, Message, PoolJob, Waiter, Waiting, Word, WriteRequest};
use crate::store::{Output, Step};

type Actions = Vec<DrawAction<Waiter>>;

pub struct Actor {
    pub generation: u64,
    machine: DrawMachine<Waiter>,
    /// Whether the machine has given up.
    pub lost: bool,
    pub timer: Option<Timestamp>,
    /// The draw as it was last published.
    pub published: Option<DrawSnapshot>,
    /// Orders that were submitted and have no result yet.
    pub orders_in_flight: usize,
    payout: Option<PayoutRun>,
    /// The waiters whose requests are neither answered nor submitted yet.
    pub waiting: Vec<Waiter>,
}

impl Actor {
    pub fn new(draw: Draw, generation: u64) -> Actor {
        Actor {
            generation,
            machine: DrawMachine::new(draw, model::ORDERS_IN_FLIGHT),
            lost: false,
            timer: None,
            published: None,
            orders_in_flight: 0,
            payout: None,
            waiting: Vec::new(),
        }
    }

    pub fn draw(&self) -> &Draw {
        self.machine.draw()
    }

    pub fn is_idle(&self) -> bool {
        self.machine.is_idle()
    }

    fn me(&self) -> (DrawId, u64) {
        (self.draw().id(), self.generation)
    }

    pub fn start(&mut self, around: &mut Around<'_>) {
        self.drive(around, DrawMachine::start);
    }

    /// The timer has fired.
    pub fn wake(&mut self, around: &mut Around<'_>) {
        self.timer = None;
        self.drive(around, DrawMachine::wake);
    }

    pub fn message(&mut self, Message { request, waiter }: Message, around: &mut Around<'_>) {
        let mut actions = Actions::new();
        let ids = &mut *around.ids;
        let id = || {
            *ids += 1;
            Uuid::from_u128(u128::from(*ids))
        };
        let waits = match &request {
            DrawRequest::Step { step: DrawStep::Reschedule(_), .. } => Seen::TimesWaited,
            DrawRequest::Step { .. } => Seen::StepWaited,
            _ => Seen::ChargeWaited,
        };
        self.machine.request(request, waiter, around.now, id, around.dice.rng(), &mut actions);
        if actions.is_empty() {
            around.coverage.saw(waits);
        }
        self.waiting.push(waiter);
        let overloaded = DrawAnswer::Sale(Err(Refusal::Overloaded.into()));
        if actions.iter().any(|action| matches!(action, DrawAction::Answer(_, answer) if *answer == overloaded)) {
            around.coverage.saw(Seen::InFlightFull);
        }
        self.act(actions, around);
    }

    /// Handles a message from the mailbox.
    pub fn mail(&mut self, word: Word, around: &mut Around<'_>) {
        match word {
            Word::Results(results) => {
                let is_order = |result: &&WriteResult<Waiter>| matches!(result.record, Record::Order(_));
                self.orders_in_flight -= results.iter().filter(is_order).count();
                let mut actions = Actions::new();
                self.machine.written(results, around.now, &mut actions);
                if actions.iter().any(ends_sale) {
                    around.coverage.saw(Seen::Barrier);
                }
                self.act(actions, around);
            }
            Word::Step(Ok(output)) => self.stepped(output, around),
            Word::Step(Err(error)) => {
                if error == StepError::Unavailable {
                    around.coverage.saw(Seen::StepAway);
                }
                self.step_written(Err(error), around);
            }
            Word::Pool(result, waiter) => {
                self.drive(around, |machine, _, actions| machine.pool_written(result, waiter, actions));
            }
        }
    }

    fn drive(
        &mut self,
        around: &mut Around<'_>,
        input: impl FnOnce(&mut DrawMachine<Waiter>, Timestamp, &mut Actions),
    ) {
        let mut actions = Actions::new();
        input(&mut self.machine, around.now, &mut actions);
        self.act(actions, around);
    }

    fn step_written(&mut self, result: Result<StepOutcome, StepError>, around: &mut Around<'_>) {
        let mut actions = Actions::new();
        self.machine.step_written(result, around.now, &mut actions);
        if actions.iter().any(pays_late) {
            around.coverage.saw(Seen::ChargeExtended);
        }
        self.act(actions, around);
    }

    fn act(&mut self, actions: Actions, around: &mut Around<'_>) {
        for action in actions {
            assert!(!self.lost, "a machine that has given up returns no more actions: {action:?}");
            if let DrawAction::Submit { waiter: Some(waiter), .. }
            | DrawAction::MakePool(_, waiter)
            | DrawAction::Answer(waiter, _) = &action
            {
                let place = self.waiting.iter().position(|waits| waits == waiter);
                place.map(|place| self.waiting.swap_remove(place));
            }
            match action {
                DrawAction::Submit { record, waiter } => self.submit(record, waiter, around),
                DrawAction::Write(step) => self.begin(step, around),
                DrawAction::MakePool(order, waiter) => {
                    around.pools.push(PoolJob { actor: self.me(), order, waiter });
                }
                DrawAction::FetchRound(_) | DrawAction::AwaitTurn => {
                    panic!("draws without a beacon wait for nothing")
                }
                DrawAction::Answer(waiter, answer) => {
                    around.effects.push(Effect::Answer(waiter.who, Box::new(answer)));
                }
                DrawAction::SetTimer(at) => self.timer = at,
                DrawAction::Publish => self.published = Some(self.draw().view()),
                DrawAction::Over => around.effects.push(Effect::Over(self.draw().id())),
                DrawAction::Fault(fault) => panic!("draw {}: {fault}", self.draw().id()),
                DrawAction::GiveUp(_) => self.lost = true,
            }
        }
    }

    fn submit(&mut self, record: Record, waiter: Option<Waiter>, around: &mut Around<'_>) {
        self.orders_in_flight += usize::from(matches!(record, Record::Order(_)));
        let deadline = waiter.and_then(|waiter| waiter.deadline);
        let waiting = waiter.map_or(Waiting::Nobody, |waiter| waiter.who);
        let submit = WriteRequest { record, deadline, actor: Some(self.me()), waiting, bad: Cell::new(false) };
        for (WriteRequest { record, .. }, result) in around.queue.push(submit) {
            around.coverage.saw(Seen::QueueFull);
            let refused = WriteResult { record, result, waiter };
            around.inbox.push_back(Mail { to: self.me(), what: Word::Results(vec![refused]) });
        }
    }

    fn begin(&mut self, StepWrite { kind, at, audit, .. }: StepWrite, around: &mut Around<'_>) {
        let step = match kind {
            StepKind::Open(_) => Step::Open,
            StepKind::Reschedule(times, _) => Step::Reschedule(times),
            StepKind::Seal => Step::Seal,
            StepKind::BeginCancel { reason } => {
                if audit.is_none() {
                    around.coverage.saw(Seen::CancelledUnopened);
                }
                Step::BeginCancel { reason }
            }
            StepKind::Conduct(round) => {
                let (fence, rules) = (self.draw().fence(), self.draw().rules().clone());
                let pick = rules.game.random_pick(around.dice.rng());
                Step::Conduct(Conduct { fence, rules, pick, round, at, audit })
            }
            StepKind::Settle { .. } => return self.settle(around),
            StepKind::Refund { .. } => {
                let progress = around.store.progress(self.draw().id(), Payout::Refunds);
                return self.pay_out(Payout::Refunds, progress, around);
            }
        };
        self.write(step, around);
    }

    fn write(&self, step: Step, around: &mut Around<'_>) {
        around.queue.push_step(Job { actor: self.me(), fence: self.draw().fence(), step });
    }

    /// A transaction was committed: continues a long step, or reports the end of a step to the machine.
    fn stepped(&mut self, output: Output, around: &mut Around<'_>) {
        let outcome = match output {
            Output::Opened => StepOutcome::Opened,
            Output::Rescheduled(times) => {
                around.coverage.saw(Seen::Rescheduled);
                StepOutcome::Rescheduled(times)
            }
            Output::Sealed(epoch) => {
                around.coverage.saw(Seen::Sealed);
                StepOutcome::Sealed { epoch }
            }
            Output::Cancelling(epoch) => StepOutcome::Cancelling { epoch },
            Output::Conducted(winning) => StepOutcome::Conducted(winning),
            Output::PrizesFixed => return self.settle(around),
            Output::Paid { payout, all } => {
                self.payout.as_mut().expect("a payout has begun").paid(all);
                if all {
                    return self.paid_out(payout, around);
                }
                let prizes = payout == Payout::Prizes;
                around.coverage.saw(if prizes { Seen::StepsOfSettlement } else { Seen::StepsOfRefund });
                return self.pay_on(around);
            }
        };
        self.step_written(Ok(outcome), around);
    }

    /// Everything is paid, and the draw has ended.
    fn paid_out(&mut self, payout: Payout, around: &mut Around<'_>) {
        self.payout = None;
        let (seen, outcome) = match payout {
            Payout::Prizes => (Seen::Completed, StepOutcome::Settled),
            Payout::Refunds => (Seen::Cancelled, StepOutcome::Refunded),
        };
        around.coverage.saw(seen);
        self.step_written(Ok(outcome), around);
    }

    /// Counts every ticket, or begins to pay the winners, as the stored settlement says.
    fn settle(&mut self, around: &mut Around<'_>) {
        let draw = self.draw().id();
        if let StoredSettlement::Fixed { progress, .. } = around.store.settlement(draw) {
            return self.pay_out(Payout::Prizes, progress, around);
        }
        let (fence, rules) = (self.draw().fence(), self.draw().rules().clone());
        let winning = self.draw().winning().expect("a settling draw has its numbers");
        let (hits, at) = (around.store.hits(draw), around.now);
        self.write(Step::FixPrizes(FixPrizes { fence, rules, winning, hits, at }), around);
    }

    /// Begins a payout, or continues one that a crash interrupted.
    fn pay_out(&mut self, payout: Payout, progress: Progress, around: &mut Around<'_>) {
        self.payout = Some(PayoutRun::new(self.draw().fence(), payout, self.draw().sold(), progress));
        self.pay_on(around);
    }

    /// Carries out the next action of the payout.
    fn pay_on(&mut self, around: &mut Around<'_>) {
        let (draw, sold) = (self.draw().id(), self.draw().sold());
        let run = self.payout.as_mut().expect("a payout has begun");
        if let PayoutAction::ReadWindow { after, end } = run.next() {
            let end = end.unwrap_or_else(|| match (run.payout(), sold.min(after + around.dice.between(1, 20))) {
                // A window never ends in the middle of a payment.
                (Payout::Refunds, number) if number > 0 => around.store.end_of_payment(draw, number),
                (_, number) => number,
            });
            run.window_read(around.store.credits(draw, run.payout(), (after, end)), end).unwrap();
        }
        let limit = around.dice.between(1, 7).unsigned_abs() as usize;
        let step = run.step(limit, around.now).expect("the payout has not ended");
        self.write(Step::Pay(step), around);
    }
}

/// Whether this action seals the ticket list or cancels the draw.
fn ends_sale(action: &DrawAction<Waiter>) -> bool {
    matches!(action, DrawAction::Write(step) if matches!(step.kind, StepKind::Seal | StepKind::BeginCancel { .. }))
}

/// Whether this action pays held tickets by a card after the former cut-off.
fn pays_late(action: &DrawAction<Waiter>) -> bool {
    matches!(action, DrawAction::Submit { record: Record::EndCharge(end), .. } if end.held.is_some())
}
