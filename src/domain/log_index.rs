//! Where the public log has the entries that the numbers of a draw come from. It is built from the published entries, so
//! nothing that the database says beside them can name others.

use std::collections::HashMap;

use verifiable_draw::event::Event;

use super::id::DrawId;
use super::log_keys::KeyGenerations;

/// What a canonical entry of heads ends with. There is one each minute, and none says anything of a draw's numbers: they are
/// not parsed, so that the start of the service stays short.
const HEADS_END: &[u8] = br#""type":"draw_heads"}"#;

/// The indexes of a draw's entries before its numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DrawEntries {
    pub announced: u64,
    /// The last entry before the seal: the announcement or new times.
    pub last: u64,
    pub seal: Option<u64>,
    /// Whether entries contradict one another: a second announcement, a second seal.
    pub is_contradicted: bool,
}

/// The entries of all draws, and how often the log's key was changed.
#[derive(Default, Debug)]
pub struct LogIndex {
    draws: HashMap<u64, DrawEntries>,
    generations: KeyGenerations,
}

impl LogIndex {
    /// Adds the entry at this index. The service publishes no other entries than events, so others say nothing.
    pub fn add(&mut self, index: u64, entry: &[u8]) {
        if entry.ends_with(HEADS_END) {
            return;
        }
        if let Ok(event) = Event::parse(entry) {
            self.add_event(index, &event);
        }
    }

    fn add_event(&mut self, index: u64, event: &Event) {
        match event {
            Event::DrawAnnounced { draw, .. } => {
                let first = DrawEntries { announced: index, last: index, seal: None, is_contradicted: false };
                self.draws.entry(*draw).and_modify(|known| known.is_contradicted = true).or_insert(first);
            }
            Event::DrawRescheduled { draw, .. } => {
                if let Some(known) = self.draws.get_mut(draw).filter(|known| known.seal.is_none()) {
                    known.last = index;
                }
            }
            Event::DrawSealed { draw, .. } => {
                if let Some(known) = self.draws.get_mut(draw) {
                    known.is_contradicted |= known.seal.is_some();
                    known.seal.get_or_insert(index);
                }
            }
            Event::KeyAdded { .. } => self.generations.newest += 1,
            Event::KeyRetired { .. } => self.generations.oldest = self.generations.newest,
            Event::DrawCompleted { .. } | Event::DrawVoided { .. } | Event::DrawHeads { .. } => {}
        }
    }

    /// The keys that sign as the log says. Other entries follow: see [`EntryCheck`](super::log_entry::EntryCheck).
    pub fn generations(&self) -> KeyGenerations {
        self.generations
    }

    /// `None`: the draw was not announced.
    pub fn of_draw(&self, draw: DrawId) -> Option<DrawEntries> {
        self.draws.get(&draw.0.unsigned_abs()).copied()
    }
}

/// The announcement of a draw, in tests.
#[cfg(test)]
pub fn test_announcement(draw: u64) -> Event {
    use verifiable_draw::event::{FairnessMode, PublishedRules};
    Event::DrawAnnounced {
        draw,
        at: 1,
        lottery: "5of36".to_owned(),
        number: 1,
        rules: PublishedRules {
            pick: 5,
            of: 36,
            price: 100,
            currency: "RUB".to_owned(),
            fund_share: 5_000,
            tiers: Vec::new(),
        },
        sales_close_at: 100,
        draw_at: 200,
        fairness: FairnessMode::CommitReveal,
        commitment: Some([1; 32]),
        beacon: None,
        policy: None,
        ticket_log: "key".to_owned(),
    }
}

/// The result of a draw, in tests.
#[cfg(test)]
pub fn test_result(draw: u64) -> Event {
    Event::DrawCompleted {
        draw,
        at: 1,
        seed: Some([0; 32]),
        signature: None,
        winning_numbers: vec![1],
        prize_fund: 0,
        jackpot: 0,
        tiers: Vec::new(),
        rollover: 0,
        after: None,
        by_hand: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rescheduled(draw: u64) -> Event {
        Event::DrawRescheduled { draw, at: 1, sales_close_at: 2, draw_at: 3, round: Some(4) }
    }

    fn sealed(draw: u64) -> Event {
        Event::DrawSealed { draw, at: 2, orders: 0, tickets: 0, root: [0; 32], by_hand: false }
    }

    fn of_draw(events: &[Event]) -> Option<DrawEntries> {
        let mut index = LogIndex::default();
        for (place, event) in events.iter().enumerate() {
            index.add(place as u64, &event.to_bytes().unwrap());
        }
        index.of_draw(DrawId(7))
    }

    #[test]
    fn the_entries_of_a_draw_are_found_among_others() {
        let heads = Event::DrawHeads { at: 1, heads: Vec::new(), audit: None };
        assert!(heads.to_bytes().unwrap().ends_with(HEADS_END));
        let mut all = vec![test_announcement(8), test_announcement(7), heads, rescheduled(7), rescheduled(8)];
        let found = DrawEntries { announced: 1, last: 3, seal: None, is_contradicted: false };
        assert_eq!(of_draw(&all), Some(found));
        all.push(sealed(7));
        // What follows the seal comes too late to change anything.
        all.push(rescheduled(7));
        assert_eq!(of_draw(&all), Some(DrawEntries { seal: Some(5), ..found }));
        all.push(sealed(7));
        assert_eq!(of_draw(&all), Some(DrawEntries { seal: Some(5), is_contradicted: true, ..found }));
    }

    #[test]
    fn a_draw_has_one_announcement_and_nothing_before_it() {
        assert_eq!(of_draw(&[test_announcement(8), rescheduled(7), sealed(7)]), None);
        let twice = of_draw(&[test_announcement(7), test_announcement(7)]).unwrap();
        assert_eq!((twice.announced, twice.is_contradicted), (0, true));
    }
}
