//! Reads what draws with a beacon were announced with, and which of them takes its turn first.

use std::sync::Arc;

use tokio_postgres::{Client, Row};
use verifiable_draw::beacon::{BeaconChain, BeaconError};

use crate::db::{Db, DbError};
use crate::domain::beacon::{AnnouncedRound, VerifiedRound};
use crate::domain::id::DrawId;

/// The columns of a chain, in a statement that joins `beacon_chains b`.
pub(super) const CHAIN: &str = "b.hash, b.public_key, b.genesis, b.period, b.group_hash, b.beacon_id";

/// The first draw of a draw's lottery that takes the jackpot before it. Its rollover is a part of the jackpot, so it must be
/// known. That is one whose numbers are drawn and whose prizes are not fixed, and an announced one with an earlier time that
/// has no end in the public log; but an admin may draw the numbers of a draw without a beacon before it. After a backup was
/// restored, the draws that the public log has completed before are completed again first, in the order of then.
pub const EARLIER_DRAW: &str = "-- beacon::earlier_draw(id, by_clock)
    SELECT d.id FROM draws this JOIN draws d ON d.lottery = this.lottery AND d.id <> this.id
    LEFT JOIN draw_results r ON r.draw_id = d.id
    LEFT JOIN rolled_back_draws again ON again.draw_id = d.id AND again.goes_on = 'completed'
    LEFT JOIN rolled_back_draws own ON own.draw_id = this.id AND own.goes_on = 'completed'
    WHERE this.id = $1 AND d.status IN ('open', 'closed', 'settling') AND r.prize_fund IS NULL
        AND (again.entry < coalesce(own.entry, 9223372036854775807)
             OR own.draw_id IS NULL AND (
                 r.draw_id IS NOT NULL
                 OR (this.fairness = 'beacon' OR this.fairness IS NOT NULL AND $2)
                     AND d.fairness IS NOT NULL AND (d.draw_at, d.id) < (this.draw_at, this.id)))
    ORDER BY again.entry, d.draw_at, d.id LIMIT 1";

/// The draw that this one waits for, if no admin draws its numbers. `None`: it is this draw's turn.
pub async fn earlier_draw(db: &Db, draw: DrawId) -> Result<Option<DrawId>, DbError> {
    Ok(db.query_opt(EARLIER_DRAW, &[&draw.0, &true]).await?.map(|row| DrawId(row.get(0))))
}

/// The round of a draw. `None`: the draw is not announced with a beacon.
pub async fn announced_round(db: &Db, draw: DrawId) -> Result<Option<AnnouncedRound>, DbError> {
    let sql = format!(
        "-- beacon::announced_round()
        SELECT d.round, {CHAIN} FROM draws d JOIN beacon_chains b ON b.hash = d.chain WHERE d.id = $1"
    );
    Ok(db.query_opt(&sql, &[&draw.0]).await?.as_ref().map(round).transpose()?.flatten())
}

/// The round in a row that has a draw's `round` and the columns of its chain.
pub(super) fn round(row: &Row) -> Result<Option<AnnouncedRound>, DbError> {
    let (Some(round), Some(chain)) = (row.get::<_, Option<i64>>("round"), chain(row)?) else { return Ok(None) };
    Ok(Some(AnnouncedRound { chain: Arc::new(chain), round: round.cast_unsigned() }))
}

/// The chain, as its hash names it.
fn chain(row: &Row) -> Result<Option<BeaconChain>, DbError> {
    let corrupt = || DbError::Corrupt("chain of a beacon");
    let Some(hash) = row.get::<_, Option<&[u8]>>("hash") else { return Ok(None) };
    let key = row.get::<_, &[u8]>("public_key").try_into().map_err(|_| corrupt())?;
    let group = row.get::<_, &[u8]>("group_hash").try_into().map_err(|_| corrupt())?;
    let (genesis, period) = (row.get::<_, i64>("genesis"), row.get::<_, i32>("period"));
    let (genesis, period) = (genesis.cast_unsigned(), period.cast_unsigned());
    let chain = BeaconChain::new(key, genesis, period, &group, row.get("beacon_id")).map_err(|_| corrupt())?;
    if chain.hash() == hash { Ok(Some(chain)) } else { Err(corrupt()) }
}

/// The chain with this hash, if a draw was announced with it.
pub async fn stored_chain(db: &Client, hash: &[u8]) -> Result<Option<BeaconChain>, DbError> {
    let sql = format!(
        "-- beacon::stored_chain()
        SELECT {CHAIN} FROM beacon_chains b WHERE b.hash = $1"
    );
    Ok(db.query_opt(&sql, &[&hash]).await?.as_ref().map(chain).transpose()?.flatten())
}

/// The round whose signature is stored with the numbers of a draw, if it is the announced one's. `None`: the draw has no
/// beacon.
pub async fn drawn_round(db: &Db, draw: DrawId) -> Result<Option<Result<VerifiedRound, BeaconError>>, DbError> {
    let sql = format!(
        "-- beacon::drawn_round()
        SELECT d.round, r.signature, {CHAIN} FROM draws d LEFT JOIN beacon_chains b ON b.hash = d.chain
        LEFT JOIN draw_results r ON r.draw_id = d.id WHERE d.id = $1 AND d.fairness = 'beacon'"
    );
    let Some(row) = db.query_opt(&sql, &[&draw.0]).await? else { return Ok(None) };
    let round = round(&row)?.ok_or(DbError::Corrupt("the round of a draw"))?;
    let signature = row.get::<_, Option<&[u8]>>("signature").and_then(|bytes| bytes.try_into().ok());
    Ok(Some(round.verify(signature.ok_or(DbError::Corrupt("the signature of a draw's round"))?)))
}
