//! Reads the public log: what it is, its entries and hashes by tiles, and the proofs of a draw's entries.

use tokio_postgres::{Client, Error, Row};
use verifiable_draw::Hash;
use verifiable_draw::merkle::edge::Edge;
use verifiable_draw::merkle::tiles::{TILE_WIDTH, tile_root};
use verifiable_draw::merkle::verify::verify_consistency;
use verifiable_draw::merkle::{Head, hash_leaf};

use super::log_tiles;
use crate::db::{Db, DbError};
use crate::domain::id::DrawId;
use crate::domain::log_entry::StoredEntry;
use crate::domain::log_keys::{KeyGenerations, LogIdentity, LogOrigin};
use crate::domain::lottery::Fairness;

/// The most entries of a draw that are read: an answer, and what is verified, has no more.
const MAX_ENTRIES_OF_DRAW: i64 = 1_000;
/// A draw with so many entries gets no new times: its seal and its end, and new times that are under way, must still fit.
pub const MAX_ENTRIES_BEFORE_RESCHEDULE: i64 = MAX_ENTRIES_OF_DRAW - 100;
/// The most changes of the log's keys that are proved: a rotation has two.
const MAX_KEY_CHANGES: i64 = 200;

/// The columns of an entry.
pub const ENTRY: &str = "index, draw_id, entry, mac";

/// What the first start of the service recorded. `None`: the service has not been started on this schema.
pub async fn identity(db: &Client) -> Result<Option<LogIdentity>, DbError> {
    let sql = "-- public_log::identity()
        SELECT origin, fingerprint FROM log_identity";
    let Some(row) = db.query_opt(sql, &[]).await? else { return Ok(None) };
    let origin = LogOrigin::parse(row.get("origin")).ok_or(DbError::Corrupt("origin of the public log"))?;
    let fingerprint = row.get::<_, &[u8]>("fingerprint").try_into();
    let fingerprint = fingerprint.map_err(|_| DbError::Corrupt("fingerprint of the master secret"))?;
    Ok(Some(LogIdentity { origin, fingerprint }))
}

/// The keys that sign now.
pub async fn key_generations(db: &Db) -> Result<KeyGenerations, DbError> {
    let sql = "-- public_log::key_generations()
        SELECT oldest, newest FROM log_key_generations";
    let row = db.query_opt(sql, &[]).await?.ok_or(DbError::Corrupt("generations of the public log's keys"))?;
    Ok(generations(&row))
}

/// From a row with both columns.
pub fn generations(row: &Row) -> KeyGenerations {
    let generation = |column| row.get::<_, i64>(column).cast_unsigned();
    KeyGenerations { oldest: generation("oldest"), newest: generation("newest") }
}

/// The edge of the tree over all entries.
pub async fn edge(db: &Db) -> Result<Edge, DbError> {
    let sql = "-- public_log::edge()
        SELECT edge FROM log_edge";
    let row = db.query_opt(sql, &[]).await?.ok_or(DbError::Corrupt("edge of the public log"))?;
    Edge::from_bytes(row.get(0)).map_err(|_| DbError::Corrupt("edge of the public log"))
}

/// So many entries from this index on. The log must have them.
pub async fn entries(db: &Db, first: u64, count: u64) -> Result<Vec<Vec<u8>>, DbError> {
    Ok(stored_entries(db, first, count).await?.into_iter().map(|entry| entry.bytes).collect())
}

/// The same, with what tells whether the service has written them.
pub async fn stored_entries(db: &Db, first: u64, count: u64) -> Result<Vec<StoredEntry>, DbError> {
    let sql = format!(
        "-- public_log::stored_entries()
        SELECT {ENTRY} FROM log_entries WHERE index >= $1 AND index < $2 ORDER BY index"
    );
    let (from, end) = (first.cast_signed(), first.saturating_add(count).cast_signed());
    let entries: Vec<_> = db.query(&sql, &[&from, &end]).await?.iter().map(stored_entry).collect();
    let are_all = entries.len() as u64 == count;
    if are_all { Ok(entries) } else { Err(DbError::Corrupt("entries of the public log")) }
}

/// From a row with the columns [`ENTRY`].
pub fn stored_entry(row: &Row) -> StoredEntry {
    StoredEntry {
        index: row.get::<_, i64>("index").cast_unsigned(),
        draw: row.get::<_, Option<i64>>("draw_id").map(DrawId),
        bytes: row.get("entry"),
        mac: row.get("mac"),
    }
}

/// The index of the first entry that needs a MAC. It is never changed.
pub async fn first_mac(db: &Client) -> Result<u64, Error> {
    let sql = "-- public_log::first_mac()
        SELECT first_entry FROM log_macs";
    Ok(db.query_opt(sql, &[]).await?.map_or(0, |row| row.get::<_, i64>(0).cast_unsigned()))
}

/// The hashes of a tile. The log must have it.
pub async fn hashes(db: &Db, level: u8, tile: u64, width: u16) -> Result<Vec<Hash>, DbError> {
    let first = tile.saturating_mul(TILE_WIDTH.into());
    if level == 0 {
        return Ok(entries(db, first, width.into()).await?.iter().map(|entry| hash_leaf(entry)).collect());
    }
    // The roots of tiles of level 0 are stored. Those of the levels above are few enough to be made from them.
    let below = u64::from(TILE_WIDTH).saturating_pow(u32::from(level) - 1);
    let (from, end) = (first.saturating_mul(below), (first + u64::from(width)).saturating_mul(below));
    let sql = "-- public_log::hashes()
        SELECT root FROM log_tiles WHERE tile >= $1 AND tile < $2 ORDER BY tile";
    let rows = db.query(sql, &[&from.cast_signed(), &end.cast_signed()]).await?;
    let hash = |row: &Row| row.get::<_, &[u8]>(0).try_into();
    let mut hashes: Vec<Hash> = rows
        .iter()
        .map(hash)
        .collect::<Result<_, _>>()
        .map_err(|_| DbError::Corrupt("a tile of the public log"))?;
    for _ in 1..level {
        let roots: Option<_> = hashes.chunks(TILE_WIDTH.into()).map(tile_root).collect();
        hashes = roots.ok_or(DbError::Corrupt("a tile of the public log"))?;
    }
    if hashes.len() == usize::from(width) { Ok(hashes) } else { Err(DbError::Corrupt("a tile of the public log")) }
}

/// The entries of a draw with their indexes, among the first `size` of the log.
pub async fn of_draw(db: &Db, draw: DrawId, size: u64) -> Result<Vec<(u64, Vec<u8>)>, DbError> {
    let sql = "-- public_log::of_draw()
        SELECT index, entry FROM log_entries WHERE draw_id = $1 AND index < $2 ORDER BY index LIMIT $3";
    let rows = db.query(sql, &[&draw.0, &size.cast_signed(), &MAX_ENTRIES_OF_DRAW]).await?;
    Ok(rows.iter().map(|row| (row.get::<_, i64>(0).cast_unsigned(), row.get(1))).collect())
}

/// How many entries a draw has.
pub async fn count_of_draw(db: &Db, draw: DrawId) -> Result<i64, DbError> {
    let sql = "-- public_log::count_of_draw()
        SELECT count(*) FROM log_entries WHERE draw_id = $1";
    Ok(db.query_opt(sql, &[&draw.0]).await?.map_or(0, |row| row.get(0)))
}

/// The newest changes of the log's keys with their indexes, the oldest of them first, among the first `size` entries. The
/// entries of no draw are read one by one, so this is for the start of the service.
pub async fn key_changes(db: &Db, size: u64) -> Result<Vec<(u64, Vec<u8>)>, DbError> {
    let sql = r#"-- public_log::key_changes()
        SELECT index, entry FROM log_entries
        WHERE draw_id IS NULL AND index < $1 AND position('"type":"key_'::bytea IN entry) > 0
        ORDER BY index DESC LIMIT $2"#;
    let rows = db.query(sql, &[&size.cast_signed(), &MAX_KEY_CHANGES]).await?;
    Ok(rows.iter().rev().map(|row| (row.get::<_, i64>(0).cast_unsigned(), row.get(1))).collect())
}

/// The proof that the log of this size has the entry at this index.
pub async fn inclusion_proof(db: &Db, index: u64, size: u64) -> Result<Vec<Hash>, DbError> {
    log_tiles::inclusion_proof(index, size, async |level, tile, width| hashes(db, level, tile, width).await).await
}

/// The proof that the log of the first `old` entries is the beginning of the log of this size.
pub async fn consistency_proof(db: &Db, old: u64, size: u64) -> Result<Vec<Hash>, DbError> {
    log_tiles::consistency_proof(old, size, async |level, tile, width| hashes(db, level, tile, width).await).await
}

/// The head that the log had at this size. It is compared with the newest one: what the database says must be what was
/// published, before it is signed again.
pub async fn older_head(db: &Db, size: u64, newest: &Head) -> Result<Head, DbError> {
    if size == newest.size {
        return Ok(*newest);
    }
    let older = log_tiles::head(size, async |level, tile, width| hashes(db, level, tile, width).await).await?;
    let proof = consistency_proof(db, size, newest.size).await?;
    verify_consistency(&older, newest, &proof).map_err(|_| DbError::Corrupt("an older head of the public log"))?;
    Ok(older)
}

/// How the numbers of a draw come about, as its row says. `None`: it is not announced, or was opened before there was a
/// public log.
pub async fn fairness(db: &Db, draw: DrawId) -> Result<Option<Fairness>, DbError> {
    let sql = "-- public_log::fairness()
        SELECT fairness FROM draws WHERE id = $1";
    let row = db.query_opt(sql, &[&draw.0]).await?;
    let parse = |text: &str| Fairness::parse(text).ok_or(DbError::Corrupt("fairness of a draw"));
    row.and_then(|row| row.get::<_, Option<&str>>(0).map(parse)).transpose()
}

/// The draws on sale that have a ticket log, and its size. One that a restored backup has brought back is not on sale.
pub async fn open_draws(db: &Db) -> Result<Vec<(DrawId, u64)>, DbError> {
    let sql = "-- public_log::open_draws()
        SELECT s.draw_id, s.edge FROM draw_sales s JOIN draws d ON d.id = s.draw_id
        WHERE d.status = 'open' AND s.edge IS NOT NULL
            AND NOT EXISTS (SELECT FROM rolled_back_draws b WHERE b.draw_id = d.id) ORDER BY s.draw_id";
    let size = |row: &Row| {
        let edge = Edge::from_bytes(row.get(1)).map_err(|_| DbError::Corrupt("edge of a ticket log"))?;
        Ok((DrawId(row.get(0)), edge.size()))
    };
    db.query(sql, &[]).await?.iter().map(size).collect()
}
