//! The signed heads of the public log that a transcript has: two of one size must be the same, and a larger one must
//! continue a smaller one.

use std::collections::BTreeMap;

use super::ConsistencyProof;
use crate::Hash;
use crate::merkle::Head;
use crate::merkle::verify::{MerkleError, verify_consistency};
use crate::note::SignedNote;
use crate::policy::Policy;

#[derive(Default)]
pub(super) struct SignedHeads(BTreeMap<u64, (Hash, Vec<SignedNote>)>);

impl SignedHeads {
    /// Refuses a fork, and returns the size at which it is.
    pub fn add(&mut self, head: &Head, note: &SignedNote) -> Result<(), u64> {
        let (known, notes) = self.0.entry(head.size).or_insert((head.root, Vec::new()));
        if *known != head.root {
            return Err(head.size);
        }
        notes.push(note.clone());
        Ok(())
    }

    /// The notes of the heads that have the entry at this index.
    pub fn notes_above(&self, index: u64) -> Vec<SignedNote> {
        let with_entry = self.0.iter().filter(|(size, _)| **size > index);
        with_entry.flat_map(|(_, (_, notes))| notes.clone()).collect()
    }

    /// The smallest first.
    pub fn all(&self) -> Vec<Head> {
        self.0.iter().map(|(size, (root, _))| Head { size: *size, root: *root }).collect()
    }

    /// Whether each head is proved to continue the one before. A proof that was given must hold.
    pub fn are_joined(&self, proofs: &[ConsistencyProof], policy: Option<&Policy>) -> Result<bool, MerkleError> {
        let policy = policy.filter(|policy| policy.requires_witnesses());
        let is_witnessed = |head: &Head| {
            let (_, notes) = &self.0[&head.size];
            policy.is_some_and(|policy| notes.iter().any(|note| policy.quorum_times(note, None).is_ok()))
        };
        let mut are_joined = true;
        for pair in self.all().windows(2) {
            let proof = proofs.iter().find(|proof| (proof.old, proof.new) == (pair[0].size, pair[1].size));
            match proof {
                Some(proof) => verify_consistency(&pair[0], &pair[1], &proof.hashes)?,
                None => are_joined &= is_witnessed(&pair[0]) && is_witnessed(&pair[1]),
            }
        }
        Ok(are_joined)
    }
}
