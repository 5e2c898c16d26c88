//! What the audit log keeps: what admins do and read, their log-ins, and what was refused. This file does not decide
//! whether an action is allowed and does not write the log: the transaction that carries out the action writes the entry
//! as well.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::id::{DrawId, PaymentId, UserId};

/// Accounts whose repeated actions are counted apart, for each action.
const MAX_COUNTED: usize = 1_000;

/// The user who did something, and in which request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AuditActor {
    pub user: UserId,
    /// The client's address.
    pub address: IpAddr,
    /// The id of the request, which the client knows too.
    pub request: Uuid,
}

#[cfg(test)]
impl AuditActor {
    /// A user of a test, on this machine.
    pub const fn of(user: UserId) -> AuditActor {
        AuditActor { user, address: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), request: Uuid::nil() }
    }
}

/// Something that happened. A change that an admin asks for and that is refused by its state has no entry; one that
/// changed nothing, because it had been done before, has none either.
#[derive(Clone, PartialEq, Debug)]
pub struct AuditEntry {
    /// `None`: the action came from the command line, or from several users who are counted together. Of a failed
    /// log-in: the account that was tried.
    pub actor: Option<AuditActor>,
    pub action: Action,
    pub subject: Subject,
    /// A JSON object; never a secret, and never a text of unlimited length.
    pub detail: Value,
    /// The time of the first, if it happened several times.
    pub at: Timestamp,
    /// How many times.
    pub count: i64,
}

impl AuditEntry {
    /// Something that happened once.
    pub fn once(
        actor: Option<AuditActor>,
        action: Action,
        subject: Subject,
        detail: Value,
        at: Timestamp,
    ) -> AuditEntry {
        AuditEntry { actor, action, subject, detail, at, count: 1 }
    }
}

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
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
    /// Another key signs the public log.
    RotateLogKey,
    /// The older of two keys does not sign the public log any more.
    RetireLogKey,
    /// Entries of the public log were brought back into a restored database.
    ImportLog,
    /// An admin logged in.
    LogIn,
    /// A log-in to an admin's account failed: a wrong password.
    FailLogIn,
    /// A log-in to an admin's account that is blocked, with the right password.
    BlockLogIn,
    /// A user who is no active admin called what only admins may call.
    RefuseCall,
    /// An admin read a user.
    ReadUser,
    /// An admin read the payments of a user.
    ReadPayments,
    /// An admin read the card charges of a user.
    ReadCharges,
}

impl Action {
    pub const ALL: [Action; 25] = [
        Action::CreateDraw,
        Action::RescheduleDraw,
        Action::AddToPool,
        Action::OpenDraw,
        Action::CloseDraw,
        Action::ConductDraw,
        Action::CancelDraw,
        Action::CreateAdmin,
        Action::ChangeUser,
        Action::ResetPassword,
        Action::ApproveWithdrawal,
        Action::RejectWithdrawal,
        Action::EndCharge,
        Action::Export,
        Action::ConfirmClock,
        Action::RotateLogKey,
        Action::RetireLogKey,
        Action::ImportLog,
        Action::LogIn,
        Action::FailLogIn,
        Action::BlockLogIn,
        Action::RefuseCall,
        Action::ReadUser,
        Action::ReadPayments,
        Action::ReadCharges,
    ];

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
            Action::RotateLogKey => "log.rotate_key",
            Action::RetireLogKey => "log.retire_key",
            Action::ImportLog => "log.import",
            Action::LogIn => "login",
            Action::FailLogIn => "login.failed",
            Action::BlockLogIn => "login.blocked",
            Action::RefuseCall => "admin.refused",
            Action::ReadUser => "user.read",
            Action::ReadPayments => "payment.read",
            Action::ReadCharges => "charge.read",
        }
    }

    /// The inverse of [`Action::as_str`].
    pub fn parse(text: &str) -> Option<Action> {
        Action::ALL.into_iter().find(|action| action.as_str() == text)
    }
}

/// The thing that the action concerned; written as `draw:7`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    Draw(DrawId),
    User(UserId),
    /// Several users, whose actions are counted together.
    Users,
    Payment(PaymentId),
    /// A table, by its name.
    Table(&'static str),
    /// The machine's clock.
    Clock,
    PublicLog,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Draw(id) => write!(f, "draw:{id}"),
            Subject::User(id) => write!(f, "user:{id}"),
            Subject::Users => f.write_str("users"),
            Subject::Payment(id) => write!(f, "payment:{id}"),
            Subject::Table(name) => write!(f, "table:{name}"),
            Subject::Clock => f.write_str("clock"),
            Subject::PublicLog => f.write_str("log"),
        }
    }
}

/// Counts what anybody may make happen at any rate, until it is written: one entry for each account and action. Past a
/// limit, further accounts share one entry, so neither the memory nor the table can be filled.
#[derive(Default, Debug)]
pub struct RepeatedActions(HashMap<Action, HashMap<Option<UserId>, AuditEntry>>);

impl RepeatedActions {
    /// Counts an entry. True if it is the first of its account and action.
    pub fn count(&mut self, entry: AuditEntry) -> bool {
        let counted = self.0.entry(entry.action).or_default();
        let user = entry.actor.map(|actor| actor.user);
        let shared = counted.len() >= MAX_COUNTED && !counted.contains_key(&user);
        let (user, entry) = match shared {
            false => (user, entry),
            true => (None, AuditEntry { actor: None, subject: Subject::Users, detail: json!({}), ..entry }),
        };
        match counted.entry(user) {
            Entry::Vacant(place) => {
                place.insert(entry);
                true
            }
            Entry::Occupied(mut first) => {
                let first = first.get_mut();
                first.count = first.count.saturating_add(entry.count);
                false
            }
        }
    }

    /// Takes all entries out, the oldest first.
    pub fn take(&mut self) -> Vec<AuditEntry> {
        let mut entries: Vec<AuditEntry> = self.0.drain().flat_map(|(_, counted)| counted.into_values()).collect();
        entries.sort_by_key(|entry| (entry.at, entry.actor.map(|actor| actor.user)));
        entries
    }

    /// Puts entries back that could not be written. They began before those that were counted meanwhile.
    pub fn put_back(&mut self, entries: Vec<AuditEntry>) {
        let newer = self.take();
        for entry in entries.into_iter().chain(newer) {
            self.count(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(user: i64, action: Action, second: i64) -> AuditEntry {
        let request = Uuid::from_u128(second.unsigned_abs().into());
        let actor = AuditActor { request, ..AuditActor::of(UserId(user)) };
        let at = Timestamp::from_second(second).unwrap();
        AuditEntry::once(Some(actor), action, Subject::User(UserId(user)), json!({}), at)
    }

    fn users_and_counts(entries: &[AuditEntry]) -> Vec<(Option<i64>, i64)> {
        entries.iter().map(|entry| (entry.actor.map(|actor| actor.user.0), entry.count)).collect()
    }

    #[test]
    fn every_action_has_a_name_of_its_own() {
        for action in Action::ALL {
            assert_eq!(Action::parse(action.as_str()), Some(action));
        }
        assert_eq!(Action::parse("LOGIN"), None);
    }

    #[test]
    fn an_account_and_an_action_have_one_entry_with_the_first_request() {
        let mut actions = RepeatedActions::default();
        assert!(actions.count(entry(1, Action::RefuseCall, 1)));
        assert!(!actions.count(entry(1, Action::RefuseCall, 2)));
        assert!(actions.count(entry(1, Action::FailLogIn, 3)));
        assert!(actions.count(entry(2, Action::RefuseCall, 4)));
        assert!(!actions.count(entry(1, Action::RefuseCall, 5)));
        let taken = actions.take();
        assert_eq!(users_and_counts(&taken), [(Some(1), 3), (Some(1), 1), (Some(2), 1)]);
        assert_eq!(taken[0], AuditEntry { count: 3, ..entry(1, Action::RefuseCall, 1) });
        assert!(actions.take().is_empty());
        assert!(actions.count(entry(1, Action::RefuseCall, 6)), "the next one is a first one again");
    }

    #[test]
    fn too_many_accounts_share_an_entry_and_leave_other_actions_alone() {
        let mut actions = RepeatedActions::default();
        let limit = MAX_COUNTED as i64;
        for user in 1..=limit + 7 {
            assert_eq!(actions.count(entry(user, Action::RefuseCall, user)), user <= limit + 1, "{user}");
        }
        assert!(!actions.count(entry(limit, Action::RefuseCall, 5_000)), "it has an entry of its own");
        assert!(actions.count(entry(5_000, Action::FailLogIn, 6_000)));
        let taken = actions.take();
        assert_eq!(taken.len(), MAX_COUNTED + 2);
        let shared: Vec<&AuditEntry> = taken.iter().filter(|entry| entry.actor.is_none()).collect();
        assert_eq!((shared.len(), shared[0].count, shared[0].subject), (1, 7, Subject::Users));
        assert!(users_and_counts(&taken).contains(&(Some(limit), 2)));
        assert!(users_and_counts(&taken).contains(&(Some(5_000), 1)));
    }

    #[test]
    fn what_was_not_written_is_counted_with_what_came_meanwhile() {
        let mut actions = RepeatedActions::default();
        actions.count(entry(1, Action::RefuseCall, 1));
        actions.count(entry(1, Action::RefuseCall, 2));
        let failed = actions.take();
        actions.count(entry(1, Action::RefuseCall, 3));
        actions.count(entry(2, Action::RefuseCall, 4));
        actions.put_back(failed);
        let taken = actions.take();
        assert_eq!(users_and_counts(&taken), [(Some(1), 3), (Some(2), 1)]);
        assert_eq!(taken[0].at, Timestamp::from_second(1).unwrap());
    }
}
