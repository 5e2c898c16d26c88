//! What admins do, as the audit log keeps it. This file does not decide whether an action is allowed and does
//! not write the log: the transaction that carries out the action writes the entry as well.

use std::fmt;

use jiff::Timestamp;
use serde_json::Value;

use super::id::{DrawId, PaymentId, UserId};

/// Something that an admin did. A refused action has no entry; an action that changed nothing, because it had
/// been done before, has none either.
#[derive(Clone, PartialEq, Debug)]
pub struct AuditEntry {
    /// `None`: the action came from the command line.
    pub actor: Option<UserId>,
    pub action: Action,
    pub subject: Subject,
    /// A JSON object; never a secret.
    pub detail: Value,
    pub at: Timestamp,
}

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    CreateDraw,
    RescheduleDraw,
    AddToPool,
    OpenDraw,
    CloseDraw,
    ConductDraw,
    CancelDraw,
    CreateAdmin,
    ChangeUser,
    ResetPassword,
    ApproveWithdrawal,
    RejectWithdrawal,
    EndCharge,
    Export,
    ConfirmClock,
}

impl Action {
    /// As the audit log writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::CreateDraw => "draw.create",
            Action::RescheduleDraw => "draw.reschedule",
            Action::AddToPool => "draw.pool",
            Action::OpenDraw => "draw.open",
            Action::CloseDraw => "draw.close",
            Action::ConductDraw => "draw.conduct",
            Action::CancelDraw => "draw.cancel",
            Action::CreateAdmin => "admin.create",
            Action::ChangeUser => "user.change",
            Action::ResetPassword => "user.password_reset",
            Action::ApproveWithdrawal => "withdrawal.approve",
            Action::RejectWithdrawal => "withdrawal.reject",
            Action::EndCharge => "charge.end",
            Action::Export => "export",
            Action::ConfirmClock => "clock.confirm",
        }
    }
}

/// The thing that the action changed; written as `draw:7`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    Draw(DrawId),
    User(UserId),
    Payment(PaymentId),
    /// A table, by its name.
    Table(&'static str),
    /// The machine's clock.
    Clock,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Draw(id) => write!(f, "draw:{id}"),
            Subject::User(id) => write!(f, "user:{id}"),
            Subject::Payment(id) => write!(f, "payment:{id}"),
            Subject::Table(name) => write!(f, "table:{name}"),
            Subject::Clock => f.write_str("clock"),
        }
    }
}
