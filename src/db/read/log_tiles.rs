//! Proofs of logs whose tiles are read from the database. Where the hashes of a tile come from is the log's business.

use std::collections::BTreeMap;

use verifiable_draw::Hash;
use verifiable_draw::merkle::tiles::{Tile, TileKind, TileProver, TileReader, inclusion_tiles};

use crate::db::DbError;

/// The proof that the leaf is in the tree of this size. `hashes` reads a tile of a level.
pub(super) async fn inclusion_proof(
    index: u64,
    size: u64,
    hashes: impl AsyncFn(u8, u64, u16) -> Result<Vec<Hash>, DbError>,
) -> Result<Vec<Hash>, DbError> {
    let corrupt = DbError::Corrupt("the tiles of a log");
    let Ok(needed) = inclusion_tiles(index, size) else { return Err(corrupt) };
    let mut tiles = ReadTiles::default();
    for tile in needed {
        // No proof is made from entries.
        let TileKind::Hashes { level } = tile.kind else { continue };
        tiles.0.insert(tile, hashes(level, tile.index, tile.width).await?);
    }
    TileProver::new(&tiles, size).inclusion_proof(index).map_err(|_| corrupt)
}

/// The tiles that were read for a proof.
#[derive(Default)]
struct ReadTiles(BTreeMap<Tile, Vec<Hash>>);

impl TileReader for &ReadTiles {
    /// A tile that was not read.
    type ReadError = Tile;

    fn read_tile(&mut self, tile: Tile) -> Result<Vec<Hash>, Tile> {
        self.0.get(&tile).cloned().ok_or(tile)
    }
}
