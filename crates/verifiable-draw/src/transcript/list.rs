//! The full count: every entry of a sealed list is read and hashed, and the tree, the ticket numbers and the winners must
//! be those that were published.
//!
//! Bundles can be read on several threads (`read_bundle`); they are added in their order (`ListCount`).

use super::{DrawResult, SealedList, VerificationReport, VerifiedDraw, VoidCause};
use crate::Hash;
use crate::bundle::{BundleError, read_entries};
use crate::event::PublishedRules;
use crate::merkle::edge::{Edge, EdgeError};
use crate::merkle::tiles::{Tile, TileKind};
use crate::merkle::{Head, hash_leaf};
use crate::numbers::MAX_NUMBERS;
use crate::order::{OrderEntry, OrderError};

#[derive(Debug, thiserror::Error)]
pub enum ListError {
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error("entry {0} of the bundle: {1}")]
    Order(usize, OrderError),
    #[error("entry {0} of the bundle has numbers that the rules of the draw do not allow")]
    Numbers(usize),
    #[error("the tickets of entry {0} of the bundle do not follow those of the entry before")]
    Gap(usize),
    #[error("the bundle has {found} entries, and {expected} are expected")]
    Width { expected: u16, found: usize },
    #[error(transparent)]
    Edge(#[from] EdgeError),
}

/// How many tickets have so many numbers right.
type Matches = [u64; MAX_NUMBERS as usize + 1];

/// What was read of a bundle.
pub struct ReadBundle {
    leaves: Vec<Hash>,
    /// The number of its first ticket, and of the ticket after its last.
    tickets: (u64, u64),
    matches: Matches,
}

/// The numbers of a ticket, or those that were drawn: the lowest bit stands for 1.
fn mask(numbers: &[u8]) -> u64 {
    numbers.iter().fold(0, |mask, number| mask | 1 << (number - 1))
}

/// Which bundles a list has.
pub fn bundles(orders: u64) -> impl Iterator<Item = Tile> {
    (0..).map_while(move |index| Tile::of_tree(TileKind::Entries, index, orders))
}

/// Reads a bundle: its entries must be canonical, their numbers legal, and their tickets without a gap. `winning` is empty
/// for a draw without a result.
pub fn read_bundle(bytes: &[u8], rules: &PublishedRules, winning: &[u8]) -> Result<ReadBundle, ListError> {
    let entries = read_entries(bytes)?;
    let winning = mask(winning);
    let mut read = ReadBundle { leaves: Vec::with_capacity(entries.len()), tickets: (0, 0), matches: [0; _] };
    for (place, entry) in entries.into_iter().enumerate() {
        let order = OrderEntry::parse(entry).map_err(|error| ListError::Order(place, error))?;
        if place == 0 {
            read.tickets = (order.first, order.first);
        }
        if order.first != read.tickets.1 {
            return Err(ListError::Gap(place));
        }
        read.tickets.1 = order.next();
        for pick in &order.picks {
            // A pick is ascending, so its last number is its largest.
            if pick.len() != usize::from(rules.pick) || pick.last().is_none_or(|last| *last > rules.of) {
                return Err(ListError::Numbers(place));
            }
            read.matches[(mask(pick) & winning).count_ones() as usize] += 1;
        }
        read.leaves.push(hash_leaf(entry));
    }
    Ok(read)
}

/// Counts a list, bundle by bundle.
pub struct ListCount {
    edge: Edge,
    next: u64,
    matches: Matches,
    /// An earlier head of the list that must be a beginning of it, and a leaf that must be in it: those of a receipt.
    receipt: Option<(Head, u64, Hash)>,
    receipt_holds: (bool, bool),
}

impl ListCount {
    pub fn new() -> Self {
        Self { edge: Edge::new(), next: 1, matches: [0; _], receipt: None, receipt_holds: (false, false) }
    }

    /// Also looks for what a receipt proves: its head, and the leaf at its index.
    pub fn with_receipt(self, head: Head, index: u64, leaf: Hash) -> Self {
        let is_empty = head == Head::empty();
        Self { receipt: Some((head, index, leaf)), receipt_holds: (is_empty, false), ..self }
    }

    pub fn orders(&self) -> u64 {
        self.edge.size()
    }

    /// The bundle `tile` comes after those that were added before.
    pub fn add(&mut self, tile: Tile, bundle: ReadBundle) -> Result<(), ListError> {
        if bundle.leaves.len() != usize::from(tile.width) {
            return Err(ListError::Width { expected: tile.width, found: bundle.leaves.len() });
        }
        if bundle.tickets.0 != self.next {
            return Err(ListError::Gap(0));
        }
        self.next = bundle.tickets.1;
        for (count, more) in self.matches.iter_mut().zip(bundle.matches) {
            *count += more;
        }
        for leaf in bundle.leaves {
            if let Some((_, index, expected)) = &self.receipt {
                self.receipt_holds.1 |= *index == self.edge.size() && *expected == leaf;
            }
            self.edge.append(leaf)?;
            if let Some((head, ..)) = &self.receipt {
                self.receipt_holds.0 |= head.size == self.edge.size() && *head == self.edge.head();
            }
        }
        Ok(())
    }

    /// Compares the count with what was sealed and published.
    pub fn finish(self, draw: &VerifiedDraw, report: &mut VerificationReport) {
        let Some(SealedList { head, tickets }) = draw.sealed else { return };
        let found = self.next - 1;
        let is_sealed = report.require(
            self.edge.head() == head && found == tickets,
            format!(
                "All {} orders were read: they have the sealed root, and their {found} tickets have no gap and legal \
                 numbers.",
                head.size
            ),
            format!(
                "THE ORDERS ARE NOT THE SEALED LIST: {} orders with {tickets} tickets were sealed under another root than \
                 that of these {} orders with {found} tickets.",
                head.size,
                self.edge.size()
            ),
        );
        if draw.voided == Some(VoidCause::ListMismatch) && is_sealed {
            report.add_failure("REFUTED: list_mismatch. The orders that are shown are the sealed list.");
        }
        if let Some((receipt, index, _)) = &self.receipt {
            report.require(
                self.receipt_holds == (true, true),
                format!("The order of the receipt is in the sealed list, at place {index}."),
                format!(
                    "THE ORDER OF THE RECEIPT IS NOT IN THE SEALED LIST, or the list of {} orders that was signed then is \
                     not its beginning.",
                    receipt.size
                ),
            );
        }
        if let Some(DrawResult { winners, .. }) = &draw.result {
            let counted: Vec<u64> =
                draw.rules.tiers.iter().map(|tier| self.matches[usize::from(tier.matches)]).collect();
            report.require(
                counted == *winners,
                format!("The winners were counted: {counted:?}, from the most matches down."),
                format!("The winners were counted: {counted:?}, but {winners:?} were published."),
            );
        }
    }
}

impl Default for ListCount {
    fn default() -> Self {
        Self::new()
    }
}
