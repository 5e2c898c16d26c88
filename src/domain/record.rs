//! Records: what a draw has decided and the database is to make true. A record carries all that its
//! transaction needs, the draw's epoch among it, and is judged once more against the database's state.

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::game::Pick;
use super::id::{DrawId, LotteryId, PaymentId, PoolTicketId, TicketId, UserId};
use super::money::Money;
use super::payment::{Payment, PaymentStatus};
use super::ticket::Origin;

/// Whose Idempotency-Key, and which: the first 16 bytes of the SHA-256 of both. Of one length, so that its row
/// and its place in the index are small.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KeyId(pub Uuid);

impl KeyId {
    pub fn of(user: UserId, text: &str) -> KeyId {
        KeyId(short(Sha256::new().chain_update(user.0.to_be_bytes()).chain_update(text)))
    }
}

/// The first half of a SHA-256: nobody finds two texts with the same one.
pub fn short(hash: Sha256) -> Uuid {
    let digest: [u8; 32] = hash.finalize().into();
    Uuid::from_bytes(digest.as_chunks().0[0])
}

/// A client's Idempotency-Key with the digest of the request it came with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    pub user: UserId,
    pub id: KeyId,
    /// The first 16 bytes of the SHA-256 of the path and the parsed body.
    pub request: Uuid,
}

/// The fencing token: a record of an older epoch than its draw's is refused by the transaction.
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

/// Tickets taken by a player: paid from the wallet in the same step, or reserved.
#[derive(Clone, PartialEq, Debug)]
pub struct Order {
    pub fence: Fence,
    pub lottery: LotteryId,
    pub user: UserId,
    pub payment: PaymentId,
    pub price: Money,
    pub lines: Vec<Line>,
    /// None: paid from the wallet at once.
    pub reserved_until: Option<Timestamp>,
    pub at: Timestamp,
    pub key: Option<Key>,
}

impl Order {
    /// Whether one of its tickets was made in advance.
    pub fn takes_from_pool(&self) -> bool {
        self.lines.iter().any(|line| line.pool_ticket.is_some())
    }
}

/// A reservation paid from the wallet. `tickets` are those not given back.
#[derive(Clone, PartialEq, Debug)]
pub struct Pay {
    pub fence: Fence,
    pub user: UserId,
    pub payment: PaymentId,
    pub tickets: Vec<TicketId>,
    pub at: Timestamp,
    pub key: Option<Key>,
}

/// One ticket of a reservation given back. With the last one the payment expires.
#[derive(Clone, PartialEq, Debug)]
pub struct GiveBack {
    pub fence: Fence,
    pub user: UserId,
    pub payment: PaymentId,
    pub ticket: TicketId,
    pub price: Money,
    pub at: Timestamp,
}

/// A reservation that ran out. One whose card is being charged stays `processing`.
#[derive(Clone, PartialEq, Debug)]
pub struct Expire {
    pub fence: Fence,
    pub user: UserId,
    pub payment: PaymentId,
    pub tickets: Vec<TicketId>,
    pub at: Timestamp,
}

/// A card is about to be charged for a reservation: written before the provider is called.
#[derive(Clone, PartialEq, Debug)]
pub struct BeginCharge {
    pub fence: Fence,
    pub user: UserId,
    pub payment: PaymentId,
    pub tickets: Vec<TicketId>,
    pub at: Timestamp,
    /// Looked up only: it is kept with the charge's end.
    pub key: Option<Key>,
}

/// What the provider said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Charge {
    Paid,
    Declined(String),
    /// The provider will tell later.
    Processing,
}

/// The end of a charge for a reservation.
#[derive(Clone, PartialEq, Debug)]
pub struct EndCharge {
    /// None when the draw holds no ticket for it any more: the money goes to the wallet.
    pub held: Option<HeldTickets>,
    pub user: UserId,
    pub payment: PaymentId,
    /// Which charge of the payment: when it was last updated as this one began. What is handed on again must
    /// not end a later one.
    pub begun: Timestamp,
    pub charge: Charge,
    pub at: Timestamp,
    pub key: Option<Key>,
}

/// The tickets a draw still holds for a payment.
#[derive(Clone, PartialEq, Debug)]
pub struct HeldTickets {
    pub fence: Fence,
    pub tickets: Vec<TicketId>,
}

/// A card is about to be charged for the wallet: written before the provider is called.
#[derive(Clone, PartialEq, Debug)]
pub struct BeginDeposit {
    pub user: UserId,
    pub payment: PaymentId,
    pub amount: Money,
    pub at: Timestamp,
    pub key: Option<Key>,
}

/// The end of a deposit's charge.
#[derive(Clone, PartialEq, Debug)]
pub struct EndDeposit {
    pub user: UserId,
    pub payment: PaymentId,
    pub charge: Charge,
    pub at: Timestamp,
    pub key: Option<Key>,
}

/// An amount set aside to leave the wallet, until an admin says whether it may.
#[derive(Clone, PartialEq, Debug)]
pub struct BeginWithdrawal {
    pub user: UserId,
    pub payment: PaymentId,
    pub amount: Money,
    pub at: Timestamp,
    pub key: Option<Key>,
}

/// An admin's word on a withdrawal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WithdrawalDecision {
    /// It is paid out.
    Approved,
    /// The money goes back into the wallet.
    Rejected,
}

/// The end of a withdrawal.
#[derive(Clone, PartialEq, Debug)]
pub struct EndWithdrawal {
    /// Whose it is.
    pub user: UserId,
    pub payment: PaymentId,
    pub verdict: WithdrawalDecision,
    /// The admin.
    pub by: UserId,
    pub at: Timestamp,
    pub key: Option<Key>,
}

/// Whatever the batches write.
#[derive(Clone, PartialEq, Debug)]
pub enum Record {
    Order(Order),
    Pay(Pay),
    GiveBack(GiveBack),
    Expire(Expire),
    BeginCharge(BeginCharge),
    EndCharge(EndCharge),
    BeginDeposit(BeginDeposit),
    EndDeposit(EndDeposit),
    BeginWithdrawal(BeginWithdrawal),
    EndWithdrawal(EndWithdrawal),
}

impl Record {
    /// The draw it depends on, and the epoch it was decided in.
    pub fn fence(&self) -> Option<Fence> {
        match self {
            Record::Order(it) => Some(it.fence),
            Record::Pay(it) => Some(it.fence),
            Record::GiveBack(it) => Some(it.fence),
            Record::Expire(it) => Some(it.fence),
            Record::BeginCharge(it) => Some(it.fence),
            Record::EndCharge(it) => it.held.as_ref().map(|held| held.fence),
            Record::BeginDeposit(_)
            | Record::EndDeposit(_)
            | Record::BeginWithdrawal(_)
            | Record::EndWithdrawal(_) => None,
        }
    }

    /// How many tickets were paid for, once it was accepted so.
    pub fn sells(&self, accepted: &Outcome) -> usize {
        match (self, accepted) {
            (Record::Order(it), Outcome::Ordered { first_number: Some(_) }) => it.lines.len(),
            (Record::Pay(it), Outcome::Payment(_)) => it.tickets.len(),
            (Record::EndCharge(EndCharge { held: Some(held), .. }), Outcome::Payment(payment))
                if payment.status == PaymentStatus::Paid =>
            {
                held.tickets.len()
            }
            _ => 0,
        }
    }

    /// The key it is kept under, if its client gave one.
    pub fn key(&self) -> Option<&Key> {
        match self {
            Record::Order(it) => it.key.as_ref(),
            Record::Pay(it) => it.key.as_ref(),
            Record::BeginCharge(it) => it.key.as_ref(),
            Record::EndCharge(it) => it.key.as_ref(),
            Record::BeginDeposit(it) => it.key.as_ref(),
            Record::EndDeposit(it) => it.key.as_ref(),
            Record::BeginWithdrawal(it) => it.key.as_ref(),
            Record::EndWithdrawal(it) => it.key.as_ref(),
            Record::GiveBack(_) | Record::Expire(_) => None,
        }
    }
}

/// A record that was written.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// An order. Paid at once, its tickets bear the numbers from this one on.
    Ordered { first_number: Option<i64> },
    /// A payment, as it stands now.
    Payment(Payment),
    /// An expiry or a giving back.
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

/// A success that was kept under a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredAnswer {
    pub request: Uuid,
    pub kind: AnswerKind,
    pub payment: Option<PaymentId>,
    /// The body first answered, where it is not rebuilt from the payment.
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
    #[error("the payment is not payable")]
    NotPayable,
    /// It had its end before, and another one.
    #[error("the withdrawal is {} already", .0.as_str())]
    Ended(PaymentStatus),
    #[error("the wallet holds less than that")]
    InsufficientFunds,
    /// The database would not take it, though it took its neighbours.
    #[error("the record is broken")]
    Rejected,
    /// Its deadline passed before a transaction took it up.
    #[error("not taken up in time")]
    Overloaded,
}
