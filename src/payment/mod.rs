//! Floor 1: the payment providers, who move money between cards and the house. Knows no draw and no
//! ledger: what a charge means for a payment is decided elsewhere.

mod sandbox;
pub mod signature;
mod stripe;

use std::fmt;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::id::PaymentId;
use crate::domain::money::{Currency, Money};
use crate::domain::record::Charge;

pub use sandbox::{Sandbox, SandboxError};
pub use signature::{SignatureError, Signing};
pub use stripe::Stripe;

/// A card, as the provider's own form on the client's side has named it. Never shown and never stored.
#[derive(Clone)]
pub struct CardToken(String);

/// The longest token that is looked at.
const MAX_TOKEN: usize = 255;

/// Why a token was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("must be a card token of the payment provider")]
pub struct CardTokenError;

impl CardToken {
    /// Visible ASCII, at most 255 characters; whether there is such a card only the provider knows.
    pub fn parse(text: &str) -> Result<CardToken, CardTokenError> {
        let legal = (1..=MAX_TOKEN).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if legal { Ok(CardToken(text.to_owned())) } else { Err(CardTokenError) }
    }

    fn expose(&self) -> &str {
        &self.0
    }
}

/// Which charge: a payment that was declined may be charged again, and that is another one, which begins later.
/// It is the idempotency key towards the provider, and comes back with all that the provider says of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ChargeName {
    pub payment: PaymentId,
    /// When its payment was last updated as the charge began.
    pub begun: Timestamp,
}

impl fmt::Display for ChargeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.payment, self.begun)
    }
}

/// An amount to take from a card.
pub struct ChargeOrder {
    pub name: ChargeName,
    pub amount: Money,
    pub currency: Currency,
    pub card: CardToken,
}

/// What a provider tells of a charge on its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProviderNotice {
    pub name: ChargeName,
    pub charge: Charge,
}

/// The failure code where a provider gives none that may be shown.
const DECLINED: &str = "card_declined";
/// The longest failure code that is handed on.
const MAX_CODE: usize = 64;

/// A provider's failure code, as the payer may see it.
fn failure_code(code: Option<&str>) -> String {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    code.filter(|code| (1..=MAX_CODE).contains(&code.len()) && code.bytes().all(legal))
        .unwrap_or(DECLINED)
        .to_owned()
}

/// Why nothing was learned from a webhook's message.
#[derive(Debug, thiserror::Error)]
pub enum NoticeError {
    #[error(transparent)]
    Signature(#[from] SignatureError),
    #[error("the message is not what it should be: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// The provider could not be asked, or gave no answer that says anything. For the log; holds no secret.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the payment provider does not answer: {0}")]
pub struct ProviderUnavailable(pub String);

/// One who takes money from cards.
pub trait Provider: Send + Sync {
    /// As it stands in the address of its webhooks.
    fn name(&self) -> &'static str;

    /// Whether this may be a card of theirs at all.
    fn knows(&self, card: &CardToken) -> bool;

    /// Takes the amount, or says why not, or that it will tell later. What it does not know the end of, it calls
    /// processing: [`Provider::ask`] finds out.
    fn charge(&self, order: ChargeOrder) -> BoxFuture<'_, Charge>;

    /// What became of a charge that was ordered, by whichever process; none if it never heard of it.
    fn ask(&self, name: ChargeName) -> BoxFuture<'_, Result<Option<Charge>, ProviderUnavailable>>;

    /// Reads what was sent to its webhook; none if that is about nothing of ours.
    fn read(&self, signature: &str, body: &[u8], now: Timestamp) -> Result<Option<ProviderNotice>, NoticeError>;
}
