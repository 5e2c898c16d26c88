//! The persistence actor's writer: takes the next batch or step, as `actors::persistence` does, and lets go
//! wrong what can go wrong with a transaction.

use lottery::domain::id::{DrawId, PaymentId};
use lottery::domain::record::{Accepted, BeginCharge, Charge, EndCharge, Pay, Record, Refused, Verdict};

use super::World;
use crate::actor::told;
use crate::coverage::Seen;
use crate::faults::{OfBatch, OfStep};
use crate::process::{Answer, Job, Queued, StepError, Submit, Waiting, Word, Writer};
use crate::store::{self, Output};

type Outcome = (Submit, Result<Accepted, Refused>);

impl World {
    /// The writer's next transaction.
    pub fn write(&mut self, p: usize) {
        match std::mem::replace(&mut self.processes[p].writer, Writer::Idle) {
            Writer::Idle => match self.processes[p].queue.pop_front() {
                Some(Queued::Step(job)) => self.write_step(p, job),
                Some(Queued::Record(first)) => {
                    let batch = self.gather(p, first);
                    self.write_batch(p, batch);
                }
                None => {}
            },
            Writer::Trying(batch) => self.write_batch(p, batch),
            Writer::Asking { batch, results, committed: true } => {
                self.deliver_outcomes(p, batch.into_iter().zip(results).collect());
            }
            Writer::Asking { batch, committed: false, .. } => self.write_batch(p, batch),
            Writer::AskingOfStep { job, output: Some(output) } => self.stepped(p, job, Ok(output)),
            Writer::AskingOfStep { job, output: None } => self.write_step(p, job),
        }
    }

    /// The records that wait before the next step, up to the batch's limit.
    fn gather(&mut self, p: usize, first: Submit) -> Vec<Submit> {
        let limit = 1 + self.dice.below(6);
        let mut batch = vec![first];
        while batch.len() < limit {
            match self.processes[p].queue.pop_front() {
                Some(Queued::Record(submit)) => batch.push(submit),
                Some(step) => {
                    self.processes[p].queue.push_front(step);
                    break;
                }
                None => break,
            }
        }
        batch
    }

    /// Drops what nobody can wait for any longer, and writes the rest.
    fn write_batch(&mut self, p: usize, batch: Vec<Submit>) {
        let step = self.step;
        let (late, todo): (Vec<Submit>, Vec<Submit>) =
            batch.into_iter().partition(|submit| submit.deadline.is_some_and(|deadline| deadline <= step));
        self.deliver_outcomes(p, late.into_iter().map(|submit| (submit, Err(Refused::Overloaded))).collect());
        if todo.is_empty() {
            return;
        }
        if todo.len() > 1 {
            self.coverage.saw(Seen::BatchOfMany);
        }
        let fault = self.temper.of_batch(&mut self.dice);
        let name = self.processes[p].name;
        self.say(|| format!("process {name} writes {} records: {fault:?}", todo.len()));
        match fault {
            OfBatch::Nothing => match self.commit(&todo) {
                Some(results) => self.deliver_outcomes(p, todo.into_iter().zip(results).collect()),
                None => self.write_alone(p, todo, None),
            },
            OfBatch::Lost => {
                self.coverage.saw(Seen::BatchLost);
                self.processes[p].writer = Writer::Trying(todo);
            }
            OfBatch::Unknown { committed: true } => {
                if let Some(results) = self.commit(&todo) {
                    self.coverage.saw(Seen::UnknownCommitted);
                    self.processes[p].writer = Writer::Asking { batch: todo, results, committed: true };
                } else {
                    self.write_alone(p, todo, None);
                }
            }
            OfBatch::Unknown { committed: false } => {
                self.coverage.saw(Seen::UnknownLost);
                self.processes[p].writer = Writer::Asking { batch: todo, results: Vec::new(), committed: false };
            }
            OfBatch::Refused => {
                let may_fail = |submit: &Submit| {
                    !matches!(
                        submit.record,
                        Record::EndCharge(_) | Record::EndDeposit(_) | Record::BeginDeposit(_)
                    )
                };
                let bad: Vec<usize> = (0..todo.len()).filter(|place| may_fail(&todo[*place])).collect();
                let bad = self.dice.one_of(&bad);
                if bad.is_some() && todo.len() > 1 {
                    self.coverage.saw(Seen::BatchRefused);
                }
                self.write_alone(p, todo, bad);
            }
            OfBatch::Crash { committed } => {
                if committed && self.commit(&todo).is_some() {
                    self.coverage.saw(Seen::CrashAfterCommit);
                } else {
                    self.coverage.saw(Seen::CrashBeforeCommit);
                }
                self.processes[p].writer = Writer::Trying(todo);
                self.kill(p);
            }
        }
    }

    /// Each record goes alone: a bad one fails, its neighbours commit.
    fn write_alone(&mut self, p: usize, batch: Vec<Submit>, bad: Option<usize>) {
        let mut outcomes = Vec::new();
        for (place, submit) in batch.into_iter().enumerate() {
            let result = if Some(place) == bad {
                let request = self.request_of(submit.waiting);
                self.broken.extend(request);
                Err(Refused::Broken)
            } else {
                let one = std::slice::from_ref(&submit);
                self.commit(one).expect("one record has one key").remove(0)
            };
            outcomes.push((submit, result));
        }
        self.deliver_outcomes(p, outcomes);
    }

    /// One transaction: judged in order, and written. None: the database refused it as a whole.
    fn commit(&mut self, batch: &[Submit]) -> Option<Vec<Result<Accepted, Refused>>> {
        let mut books = self.store.begin(batch.iter().map(|submit| &submit.record));
        let results: Vec<_> = batch.iter().map(|submit| books.judge(&submit.record)).collect();
        self.store.commit(books).ok()?;
        for (submit, result) in batch.iter().zip(&results) {
            self.say(|| format!("       {:?}: {:?}", brief(&submit.record), result));
            self.watch(submit, result);
        }
        self.committed();
        Some(results)
    }

    /// What of a commit is the effect of somebody's request, and what is worth counting.
    fn watch(&mut self, submit: &Submit, result: &Result<Accepted, Refused>) {
        self.count(&submit.record, result);
        if result.is_err() {
            return;
        }
        let payment = match &submit.record {
            Record::Order(it) => it.payment,
            Record::Pay(it) => it.payment,
            Record::GiveBack(it) => it.payment,
            Record::EndCharge(it) => it.payment,
            Record::BeginDeposit(it) => it.payment,
            Record::BeginWithdrawal(it) => it.payment,
            // What becomes of it later is the effect of somebody else's word, or of nobody's.
            Record::Expire(_) | Record::BeginCharge(_) | Record::EndDeposit(_) | Record::EndWithdrawal(_) => {
                return;
            }
        };
        let request = self.request_of(submit.waiting);
        let Some(tried) = request.map(|request| self.requests[request].tried) else { return };
        match &submit.record {
            Record::EndCharge(EndCharge { charge: Charge::Processing, .. }) => {
                self.model.noted(tried, store::id(payment.0));
            }
            _ => self.model.written(tried, store::id(payment.0)),
        }
    }

    fn request_of(&self, waiting: Waiting) -> Option<usize> {
        match waiting {
            Waiting::Request(request) => Some(request),
            Waiting::Charge(charge) => self.charges[charge].request,
            Waiting::Nobody => None,
        }
    }

    fn count(&mut self, record: &Record, result: &Result<Accepted, Refused>) {
        let saw = &mut self.coverage;
        match (record, result) {
            (_, Err(Refused::Stale)) => saw.saw(Seen::StaleRecord),
            (_, Err(Refused::Replay(_))) => saw.saw(Seen::ReplayInBooks),
            (Record::EndCharge(it), Err(Refused::NotPayable)) if it.key.is_none() => saw.saw(Seen::NoticeRepeated),
            (Record::Order(order), Ok(_)) => {
                let paid = order.reserved_until.is_none();
                saw.saw(if paid { Seen::Ordered } else { Seen::Reserved });
                if order.lines.len() > 1 {
                    saw.saw(Seen::SeveralLines);
                }
                if paid && order.takes_from_pool() {
                    saw.saw(Seen::PoolSold);
                }
            }
            (Record::Pay(pay), Ok(_)) => {
                saw.saw(Seen::PaidByWallet);
                if self.ran_out(pay.payment) {
                    self.coverage.saw(Seen::PaidAfterUntil);
                }
            }
            (Record::EndCharge(it), Ok(_)) => match (&it.charge, it.held.is_some()) {
                (Charge::Paid, true) => saw.saw(Seen::PaidByCard),
                (Charge::Paid, false) => saw.saw(Seen::CardTooLate),
                (Charge::Declined(_), _) => saw.saw(Seen::CardDeclined),
                (Charge::Processing, _) => {}
            },
            (Record::EndDeposit(it), Ok(_)) if it.charge == Charge::Paid => saw.saw(Seen::Deposited),
            (Record::BeginWithdrawal(_), Ok(_)) => saw.saw(Seen::SetAside),
            (Record::EndWithdrawal(_), Err(Refused::Ended(_))) => saw.saw(Seen::VerdictAgain),
            (Record::EndWithdrawal(it), Ok(_)) => saw.saw(match it.verdict {
                Verdict::Approved => Seen::PaidOut,
                Verdict::Rejected => Seen::PutBack,
            }),
            (Record::GiveBack(it), Ok(_)) => {
                let left = self.store.tickets_of(it.payment).any(|(_, row)| row.status == "reserved");
                saw.saw(if left { Seen::GivenBack } else { Seen::GivenBackLast });
            }
            (Record::Expire(it), Ok(_)) => {
                let until = self.store.payments[&it.payment].reserved_until;
                let ran_out = until.is_some_and(|until| until <= it.at);
                saw.saw(if ran_out { Seen::ExpiredByClock } else { Seen::ExpiredByClose });
                if ran_out && self.refused_pays.contains(&it.payment) {
                    self.coverage.saw(Seen::ExpiredAfterPay);
                }
            }
            _ => {}
        }
        self.saw_pay(record, result.is_err());
    }

    fn ran_out(&self, payment: PaymentId) -> bool {
        self.store.payments[&payment].reserved_until.is_some_and(|until| until <= self.now)
    }

    fn saw_pay(&mut self, record: &Record, refused: bool) {
        let (Record::Pay(Pay { payment, .. }) | Record::BeginCharge(BeginCharge { payment, .. })) = record else {
            return;
        };
        if self.ran_out(*payment) {
            self.coverage.saw(Seen::ExpiryDuringPay);
            if refused {
                self.refused_pays.insert(*payment);
            }
        }
    }

    /// Tells everybody, draw by draw in one piece of mail each.
    pub(super) fn deliver_outcomes(&mut self, p: usize, outcomes: Vec<Outcome>) {
        let mut by_draw: Vec<((DrawId, u64), Vec<Answer>)> = Vec::new();
        let mut direct = Vec::new();
        for (Submit { record, actor, waiting, .. }, result) in outcomes {
            if result == Err(Refused::Overloaded) {
                self.coverage.saw(Seen::Overloaded);
                self.saw_pay(&record, true);
            }
            let Some(actor) = actor else {
                direct.extend(told(waiting, record, result));
                continue;
            };
            let answer = Answer { record, result, waiting };
            match by_draw.iter_mut().find(|(known, _)| *known == actor) {
                Some((_, answers)) => answers.push(answer),
                None => by_draw.push((actor, vec![answer])),
            }
        }
        self.take_effect(p, direct);
        for (actor, answers) in by_draw {
            self.post(p, actor, Word::Answers(answers));
        }
    }

    fn write_step(&mut self, p: usize, job: Job) {
        let fault = self.temper.of_step(&mut self.dice);
        let name = self.processes[p].name;
        self.say(|| format!("process {name} takes {:?} of draw {}: {fault:?}", job.step, job.fence.draw));
        match fault {
            OfStep::Nothing => {
                let result = self.commit_step(&job);
                self.stepped(p, job, result);
            }
            OfStep::Lost => {
                self.coverage.saw(Seen::StepLost);
                self.processes[p].writer = Writer::AskingOfStep { job, output: None };
            }
            OfStep::Unknown { committed } => match committed.then(|| self.commit_step(&job)) {
                Some(Err(stale)) => self.stepped(p, job, Err(stale)),
                done => {
                    let output = done.and_then(Result::ok);
                    self.processes[p].writer = Writer::AskingOfStep { job, output };
                }
            },
            OfStep::Away => self.stepped(p, job, Err(StepError::Away)),
            OfStep::Crash { committed } => {
                if committed && self.commit_step(&job).is_ok() {
                    self.coverage.saw(Seen::CrashAfterCommit);
                }
                self.processes[p].writer = Writer::AskingOfStep { job, output: None };
                self.kill(p);
            }
        }
    }

    fn commit_step(&mut self, job: &Job) -> Result<Output, StepError> {
        match self.store.step(job.fence, &job.step) {
            Ok(output) => {
                self.committed();
                Ok(output)
            }
            Err(store::Stale) => {
                self.coverage.saw(Seen::StaleStep);
                Err(StepError::Stale)
            }
        }
    }

    fn stepped(&mut self, p: usize, job: Job, result: Result<Output, StepError>) {
        self.post(p, job.actor, Word::Step(result));
    }
}

fn brief(record: &Record) -> String {
    let text = format!("{record:?}");
    text.chars().take(160).collect()
}
