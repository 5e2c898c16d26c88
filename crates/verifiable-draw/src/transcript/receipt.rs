//! Verifies the receipt of an order: the path to a signed head, whose order it is, and whether the sealed list of the draw
//! has it.

use serde::Deserialize;

use super::{Stopped, VerificationReport, VerifiedDraw};
use crate::Hash;
use crate::checkpoint::Checkpoint;
use crate::encoding::decode_base64;
use crate::keys::{Salt, owner};
use crate::merkle::{Head, hash_leaf};
use crate::order::OrderEntry;
use crate::proof::{InclusionReceipt, MAX_PROOF_BYTES};
use crate::vkey::VerifierKey;

use super::report::Numbers;

/// The answer to an order of 100 lines with its receipt is much shorter.
pub const MAX_RECEIPT_BYTES: usize = 2 * MAX_PROOF_BYTES;

#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    #[error("a receipt has at most {MAX_RECEIPT_BYTES} bytes")]
    TooLong,
    #[error("this is neither a proof of C2SP tlog-proof nor JSON with `proof` and `salt`: {0}")]
    Json(#[from] serde_json::Error),
    #[error(
        "the order has no receipt: it is not paid, or it is a repeated answer. GET /tickets/{{id}}/proof has the receipt"
    )]
    Absent,
    #[error("the salt is not 16 bytes in base64")]
    Salt,
    #[error("the proof of the receipt cannot be read: {0}")]
    Proof(#[from] crate::proof::ProofError),
}

/// A receipt as the service gave it. Nothing in it is verified yet.
pub struct OwnReceipt {
    pub proof: InclusionReceipt,
    pub salt: Option<Salt>,
}

/// `{proof, salt}`, or the whole answer to an order.
#[derive(Deserialize)]
struct ReceiptFile {
    #[serde(default)]
    receipt: Option<ReceiptFields>,
    #[serde(default)]
    proof: Option<String>,
    #[serde(default)]
    salt: Option<String>,
}

#[derive(Deserialize)]
struct ReceiptFields {
    proof: String,
    #[serde(default)]
    salt: Option<String>,
}

impl OwnReceipt {
    /// Reads the `receipt` of an order's answer, the whole answer, or the bare text of the proof.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReceiptError> {
        if bytes.len() > MAX_RECEIPT_BYTES {
            return Err(ReceiptError::TooLong);
        }
        if !bytes.trim_ascii_start().starts_with(b"{") {
            return Ok(Self { proof: InclusionReceipt::parse(bytes)?, salt: None });
        }
        let file: ReceiptFile = serde_json::from_slice(bytes)?;
        let bare = file.proof.map(|proof| ReceiptFields { proof, salt: file.salt });
        let fields = file.receipt.or(bare).ok_or(ReceiptError::Absent)?;
        let salt = fields.salt.map(|salt| {
            let salt = decode_base64(&salt).and_then(|salt| Salt::try_from(salt).ok());
            salt.ok_or(ReceiptError::Salt)
        });
        Ok(Self { proof: InclusionReceipt::parse(fields.proof.as_bytes())?, salt: salt.transpose()? })
    }
}

/// What a receipt proves.
pub struct ProvenOrder {
    pub order: OrderEntry,
    pub index: u64,
    pub leaf: Hash,
    /// The list that was signed then.
    pub head: Head,
}

/// Verifies a receipt with the key of the ticket log, and says whose order it is if a user is given.
pub fn verify_receipt(
    report: &mut VerificationReport,
    receipt: &OwnReceipt,
    keys: &[VerifierKey],
    user: Option<u64>,
) -> Result<ProvenOrder, Stopped> {
    let (entry, Checkpoint { origin, head, .. }) = receipt
        .proof
        .verify_extra(keys)
        .map_err(|error| report.add_failure(format!("The receipt does not hold: {error}.")))?;
    let order = OrderEntry::parse(entry)
        .map_err(|error| report.add_failure(format!("The receipt proves an entry that is no order: {error}.")))?;
    report.add_holding(format!(
        "The list {origin} has this order at place {} of {} orders, signed by the key of the list.",
        receipt.proof.index, head.size
    ));
    let picks: Vec<String> = order.picks.iter().map(|pick| Numbers(pick).to_string()).collect();
    report.add_holding(format!(
        "The order has the tickets {} to {}: {}.",
        order.first,
        order.next() - 1,
        picks.join("; ")
    ));
    match (user, receipt.salt) {
        (None, _) => report.add_unchecked("Not checked: whose order it is (give your user's id with --user)."),
        (Some(_), None) => {
            return Err(report.add_failure("Whose order it is cannot be checked: the file has no `salt`."));
        }
        (Some(user), Some(salt)) if owner(&salt, user) == order.owner => {
            report.add_holding(format!("The order is that of user {user}."));
        }
        (Some(user), Some(_)) => {
            return Err(
                report.add_failure(format!("The order is not that of user {user}, or the salt is another one."))
            );
        }
    }
    Ok(ProvenOrder { leaf: hash_leaf(entry), index: receipt.proof.index, order, head })
}

/// Compares a receipt with the sealed list of its draw. Whether an earlier list is its beginning is left open here: the
/// full count tells (`ListCount::with_receipt`). Returns whether nothing is left to find out.
pub fn compare_with_seal(report: &mut VerificationReport, proven: &ProvenOrder, draw: &VerifiedDraw) -> bool {
    match draw.sealed {
        None => report.add_unchecked("The draw is not sealed yet: verify the receipt again after the seal."),
        Some(sealed) if proven.head == sealed.head => {
            report.add_holding("The order is in the sealed list: the receipt is of the list that was sealed.");
        }
        Some(sealed) if proven.head.size >= sealed.head.size => {
            report.add_failure(format!(
                "THE ORDER IS NOT IN THE SEALED LIST: it was signed in a list of {} orders, and another one with {} was \
                 sealed.",
                proven.head.size, sealed.head.size
            ));
        }
        Some(_) => return false,
    }
    true
}
