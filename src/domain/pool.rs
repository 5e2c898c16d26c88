//! The pool: a draw's tickets that were made in advance and that nobody holds. This file knows no buyers and
//! no prices.

use std::collections::BTreeMap;

use super::game::Pick;
use super::id::PoolTicketId;

/// The free tickets of one draw, in the order in which they were made.
///
/// ```
/// # use lottery::domain::{game::Game, id::PoolTicketId, pool::Pool};
/// # use uuid::Uuid;
/// let game = Game::new(5, 36).unwrap();
/// let id = PoolTicketId(Uuid::from_u128(7));
/// let mut pool = Pool::default();
/// pool.put(id, game.pick(&[1, 7, 13, 22, 36]).unwrap());
/// assert!(pool.take(id).is_some());
/// assert!(pool.take(id).is_none(), "one ticket, one holder");
/// ```
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Pool {
    free: BTreeMap<PoolTicketId, Pick>,
}

impl Pool {
    /// Puts a ticket into the pool: a new one, or one that was returned.
    ///
    /// # Panics
    /// If the ticket is already in the pool: two users would have held it at the same time.
    pub fn put(&mut self, id: PoolTicketId, pick: Pick) {
        let before = self.free.insert(id, pick);
        assert!(before.is_none(), "pool ticket {id} was put back while it was free");
    }

    /// Takes the ticket with this id, if it is free.
    pub fn take(&mut self, id: PoolTicketId) -> Option<Pick> {
        self.free.remove(&id)
    }

    /// Takes any free ticket: the last made, because users who browse the pool see the first ones.
    pub fn take_any(&mut self) -> Option<(PoolTicketId, Pick)> {
        self.free.pop_last()
    }

    /// How many tickets are free.
    pub fn len(&self) -> usize {
        self.free.len()
    }

    pub fn is_empty(&self) -> bool {
        self.free.is_empty()
    }
}
