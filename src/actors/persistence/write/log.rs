//! Writes the public log. Each entry is appended in the transaction of what it tells of, so nothing is announced that is
//! not in the log. There is one writer, so indexes have no gap and no order but that of the commits.

use jiff::Timestamp;
use serde_json::json;
use tokio_postgres::{Client, Error};
use verifiable_draw::event::{AuditHead, Event};
use verifiable_draw::merkle::edge::Edge;
use verifiable_draw::merkle::{Head, hash_leaf};
use verifiable_draw::vkey::VerifierKey;

use super::audit;
use crate::actors::persistence::connection::WriterConnection;
use crate::actors::persistence::step::{StepFailure, StepTransaction};
use crate::db::read::public_log::{ENTRY, first_mac, generations, stored_entry};
use crate::domain::audit::{Action, AuditEntry, Subject};
use crate::domain::id::DrawId;
use crate::domain::log_entry::entry_mac;
use crate::domain::log_keys::{KeyChange, KeyRefusal, LogIdentity, LogKeys};
use crate::domain::lottery::Fairness;
use crate::domain::public_log;

/// The leaves of a tile are 2^8.
const TILE_HEIGHT: u32 = 8;
/// The draws of one entry of heads, at about 120 bytes each: an entry has up to 65,535 bytes.
const HEADS_OF_ENTRY: usize = 400;

/// Records what the logs are, unless it is recorded. If two services start at the same time, the second waits for the
/// first and records nothing.
pub async fn record_identity(db: &Client, it: &LogIdentity, at: Timestamp) -> Result<(), Error> {
    let sql = "-- log::record_identity()
        INSERT INTO log_identity (origin, fingerprint, recorded_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    db.execute(sql, &[&it.origin.to_string(), &it.fingerprint.as_slice(), &at]).await.map(drop)
}

/// Appends an entry. What happens once to a draw has one entry: if the log has it already, which a restored backup forgot,
/// it must be the same.
pub async fn append(db: &Client, keys: &LogKeys, event: &Event) -> Result<(), StepFailure> {
    let edge = lock(db).await?;
    if let Some(published) = published(db, keys, event).await? {
        let other = || rejected(format!("it has another entry than {event:?} already"));
        return if published == *event { Ok(()) } else { Err(other()) };
    }
    let entry = event.to_bytes().map_err(|error| rejected(error.to_string()))?;
    append_all(db, keys, &edge, &[(event.draw().map(of_draw), entry)]).await
}

fn rejected(what: String) -> StepFailure {
    StepFailure::Rejected(format!("the public log: {what}"))
}

/// Locks the log for its next entries.
pub async fn lock(db: &Client) -> Result<Edge, StepFailure> {
    let sql = "-- log::lock()
        SELECT edge FROM log_edge FOR UPDATE";
    Edge::from_bytes(db.query_one(sql, &[]).await?.get(0)).map_err(|error| rejected(error.to_string()))
}

/// The draw with this number in an event.
pub fn of_draw(number: u64) -> DrawId {
    DrawId(number.cast_signed())
}

/// Appends these entries with the draws that they are of. The log is locked and ends with this edge.
pub async fn append_all(
    db: &Client,
    keys: &LogKeys,
    edge: &Edge,
    entries: &[(Option<DrawId>, Vec<u8>)],
) -> Result<(), StepFailure> {
    let leaves = entries.iter().map(|(_, entry)| hash_leaf(entry)).collect();
    let appended = edge.append_batch(leaves).map_err(|error| rejected(error.to_string()))?;
    let (draws, bytes): (Vec<Option<i64>>, Vec<&[u8]>) =
        entries.iter().map(|(draw, entry)| (draw.map(|draw| draw.0), entry.as_slice())).unzip();
    let mac = |(index, (draw, entry)): (u64, &(_, Vec<u8>))| entry_mac(keys, index, *draw, entry).to_vec();
    let macs: Vec<Vec<u8>> = (appended.start()..).zip(entries).map(mac).collect();
    let sql = "-- log::append(entries)
        INSERT INTO log_entries (index, draw_id, entry, mac)
        SELECT $1 + place - 1, draw, entry, mac
        FROM unnest($2::bigint[], $3::bytea[], $4::bytea[]) WITH ORDINALITY AS new (draw, entry, mac, place)";
    db.execute(sql, &[&appended.start().cast_signed(), &draws, &bytes, &macs]).await?;
    for (tile, root) in appended.completed(TILE_HEIGHT) {
        let sql = "-- log::append(tile)
            INSERT INTO log_tiles (tile, root) VALUES ($1, $2)";
        db.execute(sql, &[&tile.cast_signed(), &root.as_slice()]).await?;
    }
    let sql = "-- log::append(edge)
        UPDATE log_edge SET edge = $1";
    db.execute(sql, &[&appended.edge().to_bytes()]).await?;
    Ok(())
}

/// The entry of the same kind that the log has of a draw to which this happens once.
pub async fn published(db: &Client, keys: &LogKeys, event: &Event) -> Result<Option<Event>, StepFailure> {
    use Event::{DrawAnnounced, DrawCompleted, DrawSealed, DrawVoided};
    let once =
        matches!(event, DrawAnnounced { .. } | DrawSealed { .. } | DrawCompleted { .. } | DrawVoided { .. });
    let Some(draw) = event.draw().filter(|_| once) else { return Ok(None) };
    let kind = std::mem::discriminant(event);
    let entries = entries_of(db, keys, of_draw(draw)).await?;
    Ok(entries.into_iter().find(|published| std::mem::discriminant(published) == kind))
}

/// What the log says of a draw, in its order. Rows that this service has not written say nothing; they are not published
/// either.
pub async fn entries_of(db: &Client, keys: &LogKeys, draw: DrawId) -> Result<Vec<Event>, StepFailure> {
    let sql = format!(
        "-- log::entries_of()
        SELECT {ENTRY} FROM log_entries WHERE draw_id = $1 ORDER BY index"
    );
    let (first_mac, rows) = (first_mac(db).await?, db.query(&sql, &[&draw.0]).await?);
    let own = rows.iter().map(stored_entry).filter(|entry| entry.is_own(keys, first_mac));
    own.map(|entry| Event::parse(&entry.bytes).map_err(|error| rejected(error.to_string()))).collect()
}

/// Adds or retires a key of the log, and says so in it.
pub async fn change_key(
    db: &Client,
    keys: &LogKeys,
    change: KeyChange,
    at: Timestamp,
) -> Result<Result<VerifierKey, KeyRefusal>, StepFailure> {
    let changed = match change_generations(db, change).await? {
        Ok(changed) => changed,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let key = keys.public_log_key(changed).verifier().clone();
    append(db, keys, &public_log::key_changed(change, &key, at)).await?;
    let action = match change {
        KeyChange::Rotate => Action::RotateLogKey,
        KeyChange::Retire => Action::RetireLogKey,
    };
    // Only the command line does this, so the entry has no actor.
    let entry = AuditEntry::once(None, action, Subject::PublicLog, json!({"key": key.to_string()}), at);
    audit::record(db, Some(&entry)).await?;
    Ok(Ok(key))
}

/// Stores the keys that sign after a change. Returns the generation of the key that it adds or retires.
pub async fn change_generations(db: &Client, change: KeyChange) -> Result<Result<u64, KeyRefusal>, Error> {
    let sql = "-- log::change_generations(lock)
        SELECT oldest, newest FROM log_key_generations FOR UPDATE";
    let (after, changed) = match generations(&db.query_one(sql, &[]).await?).changed(change) {
        Ok(changed) => changed,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let sql = "-- log::change_generations()
        UPDATE log_key_generations SET oldest = $1, newest = $2";
    db.execute(sql, &[&after.oldest.cast_signed(), &after.newest.cast_signed()]).await?;
    Ok(Ok(changed))
}

/// How the numbers of a draw come about that has entries in the log. `None`: it was opened before there was a log, or is
/// not opened.
pub async fn fairness(db: &Client, draw: DrawId) -> Result<Option<Fairness>, StepFailure> {
    let sql = "-- log::fairness()
        SELECT fairness FROM draws WHERE id = $1";
    let row = db.query_one(sql, &[&draw.0]).await?;
    let unknown = |text: &str| StepFailure::Rejected(format!("draw {draw} has an unknown fairness: {text}"));
    let parse = |text: &str| Fairness::parse(text).ok_or_else(|| unknown(text));
    row.get::<_, Option<&str>>(0).map(parse).transpose()
}

/// The newest entry that completed a draw of this lottery.
pub async fn last_completed(db: &Client, draw: DrawId) -> Result<Option<i64>, Error> {
    // A draw is completed by its last entry.
    let sql = "-- log::last_completed()
        SELECT max(e.index) FROM draws this JOIN draws d ON d.lottery = this.lottery AND d.id <> this.id
        JOIN draw_results r ON r.draw_id = d.id AND r.prize_fund IS NOT NULL
        JOIN log_entries e ON e.draw_id = d.id WHERE this.id = $1";
    Ok(db.query_one(sql, &[&draw.0]).await?.get(0))
}

/// Logs the heads of the ticket logs of the draws on sale.
pub struct LogHeads {
    pub at: Timestamp,
}

impl StepTransaction for LogHeads {
    type Output = ();

    async fn run(&self, session: &WriterConnection) -> Result<(), StepFailure> {
        let db = &session.client;
        let sql = "-- log::heads()
            SELECT s.draw_id, s.edge FROM draw_sales s JOIN draws d ON d.id = s.draw_id
            WHERE d.status = 'open' AND s.edge IS NOT NULL
                -- A restored backup lacks orders of heads that were published.
                AND NOT EXISTS (SELECT FROM rolled_back_draws b WHERE b.draw_id = d.id)
            ORDER BY s.draw_id";
        let mut heads: Vec<(DrawId, Head)> = Vec::new();
        for row in db.query(sql, &[]).await? {
            let edge = Edge::from_bytes(row.get(1)).map_err(|error| StepFailure::Rejected(error.to_string()))?;
            heads.push((DrawId(row.get(0)), edge.head()));
        }
        let sql = "-- log::audit_head()
            SELECT position, hash FROM audit_chain WHERE position > 0";
        let chain = db.query_opt(sql, &[]).await?.and_then(|row| {
            let hash = row.get::<_, &[u8]>(1).try_into().ok()?;
            Some(AuditHead { position: row.get::<_, i64>(0).cast_unsigned(), hash })
        });
        for heads in heads.chunks(HEADS_OF_ENTRY) {
            append(db, session.logs.log_keys(), &public_log::heads(heads, chain.clone(), self.at)).await?;
        }
        Ok(())
    }
}

/// Writes an entry with this MAC to the beginning of the log, or gives it another MAC, in tests.
#[cfg(test)]
pub async fn write_first_entry(db: &Client, entry: &[u8], mac: &[u8]) -> Result<(), Error> {
    let sql = "-- log::write_first_entry()
        INSERT INTO log_entries (index, entry, mac) VALUES (0, $1, $2)
        ON CONFLICT (index) DO UPDATE SET mac = excluded.mac";
    db.execute(sql, &[&entry, &mac]).await?;
    let edge = Edge::new().append_batch(vec![hash_leaf(entry)]).map(|appended| appended.edge().to_bytes());
    let sql = "-- log::write_first_entry(edge)
        UPDATE log_edge SET edge = $1 WHERE edge = $2";
    db.execute(sql, &[&edge.unwrap_or_default(), &Edge::new().to_bytes()]).await.map(drop)
}
