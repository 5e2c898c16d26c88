//! Reconciliation: asks the provider for the result of charges whose end was never written, because a service
//! crashed or was replaced before it wrote the answer, or because the webhook never arrived. A charge that never reached
//! the provider is ended at once, since the provider will refuse it from then on.

use std::sync::atomic::Ordering;

use jiff::SignedDuration;

use super::{Charges, WebhookError};
use crate::db::DbError;
use crate::db::read::charges::{self, PaymentCharge};
use crate::domain::charge::ChargeName;
use crate::domain::id::PaymentId;
use crate::payment::{OpenCharge, ProviderUnavailable};

/// The time between two rounds.
const ROUND: SignedDuration = SignedDuration::from_mins(1);
/// A charge that was not found waits for an admin. It is asked for at start, and then only each so many
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
            let began = self.clock.since_boot();
            match self.round(after, round.is_multiple_of(LOST_ROUNDS)).await {
                Ok(last) => after = last,
                Err(error) => {
                    tracing::warn!(%error, "the charges in progress could not be read; the next round tries again")
                }
            }
            self.clock.sleep_since(began, ROUND).await;
        }
    }

    /// Asks for the charges after this one, and counts those that wait for an admin. Returns the payment after which
    /// the next round begins.
    async fn round(&self, after: Option<PaymentId>, lost: bool) -> Result<Option<PaymentId>, DbError> {
        let charges = charges::unfinished(&self.db, after, lost, CHARGES).await?;
        let (mut failures, mut last) = (0, None);
        for charge in charges.iter().filter(|charge| !self.in_progress.has(charge.name.payment)) {
            if !(self.may_act)() {
                break;
            }
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
        let PaymentCharge { name, amount, .. } = *found;
        let open = OpenCharge { name, amount, currency: self.currency, age: self.age(name) };
        let report = self.provider.resolve(open).await?;
        self.end(name, report).await?;
        Ok(())
    }

    /// How long ago a charge began. `None`: the clock is not trusted.
    fn age(&self, name: ChargeName) -> Option<SignedDuration> {
        let now = self.clock.report();
        now.trusted.then(|| now.wall.duration_since(name.begun))
    }
}
