//! The changes of wallets without a draw: withdrawals, which an admin decides, sometimes repeatedly; and payments
//! by another program, of which the writer's cache does not know.

use std::cell::Cell;

use lottery::domain::draw::DrawAnswer;
use lottery::domain::id::{PaymentId, UserId};
use lottery::domain::money::Money;
use lottery::domain::payment::PaymentKind;
use lottery::domain::record::{
    BeginDeposit, BeginWithdrawal, Charge, EndCharge, EndWithdrawal, Key, Record, WithdrawalDecision,
};
use lottery::domain::writer::{BatchWrite, Mark};
use lottery::domain::writer_cache::WriterCache;

use super::{ADMIN, PLAYERS, World};
use crate::coverage::Seen;
use crate::process::{Waiting, WriteRequest, ticket_logs};
use crate::store::{currency, id};

/// The process that stands for another program. The processes of the service have higher numbers.
const ANOTHER_PROGRAM: u64 = 0;

impl World {
    /// Submits a record without a draw.
    pub(super) fn submit(&mut self, p: usize, record: Record, deadline: Option<u64>, waiting: Waiting) {
        let request = WriteRequest { record, deadline, actor: None, waiting, bad: Cell::new(false) };
        for (WriteRequest { record, .. }, result) in self.processes[p].queue.push(request) {
            self.coverage.saw(Seen::QueueFull);
            self.answer(p, waiting, DrawAnswer::of_record(record, result));
        }
    }

    pub(super) fn begin_withdrawal(
        &mut self,
        p: usize,
        request: usize,
        user: UserId,
        amount: i64,
        key: Option<Key>,
        deadline: u64,
    ) {
        let (payment, amount, at) = (PaymentId(self.id()), Money::new(amount), self.now);
        let begin = BeginWithdrawal { user, payment, amount, at, key };
        self.submit(p, Record::BeginWithdrawal(begin), Some(deadline), Waiting::Request(request));
    }

    /// An admin decides about some withdrawal. False if there is none.
    pub fn verdict(&mut self, p: usize) -> bool {
        let rows = self.store.payments.iter().filter(|(_, row)| row.kind == PaymentKind::Withdrawal);
        let all: Vec<(PaymentId, UserId)> = rows.map(|(payment, row)| (*payment, row.user)).collect();
        let Some((payment, user)) = self.dice.one_of(&all) else { return false };
        let verdict =
            if self.dice.chance(500) { WithdrawalDecision::Approved } else { WithdrawalDecision::Rejected };
        let end = EndWithdrawal { user, payment, verdict, by: ADMIN, at: self.now, key: None };
        self.submit(p, Record::EndWithdrawal(end), None, Waiting::Nobody);
        true
    }

    /// Another program pays into a wallet, or out of it.
    pub fn pay_aside(&mut self) {
        let (user, amount) = (UserId(self.dice.between(1, PLAYERS)), Money::new(self.dice.between(1, 200)));
        let (payment, at) = (PaymentId(self.id()), self.now);
        if self.dice.chance(500) {
            self.write_aside(Record::BeginDeposit(BeginDeposit { user, payment, amount, at, key: None }));
            self.model.charged((id(payment.0), at.as_millisecond()), amount.minor());
            let (begun, charge) = (at, Charge::Paid);
            let end = EndCharge { held: None, user, payment, begun, charge, admin: None, at, key: None };
            self.write_aside(Record::EndCharge(end));
        } else {
            let begin = BeginWithdrawal { user, payment, amount, at, key: None };
            if !self.write_aside(Record::BeginWithdrawal(begin)) {
                return;
            }
            let (verdict, by) = (WithdrawalDecision::Approved, ADMIN);
            self.write_aside(Record::EndWithdrawal(EndWithdrawal { user, payment, verdict, by, at, key: None }));
        }
        self.coverage.saw(Seen::PaidAside);
    }

    /// A transaction of a writer without a cache. False if its record was refused.
    fn write_aside(&mut self, record: Record) -> bool {
        let mut cache = WriterCache::new(ticket_logs());
        let plan = cache.plan(std::iter::once(&record));
        let mut state = cache.open(&plan, self.store.read(&plan.missing), currency());
        let results = vec![state.apply(&record)];
        let taken = results[0].is_ok();
        let writer = self.store.new_writer(ANOTHER_PROGRAM).expect("it is never declared dead");
        let (expected, mark) = (cache.expected(&mut state), Mark { writer, number: 1 });
        let write = BatchWrite { mark, begun: true, state, expected, results, check_keys: true };
        let written = self.store.write(std::iter::once(&record), &write);
        written.expect("nothing happens between its read and its write");
        self.say(|| format!("direct write: {record:?}: {taken}"));
        self.committed(None);
        taken
    }
}
