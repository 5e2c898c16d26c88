//! Snapshots of the active draws and of the newest draws that are over. The draw actors publish them, and readers
//! get them without a message to an actor. Older draws are not here: they are read from the database.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;

use crate::domain::draw::DrawSnapshot;
use crate::domain::id::{DrawId, LotteryId};
use crate::domain::lottery::{DrawStatus, Fairness};
use crate::domain::money::Money;

/// How many draws that are over are kept, at about 400 bytes each.
pub const RECENT: usize = 1000;

/// The shared snapshots. Their number is limited by the number of active draws and lotteries, and by
/// [`RECENT`].
#[derive(Clone, Default)]
pub struct DrawSnapshots(Arc<SnapshotStore>);

#[derive(Default)]
struct SnapshotStore {
    maps: RwLock<SnapshotMaps>,
    /// Incremented by each change.
    version: AtomicU64,
}

struct SnapshotMaps {
    draws: BTreeMap<DrawId, Arc<DrawSnapshot>>,
    /// How many of these draws are over.
    over: usize,
    /// All draws from this id on are here. `None`: all draws are here.
    complete_from: Option<DrawId>,
    jackpots: HashMap<LotteryId, Money>,
}

impl Default for SnapshotMaps {
    fn default() -> SnapshotMaps {
        // Before `begin` has read the database, older draws may exist that are not here.
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
    /// Takes the newest draws from the database, before the actors publish. `all`: there are no other draws.
    pub fn begin(&self, newest: Vec<DrawSnapshot>, all: bool) {
        self.write(|maps| {
            let oldest = newest.iter().map(|draw| draw.id).min();
            maps.complete_from = if all { None } else { Some(oldest.unwrap_or(DrawId(i64::MAX))) };
            newest.into_iter().for_each(|draw| maps.put(draw));
        });
    }

    /// A draw as its actor last published it.
    pub fn draw(&self, id: DrawId) -> Option<Arc<DrawSnapshot>> {
        self.read(|maps| maps.draws.get(&id).cloned())
    }

    /// Up to `most` draws older than `before`, newest first, with optional filters: an empty list means all.
    /// `None` if draws that are not here may belong to the result: the caller must ask the database.
    pub fn newest(
        &self,
        lotteries: &[String],
        statuses: &[DrawStatus],
        before: Option<DrawId>,
        most: usize,
    ) -> Option<Vec<Arc<DrawSnapshot>>> {
        let before = before.unwrap_or(DrawId(i64::MAX));
        let wanted = |draw: &&Arc<DrawSnapshot>| {
            (lotteries.is_empty() || lotteries.contains(&draw.rules.lottery.0))
                && (statuses.is_empty() || statuses.contains(&draw.status))
        };
        self.read(|maps| {
            let here = |draw: &&Arc<DrawSnapshot>| maps.complete_from.is_none_or(|from| draw.id >= from);
            let newest_first = maps.draws.range(..before).rev().map(|(_, draw)| draw);
            let found: Vec<_> = newest_first.take_while(here).filter(wanted).take(most).cloned().collect();
            (found.len() == most || maps.complete_from.is_none()).then_some(found)
        })
    }

    /// All draws that are not over, newest first.
    pub fn active(&self) -> Vec<Arc<DrawSnapshot>> {
        self.read(|maps| maps.draws.values().rev().filter(|draw| !draw.status.is_over()).cloned().collect())
    }

    /// How many of the draws here have this status.
    pub fn count(&self, status: DrawStatus) -> usize {
        self.read(|maps| maps.draws.values().filter(|draw| draw.status == status).count())
    }

    /// How many of the draws here have stopped, because their sold tickets are not those that were sealed.
    pub fn payouts_stopped(&self) -> usize {
        self.read(|maps| maps.draws.values().filter(|draw| draw.payout_stopped).count())
    }

    /// How many draws with a beacon are not drawn although their time has come.
    pub fn beacon_draws_waiting(&self, now: Timestamp) -> usize {
        let waits = |draw: &&Arc<DrawSnapshot>| {
            let is_due = draw.status == DrawStatus::Closed && draw.times.draw_at <= now;
            is_due && draw.fairness == Some(Fairness::Beacon)
        };
        self.read(|maps| maps.draws.values().filter(waits).count())
    }

    /// The jackpot that the last draw of a lottery left for the next draw.
    pub fn jackpot(&self, lottery: &LotteryId) -> Money {
        self.read(|maps| maps.jackpots.get(lottery).copied()).unwrap_or(Money::ZERO)
    }

    /// The version of the snapshots. If it is the same before a read and later, what was made from that read
    /// is still valid.
    pub fn version(&self) -> u64 {
        self.0.version.load(Ordering::Acquire)
    }

    /// Publishes a draw.
    pub fn publish(&self, view: DrawSnapshot) {
        self.write(|maps| maps.put(view));
    }

    /// Removes a draw that cannot be served.
    pub fn leave_out(&self, id: DrawId) {
        self.write(|maps| {
            if maps.draws.remove(&id).is_some_and(|draw| draw.status.is_over()) {
                maps.over -= 1;
            }
        });
    }

    /// Publishes a lottery's jackpot.
    pub fn set_jackpot(&self, lottery: &LotteryId, amount: Money) {
        self.write(|maps| {
            maps.jackpots.insert(lottery.clone(), amount);
        });
    }

    // No code that holds the lock leaves the maps half changed, so a poisoned lock can still be used.

    fn read<T>(&self, read: impl FnOnce(&SnapshotMaps) -> T) -> T {
        read(&self.0.maps.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, change: impl FnOnce(&mut SnapshotMaps)) {
        change(&mut self.0.maps.write().unwrap_or_else(PoisonError::into_inner));
        self.0.version.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::draw::Times;
    use crate::domain::game::Game;
    use crate::domain::lottery::Rules;
    use crate::domain::money::Share;
    use crate::domain::prize::{Award, PrizeTable, Tier};

    fn view(id: i64, status: DrawStatus) -> DrawSnapshot {
        let time = jiff::Timestamp::UNIX_EPOCH;
        let game = Game::new(2, 5).unwrap();
        let tiers = vec![Tier { matches: 2, award: Award::Fixed(Money::new(1)) }];
        let rules = Rules {
            lottery: LotteryId(if id % 2 == 0 { "even" } else { "odd" }.to_owned()),
            game,
            price: Money::new(1),
            fund_share: Share::new(5000).unwrap(),
            prizes: PrizeTable::new(game, tiers).unwrap(),
        };
        DrawSnapshot {
            id: DrawId(id),
            rules: Arc::new(rules),
            number: 1,
            status,
            times: Times { sales_open_at: None, sales_close_at: time, draw_at: time },
            fairness: None,
            sold: 0,
            available: 0,
            winning: None,
            cancel_reason: None,
            payout_stopped: false,
        }
    }

    fn ids(snapshots: &DrawSnapshots, lotteries: &[String], before: Option<i64>, most: usize) -> Option<Vec<i64>> {
        let found = snapshots.newest(lotteries, &[], before.map(DrawId), most)?;
        Some(found.iter().map(|draw| draw.id.0).collect())
    }

    #[test]
    fn older_draws_are_left_to_the_database() {
        let snapshots = DrawSnapshots::default();
        assert_eq!(ids(&snapshots, &[], None, 1), None, "`begin` was not called");
        snapshots.begin(vec![view(12, DrawStatus::Completed), view(11, DrawStatus::Completed)], false);
        // An active draw that is older than the newest one: there may be other draws between them.
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
    fn with_all_draws_here_the_database_is_not_needed() {
        let snapshots = DrawSnapshots::default();
        snapshots.begin(vec![view(1, DrawStatus::Completed)], true);
        assert_eq!(ids(&snapshots, &[], None, 5), Some(vec![1]));
        assert_eq!(ids(&snapshots, &["none".to_owned()], None, 5), Some(vec![]));
    }

    #[test]
    fn the_oldest_draws_that_are_over_are_dropped() {
        let snapshots = DrawSnapshots::default();
        snapshots.begin(Vec::new(), true);
        snapshots.publish(view(1, DrawStatus::Open));
        let last = RECENT as i64 + 10;
        for id in 2..=last {
            snapshots.publish(view(id, DrawStatus::Open));
            snapshots.publish(view(id, DrawStatus::Completed));
        }
        assert!(snapshots.draw(DrawId(1)).is_some(), "an active draw stays");
        assert!(snapshots.draw(DrawId(10)).is_none() && snapshots.draw(DrawId(11)).is_some());
        assert_eq!(ids(&snapshots, &[], None, RECENT).map(|ids| (ids[0], ids[RECENT - 1])), Some((last, 11)));
        assert_eq!(ids(&snapshots, &[], None, RECENT + 1), None);
    }

    #[test]
    fn each_change_increments_the_version() {
        let snapshots = DrawSnapshots::default();
        let before = snapshots.version();
        snapshots.publish(view(1, DrawStatus::Open));
        assert!(snapshots.version() > before);
    }
}
