//! Plain types between the simulated service and the model that checks it: requests, answers, and the rows of a
//! commit. They contain no type of the domain, so that the model cannot use its logic.

/// The low half of a UUID: the simulation's ids are a counter.
pub type Id = u64;

/// A row that a commit wrote, or changed.
#[derive(Clone, Debug)]
pub enum Fact {
    Transfer(Transfer),
    Payment(Payment),
    Charge(Charge),
    Ticket(Ticket),
    TicketPaid {
        ticket: Id,
        number: i64,
    },
    TicketReleased {
        ticket: Id,
        how: &'static str,
    },
    Sold {
        draw: i64,
        sold: i64,
    },
    /// The edge of the draw's ticket log.
    Edge {
        draw: i64,
        edge: Option<Vec<u8>>,
    },
    Status {
        draw: i64,
        status: &'static str,
    },
    Times {
        draw: i64,
        times: DrawTimes,
    },
    Pool {
        draw: i64,
        ticket: Id,
        mask: u64,
    },
    Sealed {
        draw: i64,
        tickets: i64,
        orders: i64,
        root: [u8; 32],
    },
    Numbers {
        draw: i64,
        mask: u64,
        jackpot: i64,
    },
    Prizes(Prizes),
}

/// The times of a draw, in seconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct DrawTimes {
    pub open: Option<i64>,
    pub close: i64,
    pub draw: i64,
}

/// New times that an admin requested for a draw; the others stay.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct NewTimes {
    pub open: Option<i64>,
    pub close: Option<i64>,
    pub draw: Option<i64>,
}

#[derive(Clone, Debug)]
pub struct Transfer {
    pub debit: i64,
    pub credit: i64,
    pub amount: i64,
    pub kind: &'static str,
    pub reference: Option<Id>,
    /// The user whose wallet changed, and the balance after that.
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

/// The name of a charge: its payment, and when it began in milliseconds.
pub type Name = (Id, i64);

#[derive(Clone, PartialEq, Debug)]
pub struct Charge {
    pub payment: Id,
    pub begun: i64,
    pub user: i64,
    pub amount: i64,
    pub outcome: Option<&'static str>,
    pub late: bool,
    pub issue: Option<&'static str>,
}

impl Charge {
    pub fn name(&self) -> Name {
        (self.payment, self.begun)
    }
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
    /// For each tier: matches, winners, and the prize of one winner.
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
    Share {
        basis_points: i64,
        /// What each winner gets at least.
        minimum: Option<i64>,
    },
}

/// A request of a player. The same request with the same key is a repetition.
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
    /// `None`: numbers that are not valid.
    Numbers(Option<u64>),
    QuickPick,
    PoolTicket(Id),
    FromPool,
}

/// An answer to the player.
#[derive(Clone, PartialEq, Debug)]
pub enum Told {
    PlacedOrder(PlacedOrder),
    Payment(Paid),
    Released,
    No(No),
    /// The answer "unknown", or no answer.
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

/// Why a request was refused. Nothing of it was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum No {
    NotOpen,
    InvalidPick,
    TicketUnavailable,
    PoolEmpty,
    TooManyReservations,
    InsufficientFunds,
    NotPayable,
    NotReserved,
    KeyReused,
    /// The first request with this key is still running.
    InProgress,
    /// Temporary: the player may send the request again.
    Overloaded,
    /// An internal error.
    Broken,
}
