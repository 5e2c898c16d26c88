//! The right edge of a Merkle tree: the roots of its complete subtrees, enough to append and to compute the root.
//!
//! A batch of leaves that was just appended can prove each of them, from the edge before it and its own leaf hashes.
//! Leaves of earlier batches need stored tiles (`tiles`).

use super::{Head, Subtree, fold_roots, hash_node, inclusion_path};
use crate::Hash;

/// An edge as bytes: the size, then at most one root for each bit of it.
pub const MAX_EDGE_BYTES: usize = 8 + 64 * 32;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EdgeError {
    #[error("an edge begins with 8 bytes of size, and has at most {MAX_EDGE_BYTES} bytes, not {0}")]
    Length(usize),
    #[error("an edge of {size} leaves has {expected} roots, not {bytes} bytes of roots")]
    Roots { size: u64, expected: u32, bytes: usize },
    #[error("a tree has at most 2^64 - 1 leaves")]
    Full,
}

/// The roots of the complete subtrees at the right end of a tree: one for each bit of its size, the largest first.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Edge {
    size: u64,
    roots: Vec<Hash>,
}

impl Edge {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn root(&self) -> Hash {
        fold_roots(&self.roots)
    }

    pub fn head(&self) -> Head {
        Head { size: self.size, root: self.root() }
    }

    /// The size as a big-endian u64, then the roots, the largest subtree first.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8 + 32 * self.roots.len());
        bytes.extend_from_slice(&self.size.to_be_bytes());
        bytes.extend(self.roots.iter().flatten());
        bytes
    }

    /// Refuses bytes whose number of roots is not that of their size.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EdgeError> {
        let split = bytes.split_first_chunk::<8>().filter(|_| bytes.len() <= MAX_EDGE_BYTES);
        let (size, rest) = split.ok_or(EdgeError::Length(bytes.len()))?;
        let size = u64::from_be_bytes(*size);
        let (roots, remainder) = rest.as_chunks::<32>();
        if roots.len() != size.count_ones() as usize || !remainder.is_empty() {
            return Err(EdgeError::Roots { size, expected: size.count_ones(), bytes: rest.len() });
        }
        Ok(Self { size, roots: roots.to_vec() })
    }

    /// Appends one leaf. For the count of a whole tree: a sale appends batches, which can prove their leaves.
    pub fn append(&mut self, leaf: Hash) -> Result<(), EdgeError> {
        let size = self.size.checked_add(1).ok_or(EdgeError::Full)?;
        let mut root = leaf;
        // Each low bit of the size that is set is a complete subtree that now gets its right sibling.
        for left in self.roots.drain(self.roots.len() - self.size.trailing_ones() as usize..).rev() {
            root = hash_node(&left, &root);
        }
        self.roots.push(root);
        self.size = size;
        Ok(())
    }

    pub fn append_batch(&self, leaves: Vec<Hash>) -> Result<AppendedBatch, EdgeError> {
        AppendedBatch::new(self, leaves)
    }

    /// The root of the complete subtree of 2^height leaves, if the size has this bit.
    fn root_at(&self, height: u32) -> Option<Hash> {
        let larger = if height + 1 < u64::BITS { (self.size >> (height + 1)).count_ones() } else { 0 };
        (self.size >> height & 1 == 1).then(|| self.roots[larger as usize])
    }
}

/// A batch of leaves with every complete subtree that it made or that stands to its left at the edge.
#[derive(Debug)]
pub struct AppendedBatch {
    start: u64,
    levels: Vec<Level>,
    edge: Edge,
    /// For each height, the root of all leaves after the last complete subtree of that height: the only incomplete
    /// subtrees that a path needs.
    incomplete: Vec<Hash>,
}

/// Roots of complete subtrees of one height. `first` is even: if the batch begins inside a pair, the left one of the
/// pair is taken from the edge before the batch.
#[derive(Debug)]
struct Level {
    first: u64,
    added_from: usize,
    roots: Vec<Hash>,
}

impl AppendedBatch {
    fn new(before: &Edge, leaves: Vec<Hash>) -> Result<Self, EdgeError> {
        let start = before.size;
        let count = u64::try_from(leaves.len()).map_err(|_| EdgeError::Full)?;
        let size = start.checked_add(count).ok_or(EdgeError::Full)?;
        let height = u64::BITS - size.leading_zeros();
        let mut levels: Vec<Level> = Vec::with_capacity(height as usize);
        let mut added = leaves;
        for height in 0..height {
            let left = before.root_at(height);
            let added_from = usize::from(left.is_some());
            let roots: Vec<Hash> = left.into_iter().chain(added).collect();
            added = roots.as_chunks::<2>().0.iter().map(|[left, right]| hash_node(left, right)).collect();
            levels.push(Level { first: start >> height & !1, added_from, roots });
        }
        let mut edge = Edge { size, roots: Vec::new() };
        let mut incomplete = Vec::with_capacity(levels.len());
        let mut right: Option<Hash> = None;
        for (height, level) in levels.iter().enumerate() {
            incomplete.push(right.unwrap_or_default());
            if size >> height & 1 == 1 {
                // The size has this bit, so the last subtree of this height has no sibling yet.
                let root = level.roots[level.roots.len() - 1];
                edge.roots.push(root);
                right = Some(right.map_or(root, |right| hash_node(&root, &right)));
            }
        }
        edge.roots.reverse();
        Ok(Self { start, levels, edge, incomplete })
    }

    /// The edge after the batch.
    pub fn edge(&self) -> &Edge {
        &self.edge
    }

    pub fn into_edge(self) -> Edge {
        self.edge
    }

    /// The index of the first leaf of the batch.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The complete subtrees of 2^height leaves that this batch completed, with their index among those of that
    /// height. Height 8 gives the hashes of tiles of level 1.
    pub fn completed(&self, height: u32) -> impl Iterator<Item = (u64, &Hash)> {
        self.levels
            .get(height as usize)
            .into_iter()
            .flat_map(|level| (level.first..).zip(&level.roots).skip(level.added_from))
    }

    /// The inclusion proof of a leaf of this batch in the tree after it, or nothing for a leaf of another batch.
    pub fn inclusion_proof(&self, index: u64) -> Option<Vec<Hash>> {
        let is_mine = (self.start..self.edge.size).contains(&index);
        is_mine.then(|| inclusion_path(index, self.edge.size).into_iter().map(|tree| self.root(tree)).collect())
    }

    /// Only for subtrees on the path of a leaf of this batch.
    fn root(&self, subtree: Subtree) -> Hash {
        let size = subtree.size();
        if size.is_power_of_two() {
            let level = &self.levels[size.ilog2() as usize];
            level.roots[((subtree.start >> size.ilog2()) - level.first) as usize]
        } else {
            self.incomplete[size.ilog2() as usize + 1]
        }
    }
}
