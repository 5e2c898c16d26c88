//! Card charges from beginning to end. A charge has three steps: the payment is committed as `processing`, the
//! provider is called, and the provider's answer is committed. An answer that comes later, from a webhook or from
//! `reconcile.rs`, ends the charge in the same way; the same answer twice has one effect. Decides nothing about
//! money: `domain::batch_state` does.

mod in_progress;
mod reconcile;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::actors::draws::{Draws, payment_result};
use crate::actors::messages::SaleError;
use crate::actors::persistence::Persistence;
use crate::clock::Clock;
use crate::db::read::payments::{self, ChargedPayment};
use crate::db::{Db, DbError};
use crate::domain::charge_end::{AfterAttempt, ChargeEndAttempts};
use crate::domain::id::{DrawId, PaymentId, UserId};
use crate::domain::money::{Currency, Money};
use crate::domain::payment::{Payment, PaymentStatus};
use crate::domain::record::{BeginDeposit, Charge, EndCharge, EndDeposit, Key, Record, Refusal};
use crate::payment::{CardToken, ChargeName, ChargeOrder, ChargeReport, NoticeError, Provider, ProviderNotice};

use in_progress::ChargesInProgress;

/// How long a webhook waits for the request that ordered the same charge. After that the provider must send it
/// again.
const TURN_WAIT: Duration = Duration::from_secs(10);
/// How often the end of a charge is sent to its draw, and the pause after a try that failed because the draw's
/// actor was lost or could not be loaded.
const CHARGE_TRIES: usize = 60;
const CHARGE_PAUSE: Duration = Duration::from_millis(500);

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
    draws: Draws,
    persistence: Persistence,
    db: Db,
    clock: Clock,
    currency: Currency,
    in_progress: ChargesInProgress,
}

impl Charges {
    pub fn new(
        provider: Arc<dyn Provider>,
        draws: Draws,
        persistence: Persistence,
        db: Db,
        clock: Clock,
        currency: Currency,
    ) -> Charges {
        Charges { provider, draws, persistence, db, clock, currency, in_progress: ChargesInProgress::default() }
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
        let order = ChargeOrder { name, amount: payment.amount, currency: payment.currency, card };
        let charge = verified(name, payment.amount, payment.currency, self.provider.charge(order).await);
        self.end_charge(draw, user, id, name.begun, charge, key).await
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
        let order = ChargeOrder { name, amount, currency: self.currency, card };
        let charge = verified(name, amount, self.currency, self.provider.charge(order).await);
        self.end_deposit(user, payment, charge, key).await
    }

    /// Writes the end of a charge for a reservation, and repeats it when the draw's actor is lost: the money has
    /// moved. If the draw holds no tickets for the payment any more, the money goes to the wallet. `begun` is the
    /// time at which [`Draws::begin_charge`] updated the payment.
    pub async fn end_charge(
        &self,
        draw: DrawId,
        user: UserId,
        payment: PaymentId,
        begun: Timestamp,
        charge: Charge,
        key: Option<Key>,
    ) -> Result<Payment, SaleError> {
        let mut attempts = ChargeEndAttempts::default();
        for _ in 0..CHARGE_TRIES {
            let at = self.clock.now();
            let end = EndCharge { held: None, user, payment, begun, charge: charge.clone(), at, key };
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

    /// Writes the end of a deposit's charge. It waits without a deadline: the money has moved.
    async fn end_deposit(
        &self,
        user: UserId,
        payment: PaymentId,
        charge: Charge,
        key: Option<Key>,
    ) -> Result<Payment, SaleError> {
        let end = EndDeposit { user, payment, charge, at: self.clock.now(), key };
        payment_result(self.persistence.write(Record::EndDeposit(end), None).await)
    }

    /// Handles what came to a provider's webhook. When it succeeds, the provider need not send it again.
    pub async fn notice(&self, provider: &str, signature: &str, body: &[u8]) -> Result<(), WebhookError> {
        if provider != self.provider.name() {
            return Err(WebhookError::NoSuchProvider);
        }
        let Some(notice) = self.provider.read(signature, body, self.clock.now())? else { return Ok(()) };
        // The request that ordered the charge must end it, because it stores the answer under its idempotency key.
        let turn = self.in_progress.left(notice.name.payment);
        if tokio::time::timeout(TURN_WAIT, turn).await.is_err() {
            return Err(SaleError::Refused(Refusal::Overloaded).into());
        }
        let ending = tokio::time::timeout_at(self.draws.outcome_deadline().into(), self.end(&notice));
        ending.await.unwrap_or(Err(SaleError::OutcomeUnknown.into()))
    }

    /// Ends a charge as its provider says. A charge that has ended before does not change.
    async fn end(&self, ProviderNotice { name, report }: &ProviderNotice) -> Result<(), WebhookError> {
        let Some(found) = payments::charged(&self.db, name.payment).await? else {
            tracing::warn!(charge = %name, "a provider reports a charge for a payment that no card was charged for");
            return Ok(());
        };
        let charge = verified(*name, found.amount, self.currency, report.clone());
        if found.status != PaymentStatus::Processing || found.updated_at != name.begun {
            report_late(&found, *name, &charge);
            return Ok(());
        }
        if charge == Charge::Processing {
            return Ok(());
        }
        let ended = match found.draw {
            Some(draw) => self.end_charge(draw, found.user, name.payment, name.begun, charge, None).await,
            None => self.end_deposit(found.user, name.payment, charge, None).await,
        };
        match ended {
            Ok(payment) => tracing::info!(charge = %name, status = payment.status.as_str(), "a charge has ended"),
            // The same notice came twice at the same time.
            Err(SaleError::Refused(Refusal::NotPayable)) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// The result of a charge, if its money is the payment's. Other money is never credited, and never called declined:
/// the charge stays in progress, and an admin must decide.
fn verified(name: ChargeName, amount: Money, currency: Currency, report: ChargeReport) -> Charge {
    report.verify(amount, currency).unwrap_or_else(|difference| {
        tracing::error!(charge = %name, %difference, "the payment provider reports other money than the payment's; nothing is credited");
        Charge::Processing
    })
}

/// Logs a charge that succeeded although its payment has ended without the money. A repeated notice is not logged.
fn report_late(found: &ChargedPayment, name: ChargeName, charge: &Charge) {
    let credited = matches!(found.status, PaymentStatus::Paid | PaymentStatus::Refunded);
    if *charge == Charge::Paid && !credited {
        tracing::error!(charge = %name, status = found.status.as_str(), "a card was charged for a payment that has ended without the money");
    }
}
