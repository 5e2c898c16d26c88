//! Withdrawals: a player sets money aside, and some admin says, now and then again and again, what becomes of it.

use lottery::domain::id::{PaymentId, UserId};
use lottery::domain::money::Money;
use lottery::domain::payment::PaymentKind;
use lottery::domain::record::{BeginWithdrawal, EndWithdrawal, Key, Record, Verdict};

use super::World;
use crate::process::Waiting;

impl World {
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

    /// An admin's word on some withdrawal; false if there is none.
    pub fn verdict(&mut self, p: usize) -> bool {
        let rows = self.store.payments.iter().filter(|(_, row)| row.kind == PaymentKind::Withdrawal);
        let all: Vec<(PaymentId, UserId)> = rows.map(|(payment, row)| (*payment, row.user)).collect();
        let Some((payment, user)) = self.dice.one_of(&all) else { return false };
        let verdict = if self.dice.chance(500) { Verdict::Approved } else { Verdict::Rejected };
        let end = EndWithdrawal { user, payment, verdict, by: UserId(0), at: self.now, key: None };
        self.submit(p, Record::EndWithdrawal(end), None, Waiting::Nobody);
        true
    }
}
