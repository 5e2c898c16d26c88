//! A ticket as its owner sees it, and where its numbers came from. This file knows nothing of a draw's state.

use jiff::Timestamp;
use serde::Serialize;

use super::game::Pick;
use super::id::{DrawId, LotteryId, PoolTicketId, TicketId};
use super::money::Money;

/// Where a ticket's numbers came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    Chosen,
    QuickPick,
    Pool,
}

impl Origin {
    pub const ALL: [Origin; 3] = [Origin::Chosen, Origin::QuickPick, Origin::Pool];

    /// As the database and the contract write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Chosen => "chosen",
            Origin::QuickPick => "quick_pick",
            Origin::Pool => "pool",
        }
    }

    /// The inverse of [`Origin::as_str`].
    pub fn parse(text: &str) -> Option<Origin> {
        Origin::ALL.into_iter().find(|origin| origin.as_str() == text)
    }
}

/// A ticket's status. Won, lost and refunded are never stored: they follow from the state of the draw.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TicketStatus {
    Reserved,
    Paid,
    Won,
    Lost,
    Refunded,
    Expired,
}

impl TicketStatus {
    pub const ALL: [TicketStatus; 6] = [
        TicketStatus::Reserved,
        TicketStatus::Paid,
        TicketStatus::Won,
        TicketStatus::Lost,
        TicketStatus::Refunded,
        TicketStatus::Expired,
    ];

    /// As the database's view and the contract write it.
    pub fn as_str(self) -> &'static str {
        match self {
            TicketStatus::Reserved => "reserved",
            TicketStatus::Paid => "paid",
            TicketStatus::Won => "won",
            TicketStatus::Lost => "lost",
            TicketStatus::Refunded => "refunded",
            TicketStatus::Expired => "expired",
        }
    }

    /// The inverse of [`TicketStatus::as_str`].
    pub fn parse(text: &str) -> Option<TicketStatus> {
        TicketStatus::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// A ticket, with the fields that the API returns.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Ticket {
    pub id: TicketId,
    pub draw_id: DrawId,
    pub lottery: LotteryId,
    /// The number among the draw's paid tickets, from 1 on without a gap; none until the ticket is paid.
    pub number: Option<i64>,
    pub numbers: Pick,
    pub origin: Origin,
    pub pool_ticket_id: Option<PoolTicketId>,
    pub status: TicketStatus,
    pub price: Money,
    pub reserved_until: Option<Timestamp>,
    /// How many winning numbers a paid ticket has, once the winning numbers are known.
    pub matches: Option<i16>,
    /// The prize, once the draw is completed: zero if the ticket lost.
    pub prize: Option<Money>,
    pub created_at: Timestamp,
}
