//! The driver of the writer: it carries out the actions of the machines of `domain::writer`, as
//! `actors::persistence::writer` does, and injects the faults of a connection. It decides nothing about records,
//! retries and the cache.

use std::mem;

use lottery::domain::draw::{DrawAnswer, StepError, WriteResult};
use lottery::domain::id::PaymentId;
use lottery::domain::payment::PaymentStatus;
use lottery::domain::prefetch::Prefetch;
use lottery::domain::record::{BeginCharge, Charge, EndCharge, Outcome, Pay, Record, Refusal, WithdrawalDecision};
use lottery::domain::writer::{
    Answers, BatchAction, BatchRecord, BatchRun, BatchWrite, ConnectionAction, ConnectionState, Decision, Mark,
    PrefetchFailure, StepAction, StepEnd, StepRun, TransactionEnd, Work, group_by_draw,
};

use super::World;
use crate::coverage::Seen;
use crate::faults::{Fate, OfBatch, OfStep};
use crate::process::{Effect, Job, Waiter, Waiting, Word, WriteRequest, Writer, WriterJob};
use crate::store::{self, Output, currency};

/// The probability, in thousandths, that a batch with a prefetch is slow.
const SLOW: usize = 300;
/// The probability, in thousandths, that a late transaction never reaches the server.
const NEVER: usize = 200;
/// The number of events during which a step is retried.
const STEP_PATIENCE: u64 = 1_000;

/// A batch in the socket of a lost connection. It keeps its locks until it ends.
pub struct Late {
    records: Vec<(Record, Waiting)>,
    write: BatchWrite,
}

/// The result of an action on the connection.
enum Connected {
    Yes,
    /// Time must pass first.
    Later,
    /// The process is dead.
    Never,
}

/// What follows after an action of the writer.
#[derive(PartialEq)]
enum Then {
    /// The writer continues at its next turn.
    Later,
    Done,
    /// The process is killed.
    Kill,
}

impl World {
    /// Begins the writer's next transaction, or does the next action of the current one.
    pub fn write(&mut self, p: usize) {
        // The writer is put back before any other code looks for it.
        let logs = self.processes[p].logs.clone();
        let mut writer = mem::replace(&mut self.processes[p].writer, Writer::new(logs));
        if matches!(writer.job, WriterJob::Idle) {
            writer.job = self.next_job(p);
        }
        let Writer { state, job, away, key_existed, waits_for_lock } = &mut writer;
        let then = match job {
            WriterJob::Idle => Then::Done,
            WriterJob::Batch(run) => self.run_batch(p, state, run, (key_existed, waits_for_lock)),
            WriterJob::Step(job, run) => self.run_step(p, state, (job, run), away),
        };
        if then == Then::Done {
            match mem::take(job) {
                WriterJob::Step(job, run) => {
                    let result = run.into_result().expect("a step that is done has its result");
                    let result = result.map(|output| output.expect("a committed step has an output"));
                    self.stepped(p, job, result);
                }
                WriterJob::Batch(run) => assert_eq!(run.unanswered().count(), 0, "every record has its answer"),
                WriterJob::Idle => {}
            }
        }
        self.processes[p].writer = writer;
        if then == Then::Kill {
            self.kill(p);
        }
    }

    fn next_job(&mut self, p: usize) -> WriterJob {
        let limit = 1 + self.dice.below(6);
        match self.processes[p].queue.pop(limit) {
            Some(Work::Step(job)) => {
                let run = StepRun::new(job.step.invalidates(), self.step + STEP_PATIENCE);
                WriterJob::Step(job, run)
            }
            Some(Work::Batch(records)) => WriterJob::Batch(BatchRun::new(records, currency())),
            None => WriterJob::Idle,
        }
    }

    /// Does what must be done before a transaction can begin.
    fn make_ready(&mut self, p: usize, state: &mut ConnectionState<()>, action: ConnectionAction) -> Connected {
        match action {
            ConnectionAction::Rest => {
                state.rested();
                Connected::Later
            }
            ConnectionAction::Connect if self.dice.chance(self.temper.load) => {
                self.coverage.saw(Seen::ConnectFailed);
                state.connect_failed();
                Connected::Yes
            }
            ConnectionAction::Connect => {
                assert!(state.is_cache_empty(), "a new connection begins with an empty cache");
                self.processes[p].disturbed = false;
                let Some(row) = self.store.new_writer(self.processes[p].name) else {
                    self.coverage.saw(Seen::DeadEnded);
                    return Connected::Never;
                };
                state.connected((), row);
                Connected::Yes
            }
        }
    }

    fn run_batch(
        &mut self,
        p: usize,
        state: &mut ConnectionState<()>,
        run: &mut BatchRun<WriteRequest>,
        (key_existed, waits_for_lock): (&mut bool, &mut bool),
    ) -> Then {
        loop {
            let is_cache_empty = state.is_cache_empty();
            match run.next(state, self.step) {
                BatchAction::Connection(action) => match self.make_ready(p, state, action) {
                    Connected::Yes => {}
                    Connected::Later => return Then::Later,
                    Connected::Never => return Then::Kill,
                },
                BatchAction::Prefetch((), missing) => {
                    let begins = !mem::take(waits_for_lock);
                    if self.is_locked(missing) {
                        *waits_for_lock = true;
                        self.coverage.saw(Seen::LockWaited);
                    } else if self.dice.chance(self.temper.load) {
                        self.coverage.saw(Seen::PrefetchLost);
                        run.prefetched(state, Err(PrefetchFailure::Lost));
                        return Then::Later;
                    } else {
                        if is_cache_empty {
                            self.processes[p].disturbed = false;
                        }
                        let found = self.store.read(missing);
                        run.prefetched(state, Ok(found));
                    }
                    if begins {
                        self.nothing_late_begins(run.records());
                    }
                    if *waits_for_lock || self.dice.chance(SLOW) {
                        return Then::Later;
                    }
                }
                BatchAction::Write((), _, write) => {
                    if !write.begun {
                        self.nothing_late_begins(run.records());
                    }
                    if let Some(then) = self.send_batch(p, state, run, key_existed) {
                        return then;
                    }
                }
                BatchAction::CloseRow((), row) => {
                    let unanswered = run.unanswered().count();
                    let last = self.close_row(row);
                    run.row_closed(state, last);
                    if last.is_none() {
                        return Then::Later;
                    }
                    let committed = run.unanswered().count() < unanswered;
                    self.coverage.saw(if committed { Seen::UnknownCommitted } else { Seen::UnknownLost });
                }
                BatchAction::Answer => {
                    let answers = run.take_answers();
                    self.deliver_outcomes(p, answers);
                }
                BatchAction::Done => return Then::Done,
            }
        }
    }

    /// If a client was told that nothing was written, that must stay true.
    fn nothing_late_begins(&self, records: &[WriteRequest]) {
        let late = records.iter().filter(|submit| submit.is_late(self.step)).count();
        assert_eq!(late, 0, "a transaction begins with records whose deadline has passed");
    }

    /// Asks the database. After that, the late transactions of the lost connection fail.
    fn close_row(&mut self, row: i64) -> Option<i64> {
        if self.dice.chance(self.temper.load) {
            self.coverage.saw(Seen::AskedInVain);
            return None;
        }
        let last = self.store.close_writer(row);
        self.say(|| format!("the row {row} is closed, its last mark is {last}"));
        Some(last)
    }

    /// Whether another transaction has locked a payment that a batch must read.
    fn is_locked(&self, missing: &Prefetch) -> bool {
        let begun = self.processes.iter().filter_map(|process| match &process.writer.job {
            WriterJob::Batch(run) => run.executed(),
            _ => None,
        });
        let mut locks = begun.chain(self.late.iter().map(|late| &late.write));
        locks.any(|write| missing.payments.iter().any(|payment| write.state.payments.contains_key(payment)))
    }

    /// Sends a batch with its COMMIT. `None`: its answers can be delivered at once.
    fn send_batch(
        &mut self,
        p: usize,
        state: &mut ConnectionState<()>,
        run: &mut BatchRun<WriteRequest>,
        key_existed: &mut bool,
    ) -> Option<Then> {
        let write = run.executed().expect("a batch is sent after it was executed");
        if !write.begun {
            self.coverage.saw(Seen::FromMemory);
        }
        if run.records().len() > 1 {
            self.coverage.saw(Seen::BatchOfMany);
        }
        let fault = self.temper.of_batch(&mut self.dice);
        let name = self.processes[p].name;
        self.say(|| format!("process {name} writes {} records: {fault:?}", run.records().len()));
        let end = match fault {
            OfBatch::Nothing => self.answered(p, run),
            OfBatch::Refusal => {
                self.spoil_one(run.records());
                self.answered(p, run)
            }
            OfBatch::Lost => TransactionEnd::Lost,
            OfBatch::Unknown(fate) => {
                self.befall(fate, run);
                TransactionEnd::Unknown
            }
            OfBatch::Crash(fate) => {
                self.befall(fate, run);
                let committed = fate == Fate::Committed;
                self.coverage.saw(if committed { Seen::CrashAfterCommit } else { Seen::CrashBeforeCommit });
                return Some(Then::Kill);
            }
        };
        let met_before = mem::take(key_existed);
        match run.ended(state, end) {
            Decision::Answer | Decision::Reject => return None,
            Decision::AskDatabase => {}
            Decision::TryAgain => self.coverage.saw(Seen::BatchLost),
            Decision::Split => self.coverage.saw(Seen::BatchRefused),
            Decision::ReadAnew => {
                let explained = self.processes[p].disturbed || self.is_dead(p);
                assert!(explained, "the cache is wrong although there was no other writer");
                self.coverage.saw(Seen::Outdated);
            }
            Decision::CheckKeys => {
                assert!(!met_before, "a key that exists was treated as new again");
                *key_existed = true;
                self.coverage.saw(Seen::KeyMet);
            }
        }
        Some(Then::Later)
    }

    /// Makes the database refuse one of these records.
    fn spoil_one(&mut self, records: &[WriteRequest]) {
        let may_fail =
            |submit: &&WriteRequest| !matches!(submit.record, Record::EndCharge(_) | Record::BeginDeposit(_));
        let able: Vec<&WriteRequest> = records.iter().filter(may_fail).collect();
        if !able.is_empty() {
            able[self.dice.below(able.len())].bad.set(true);
        }
    }

    /// Applies the result of a COMMIT whose answer does not arrive.
    fn befall(&mut self, fate: Fate, run: &BatchRun<WriteRequest>) {
        match fate {
            // The answer does not arrive, whether it is a refusal or not.
            Fate::Committed if run.records().iter().all(|submit| !submit.bad.get()) => {
                let _ = self.execute_run(None, run);
            }
            Fate::Committed | Fate::Lost => {}
            Fate::Forgotten => {
                let write = run.executed().expect("a batch is sent after it was executed");
                self.store.forget_writer(write.mark.writer);
                self.coverage.saw(Seen::WriterForgotten);
            }
            Fate::Late => {
                let write = run.executed().expect("a batch is sent after it was executed");
                let records = run.records().iter();
                let records = records.map(|submit| (submit.record.clone(), submit.waiting)).collect();
                self.late.push(Late { records, write: write.clone() });
            }
        }
    }

    /// The server executes a late transaction, or finds that there is nothing.
    pub fn arrive(&mut self, place: usize) {
        let Late { records, write } = self.late.swap_remove(place);
        if self.dice.chance(NEVER) {
            return;
        }
        let sent = records.iter().map(|(record, waiting)| (record, *waiting));
        let written = self.execute(None, sent, &write);
        self.say(|| format!("{:?} came late: {written:?}", write.mark));
        self.coverage.saw(if written.is_ok() { Seen::LateCommitted } else { Seen::LateRefused });
    }

    /// The database executes the batch, and its answer arrives.
    fn answered(&mut self, p: usize, run: &BatchRun<WriteRequest>) -> TransactionEnd {
        if run.records().iter().any(|submit| submit.bad.get()) {
            return TransactionEnd::Refused;
        }
        match self.execute_run(Some(p), run) {
            Ok(()) => TransactionEnd::Committed,
            Err(end) => end,
        }
    }

    fn execute_run(&mut self, by: Option<usize>, run: &BatchRun<WriteRequest>) -> Result<(), TransactionEnd> {
        let write = run.executed().expect("a batch is sent after it was executed");
        let sent = run.records().iter().map(|submit| (&submit.record, submit.waiting));
        self.execute(by, sent, write)
    }

    /// The server has received the whole batch: it is written completely, or not at all.
    fn execute<'r>(
        &mut self,
        by: Option<usize>,
        sent: impl Iterator<Item = (&'r Record, Waiting)> + Clone,
        write: &'r BatchWrite,
    ) -> Result<(), TransactionEnd> {
        self.store.write(sent.clone().map(|(record, _)| record), write)?;
        let is_dead = by.is_some_and(|p| self.store.is_dead(self.processes[p].name));
        assert!(!is_dead, "a dead process writes");
        for ((record, waiting), result) in sent.zip(&write.results) {
            self.say(|| format!("       {:?}: {:?}", brief(record), result));
            self.watch(record, waiting, result);
        }
        self.committed(by);
        Ok(())
    }

    /// Reports the effects of a commit to the model, and counts events.
    fn watch(&mut self, record: &Record, waiting: Waiting, result: &Result<Outcome, Refusal>) {
        self.count(record, result);
        if result.is_err() {
            return;
        }
        let payment = match record {
            Record::Order(it) => it.payment,
            Record::Pay(it) => it.payment,
            Record::GiveBack(it) => it.payment,
            // The end of a deposit is not an effect of its request: the beginning is.
            Record::EndCharge(it) if self.store.payments[&it.payment].draw.is_none() => return,
            Record::EndCharge(it) => it.payment,
            Record::BeginDeposit(it) => it.payment,
            Record::BeginWithdrawal(it) => it.payment,
            // The end of these is not an effect of this request.
            Record::Expire(_) | Record::BeginCharge(_) | Record::EndWithdrawal(_) => return,
        };
        let request = self.request_of(waiting);
        let Some(tried) = request.map(|request| self.requests[request].tried) else { return };
        match record {
            Record::EndCharge(EndCharge { charge: Charge::Processing | Charge::Unresolved(_), .. }) => {
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
            (Record::EndCharge(it), Err(Refusal::ChargeEnded(_))) if it.admin.is_some() => {
                saw.saw(Seen::ChargeEndedBefore);
            }
            (Record::EndCharge(it), Ok(outcome)) => {
                let deposit = self.store.payments[&it.payment].draw.is_none();
                saw.saw(match (&it.charge, outcome) {
                    (Charge::Paid, Outcome::LateCredit(payment)) => match payment.status {
                        PaymentStatus::Refunded => Seen::CardTooLate,
                        PaymentStatus::Paid => Seen::LateAfterPaid,
                        PaymentStatus::Processing => Seen::LateDuringAnother,
                        _ => Seen::LateAfterFailed,
                    },
                    (Charge::Paid, _) if deposit => Seen::Deposited,
                    (Charge::Paid, _) => Seen::PaidByCard,
                    (Charge::Declined(_), _) => Seen::CardDeclined,
                    (Charge::Unresolved(_), _) => Seen::ChargeWaits,
                    (Charge::Processing, _) => return,
                });
                if it.admin.is_some() {
                    saw.saw(Seen::ChargeEndedByAdmin);
                }
            }
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

    /// Delivers the results, to the draws and to the waiters of records without a draw.
    pub(super) fn deliver_outcomes(&mut self, p: usize, outcomes: Answers<WriteRequest>) {
        let (mut of_draws, mut direct) = (Vec::new(), Vec::new());
        for (WriteRequest { record, deadline, actor, waiting, bad }, result) in outcomes {
            if bad.get() && result == Err(Refusal::Rejected) {
                self.broken.extend(self.request_of(waiting));
            }
            if result == Err(Refusal::Overloaded) {
                self.coverage.saw(Seen::Overloaded);
                self.saw_pay(&record, true);
            }
            let Some(actor) = actor else {
                direct.push(Effect::Answer(waiting, Box::new(DrawAnswer::of_record(record, result))));
                continue;
            };
            let waiter = (waiting != Waiting::Nobody).then_some(Waiter { who: waiting, deadline });
            of_draws.push((actor, WriteResult { record, result, waiter }));
        }
        self.take_effect(p, direct);
        for (actor, results) in group_by_draw(of_draws.into_iter()) {
            self.post(p, actor, Word::Results(results));
        }
    }

    fn run_step(
        &mut self,
        p: usize,
        state: &mut ConnectionState<()>,
        (job, run): (&Job, &mut StepRun<Option<Output>, u64>),
        away: &mut bool,
    ) -> Then {
        loop {
            let now = if *away { u64::MAX } else { self.step };
            match run.next(state, now) {
                StepAction::Connection(action) => match self.make_ready(p, state, action) {
                    Connected::Yes => {}
                    Connected::Later => return Then::Later,
                    Connected::Never => return Then::Kill,
                },
                StepAction::Write((), mark) => {
                    let Some(end) = self.send_step(p, mark, job, away) else { return Then::Kill };
                    let rolled_back = matches!(end, StepEnd::Lost | StepEnd::Unknown(_));
                    run.ended(state, end);
                    if rolled_back {
                        return Then::Later;
                    }
                }
                StepAction::CloseRow((), row) => {
                    let last = self.close_row(row);
                    run.row_closed(state, last);
                    if last.is_none() {
                        return Then::Later;
                    }
                }
                StepAction::Done => {
                    *away = false;
                    return Then::Done;
                }
            }
        }
    }

    /// Runs one transaction of a step. `None`: the process is killed during the commit.
    fn send_step(&mut self, p: usize, mark: Mark, job: &Job, away: &mut bool) -> Option<StepEnd<Option<Output>>> {
        let fault = self.temper.of_step(&mut self.dice);
        let name = self.processes[p].name;
        self.say(|| format!("process {name} takes {:?} of draw {}: {fault:?}", job.step, job.fence.draw));
        if !self.store.accepts(mark) {
            // The row of the connection is closed: the process is dead.
            return Some(StepEnd::Lost);
        }
        match fault {
            OfStep::Nothing => Some(match self.commit_step(p, mark, job) {
                Ok(output) => StepEnd::Committed(Some(output)),
                Err(_) => StepEnd::StaleEpoch,
            }),
            OfStep::Lost => {
                self.coverage.saw(Seen::StepLost);
                Some(StepEnd::Lost)
            }
            OfStep::Unknown(Fate::Forgotten) => {
                self.store.forget_writer(mark.writer);
                self.coverage.saw(Seen::WriterForgotten);
                Some(StepEnd::Unknown(None))
            }
            OfStep::Unknown(Fate::Lost | Fate::Late) => Some(StepEnd::Unknown(None)),
            OfStep::Unknown(Fate::Committed) => Some(match self.commit_step(p, mark, job) {
                Ok(output) => StepEnd::Unknown(Some(output)),
                Err(_) => StepEnd::StaleEpoch,
            }),
            OfStep::Away => {
                *away = true;
                Some(StepEnd::Lost)
            }
            OfStep::Crash { committed } => {
                if committed && self.commit_step(p, mark, job).is_ok() {
                    self.coverage.saw(Seen::CrashAfterCommit);
                }
                None
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
