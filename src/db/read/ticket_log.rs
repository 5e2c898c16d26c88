//! Reads the ticket log of a draw: its head, its entries and hashes by tiles, and proofs of single orders. The entries
//! are not stored: they follow from the tickets and the log's keys. Roots of complete tiles are stored, so a proof reads
//! at most two tiles of tickets and two of roots for each level, however large the draw is.

use tokio_postgres::Row;
use verifiable_draw::Hash;
use verifiable_draw::keys::Salt;
use verifiable_draw::merkle::edge::Edge;
use verifiable_draw::merkle::tiles::TILE_WIDTH;
use verifiable_draw::merkle::{Head, hash_leaf};
use verifiable_draw::proof::receipt_text;

use super::log_tiles;
use super::rules::game;
use crate::db::{Db, DbError};
use crate::domain::game::Game;
use crate::domain::id::{DrawId, PaymentId, UserId};
use crate::domain::ticket_log::{PaidOrder, PaidOrders, TicketLogKeys, TicketLogs};

/// The ticket log of a draw, as it was when it was read. Orders that are appended later do not change what it returns.
#[derive(Debug)]
pub struct StoredTicketLog {
    draw: DrawId,
    game: Game,
    edge: Edge,
    /// The number of the last ticket.
    sold: i64,
    sealed: bool,
    keys: TicketLogKeys,
}

/// Reads the log of a draw. `None`: there is no such draw, or it has no log: it is not opened yet, or was opened before
/// draws had logs. Refuses a log that has gone back since the service was started.
pub async fn read(db: &Db, logs: &TicketLogs, draw: DrawId) -> Result<Option<StoredTicketLog>, DbError> {
    let known = logs.committed(draw);
    let sql = "-- ticket_log::read()
        SELECT d.pick, d.of, s.sold, s.edge, EXISTS (SELECT FROM draw_seals WHERE draw_id = d.id) AS sealed
        FROM draws d JOIN draw_sales s ON s.draw_id = d.id WHERE d.id = $1 AND s.edge IS NOT NULL";
    let Some(row) = db.query_opt(sql, &[&draw.0]).await? else { return Ok(None) };
    let edge = Edge::from_bytes(row.get("edge")).map_err(|_| DbError::Corrupt("edge of a ticket log"))?;
    if let Err(fault) = TicketLogs::check(known, &edge) {
        tracing::error!(%draw, %fault, "a ticket log is refused");
        return Err(DbError::Corrupt("edge of a ticket log"));
    }
    // It is committed, and what is signed of it must stay true.
    logs.commit(draw, edge.head());
    let (game, keys) = (game(&row)?, logs.keys(draw));
    Ok(Some(StoredTicketLog { draw, game, edge, sold: row.get("sold"), sealed: row.get("sealed"), keys }))
}

/// An entry of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoggedOrder {
    pub payment: PaymentId,
    pub entry: Vec<u8>,
}

impl StoredTicketLog {
    pub fn head(&self) -> Head {
        self.edge.head()
    }

    /// Whether no order can be appended any more: entries may be shown to everybody.
    pub fn is_sealed(&self) -> bool {
        self.sealed
    }

    pub fn keys(&self) -> &TicketLogKeys {
        &self.keys
    }

    /// The signed head.
    pub fn checkpoint(&self) -> String {
        self.keys.sign(&self.head())
    }

    /// The orders of an entry bundle. The tile must be one of this log, full or partial.
    pub async fn entries(&self, db: &Db, tile: u64, width: u16) -> Result<Vec<LoggedOrder>, DbError> {
        let mut orders = self.orders(db, tile).await?;
        if orders.len() < usize::from(width) {
            return Err(DbError::Corrupt("a ticket log without its tickets"));
        }
        orders.truncate(width.into());
        Ok(orders)
    }

    /// The hashes of a tile. It must be one of this log, full or partial.
    pub async fn hashes(&self, db: &Db, level: u8, tile: u64, width: u16) -> Result<Vec<Hash>, DbError> {
        let Some(below) = i16::from(level).checked_sub(1).filter(|below| *below >= 0) else {
            let orders = self.entries(db, tile, width).await?;
            return Ok(orders.iter().map(|order| hash_leaf(&order.entry)).collect());
        };
        let first = tile.cast_signed() * i64::from(TILE_WIDTH);
        let sql = "-- ticket_log::hashes()
            SELECT root FROM ticket_log_tiles WHERE draw_id = $1 AND level = $2 AND tile >= $3 AND tile < $4
            ORDER BY tile";
        let rows = db.query(sql, &[&self.draw.0, &below, &first, &(first + i64::from(width))]).await?;
        let hash = |row: &Row| row.get::<_, &[u8]>(0).try_into();
        let hashes: Result<Vec<Hash>, _> = rows.iter().map(hash).collect();
        let is_whole = |hashes: &Vec<Hash>| hashes.len() == usize::from(width);
        hashes.ok().filter(is_whole).ok_or(DbError::Corrupt("a tile of a ticket log"))
    }

    /// The proof that the log has the order of this ticket, in the text format of tlog-proof, and the order's salt.
    pub async fn proof(&self, db: &Db, payment: PaymentId, number: i64) -> Result<(String, Salt), DbError> {
        let sql = "-- ticket_log::proof(tile)
            SELECT tile FROM ticket_log_tiles WHERE draw_id = $1 AND level = 0 AND last_number < $2
            ORDER BY last_number DESC LIMIT 1";
        let before: Option<i64> = db.query_opt(sql, &[&self.draw.0, &number]).await?.map(|row| row.get(0));
        let tile = before.map_or(0, |before| before + 1).cast_unsigned();
        let orders = self.orders(db, tile).await?;
        let position = orders.iter().position(|order| order.payment == payment);
        let position = position.ok_or(DbError::Corrupt("a paid order that its ticket log does not have"))?;
        let index = tile * u64::from(TILE_WIDTH) + position as u64;
        let size = self.edge.size();
        let proof = log_tiles::inclusion_proof(index, size, async |level, index, width| {
            if (level, index) == (0, tile) {
                return Ok(orders.iter().map(|order| hash_leaf(&order.entry)).collect());
            }
            self.hashes(db, level, index, width).await
        });
        let proof = proof.await?;
        let text = receipt_text(Some(&orders[position].entry), index, &proof, &self.checkpoint());
        Ok((text, self.keys.salt(payment)))
    }

    /// All orders of a tile that this log has.
    async fn orders(&self, db: &Db, tile: u64) -> Result<Vec<LoggedOrder>, DbError> {
        let (after, to) = self.numbers(db, tile).await?;
        let sql = "-- ticket_log::orders()
            SELECT number, user_id, payment_id, pick FROM tickets
            WHERE draw_id = $1 AND number > $2 AND number <= $3 ORDER BY number";
        let (mut groups, mut orders) = (PaidOrders::default(), Vec::new());
        let take = |row: &Row| {
            let pick = self.game.pick_from_mask(row.get(3)).map_err(|_| DbError::Corrupt("pick"))?;
            let order = groups.push(row.get(0), PaymentId(row.get(2)), UserId(row.get(1)), pick);
            orders.extend(order.map(|order| self.logged(&order)).transpose()?);
            Ok(())
        };
        db.for_each_row(sql, &[&self.draw.0, &after, &to], take).await?;
        orders.extend(groups.end().map(|order| self.logged(&order)).transpose()?);
        Ok(orders)
    }

    /// The numbers of the tickets of a tile: above the first value and not above the second.
    async fn numbers(&self, db: &Db, tile: u64) -> Result<(i64, i64), DbError> {
        let sql = "-- ticket_log::numbers()
            SELECT tile, last_number FROM ticket_log_tiles
            WHERE draw_id = $1 AND level = 0 AND tile IN ($2::bigint - 1, $2) ORDER BY tile";
        let rows = db.query(sql, &[&self.draw.0, &tile.cast_signed()]).await?;
        let last =
            |tile: i64| rows.iter().find(|row| row.get::<_, i64>(0) == tile).map(|row| row.get::<_, i64>(1));
        let after = if tile == 0 { Some(0) } else { last(tile.cast_signed() - 1) };
        let after = after.ok_or(DbError::Corrupt("a tile of a ticket log"))?;
        // A tile that was completed since has tickets that this log does not have.
        Ok((after, last(tile.cast_signed()).unwrap_or(self.sold).min(self.sold)))
    }

    fn logged(&self, order: &PaidOrder) -> Result<LoggedOrder, DbError> {
        let PaidOrder { payment, user, first, ref picks } = *order;
        let entry = self.keys.entry(first, user, &self.keys.salt(payment), picks.iter().copied());
        Ok(LoggedOrder { payment, entry: entry.map_err(|_| DbError::Corrupt("a paid order"))? })
    }
}
