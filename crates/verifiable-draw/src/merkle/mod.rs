//! Merkle trees of RFC 6962 (RFC 9162 hashes them alike): how leaves and nodes are hashed, and which subtrees a path
//! consists of.
//!
//! - `edge` appends to a tree of which only the right edge is kept, and makes inclusion proofs for what it appended.
//! - `tiles` makes inclusion and consistency proofs from stored tiles.
//! - `verify` checks both kinds of proofs.
//!
//! Nothing here keeps a whole tree.

pub mod edge;
pub mod tiles;
pub mod verify;

use crate::Hash;
use crate::encoding::sha256;

/// A proof has at most one hash for each level of a tree of 2^64 - 1 leaves.
pub const MAX_PROOF_HASHES: usize = 64;

/// The size and the root of a tree: what a checkpoint signs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    pub size: u64,
    pub root: Hash,
}

impl Head {
    pub fn empty() -> Self {
        Self { size: 0, root: empty_root() }
    }
}

pub fn hash_leaf(entry: &[u8]) -> Hash {
    sha256(&[&[0], entry])
}

pub fn hash_node(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [1; 65];
    bytes[1..33].copy_from_slice(left);
    bytes[33..].copy_from_slice(right);
    sha256(&[&bytes])
}

/// The root of a tree without leaves: SHA-256 of nothing.
pub fn empty_root() -> Hash {
    sha256(&[])
}

/// Leaves `start..end` of a tree. `end` is after `start`, and `start` is a multiple of a power of two that is not
/// smaller than the subtree: so all subtrees are that RFC 6962 names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Subtree {
    pub start: u64,
    pub end: u64,
}

impl Subtree {
    pub fn size(self) -> u64 {
        self.end - self.start
    }

    /// The largest power of two below the size: the size of the left half. Only for more than one leaf.
    fn left_size(self) -> u64 {
        1 << (self.size() - 1).ilog2()
    }

    fn halves(self) -> (Subtree, Subtree) {
        let middle = self.start + self.left_size();
        (Subtree { start: self.start, end: middle }, Subtree { start: middle, end: self.end })
    }

    /// Height and index of the complete subtrees that this one consists of, the largest first: of each, the leaves are
    /// `index << height .. (index + 1) << height`.
    fn complete(self) -> impl Iterator<Item = (u32, u64)> {
        let mut start = self.start;
        (0..u64::BITS).rev().filter(move |height| self.size() >> height & 1 == 1).map(move |height| {
            let index = start >> height;
            start += 1 << height;
            (height, index)
        })
    }
}

/// The subtrees whose roots prove that leaf `index` is in a tree of `size` leaves, from the leaf's sibling upwards.
pub(crate) fn inclusion_path(index: u64, size: u64) -> Vec<Subtree> {
    let mut path = Vec::with_capacity((u64::BITS - size.leading_zeros()) as usize);
    let mut tree = Subtree { start: 0, end: size };
    while tree.size() > 1 {
        let (left, right) = tree.halves();
        let (on_path, sibling) = if index < right.start { (left, right) } else { (right, left) };
        path.push(sibling);
        tree = on_path;
    }
    path.reverse();
    path
}

/// The subtrees whose roots prove that a tree of `old` leaves is the beginning of one of `new` leaves. Empty if `old`
/// is 0 or `new`.
pub(crate) fn consistency_path(old: u64, new: u64) -> Vec<Subtree> {
    let mut path = Vec::new();
    if old == 0 || old == new {
        return path;
    }
    let mut tree = Subtree { start: 0, end: new };
    while tree.end != old {
        let (left, right) = tree.halves();
        let (on_path, sibling) = if old <= right.start { (left, right) } else { (right, left) };
        path.push(sibling);
        tree = on_path;
    }
    // A verifier knows the root of the old tree. It needs the last subtree of it only if that is not the whole.
    if tree.start > 0 {
        path.push(tree);
    }
    path.reverse();
    path
}

/// The root of a tree from the roots of its complete subtrees, of which the largest is the first.
pub(crate) fn fold_roots(roots: &[Hash]) -> Hash {
    let smallest_first = roots.iter().rev().copied();
    smallest_first.reduce(|right, left| hash_node(&left, &right)).unwrap_or_else(empty_root)
}
