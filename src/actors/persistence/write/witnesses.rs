//! Writes what is kept of the witnesses. What is kept once stays: a policy that a draw was announced with, and the first
//! cosignature of each witness of a head.

use tokio_postgres::{Client, Error};
use verifiable_draw::Hash;
use verifiable_draw::merkle::Head;

use crate::domain::witness_policy::WitnessPolicy;

/// Keeps the bytes of a policy, unless they are kept.
pub async fn keep_policy(db: &Client, policy: &WitnessPolicy) -> Result<(), Error> {
    let sql = "-- witnesses::keep_policy()
        INSERT INTO witness_policies (hash, policy) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    db.execute(sql, &[&policy.hash().as_slice(), &policy.text().as_bytes()]).await.map(drop)
}

/// Keeps the cosignature of a head by this key, unless an earlier one is kept.
pub async fn keep_cosignature(db: &Client, head: &Head, key: &Hash, line: &str) -> Result<(), Error> {
    let sql = "-- witnesses::keep_cosignature()
        INSERT INTO log_cosignatures (size, key, root, line) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
    db.execute(sql, &[&head.size.cast_signed(), &key.as_slice(), &head.root.as_slice(), &line]).await.map(drop)
}
