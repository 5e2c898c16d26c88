//! The persistence actor's writer: takes the next batch or step, as `actors::persistence` does, and lets go
//! wrong what can go wrong with a transaction. Its memory is the real one; what it decides of it, and the
//! database's answers, are followed line for line.

use lottery::domain::draw::{DrawAnswer, StepError, WriteResult};
use lottery::domain::id::{DrawId, PaymentId};
use lottery::domain::record::{BeginCharge, Charge, EndCharge, Outcome, Pay, Record, Refusal, WithdrawalDecision};
use lottery::domain::writer_cache::{Invalidation, PrefetchResult};

use super::World;
use crate::coverage::Seen;
use crate::faults::{Fate, OfBatch, OfStep};
use crate::process::{Batch, Effect, Job, Queued, Waiter, Waiting, Word, WriteRequest, Writer};
use crate::store::{self, BatchFailure, Mark, Output, Write, currency};

type RecordResult = (WriteRequest, Result<Outcome, Refusal>);

/// How many in a thousand batches that had to read first are slow about it.
const SLOW: usize = 300;
/// How many in a thousand late transactions never reach the server.
const NEVER: usize = 200;

/// A batch that lies in the socket of a lost connection. What it has locked stays locked until it ends.
pub struct Late {
    records: Vec<(Record, Waiting)>,
    results: Vec<Result<Outcome, Refusal>>,
    write: Write,
}

impl World {
    /// The writer's next transaction, or the next thing it does about the one in hand.
    pub fn write(&mut self, p: usize) {
        match std::mem::replace(&mut self.processes[p].writer, Writer::Idle) {
            Writer::Idle => self.next(p),
            Writer::Trying(batch) => self.begin_batch(p, batch),
            Writer::Waiting(batch) => self.try_batch(p, batch),
            Writer::Begun(batch) => self.finish_batch(p, *batch),
            Writer::Asking(batch, results, mark) => {
                if self.was_committed(mark) {
                    self.coverage.saw(Seen::UnknownCommitted);
                    self.deliver_outcomes(p, batch.into_iter().zip(results).collect());
                } else {
                    self.coverage.saw(Seen::UnknownLost);
                    self.begin_batch(p, batch);
                }
            }
            Writer::TryingStep(job) => self.write_step(p, job),
            Writer::AskingOfStep(job, mark, output) => match self.was_committed(mark) {
                true => self.stepped(p, job, Ok(output.expect("what was committed has something to say"))),
                false => self.write_step(p, job),
            },
        }
    }

    /// Asks the database; from then on what the lost connection still has on its way fails.
    fn was_committed(&mut self, mark: Mark) -> bool {
        let committed = self.store.close_writer(mark.writer) == mark.number;
        self.say(|| format!("{mark:?} was committed: {committed}"));
        committed
    }

    /// The records of a refused batch come first, each alone.
    fn next(&mut self, p: usize) {
        if let Some(one) = self.processes[p].alone.pop_front() {
            return self.begin_batch(p, vec![one]);
        }
        match self.processes[p].queue.pop_front() {
            Some(Queued::Step(job)) => self.write_step(p, job),
            Some(Queued::Record(first)) => {
                let batch = self.gather(p, first);
                self.begin_batch(p, batch);
            }
            None => {}
        }
    }

    /// The records that wait before the next step, up to the batch's limit.
    fn gather(&mut self, p: usize, first: WriteRequest) -> Vec<WriteRequest> {
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

    /// Drops what nobody can wait for any longer.
    fn begin_batch(&mut self, p: usize, batch: Vec<WriteRequest>) {
        let step = self.step;
        let (late, todo): (Vec<WriteRequest>, Vec<WriteRequest>) =
            batch.into_iter().partition(|submit| submit.deadline.is_some_and(|deadline| deadline <= step));
        self.deliver_outcomes(p, late.into_iter().map(|submit| (submit, Err(Refusal::Overloaded))).collect());
        if todo.is_empty() {
            return;
        }
        if todo.len() > 1 {
            self.coverage.saw(Seen::BatchOfMany);
        }
        self.try_batch(p, todo);
    }

    /// Reads what is not remembered, and judges.
    fn try_batch(&mut self, p: usize, todo: Vec<WriteRequest>) {
        if self.is_locked(&todo) {
            self.coverage.saw(Seen::LockWaited);
            self.processes[p].writer = Writer::Waiting(todo);
            return;
        }
        let process = &mut self.processes[p];
        let mark = process.next_mark(&mut self.store);
        let plan = process.cache.plan(todo.iter().map(|submit| &submit.record));
        let begun = !plan.missing.is_empty();
        let found = if begun { self.store.read(&plan.missing) } else { PrefetchResult::default() };
        let mut state = process.cache.open(&plan, found, currency());
        let results = todo.iter().map(|submit| state.apply(&submit.record)).collect();
        let expected = process.cache.expected(&state);
        let batch =
            Batch { records: todo, results, write: Write { mark, state, expected }, check_keys: plan.check_keys };
        if begun && self.dice.chance(SLOW) {
            self.processes[p].writer = Writer::Begun(Box::new(batch));
        } else {
            if !begun {
                self.coverage.saw(Seen::FromMemory);
            }
            self.finish_batch(p, batch);
        }
    }

    /// Whether one of the payments that these records need is locked by somebody's transaction.
    fn is_locked(&self, batch: &[WriteRequest]) -> bool {
        let begun = self.processes.iter().filter_map(|process| match &process.writer {
            Writer::Begun(batch) => Some(&batch.write),
            _ => None,
        });
        let mut locks = begun.chain(self.late.iter().map(|late| &late.write)).peekable();
        if locks.peek().is_none() {
            return false;
        }
        let needed = lottery::domain::prefetch::Prefetch::of(batch.iter().map(|submit| &submit.record)).payments;
        locks.any(|write| needed.iter().any(|payment| write.state.payments.contains_key(payment)))
    }

    /// What was judged is sent, with its COMMIT.
    fn finish_batch(&mut self, p: usize, mut batch: Batch) {
        let fault = self.temper.of_batch(&mut self.dice);
        let name = self.processes[p].name;
        self.say(|| format!("process {name} writes {} records: {fault:?}", batch.records.len()));
        match fault {
            OfBatch::Nothing => self.write_batch(p, batch),
            OfBatch::Lost => {
                self.coverage.saw(Seen::BatchLost);
                self.processes[p].disconnect();
                self.processes[p].writer = Writer::Trying(batch.records);
            }
            OfBatch::Unknown(fate) => {
                self.processes[p].disconnect();
                let Batch { records, results, write, .. } = batch;
                let mark = write.mark;
                self.befall(fate, &records, &results, write);
                self.processes[p].writer = Writer::Asking(records, results, mark);
            }
            OfBatch::Refusal => {
                let may_fail = |submit: &&mut WriteRequest| {
                    !matches!(
                        submit.record,
                        Record::EndCharge(_) | Record::EndDeposit(_) | Record::BeginDeposit(_)
                    )
                };
                let mut able: Vec<&mut WriteRequest> = batch.records.iter_mut().filter(may_fail).collect();
                if !able.is_empty() {
                    let place = self.dice.below(able.len());
                    able[place].bad = true;
                }
                self.write_batch(p, batch);
            }
            OfBatch::Crash(fate) => {
                let Batch { records, results, write, .. } = batch;
                self.befall(fate, &records, &results, write);
                let committed = fate == Fate::Committed;
                self.coverage.saw(if committed { Seen::CrashAfterCommit } else { Seen::CrashBeforeCommit });
                self.processes[p].writer = Writer::Trying(records);
                self.kill(p);
            }
        }
    }

    /// What becomes of a COMMIT whose answer nobody hears.
    fn befall(
        &mut self,
        fate: Fate,
        records: &[WriteRequest],
        results: &[Result<Outcome, Refusal>],
        write: Write,
    ) {
        match fate {
            // Refusal or not: nobody hears it.
            Fate::Committed if records.iter().all(|submit| !submit.bad) => {
                let sent = records.iter().map(|submit| (&submit.record, submit.waiting));
                let _ = self.execute(None, sent, results, &write);
            }
            Fate::Committed | Fate::Lost => {}
            Fate::Late => {
                let records = records.iter().map(|submit| (submit.record.clone(), submit.waiting)).collect();
                self.late.push(Late { records, results: results.to_vec(), write });
            }
        }
    }

    /// The server comes to what a lost connection had sent, or finds that there is nothing.
    pub fn arrive(&mut self, place: usize) {
        let Late { records, results, write } = self.late.swap_remove(place);
        if self.dice.chance(NEVER) {
            return;
        }
        let sent = records.iter().map(|(record, waiting)| (record, *waiting));
        let written = self.execute(None, sent, &results, &write);
        self.say(|| format!("{:?} came late: {written:?}", write.mark));
        self.coverage.saw(if written.is_ok() { Seen::LateCommitted } else { Seen::LateRefused });
    }

    /// The server has it all: it is written whole, or not at all.
    fn execute<'r>(
        &mut self,
        by: Option<usize>,
        sent: impl Iterator<Item = (&'r Record, Waiting)>,
        results: &[Result<Outcome, Refusal>],
        write: &Write,
    ) -> Result<(), BatchFailure> {
        self.store.write(write)?;
        for ((record, waiting), result) in sent.zip(results) {
            self.say(|| format!("       {:?}: {:?}", brief(record), result));
            self.watch(record, waiting, result);
        }
        self.committed(by);
        Ok(())
    }

    /// The batch is sent, and its answer heard.
    fn write_batch(&mut self, p: usize, batch: Batch) {
        let Batch { records, results, write, check_keys } = batch;
        let sent = records.iter().map(|submit| (&submit.record, submit.waiting));
        let written = match records.iter().any(|submit| submit.bad) {
            true => Err(BatchFailure::Refused),
            false => self.execute(Some(p), sent, &results, &write),
        };
        let process = &mut self.processes[p];
        let (disturbed, key_existed) = (process.disturbed, std::mem::take(&mut process.key_existed));
        match written {
            Ok(()) => {
                process.cache.committed(&write.expected);
                self.deliver_outcomes(p, records.into_iter().zip(results).collect());
            }
            Err(BatchFailure::Outdated) => {
                assert!(disturbed, "a memory went wrong by itself: {:?}", write.expected);
                process.disconnect();
                process.writer = Writer::Trying(records);
                self.coverage.saw(Seen::Outdated);
            }
            Err(BatchFailure::KeyExists) if !check_keys => {
                assert!(!key_existed, "a key that was met is taken for new again");
                process.key_existed = true;
                process.forget();
                process.cache.key_existed();
                process.writer = Writer::Trying(records);
                self.coverage.saw(Seen::KeyMet);
            }
            Err(BatchFailure::KeyExists | BatchFailure::Refused) => {
                process.disconnect();
                self.refused(p, records);
            }
        }
    }

    /// The database would not take them: each record goes alone, and the bad one fails.
    fn refused(&mut self, p: usize, records: Vec<WriteRequest>) {
        if records.len() > 1 {
            self.coverage.saw(Seen::BatchRefused);
            self.processes[p].alone.extend(records);
            return;
        }
        for submit in &records {
            let request = self.request_of(submit.waiting).filter(|_| submit.bad);
            self.broken.extend(request);
        }
        self.deliver_outcomes(p, records.into_iter().map(|submit| (submit, Err(Refusal::Rejected))).collect());
    }

    /// What of a commit is the effect of somebody's request, and what is worth counting.
    fn watch(&mut self, record: &Record, waiting: Waiting, result: &Result<Outcome, Refusal>) {
        self.count(record, result);
        if result.is_err() {
            return;
        }
        let payment = match record {
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
        let request = self.request_of(waiting);
        let Some(tried) = request.map(|request| self.requests[request].tried) else { return };
        match record {
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
            Waiting::Admin(_) | Waiting::Nobody => None,
        }
    }

    fn count(&mut self, record: &Record, result: &Result<Outcome, Refusal>) {
        let saw = &mut self.coverage;
        match (record, result) {
            (_, Err(Refusal::StaleEpoch)) => saw.saw(Seen::StaleRecord),
            (_, Err(Refusal::Replay(_))) => saw.saw(Seen::ReplayInBooks),
            (Record::EndCharge(it), Err(Refusal::NotPayable)) if it.key.is_none() => saw.saw(Seen::NoticeRepeated),
            (Record::Order(order), Ok(_)) => {
                let paid = order.reserved_until.is_none();
                saw.saw(if paid { Seen::PlacedOrder } else { Seen::Reserved });
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
            (Record::EndWithdrawal(_), Err(Refusal::Ended(_))) => saw.saw(Seen::VerdictAgain),
            (Record::EndWithdrawal(it), Ok(_)) => saw.saw(match it.verdict {
                WithdrawalDecision::Approved => Seen::PaidOut,
                WithdrawalDecision::Rejected => Seen::PutBack,
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
    pub(super) fn deliver_outcomes(&mut self, p: usize, outcomes: Vec<RecordResult>) {
        let mut by_draw: Vec<((DrawId, u64), Vec<WriteResult<Waiter>>)> = Vec::new();
        let mut direct = Vec::new();
        for (WriteRequest { record, deadline, actor, waiting, .. }, result) in outcomes {
            if result == Err(Refusal::Overloaded) {
                self.coverage.saw(Seen::Overloaded);
                self.saw_pay(&record, true);
            }
            let Some(actor) = actor else {
                direct.push(Effect::Answer(waiting, Box::new(DrawAnswer::of_record(record, result))));
                continue;
            };
            let waiter = (waiting != Waiting::Nobody).then_some(Waiter { who: waiting, deadline });
            let result = WriteResult { record, result, waiter };
            match by_draw.iter_mut().find(|(to, _)| *to == actor) {
                Some((_, results)) => results.push(result),
                None => by_draw.push((actor, vec![result])),
            }
        }
        self.take_effect(p, direct);
        for (actor, results) in by_draw {
            self.post(p, actor, Word::Results(results));
        }
    }

    fn write_step(&mut self, p: usize, job: Job) {
        let fault = self.temper.of_step(&mut self.dice);
        let name = self.processes[p].name;
        self.say(|| format!("process {name} takes {:?} of draw {}: {fault:?}", job.step, job.fence.draw));
        let process = &mut self.processes[p];
        // It moves money and draws beside the batches.
        match job.step.invalidates() {
            Invalidation::Everything => process.forget(),
            touched => process.cache.invalidate(&touched),
        }
        let mark = process.next_mark(&mut self.store);
        match fault {
            OfStep::Nothing => {
                let result = self.commit_step(p, mark, &job);
                if result.is_err() {
                    self.processes[p].disconnect();
                }
                self.stepped(p, job, result);
            }
            OfStep::Lost => {
                self.coverage.saw(Seen::StepLost);
                process.disconnect();
                process.writer = Writer::TryingStep(job);
            }
            OfStep::Unknown { committed } => {
                let done = committed.then(|| self.commit_step(p, mark, &job));
                self.processes[p].disconnect();
                match done {
                    Some(Err(stale)) => self.stepped(p, job, Err(stale)),
                    done => {
                        let output = done.and_then(Result::ok);
                        self.processes[p].writer = Writer::AskingOfStep(job, mark, output);
                    }
                }
            }
            OfStep::Away => self.stepped(p, job, Err(StepError::Unavailable)),
            OfStep::Crash { committed } => {
                if committed && self.commit_step(p, mark, &job).is_ok() {
                    self.coverage.saw(Seen::CrashAfterCommit);
                }
                self.processes[p].writer = Writer::TryingStep(job);
                self.kill(p);
            }
        }
    }

    fn commit_step(&mut self, p: usize, mark: Mark, job: &Job) -> Result<Output, StepError> {
        match self.store.step(mark, job.fence, &job.step) {
            Ok(output) => {
                self.committed(Some(p));
                Ok(output)
            }
            Err(store::StaleEpoch) => {
                self.coverage.saw(Seen::StaleStep);
                Err(StepError::StaleEpoch)
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
