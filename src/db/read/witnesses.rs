//! Reads what is kept of the witnesses: the policies that draws were announced with, and the first cosignatures of the heads
//! that cover a seal, new times or a cancellation.

use tokio_postgres::Row;
use verifiable_draw::Hash;
use verifiable_draw::merkle::Head;

use crate::db::{Db, DbError};
use crate::domain::log_keys::LogKeys;
use crate::domain::witness_policy::{CosignedHead, WitnessPolicy};

/// The sizes whose heads are read at a time for an entry. All witnesses are asked for the first one; others are there only if
/// it was not cosigned by all.
const SIZES_AT_ONCE: usize = 32;

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

/// Which of the heads of these sizes have a cosignature by the witness with this key that is kept.
pub async fn cosigned_sizes(
    db: &Db,
    keys: &LogKeys,
    witness: &[u8; 32],
    sizes: &[u64],
) -> Result<Vec<u64>, DbError> {
    let rows = cosignatures(db, keys, sizes, &[witness]).await?;
    Ok(rows.iter().map(size_of).collect())
}

/// Heads of this log that have more than `size` entries and at most `newest`, with their cosignatures by the witnesses of this
/// policy, the smallest first. Those of the largest size are complete, so what follows it are the next ones.
pub async fn cosigned_heads(
    db: &Db,
    keys: &LogKeys,
    policy: &WitnessPolicy,
    (size, newest): (u64, u64),
) -> Result<Vec<CosignedHead>, DbError> {
    let (mut heads, mut last) = (Vec::new(), size);
    // Sizes of which others have written all rows are passed over. There are no more of them than entries.
    while heads.len() < SIZES_AT_ONCE {
        let sizes = stored_sizes(db, (last, newest)).await?;
        let Some(largest) = sizes.last() else { break };
        last = *largest;
        heads.extend(heads_of(db, keys, policy, &sizes).await?);
    }
    Ok(heads)
}

/// The next sizes that have rows. However many rows a size has, one is read.
async fn stored_sizes(db: &Db, (after, newest): (u64, u64)) -> Result<Vec<u64>, DbError> {
    let sql = "-- witnesses::stored_sizes()
        WITH RECURSIVE stored (size, place) AS (
            (SELECT size, 1::bigint FROM log_cosignatures WHERE size > $1 AND size <= $2 ORDER BY size LIMIT 1)
            UNION ALL
            SELECT next.size, place + 1 FROM stored CROSS JOIN LATERAL (
                SELECT c.size FROM log_cosignatures c WHERE c.size > stored.size AND c.size <= $2
                ORDER BY c.size LIMIT 1) next
            WHERE place < $3)
        SELECT size FROM stored ORDER BY size";
    let rows = db.query(sql, &[&after.cast_signed(), &newest.cast_signed(), &(SIZES_AT_ONCE as i64)]).await?;
    Ok(rows.iter().map(size_of).collect())
}

async fn heads_of(
    db: &Db,
    keys: &LogKeys,
    policy: &WitnessPolicy,
    sizes: &[u64],
) -> Result<Vec<CosignedHead>, DbError> {
    let witnesses: Vec<_> = policy.witnesses().iter().map(|it| it.key.public_key()).collect();
    let mut heads: Vec<CosignedHead> = Vec::new();
    for row in cosignatures(db, keys, sizes, &witnesses).await? {
        let root = row.get::<_, &[u8]>("root").try_into();
        let root = root.map_err(|_| DbError::Corrupt("the root of a cosigned head"))?;
        let (head, line) = (Head { size: size_of(&row), root }, row.get("line"));
        match heads.last_mut() {
            Some(last) if last.head == head => last.lines += line,
            _ => heads.push(CosignedHead { origin: keys.origin().to_string(), head, lines: line.to_owned() }),
        }
    }
    Ok(heads.into_iter().map(|stored| policy.signed(stored)).collect())
}

/// The kept cosignatures of the heads of these sizes by these witnesses: at most one of each. What others have written cannot
/// be among them, but for rows from before there were MACs.
async fn cosignatures(
    db: &Db,
    keys: &LogKeys,
    sizes: &[u64],
    witnesses: &[&[u8; 32]],
) -> Result<Vec<Row>, DbError> {
    let sql = "-- witnesses::cosignatures()
        SELECT size, root, line FROM log_cosignatures
        WHERE mac = ANY ($1) OR mac IS NULL AND size = ANY ($2) AND key = ANY ($3) ORDER BY size, root, key";
    let key = keys.row_key();
    let of_size = |size: &u64| {
        let size = *size;
        witnesses.iter().map(move |witness| key.cosignature_mac(size, witness).to_vec())
    };
    let macs: Vec<Vec<u8>> = sizes.iter().flat_map(of_size).collect();
    let sizes: Vec<i64> = sizes.iter().map(|size| size.cast_signed()).collect();
    let witnesses: Vec<&[u8]> = witnesses.iter().map(|witness| witness.as_slice()).collect();
    db.query(sql, &[&macs, &sizes, &witnesses]).await
}

fn size_of(row: &Row) -> u64 {
    row.get::<_, i64>("size").cast_unsigned()
}
