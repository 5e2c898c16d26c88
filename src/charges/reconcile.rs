//! Charges whose end was never written, because a crash came between the provider's answer and its record or because
//! its webhook never arrived: the provider is asked what became of each.

use jiff::SignedDuration;

use super::{Charges, WebhookError};
use crate::db::DbError;
use crate::db::read::payments::{self, ChargedPayment};
use crate::domain::id::PaymentId;
use crate::domain::record::Charge;
use crate::payment::{ChargeName, ProviderNotice, ProviderUnavailable};

/// Between two rounds.
const ROUND: SignedDuration = SignedDuration::from_mins(1);
/// Charges asked for in one round; the next goes on behind them.
const CHARGES: i64 = 200;
/// A charge that its provider has not heard of by then never reached it: longer than any request of ours lives.
const NEVER_ARRIVED: SignedDuration = SignedDuration::from_mins(10);

/// Charges of which nothing was learned before a round is given up: the provider is away, and not one of them odd.
const FAILURES: usize = 3;

/// Why nothing was learned of a charge this time.
#[derive(Debug, thiserror::Error)]
enum SettleError {
    #[error(transparent)]
    ProviderUnavailable(#[from] ProviderUnavailable),
    #[error(transparent)]
    ProviderNotice(#[from] WebhookError),
}

impl Charges {
    /// Asks at once, and then from time to time, for as long as the service runs.
    pub async fn reconcile(self) {
        let mut after = None;
        loop {
            match self.round(after).await {
                Ok(last) => after = last,
                Err(error) => tracing::warn!(%error, "charges under way wait for the next round"),
            }
            self.clock.sleep_until(self.clock.now() + ROUND).await;
        }
    }

    /// Asks for the charges behind this one; returns where the next round begins.
    async fn round(&self, after: Option<PaymentId>) -> Result<Option<PaymentId>, DbError> {
        let charges = payments::unfinished_charges(&self.db, after, CHARGES).await?;
        let mut failures = 0;
        for charge in charges.iter().filter(|charge| !self.in_progress.has(charge.payment)) {
            let Err(error) = self.settle(charge).await else { continue };
            tracing::warn!(payment = %charge.payment, %error, "it is not known yet what became of a charge");
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
        let charge = match self.provider.ask(name).await? {
            Some(charge) => charge,
            None if self.clock.now().duration_since(name.begun) >= NEVER_ARRIVED => {
                Charge::Declined("not_charged".to_owned())
            }
            None => return Ok(()),
        };
        Ok(self.end(&ProviderNotice { name, charge }).await?)
    }
}
