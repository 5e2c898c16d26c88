//! Reconciliation: asks the provider for the result of charges whose end was never written, because the service
//! crashed before it wrote the answer, or because the webhook never arrived.

use std::sync::atomic::Ordering;

use jiff::SignedDuration;

use super::{Charges, WebhookError};
use crate::db::DbError;
use crate::db::read::charges::{self, PaymentCharge};
use crate::domain::charge::ChargeName;
use crate::domain::id::PaymentId;
use crate::payment::{ChargeAnswer, ProviderUnavailable};

/// The time between two rounds.
const ROUND: SignedDuration = SignedDuration::from_mins(1);
/// A charge that the provider does not know waits for an admin. It is asked for at start, and then only each so many
/// rounds: each search reads the provider's charges of two days.
const LOST_ROUNDS: u64 = 60;
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
        for round in 0_u64.. {
            let next = self.clock.since_boot() + ROUND;
            match self.round(after, round.is_multiple_of(LOST_ROUNDS)).await {
                Ok(last) => after = last,
                Err(error) => {
                    tracing::warn!(%error, "the charges in progress could not be read; the next round tries again")
                }
            }
            self.clock.sleep(next - self.clock.since_boot()).await;
        }
    }

    /// Asks for the charges after this one, and counts those that wait for an admin. Returns the payment after which
    /// the next round begins.
    async fn round(&self, after: Option<PaymentId>, lost: bool) -> Result<Option<PaymentId>, DbError> {
        let charges = charges::unfinished(&self.db, after, lost, CHARGES).await?;
        let (mut failures, mut last) = (0, None);
        for charge in charges.iter().filter(|charge| !self.in_progress.has(charge.name.payment)) {
            let Err(error) = self.settle(charge).await else { continue };
            tracing::warn!(charge = %charge.name, %error, "the result of a charge is not known yet");
            failures += 1;
            if failures == FAILURES {
                last = Some(charge.name.payment);
                break;
            }
        }
        let waiting = charges::waiting(&self.db).await?;
        if self.waiting.swap(waiting, Ordering::Relaxed) < waiting {
            tracing::warn!(waiting, "charges wait for an admin: see GET /admin/charges?status=waiting");
        }
        let more = charges.len() as i64 == CHARGES;
        Ok(last.or(charges.last().filter(|_| more).map(|charge| charge.name.payment)))
    }

    async fn settle(&self, found: &PaymentCharge) -> Result<(), SettleError> {
        let name = found.name;
        let report = match self.provider.ask(name).await? {
            ChargeAnswer::Found(report) => report,
            ChargeAnswer::Searching => {
                tracing::info!(charge = %name, "the search for a charge goes on in the next round");
                return Ok(());
            }
            ChargeAnswer::NotFound => self.provider.result_if_unknown(self.age(name)).into(),
        };
        Ok(self.end(name, report).await?)
    }

    /// How long ago a charge began. Zero, if the clock cannot be trusted: then no charge is too old to arrive.
    fn age(&self, name: ChargeName) -> SignedDuration {
        let now = self.clock.report();
        if now.trusted { now.wall.duration_since(name.begun) } else { SignedDuration::ZERO }
    }
}
