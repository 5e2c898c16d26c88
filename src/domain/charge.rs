//! A charge: one attempt to take money from a card. Its row tells when it began, how it ended, and whether an admin
//! must end it. This file decides nothing: `batch_state` does.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::id::{PaymentId, UserId};
use super::money::Money;

/// The name of a charge. A payment that was declined may be charged again; the second charge begins later and has
/// another name. The name is the idempotency key at the provider, and every answer and webhook contains it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ChargeName {
    pub payment: PaymentId,
    /// When the charge began: the payment's `updated_at` at that time.
    pub begun: Timestamp,
}

impl fmt::Display for ChargeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.payment, self.begun)
    }
}

/// The text is not the name of a charge.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("must be the name of a charge")]
pub struct ChargeNameError;

/// The inverse of `Display`.
impl FromStr for ChargeName {
    type Err = ChargeNameError;

    fn from_str(text: &str) -> Result<ChargeName, ChargeNameError> {
        let (payment, begun) = text.split_once('@').ok_or(ChargeNameError)?;
        let payment = PaymentId(payment.parse().map_err(|_| ChargeNameError)?);
        Ok(ChargeName { payment, begun: begun.parse().map_err(|_| ChargeNameError)? })
    }
}

/// How a charge ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChargeOutcome {
    /// The provider took the money.
    Paid,
    Failed,
}

impl ChargeOutcome {
    pub const ALL: [ChargeOutcome; 2] = [ChargeOutcome::Paid, ChargeOutcome::Failed];

    /// As the database and the contract write it.
    pub fn as_str(self) -> &'static str {
        match self {
            ChargeOutcome::Paid => "paid",
            ChargeOutcome::Failed => "failed",
        }
    }

    /// The inverse of [`ChargeOutcome::as_str`].
    pub fn parse(text: &str) -> Option<ChargeOutcome> {
        ChargeOutcome::ALL.into_iter().find(|outcome| outcome.as_str() == text)
    }
}

/// Why a charge waits for an admin.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChargeIssue {
    /// The provider does not know the charge, although it had time enough to list it.
    NotFound,
    /// The provider took another amount, another currency, or test money instead of real money.
    OtherMoney,
    /// The provider took the money, and it is not known whether the payment has it already: the payment was paid by
    /// a card before charges had rows.
    Unclear,
}

impl ChargeIssue {
    pub const ALL: [ChargeIssue; 3] = [ChargeIssue::NotFound, ChargeIssue::OtherMoney, ChargeIssue::Unclear];

    /// As the database and the contract write it.
    pub fn as_str(self) -> &'static str {
        match self {
            ChargeIssue::NotFound => "not_found",
            ChargeIssue::OtherMoney => "other_money",
            ChargeIssue::Unclear => "unclear",
        }
    }

    /// The inverse of [`ChargeIssue::as_str`].
    pub fn parse(text: &str) -> Option<ChargeIssue> {
        ChargeIssue::ALL.into_iter().find(|issue| issue.as_str() == text)
    }
}

/// A charge as its row stores it, without what the provider reports of the money later (disputes and refunds).
#[derive(Clone, PartialEq, Debug)]
pub struct ChargeRow {
    /// The user whose payment it is.
    pub user: UserId,
    /// The amount to take. It is the payment's amount when the charge began; a ticket that is returned later lowers
    /// the payment's amount, not this one.
    pub amount: Money,
    pub end: Option<ChargeEnd>,
    /// `None`: no admin is needed.
    pub issue: Option<ChargeIssue>,
    /// False: the charge ended before charges had rows, and nobody knows when it began. Its row has the time of its
    /// end instead.
    pub begun_known: bool,
}

/// The end of a charge.
#[derive(Clone, PartialEq, Debug)]
pub struct ChargeEnd {
    pub outcome: ChargeOutcome,
    /// The money came too late for what the payment is for, so it is in the wallet: the tickets were released, the
    /// payment was paid in another way, or the charge had been called failed before.
    pub late: bool,
    pub failure_code: Option<String>,
    pub at: Timestamp,
}

impl ChargeRow {
    /// A charge that begins now.
    pub fn open(user: UserId, amount: Money) -> ChargeRow {
        ChargeRow { user, amount, end: None, issue: None, begun_known: true }
    }

    pub fn outcome(&self) -> Option<ChargeOutcome> {
        self.end.as_ref().map(|end| end.outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written() {
        let payment = PaymentId(uuid::Uuid::from_u128(7));
        let name = ChargeName { payment, begun: Timestamp::from_millisecond(1_900_000_000_123).unwrap() };
        assert_eq!(name.to_string().parse(), Ok(name));
        for text in ["", "@", "7@2030-01-01T00:00:00Z", "00000000-0000-0000-0000-000000000007@noon"] {
            assert_eq!(text.parse::<ChargeName>(), Err(ChargeNameError), "{text}");
        }
    }
}
