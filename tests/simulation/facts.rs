//! Plain words between the simulated service and the model that judges it: what was asked, what was told,
//! which rows a commit wrote. No type of the domain, so that the model cannot borrow its logic.

/// The low half of a UUID: the simulation's ids are a counter.
pub type Id = u64;

/// A row that a commit wrote, or changed.
#[derive(Clone, Debug)]
pub enum Fact {
    Transfer(Transfer),
    Payment(Payment),
    Ticket(Ticket),
    TicketPaid { ticket: Id, number: i64 },
    TicketReleased { ticket: Id, how: &'static str },
    Sold { draw: i64, sold: i64 },
    Status { draw: i64, status: &'static str },
    CutOff { draw: i64, at: i64 },
    Pool { draw: i64, ticket: Id, mask: u64 },
    Sealed { draw: i64, tickets: i64 },
    Numbers { draw: i64, mask: u64, jackpot: i64 },
    Prizes(Prizes),
}

#[derive(Clone, Debug)]
pub struct Transfer {
    pub debit: i64,
    pub credit: i64,
    pub amount: i64,
    pub kind: &'static str,
    pub reference: Option<Id>,
    /// Whose wallet it moved, and what it left there.
    pub wallet: Option<(i64, i64)>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Payment {
    pub id: Id,
    pub user: i64,
    pub kind: &'static str,
    pub status: &'static str,
    pub amount: i64,
    pub method: Option<&'static str>,
    pub draw: Option<i64>,
    pub until: Option<i64>,
    pub created: i64,
    pub updated: i64,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Ticket {
    pub id: Id,
    pub user: i64,
    pub payment: Id,
    pub draw: i64,
    pub mask: u64,
    pub pool: Option<Id>,
    pub number: Option<i64>,
    pub status: &'static str,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Prizes {
    pub draw: i64,
    pub fund: i64,
    pub rollover: i64,
    /// Matches, winners and what one of them gets.
    pub tiers: Vec<(u8, i64, i64)>,
}

/// The rules of a draw, as its players read them.
#[derive(Clone, Debug)]
pub struct Rules {
    pub pick: u8,
    pub of: u8,
    pub price: i64,
    /// Basis points.
    pub fund_share: i64,
    pub tiers: Vec<(u8, Award)>,
}

#[derive(Clone, Copy, Debug)]
pub enum Award {
    Fixed(i64),
    /// Basis points.
    Share(i64),
}

/// What a player asks for. Asked again with its key, it is the same request.
#[derive(Clone, Debug)]
pub struct OrderRequest {
    pub user: i64,
    pub key: Option<String>,
    pub what: What,
}

#[derive(Clone, PartialEq, Debug)]
pub enum What {
    Order { draw: i64, lines: Vec<Line>, reserve: bool },
    Wallet { payment: Id },
    Card { payment: Id },
    GiveBack { payment: Id, ticket: Id },
    Deposit { amount: i64 },
    Withdrawal { amount: i64 },
}

#[derive(Clone, PartialEq, Debug)]
pub enum Line {
    /// None: numbers that are not lawful.
    Numbers(Option<u64>),
    QuickPick,
    PoolTicket(Id),
    FromPool,
}

/// What the player is told.
#[derive(Clone, PartialEq, Debug)]
pub enum Told {
    PlacedOrder(PlacedOrder),
    Payment(Paid),
    Released,
    No(No),
    /// The answer "unknown", or none at all.
    Unknown,
}

#[derive(Clone, PartialEq, Debug)]
pub struct PlacedOrder {
    pub payment: Id,
    pub amount: i64,
    pub until: Option<i64>,
    pub created: i64,
    pub tickets: Vec<OrderedTicket>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct OrderedTicket {
    pub id: Id,
    pub mask: u64,
    pub pool: Option<Id>,
    pub number: Option<i64>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Paid {
    pub payment: Id,
    pub status: String,
    pub amount: i64,
    pub method: Option<String>,
    pub tickets: Vec<Id>,
    pub failure: Option<String>,
}

/// Why not. Nothing of this request was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum No {
    NotOpen,
    InvalidPick,
    TicketUnavailable,
    PoolEmpty,
    InsufficientFunds,
    NotPayable,
    NotReserved,
    KeyReused,
    /// The first request with this key still runs.
    InProgress,
    /// OrderRequest again.
    Overloaded,
    /// Our fault.
    Broken,
}
