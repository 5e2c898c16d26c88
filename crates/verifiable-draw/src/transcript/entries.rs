//! Reads the entries of a draw: each must be proved to be in the public log, and together they must be the life of one
//! draw. What they say is checked elsewhere.

use super::{DrawTranscript, TranscriptEntry};
use crate::checkpoint::Checkpoint;
use crate::encoding::decode_base64;
use crate::event::{Event, Stage};
use crate::note::SignedNote;
use crate::proof::{InclusionReceipt, ProofError};
use crate::trusted_keys::TrustedKeys;
use crate::vkey::VerifierKey;

/// An entry that is proved to be in the log.
#[derive(Clone, Debug)]
pub struct ProvenEntry {
    pub index: u64,
    pub bytes: Vec<u8>,
    pub event: Event,
    /// The signed head, with the cosignatures of witnesses.
    pub note: SignedNote,
    pub checkpoint: Checkpoint,
    /// The key of the log that is trusted for it.
    pub signed_by: VerifierKey,
}

/// The entries of one draw by their kind. `at` does not go back from one to the next.
pub struct Timeline<'e> {
    pub announcement: &'e ProvenEntry,
    pub reschedules: Vec<&'e ProvenEntry>,
    pub seal: Option<&'e ProvenEntry>,
    /// Its completion or its cancellation.
    pub end: Option<&'e ProvenEntry>,
}

/// Reads all entries, or says what is wrong with the first that is not proved.
pub fn read_entries(transcript: &DrawTranscript, keys: &TrustedKeys) -> Result<Vec<ProvenEntry>, String> {
    let mut entries: Vec<ProvenEntry> = Vec::with_capacity(transcript.entries.len());
    for (place, entry) in transcript.entries.iter().enumerate() {
        let wrong = |what: &dyn std::fmt::Display| format!("entry {} of the proof: {what}", place + 1);
        let entry = read_entry(entry, keys).map_err(|what| wrong(&what))?;
        if entry.event.draw() != Some(transcript.draw_id) {
            return Err(wrong(&format!("it is not about draw {}", transcript.draw_id)));
        }
        if entries.last().is_some_and(|last| last.index >= entry.index) {
            return Err(wrong(&"it does not stand in the log after the entry before it"));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn read_entry(entry: &TranscriptEntry, keys: &TrustedKeys) -> Result<ProvenEntry, String> {
    let bytes = decode_base64(&entry.entry).ok_or("`entry` is not base64")?;
    let receipt = InclusionReceipt::parse(entry.proof.as_bytes()).map_err(|error| error.to_string())?;
    if receipt.extra.as_ref().is_some_and(|proven| *proven != bytes) {
        return Err("its proof is of other bytes than `entry`".to_owned());
    }
    let proven = receipt.extra.as_deref().ok_or_else(|| ProofError::NoEntry.to_string())?;
    let (checkpoint, signed_by) = keys.open_receipt(&receipt, proven).map_err(|error| error.to_string())?;
    let signed_by = signed_by.clone();
    let event = Event::parse(&bytes).map_err(|error| error.to_string())?;
    Ok(ProvenEntry { index: receipt.index, bytes, event, note: receipt.note, checkpoint, signed_by })
}

impl<'e> Timeline<'e> {
    /// A draw is announced, rescheduled as often as wanted, sealed, and then completed or cancelled; before the seal it may
    /// be cancelled too.
    pub fn new(entries: &'e [ProvenEntry]) -> Result<Self, String> {
        let (announcement, rest) = entries.split_first().ok_or("the proof has no entries")?;
        if !matches!(announcement.event, Event::DrawAnnounced { .. }) {
            return Err("the first entry is not the announcement of the draw".to_owned());
        }
        let mut timeline = Self { announcement, reschedules: Vec::new(), seal: None, end: None };
        for entry in rest {
            let is_sealed = timeline.seal.is_some();
            let follows = match &entry.event {
                Event::DrawRescheduled { .. } => !is_sealed,
                Event::DrawSealed { .. } => !is_sealed,
                Event::DrawCompleted { .. } => is_sealed,
                Event::DrawVoided { stage, .. } => is_sealed == (*stage == Stage::Closed),
                _ => false,
            };
            if let (Some(Event::DrawCompleted { .. }), Event::DrawVoided { reason, .. }) =
                (timeline.end.map(|end| &end.event), &entry.event)
            {
                return Err(format!(
                    "entry {} of the log cancels the draw ({reason}) after its result was published",
                    entry.index
                ));
            }
            if !follows || timeline.end.is_some() {
                return Err(format!("entry {} of the log does not follow from those before it", entry.index));
            }
            match &entry.event {
                Event::DrawRescheduled { .. } => timeline.reschedules.push(entry),
                Event::DrawSealed { .. } => timeline.seal = Some(entry),
                _ => timeline.end = Some(entry),
            }
        }
        if entries.is_sorted_by_key(|entry| entry.event.at()) {
            Ok(timeline)
        } else {
            Err("the times of the entries go back".to_owned())
        }
    }
}
