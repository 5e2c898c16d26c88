//! What a monitor has seen of a public log, and what each further entry may say. It reads no clock, no file and no network.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use verifiable_draw::Hash;
use verifiable_draw::event::{DrawHead, Event};
use verifiable_draw::merkle::Head;
use verifiable_draw::merkle::edge::Edge;
use verifiable_draw::transcript::OVERDUE_SECONDS;
use verifiable_draw::trusted_keys::TrustedKeys;
use verifiable_draw::vkey::VerifierKey;

/// The state of a monitor, as its file has it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchedLog {
    /// The vkey of the log, as it was known at first.
    pub key: String,
    /// The keys that the log has added since, in their order. They are trusted only if that is wanted.
    #[serde(default)]
    pub added_keys: Vec<AddedKey>,
    /// The keys that the log has retired, with the index of the entry.
    #[serde(default)]
    pub retired_keys: BTreeMap<String, u64>,
    /// The newest checkpoint, verbatim.
    pub checkpoint: Option<String>,
    /// The edge of the log's tree, in base64: enough to tell whether a later head continues it.
    edge: String,
    pub draws: BTreeMap<u64, WatchedDraw>,
}

/// A key that the log has announced.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddedKey {
    pub vkey: String,
    /// The index of the entry.
    pub index: u64,
    /// When this monitor saw it.
    pub seen_at: Timestamp,
}

/// What was seen of a draw.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchedDraw {
    /// In Unix seconds, from the newest entry.
    pub draw_at: u64,
    /// The newest head of its ticket log, until the seal.
    pub head: Option<SeenHead>,
    pub sealed: Option<SeenHead>,
    /// The index of the entry that has ended it: its result or its cancellation.
    pub ended: Option<u64>,
    /// The index of its cancellation. It may follow the result: a backup was restored that lacks the list.
    #[serde(default)]
    pub cancelled: Option<u64>,
}

/// A head of a ticket log, and when this monitor saw it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeenHead {
    pub orders: u64,
    /// In base64.
    pub root: String,
    pub seen_at: Timestamp,
}

impl SeenHead {
    fn new(head: Head, seen_at: Timestamp) -> SeenHead {
        SeenHead { orders: head.size, root: STANDARD.encode(head.root), seen_at }
    }

    fn head(&self) -> Result<Head, String> {
        let root = STANDARD.decode(&self.root).ok().and_then(|root| Hash::try_from(root).ok());
        root.map(|root| Head { size: self.orders, root })
            .ok_or_else(|| "a root in the state is not base64".to_owned())
    }
}

/// Two heads of a draw's ticket log, of which the second must continue the first.
pub struct ToCompare {
    pub draw: u64,
    pub old: Head,
    pub new: Head,
}

impl WatchedLog {
    pub fn new(key: String) -> WatchedLog {
        let edge = STANDARD.encode(Edge::new().to_bytes());
        let (added_keys, retired_keys) = (Vec::new(), BTreeMap::new());
        WatchedLog { key, added_keys, retired_keys, checkpoint: None, edge, draws: BTreeMap::new() }
    }

    /// The keys that heads of the log may be signed with. With `follow`, also those that the known one vouches for: it has
    /// signed the heads that have their entries, or it vouches for the key that has.
    pub fn trusted_keys(&self, follow: bool) -> Result<TrustedKeys, String> {
        let key = VerifierKey::parse(&self.key).map_err(|error| error.to_string())?;
        let mut trusted = TrustedKeys::new([key]);
        if follow {
            for added in self.added_keys.iter().filter(|added| added.vkey != self.key) {
                trusted.add(&added.vkey).map_err(|error| error.to_string())?;
            }
            for (vkey, index) in &self.retired_keys {
                trusted.retire(vkey, *index);
            }
        }
        Ok(trusted)
    }

    pub fn edge(&self) -> Result<Edge, String> {
        let bytes = STANDARD.decode(&self.edge).map_err(|error| error.to_string())?;
        Edge::from_bytes(&bytes).map_err(|error| error.to_string())
    }

    /// The log now ends with this edge, under this checkpoint.
    pub fn set_head(&mut self, edge: &Edge, checkpoint: String) {
        (self.edge, self.checkpoint) = (STANDARD.encode(edge.to_bytes()), Some(checkpoint));
    }

    /// Takes the next entry. Returns what to tell of it, or what it contradicts.
    pub fn apply(&mut self, index: u64, event: &Event, seen_at: Timestamp) -> Result<String, String> {
        let wrong = |draw: u64, what: &str| {
            Err(format!("entry {index} contradicts the log before it: draw {draw} {what}"))
        };
        let told = match event {
            Event::DrawAnnounced { draw, draw_at, lottery, .. } => {
                let watched =
                    WatchedDraw { draw_at: *draw_at, head: None, sealed: None, ended: None, cancelled: None };
                if self.draws.insert(*draw, watched).is_some() {
                    return wrong(*draw, "is announced a second time");
                }
                format!("draw {draw} of {lottery} is announced")
            }
            Event::DrawRescheduled { draw, draw_at, .. } => match self.draws.get_mut(draw) {
                Some(watched) if watched.sealed.is_none() && watched.ended.is_none() => {
                    watched.draw_at = *draw_at;
                    format!("the times of draw {draw} are changed")
                }
                _ => return wrong(*draw, "cannot be rescheduled"),
            },
            Event::DrawSealed { draw, orders, tickets, root, .. } => match self.draws.get_mut(draw) {
                Some(watched) if watched.sealed.is_none() && watched.ended.is_none() => {
                    let head = Head { size: *orders, root: *root };
                    watched.see(head).map_err(|what| format!("entry {index}: draw {draw} {what}"))?;
                    watched.sealed = Some(SeenHead::new(head, seen_at));
                    format!(
                        "draw {draw} is sealed: {orders} orders, {tickets} tickets, root {}",
                        STANDARD.encode(root)
                    )
                }
                _ => return wrong(*draw, "cannot be sealed"),
            },
            Event::DrawCompleted { draw, .. } => match self.draws.get_mut(draw) {
                Some(watched) if watched.sealed.is_some() && watched.ended.is_none() => {
                    (watched.ended, watched.head) = (Some(index), None);
                    format!("draw {draw} is completed")
                }
                _ => return wrong(*draw, "has a result that does not follow a seal, or a second one"),
            },
            Event::DrawVoided { draw, reason, .. } => match self.draws.get_mut(draw) {
                Some(watched) if watched.cancelled.is_none() => {
                    (watched.cancelled, watched.head) = (Some(index), None);
                    let is_first_end = *watched.ended.get_or_insert(index) == index;
                    let when = if is_first_end { "is cancelled" } else { "is CANCELLED AFTER ITS RESULT" };
                    format!("draw {draw} {when} ({reason})")
                }
                _ => return wrong(*draw, "is cancelled a second time, or was not announced"),
            },
            Event::DrawHeads { heads, .. } => {
                for DrawHead { draw, orders, root } in heads {
                    let head = Head { size: *orders, root: *root };
                    // A draw that was opened before there was a public log is not announced in it.
                    let Some(watched) = self.draws.get_mut(draw) else { continue };
                    watched.see(head).map_err(|what| format!("entry {index}: draw {draw} {what}"))?;
                    if watched.ended.is_none() && watched.sealed.is_none() {
                        watched.head = Some(SeenHead::new(head, seen_at));
                    }
                }
                let heads = heads.iter().map(|head| format!("draw {}: {} orders", head.draw, head.orders));
                format!("heads of lists: {}", heads.collect::<Vec<_>>().join(", "))
            }
            Event::KeyAdded { vkey, .. } => {
                // A monitor that began with a later key reads how that one was added.
                if *vkey != self.key {
                    self.trusted_keys(true)
                        .and_then(|mut keys| keys.add(vkey).map_err(|error| error.to_string()))
                        .map_err(|what| format!("entry {index}: {what}"))?;
                    self.added_keys.push(AddedKey { vkey: vkey.clone(), index, seen_at });
                }
                format!("the log adds the key {vkey}")
            }
            Event::KeyRetired { vkey, .. } => match self.retired_keys.insert(vkey.clone(), index) {
                None => format!("the log retires the key {vkey}"),
                Some(_) => return Err(format!("entry {index} retires the key {vkey} a second time")),
            },
        };
        Ok(told)
    }

    /// The heads of each draw before and after some entries, where there are two.
    pub fn heads_to_compare(&self, before: &WatchedLog) -> Result<Vec<ToCompare>, String> {
        let mut pairs = Vec::new();
        // The list of a result that was undone is lost.
        for (draw, watched) in self.draws.iter().filter(|(_, watched)| !watched.is_undone()) {
            let newest = watched.sealed.as_ref().or(watched.head.as_ref());
            let older = before.draws.get(draw).filter(|older| older.sealed.is_none() && older.ended.is_none());
            let older = older.and_then(|older| older.head.as_ref());
            if let (Some(older), Some(newest)) = (older, newest) {
                let (old, new) = (older.head()?, newest.head()?);
                if old != new {
                    pairs.push(ToCompare { draw: *draw, old, new });
                }
            }
        }
        Ok(pairs)
    }

    /// The draws that were cancelled after their result, by an entry from this index on.
    pub fn undone(&self, first: u64) -> Vec<u64> {
        let is_new = |watched: &WatchedDraw| watched.is_undone() && watched.cancelled >= Some(first);
        self.draws.iter().filter(|(_, watched)| is_new(watched)).map(|(draw, _)| *draw).collect()
    }

    /// The draws whose numbers were due long ago and that have no end.
    pub fn overdue(&self, now: Timestamp) -> Vec<u64> {
        let now = u64::try_from(now.as_second()).unwrap_or(0);
        let is_overdue = |watched: &WatchedDraw| {
            watched.ended.is_none() && now > watched.draw_at.saturating_add(OVERDUE_SECONDS)
        };
        self.draws.iter().filter(|(_, watched)| is_overdue(watched)).map(|(draw, _)| *draw).collect()
    }
}

impl WatchedDraw {
    /// Whether it was cancelled after its result.
    fn is_undone(&self) -> bool {
        self.cancelled.is_some() && self.cancelled != self.ended
    }

    /// Whether a head can follow those that were seen. Whether it continues them, tiles tell.
    fn see(&self, head: Head) -> Result<(), String> {
        let Some(known) = self.sealed.as_ref().or(self.head.as_ref()) else { return Ok(()) };
        let is_sealed = self.sealed.is_some();
        match known.head()? {
            known if known == head => Ok(()),
            known if known.size == head.size => {
                Err("has two lists of the same number of orders: a FORK".to_owned())
            }
            known if known.size > head.size => {
                Err(format!("had {} orders and has {} now: orders were taken away", known.size, head.size))
            }
            _ if is_sealed => Err("has more orders than were sealed".to_owned()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::log_index::{test_announcement, test_result};
    use verifiable_draw::event::Stage;

    fn heads(draw: u64, orders: u64, root: u8) -> Event {
        Event::DrawHeads { at: 1, heads: vec![DrawHead { draw, orders, root: [root; 32] }], audit: None }
    }

    fn sealed(draw: u64, orders: u64, root: u8) -> Event {
        Event::DrawSealed { draw, at: 1, orders, tickets: orders, root: [root; 32], by_hand: false }
    }

    fn voided(draw: u64) -> Event {
        let (stage, reason) = (Stage::Closed, "no".to_owned());
        Event::DrawVoided { draw, at: 1, stage, reason, seed: None }
    }

    fn rescheduled(draw: u64) -> Event {
        Event::DrawRescheduled { draw, at: 1, sales_close_at: 100, draw_at: 300, round: None }
    }

    /// The log after these entries, or what the last one contradicts.
    fn watch(events: &[Event]) -> Result<WatchedLog, String> {
        let mut log = WatchedLog::new(String::new());
        for (index, event) in events.iter().enumerate() {
            let applied = log.apply(index as u64, event, Timestamp::UNIX_EPOCH);
            let is_last = index + 1 == events.len();
            match applied {
                Err(what) if is_last => return Err(what),
                applied => drop(applied.unwrap()),
            }
        }
        Ok(log)
    }

    #[test]
    fn what_contradicts_the_entries_before_is_told() {
        let life =
            [test_announcement(7), rescheduled(7), heads(7, 2, 1), heads(7, 3, 2), sealed(7, 4, 3), voided(7)];
        watch(&life).unwrap();
        let after = |known: usize, event: Event| watch(&[&life[..known], &[event]].concat());
        for (known, event, says) in [
            (1, test_announcement(7), "announced a second time"),
            (0, rescheduled(7), "cannot be rescheduled"),
            (5, rescheduled(7), "cannot be rescheduled"),
            (0, sealed(7, 0, 0), "cannot be sealed"),
            (5, sealed(7, 4, 3), "cannot be sealed"),
            (4, heads(7, 3, 9), "FORK"),
            (4, heads(7, 2, 1), "orders were taken away"),
            (4, sealed(7, 2, 1), "orders were taken away"),
            (4, sealed(7, 3, 9), "FORK"),
            (5, heads(7, 5, 1), "more orders than were sealed"),
            (6, voided(7), "is cancelled a second time"),
            (0, voided(7), "was not announced"),
        ] {
            let told = after(known, event).map(|_| ()).unwrap_err();
            assert!(told.contains(says), "{told}");
        }
        after(5, heads(7, 4, 3)).unwrap();
        after(0, heads(7, 1, 1)).unwrap();
    }

    /// An honest service does that only if it has lost the list: the monitor complains, and follows the log further.
    #[test]
    fn a_result_that_is_undone_is_told_and_its_list_is_not_compared() {
        let mut log = watch(&[test_announcement(7), heads(7, 2, 1)]).unwrap();
        let before = log.clone();
        let mut told = String::new();
        for (index, event) in (2..).zip([sealed(7, 4, 3), test_result(7), voided(7), test_announcement(8)]) {
            told = log.apply(index, &event, Timestamp::UNIX_EPOCH).unwrap();
            assert_eq!(told.contains("CANCELLED AFTER ITS RESULT"), index == 4, "{told}");
        }
        assert!(told.contains("draw 8"), "{told}");
        assert_eq!((log.undone(0), log.undone(4), log.undone(5)), (vec![7], vec![7], vec![]));
        assert!(log.heads_to_compare(&before).unwrap().is_empty());
        assert!(watch(&[test_announcement(7), voided(7)]).unwrap().undone(0).is_empty());
    }

    #[test]
    fn a_draw_without_an_end_is_overdue_a_day_after_its_numbers_were_due() {
        let log =
            watch(&[test_announcement(7), test_announcement(8), rescheduled(8), test_announcement(9), voided(9)])
                .unwrap();
        let overdue =
            |second: u64| log.overdue(Timestamp::from_second((second + OVERDUE_SECONDS) as i64).unwrap());
        assert_eq!(
            (overdue(200), overdue(201), overdue(300), overdue(301)),
            (vec![], vec![7], vec![7], vec![7, 8])
        );
    }

    #[test]
    fn each_newer_head_is_compared_with_the_one_before() {
        let before = watch(&[test_announcement(7), heads(7, 2, 1), test_announcement(8)]).unwrap();
        let mut after = before.clone();
        for event in [heads(7, 3, 2), sealed(7, 4, 3), heads(8, 1, 1)] {
            after.apply(3, &event, Timestamp::UNIX_EPOCH).unwrap();
        }
        let pairs = after.heads_to_compare(&before).unwrap();
        let pairs: Vec<_> = pairs.iter().map(|pair| (pair.draw, pair.old.size, pair.new.size)).collect();
        assert_eq!(pairs, [(7, 2, 4)]);
        assert!(after.heads_to_compare(&after).unwrap().is_empty());
    }
}
