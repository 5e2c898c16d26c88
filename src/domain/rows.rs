//! The rows that a batch reads and writes. This file knows no SQL and decides nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::audit::AuditEntry;
use super::charge::{ChargeName, ChargeRow};
use super::id::{DrawId, PaymentId, TicketId, UserId};
use super::money::Money;
use super::payment::{Method, Payment, PaymentKind, PaymentStatus};
use super::record::{AnswerKind, Key};
use super::ticket_log::TicketLog;

/// The state of a draw that each sale reads and changes.
#[derive(Clone, Debug)]
pub struct DrawSales {
    pub epoch: i64,
    /// The number of paid tickets; the next ticket's number is one more.
    pub sold: i64,
    /// `None`: the draw was opened before draws had ticket logs, or is not opened yet.
    pub log: Option<TicketLog>,
}

/// The same, as the row has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DrawSalesRow {
    pub epoch: i64,
    pub sold: i64,
    /// The edge of the draw's ticket log.
    pub edge: Option<Vec<u8>>,
}

/// A payment as its row stores it.
#[derive(Clone, PartialEq, Debug)]
pub struct PaymentRow {
    pub user: UserId,
    pub kind: PaymentKind,
    pub status: PaymentStatus,
    pub amount: Money,
    pub method: Option<Method>,
    pub failure_code: Option<String>,
    pub draw: Option<DrawId>,
    /// The number of tickets that were ordered first.
    pub lines: Option<i16>,
    pub reserved_until: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl PaymentRow {
    /// A payment for money that is moving from a card into the wallet, or out of the wallet.
    pub fn processing(user: UserId, kind: PaymentKind, amount: Money, at: Timestamp) -> PaymentRow {
        PaymentRow {
            user,
            kind,
            status: PaymentStatus::Processing,
            amount,
            method: (kind == PaymentKind::Deposit).then_some(Method::Card),
            failure_code: None,
            draw: None,
            lines: None,
            reserved_until: None,
            created_at: at,
            updated_at: at,
        }
    }
}

/// Why a reserved ticket was released without being paid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Release {
    Expired,
    Returned,
}

impl Release {
    /// As the database writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Release::Expired => "expired",
            Release::Returned => "returned",
        }
    }
}

/// A successful answer to store under its key.
#[derive(Clone, PartialEq, Debug)]
pub struct NewKey {
    pub key: Key,
    pub kind: AnswerKind,
    pub payment: PaymentId,
    /// `None`: the answer is rebuilt from the payment's rows.
    pub answer: Option<Payment>,
    /// Whether the key must not exist yet. If not, this is the end of work whose beginning may have stored
    /// the key, and the new answer replaces the stored one.
    pub first: bool,
    pub at: Timestamp,
}

/// The rows that follow from the accepted records, apart from the ledger's and the tickets of new orders. The tickets
/// are in the orders themselves.
#[derive(Clone, Default, Debug)]
pub struct Changes {
    pub new_payments: BTreeMap<PaymentId, PaymentRow>,
    pub changed_payments: BTreeMap<PaymentId, PaymentRow>,
    /// New and changed charges.
    pub charges: BTreeMap<ChargeName, ChargeRow>,
    pub paid_tickets: Vec<(UserId, TicketId, i64)>,
    pub released_tickets: Vec<(UserId, TicketId, Release)>,
    pub new_keys: Vec<NewKey>,
    /// Audit entries of the admins' decisions in this batch.
    pub audit_entries: Vec<AuditEntry>,
}
