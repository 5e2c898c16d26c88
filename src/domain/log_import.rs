//! What becomes of the draws of a restored backup, once the entries of the public log are back that the backup lacks. The
//! entries are published, so nothing that contradicts them may happen. This file reads and writes nothing.

use verifiable_draw::event::{Event, PublishedRules, PublishedTier};
use verifiable_draw::merkle::Head;

use super::draw::Times;
use super::game::Game;
use super::id::{DrawId, LotteryId};
use super::lottery::{DrawStatus, Rules};
use super::money::{Money, Share};
use super::prize::{Award, PrizeTable, Tier};
use super::public_log::timestamp;

/// Why the entries of a copy are not brought back. Nothing is written then.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ImportRefusal {
    #[error(
        "this copy has only {copied} entries of the public log, and the database has {stored}: take a newer copy"
    )]
    CopyBehind { copied: u64, stored: u64 },
    #[error(
        "this copy and the database have different entries among the first {0}, so one of them is of another log, or was \
         served after a restore: nobody can join the two. Restore the backup again, and import before anything else"
    )]
    Forked(u64),
    #[error(
        "this copy and the one in data_dir/log have different entries, so one of them is of another log. Find out which one \
         was published: GET /api/v1/log/checkpoint of then has its root"
    )]
    OtherCopy,
    #[error(
        "the copy in data_dir/log has more entries than this one: import that one, without naming a directory"
    )]
    CopyInDataDirIsLonger,
    #[error(
        "the database has more entries than a moment ago: stop the service that writes them, and restore the backup again"
    )]
    Changed,
    #[error("entry {index} of the copy: {what}")]
    Entry { index: u64, what: String },
    #[error(
        "draw {draw}: {what}. The database is not the backup of this log, or was served after it was restored: restore the \
         backup again, and import before anything else"
    )]
    Draw { draw: DrawId, what: &'static str },
    #[error(
        "draw {draw} was announced with a beacon that this program does not know: set fairness.beacon_chain to it, at least \
         for the import"
    )]
    UnknownBeacon { draw: DrawId },
    #[error(
        "draw {draw} was announced with a witness policy whose SHA-256 is {hash} in base64: set fairness.policy to that file, at \
         least for the import"
    )]
    UnknownPolicy { draw: DrawId, hash: String },
}

/// The state of the public log to which a draw goes on by itself; or it stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GoesOn {
    Sealed,
    Completed,
    Voided,
    /// What was sold is lost.
    Stops,
}

impl GoesOn {
    /// As the database has it. `None`: the draw stops.
    pub fn as_str(self) -> Option<&'static str> {
        match self {
            GoesOn::Sealed => Some("sealed"),
            GoesOn::Completed => Some("completed"),
            GoesOn::Voided => Some("voided"),
            GoesOn::Stops => None,
        }
    }

    /// What becomes of a draw with this status and this ticket log, of which the public log has these entries. `None`: it is
    /// as the public log has it, and goes on as every draw.
    ///
    /// A draw that was on sale at the backup may have sold since what no entry tells of, and others have receipts. Unless
    /// its list is the one that was sealed, it stops.
    pub fn of(status: DrawStatus, list: Head, entries: &[Event]) -> Option<GoesOn> {
        let is_on_sale = match status {
            DrawStatus::Open => true,
            DrawStatus::Closed | DrawStatus::Settling => false,
            DrawStatus::Scheduled | DrawStatus::Completed | DrawStatus::Cancelling | DrawStatus::Cancelled => {
                return None;
            }
        };
        let (mut sealed, mut completed) = (None, false);
        for event in entries {
            match event {
                Event::DrawSealed { orders, root, .. } => sealed = Some(Head { size: *orders, root: *root }),
                Event::DrawCompleted { .. } => completed = true,
                Event::DrawVoided { .. } => return Some(GoesOn::Voided),
                _ => {}
            }
        }
        match sealed {
            Some(sealed) if sealed == list && completed => Some(GoesOn::Completed),
            Some(sealed) if sealed == list => is_on_sale.then_some(GoesOn::Sealed),
            _ => Some(GoesOn::Stops),
        }
    }
}

/// Whether the entries of a draw follow each other. A draw that was completed may be void afterwards, once a backup was restored
/// that lacks its list.
pub fn are_in_order(entries: &[Event]) -> bool {
    let mut stage = 0;
    entries.iter().all(|event| {
        let (possible, next) = match event {
            Event::DrawAnnounced { .. } => (stage == 0, 1),
            Event::DrawRescheduled { .. } => (stage == 1, 1),
            Event::DrawSealed { .. } => (stage == 1, 2),
            Event::DrawCompleted { .. } => (stage == 2, 3),
            Event::DrawVoided { .. } => ((1..=3).contains(&stage), 4),
            Event::DrawHeads { .. } | Event::KeyAdded { .. } | Event::KeyRetired { .. } => (false, stage),
        };
        stage = next;
        possible
    })
}

/// The rules with which a draw was announced. `None`: no draw can have them.
pub fn announced_rules(lottery: &str, it: &PublishedRules) -> Option<Rules> {
    let game = Game::new(it.pick, it.of).ok()?;
    let tiers = it.tiers.iter().map(tier).collect::<Option<Vec<Tier>>>()?;
    Some(Rules {
        lottery: LotteryId(lottery.to_owned()),
        game,
        price: money(it.price)?,
        fund_share: Share::new(it.fund_share).ok()?,
        prizes: PrizeTable::new(game, tiers).ok()?,
    })
}

fn tier(it: &PublishedTier) -> Option<Tier> {
    let award = match (it.amount, it.share, it.minimum) {
        (Some(amount), None, None) => Award::Fixed(money(amount)?),
        (None, Some(share), minimum) => {
            let minimum = minimum.map(|minimum| money(minimum).ok_or(())).transpose().ok()?;
            Award::Shared { share: Share::new(share).ok()?, minimum }
        }
        _ => return None,
    };
    Some(Tier { matches: it.matches, award })
}

fn money(minor: u64) -> Option<Money> {
    i64::try_from(minor).ok().map(Money::new)
}

/// The times of an event. The log does not say when the sale was to open.
pub fn logged_times(sales_close_at: u64, draw_at: u64) -> Times {
    Times { sales_open_at: None, sales_close_at: timestamp(sales_close_at), draw_at: timestamp(draw_at) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::log_index::test_result;
    use verifiable_draw::event::Stage;

    fn head(size: u64) -> Head {
        Head { size, root: [size as u8; 32] }
    }

    fn sealed(size: u64) -> Event {
        let Head { size: orders, root } = head(size);
        Event::DrawSealed { draw: 7, at: 1, orders, tickets: orders, root, by_hand: false }
    }

    fn voided() -> Event {
        Event::DrawVoided { draw: 7, at: 1, stage: Stage::Open, reason: "rain".to_owned(), seed: None }
    }

    #[test]
    fn each_state_of_a_draw_goes_on_to_what_was_published() {
        use DrawStatus::{Cancelled, Cancelling, Closed, Completed, Open, Scheduled, Settling};
        use GoesOn::{Stops, Voided};
        for (status, list, entries, expected) in [
            // On sale at the backup: whatever no entry tells of may have been sold.
            (Open, 3, vec![], Some(Stops)),
            (Open, 3, vec![sealed(4)], Some(Stops)),
            (Open, 3, vec![sealed(3)], Some(GoesOn::Sealed)),
            (Open, 3, vec![sealed(4), test_result(7)], Some(Stops)),
            (Open, 3, vec![sealed(3), test_result(7)], Some(GoesOn::Completed)),
            (Open, 3, vec![voided()], Some(Voided)),
            (Open, 3, vec![sealed(4), voided()], Some(Voided)),
            // Its list was complete.
            (Closed, 3, vec![sealed(3)], None),
            (Closed, 3, vec![sealed(3), test_result(7)], Some(GoesOn::Completed)),
            (Closed, 3, vec![sealed(3), voided()], Some(Voided)),
            (Closed, 3, vec![sealed(4), test_result(7)], Some(Stops)),
            (Settling, 3, vec![sealed(3), test_result(7)], Some(GoesOn::Completed)),
            (Settling, 3, vec![sealed(3), voided()], Some(Voided)),
            // Nothing can follow.
            (Completed, 3, vec![sealed(3), test_result(7)], None),
            (Cancelling, 3, vec![voided()], None),
            (Cancelled, 3, vec![voided()], None),
            (Scheduled, 0, vec![], None),
        ] {
            assert_eq!(GoesOn::of(status, head(list), &entries), expected, "{status:?} {entries:?}");
        }
        // A draw that was stopped, cancelled, and brought back once more: its end counts.
        let twice = [sealed(4), test_result(7), voided()];
        assert_eq!(GoesOn::of(Open, head(3), &twice), Some(Voided));
    }
}
