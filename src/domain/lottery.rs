//! A lottery's rules: how many numbers are picked, what a ticket costs and what it may win; and the states of
//! a draw. This file knows no single draw.

use serde::Serialize;

use super::game::Game;
use super::id::LotteryId;
use super::money::{Money, Share};
use super::prize::PrizeTable;

/// The rules of a lottery: as configured, or as copied onto a draw when the draw was created.
#[derive(Clone, PartialEq, Debug)]
pub struct Rules {
    pub lottery: LotteryId,
    pub game: Game,
    /// The price of one ticket.
    pub price: Money,
    /// How much of the sales becomes the prize fund.
    pub fund_share: Share,
    pub prizes: PrizeTable,
}

/// A configured lottery; draws are created from it.
#[derive(Clone, PartialEq, Debug)]
pub struct Lottery {
    pub name: String,
    pub rules: Rules,
}

/// A draw's status. The variants are in the order in which a draw goes through them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DrawStatus {
    Scheduled,
    Open,
    Closed,
    Settling,
    Completed,
    Cancelling,
    Cancelled,
}

impl DrawStatus {
    pub const ALL: [DrawStatus; 7] = [
        DrawStatus::Scheduled,
        DrawStatus::Open,
        DrawStatus::Closed,
        DrawStatus::Settling,
        DrawStatus::Completed,
        DrawStatus::Cancelling,
        DrawStatus::Cancelled,
    ];

    /// As the database and the contract write it.
    pub fn as_str(self) -> &'static str {
        match self {
            DrawStatus::Scheduled => "scheduled",
            DrawStatus::Open => "open",
            DrawStatus::Closed => "closed",
            DrawStatus::Settling => "settling",
            DrawStatus::Completed => "completed",
            DrawStatus::Cancelling => "cancelling",
            DrawStatus::Cancelled => "cancelled",
        }
    }

    /// The inverse of [`DrawStatus::as_str`].
    pub fn parse(text: &str) -> Option<DrawStatus> {
        DrawStatus::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether nothing can happen to the draw any more: such a draw has no actor.
    pub fn is_over(self) -> bool {
        matches!(self, DrawStatus::Completed | DrawStatus::Cancelled)
    }
}
