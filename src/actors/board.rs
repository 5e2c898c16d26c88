//! The board: what the live draws look like at this moment, published by their actors and read by
//! everybody without asking them. Knows no draw that is over.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::domain::draw::DrawView;
use crate::domain::id::{DrawId, LotteryId};
use crate::domain::money::Money;

/// A shared board. Bounded by the number of active draws and of lotteries.
#[derive(Clone, Default)]
pub struct Board(Arc<RwLock<Posted>>);

#[derive(Default)]
struct Posted {
    draws: HashMap<DrawId, Arc<DrawView>>,
    jackpots: HashMap<LotteryId, Money>,
}

impl Board {
    /// A live draw as its actor last published it.
    pub fn draw(&self, id: DrawId) -> Option<Arc<DrawView>> {
        self.read(|posted| posted.draws.get(&id).cloned())
    }

    /// What a lottery's last draw left for its next.
    pub fn jackpot(&self, lottery: &LotteryId) -> Money {
        self.read(|posted| posted.jackpots.get(lottery).copied()).unwrap_or(Money::ZERO)
    }

    /// Publishes a draw; one that is over leaves the board, the database knows it.
    pub fn publish(&self, view: DrawView) {
        self.write(|posted| {
            if view.status.is_over() {
                posted.draws.remove(&view.id);
            } else {
                posted.draws.insert(view.id, Arc::new(view));
            }
        });
    }

    /// Publishes a lottery's jackpot.
    pub fn set_jackpot(&self, lottery: &LotteryId, amount: Money) {
        self.write(|posted| posted.jackpots.insert(lottery.clone(), amount));
    }

    // Nothing that runs under the lock leaves the maps half changed, so a poisoned lock is still good.

    fn read<T>(&self, look: impl FnOnce(&Posted) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, change: impl FnOnce(&mut Posted) -> T) -> T {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }
}
