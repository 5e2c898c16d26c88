//! Records: what a draw has decided and the persistence actor has to write. A record contains all that its
//! transaction needs, including the draw's epoch. Before it is written, `batch_state` checks it once more
//! against the state in the database.

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::audit::AuditActor;
use super::charge::{ChargeIssue, ChargeName, ChargeOutcome};
use super::game::Pick;
use super::id::{DrawId, LotteryId, PaymentId, PoolTicketId, TicketId, UserId};
use super::money::Money;
use super::payment::{Payment, PaymentStatus};
use super::ticket::Origin;
use super::ticket_log::{Receipt, TicketLogFault};

/// Identifies an Idempotency-Key of a user: the first 16 bytes of the SHA-256 of the user's id and the key's
/// text. The fixed length keeps its row and its index entry small.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KeyId(pub Uuid);

impl KeyId {
    pub fn of(user: UserId, text: &str) -> KeyId {
        KeyId(short(Sha256::new().chain_update(user.0.to_be_bytes()).chain_update(text)))
    }
}

/// The first 16 bytes of a SHA-256. They suffice: nobody can find two texts with the same 16 bytes.
pub fn short(hash: Sha256) -> Uuid {
    let digest: [u8; 32] = hash.finalize().into();
    Uuid::from_bytes(digest.as_chunks().0[0])
}

/// A client's Idempotency-Key, with the digest of the request that it came with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    pub user: UserId,
    pub id: KeyId,
    /// The first 16 bytes of the SHA-256 of the path and the parsed body.
    pub request: Uuid,
}

impl Key {
    /// The refusal of a request whose key is stored already: with the first answer, or because the key came with
    /// another request.
    pub fn refusal(&self, stored: StoredAnswer) -> Refusal {
        if stored.request == self.request { Refusal::Replay(stored) } else { Refusal::KeyReused }
    }
}

/// The fencing token: the transaction refuses a record whose epoch is older than its draw's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fence {
    pub draw: DrawId,
    pub epoch: i64,
}

/// One ticket of an order.
#[derive(Clone, PartialEq, Debug)]
pub struct Line {
    pub ticket: TicketId,
    pub pick: Pick,
    pub origin: Origin,
    pub pool_ticket: Option<PoolTicketId>,
}

/// An order of tickets: paid from the wallet in the same record, or reserved.
#[derive(Clone, PartialEq, Debug)]
pub struct Order {
    pub fence: Fence,
    pub lottery: LotteryId,
    pub user: UserId,
    pub payment: PaymentId,
    pub price: Money,
    pub lines: Vec<Line>,
    /// `None`: paid from the wallet at once.
    pub reserved_until: Option<Timestamp>,
    pub at: Timestamp,
    pub key: Option<Key>,
}

impl Order {
    /// Whether one of its tickets is from the pool.
    pub fn takes_from_pool(&self) -> bool {
        self.lines.iter().any(|line| line.pool_ticket.is_some())
    }

    /// The tickets with their numbers: consecutive from `first_number` on. `None`: they are reserved, and get their
    /// numbers when they are paid.
    pub fn numbered(&self, first_number: Option<i64>) -> impl ExactSizeIterator<Item = (&Line, Option<i64>)> {
        let number = move |index: usize| first_number.map(|first| first + index as i64);
        self.lines.iter().enumerate().map(move |(index, line)| (line, number(index)))
    }
}

/// A ticket that a reservation holds, with its numbers: the ticket log has the numbers of what is paid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeldTicket {
    pub id: TicketId,
    pub pick: Pick,
}

/// A reservation is paid from the wallet. `tickets` are those that were not returned, in the order of their lines.
#[derive(Clone, PartialEq, Debug)]
pub struct Pay {
    pub fence: Fence,
    pub user: UserId,
    pub payment: PaymentId,
    pub tickets: Vec<HeldTicket>,
    pub at: Timestamp,
    pub key: Option<Key>,
}

/// One ticket of a reservation is returned. With the last one the payment expires.
#[derive(Clone, PartialEq, Debug)]
pub struct GiveBack {
    pub fence: Fence,
    pub user: UserId,
    pub payment: PaymentId,
    pub ticket: TicketId,
    pub price: Money,
    pub at: Timestamp,
}

/// A reservation has expired. If its card is being charged, its payment stays `processing`.
#[derive(Clone, PartialEq, Debug)]
pub struct Expire {
    pub fence: Fence,
    pub user: UserId,
    pub payment: PaymentId,
    pub tickets: Vec<TicketId>,
    pub at: Timestamp,
}

/// A card is about to be charged for a reservation. This is written before the provider is called.
#[derive(Clone, PartialEq, Debug)]
pub struct BeginCharge {
    pub fence: Fence,
    pub user: UserId,
    pub payment: PaymentId,
    pub tickets: Vec<TicketId>,
    pub at: Timestamp,
    /// This record only looks the key up; `EndCharge` stores it.
    pub key: Option<Key>,
}

/// What the payment provider answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Charge {
    Paid,
    Declined(String),
    /// The provider will send the result later.
    Processing,
    /// What the provider answered does not suffice: an admin must end the charge.
    Unresolved(ChargeIssue),
}

impl Charge {
    /// Whether this ends the charge.
    pub fn is_final(&self) -> bool {
        matches!(self, Charge::Paid | Charge::Declined(_))
    }
}

/// The end of a charge, for a reservation or a deposit.
#[derive(Clone, PartialEq, Debug)]
pub struct EndCharge {
    /// `None`: no draw holds tickets for this payment (any more), and the money goes to the wallet.
    pub held: Option<HeldTickets>,
    pub user: UserId,
    pub payment: PaymentId,
    /// Which charge of the payment this ends: the payment's `updated_at` when that charge began. A result
    /// that is delivered twice must not end a later charge.
    pub begun: Timestamp,
    pub charge: Charge,
    /// `None`: the provider decides. Boxed, because it is rare, and every order has the size of this record.
    pub admin: Option<Box<AdminDecision>>,
    pub at: Timestamp,
    pub key: Option<Key>,
}

impl EndCharge {
    pub fn name(&self) -> ChargeName {
        ChargeName { payment: self.payment, begun: self.begun }
    }
}

/// An admin ends a charge that the provider cannot tell of.
#[derive(Clone, PartialEq, Debug)]
pub struct AdminDecision {
    pub by: AuditActor,
    /// The reason, for the audit log.
    pub note: String,
    /// The payment's tickets, for the answer: a batch does not read tickets.
    pub tickets: Vec<TicketId>,
}

/// The tickets that a draw still holds for a payment, in the order of their lines.
#[derive(Clone, PartialEq, Debug)]
pub struct HeldTickets {
    pub fence: Fence,
    pub tickets: Vec<HeldTicket>,
}

/// A card is about to be charged for a deposit. This is written before the provider is called.
#[derive(Clone, PartialEq, Debug)]
pub struct BeginDeposit {
    pub user: UserId,
    pub payment: PaymentId,
    pub amount: Money,
    pub at: Timestamp,
    pub key: Option<Key>,
}

/// A withdrawal begins: the amount leaves the wallet and is held until an admin approves or rejects it.
#[derive(Clone, PartialEq, Debug)]
pub struct BeginWithdrawal {
    pub user: UserId,
    pub payment: PaymentId,
    pub amount: Money,
    pub at: Timestamp,
    pub key: Option<Key>,
}

/// An admin's decision about a withdrawal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WithdrawalDecision {
    /// The amount is paid out.
    Approved,
    /// The money goes back into the wallet.
    Rejected,
}

/// The end of a withdrawal.
#[derive(Clone, PartialEq, Debug)]
pub struct EndWithdrawal {
    /// The user who withdraws.
    pub user: UserId,
    pub payment: PaymentId,
    pub verdict: WithdrawalDecision,
    /// The admin who decided.
    pub by: AuditActor,
    pub at: Timestamp,
    pub key: Option<Key>,
}

/// Everything that the persistence actor writes in batches.
#[derive(Clone, PartialEq, Debug)]
pub enum Record {
    Order(Order),
    Pay(Pay),
    GiveBack(GiveBack),
    Expire(Expire),
    BeginCharge(BeginCharge),
    EndCharge(EndCharge),
    BeginDeposit(BeginDeposit),
    BeginWithdrawal(BeginWithdrawal),
    EndWithdrawal(EndWithdrawal),
}

impl Record {
    /// The draw that the record depends on, and the epoch in which the draw decided it.
    pub fn fence(&self) -> Option<Fence> {
        match self {
            Record::Order(it) => Some(it.fence),
            Record::Pay(it) => Some(it.fence),
            Record::GiveBack(it) => Some(it.fence),
            Record::Expire(it) => Some(it.fence),
            Record::BeginCharge(it) => Some(it.fence),
            Record::EndCharge(it) => it.held.as_ref().map(|held| held.fence),
            Record::BeginDeposit(_) | Record::BeginWithdrawal(_) | Record::EndWithdrawal(_) => None,
        }
    }

    /// How many tickets the record pays for, given that it was accepted with this outcome.
    pub fn sells(&self, accepted: &Outcome) -> usize {
        match (self, accepted) {
            (Record::Order(it), Outcome::Ordered { first_number: Some(_), .. }) => it.lines.len(),
            (Record::Pay(it), Outcome::Payment(_)) => it.tickets.len(),
            (Record::EndCharge(EndCharge { held: Some(held), .. }), Outcome::Payment(payment))
                if payment.status == PaymentStatus::Paid =>
            {
                held.tickets.len()
            }
            _ => 0,
        }
    }

    /// The Idempotency-Key, if the client gave one.
    pub fn key(&self) -> Option<&Key> {
        match self {
            Record::Order(it) => it.key.as_ref(),
            Record::Pay(it) => it.key.as_ref(),
            Record::BeginCharge(it) => it.key.as_ref(),
            Record::EndCharge(it) => it.key.as_ref(),
            Record::BeginDeposit(it) => it.key.as_ref(),
            Record::BeginWithdrawal(it) => it.key.as_ref(),
            Record::EndWithdrawal(it) => it.key.as_ref(),
            Record::GiveBack(_) | Record::Expire(_) => None,
        }
    }
}

/// The result of a record that was written.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// An order. If it was paid at once, its tickets have the numbers from `first_number` on, and the draw's ticket
    /// log, if there is one, has it.
    Ordered { first_number: Option<i64>, receipt: Option<Receipt> },
    /// The payment after the record.
    Payment(Payment),
    /// A card's money came too late, and is in the wallet; the payment after that.
    LateCredit(Payment),
    /// A reservation expired, or one of its tickets was returned.
    Released,
}

/// What a stored answer says about its call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AnswerKind {
    /// The call created something: an order, a deposit, a withdrawal, pool tickets.
    Created,
    /// The call changed something that existed before.
    Changed,
}

/// A successful answer, stored under an Idempotency-Key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredAnswer {
    pub request: Uuid,
    pub kind: AnswerKind,
    pub payment: Option<PaymentId>,
    /// The body of the first answer, if it cannot be rebuilt from the payment.
    pub answer: Option<String>,
}

/// Why a record was not written. It had no effect.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    #[error("an earlier success is kept under this key")]
    Replay(StoredAnswer),
    #[error("the key was used with another request")]
    KeyReused,
    #[error("the draw has been taken over by a newer epoch")]
    StaleEpoch,
    #[error(transparent)]
    TicketLog(#[from] TicketLogFault),
    #[error("the payment is not payable")]
    NotPayable,
    /// The withdrawal was decided before, in the other way.
    #[error("the withdrawal is {} already", .0.as_str())]
    Ended(PaymentStatus),
    /// An admin approves a withdrawal from the own wallet.
    #[error("nobody approves a withdrawal from their own wallet")]
    OwnWithdrawal,
    /// An admin ends the charge of an own payment.
    #[error("nobody ends a charge of their own payment")]
    OwnPayment,
    /// The charge ended before, in the other way.
    #[error("the charge has ended already: {}", .0.as_str())]
    ChargeEnded(ChargeOutcome),
    #[error("the wallet holds less than that")]
    InsufficientFunds,
    /// The database refused this record, although it accepted the other records of the batch.
    #[error("the record cannot be written")]
    Rejected,
    /// Its deadline passed before a transaction began with it.
    #[error("no transaction began before the deadline")]
    Overloaded,
}
