//! Tiles of C2SP tlog-tiles: their paths, and proofs made from them.
//!
//! Where tiles are stored is not known here: a `TileReader` reads them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::verify::MerkleError;
use super::{Subtree, consistency_path, fold_roots, inclusion_path};
use crate::Hash;
use crate::encoding::parse_decimal;

/// A full tile has 256 hashes.
pub const TILE_WIDTH: u16 = 256;
const TILE_HEIGHT: u32 = 8;
/// tlog-tiles allows levels to 63; a tree of 2^64 - 1 leaves has tiles on 8.
const MAX_LEVEL: u8 = 7;
/// The index of the last tile of level 0 has 17 digits, in 6 elements. Longer paths are refused unread.
const MAX_PATH_BYTES: usize = 64;

/// What a tile or an entry bundle has: hashes of one level, or entries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum TileKind {
    Hashes { level: u8 },
    Entries,
}

/// The name of a tile. `width` is 256 for a full one, and less for a partial one, which is a prefix of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Tile {
    pub kind: TileKind,
    pub index: u64,
    pub width: u16,
}

impl Tile {
    /// `tile/<L>/<N>[.p/<W>]`, after the log's prefix and a slash.
    pub fn path(&self) -> String {
        let mut groups = vec![format!("{:03}", self.index % 1000)];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(format!("x{:03}", rest % 1000));
            rest /= 1000;
        }
        groups.reverse();
        let kind = match self.kind {
            TileKind::Hashes { level } => level.to_string(),
            TileKind::Entries => "entries".to_owned(),
        };
        let path = format!("tile/{kind}/{}", groups.join("/"));
        if self.width == TILE_WIDTH { path } else { format!("{path}.p/{}", self.width) }
    }

    /// Refuses every path that `path` does not write.
    pub fn parse(path: &str) -> Option<Self> {
        if path.len() > MAX_PATH_BYTES {
            return None;
        }
        let (kind, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let kind = match kind {
            "entries" => TileKind::Entries,
            level => {
                let level = u8::try_from(parse_decimal(level)?).ok().filter(|level| *level <= MAX_LEVEL)?;
                TileKind::Hashes { level }
            }
        };
        let (groups, width) = match rest.split_once(".p/") {
            Some((groups, width)) => (groups, u16::try_from(parse_decimal(width)?).ok()?),
            None => (rest, TILE_WIDTH),
        };
        let digits: String = groups.split('/').map(|group| group.strip_prefix('x').unwrap_or(group)).collect();
        let index = digits.parse().ok()?;
        let tile = Self { kind, index, width };
        // One tile has one path: what is written anew must be what was read.
        ((1..=TILE_WIDTH).contains(&width) && tile.path() == path).then_some(tile)
    }

    /// The entry bundle, or the tile of a level, of this index in a tree of `size` leaves: full, partial, or none.
    pub fn of_tree(kind: TileKind, index: u64, size: u64) -> Option<Self> {
        let level = if let TileKind::Hashes { level } = kind { u32::from(level) } else { 0 };
        let hashes = size.checked_shr(TILE_HEIGHT * level).unwrap_or(0);
        let first = index.checked_mul(u64::from(TILE_WIDTH))?;
        let width = hashes.checked_sub(first)?.min(u64::from(TILE_WIDTH)) as u16;
        (width > 0).then_some(Self { kind, index, width })
    }
}

/// Reads stored tiles.
pub trait TileReader {
    type ReadError;

    /// The hashes of a tile: `width` of them. More are allowed, as a partial tile is a prefix of a later one.
    fn read_tile(&mut self, tile: Tile) -> Result<Vec<Hash>, Self::ReadError>;
}

#[derive(Debug, thiserror::Error)]
pub enum TileError<E> {
    #[error(transparent)]
    Impossible(MerkleError),
    #[error("tile {} has {found} hashes", .tile.path())]
    Short { tile: Tile, found: usize },
    #[error("a tile could not be read: {0}")]
    Read(E),
}

/// Makes proofs about a tree of `size` leaves, and reads each tile once.
pub struct TileProver<R: TileReader> {
    reader: R,
    size: u64,
    tiles: BTreeMap<(u8, u64), Vec<Hash>>,
}

impl<R: TileReader> TileProver<R> {
    pub fn new(reader: R, size: u64) -> Self {
        Self { reader, size, tiles: BTreeMap::new() }
    }

    pub fn root(&mut self) -> Result<Hash, TileError<R::ReadError>> {
        self.subtree_root(Subtree { start: 0, end: self.size })
    }

    pub fn inclusion_proof(&mut self, index: u64) -> Result<Vec<Hash>, TileError<R::ReadError>> {
        if index >= self.size {
            return Err(TileError::Impossible(MerkleError::OutOfTree { index, size: self.size }));
        }
        inclusion_path(index, self.size).into_iter().map(|subtree| self.subtree_root(subtree)).collect()
    }

    /// The proof that the tree of the first `old` leaves is the beginning of this one.
    pub fn consistency_proof(&mut self, old: u64) -> Result<Vec<Hash>, TileError<R::ReadError>> {
        if old > self.size {
            return Err(TileError::Impossible(MerkleError::Shrunk { old, new: self.size }));
        }
        consistency_path(old, self.size).into_iter().map(|subtree| self.subtree_root(subtree)).collect()
    }

    fn subtree_root(&mut self, subtree: Subtree) -> Result<Hash, TileError<R::ReadError>> {
        let roots = subtree.complete().map(|(height, index)| self.node(height, index));
        Ok(fold_roots(&roots.collect::<Result<Vec<Hash>, _>>()?))
    }

    /// The root of a complete subtree, from the hashes of the tile just below it.
    fn node(&mut self, height: u32, index: u64) -> Result<Hash, TileError<R::ReadError>> {
        let Place { level, tile, offset, count } = Place::of_node(height, index);
        let hashes = self.tile(level, tile, offset + count)?;
        Ok(complete_root(&hashes[offset..offset + count]))
    }

    fn tile(&mut self, level: u8, index: u64, needed: usize) -> Result<&[Hash], TileError<R::ReadError>> {
        let kind = TileKind::Hashes { level };
        let hashes = match self.tiles.entry((level, index)) {
            Entry::Occupied(read) => read.into_mut(),
            Entry::Vacant(unread) => {
                let none = Tile { kind, index, width: TILE_WIDTH };
                let tile =
                    Tile::of_tree(kind, index, self.size).ok_or(TileError::Short { tile: none, found: 0 })?;
                let hashes = self.reader.read_tile(tile).map_err(TileError::Read)?;
                if hashes.len() < usize::from(tile.width).max(needed) {
                    return Err(TileError::Short { tile, found: hashes.len() });
                }
                unread.insert(hashes)
            }
        };
        Ok(hashes)
    }
}

/// The tiles that an inclusion proof is made from, for a program that reads them all at once.
pub fn inclusion_tiles(index: u64, size: u64) -> Result<Vec<Tile>, MerkleError> {
    if index >= size {
        return Err(MerkleError::OutOfTree { index, size });
    }
    Ok(tiles_of_path(inclusion_path(index, size), size))
}

/// The tiles that a consistency proof is made from.
pub fn consistency_tiles(old: u64, size: u64) -> Result<Vec<Tile>, MerkleError> {
    if old > size {
        return Err(MerkleError::Shrunk { old, new: size });
    }
    Ok(tiles_of_path(consistency_path(old, size), size))
}

/// The tiles that the root is made from.
pub fn root_tiles(size: u64) -> Vec<Tile> {
    tiles_of_path(vec![Subtree { start: 0, end: size }], size)
}

fn tiles_of_path(path: Vec<Subtree>, size: u64) -> Vec<Tile> {
    let places = path.into_iter().flat_map(Subtree::complete).map(|(height, index)| Place::of_node(height, index));
    let tiles =
        places.filter_map(|place| Tile::of_tree(TileKind::Hashes { level: place.level }, place.tile, size));
    tiles.collect::<BTreeSet<Tile>>().into_iter().collect()
}

/// Where the hashes stand from which the root of a complete subtree is made.
struct Place {
    level: u8,
    tile: u64,
    offset: usize,
    count: usize,
}

impl Place {
    fn of_node(height: u32, index: u64) -> Self {
        let above = height % TILE_HEIGHT;
        let first = index << above;
        let offset = (first % u64::from(TILE_WIDTH)) as usize;
        Self {
            level: (height / TILE_HEIGHT) as u8,
            tile: first / u64::from(TILE_WIDTH),
            offset,
            count: 1 << above,
        }
    }
}

/// The root of a power of two of hashes.
fn complete_root(hashes: &[Hash]) -> Hash {
    match hashes {
        [_, _, ..] => {
            let (left, right) = hashes.split_at(hashes.len() / 2);
            fold_roots(&[complete_root(left), complete_root(right)])
        }
        _ => fold_roots(hashes),
    }
}

/// The root of a full tile, which is one hash of the level above, or nothing for a partial one.
pub fn tile_root(hashes: &[Hash]) -> Option<Hash> {
    (hashes.len() == usize::from(TILE_WIDTH)).then(|| complete_root(hashes))
}
