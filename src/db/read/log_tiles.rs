//! Proofs and heads of logs whose tiles are read from the database. Where the hashes of a tile come from is the log's business.

use std::collections::BTreeMap;

use verifiable_draw::Hash;
use verifiable_draw::merkle::Head;
use verifiable_draw::merkle::tiles::{
    Tile, TileKind, TileProver, TileReader, consistency_tiles, inclusion_tiles, root_tiles,
};

use crate::db::DbError;

const CORRUPT: DbError = DbError::Corrupt("the tiles of a log");

/// The proof that the leaf is in the tree of this size. `hashes` reads a tile of a level.
pub(super) async fn inclusion_proof(
    index: u64,
    size: u64,
    hashes: impl AsyncFn(u8, u64, u16) -> Result<Vec<Hash>, DbError>,
) -> Result<Vec<Hash>, DbError> {
    let tiles = ReadTiles::read(inclusion_tiles(index, size).map_err(|_| CORRUPT)?, hashes).await?;
    TileProver::new(&tiles, size).inclusion_proof(index).map_err(|_| CORRUPT)
}

/// The proof that the tree of the first `old` leaves is the beginning of the tree of this size.
pub(super) async fn consistency_proof(
    old: u64,
    size: u64,
    hashes: impl AsyncFn(u8, u64, u16) -> Result<Vec<Hash>, DbError>,
) -> Result<Vec<Hash>, DbError> {
    let tiles = ReadTiles::read(consistency_tiles(old, size).map_err(|_| CORRUPT)?, hashes).await?;
    TileProver::new(&tiles, size).consistency_proof(old).map_err(|_| CORRUPT)
}

/// The head of the tree of this size.
pub(super) async fn head(
    size: u64,
    hashes: impl AsyncFn(u8, u64, u16) -> Result<Vec<Hash>, DbError>,
) -> Result<Head, DbError> {
    let tiles = ReadTiles::read(root_tiles(size), hashes).await?;
    let root = TileProver::new(&tiles, size).root().map_err(|_| CORRUPT)?;
    Ok(Head { size, root })
}

/// The tiles that were read for a proof.
struct ReadTiles(BTreeMap<Tile, Vec<Hash>>);

impl ReadTiles {
    async fn read(
        needed: Vec<Tile>,
        hashes: impl AsyncFn(u8, u64, u16) -> Result<Vec<Hash>, DbError>,
    ) -> Result<ReadTiles, DbError> {
        let mut tiles = BTreeMap::new();
        for tile in needed {
            // No proof is made from entries.
            let TileKind::Hashes { level } = tile.kind else { continue };
            tiles.insert(tile, hashes(level, tile.index, tile.width).await?);
        }
        Ok(ReadTiles(tiles))
    }
}

impl TileReader for &ReadTiles {
    /// A tile that was not read.
    type ReadError = Tile;

    fn read_tile(&mut self, tile: Tile) -> Result<Vec<Hash>, Tile> {
        self.0.get(&tile).cloned().ok_or(tile)
    }
}
