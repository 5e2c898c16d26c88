//! The actor of one draw, as `actors::draw` and its steps have it, message for message; only its waits are
//! the history's. Decides nothing itself: the domain's `Draw` does.

use std::collections::VecDeque;

use jiff::Timestamp;
use lottery::domain::draw::{Allowed, Draw, Due, Step as Move, Stopping, Times};
use lottery::domain::id::DrawId;
use lottery::domain::lottery::DrawStatus;
use lottery::domain::payout::{PayStep, Payout, Progress, Window};
use lottery::domain::record::{Outcome, Record, Refusal};
use uuid::Uuid;

use crate::coverage::Seen;
use crate::process::{
    Answer, Around, Effect, Job, Mail, Message, PoolJob, QUEUE, Queued, Reply, SaleError, StepError, Waiting,
    Word, WriteRequest,
};
use crate::store::{Output, Step};

/// A step that was asked for, by an admin or by the clock.
struct Asked {
    step: Move,
    reason: String,
    admin: Option<usize>,
}

enum UnderWay {
    Stopping(Asked),
    Writing(Asked),
    Rescheduling(Times, usize),
}

pub struct Actor {
    pub generation: u64,
    pub draw: Draw,
    /// It gives up: its memory was not the truth.
    pub lost: bool,
    pub timer: Option<Timestamp>,
    asked: VecDeque<Asked>,
    under_way: Option<UnderWay>,
    paying: Option<PayingOut>,
}

/// The window that is being paid, and how far it is with the step that was handed on.
struct PayingOut {
    payout: Payout,
    window: Window,
    progress: Progress,
}

impl Actor {
    pub fn new(draw: Draw, generation: u64) -> Actor {
        Actor { generation, draw, lost: false, timer: None, asked: VecDeque::new(), under_way: None, paying: None }
    }

    /// A settlement or refund that a crash has interrupted goes on.
    pub fn start(&mut self, around: &mut Around<'_>) {
        let step = match self.draw.status() {
            DrawStatus::Settling => Some(Move::Conduct),
            DrawStatus::Cancelling => Some(Move::Cancel),
            _ => None,
        };
        if let Some(step) = step {
            self.asked.push_back(Asked { step, reason: String::new(), admin: None });
            self.advance(around);
        }
        self.tick(around);
    }

    fn me(&self) -> (DrawId, u64) {
        (self.draw.id(), self.generation)
    }

    pub fn is_idle(&self) -> bool {
        self.under_way.is_none() && self.asked.is_empty()
    }

    fn submit(&self, record: Record, deadline: Option<u64>, waiting: Waiting, around: &mut Around<'_>) {
        let submit = WriteRequest { record, deadline, actor: Some(self.me()), waiting, bad: false };
        // What has no deadline must become true.
        if around.queue.len() >= QUEUE && deadline.is_some() {
            around.coverage.saw(Seen::QueueFull);
            let answer = Answer { record: submit.record, result: Err(Refusal::Overloaded), waiting };
            around.inbox.push_back(Mail { to: self.me(), what: Word::Answers(vec![answer]) });
        } else {
            around.queue.push_back(Queued::Record(submit));
        }
    }

    pub fn message(&mut self, message: Message, around: &mut Around<'_>) {
        let now = around.now;
        match message {
            Message::Order { ask, deadline, waiting } => {
                let ids = &mut *around.ids;
                let id = || {
                    *ids += 1;
                    Uuid::from_u128(u128::from(*ids))
                };
                match self.draw.order(ask, now, id, around.dice.rng()) {
                    Ok(order) => self.submit(Record::Order(order), Some(deadline), waiting, around),
                    Err(refusal) => around.answer(waiting, Err(SaleError::Order(refusal))),
                }
            }
            Message::Pay { user, payment, key, deadline, waiting } => {
                match self.draw.pay(user, payment, now, key) {
                    Some(pay) => self.submit(Record::Pay(pay), Some(deadline), waiting, around),
                    None => around.answer(waiting, Err(SaleError::NotPayable)),
                }
            }
            Message::BeginCharge { user, payment, key, deadline, waiting } => {
                match self.draw.begin_charge(user, payment, now, key) {
                    Some(begin) => self.submit(Record::BeginCharge(begin), Some(deadline), waiting, around),
                    None => around.answer(waiting, Err(SaleError::NotPayable)),
                }
            }
            Message::EndCharge { end, waiting } => {
                let end = self.draw.end_charge(end);
                self.submit(Record::EndCharge(end), None, waiting, around);
            }
            Message::GiveBack { user, payment, ticket, deadline, waiting } => {
                match self.draw.give_back(user, payment, ticket, now) {
                    Some(it) => self.submit(Record::GiveBack(it), Some(deadline), waiting, around),
                    None => around.answer(waiting, Err(SaleError::NotReserved)),
                }
            }
            Message::Step { step, admin } => {
                if self.draw.never_again(step, now).is_some() {
                    around.effects.push(Effect::Admin(admin, false));
                } else {
                    self.asked.push_back(Asked { step, reason: "asked for".to_owned(), admin: Some(admin) });
                    self.advance(around);
                }
            }
            Message::Reschedule { times, admin } => {
                if self.under_way.is_some() || !self.draw.may_be_rescheduled(now) {
                    around.effects.push(Effect::Admin(admin, false));
                } else {
                    self.under_way = Some(UnderWay::Rescheduling(times, admin));
                    self.write(Step::Reschedule(times), around);
                }
            }
            Message::AddToPool { count } => {
                if self.draw.takes_pool_tickets() {
                    let (actor, fence) = (self.me(), self.draw.fence());
                    around.pools.push(PoolJob { actor, fence, count });
                }
            }
        }
    }

    /// What lay in the mailbox.
    pub fn mail(&mut self, word: Word, around: &mut Around<'_>) {
        match word {
            Word::Answers(answers) => self.answered(answers, around),
            Word::Step(Ok(output)) => self.stepped(output, around),
            Word::Step(Err(error)) => {
                if error == StepError::Unavailable {
                    around.coverage.saw(Seen::StepAway);
                }
                if let Some(
                    UnderWay::Writing(Asked { admin: Some(admin), .. }) | UnderWay::Rescheduling(_, admin),
                ) = self.under_way.take()
                {
                    around.effects.push(Effect::Admin(admin, false));
                }
                self.lost = true;
            }
            Word::Pool(Some(tickets)) => self.draw.add_to_pool(tickets),
            Word::Pool(None) => {}
        }
    }

    fn answered(&mut self, answers: Vec<Answer>, around: &mut Around<'_>) {
        for Answer { record, result, waiting } in answers {
            self.draw.answered(&record, &result);
            self.lost |= contradicts(&record, &result);
            around.tell(waiting, record, result);
        }
        if !self.lost {
            self.go_on_stopping(around);
            self.tick(around);
        }
    }

    /// The clock has come to where the timer was set.
    pub fn wake(&mut self, around: &mut Around<'_>) {
        self.timer = None;
        self.tick(around);
    }

    fn tick(&mut self, around: &mut Around<'_>) {
        let now = around.now;
        while let Some(due) = self.draw.due(now) {
            match due {
                Due::Expire(records) => {
                    for record in records {
                        self.submit(Record::Expire(record), None, Waiting::Nobody, around);
                    }
                }
                Due::Step(step) => {
                    self.ask_by_clock(step, "");
                    break;
                }
                Due::CancelUnopened => {
                    around.coverage.saw(Seen::CancelledUnopened);
                    self.ask_by_clock(Move::Cancel, "its sale was not opened before the cut-off");
                    break;
                }
            }
        }
        self.timer = self.draw.next_due().filter(|next| *next > now);
        self.advance(around);
    }

    fn ask_by_clock(&mut self, step: Move, reason: &str) {
        if self.under_way.is_none() {
            self.asked.push_front(Asked { step, reason: reason.to_owned(), admin: None });
        }
    }

    fn advance(&mut self, around: &mut Around<'_>) {
        while self.under_way.is_none() {
            let Some(asked) = self.asked.pop_front() else { return };
            match self.draw.allows(asked.step, around.now) {
                Allowed::No => around.admin(asked.admin, false),
                Allowed::Already => around.admin(asked.admin, true),
                Allowed::Yes | Allowed::UnderWay => self.begin(asked, around),
            }
        }
    }

    fn begin(&mut self, asked: Asked, around: &mut Around<'_>) {
        match (asked.step, self.draw.status()) {
            (Move::Open, _) => {
                self.under_way = Some(UnderWay::Writing(asked));
                self.write(Step::Open, around);
            }
            (Move::Conduct, _) => self.conduct(asked, around),
            (Move::Cancel, DrawStatus::Cancelling) => {
                self.under_way = Some(UnderWay::Writing(asked));
                self.refund(around);
            }
            (Move::Close | Move::Cancel, _) => {
                self.under_way = Some(UnderWay::Stopping(asked));
                self.go_on_stopping(around);
            }
        }
    }

    fn write(&self, step: Step, around: &mut Around<'_>) {
        around.queue.push_back(Queued::Step(Job { actor: self.me(), fence: self.draw.fence(), step }));
    }

    fn go_on_stopping(&mut self, around: &mut Around<'_>) {
        if !matches!(self.under_way, Some(UnderWay::Stopping(_))) {
            return;
        }
        match self.draw.stop(around.now) {
            Stopping::Expire(records) => {
                for record in records {
                    self.submit(Record::Expire(record), None, Waiting::Nobody, around);
                }
            }
            Stopping::Wait => around.coverage.saw(Seen::Barrier),
            Stopping::Done => {
                if let Some(UnderWay::Stopping(asked)) = self.under_way.take() {
                    let cancels = asked.step == Move::Cancel;
                    let step =
                        if cancels { Step::BeginCancel { reason: asked.reason.clone() } } else { Step::Seal };
                    self.under_way = Some(UnderWay::Writing(asked));
                    self.write(step, around);
                }
            }
        }
    }

    /// Draws the numbers, unless a crash came after they were drawn, and settles.
    fn conduct(&mut self, asked: Asked, around: &mut Around<'_>) {
        let winning = self.draw.view().winning;
        self.under_way = Some(UnderWay::Writing(asked));
        match winning {
            Some(_) => self.settle(around),
            None => {
                let pick = self.draw.rules().game.random_pick(around.dice.rng());
                self.write(Step::Conduct { pick, at: around.now }, around);
            }
        }
    }

    /// Every ticket is counted, unless a crash came after that, and the winners are paid.
    fn settle(&mut self, around: &mut Around<'_>) {
        let draw = self.draw.id();
        if around.store.is_counted(draw) {
            return self.pay_out(Payout::Prizes, around.store.progress(draw, Payout::Prizes), around);
        }
        let (winning, at) = (self.draw.view().winning.unwrap(), around.now);
        self.write(Step::FixPrizes { winning, hits: around.store.hits(draw), at }, around);
    }

    fn refund(&mut self, around: &mut Around<'_>) {
        let progress = around.store.progress(self.draw.id(), Payout::Refunds);
        self.pay_out(Payout::Refunds, progress, around);
    }

    /// Begins a window, or takes up the one under way.
    fn pay_out(&mut self, payout: Payout, progress: Progress, around: &mut Around<'_>) {
        let (draw, sold) = (self.draw.id(), self.draw.view().sold);
        let end = match (progress.window, payout) {
            (Some(part), _) => part.end,
            (None, Payout::Prizes) => sold.min(progress.done + around.dice.between(1, 20)),
            (None, Payout::Refunds) => match sold.min(progress.done + around.dice.between(1, 20)) {
                0 => 0,
                number => around.store.end_of_payment(draw, number),
            },
        };
        let mut credits = around.store.credits(draw, payout, (progress.done, end));
        credits.retain(|credit| !progress.includes(credit));
        let order = match payout {
            Payout::Prizes => Window::of_prizes,
            Payout::Refunds => Window::of_refunds,
        };
        let window = order(credits, (progress.done, end)).unwrap();
        self.pay(PayingOut { payout, window, progress }, around);
    }

    fn pay(&mut self, mut paying: PayingOut, around: &mut Around<'_>) {
        let limit = around.dice.between(1, 7).unsigned_abs() as usize;
        let (credits, after) = paying.window.take(limit);
        let (fence, payout, before, at) = (self.draw.fence(), paying.payout, paying.progress, around.now);
        self.write(Step::Pay(PayStep { fence, payout, credits: credits.to_vec(), before, after, at }), around);
        paying.progress = after;
        self.paying = Some(paying);
    }

    /// A step of a payout was taken, and there is more to pay.
    fn pay_on(&mut self, around: &mut Around<'_>) {
        let paying = self.paying.take().expect("a payout is under way");
        match paying.progress.window {
            Some(_) => self.pay(paying, around),
            None => self.pay_out(paying.payout, paying.progress, around),
        }
    }

    /// A step was committed: the draw hears of it, and the next one follows.
    fn stepped(&mut self, output: Output, around: &mut Around<'_>) {
        match output {
            Output::Opened => {
                self.draw.opened();
                self.finish(around);
            }
            Output::Rescheduled => {
                if let Some(UnderWay::Rescheduling(times, admin)) = self.under_way.take() {
                    self.draw.rescheduled(times);
                    around.coverage.saw(Seen::Rescheduled);
                    around.admin(Some(admin), true);
                }
                self.tick(around);
            }
            Output::Sealed(epoch) => {
                around.coverage.saw(Seen::Sealed);
                self.draw.sealed(epoch);
                self.finish(around);
            }
            Output::Cancelling(epoch) => {
                self.draw.cancelling(self.reason(), epoch);
                self.refund(around);
            }
            Output::Conducted(winning) => {
                self.draw.conducted(winning);
                self.settle(around);
            }
            Output::PrizesFixed => self.settle(around),
            Output::Paid { payout, all: false } => {
                let prizes = payout == Payout::Prizes;
                around.coverage.saw(if prizes { Seen::StepsOfSettlement } else { Seen::StepsOfRefund });
                self.pay_on(around);
            }
            Output::Paid { payout: Payout::Prizes, all: true } => {
                around.coverage.saw(Seen::Completed);
                self.draw.completed();
                self.finish(around);
            }
            Output::Paid { payout: Payout::Refunds, all: true } => {
                around.coverage.saw(Seen::Cancelled);
                self.draw.cancelled();
                self.finish(around);
            }
        }
    }

    fn reason(&self) -> String {
        match &self.under_way {
            Some(UnderWay::Writing(asked)) => asked.reason.clone(),
            _ => String::new(),
        }
    }

    fn finish(&mut self, around: &mut Around<'_>) {
        if let Some(UnderWay::Writing(asked)) = self.under_way.take() {
            around.admin(asked.admin, true);
        }
        if self.draw.status().is_over() {
            around.effects.push(Effect::ExpectedState(self.draw.id()));
        }
        self.tick(around);
    }
}

/// A refusal that a draw with a true memory never meets.
fn contradicts(record: &Record, result: &Result<Outcome, Refusal>) -> bool {
    match (record, result) {
        (_, Err(Refusal::StaleEpoch)) => true,
        (Record::EndCharge(_), Err(Refusal::NotPayable)) => false,
        (_, Err(Refusal::NotPayable)) => true,
        (Record::Expire(_), Err(_)) => true,
        (Record::Order(order), Err(Refusal::Rejected)) => order.takes_from_pool(),
        _ => false,
    }
}

impl Around<'_> {
    fn answer(&mut self, waiting: Waiting, result: Result<Reply, SaleError>) {
        self.effects.push(Effect::Answer(waiting, Box::new(result)));
    }

    fn admin(&mut self, admin: Option<usize>, taken: bool) {
        self.effects.extend(admin.map(|admin| Effect::Admin(admin, taken)));
    }

    /// Tells the one who waits what became of the record.
    pub fn tell(&mut self, waiting: Waiting, record: Record, result: Result<Outcome, Refusal>) {
        self.effects.extend(told(waiting, record, result));
    }
}

/// What the one who waits for a record is told.
pub fn told(waiting: Waiting, record: Record, result: Result<Outcome, Refusal>) -> Option<Effect> {
    let reply = match (record, result) {
        (_, _) if waiting == Waiting::Nobody => return None,
        (Record::Order(order), Ok(Outcome::Ordered { first_number })) => {
            Ok(Reply::PlacedOrder(order, first_number))
        }
        (_, Ok(Outcome::Payment(payment))) => Ok(Reply::Payment(payment)),
        (_, Ok(Outcome::Released)) => Ok(Reply::Released),
        (_, Err(refused)) => Err(SaleError::Refused(refused)),
        (record, Ok(accepted)) => panic!("{accepted:?} is no answer to {record:?}"),
    };
    Some(Effect::Answer(waiting, Box::new(reply)))
}
