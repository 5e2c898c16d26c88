//! The sandbox provider, for tests and demos: no money moves, and the card token says how a charge ends. It stores
//! each charge before it answers, as a real provider would, so that any service can ask for the result later. Where
//! it stores them is not its concern: see [`SandboxCharges`].

use futures_util::future::{self, BoxFuture, FutureExt};
use jiff::Timestamp;
use serde::Deserialize;

use super::{
    CardToken, ChargeOrder, ChargeReport, DECLINED, NOT_CHARGED, NoticeError, OpenCharge, Provider,
    ProviderNotice, ProviderUnavailable, Signing,
};
use crate::domain::charge::ChargeName;
use crate::domain::id::PaymentId;
use crate::domain::record::Charge;

/// The stored charges of the sandbox, each with its outcome. All services that use the sandbox have the same.
pub trait SandboxCharges: Send + Sync {
    /// Stores the charge, unless it is stored already. Returns the outcome that is stored. After an error it may be
    /// stored or not.
    fn store<'a>(
        &'a self,
        name: ChargeName,
        outcome: &'a str,
    ) -> BoxFuture<'a, Result<String, ProviderUnavailable>>;
}

/// The sandbox provider.
pub struct Sandbox {
    charges: Box<dyn SandboxCharges>,
    signing: Signing,
}

impl Sandbox {
    pub fn new(charges: impl SandboxCharges + 'static, signing: Signing) -> Sandbox {
        Sandbox { charges: Box::new(charges), signing }
    }

    fn notice(&self, signature: &str, body: &[u8], now: Timestamp) -> Result<ProviderNotice, NoticeError> {
        self.signing.check(signature, body, now)?;
        let Notice { payment, begun, status, failure_code } = serde_json::from_slice(body)?;
        let charge = match status {
            NoticeStatus::Paid => Charge::Paid,
            NoticeStatus::Failed => Charge::Declined(super::failure_code(failure_code.as_deref())),
        };
        Ok(ProviderNotice::Charge(ChargeName { payment, begun }, charge.into()))
    }

    fn outcome(card: &CardToken) -> Option<&'static str> {
        match card.expose() {
            "tok_visa" => Some(PAID),
            "tok_declined" => Some(DECLINED),
            "tok_insufficient" => Some("insufficient_funds"),
            "tok_async" => Some(PROCESSING),
            _ => None,
        }
    }
}

/// How an outcome is stored; anything else is a failure code.
const PAID: &str = "paid";
const PROCESSING: &str = "processing";

fn charge(outcome: String) -> Charge {
    match outcome.as_str() {
        PAID => Charge::Paid,
        PROCESSING => Charge::Processing,
        _ => Charge::Declined(outcome),
    }
}

impl Provider for Sandbox {
    fn name(&self) -> &'static str {
        "sandbox"
    }

    fn knows(&self, card: &CardToken) -> bool {
        Sandbox::outcome(card).is_some()
    }

    fn charge(&self, order: ChargeOrder) -> BoxFuture<'_, ChargeReport> {
        let outcome = Sandbox::outcome(&order.card).unwrap_or(DECLINED);
        tracing::debug!(charge = %order.name, amount = %order.amount, currency = %order.currency, outcome, "a sandbox charge");
        let store = async move {
            self.charges.store(order.name, outcome).await.map_or_else(
                |error| {
                    tracing::warn!(charge = %order.name, %error, "the sandbox does not know whether it has stored a charge");
                    Charge::Processing.into()
                },
                |stored| charge(stored).into(),
            )
        };
        store.boxed()
    }

    fn resolve(&self, open: OpenCharge) -> BoxFuture<'_, Result<ChargeReport, ProviderUnavailable>> {
        // A charge that is not stored is stored as not charged, so it cannot be made any more.
        async move { Ok(charge(self.charges.store(open.name, NOT_CHARGED).await?).into()) }.boxed()
    }

    fn read<'a>(
        &'a self,
        signature: &'a str,
        body: &'a [u8],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Option<ProviderNotice>, NoticeError>> {
        future::ready(self.notice(signature, body, now).map(Some)).boxed()
    }
}

/// A webhook message of the sandbox, which the tester writes. `begun` is the payment's `updated_at` while it is
/// processing; `GET /admin/charges` shows it later.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Notice {
    payment: PaymentId,
    begun: Timestamp,
    status: NoticeStatus,
    failure_code: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum NoticeStatus {
    Paid,
    Failed,
}
