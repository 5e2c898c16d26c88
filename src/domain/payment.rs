//! A payment as the user who makes it sees it. This file knows no payment provider and no ledger.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::id::{PaymentId, TicketId};
use super::money::{Currency, Money};

/// What a payment is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentKind {
    Purchase,
    Deposit,
    Withdrawal,
}

/// A payment's status.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ToSchema)]
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
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    Wallet,
    Card,
}

impl PaymentKind {
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
        use PaymentKind::{Deposit, Purchase, Withdrawal};
        [Purchase, Deposit, Withdrawal].into_iter().find(|kind| kind.as_str() == text)
    }
}

impl PaymentStatus {
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
        use PaymentStatus::{Expired, Failed, Paid, Pending, Processing, Refunded};
        [Pending, Processing, Paid, Failed, Expired, Refunded].into_iter().find(|status| status.as_str() == text)
    }
}

impl Method {
    /// As the database and the contract write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Wallet => "wallet",
            Method::Card => "card",
        }
    }

    /// The inverse of [`Method::as_str`].
    pub fn parse(text: &str) -> Option<Method> {
        [Method::Wallet, Method::Card].into_iter().find(|method| method.as_str() == text)
    }
}

/// A payment, with the fields that the API returns.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "id": "01980000-0000-7000-8000-000000000001", "kind": "purchase", "status": "paid", "amount": 5000, "currency": "RUB",
    "method": "wallet", "ticket_ids": ["01980000-0000-7000-8000-000000000002"], "failure_code": null,
    "created_at": "2030-05-01T12:00:00Z", "updated_at": "2030-05-01T12:00:00Z"
}))]
pub struct Payment {
    pub id: PaymentId,
    pub kind: PaymentKind,
    pub status: PaymentStatus,
    pub amount: Money,
    pub currency: Currency,
    #[schema(required)]
    pub method: Option<Method>,
    pub ticket_ids: Vec<TicketId>,
    #[schema(required)]
    pub failure_code: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}
