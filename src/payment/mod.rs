//! Floor 1: the payment providers, who move money between cards and the house. Knows no draw and no
//! ledger: what a charge means for a payment is decided elsewhere.

mod sandbox;

use futures_util::future::BoxFuture;

use crate::domain::id::PaymentId;
use crate::domain::money::{Currency, Money};
use crate::domain::record::Charge;

pub use sandbox::Sandbox;

/// A card, as the provider's own form on the client's side has named it. Never shown and never stored.
#[derive(Clone)]
pub struct CardToken(String);

/// The longest token that is looked at.
const MAX_TOKEN: usize = 255;

/// Why a token was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("must be a card token of the payment provider")]
pub struct TokenError;

impl CardToken {
    /// Visible ASCII, at most 255 characters; whether there is such a card only the provider knows.
    pub fn parse(text: &str) -> Result<CardToken, TokenError> {
        let legal = (1..=MAX_TOKEN).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if legal { Ok(CardToken(text.to_owned())) } else { Err(TokenError) }
    }

    fn expose(&self) -> &str {
        &self.0
    }
}

/// An amount to take from a card. `payment` is the idempotency key towards the provider: however often
/// it is asked, it charges once.
pub struct ChargeOrder {
    pub payment: PaymentId,
    pub amount: Money,
    pub currency: Currency,
    pub card: CardToken,
}

/// One who takes money from cards.
pub trait Provider: Send + Sync {
    /// Whether this may be a card of theirs at all.
    fn knows(&self, card: &CardToken) -> bool;

    /// Takes the amount, or says why not, or that it will tell later.
    fn charge(&self, order: ChargeOrder) -> BoxFuture<'_, Charge>;
}
