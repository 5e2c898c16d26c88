//! A ticket as its owner sees it, and where its numbers came from. This file knows nothing of a draw's state.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::game::Pick;
use super::id::{DrawId, LotteryId, PoolTicketId, TicketId};
use super::money::Money;

/// Where a ticket's numbers came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    Chosen,
    QuickPick,
    Pool,
}

impl Origin {
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
        [Origin::Chosen, Origin::QuickPick, Origin::Pool].into_iter().find(|origin| origin.as_str() == text)
    }
}

/// A ticket's status. Won, lost and refunded are never stored: they follow from the state of the draw.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ToSchema)]
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
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "id": "01980000-0000-7000-8000-000000000002", "draw_id": 7, "lottery": "5of36", "number": 1,
    "numbers": [1, 7, 13, 22, 36], "origin": "chosen", "pool_ticket_id": null, "status": "paid", "price": 5000,
    "reserved_until": null, "matches": null, "prize": null, "created_at": "2030-05-01T12:00:00Z"
}))]
pub struct Ticket {
    pub id: TicketId,
    pub draw_id: DrawId,
    pub lottery: LotteryId,
    /// The number among the draw's paid tickets, from 1 on without a gap; none until the ticket is paid.
    #[schema(required)]
    pub number: Option<i64>,
    #[schema(value_type = Vec<i32>)]
    pub numbers: Pick,
    pub origin: Origin,
    #[schema(required)]
    pub pool_ticket_id: Option<PoolTicketId>,
    pub status: TicketStatus,
    pub price: Money,
    #[schema(required)]
    pub reserved_until: Option<Timestamp>,
    /// How many winning numbers a paid ticket has, once the winning numbers are known.
    #[schema(required)]
    pub matches: Option<i16>,
    /// The prize, once the draw is completed: zero if the ticket lost.
    #[schema(required)]
    pub prize: Option<Money>,
    pub created_at: Timestamp,
}
