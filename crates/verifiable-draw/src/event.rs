//! Entries of the public log: what happened to the draws, as `docs/verifiable-draw.md` describes them. The service writes
//! them, and a verifier reads them. Whether the entries of a draw fit together is not decided here.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Hash;
use crate::canonical::{CanonicalError, Value};
use crate::encoding::{decode_base64, encode_base64};

#[derive(Debug, thiserror::Error)]
pub enum EventError {
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    #[error("the entry is no event of the public log: {0}")]
    Fields(#[from] serde_json::Error),
}

/// An event. `at` and all other times are Unix seconds (parts of a second are dropped); amounts are in minor units.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// The sale opens.
    DrawAnnounced {
        draw: u64,
        at: u64,
        lottery: String,
        /// Of the draw, among those of its lottery.
        number: u64,
        rules: PublishedRules,
        sales_close_at: u64,
        draw_at: u64,
        fairness: FairnessMode,
        /// `commit_reveal`: of the seed.
        #[serde(default, with = "base64_option", skip_serializing_if = "Option::is_none")]
        commitment: Option<Hash>,
        /// `beacon`: whose round the numbers come from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        beacon: Option<Beacon>,
        /// SHA-256 of the witness policy's bytes, if there are witnesses.
        #[serde(default, with = "base64_option", skip_serializing_if = "Option::is_none")]
        policy: Option<Hash>,
        /// The vkey of the draw's ticket log.
        ticket_log: String,
    },
    /// The times change after the announcement.
    DrawRescheduled {
        draw: u64,
        at: u64,
        sales_close_at: u64,
        draw_at: u64,
        /// `beacon`: the round of the new time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        round: Option<u64>,
    },
    /// The heads of the ticket logs while something sells.
    DrawHeads {
        at: u64,
        heads: Vec<DrawHead>,
        /// The head of the audit log's hash chain.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        audit: Option<AuditHead>,
    },
    /// The sale ends.
    DrawSealed {
        draw: u64,
        at: u64,
        orders: u64,
        tickets: u64,
        #[serde(with = "base64")]
        root: Hash,
        /// An admin ended it before the published time.
        #[serde(default, with = "flag", skip_serializing_if = "is_false")]
        by_hand: bool,
    },
    /// The prizes are fixed.
    DrawCompleted {
        draw: u64,
        at: u64,
        /// `commit_reveal`: the seed.
        #[serde(default, with = "base64_option", skip_serializing_if = "Option::is_none")]
        seed: Option<Hash>,
        /// `beacon`: the signature of the round.
        #[serde(default, with = "base64_option", skip_serializing_if = "Option::is_none")]
        signature: Option<[u8; 48]>,
        /// Ascending.
        winning_numbers: Vec<u8>,
        prize_fund: u64,
        /// What had rolled over from the draws before.
        jackpot: u64,
        /// The one with the most matches first.
        tiers: Vec<PublishedTierResult>,
        /// What rolls over to the next draw.
        rollover: u64,
        /// The index of the entry that ended the lottery's draw before; absent if there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<u64>,
        /// An admin drew the numbers before the published time.
        #[serde(default, with = "flag", skip_serializing_if = "is_false")]
        by_hand: bool,
    },
    /// The draw is cancelled.
    DrawVoided {
        draw: u64,
        at: u64,
        stage: Stage,
        reason: String,
        /// `commit_reveal`, after the seal: the seed.
        #[serde(default, with = "base64_option", skip_serializing_if = "Option::is_none")]
        seed: Option<Hash>,
    },
    KeyAdded {
        at: u64,
        vkey: String,
    },
    KeyRetired {
        at: u64,
        vkey: String,
    },
}

/// The rules of a draw.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedRules {
    /// How many numbers a ticket has.
    pub pick: u8,
    /// The largest number.
    pub of: u8,
    pub price: u64,
    pub currency: String,
    /// The part of the sales that prizes are paid from, in basis points.
    pub fund_share: u16,
    /// The one with the most matches first.
    pub tiers: Vec<PublishedTier>,
}

/// A tier of prizes: with `amount` a fixed one, with `share` one that divides a part of what the fixed ones leave.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedTier {
    pub matches: u8,
    /// The prize of one winning ticket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<u64>,
    /// In basis points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<u16>,
    /// The least prize of one winning ticket of a shared tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FairnessMode {
    CommitReveal,
    Beacon,
}

/// The chain and the round of a beacon.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beacon {
    #[serde(with = "base64")]
    pub chain: Hash,
    #[serde(with = "base64")]
    pub public_key: [u8; 96],
    pub round: u64,
}

/// The head of a draw's ticket log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrawHead {
    pub draw: u64,
    pub orders: u64,
    #[serde(with = "base64")]
    pub root: Hash,
}

/// The newest entry of the audit log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditHead {
    pub position: u64,
    #[serde(with = "base64")]
    pub hash: Hash,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedTierResult {
    pub matches: u8,
    pub winners: u64,
    /// Of one winning ticket.
    pub prize: u64,
}

/// How far a draw had come when it was cancelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Open,
    Closed,
}

impl Event {
    /// Refuses bytes that `to_bytes` would not write.
    pub fn parse(bytes: &[u8]) -> Result<Event, EventError> {
        Value::parse(bytes)?;
        let event: Event = serde_json::from_slice(bytes)?;
        if event.to_bytes()? == bytes { Ok(event) } else { Err(CanonicalError::NotCanonical.into()) }
    }

    /// The bytes of the entry.
    pub fn to_bytes(&self) -> Result<Vec<u8>, EventError> {
        Ok(Value::from_json(serde_json::to_value(self)?)?.write()?)
    }

    /// When it was logged.
    pub fn at(&self) -> u64 {
        match self {
            Event::DrawAnnounced { at, .. }
            | Event::DrawRescheduled { at, .. }
            | Event::DrawHeads { at, .. }
            | Event::DrawSealed { at, .. }
            | Event::DrawCompleted { at, .. }
            | Event::DrawVoided { at, .. }
            | Event::KeyAdded { at, .. }
            | Event::KeyRetired { at, .. } => *at,
        }
    }

    /// The draw that the event is about, if it is about one.
    pub fn draw(&self) -> Option<u64> {
        match self {
            Event::DrawAnnounced { draw, .. }
            | Event::DrawRescheduled { draw, .. }
            | Event::DrawSealed { draw, .. }
            | Event::DrawCompleted { draw, .. }
            | Event::DrawVoided { draw, .. } => Some(*draw),
            Event::DrawHeads { .. } | Event::KeyAdded { .. } | Event::KeyRetired { .. } => None,
        }
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// True as the integer 1; false is left out. Entries know no `true`.
mod flag {
    use super::*;

    pub fn serialize<S: Serializer>(flag: &bool, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u8((*flag).into())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
        match u8::deserialize(from)? {
            1 => Ok(true),
            other => Err(serde::de::Error::custom(format!("a flag is 1 or absent, not {other}"))),
        }
    }
}

/// Bytes of a fixed number as base64.
mod base64 {
    use super::*;

    pub fn serialize<S: Serializer, const N: usize>(bytes: &[u8; N], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&encode_base64(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>, const N: usize>(from: D) -> Result<[u8; N], D::Error> {
        let text = String::deserialize(from)?;
        let bytes = decode_base64(&text).and_then(|bytes| bytes.try_into().ok());
        bytes.ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not {N} bytes in base64")))
    }
}

mod base64_option {
    use super::*;

    pub fn serialize<S: Serializer, const N: usize>(bytes: &Option<[u8; N]>, to: S) -> Result<S::Ok, S::Error> {
        // An absent one is left out before.
        match bytes {
            Some(bytes) => base64::serialize(bytes, to),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>, const N: usize>(from: D) -> Result<Option<[u8; N]>, D::Error> {
        base64::deserialize(from).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(by_hand: bool) -> Event {
        Event::DrawCompleted {
            draw: 7,
            at: 1_800_000_000,
            seed: Some([7; 32]),
            signature: None,
            winning_numbers: vec![1, 7, 13, 22, 36],
            prize_fund: 5_000,
            jackpot: 0,
            tiers: vec![PublishedTierResult { matches: 5, winners: 0, prize: 0 }],
            rollover: 5_000,
            after: None,
            by_hand,
        }
    }

    #[test]
    fn an_event_is_read_as_it_was_written_and_what_it_has_not_is_left_out() {
        let bytes = completed(true).to_bytes().unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert_eq!(
            text,
            "{\"at\":1800000000,\"by_hand\":1,\"draw\":7,\"jackpot\":0,\"prize_fund\":5000,\"rollover\":5000,\"seed\":\
             \"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\",\"tiers\":[{\"matches\":5,\"prize\":0,\"winners\":0}],\
             \"type\":\"draw_completed\",\"winning_numbers\":[1,7,13,22,36]}"
        );
        assert_eq!(Event::parse(&bytes).unwrap(), completed(true));
        assert!(!String::from_utf8(completed(false).to_bytes().unwrap()).unwrap().contains("by_hand"));
    }

    #[test]
    fn what_would_be_written_otherwise_is_refused() {
        let text = String::from_utf8(completed(true).to_bytes().unwrap()).unwrap();
        for (written, other) in [
            ("\"by_hand\":1,", "\"by_hand\":0,"),
            ("\"by_hand\":1,", "\"by_hand\":2,"),
            ("\"by_hand\":1,", "\"by_hand\":1,\"colour\":3,"),
            ("Bwc=", "Bwd="),
            ("\"draw\":7,", ""),
            ("draw_completed", "draw_finished"),
            ("\"rollover\":5000", "\"rollover\":05000"),
            ("\"jackpot\":0", "\"jackpot\": 0"),
            ("\"matches\":5,", "\"amount\":1,\"matches\":5,"),
        ] {
            assert!(text.contains(written));
            assert!(Event::parse(text.replace(written, other).as_bytes()).is_err(), "{other}");
        }
    }
}
