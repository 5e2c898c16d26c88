//! How the keys of the public log follow one another: each change is proved to be in the log, by a head of then that a key signs
//! which was in use before it and after it. So everybody who knows one key can follow the later ones. These heads were
//! published long ago; they are signed again only if they are beginnings of the published log.

use verifiable_draw::checkpoint::sign_head;
use verifiable_draw::event::Event;
use verifiable_draw::merkle::Head;
use verifiable_draw::proof::receipt_text;

use crate::db::read::public_log;
use crate::db::{Db, DbError};
use crate::domain::log_keys::{KeyGenerations, LogKeys};

const CORRUPT: DbError = DbError::Corrupt("the changes of the public log's keys");

/// The proofs of the changes until now in the format of C2SP tlog-proof, the oldest first. A key that is added is vouched for by
/// the key before it, and a key is retired by the one after it.
pub async fn proofs(
    db: &Db,
    keys: &LogKeys,
    generations: KeyGenerations,
    published: &Head,
) -> Result<Vec<String>, DbError> {
    let mut proofs = Vec::new();
    if generations == KeyGenerations::default() {
        return Ok(proofs);
    }
    let known: Vec<String> =
        (0..=generations.newest).map(|it| keys.public_log_key(it).verifier().to_string()).collect();
    let generation_of = |vkey: &str| known.iter().position(|known| known == vkey).ok_or(CORRUPT);
    for (index, entry) in public_log::key_changes(db, published.size).await? {
        let signer = match Event::parse(&entry) {
            Ok(Event::KeyAdded { vkey, .. }) => generation_of(&vkey)?.checked_sub(1).ok_or(CORRUPT)?,
            Ok(Event::KeyRetired { vkey, .. }) => generation_of(&vkey)? + 1,
            _ => return Err(CORRUPT),
        };
        let size = index + 1;
        let head = public_log::older_head(db, size, published).await?;
        let hashes = public_log::inclusion_proof(db, index, size).await?;
        let note = sign_head(&head, &keys.public_log_key(signer as u64));
        proofs.push(receipt_text(Some(&entry), index, &hashes, &note));
    }
    Ok(proofs)
}
