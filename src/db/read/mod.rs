//! All reads of the service outside its write transactions, one file for each noun. They change nothing.

pub mod audit;
pub mod beacon;
pub mod charges;
pub mod check;
pub mod draws;
pub mod export;
pub mod finance;
pub mod health;
pub mod installation;
mod invariants;
pub mod keys;
mod log_check;
mod log_tiles;
pub mod nodes;
pub mod payments;
pub mod payout;
pub mod public_log;
mod public_log_check;
mod rules;
pub mod schema_objects;
pub mod ticket_log;
pub mod tickets;
pub mod users;
pub mod wallet;
pub mod witnesses;

/// A page of a list: at most `limit` rows after the row `after`, in the list's order.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Page<C> {
    pub after: Option<C>,
    pub limit: i64,
}

/// The rows of a page, and the cursor of the next page if there is one.
#[derive(Clone, PartialEq, Debug)]
pub struct PageRows<T, C> {
    pub items: Vec<T>,
    pub next: Option<C>,
}

impl<T, C> PageRows<T, C> {
    /// Makes a page from up to `limit + 1` rows: the last of them only tells that there is a next page.
    pub fn cut(mut items: Vec<T>, limit: i64, cursor: impl Fn(&T) -> C) -> PageRows<T, C> {
        let limit = usize::try_from(limit).unwrap_or(0);
        let more = items.len() > limit;
        items.truncate(limit);
        let next = if more { items.last().map(cursor) } else { None };
        PageRows { items, next }
    }
}
