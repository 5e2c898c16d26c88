//! Reads what is kept of the witnesses: the policies that draws were announced with, and the first cosignatures of the heads
//! that cover a seal, new times or a cancellation.

use verifiable_draw::Hash;
use verifiable_draw::merkle::Head;

use crate::db::{Db, DbError};
use crate::domain::witness_policy::{CosignedHead, WitnessPolicy};

/// The sizes whose heads are read at a time for an entry. All witnesses are asked for the first one; others are there only if
/// it was not cosigned by all.
const SIZES_AT_ONCE: i64 = 32;

/// The policy with this SHA-256, which a draw was announced with.
pub async fn announced_policy(db: &Db, hash: &Hash) -> Result<WitnessPolicy, DbError> {
    let sql = "-- witnesses::announced_policy()
        SELECT policy FROM witness_policies WHERE hash = $1";
    let row = db.query_opt(sql, &[&hash.as_slice()]).await?;
    let policy = row.and_then(|row| WitnessPolicy::read(row.get(0)).ok());
    policy.ok_or(DbError::Corrupt("the policy that a draw was announced with"))
}

/// The policies of the draws that are on sale or closed: their witnesses are asked, too, when the service has another policy.
pub async fn policies_of_active_draws(db: &Db) -> Result<Vec<Vec<u8>>, DbError> {
    let sql = "-- witnesses::policies_of_active_draws()
        SELECT policy FROM witness_policies WHERE encode(hash, 'base64') IN (
            SELECT convert_from(e.entry, 'UTF8')::jsonb ->> 'policy' FROM draws d CROSS JOIN LATERAL (
                SELECT entry FROM log_entries WHERE draw_id = d.id ORDER BY index LIMIT 1) e
            WHERE d.status IN ('open', 'closed', 'settling'))";
    Ok(db.query(sql, &[]).await?.iter().map(|row| row.get(0)).collect())
}

/// The sizes of the heads from this size on whose cosignature by this key is kept.
pub async fn cosigned_sizes(db: &Db, key: &[u8; 32], from: u64) -> Result<Vec<u64>, DbError> {
    let sql = "-- witnesses::cosigned_sizes()
        SELECT size FROM log_cosignatures WHERE key = $1 AND size >= $2";
    let rows = db.query(sql, &[&key.as_slice(), &from.cast_signed()]).await?;
    Ok(rows.iter().map(|row| row.get::<_, i64>(0).cast_unsigned()).collect())
}

/// Heads of this log that have more than `size` entries and at most `newest`, with their cosignatures by the witnesses of this
/// policy, the smallest first. Those of the largest size are complete, so what follows it are the next ones.
pub async fn cosigned_heads(
    db: &Db,
    origin: &str,
    policy: &WitnessPolicy,
    (size, newest): (u64, u64),
) -> Result<Vec<CosignedHead>, DbError> {
    let sql = "-- witnesses::cosigned_heads()
        SELECT size, root, string_agg(line, '' ORDER BY key) AS lines FROM log_cosignatures
        WHERE key = ANY($3) AND size IN (
            SELECT DISTINCT size FROM log_cosignatures WHERE size > $1 AND size <= $2 AND key = ANY($3)
            ORDER BY size LIMIT $4)
        GROUP BY size, root ORDER BY size";
    let keys: Vec<&[u8]> = policy.witnesses().iter().map(|it| it.key.public_key().as_slice()).collect();
    let rows = db.query(sql, &[&size.cast_signed(), &newest.cast_signed(), &keys, &SIZES_AT_ONCE]).await?;
    let mut heads = Vec::with_capacity(rows.len());
    for row in rows {
        let root = row.get::<_, &[u8]>("root").try_into();
        let root = root.map_err(|_| DbError::Corrupt("the root of a cosigned head"))?;
        let head = Head { size: row.get::<_, i64>("size").cast_unsigned(), root };
        let stored = CosignedHead { origin: origin.to_owned(), head, lines: row.get("lines") };
        heads.push(policy.signed(stored));
    }
    Ok(heads)
}
