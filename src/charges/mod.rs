//! Card charges from beginning to end. A charge has three steps: the payment is committed as `processing`, the
//! provider is called, and the provider's answer is committed. An answer that comes later, from a webhook or from
//! `reconcile.rs`, ends the charge in the same way, and so does an admin; the same answer twice has one effect.
//! Decides nothing about money: `domain::batch_state` does.

mod in_progress;
mod reconcile;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::actors::draws::{Draws, payment_result};
use crate::actors::messages::SaleError;
use crate::actors::persistence::Persistence;
use crate::clock::Clock;
use crate::db::read::charges::{self, PaymentCharge};
use crate::db::read::payments;
use crate::db::{Db, DbError};
use crate::domain::audit::AuditActor;
use crate::domain::charge::{ChargeIssue, ChargeName, ChargeOutcome};
use crate::domain::charge_end::{AfterAttempt, ChargeEndAttempts};
use crate::domain::id::{DrawId, PaymentId, UserId};
use crate::domain::money::{Currency, Money};
use crate::domain::payment::Payment;
use crate::domain::record::{AdminDecision, BeginDeposit, Charge, EndCharge, Key, Record, Refusal};
use crate::payment::{
    CardToken, ChargeOrder, ChargeReport, MayAct, NoticeError, Provider, ProviderNotice, Reversal,
};

use in_progress::ChargesInProgress;

/// How long a webhook waits for the request that ordered the same charge. After that the provider must send it
/// again.
const TURN_WAIT: Duration = Duration::from_secs(10);
/// How often the end of a charge is sent to its draw, and the pause after a try that failed because the draw's
/// actor was lost or could not be loaded.
const CHARGE_TRIES: usize = 60;
const CHARGE_PAUSE: Duration = Duration::from_millis(500);
/// How long a charge that was begun waits for a lease that is renewed late, and how often it looks. Otherwise it would wait
/// for the next round of the reconciliation, although the client and the card are there.
const LEASE_WAIT: Duration = Duration::from_secs(10);
const LEASE_LOOK: Duration = Duration::from_millis(20);

/// The failure code of a charge that an admin ended without money.
const ENDED_BY_ADMIN: &str = "ended_by_admin";

/// Why an admin could not end a charge.
#[derive(Debug, thiserror::Error)]
pub enum EndError {
    #[error("there is no such payment")]
    NoSuchPayment,
    #[error("no card was charged for this payment, or not at that time")]
    NoSuchCharge,
    #[error(transparent)]
    Sale(#[from] SaleError),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Why a provider's webhook was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    #[error("there is no such payment provider")]
    NoSuchProvider,
    #[error(transparent)]
    Notice(#[from] NoticeError),
    #[error(transparent)]
    Sale(#[from] SaleError),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Charges cards. Clones share the same state.
#[derive(Clone)]
pub struct Charges {
    provider: Arc<dyn Provider>,
    may_act: MayAct,
    draws: Draws,
    persistence: Persistence,
    db: Db,
    clock: Clock,
    currency: Currency,
    in_progress: ChargesInProgress,
    /// Whether another node ends the charges.
    handed_over: watch::Sender<bool>,
    /// How many charges wait for an admin, as counted last.
    waiting: Arc<AtomicI64>,
}

impl Charges {
    pub fn new(
        provider: Arc<dyn Provider>,
        may_act: MayAct,
        draws: Draws,
        persistence: Persistence,
        db: Db,
        clock: Clock,
        currency: Currency,
    ) -> Charges {
        let (in_progress, handed_over, waiting) = <_>::default();
        Charges { provider, may_act, draws, persistence, db, clock, currency, in_progress, handed_over, waiting }
    }

    /// This node stops before the provider has answered: the next one asks it for the charges, and the requests that wait
    /// are told now that their outcome is unknown.
    pub fn hand_over(&self) {
        self.handed_over.send_replace(true);
    }

    /// How many charges wait for an admin. It is counted once a minute.
    pub fn waiting(&self) -> i64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether the provider can know this card.
    pub fn knows(&self, card: &CardToken) -> bool {
        self.provider.knows(card)
    }

    /// Charges a card for a reservation. The caller must run it to its end, even if the client hangs up.
    pub async fn charge(
        &self,
        draw: DrawId,
        user: UserId,
        id: PaymentId,
        card: CardToken,
        key: Option<Key>,
    ) -> Result<Payment, SaleError> {
        let _guard = self.in_progress.enter(id);
        let payment = self.draws.begin_charge(draw, user, id, key).await?;
        let name = ChargeName { payment: id, begun: payment.updated_at };
        let charge = self.call_provider(name, payment.amount, payment.currency, card).await?;
        self.end_charge(Some(draw), user, name, charge, None, key).await
    }

    /// Charges a card and puts the money into its owner's wallet. The caller must run it to its end, even if the
    /// client hangs up.
    pub async fn deposit(
        &self,
        user: UserId,
        amount: Money,
        card: CardToken,
        key: Option<Key>,
    ) -> Result<Payment, SaleError> {
        let at = self.clock.now();
        let payment = PaymentId(self.clock.ids().next(at));
        let _guard = self.in_progress.enter(payment);
        let begin = BeginDeposit { user, payment, amount, at, key };
        let deadline = Some(self.persistence.deadline());
        payment_result(self.persistence.write(Record::BeginDeposit(begin), deadline).await)?;
        let name = ChargeName { payment, begun: at };
        let charge = self.call_provider(name, amount, self.currency, card).await?;
        self.end_charge(None, user, name, charge, None, key).await
    }

    /// Orders a charge that was committed as begun. If another process may have taken over meanwhile, the provider is
    /// not called: that process finds the charge and ends it.
    async fn call_provider(
        &self,
        name: ChargeName,
        amount: Money,
        currency: Currency,
        card: CardToken,
    ) -> Result<Charge, SaleError> {
        let order = ChargeOrder { name, amount, currency, card, may_act: self.may_act.clone() };
        let mut handed_over = self.handed_over.subscribe();
        let charge = async {
            if self.may_act_soon().await {
                return Ok(verified(name, amount, currency, self.provider.charge(order).await));
            }
            tracing::warn!(charge = %name, "a card is not charged, because this service may not act any more");
            Err(SaleError::OutcomeUnknown)
        };
        tokio::select! {
            charge = charge => charge,
            // This cannot fail: the charges hold the sender.
            _ = handed_over.wait_for(|it| *it) => {
                tracing::warn!(charge = %name, "the service stops before the payment provider's answer: the next one asks for it");
                Err(SaleError::OutcomeUnknown)
            }
        }
    }

    /// Waits until the service may act, if it may not at the moment. That the lease is held again shows that no other node
    /// was active meanwhile, so nobody else has ended the charge.
    async fn may_act_soon(&self) -> bool {
        let held = async {
            while !(self.may_act)() {
                tokio::time::sleep(LEASE_LOOK).await;
            }
        };
        tokio::time::timeout(LEASE_WAIT, held).await.is_ok()
    }

    /// Writes the end of a charge. `draw`: the draw that may hold tickets for it; then the write is repeated when the
    /// draw's actor is lost, because the money has moved. If no draw holds tickets, the money goes to the wallet.
    pub async fn end_charge(
        &self,
        draw: Option<DrawId>,
        user: UserId,
        name: ChargeName,
        charge: Charge,
        admin: Option<AdminDecision>,
        key: Option<Key>,
    ) -> Result<Payment, SaleError> {
        let (admin, ChargeName { payment, begun }) = (admin.map(Box::new), name);
        let end = |at| {
            let (charge, admin) = (charge.clone(), admin.clone());
            EndCharge { held: None, user, payment, begun, charge, admin, at, key }
        };
        let Some(draw) = draw else {
            // It waits without a deadline: the money has moved.
            return payment_result(self.persistence.write(Record::EndCharge(end(self.clock.now())), None).await);
        };
        let mut attempts = ChargeEndAttempts::default();
        for _ in 0..CHARGE_TRIES {
            let end = end(self.clock.now());
            let result = self.draws.end_charge(draw, end.clone()).await;
            match attempts.after(&result, key.is_some()) {
                AfterAttempt::Answer => return result,
                AfterAttempt::AnswerUnknown => break,
                AfterAttempt::WriteWithoutDraw => {
                    let result = payment_result(self.persistence.write(Record::EndCharge(end), None).await);
                    let unknown = attempts.after(&result, key.is_some()) == AfterAttempt::AnswerUnknown;
                    return if unknown { Err(SaleError::OutcomeUnknown) } else { result };
                }
                AfterAttempt::TryAgain => tokio::time::sleep(CHARGE_PAUSE).await,
            }
        }
        // The card was charged, so the answer must not say that nothing was taken.
        Err(SaleError::OutcomeUnknown)
    }

    /// Handles what came to a provider's webhook. When it succeeds, the provider need not send it again. Returns the user
    /// whose card was declined, if that is what it says and was not known.
    pub async fn notice(
        &self,
        provider: &str,
        signature: &str,
        body: &[u8],
    ) -> Result<Option<UserId>, WebhookError> {
        if provider != self.provider.name() {
            return Err(WebhookError::NoSuchProvider);
        }
        match self.provider.read(signature, body, self.clock.now()).await? {
            None => Ok(None),
            Some(ProviderNotice::Reversal(name, reversal)) => {
                self.record_reversal(name, &reversal).await?;
                Ok(None)
            }
            Some(ProviderNotice::Charge(name, report)) => {
                self.turn(name.payment).await?;
                let ending = self.end(name, report);
                let ending = tokio::time::timeout_at(self.draws.outcome_deadline().into(), ending);
                ending.await.unwrap_or(Err(SaleError::OutcomeUnknown.into()))
            }
        }
    }

    /// Waits for the request that charges a card for this payment. It must end the charge, because it stores the
    /// answer under its idempotency key.
    async fn turn(&self, payment: PaymentId) -> Result<(), SaleError> {
        let turn = self.in_progress.left(payment);
        tokio::time::timeout(TURN_WAIT, turn).await.map_err(|_| SaleError::Refused(Refusal::Overloaded))
    }

    /// Records a dispute or a refund, for admins. No money of the wallet moves: what the provider takes back or the
    /// operator gives back there is not a decision of the player, who may have spent the money on tickets already.
    async fn record_reversal(&self, name: ChargeName, reversal: &Reversal) -> Result<(), DbError> {
        tracing::warn!(charge = %name, ?reversal, "a charge is disputed or refunded at the payment provider");
        if !self.write_reversal(name, reversal).await? {
            tracing::warn!(charge = %name, "a provider reports a dispute or a refund of a charge that is not known");
        }
        Ok(())
    }

    async fn write_reversal(&self, name: ChargeName, reversal: &Reversal) -> Result<bool, DbError> {
        match reversal {
            Reversal::Dispute { status, at } => self.persistence.record_dispute(name, status, *at).await,
            Reversal::Refund(refunded) => self.persistence.record_refund(name, *refunded).await,
        }
    }

    /// Ends a charge as its provider says. What it said before has no second effect. Returns the user whose card this
    /// declined.
    async fn end(&self, name: ChargeName, report: ChargeReport) -> Result<Option<UserId>, WebhookError> {
        let Some(found) = charges::one(&self.db, name).await? else {
            tracing::warn!(charge = %name, "a provider reports a charge for a payment that no card was charged for");
            return Ok(None);
        };
        let charge = verified(name, found.amount, self.currency, report);
        if self.is_known(&found, &charge) {
            return Ok(None);
        }
        let declined = matches!(charge, Charge::Declined(_)).then_some(found.user);
        // Only the charge that is under way concerns the draw.
        let draw = found.draw.filter(|_| found.is_current);
        match self.end_charge(draw, found.user, name, charge, None, None).await {
            Ok(payment) if found.is_current => {
                tracing::info!(charge = %name, status = payment.status.as_str(), "a charge has ended");
            }
            Ok(payment) => {
                let status = payment.status.as_str();
                tracing::warn!(charge = %name, status, "a card was charged too late for its payment: the money is in the wallet, or the charge waits for an admin");
            }
            // The same notice came twice at the same time.
            Err(SaleError::Refused(Refusal::NotPayable)) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        Ok(declined)
    }

    /// Whether a result of the provider changes nothing. The writer decides the same again; this saves it the work.
    fn is_known(&self, found: &PaymentCharge, charge: &Charge) -> bool {
        match charge {
            Charge::Processing => true,
            Charge::Paid => found.outcome == Some(ChargeOutcome::Paid),
            Charge::Declined(_) if found.outcome == Some(ChargeOutcome::Paid) => {
                tracing::error!(charge = %found.name, "the payment provider reports that a charge failed whose money was booked");
                true
            }
            Charge::Declined(_) => !found.is_current,
            Charge::Unresolved(issue) => {
                found.outcome == Some(ChargeOutcome::Paid)
                    || found.issue == Some(*issue)
                    || *issue == ChargeIssue::NotFound && !found.is_current
            }
        }
    }

    /// An admin ends a charge that the provider cannot tell of. `begun` names the charge; without it, the charge is
    /// the one that waits for an admin, or else the payment's last one.
    pub async fn end_by_admin(
        &self,
        payment: PaymentId,
        begun: Option<Timestamp>,
        outcome: ChargeOutcome,
        (by, note): (AuditActor, String),
        key: Option<Key>,
    ) -> Result<Payment, EndError> {
        self.turn(payment).await?;
        let owned = payments::owned(&self.db, self.currency, payment).await?.ok_or(EndError::NoSuchPayment)?;
        let charges = charges::of_payment(&self.db, payment).await?;
        let decision = AdminDecision { by, note, tickets: owned.payment.ticket_ids };
        let found = match begun {
            Some(begun) => charges.iter().find(|charge| charge.name.begun == begun),
            None => charges.iter().find(|charge| charge.issue.is_some()).or(charges.last()),
        };
        let found = found.ok_or(EndError::NoSuchCharge)?;
        let charge = match outcome {
            ChargeOutcome::Paid => Charge::Paid,
            ChargeOutcome::Failed => Charge::Declined(ENDED_BY_ADMIN.to_owned()),
        };
        let draw = found.draw.filter(|_| found.is_current);
        Ok(self.end_charge(draw, found.user, found.name, charge, Some(decision), key).await?)
    }
}

/// The result of a charge, if its money is the payment's. Other money is never credited: an admin must decide. What
/// took no money is another charge's result.
fn verified(name: ChargeName, amount: Money, currency: Currency, report: ChargeReport) -> Charge {
    let is_paid = report.charge == Charge::Paid;
    report.verify(amount, currency).unwrap_or_else(|difference| {
        tracing::error!(charge = %name, %difference, "the payment provider reports other money than the payment's; nothing is credited");
        if is_paid { Charge::Unresolved(ChargeIssue::OtherMoney) } else { Charge::Processing }
    })
}
