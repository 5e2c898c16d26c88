//! The snapshots: what the live draws and the newest of those that are over look like at this moment,
//! published by their actors and read by everybody without asking them. Older draws are for the database.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::domain::draw::DrawSnapshot;
use crate::domain::id::{DrawId, LotteryId};
use crate::domain::lottery::DrawStatus;
use crate::domain::money::Money;

/// Draws that are over and still on the snapshots, some 200 bytes each.
pub const RECENT: usize = 1000;

/// A shared snapshots. Bounded by the number of active draws and of lotteries, and by [`RECENT`].
#[derive(Clone, Default)]
pub struct DrawSnapshots(Arc<SnapshotStore>);

#[derive(Default)]
struct SnapshotStore {
    posted: RwLock<SnapshotMaps>,
    /// Grows with each change.
    version: AtomicU64,
}

struct SnapshotMaps {
    draws: BTreeMap<DrawId, Arc<DrawSnapshot>>,
    /// How many of them are over.
    over: usize,
    /// Every draw from this id on is here. None: every draw there is.
    complete_from: Option<DrawId>,
    jackpots: HashMap<LotteryId, Money>,
}

impl Default for SnapshotMaps {
    fn default() -> SnapshotMaps {
        // Nothing is known of those that the database has, until `begin` has read them.
        SnapshotMaps {
            draws: BTreeMap::new(),
            over: 0,
            complete_from: Some(DrawId(i64::MAX)),
            jackpots: HashMap::new(),
        }
    }
}

impl SnapshotMaps {
    fn put(&mut self, view: DrawSnapshot) {
        self.over += usize::from(view.status.is_over());
        if let Some(before) = self.draws.insert(view.id, Arc::new(view)) {
            self.over -= usize::from(before.status.is_over());
        }
        while self.over > RECENT {
            let Some(oldest) = self.draws.values().find(|draw| draw.status.is_over()).map(|draw| draw.id) else {
                return;
            };
            self.draws.remove(&oldest);
            self.over -= 1;
            self.complete_from = self.complete_from.max(Some(DrawId(oldest.0 + 1)));
        }
    }
}

impl DrawSnapshots {
    /// Takes the newest draws from the database, before the actors begin to publish. `all`: there are no
    /// others.
    pub fn begin(&self, newest: Vec<DrawSnapshot>, all: bool) {
        self.write(|posted| {
            let oldest = newest.iter().map(|draw| draw.id).min();
            posted.complete_from = if all { None } else { Some(oldest.unwrap_or(DrawId(i64::MAX))) };
            newest.into_iter().for_each(|draw| posted.put(draw));
        });
    }

    /// A draw as it was last published.
    pub fn draw(&self, id: DrawId) -> Option<Arc<DrawSnapshot>> {
        self.read(|posted| posted.draws.get(&id).cloned())
    }

    /// Up to `most` draws older than `before`, newest first; with lotteries or statuses given, only those.
    /// None if older ones than are here may be among them: the database knows.
    pub fn newest(
        &self,
        lotteries: &[String],
        statuses: &[DrawStatus],
        before: Option<DrawId>,
        most: usize,
    ) -> Option<Vec<Arc<DrawSnapshot>>> {
        let before = before.unwrap_or(DrawId(i64::MAX));
        let wanted = |draw: &&Arc<DrawSnapshot>| {
            (lotteries.is_empty() || lotteries.contains(&draw.lottery.0))
                && (statuses.is_empty() || statuses.contains(&draw.status))
        };
        self.read(|posted| {
            let here = |draw: &&Arc<DrawSnapshot>| posted.complete_from.is_none_or(|from| draw.id >= from);
            let newest_first = posted.draws.range(..before).rev().map(|(_, draw)| draw);
            let found: Vec<_> = newest_first.take_while(here).filter(wanted).take(most).cloned().collect();
            (found.len() == most || posted.complete_from.is_none()).then_some(found)
        })
    }

    /// How many draws here are in this state.
    pub fn count(&self, status: DrawStatus) -> usize {
        self.read(|posted| posted.draws.values().filter(|draw| draw.status == status).count())
    }

    /// What a lottery's last draw left for its next.
    pub fn jackpot(&self, lottery: &LotteryId) -> Money {
        self.read(|posted| posted.jackpots.get(lottery).copied()).unwrap_or(Money::ZERO)
    }

    /// The version of the snapshots. Asked before the snapshots is read, it says of what was made from it
    /// whether it is still true.
    pub fn version(&self) -> u64 {
        self.0.version.load(Ordering::Acquire)
    }

    /// Publishes a draw.
    pub fn publish(&self, view: DrawSnapshot) {
        self.write(|posted| posted.put(view));
    }

    /// Publishes a lottery's jackpot.
    pub fn set_jackpot(&self, lottery: &LotteryId, amount: Money) {
        self.write(|posted| {
            posted.jackpots.insert(lottery.clone(), amount);
        });
    }

    // Nothing that runs under the lock leaves the maps half changed, so a poisoned lock is still good.

    fn read<T>(&self, look: impl FnOnce(&SnapshotMaps) -> T) -> T {
        look(&self.0.posted.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, change: impl FnOnce(&mut SnapshotMaps)) {
        change(&mut self.0.posted.write().unwrap_or_else(PoisonError::into_inner));
        self.0.version.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::draw::Times;
    use crate::domain::money::Share;

    fn view(id: i64, status: DrawStatus) -> DrawSnapshot {
        let time = jiff::Timestamp::UNIX_EPOCH;
        DrawSnapshot {
            id: DrawId(id),
            lottery: LotteryId(if id % 2 == 0 { "even" } else { "odd" }.to_owned()),
            number: 1,
            status,
            price: Money::new(1),
            fund_share: Share::new(5000).unwrap(),
            times: Times { sales_open_at: None, sales_close_at: time, draw_at: time },
            sold: 0,
            available: 0,
            winning: None,
            cancel_reason: None,
        }
    }

    fn ids(snapshots: &DrawSnapshots, lotteries: &[String], before: Option<i64>, most: usize) -> Option<Vec<i64>> {
        let found = snapshots.newest(lotteries, &[], before.map(DrawId), most)?;
        Some(found.iter().map(|draw| draw.id.0).collect())
    }

    #[test]
    fn what_it_does_not_know_is_for_the_database() {
        let snapshots = DrawSnapshots::default();
        assert_eq!(ids(&snapshots, &[], None, 1), None, "not begun");
        snapshots.begin(vec![view(12, DrawStatus::Completed), view(11, DrawStatus::Completed)], false);
        // A live draw that is older than the newest: there may be others between.
        snapshots.publish(view(5, DrawStatus::Open));
        snapshots.publish(view(13, DrawStatus::Open));
        assert_eq!(ids(&snapshots, &[], None, 3), Some(vec![13, 12, 11]));
        assert_eq!(ids(&snapshots, &[], None, 4), None);
        assert_eq!(ids(&snapshots, &[], Some(12), 1), Some(vec![11]));
        assert_eq!(ids(&snapshots, &["odd".to_owned()], None, 2), Some(vec![13, 11]));
        assert_eq!(ids(&snapshots, &["even".to_owned()], None, 2), None);
        assert!(snapshots.draw(DrawId(5)).is_some());
    }

    #[test]
    fn where_it_knows_all_there_is_nothing_to_ask() {
        let snapshots = DrawSnapshots::default();
        snapshots.begin(vec![view(1, DrawStatus::Completed)], true);
        assert_eq!(ids(&snapshots, &[], None, 5), Some(vec![1]));
        assert_eq!(ids(&snapshots, &["none".to_owned()], None, 5), Some(vec![]));
    }

    #[test]
    fn it_forgets_the_oldest_that_are_over() {
        let snapshots = DrawSnapshots::default();
        snapshots.begin(Vec::new(), true);
        snapshots.publish(view(1, DrawStatus::Open));
        let last = RECENT as i64 + 10;
        for id in 2..=last {
            snapshots.publish(view(id, DrawStatus::Open));
            snapshots.publish(view(id, DrawStatus::Completed));
        }
        assert!(snapshots.draw(DrawId(1)).is_some(), "a live one stays");
        assert!(snapshots.draw(DrawId(10)).is_none() && snapshots.draw(DrawId(11)).is_some());
        assert_eq!(ids(&snapshots, &[], None, RECENT).map(|ids| (ids[0], ids[RECENT - 1])), Some((last, 11)));
        assert_eq!(ids(&snapshots, &[], None, RECENT + 1), None);
    }

    #[test]
    fn each_change_has_a_version() {
        let snapshots = DrawSnapshots::default();
        let before = snapshots.version();
        snapshots.publish(view(1, DrawStatus::Open));
        assert!(snapshots.version() > before);
    }
}
