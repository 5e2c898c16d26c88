//! Layer 1: the payment providers, which charge cards. Knows no draw and no ledger: what a charge means for a
//! payment is decided in the domain.

mod sandbox;
pub mod signature;
mod stripe;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};

use crate::domain::charge::ChargeName;
use crate::domain::money::{Currency, Money};
use crate::domain::payment;
use crate::domain::record::Charge;

pub use sandbox::{Sandbox, SandboxCharges};
pub use signature::{SignatureError, Signing};
pub use stripe::{Stripe, is_live_key};

/// A token for a card, made by the provider's form in the client. Never logged and never stored.
#[derive(Clone)]
pub struct CardToken(String);

/// The longest token that is accepted.
const MAX_TOKEN: usize = 255;

/// The token is invalid.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("must be a card token of the payment provider")]
pub struct CardTokenError;

impl CardToken {
    /// Visible ASCII, at most 255 characters. Only the provider knows whether the card exists.
    pub fn parse(text: &str) -> Result<CardToken, CardTokenError> {
        let legal = (1..=MAX_TOKEN).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if legal { Ok(CardToken(text.to_owned())) } else { Err(CardTokenError) }
    }

    fn expose(&self) -> &str {
        &self.0
    }
}

/// Whether this process is the one that may act on the database now. It is asked right before each call of the
/// provider that takes money, and before a charge is resolved.
pub type MayAct = Arc<dyn Fn() -> bool + Send + Sync>;

/// An order to charge a card.
pub struct ChargeOrder {
    pub name: ChargeName,
    pub amount: Money,
    pub currency: Currency,
    pub card: CardToken,
    /// Asked again before the order is sent a second time.
    pub may_act: MayAct,
}

/// What a provider says about a charge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChargeReport {
    pub charge: Charge,
    /// The money that it is about. `None` if the provider made no charge, and always for the sandbox, which moves no
    /// money.
    pub money: Option<ReportedMoney>,
}

/// The money of a charge, as the provider reports it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReportedMoney {
    /// Minor units: what was taken, or what should have been taken if the charge did not succeed.
    pub amount: Option<i64>,
    pub currency: Option<String>,
    /// Whether it is real money and the service works with real money, or neither.
    pub mode_agrees: bool,
}

/// A provider reports other money than the payment's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MoneyDifference {
    #[error("the amount is another")]
    Amount,
    #[error("the currency is another")]
    Currency,
    #[error("test money instead of real money, or real money instead of test money")]
    Mode,
}

impl ChargeReport {
    /// The charge, if its money is the payment's. A charge that has no final result has none to compare.
    pub fn verify(self, amount: Money, currency: Currency) -> Result<Charge, MoneyDifference> {
        let Some(money) = self.money.filter(|_| self.charge.is_final()) else { return Ok(self.charge) };
        if !money.mode_agrees {
            return Err(MoneyDifference::Mode);
        }
        if !money.currency.is_some_and(|reported| reported.eq_ignore_ascii_case(currency.as_str())) {
            return Err(MoneyDifference::Currency);
        }
        if money.amount != Some(amount.minor()) {
            return Err(MoneyDifference::Amount);
        }
        Ok(self.charge)
    }
}

/// A result without money to compare.
impl From<Charge> for ChargeReport {
    fn from(charge: Charge) -> ChargeReport {
        ChargeReport { charge, money: None }
    }
}

/// A provider's notice, from a webhook.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProviderNotice {
    Charge(ChargeName, ChargeReport),
    Reversal(ChargeName, Reversal),
}

/// What the provider reports of a charge's money after it was taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reversal {
    /// The card's holder disputes the charge: the status of the dispute, and when it was reported.
    Dispute { status: String, at: Timestamp },
    /// This much was given back to the card, in all.
    Refund(Money),
}

/// The failure code of a charge that never reached its provider.
const NOT_CHARGED: &str = "not_charged";
/// The failure code if the provider gives none that may be shown.
const DECLINED: &str = "card_declined";
/// The longest code of a provider that is stored.
const MAX_CODE: usize = 64;

/// A provider's failure code, if the payer may see it.
fn failure_code(code: Option<&str>) -> String {
    payment::failure_code(code.unwrap_or(DECLINED)).to_owned()
}

/// Whether a provider's text is a code: short, and of letters, digits and underscores.
fn is_code(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    (1..=MAX_CODE).contains(&text.len()) && text.bytes().all(legal)
}

/// Why a webhook's message was refused.
#[derive(Debug, thiserror::Error)]
pub enum NoticeError {
    #[error(transparent)]
    Signature(#[from] SignatureError),
    #[error("the message is not what it should be: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The message cannot be understood without an answer of the provider.
    #[error(transparent)]
    Unavailable(#[from] ProviderUnavailable),
}

/// A charge whose result is not known, and that no request of this process works on.
pub struct OpenCharge {
    pub name: ChargeName,
    pub amount: Money,
    pub currency: Currency,
    /// How long ago it began. `None`: the clock is not trusted.
    pub age: Option<SignedDuration>,
}

/// The provider could not be reached, or its answer could not be used. The text is for the log and holds no
/// secret.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the payment provider does not answer: {0}")]
pub struct ProviderUnavailable(pub String);

/// A payment provider: charges cards. What it reports must be verified against the payment
/// ([`ChargeReport::verify`]), because only the caller knows the payment.
pub trait Provider: Send + Sync {
    /// The name in the path of its webhooks.
    fn name(&self) -> &'static str;

    /// Whether this can be a card token of this provider.
    fn knows(&self, card: &CardToken) -> bool;

    /// Charges the card: it is paid, declined, or still processing. If the result is not known (a timeout), it is
    /// processing too; [`Provider::resolve`] finds it out later.
    fn charge(&self, order: ChargeOrder) -> BoxFuture<'_, ChargeReport>;

    /// The result of a charge that was ordered by any process. If the provider does not know the charge, its
    /// idempotency key is used up: no process can charge the card under this name any more, also if it was stopped
    /// before it called the provider and goes on later. Only then is the charge declined as `NOT_CHARGED`.
    fn resolve(&self, charge: OpenCharge) -> BoxFuture<'_, Result<ChargeReport, ProviderUnavailable>>;

    /// Reads a message to its webhook. `None` if the message is not about a charge of this service.
    fn read<'a>(
        &'a self,
        signature: &'a str,
        body: &'a [u8],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Option<ProviderNotice>, NoticeError>>;
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct LogBuffer(Arc<Mutex<Vec<u8>>>);

    impl Write for LogBuffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged while this runs.
    pub fn logged(run: impl FnOnce()) -> String {
        let buffer = LogBuffer::default();
        let writer = buffer.clone();
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(log, run);
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }
}
