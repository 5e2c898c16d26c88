//! A payment as the user who makes it sees it. This file knows no payment provider and no ledger.

use jiff::Timestamp;
use serde::Serialize;

use super::id::{PaymentId, TicketId};
use super::money::{Currency, Money};

/// What a payment is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentKind {
    Purchase,
    Deposit,
    Withdrawal,
}

/// A payment's status.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    Pending,
    Processing,
    Paid,
    Failed,
    Expired,
    Refunded,
}

/// What a payment is made with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    Wallet,
    Card,
}

impl PaymentKind {
    pub const ALL: [PaymentKind; 3] = [PaymentKind::Purchase, PaymentKind::Deposit, PaymentKind::Withdrawal];

    /// As the database and the contract write it.
    pub fn as_str(self) -> &'static str {
        match self {
            PaymentKind::Purchase => "purchase",
            PaymentKind::Deposit => "deposit",
            PaymentKind::Withdrawal => "withdrawal",
        }
    }

    /// The inverse of [`PaymentKind::as_str`].
    pub fn parse(text: &str) -> Option<PaymentKind> {
        PaymentKind::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl PaymentStatus {
    pub const ALL: [PaymentStatus; 6] = [
        PaymentStatus::Pending,
        PaymentStatus::Processing,
        PaymentStatus::Paid,
        PaymentStatus::Failed,
        PaymentStatus::Expired,
        PaymentStatus::Refunded,
    ];

    /// As the database and the contract write it.
    pub fn as_str(self) -> &'static str {
        match self {
            PaymentStatus::Pending => "pending",
            PaymentStatus::Processing => "processing",
            PaymentStatus::Paid => "paid",
            PaymentStatus::Failed => "failed",
            PaymentStatus::Expired => "expired",
            PaymentStatus::Refunded => "refunded",
        }
    }

    /// The inverse of [`PaymentStatus::as_str`].
    pub fn parse(text: &str) -> Option<PaymentStatus> {
        PaymentStatus::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

impl Method {
    pub const ALL: [Method; 2] = [Method::Wallet, Method::Card];

    /// As the database and the contract write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Wallet => "wallet",
            Method::Card => "card",
        }
    }

    /// The inverse of [`Method::as_str`].
    pub fn parse(text: &str) -> Option<Method> {
        Method::ALL.into_iter().find(|method| method.as_str() == text)
    }
}

/// Why a payment fails, as the payer may see it. The first one stands for every reason that is not in this list:
/// providers add reasons at any time, and some must not be told to the holder of a card (a stolen card, say).
pub const FAILURE_CODES: [&str; 23] = [
    "card_declined",
    "amount_too_large",
    "amount_too_small",
    "authentication_required",
    "card_not_supported",
    "card_velocity_exceeded",
    "currency_not_supported",
    "ended_by_admin",
    "expired_card",
    "incorrect_cvc",
    "incorrect_number",
    "incorrect_zip",
    "insufficient_funds",
    "invalid_card",
    "invalid_cvc",
    "invalid_expiry_month",
    "invalid_expiry_year",
    "issuer_not_available",
    "not_charged",
    "processing_error",
    "provider_unavailable",
    "rejected",
    "try_again_later",
];

/// The failure code for this reason.
pub fn failure_code(reason: &str) -> &'static str {
    FAILURE_CODES.into_iter().find(|code| *code == reason).unwrap_or(FAILURE_CODES[0])
}

/// A payment, with the fields that the API returns.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Payment {
    pub id: PaymentId,
    pub kind: PaymentKind,
    pub status: PaymentStatus,
    pub amount: Money,
    pub currency: Currency,
    pub method: Option<Method>,
    pub ticket_ids: Vec<TicketId>,
    pub failure_code: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}
