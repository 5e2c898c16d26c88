//! Reconciliation: asks the provider for the result of charges whose end was never written, because the service
//! crashed before it wrote the answer, or because the webhook never arrived.

use jiff::SignedDuration;

use super::{Charges, WebhookError};
use crate::db::DbError;
use crate::db::read::payments::{self, ChargedPayment};
use crate::domain::id::PaymentId;
use crate::domain::record::Charge;
use crate::payment::{ChargeAnswer, ChargeName, ProviderNotice, ProviderUnavailable};

/// The time between two rounds.
const ROUND: SignedDuration = SignedDuration::from_mins(1);
/// Charges that one round asks for. The next round goes on after them.
const CHARGES: i64 = 200;
/// Failed charges that end a round: then the provider is unavailable, not one of the charges wrong.
const FAILURES: usize = 3;

/// Why the result of a charge could not be found out this time.
#[derive(Debug, thiserror::Error)]
enum SettleError {
    #[error(transparent)]
    ProviderUnavailable(#[from] ProviderUnavailable),
    #[error(transparent)]
    ProviderNotice(#[from] WebhookError),
}

impl Charges {
    /// Asks at once, and then once a minute, as long as the service runs.
    pub async fn reconcile(self) {
        let mut after = None;
        loop {
            match self.round(after).await {
                Ok(last) => after = last,
                Err(error) => {
                    tracing::warn!(%error, "the charges in progress could not be read; the next round tries again")
                }
            }
            self.clock.sleep(ROUND).await;
        }
    }

    /// Asks for the charges after this one. Returns the payment after which the next round begins.
    async fn round(&self, after: Option<PaymentId>) -> Result<Option<PaymentId>, DbError> {
        let charges = payments::unfinished_charges(&self.db, after, CHARGES).await?;
        let mut failures = 0;
        for charge in charges.iter().filter(|charge| !self.in_progress.has(charge.payment)) {
            let Err(error) = self.settle(charge).await else { continue };
            tracing::warn!(payment = %charge.payment, %error, "the result of a charge is not known yet");
            failures += 1;
            if failures == FAILURES {
                return Ok(Some(charge.payment));
            }
        }
        let more = charges.len() as i64 == CHARGES;
        Ok(charges.last().filter(|_| more).map(|last| last.payment))
    }

    async fn settle(&self, found: &ChargedPayment) -> Result<(), SettleError> {
        let name = ChargeName { payment: found.payment, begun: found.updated_at };
        let report = match self.provider.ask(name).await? {
            ChargeAnswer::Found(report) => report,
            ChargeAnswer::Searching => {
                tracing::info!(charge = %name, "the search for a charge goes on in the next round");
                return Ok(());
            }
            ChargeAnswer::NotFound if self.is_old(name) => Charge::Declined("not_charged".to_owned()).into(),
            ChargeAnswer::NotFound => return Ok(()),
        };
        Ok(self.end(&ProviderNotice { name, report }).await?)
    }

    /// Whether a charge that the provider does not know was never made. Not by a clock that cannot be trusted.
    fn is_old(&self, name: ChargeName) -> bool {
        let now = self.clock.report();
        now.trusted && now.wall.duration_since(name.begun) >= self.provider.never_arrived_after()
    }
}
