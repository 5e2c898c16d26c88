//! The ticket log of a draw: a Merkle tree with one leaf for each paid order, in the order of the ticket numbers. Its
//! formats are those of docs/verifiable-draw.md. A batch appends the orders that it pays, and once it is committed its
//! receipts prove that the log has them. This file knows no SQL: `db::read::ticket_log` makes the same entries from the
//! rows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use verifiable_draw::Hash;
use verifiable_draw::checkpoint::sign_head;
use verifiable_draw::keys::{Salt, SaltKey, owner};
use verifiable_draw::merkle::edge::{AppendedBatch, Edge};
use verifiable_draw::merkle::tiles::TILE_WIDTH;
use verifiable_draw::merkle::{Head, hash_leaf};
use verifiable_draw::order::{OrderError, write_order};
use verifiable_draw::proof::write_receipt;
use verifiable_draw::vkey::{NoteSigner, VerifierKey};

use super::game::Pick;
use super::id::{DrawId, PaymentId, UserId};
use super::log_keys::LogKeys;

/// The leaves of a tile are 2^8, and those of a tile of the next level 2^8 times as many.
const TILE_HEIGHT: u32 = TILE_WIDTH.ilog2();

/// Why the ticket log that the database has is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TicketLogFault {
    /// A checkpoint of the newer log may be in somebody's hands, so orders must not be appended to the older one.
    #[error(
        "the draw's ticket log in the database is not what this service has committed before ({known} orders): it looks \
         as if the database was restored from a backup while the service ran"
    )]
    RolledBack { known: u64 },
    #[error("the edge of the draw's ticket log cannot be read")]
    Unreadable,
}

/// The ticket logs of all draws: their keys, and the newest head of each that is known to be committed. Clones are the
/// same.
#[derive(Clone, Debug)]
pub struct TicketLogs {
    keys: Arc<LogKeys>,
    /// One small entry for each draw that sold tickets since the service was started.
    committed: Arc<Mutex<HashMap<DrawId, Head>>>,
}

impl TicketLogs {
    pub fn new(keys: Arc<LogKeys>) -> TicketLogs {
        TicketLogs { keys, committed: Arc::default() }
    }

    /// The keys of all logs.
    pub fn log_keys(&self) -> &Arc<LogKeys> {
        &self.keys
    }

    /// The keys of one draw's log.
    pub fn keys(&self, draw: DrawId) -> TicketLogKeys {
        TicketLogKeys { draw, salt_key: self.keys.salt_key(draw), signer: self.keys.ticket_log(draw) }
    }

    /// The newest head that is known to be committed, if the draw sold tickets since the service was started.
    pub fn committed(&self, draw: DrawId) -> Option<Head> {
        self.with_committed(|heads| heads.get(&draw).copied())
    }

    /// This head is committed.
    pub fn commit(&self, draw: DrawId, head: Head) {
        self.with_committed(|heads| {
            let newest = heads.entry(draw).or_insert(head);
            if newest.size <= head.size {
                *newest = head;
            }
        });
    }

    /// Refuses a log that the database had after `known` was known to be committed, and that does not have all of it.
    pub fn check(known: Option<Head>, edge: &Edge) -> Result<(), TicketLogFault> {
        let Some(known) = known else { return Ok(()) };
        let is_same = || edge.size() > known.size || edge.root() == known.root;
        let is_continued = edge.size() >= known.size && is_same();
        if is_continued { Ok(()) } else { Err(TicketLogFault::RolledBack { known: known.size }) }
    }

    /// The log of a draw, whose edge the writer has just read. Only for the writer: nobody else appends, so what is
    /// committed cannot grow between its read and this call.
    pub fn open(&self, draw: DrawId, edge: &[u8]) -> Result<TicketLog, TicketLogFault> {
        let edge = Edge::from_bytes(edge).map_err(|_| TicketLogFault::Unreadable)?;
        TicketLogs::check(self.committed(draw), &edge)?;
        Ok(TicketLog { edge, ..TicketLog::empty(self.keys(draw)) })
    }

    fn with_committed<T>(&self, work: impl FnOnce(&mut HashMap<DrawId, Head>) -> T) -> T {
        work(&mut self.committed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The keys of one draw's ticket log.
#[derive(Debug)]
pub struct TicketLogKeys {
    draw: DrawId,
    salt_key: SaltKey,
    signer: NoteSigner,
}

impl TicketLogKeys {
    /// The key that verifies the log's checkpoints. Its name is the log's origin.
    pub fn verifier(&self) -> &VerifierKey {
        self.signer.verifier()
    }

    /// A checkpoint. Only for a head that is known to be committed.
    pub fn sign(&self, head: &Head) -> String {
        sign_head(head, &self.signer)
    }

    /// Who knows the salt can show whose order an entry is.
    pub fn salt(&self, payment: PaymentId) -> Salt {
        self.salt_key.salt(self.draw.0.unsigned_abs(), payment.0.as_bytes())
    }

    /// The entry of a paid order: the number of its first ticket, its hidden owner, and the numbers of its tickets in the
    /// order of the tickets' numbers. Refuses what no sale makes, such as an order without tickets.
    pub fn entry(
        &self,
        first: i64,
        user: UserId,
        salt: &Salt,
        picks: impl Iterator<Item = Pick>,
    ) -> Result<Vec<u8>, OrderError> {
        // A negative number becomes too large a one, which is refused.
        let owner = owner(salt, user.0.unsigned_abs());
        write_order(first.cast_unsigned(), &owner, picks.map(|pick| pick.numbers()))
    }
}

/// The log of a draw in one batch: as it was before the batch, with the orders that the batch appends.
#[derive(Clone, Debug)]
pub struct TicketLog {
    keys: Arc<TicketLogKeys>,
    edge: Edge,
    added: Option<AddedOrders>,
}

/// The orders that a batch has appended until now.
#[derive(Clone, Debug)]
struct AddedOrders {
    batch: Arc<LoggedBatch>,
    leaves: Vec<Hash>,
    entries: Vec<Vec<u8>>,
    /// For each tile that is complete now: the size of the log, and the number of the last ticket.
    tile_ends: Vec<(u64, i64)>,
}

impl TicketLog {
    /// A log without an order.
    pub fn empty(keys: TicketLogKeys) -> TicketLog {
        TicketLog { keys: Arc::new(keys), edge: Edge::new(), added: None }
    }

    /// The head of the log without what was added since it was opened or finished.
    pub fn head(&self) -> Head {
        self.edge.head()
    }

    /// The edge of the same log.
    pub fn edge(&self) -> &Edge {
        &self.edge
    }

    /// Appends a paid order, or refuses it if no sale makes such an order. The receipt is complete once the batch is
    /// finished, and true once it is committed.
    pub fn append(
        &mut self,
        first: i64,
        payment: PaymentId,
        user: UserId,
        picks: impl ExactSizeIterator<Item = Pick>,
    ) -> Result<Receipt, OrderError> {
        let (last, salt) = (first + picks.len() as i64 - 1, self.keys.salt(payment));
        let entry = self.keys.entry(first, user, &salt, picks)?;
        let added = self.added.get_or_insert_with(|| AddedOrders::new(&self.keys));
        added.leaves.push(hash_leaf(&entry));
        added.entries.push(entry);
        let size = self.edge.size() + added.leaves.len() as u64;
        if size.is_multiple_of(TILE_WIDTH.into()) {
            added.tile_ends.push((size, last));
        }
        Ok(Receipt { batch: added.batch.clone(), order: added.leaves.len() - 1, salt })
    }

    /// Ends the batch: what must be in the database before it, and what it writes.
    pub fn finish(&mut self) -> TicketLogWrite {
        let before = self.edge.to_bytes();
        let Some(AddedOrders { batch, leaves, entries, tile_ends }) = self.added.take() else {
            return TicketLogWrite { after: before.clone(), before, tiles: Vec::new() };
        };
        let appended = self.edge.append_batch(leaves).expect("no draw has 2^64 orders");
        self.edge = appended.edge().clone();
        let tiles = completed_tiles(&appended, &tile_ends);
        // Each batch is finished once.
        let _ = batch.content.set(BatchContent { appended, entries });
        TicketLogWrite { before, after: self.edge.to_bytes(), tiles }
    }
}

impl AddedOrders {
    fn new(keys: &Arc<TicketLogKeys>) -> AddedOrders {
        let batch = LoggedBatch { keys: keys.clone(), content: OnceLock::new(), checkpoint: OnceLock::new() };
        let (leaves, entries, tile_ends) = (Vec::new(), Vec::new(), Vec::new());
        AddedOrders { batch: Arc::new(batch), leaves, entries, tile_ends }
    }
}

/// What a batch writes about a ticket log.
#[derive(Clone, PartialEq, Debug)]
pub struct TicketLogWrite {
    /// The edge that the database must have, and the one that it gets.
    pub before: Vec<u8>,
    pub after: Vec<u8>,
    pub tiles: Vec<TileRow>,
}

/// A tile that has become complete: of leaves (level 0), or of the roots of tiles one level below.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TileRow {
    pub level: i16,
    pub tile: i64,
    /// The number of the last ticket in it.
    pub last_number: i64,
    pub root: Hash,
}

/// The tiles that the batch has completed. `tile_ends` has the last ticket of each of its tiles of level 0.
fn completed_tiles(appended: &AppendedBatch, tile_ends: &[(u64, i64)]) -> Vec<TileRow> {
    let mut tiles = Vec::new();
    if tile_ends.is_empty() {
        return tiles;
    }
    for level in 0..u64::BITS / TILE_HEIGHT - 1 {
        let height = TILE_HEIGHT * (level + 1);
        for (tile, root) in appended.completed(height) {
            let end = tile_ends.iter().find(|(size, _)| *size == (tile + 1) << height);
            let (_, last_number) = *end.expect("the end of a tile is the end of a tile of level 0");
            tiles.push(TileRow { level: level as i16, tile: tile.cast_signed(), last_number, root: *root });
        }
    }
    tiles
}

/// The orders that one batch has appended to a log. Its receipts share it.
#[derive(Debug)]
struct LoggedBatch {
    keys: Arc<TicketLogKeys>,
    /// Set when the batch is finished.
    content: OnceLock<BatchContent>,
    /// The signed head after the batch, as the content of a JSON string. It is made for the first receipt that is rendered.
    checkpoint: OnceLock<String>,
}

#[derive(Debug)]
struct BatchContent {
    appended: AppendedBatch,
    entries: Vec<Vec<u8>>,
}

/// A paid order, as the entry of the log has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PaidOrder {
    pub payment: PaymentId,
    pub user: UserId,
    /// The number of its first ticket.
    pub first: i64,
    /// In the order of its tickets' numbers.
    pub picks: Vec<Pick>,
}

impl PaidOrder {
    /// Whether it is of this payment and this user.
    pub fn is_of(&self, payment: PaymentId, user: UserId) -> bool {
        (self.payment, self.user) == (payment, user)
    }
}

/// Groups the tickets of a draw, which come in the order of their numbers, into its paid orders: the tickets of a
/// payment have consecutive numbers and one owner.
#[derive(Default, Debug)]
pub struct PaidOrders(Option<PaidOrder>);

impl PaidOrders {
    /// Adds the next ticket. Returns the order before it, if the ticket begins another one.
    pub fn push(&mut self, number: i64, payment: PaymentId, user: UserId, pick: Pick) -> Option<PaidOrder> {
        match &mut self.0 {
            Some(order) if order.is_of(payment, user) => {
                order.picks.push(pick);
                None
            }
            _ => self.0.replace(PaidOrder { payment, user, first: number, picks: vec![pick] }),
        }
    }

    /// The last order, if there is one.
    pub fn end(self) -> Option<PaidOrder> {
        self.0
    }
}

/// Proves that the log after its batch has a paid order. Its text is made when it is asked for, not by the writer. It
/// must not leave the process before the batch is known to be committed.
#[derive(Clone, Debug)]
pub struct Receipt {
    batch: Arc<LoggedBatch>,
    /// The index among the orders of the batch.
    order: usize,
    salt: Salt,
}

impl PartialEq for Receipt {
    fn eq(&self, other: &Receipt) -> bool {
        Arc::ptr_eq(&self.batch, &other.batch) && self.order == other.order
    }
}

impl Receipt {
    /// Shows whose order it is.
    pub fn salt(&self) -> &Salt {
        &self.salt
    }

    /// Appends the proof, in the format of tlog-proof and with the order's entry, as the content of a JSON string: a sale
    /// renders one for each order. `None` before the batch is finished.
    pub fn write_json_proof(&self, json: &mut Vec<u8>) -> Option<()> {
        let BatchContent { appended, entries } = self.batch.content.get()?;
        let index = appended.start() + self.order as u64;
        let checkpoint = || json_lines(&self.batch.keys.sign(&appended.edge().head()));
        let note = self.batch.checkpoint.get_or_init(checkpoint);
        let (entry, path) = (entries.get(self.order)?, appended.inclusion_proof(index)?);
        write_receipt(json, Some(entry), index, &path, note, JSON_LINE_END);
        Some(())
    }
}

/// How a line ends inside a JSON string.
const JSON_LINE_END: &str = "\\n";

/// The content of a JSON string with this text: a checkpoint, in which nothing else needs to be escaped. Its origin comes from
/// a URL, which has no quotes, backslashes and control characters.
fn json_lines(text: &str) -> String {
    text.replace('\n', JSON_LINE_END)
}

/// The text of a proof, or nothing before its batch is finished.
#[cfg(test)]
pub fn proof_text(receipt: &Receipt) -> Option<String> {
    let mut json = Vec::new();
    receipt.write_json_proof(&mut json)?;
    Some(String::from_utf8(json).unwrap().replace(JSON_LINE_END, "\n"))
}

/// The ticket logs of tests.
#[cfg(test)]
pub fn test_logs() -> TicketLogs {
    let origin = super::log_keys::LogOrigin::of_url("https://lottery.example").unwrap();
    TicketLogs::new(Arc::new(LogKeys::new(verifiable_draw::keys::MasterSecret::new([7; 32]), origin)))
}

#[cfg(test)]
mod tests;
