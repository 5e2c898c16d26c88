//! Every question the service asks of the database, one file a noun. Changes nothing.

pub mod audit;
pub mod check;
pub mod draws;
pub mod export;
pub mod health;
mod invariants;
pub mod keys;
pub mod payments;
pub mod payout;
pub mod tickets;
pub mod users;
pub mod wallet;

/// A page of a list: at most `limit` rows beyond `after`, in the list's own order.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Page<C> {
    pub after: Option<C>,
    pub limit: i64,
}

/// PageRows of a page, and where the next one begins, if there is more.
#[derive(Clone, PartialEq, Debug)]
pub struct PageRows<T, C> {
    pub items: Vec<T>,
    pub next: Option<C>,
}

impl<T, C> PageRows<T, C> {
    /// From up to `limit + 1` rows: the one too many only tells that there is more.
    pub fn cut(mut items: Vec<T>, limit: i64, cursor: impl Fn(&T) -> C) -> PageRows<T, C> {
        let limit = usize::try_from(limit).unwrap_or(0);
        let more = items.len() > limit;
        items.truncate(limit);
        let next = if more { items.last().map(cursor) } else { None };
        PageRows { items, next }
    }
}
