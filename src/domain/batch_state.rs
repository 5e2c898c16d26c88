//! The state of one batch: the rows that its transaction has locked and read, the changes that each record makes
//! to them, one after the other, and the rows to write. This file knows no SQL: the persistence actor loads the
//! state and writes the rows.
//!
//! The draw actor has decided a record from its memory. The final decision is made here, from the rows of the
//! database: the wallet's balance, the payment's status, the draw's epoch and the stored keys.

mod charges;

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde_json::json;

use super::audit::{Action, AuditEntry, Subject};
use super::charge::{ChargeName, ChargeRow};
use super::game::Pick;
use super::id::{DrawId, PaymentId, TicketId, UserId};
use super::ledger::{AccountId, Ledger, LedgerError, Transfer, TransferKind};
use super::money::{Currency, Money};
use super::payment::{Method, Payment, PaymentKind, PaymentStatus};
use super::record::{
    AnswerKind, BeginWithdrawal, EndWithdrawal, Expire, Fence, GiveBack, HeldTicket, Key, KeyId, Order, Outcome,
    Pay, Record, Refusal, StoredAnswer, WithdrawalDecision,
};
use super::rows::{Changes, DrawSales, NewKey, PaymentRow, Release};
use super::ticket_log::{Receipt, TicketLogFault};

/// The failure code of a withdrawal that an admin rejected.
const REJECTED: &str = "rejected";

/// The state of one batch.
#[derive(Clone, Debug)]
pub struct BatchState {
    pub currency: Currency,
    pub ledger: Ledger,
    pub draws: HashMap<DrawId, DrawSales>,
    pub payments: HashMap<PaymentId, PaymentRow>,
    /// The draws that cannot sell, because the database does not have their ticket log. They are not in `draws`.
    pub faulty_logs: HashMap<DrawId, TicketLogFault>,
    /// All charges of the payments whose charges end in this batch, and those that begin in it.
    pub charges: BTreeMap<ChargeName, ChargeRow>,
    pub keys: HashMap<KeyId, StoredAnswer>,
    pub changes: Changes,
}

impl BatchState {
    /// Applies a record. An accepted record makes all its changes; a refused record changes nothing.
    pub fn apply(&mut self, record: &Record) -> Result<Outcome, Refusal> {
        match record {
            Record::Order(order) => self.order(order),
            Record::Pay(pay) => self.pay(pay),
            Record::GiveBack(give_back) => self.give_back(give_back),
            Record::Expire(expire) => self.expire(expire),
            Record::BeginCharge(begin) => self.begin_charge(begin),
            Record::EndCharge(end) => self.end_charge(end),
            Record::BeginDeposit(begin) => self.begin_deposit(begin),
            Record::BeginWithdrawal(begin) => self.begin_withdrawal(begin),
            Record::EndWithdrawal(end) => self.end_withdrawal(end),
        }
    }

    fn order(&mut self, order: &Order) -> Result<Outcome, Refusal> {
        self.check_key(order.key.as_ref())?;
        self.check_fence(order.fence)?;
        let lines = i16::try_from(order.lines.len()).map_err(|_| Refusal::Rejected)?;
        let amount = order.price.checked_mul(order.lines.len() as u64).ok_or(Refusal::Rejected)?;
        let paid = order.reserved_until.is_none();
        if paid {
            let wallet = AccountId::wallet(order.user);
            self.take(wallet, order.fence.draw, amount, order.payment, order.at)?;
        }

        // The order is accepted: nothing may refuse it below this line.
        let picks = order.lines.iter().map(|line| line.pick);
        let numbered = paid.then(|| self.number(order.fence.draw, order.payment, order.user, picks));
        let (first_number, receipt) = numbered.unzip();
        let row = PaymentRow {
            user: order.user,
            kind: PaymentKind::Purchase,
            status: if paid { PaymentStatus::Paid } else { PaymentStatus::Pending },
            amount,
            method: paid.then_some(Method::Wallet),
            failure_code: None,
            draw: Some(order.fence.draw),
            lines: Some(lines),
            reserved_until: order.reserved_until,
            created_at: order.at,
            updated_at: order.at,
        };
        self.changes.new_payments.insert(order.payment, row);
        self.keep(order.key.as_ref(), AnswerKind::Created, order.payment, None, order.at);
        Ok(Outcome::Ordered { first_number, receipt: receipt.flatten() })
    }

    fn pay(&mut self, pay: &Pay) -> Result<Outcome, Refusal> {
        self.check_key(pay.key.as_ref())?;
        self.check_fence(pay.fence)?;
        let row = self.payment(pay.payment, PaymentStatus::Pending)?;
        self.take(AccountId::wallet(pay.user), pay.fence.draw, row.amount, pay.payment, pay.at)?;

        // The payment is accepted: nothing may refuse it below this line.
        self.settle_purchase(pay.payment, Method::Wallet, pay.fence.draw, &pay.tickets, pay.at);
        let payment = self.view(pay.payment, pay.tickets.iter().map(|ticket| ticket.id).collect());
        self.keep(pay.key.as_ref(), AnswerKind::Changed, pay.payment, Some(payment.clone()), pay.at);
        Ok(Outcome::Payment(payment))
    }

    fn give_back(&mut self, it: &GiveBack) -> Result<Outcome, Refusal> {
        self.check_fence(it.fence)?;
        let row = self.payment(it.payment, PaymentStatus::Pending)?;
        // The remaining amount shows whether this was the last ticket. The draw cannot know it when it decides,
        // because the return of another ticket may be refused.
        let left =
            row.amount.checked_sub(it.price).filter(|left| *left >= Money::ZERO).ok_or(Refusal::Rejected)?;
        let release = if left == Money::ZERO {
            self.change(it.payment, it.at, |row| row.status = PaymentStatus::Expired);
            Release::Expired
        } else {
            self.change(it.payment, it.at, |row| row.amount = left);
            Release::Returned
        };
        self.changes.released_tickets.push((it.user, it.ticket, release));
        Ok(Outcome::Released)
    }

    fn expire(&mut self, it: &Expire) -> Result<Outcome, Refusal> {
        self.check_fence(it.fence)?;
        let row = self.payments.get(&it.payment).ok_or(Refusal::Rejected)?;
        match row.status {
            PaymentStatus::Pending => self.change(it.payment, it.at, |row| row.status = PaymentStatus::Expired),
            PaymentStatus::Paid => return Err(Refusal::NotPayable),
            // If a card is being charged, the charge decides about the payment; if the card paid too late, it
            // has decided.
            _ => {}
        }
        let released = it.tickets.iter().map(|ticket| (it.user, *ticket, Release::Expired));
        self.changes.released_tickets.extend(released);
        Ok(Outcome::Released)
    }

    fn begin_withdrawal(&mut self, it: &BeginWithdrawal) -> Result<Outcome, Refusal> {
        self.check_key(it.key.as_ref())?;
        self.transfer(Transfer {
            debit: AccountId::wallet(it.user),
            credit: AccountId::held(it.user),
            amount: it.amount,
            kind: TransferKind::Withdrawal,
            reference: Some(it.payment.0),
            at: it.at,
            balance_after: None,
        })?;

        // The amount is held: nothing may refuse the record below this line.
        self.begin(it.payment, PaymentRow::processing(it.user, PaymentKind::Withdrawal, it.amount, it.at));
        let payment = self.view(it.payment, Vec::new());
        self.keep(it.key.as_ref(), AnswerKind::Created, it.payment, Some(payment.clone()), it.at);
        Ok(Outcome::Payment(payment))
    }

    fn end_withdrawal(&mut self, it: &EndWithdrawal) -> Result<Outcome, Refusal> {
        self.check_key(it.key.as_ref())?;
        let row = self.payments.get(&it.payment).cloned().filter(|row| row.kind == PaymentKind::Withdrawal);
        let row = row.ok_or(Refusal::Rejected)?;
        if it.verdict == WithdrawalDecision::Approved && row.user == it.by.user {
            return Err(Refusal::OwnWithdrawal);
        }
        let (status, credit, action) = match it.verdict {
            WithdrawalDecision::Approved => (PaymentStatus::Paid, AccountId::CLEARING, Action::ApproveWithdrawal),
            WithdrawalDecision::Rejected => {
                (PaymentStatus::Failed, AccountId::wallet(it.user), Action::RejectWithdrawal)
            }
        };
        if row.status == PaymentStatus::Processing {
            self.transfer(Transfer {
                debit: AccountId::held(it.user),
                credit,
                amount: row.amount,
                kind: TransferKind::Withdrawal,
                reference: Some(it.payment.0),
                at: it.at,
                balance_after: None,
            })?;
            self.change(it.payment, it.at, |row| {
                row.status = status;
                row.failure_code = (it.verdict == WithdrawalDecision::Rejected).then(|| REJECTED.to_owned());
            });
            let detail = json!({ "user_id": it.user, "amount": row.amount });
            let (actor, subject) = (Some(it.by), Subject::Payment(it.payment));
            self.changes.audit_entries.push(AuditEntry::once(actor, action, subject, detail, it.at));
        } else if row.status != status {
            return Err(Refusal::Ended(row.status));
        }
        // Without an Idempotency-Key, too, a repeated decision gets the same answer.
        let payment = self.view(it.payment, Vec::new());
        self.keep(it.key.as_ref(), AnswerKind::Changed, it.payment, Some(payment.clone()), it.at);
        Ok(Outcome::Payment(payment))
    }

    /// Refuses a key that was used before: with the stored answer, or because it came with another request.
    fn check_key(&self, key: Option<&Key>) -> Result<(), Refusal> {
        let Some(key) = key else { return Ok(()) };
        match self.keys.get(&key.id) {
            None => Ok(()),
            Some(stored) => Err(key.refusal(stored.clone())),
        }
    }

    fn check_fence(&self, fence: Fence) -> Result<(), Refusal> {
        if let Some(fault) = self.faulty_logs.get(&fence.draw) {
            return Err((*fault).into());
        }
        let sales = self.draws.get(&fence.draw).ok_or(Refusal::StaleEpoch)?;
        if sales.epoch == fence.epoch { Ok(()) } else { Err(Refusal::StaleEpoch) }
    }

    /// The payment's row, if it has this status.
    fn payment(&self, id: PaymentId, status: PaymentStatus) -> Result<PaymentRow, Refusal> {
        let row = self.payments.get(&id).ok_or(Refusal::Rejected)?;
        if row.status == status { Ok(row.clone()) } else { Err(Refusal::NotPayable) }
    }

    /// Moves a purchase's amount into the draw's escrow.
    fn take(
        &mut self,
        debit: AccountId,
        draw: DrawId,
        amount: Money,
        payment: PaymentId,
        at: Timestamp,
    ) -> Result<(), Refusal> {
        let credit = AccountId::escrow(draw);
        self.transfer(Transfer {
            debit,
            credit,
            amount,
            kind: TransferKind::Purchase,
            reference: Some(payment.0),
            at,
            balance_after: None,
        })
    }

    fn transfer(&mut self, transfer: Transfer) -> Result<(), Refusal> {
        self.ledger.transfer(transfer).map_err(|error| match error {
            LedgerError::InsufficientFunds => Refusal::InsufficientFunds,
            LedgerError::UnknownAccount(_) | LedgerError::Invalid | LedgerError::Overflow => Refusal::Rejected,
        })
    }

    /// Gives tickets that are paid the next numbers of their draw, and appends them to its ticket log, if it has one.
    /// Returns the first number. `check_fence` must have found the draw.
    fn number(
        &mut self,
        draw: DrawId,
        payment: PaymentId,
        user: UserId,
        picks: impl ExactSizeIterator<Item = Pick>,
    ) -> (i64, Option<Receipt>) {
        let sales = self.draws.get_mut(&draw).expect("check_fence found the draw");
        let first = sales.sold + 1;
        sales.sold += picks.len() as i64;
        let logged = sales.log.as_mut().map(|log| log.append(first, payment, user, picks));
        let logged = logged.transpose().expect("a paid order has tickets, with numbers that are legal");
        (first, logged)
    }

    /// Adds a new payment; a later record, of this batch or another, decides how it ends.
    fn begin(&mut self, id: PaymentId, row: PaymentRow) {
        self.payments.insert(id, row.clone());
        self.changes.new_payments.insert(id, row);
    }

    /// Marks a reservation as paid and gives its tickets their numbers.
    fn settle_purchase(
        &mut self,
        id: PaymentId,
        method: Method,
        draw: DrawId,
        tickets: &[HeldTicket],
        at: Timestamp,
    ) {
        let user = self.payments[&id].user;
        let (first, _) = self.number(draw, id, user, tickets.iter().map(|ticket| ticket.pick));
        self.change(id, at, |row| {
            row.status = PaymentStatus::Paid;
            row.method = Some(method);
            row.failure_code = None;
        });
        let numbered = tickets.iter().zip(first..).map(|(ticket, number)| (user, ticket.id, number));
        self.changes.paid_tickets.extend(numbered);
    }

    /// Changes a loaded payment, here and in the rows to be written.
    fn change(&mut self, id: PaymentId, at: Timestamp, change: impl FnOnce(&mut PaymentRow)) {
        let row = self.payments.get_mut(&id).expect("the caller found the payment");
        change(row);
        // The time never goes back, even if the clock does, because it distinguishes the charges of a payment.
        row.updated_at = row.updated_at.max(at);
        match self.changes.new_payments.get_mut(&id) {
            Some(new) => *new = row.clone(),
            None => drop(self.changes.changed_payments.insert(id, row.clone())),
        }
    }

    /// Stores a successful answer under its key, for later records of this batch too.
    fn keep(
        &mut self,
        key: Option<&Key>,
        kind: AnswerKind,
        payment: PaymentId,
        answer: Option<Payment>,
        at: Timestamp,
    ) {
        let Some(key) = key else { return };
        let kept = StoredAnswer { request: key.request, kind, payment: Some(payment), answer: None };
        self.keys.insert(key.id, kept);
        self.changes.new_keys.push(NewKey { key: *key, kind, payment, answer, first: true, at });
    }

    /// Stores the end of a charge under its key; it replaces what may be stored there.
    fn keep_end(&mut self, key: Option<&Key>, kind: AnswerKind, payment: &Payment, at: Timestamp) {
        self.keep(key, kind, payment.id, Some(payment.clone()), at);
        if key.is_some()
            && let Some(kept) = self.changes.new_keys.last_mut()
        {
            kept.first = false;
        }
    }

    /// A loaded payment as the API shows it.
    fn view(&self, id: PaymentId, ticket_ids: Vec<TicketId>) -> Payment {
        let row = &self.payments[&id];
        Payment {
            id,
            kind: row.kind,
            status: row.status,
            amount: row.amount,
            currency: self.currency,
            method: row.method,
            ticket_ids,
            failure_code: row.failure_code.clone(),
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

#[cfg(test)]
mod tests;
