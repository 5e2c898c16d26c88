//! The public beacon that gives a draw its numbers: which round, when it appears, and how it is
//! verified. This file fetches nothing.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use verifiable_draw::Hash;
use verifiable_draw::beacon::{BeaconChain, BeaconError};

/// How long after the time of its round a draw waits for the signature. Then the draw is void, and refunded.
pub const LONGEST_WAIT: SignedDuration = SignedDuration::from_hours(24);

/// The round whose randomness gives a draw its numbers, as it was announced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AnnouncedRound {
    pub chain: Arc<BeaconChain>,
    pub round: u64,
}

impl AnnouncedRound {
    /// The first round at `draw_at` or after it, as far as that is published: in whole seconds.
    pub fn of(chain: &Arc<BeaconChain>, draw_at: Timestamp) -> AnnouncedRound {
        let seconds = u64::try_from(draw_at.as_second()).unwrap_or(0);
        AnnouncedRound { chain: chain.clone(), round: chain.round_at(seconds) }
    }

    /// When the round appears.
    pub fn at(&self) -> Timestamp {
        let seconds = self.chain.time_of(self.round).ok().and_then(|seconds| i64::try_from(seconds).ok());
        // A round that is too far away never comes.
        seconds.and_then(|seconds| Timestamp::from_second(seconds).ok()).unwrap_or(Timestamp::MAX)
    }

    /// When nobody waits for the round any longer.
    pub fn gives_up_at(&self) -> Timestamp {
        self.at().checked_add(LONGEST_WAIT).unwrap_or(Timestamp::MAX)
    }

    /// The round, if the signature is its signature.
    pub fn verify(&self, signature: [u8; 48]) -> Result<VerifiedRound, BeaconError> {
        let randomness = self.chain.verify(self.round, &signature)?;
        Ok(VerifiedRound { chain: *self.chain.hash(), round: self.round, at: self.at(), signature, randomness })
    }
}

/// A round whose signature was verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VerifiedRound {
    chain: Hash,
    round: u64,
    at: Timestamp,
    signature: [u8; 48],
    randomness: Hash,
}

impl VerifiedRound {
    /// The hash of its chain.
    pub fn chain(&self) -> &Hash {
        &self.chain
    }

    pub fn round(&self) -> u64 {
        self.round
    }

    /// When it appeared.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    pub fn signature(&self) -> &[u8; 48] {
        &self.signature
    }

    /// What the beacon's members have drawn together: the hash of the signature.
    pub fn randomness(&self) -> &Hash {
        &self.randomness
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Round 123 of quicknet, at 1692803733.
    const SIGNATURE: &str =
        "b75c69d0b72a5d906e854e808ba7e2accb1542ac355ae486d591aa9d43765482e26cd02df835d3546d23c4b13e0dfc92";

    fn signature() -> [u8; 48] {
        std::array::from_fn(|i| u8::from_str_radix(&SIGNATURE[2 * i..2 * i + 2], 16).unwrap())
    }

    #[test]
    fn a_draw_has_the_first_round_at_its_published_time_or_after_it() {
        let chain = Arc::new(BeaconChain::quicknet());
        for (draw_at, round, appears) in [
            (at(1_692_803_730), 122, 1_692_803_730),
            (at(1_692_803_731), 123, 1_692_803_733),
            (at(1_692_803_733), 123, 1_692_803_733),
            (at(1_692_803_733) + SignedDuration::from_millis(999), 123, 1_692_803_733),
            (Timestamp::UNIX_EPOCH, 1, 1_692_803_367),
        ] {
            let announced = AnnouncedRound::of(&chain, draw_at);
            assert_eq!((announced.round, announced.at()), (round, at(appears)), "{draw_at}");
            assert_eq!(announced.gives_up_at(), at(appears + 24 * 3600));
        }
        let never = AnnouncedRound { chain, round: u64::MAX };
        assert_eq!((never.at(), never.gives_up_at()), (Timestamp::MAX, Timestamp::MAX));
    }

    #[test]
    fn only_the_signature_of_the_round_is_believed() {
        let chain = Arc::new(BeaconChain::quicknet());
        let announced = AnnouncedRound { chain: chain.clone(), round: 123 };
        let verified = announced.verify(signature()).unwrap();
        assert_eq!((verified.round(), verified.signature()), (123, &signature()));
        assert_eq!(verified.chain(), chain.hash());
        assert_eq!(AnnouncedRound { chain, round: 124 }.verify(signature()), Err(BeaconError::Signature(124)));
        let mut other = signature();
        other[47] ^= 1;
        assert_eq!(announced.verify(other), Err(BeaconError::Signature(123)));
    }
}
