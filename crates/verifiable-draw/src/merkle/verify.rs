//! Checks inclusion proofs (RFC 9162, section 2.1.3.2) and consistency proofs (section 2.1.4.2).

use super::{Head, MAX_PROOF_HASHES, empty_root, hash_node};
use crate::Hash;

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MerkleError {
    #[error("leaf {index} is not in a tree of {size} leaves")]
    OutOfTree { index: u64, size: u64 },
    #[error("a tree of {new} leaves does not continue one of {old}")]
    Shrunk { old: u64, new: u64 },
    #[error("the proof has too many hashes or too few")]
    ProofLength,
    #[error("the proof leads to another root")]
    RootMismatch,
}

/// Checks that the tree of `head` has `leaf` at `index`.
pub fn verify_inclusion(leaf: &Hash, index: u64, proof: &[Hash], head: &Head) -> Result<(), MerkleError> {
    if index >= head.size {
        return Err(MerkleError::OutOfTree { index, size: head.size });
    }
    if proof.len() > MAX_PROOF_HASHES {
        return Err(MerkleError::ProofLength);
    }
    let (mut node, mut last, mut root) = (index, head.size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return Err(MerkleError::ProofLength);
        }
        if node & 1 == 1 || node == last {
            root = hash_node(sibling, &root);
            climb_to_right_child(&mut node, &mut last);
        } else {
            root = hash_node(&root, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(MerkleError::ProofLength);
    }
    if root == head.root { Ok(()) } else { Err(MerkleError::RootMismatch) }
}

/// Checks that the tree of `old` is the beginning of the tree of `new`.
pub fn verify_consistency(old: &Head, new: &Head, proof: &[Hash]) -> Result<(), MerkleError> {
    if old.size > new.size {
        return Err(MerkleError::Shrunk { old: old.size, new: new.size });
    }
    if proof.len() > MAX_PROOF_HASHES {
        return Err(MerkleError::ProofLength);
    }
    if old.size == 0 || old.size == new.size {
        let expected = if old.size == 0 { empty_root() } else { new.root };
        return match (proof, old.root == expected) {
            ([_, ..], _) => Err(MerkleError::ProofLength),
            (_, false) => Err(MerkleError::RootMismatch),
            _ => Ok(()),
        };
    }
    // The root of a complete old tree is the first subtree of the path: the proof leaves it out.
    let (first, rest) = if old.size.is_power_of_two() {
        (&old.root, proof)
    } else {
        proof.split_first().ok_or(MerkleError::ProofLength)?
    };
    let (mut node, mut last) = (old.size - 1, new.size - 1);
    let low_ones = node.trailing_ones();
    node >>= low_ones;
    last >>= low_ones;
    let (mut old_root, mut new_root) = (*first, *first);
    for sibling in rest {
        if last == 0 {
            return Err(MerkleError::ProofLength);
        }
        if node & 1 == 1 || node == last {
            old_root = hash_node(sibling, &old_root);
            new_root = hash_node(sibling, &new_root);
            climb_to_right_child(&mut node, &mut last);
        } else {
            new_root = hash_node(&new_root, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(MerkleError::ProofLength);
    }
    if old_root == old.root && new_root == new.root { Ok(()) } else { Err(MerkleError::RootMismatch) }
}

/// A last node without a sibling is not hashed: it is taken up, level by level, until it is a right child.
fn climb_to_right_child(node: &mut u64, last: &mut u64) {
    while *node & 1 == 0 && *node != 0 {
        *node >>= 1;
        *last >>= 1;
    }
}
