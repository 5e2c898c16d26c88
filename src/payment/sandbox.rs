//! The sandbox provider: no money moves, and the token says how a charge ends.

use futures_util::future::{self, BoxFuture, FutureExt};

use super::{CardToken, ChargeOrder, Provider};
use crate::domain::record::Charge;

/// The provider for trying things out.
#[derive(Clone, Copy, Default, Debug)]
pub struct Sandbox;

impl Sandbox {
    fn outcome(card: &CardToken) -> Option<Charge> {
        match card.expose() {
            "tok_visa" => Some(Charge::Paid),
            "tok_declined" => Some(Charge::Declined("card_declined".to_owned())),
            "tok_insufficient" => Some(Charge::Declined("insufficient_funds".to_owned())),
            "tok_async" => Some(Charge::Processing),
            _ => None,
        }
    }
}

impl Provider for Sandbox {
    fn knows(&self, card: &CardToken) -> bool {
        Sandbox::outcome(card).is_some()
    }

    fn charge(&self, order: ChargeOrder) -> BoxFuture<'_, Charge> {
        let outcome = Sandbox::outcome(&order.card).unwrap_or(Charge::Declined("card_declined".to_owned()));
        tracing::debug!(payment = %order.payment, amount = %order.amount, currency = %order.currency, ?outcome, "a sandbox charge");
        future::ready(outcome).boxed()
    }
}
