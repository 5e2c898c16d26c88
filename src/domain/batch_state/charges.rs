//! How charges of cards change the state of a batch. Each charge has a row. Whatever happened to its payment
//! meanwhile, the money that the provider took for it is booked once: for the payment, or, if that is too late, into
//! the wallet.

use jiff::SignedDuration;
use serde_json::json;

use super::BatchState;
use crate::domain::audit::{Action, AuditEntry, Subject};
use crate::domain::charge::{ChargeEnd, ChargeIssue, ChargeName, ChargeOutcome, ChargeRow};
use crate::domain::id::{PaymentId, TicketId};
use crate::domain::ledger::{AccountId, Transfer, TransferKind};
use crate::domain::payment::{Method, Payment, PaymentKind, PaymentStatus};
use crate::domain::record::{
    AnswerKind, BeginCharge, BeginDeposit, Charge, EndCharge, HeldTickets, Outcome, Refusal,
};
use crate::domain::rows::PaymentRow;

impl BatchState {
    pub(super) fn begin_charge(&mut self, it: &BeginCharge) -> Result<Outcome, Refusal> {
        self.check_key(it.key.as_ref())?;
        self.check_fence(it.fence)?;
        let row = self.payment(it.payment, PaymentStatus::Pending)?;
        // `updated_at` identifies the charge: a second charge of the same payment has another time, even in
        // the same millisecond.
        let again = row.method == Some(Method::Card);
        let at = if again { it.at.max(row.updated_at + SignedDuration::from_millis(1)) } else { it.at };
        self.change(it.payment, at, |row| {
            row.status = PaymentStatus::Processing;
            row.method = Some(Method::Card);
            row.failure_code = None;
        });
        self.open_charge(it.payment);
        Ok(Outcome::Payment(self.view(it.payment, it.tickets.clone())))
    }

    pub(super) fn begin_deposit(&mut self, it: &BeginDeposit) -> Result<Outcome, Refusal> {
        self.check_key(it.key.as_ref())?;
        self.begin(it.payment, PaymentRow::processing(it.user, PaymentKind::Deposit, it.amount, it.at));
        self.open_charge(it.payment);
        self.keep(it.key.as_ref(), AnswerKind::Created, it.payment, None, it.at);
        Ok(Outcome::Payment(self.view(it.payment, Vec::new())))
    }

    /// Adds the row of the charge that has begun with the payment's last change.
    fn open_charge(&mut self, payment: PaymentId) {
        let row = &self.payments[&payment];
        let (name, charge) =
            (ChargeName { payment, begun: row.updated_at }, ChargeRow::open(row.user, row.amount));
        self.write_charge(name, charge);
    }

    pub(super) fn end_charge(&mut self, it: &EndCharge) -> Result<Outcome, Refusal> {
        if it.admin.is_some() {
            self.check_key(it.key.as_ref())?;
        }
        if let Some(held) = &it.held {
            self.check_fence(held.fence)?;
        }
        let payment = self.payments.get(&it.payment).cloned().ok_or(Refusal::Rejected)?;
        if it.admin.as_ref().is_some_and(|admin| admin.by.user == payment.user) {
            return Err(Refusal::OwnPayment);
        }
        let is_current = payment.status == PaymentStatus::Processing
            && payment.method == Some(Method::Card)
            && payment.updated_at == it.begun;
        let charge = self.charge_of(it, &payment)?;
        if it.admin.is_some() && charge.end.is_some() && charge.issue.is_none() {
            return self.end_again(it, &charge);
        }
        match &it.charge {
            Charge::Paid if charge.outcome() == Some(ChargeOutcome::Paid) => self.nothing_to_end(it, &payment),
            Charge::Paid if is_current => self.charge_paid(it, &payment, charge),
            Charge::Paid if it.admin.is_none() && self.may_be_booked(it.payment) => {
                self.wait_for_admin(it, &payment, charge, ChargeIssue::Unclear)
            }
            Charge::Paid => self.paid_late(it, charge),
            Charge::Declined(code) if is_current => {
                let code = code.clone();
                Ok(self.charge_declined(it, &payment, charge, code))
            }
            // An admin decides that a charge which waits has brought no money.
            Charge::Declined(code) if it.admin.is_some() => {
                let code = code.clone();
                Ok(self.close_issue(it, charge, code))
            }
            Charge::Processing if is_current => Ok(self.answer_held(it)),
            Charge::Declined(_) | Charge::Processing => self.nothing_to_end(it, &payment),
            Charge::Unresolved(issue) => self.wait_for_admin(it, &payment, charge, *issue),
        }
    }

    /// The result changes nothing. The request that charges a deposit is answered with the payment as it is, because
    /// the deposit was made when it began.
    fn nothing_to_end(&mut self, it: &EndCharge, payment: &PaymentRow) -> Result<Outcome, Refusal> {
        match payment.kind {
            PaymentKind::Deposit => Ok(self.answer_held(it)),
            PaymentKind::Purchase | PaymentKind::Withdrawal => Err(Refusal::NotPayable),
        }
    }

    /// The row of the charge. A charge without a row gets one now, if it can be of this payment: it ended before
    /// charges had rows, or the database was restored from a backup that is older than the charge.
    fn charge_of(&self, it: &EndCharge, payment: &PaymentRow) -> Result<ChargeRow, Refusal> {
        if let Some(row) = self.charges.get(&it.name()) {
            return Ok(row.clone());
        }
        let is_possible = match payment.kind {
            PaymentKind::Purchase => payment.reserved_until.is_some() && it.begun >= payment.created_at,
            PaymentKind::Deposit => it.begun == payment.created_at,
            PaymentKind::Withdrawal => false,
        };
        if is_possible { Ok(ChargeRow::open(payment.user, payment.amount)) } else { Err(Refusal::NotPayable) }
    }

    /// Whether the payment was paid by a card before charges had rows: the success may be the one that paid it.
    fn may_be_booked(&self, payment: PaymentId) -> bool {
        let mut rows = self.charges.iter().filter(|(name, _)| name.payment == payment);
        rows.any(|(_, row)| !row.begun_known && row.outcome() == Some(ChargeOutcome::Paid))
    }

    /// An admin ends a charge that has ended: with the same outcome nothing is left to do.
    fn end_again(&mut self, it: &EndCharge, charge: &ChargeRow) -> Result<Outcome, Refusal> {
        let wanted = if it.charge == Charge::Paid { ChargeOutcome::Paid } else { ChargeOutcome::Failed };
        match charge.outcome() {
            Some(outcome) if outcome != wanted => Err(Refusal::ChargeEnded(outcome)),
            _ => Ok(self.answer_held(it)),
        }
    }

    /// The charge that its payment waits for has succeeded.
    fn charge_paid(
        &mut self,
        it: &EndCharge,
        payment: &PaymentRow,
        charge: ChargeRow,
    ) -> Result<Outcome, Refusal> {
        if let (PaymentKind::Purchase, Some(HeldTickets { fence, tickets })) = (payment.kind, &it.held) {
            self.take(AccountId::CLEARING, fence.draw, charge.amount, it.payment, it.at)?;
            self.settle_purchase(it.payment, Method::Card, fence.draw, tickets, it.at);
            self.charge_ended(it, charge, ChargeOutcome::Paid, false, None);
            return Ok(self.answer_held(it));
        }
        let is_late = payment.kind == PaymentKind::Purchase;
        self.credit_card(it, &charge)?;
        let status = if is_late { PaymentStatus::Refunded } else { PaymentStatus::Paid };
        self.change(it.payment, it.at, |row| row.status = status);
        self.charge_ended(it, charge, ChargeOutcome::Paid, is_late, None);
        let payment = self.answer_end(it, &[]);
        Ok(if is_late { Outcome::LateCredit(payment) } else { Outcome::Payment(payment) })
    }

    /// A charge has succeeded although its payment does not wait for it any more. The payment stays as it is.
    fn paid_late(&mut self, it: &EndCharge, charge: ChargeRow) -> Result<Outcome, Refusal> {
        self.credit_card(it, &charge)?;
        self.charge_ended(it, charge, ChargeOutcome::Paid, true, None);
        Ok(Outcome::LateCredit(self.answer_end(it, &[])))
    }

    fn charge_declined(
        &mut self,
        it: &EndCharge,
        payment: &PaymentRow,
        charge: ChargeRow,
        code: String,
    ) -> Outcome {
        let status = match (payment.kind, &it.held) {
            (PaymentKind::Deposit, _) => PaymentStatus::Failed,
            (_, Some(_)) => PaymentStatus::Pending,
            (_, None) => PaymentStatus::Expired,
        };
        self.change(it.payment, it.at, |row| {
            row.status = status;
            row.failure_code = Some(code.clone());
        });
        self.charge_ended(it, charge, ChargeOutcome::Failed, false, Some(code));
        self.answer_held(it)
    }

    /// An admin ends a charge that waits, without money, when its payment does not wait for it any more.
    fn close_issue(&mut self, it: &EndCharge, charge: ChargeRow, code: String) -> Outcome {
        self.charge_ended(it, charge, ChargeOutcome::Failed, false, Some(code));
        self.answer_held(it)
    }

    /// From now on the charge waits for an admin. Its payment stays as it is.
    fn wait_for_admin(
        &mut self,
        it: &EndCharge,
        payment: &PaymentRow,
        charge: ChargeRow,
        issue: ChargeIssue,
    ) -> Result<Outcome, Refusal> {
        // A charge that has ended needs an admin only if there is money that nobody booked.
        let is_settled = match issue {
            ChargeIssue::NotFound => charge.end.is_some(),
            ChargeIssue::OtherMoney | ChargeIssue::Unclear => charge.outcome() == Some(ChargeOutcome::Paid),
        };
        if is_settled || charge.issue == Some(issue) {
            return self.nothing_to_end(it, payment);
        }
        self.write_charge(it.name(), ChargeRow { issue: Some(issue), ..charge });
        Ok(self.answer_held(it))
    }

    /// The answer about a payment that has the tickets which its draw held for it.
    fn answer_held(&mut self, it: &EndCharge) -> Outcome {
        let tickets: Vec<TicketId> =
            it.held.iter().flat_map(|held| held.tickets.iter().map(|ticket| ticket.id)).collect();
        Outcome::Payment(self.answer_end(it, &tickets))
    }

    /// Writes the end of a charge, and who decided it.
    fn charge_ended(
        &mut self,
        it: &EndCharge,
        charge: ChargeRow,
        outcome: ChargeOutcome,
        late: bool,
        failure_code: Option<String>,
    ) {
        if let Some(admin) = &it.admin {
            let detail = json!({
                "user_id": charge.user, "amount": charge.amount, "begun_at": it.begun, "outcome": outcome,
                "late": late, "note": admin.note,
            });
            let (actor, subject) = (Some(admin.by), Subject::Payment(it.payment));
            self.changes.audit_entries.push(AuditEntry::once(actor, Action::EndCharge, subject, detail, it.at));
        }
        let end = ChargeEnd { outcome, late, failure_code, at: it.at };
        self.write_charge(it.name(), ChargeRow { end: Some(end), issue: None, ..charge });
    }

    fn write_charge(&mut self, name: ChargeName, row: ChargeRow) {
        self.charges.insert(name, row.clone());
        self.changes.charges.insert(name, row);
    }

    /// Moves the amount that a card paid into the wallet.
    fn credit_card(&mut self, it: &EndCharge, charge: &ChargeRow) -> Result<(), Refusal> {
        self.transfer(Transfer {
            debit: AccountId::CLEARING,
            credit: AccountId::wallet(charge.user),
            amount: charge.amount,
            kind: TransferKind::Deposit,
            reference: Some(it.payment.0),
            at: it.at,
            balance_after: None,
        })
    }

    /// The payment after the end of a charge, stored under the key of the request that charges it.
    fn answer_end(&mut self, it: &EndCharge, tickets: &[TicketId]) -> Payment {
        let of_admin = it.admin.iter().flat_map(|admin| &admin.tickets);
        let tickets = if tickets.is_empty() { of_admin.copied().collect() } else { tickets.to_vec() };
        let payment = self.view(it.payment, tickets);
        let of_deposit = payment.kind == PaymentKind::Deposit;
        let kind = if of_deposit { AnswerKind::Created } else { AnswerKind::Changed };
        match it.admin {
            Some(_) => self.keep(it.key.as_ref(), AnswerKind::Changed, it.payment, Some(payment.clone()), it.at),
            None => self.keep_end(it.key.as_ref(), kind, &payment, it.at),
        }
        payment
    }
}
