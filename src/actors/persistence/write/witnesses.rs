//! Writes what is kept of the witnesses. What is kept once stays: a policy that a draw was announced with, and the first
//! cosignature of each witness of a head.

use tokio_postgres::{Client, Error};
use verifiable_draw::merkle::Head;

use crate::domain::log_keys::LogKeys;
use crate::domain::witness_policy::WitnessPolicy;

/// Keeps the bytes of a policy, unless they are kept.
pub async fn keep_policy(db: &Client, policy: &WitnessPolicy) -> Result<(), Error> {
    let sql = "-- witnesses::keep_policy()
        INSERT INTO witness_policies (hash, policy) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    db.execute(sql, &[&policy.hash().as_slice(), &policy.text().as_bytes()]).await.map(drop)
}

/// Keeps the cosignature of a head by the witness with this key, unless an earlier one is kept.
pub async fn keep_cosignature(
    db: &Client,
    keys: &LogKeys,
    head: &Head,
    witness: &[u8; 32],
    line: &str,
) -> Result<(), Error> {
    // One that is older than MACs is an earlier one, too.
    let sql = "-- witnesses::keep_cosignature()
        INSERT INTO log_cosignatures (size, key, root, line, mac) SELECT $1, $2, $3, $4, $5
        WHERE NOT EXISTS (SELECT FROM log_cosignatures WHERE (size, key) = ($1, $2) AND mac IS NULL)
        ON CONFLICT DO NOTHING";
    let mac = keys.row_key().cosignature_mac(head.size, witness);
    let (size, key, root) = (head.size.cast_signed(), witness.as_slice(), head.root.as_slice());
    db.execute(sql, &[&size, &key, &root, &line, &mac.as_slice()]).await.map(drop)
}
