//! Between the draws and http: card payments from their beginning to their end. "Processing" is committed, then the
//! provider is called, then what it said is committed. What it says later, by itself or when it is asked, ends a
//! charge in the same way, and whatever is said twice is true once. Decides nothing: the books do.

mod in_progress;
mod reconcile;

use std::sync::Arc;
use std::time::Duration;

use crate::actors::draws::{Draws, payment_result};
use crate::actors::messages::SaleError;
use crate::actors::persistence::Persistence;
use crate::clock::Clock;
use crate::db::read::payments::{self, ChargedPayment};
use crate::db::{Db, DbError};
use crate::domain::id::{DrawId, PaymentId, UserId};
use crate::domain::money::{Currency, Money};
use crate::domain::payment::{Payment, PaymentStatus};
use crate::domain::record::{BeginDeposit, Charge, EndDeposit, Key, Record, Refusal};
use crate::payment::{CardToken, ChargeName, ChargeOrder, NoticeError, Provider, ProviderNotice};

use in_progress::ChargesInProgress;

/// How long a provider that is quicker than our own hearing of it waits for its turn; then it is to tell again.
const TURN_WAIT: Duration = Duration::from_secs(10);

/// Why what a provider sent was not taken in.
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

/// Takes card payments. Clones are the same one.
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

    /// Whether this may be a card at all.
    pub fn knows(&self, card: &CardToken) -> bool {
        self.provider.knows(card)
    }

    /// Charges a card for a reservation. It must be seen to its end, whoever waits for it.
    pub async fn charge(
        &self,
        draw: DrawId,
        user: UserId,
        id: PaymentId,
        card: CardToken,
        key: Option<Key>,
    ) -> Result<Payment, SaleError> {
        let _place = self.in_progress.enter(id);
        let payment = self.draws.begin_charge(draw, user, id, key).await?;
        let name = ChargeName { payment: id, begun: payment.updated_at };
        let order = ChargeOrder { name, amount: payment.amount, currency: payment.currency, card };
        let charge = self.provider.charge(order).await;
        self.draws.end_charge(draw, user, id, name.begun, charge, key).await
    }

    /// Charges a card for its owner's wallet. It must be seen to its end, whoever waits for it.
    pub async fn deposit(
        &self,
        user: UserId,
        amount: Money,
        card: CardToken,
        key: Option<Key>,
    ) -> Result<Payment, SaleError> {
        let at = self.clock.now();
        let payment = PaymentId(self.clock.ids().next(at));
        let _place = self.in_progress.enter(payment);
        let begin = BeginDeposit { user, payment, amount, at, key };
        let deadline = Some(self.persistence.deadline());
        payment_result(self.persistence.write(Record::BeginDeposit(begin), deadline).await)?;
        let name = ChargeName { payment, begun: at };
        let charge = self.provider.charge(ChargeOrder { name, amount, currency: self.currency, card }).await;
        self.end_deposit(user, payment, charge, key).await
    }

    /// The money has moved: this waits for as long as it takes.
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

    /// Takes in what came to a provider's webhook. Once this has returned, it need not be notice again.
    pub async fn notice(&self, provider: &str, signature: &str, body: &[u8]) -> Result<(), WebhookError> {
        if provider != self.provider.name() {
            return Err(WebhookError::NoSuchProvider);
        }
        let Some(notice) = self.provider.read(signature, body, self.clock.now())? else { return Ok(()) };
        // Whoever ordered the charge hears of it first: the answer is kept under the order's key.
        let turn = self.in_progress.left(notice.name.payment);
        if tokio::time::timeout(TURN_WAIT, turn).await.is_err() {
            return Err(SaleError::Refused(Refusal::Overloaded).into());
        }
        let ending = tokio::time::timeout_at(self.draws.outcome_deadline().into(), self.end(&notice));
        ending.await.unwrap_or(Err(SaleError::OutcomeUnknown.into()))
    }

    /// Ends a charge as its provider says. One that has ended before stays as it is.
    async fn end(&self, ProviderNotice { name, charge }: &ProviderNotice) -> Result<(), WebhookError> {
        let Some(found) = payments::charged(&self.db, name.payment).await? else {
            tracing::warn!(charge = %name, "a provider tells of a payment that no card was charged for");
            return Ok(());
        };
        if found.status != PaymentStatus::Processing || found.updated_at != name.begun {
            report_late(&found, *name, charge);
            return Ok(());
        }
        if *charge == Charge::Processing {
            return Ok(());
        }
        let ended = match found.draw {
            Some(draw) => {
                self.draws.end_charge(draw, found.user, name.payment, name.begun, charge.clone(), None).await
            }
            None => self.end_deposit(found.user, name.payment, charge.clone(), None).await,
        };
        match ended {
            Ok(payment) => tracing::info!(charge = %name, status = payment.status.as_str(), "a charge has ended"),
            // ProviderNotice twice at the same time.
            Err(SaleError::Refused(Refusal::NotPayable)) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// A repeat is nothing to speak of; money that came in for what has ended without it is.
fn report_late(found: &ChargedPayment, name: ChargeName, charge: &Charge) {
    let credited = matches!(found.status, PaymentStatus::Paid | PaymentStatus::Refunded);
    if *charge == Charge::Paid && !credited {
        tracing::error!(charge = %name, status = found.status.as_str(), "a card was charged for a payment that has ended otherwise");
    }
}
