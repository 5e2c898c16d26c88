//! Which head of the public log a witness is asked to cosign next.
//!
//! A quorum must cosign one and the same head, so the heads that first cover an entry whose time counts are *due*: each witness cosigns them in
//! order before it cosigns a newer one. A witness cosigns no head that is older than its newest: if somebody else has shown
//! it a newer one, a head that it can still cosign becomes due for all.

use std::collections::BTreeSet;

/// Heads that are due at a time. The oldest are given up.
pub const MAX_DUE: usize = 64;

/// The sizes of the heads that each witness should cosign.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DueHeads {
    due: BTreeSet<u64>,
    newest: u64,
}

impl DueHeads {
    /// Adds what was published: its size, and the sizes of the heads that first cover an entry whose time counts.
    pub fn publish(&mut self, newest: u64, heads: impl IntoIterator<Item = u64>) {
        self.newest = newest;
        self.due.extend(heads);
        self.limit();
    }

    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// Whether cosignatures of this head are kept for good.
    pub fn is_due(&self, size: u64) -> bool {
        self.due.contains(&size)
    }

    /// Makes the newest head due. False if it was.
    pub fn add_newest(&mut self) -> bool {
        let added = self.due.insert(self.newest);
        self.limit();
        added
    }

    /// All heads that are due.
    pub fn sizes(&self) -> Vec<u64> {
        self.due.iter().copied().collect()
    }

    /// The smallest head that is due.
    pub fn first(&self) -> Option<u64> {
        self.due.first().copied()
    }

    fn limit(&mut self) {
        while self.due.len() > MAX_DUE {
            self.due.pop_first();
        }
    }
}

/// How far a witness has come.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WitnessProgress {
    /// The size of the newest head that it has cosigned, as far as this is known.
    known: u64,
    /// The due heads that it has cosigned.
    cosigned: BTreeSet<u64>,
    /// The newest head whose cosignature this process has got.
    shown: Option<u64>,
}

impl WitnessProgress {
    /// A witness whose cosignatures of these due heads are kept.
    pub fn new(cosigned: impl IntoIterator<Item = u64>) -> WitnessProgress {
        let cosigned: BTreeSet<u64> = cosigned.into_iter().collect();
        WitnessProgress { known: cosigned.last().copied().unwrap_or(0), cosigned, shown: None }
    }

    /// The size that it must be shown a consistency proof from.
    pub fn known(&self) -> u64 {
        self.known
    }

    /// It says that it knows a head of this size.
    pub fn tells(&mut self, size: u64) {
        self.known = size;
    }

    /// It has cosigned the head of this size.
    pub fn cosigns(&mut self, size: u64, due: &DueHeads) {
        self.known = size;
        self.shown = Some(size);
        let first = due.first().unwrap_or(u64::MAX);
        self.cosigned.retain(|it| *it >= first);
        if due.is_due(size) {
            self.cosigned.insert(size);
        }
    }

    /// The head that it is asked for next.
    pub fn next(&self, due: &DueHeads) -> Option<u64> {
        let missing = due.due.range(self.known..).find(|size| !self.cosigned.contains(size));
        let newest = || {
            let wanted = due.newest > self.known || due.newest == self.known && self.shown != Some(due.newest);
            (wanted && due.newest > 0).then_some(due.newest)
        };
        missing.copied().or_else(newest)
    }

    /// Whether it can no longer cosign a head that is due, and has cosigned no later one that is: then one that it can
    /// cosign must become due.
    pub fn has_missed(&self, due: &DueHeads) -> bool {
        due.due.last().is_some_and(|last| *last < self.known && !self.cosigned.contains(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(newest: u64, seals: &[u64]) -> DueHeads {
        let mut due = DueHeads::default();
        due.publish(newest, seals.iter().copied());
        due
    }

    /// All that a witness is asked for, which cosigns each.
    fn asked(witness: &mut WitnessProgress, due: &DueHeads) -> Vec<u64> {
        std::iter::from_fn(|| witness.next(due).inspect(|size| witness.cosigns(*size, due))).collect()
    }

    #[test]
    fn due_heads_are_cosigned_in_order_before_the_newest() {
        let mut witness = WitnessProgress::default();
        assert_eq!(asked(&mut witness, &due(0, &[])), [] as [u64; 0], "nothing is published");
        assert_eq!(asked(&mut witness, &due(3, &[])), [3]);
        let mut due = due(9, &[5, 7]);
        assert_eq!(asked(&mut witness, &due), [5, 7, 9]);
        assert_eq!(asked(&mut witness, &due), [] as [u64; 0]);
        due.publish(10, [10]);
        assert_eq!(asked(&mut witness, &due), [10]);
    }

    #[test]
    fn after_a_restart_only_the_newest_head_is_asked_for_again() {
        let due = due(9, &[5, 7, 9]);
        let mut witness = WitnessProgress::new([5, 7, 9]);
        assert_eq!(witness.known(), 9);
        assert_eq!(asked(&mut witness, &due), [9], "to show it beside the checkpoint");
        // The answer to the last request was lost: the witness knows the head, and cosigns it again.
        let mut lost = WitnessProgress::new([5]);
        lost.tells(7);
        assert_eq!(asked(&mut lost, &due), [7, 9]);
    }

    #[test]
    fn a_witness_that_cannot_cosign_a_due_head_any_more_makes_a_later_one_due() {
        let mut due = due(8, &[5]);
        let mut witness = WitnessProgress::default();
        assert!(!witness.has_missed(&due));
        // Somebody has shown it the head 7.
        witness.tells(7);
        assert!(witness.has_missed(&due));
        assert!(due.add_newest() && !due.add_newest());
        assert!(!witness.has_missed(&due), "the later one covers the seal as well");
        assert_eq!(asked(&mut witness, &due), [8]);
        assert!(!witness.has_missed(&due));
        // The others are asked for both.
        assert_eq!(asked(&mut WitnessProgress::default(), &due), [5, 8]);
        // Past that one, too.
        let mut further = WitnessProgress::default();
        further.tells(9);
        assert!(further.has_missed(&due));
    }

    #[test]
    fn the_oldest_due_heads_are_given_up() {
        let due = due(1_000, &(1..=100).collect::<Vec<_>>());
        assert_eq!((due.first(), due.due.len()), (Some(37), MAX_DUE));
        let mut witness = WitnessProgress::new([3, 36]);
        witness.cosigns(37, &due);
        assert_eq!(witness.cosigned, BTreeSet::from([37]));
    }
}
