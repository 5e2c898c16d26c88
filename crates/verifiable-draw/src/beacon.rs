//! Rounds of drand, a public randomness beacon: when a round appears, and whether a signature is that of a round.
//!
//! Only the scheme of quicknet is known, `bls-unchained-g1-rfc9380`: signatures on G1, the public key on G2, each round
//! on its own. Signatures are verified with blst, so a round may come from any server, however little it is trusted.

use blst::BLST_ERROR;
use blst::min_sig::{PublicKey, Signature};

use crate::Hash;
use crate::encoding::sha256;

const DOMAIN: &[u8] = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_";
/// Longer periods are refused: a draw would wait for a day and more.
pub const MAX_PERIOD_SECONDS: u32 = 86_400;
pub const MAX_BEACON_ID_BYTES: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BeaconError {
    #[error("the 96 bytes are not a public key on G2")]
    PublicKey,
    #[error(
        "a chain has a period of 1 to {MAX_PERIOD_SECONDS} seconds, and an id of at most {MAX_BEACON_ID_BYTES} bytes"
    )]
    Chain,
    #[error("the rounds of a chain begin with 1, and their times fit 63 bits")]
    Round,
    #[error("the signature is not that of round {0}")]
    Signature(u64),
}

/// A chain of rounds. Its hash names it, and covers everything else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BeaconChain {
    public_key: [u8; 96],
    genesis: u64,
    period: u32,
    group_hash: Hash,
    beacon_id: String,
    hash: Hash,
}

impl BeaconChain {
    /// A chain from what drand's `/info` says: `public_key`, `genesis_time`, `period`, `groupHash` and `beaconID`.
    /// The caller compares `hash()` with the hash that it expects.
    pub fn new(
        public_key: [u8; 96],
        genesis: u64,
        period: u32,
        group_hash: &Hash,
        beacon_id: &str,
    ) -> Result<Self, BeaconError> {
        PublicKey::key_validate(&public_key).map_err(|_| BeaconError::PublicKey)?;
        let is_known = (1..=MAX_PERIOD_SECONDS).contains(&period) && i64::try_from(genesis).is_ok();
        if !is_known || beacon_id.len() > MAX_BEACON_ID_BYTES {
            return Err(BeaconError::Chain);
        }
        // drand leaves the id of its first chain out.
        let id = if beacon_id == "default" { "" } else { beacon_id };
        let hash =
            sha256(&[&period.to_be_bytes(), &genesis.to_be_bytes(), &public_key, group_hash, id.as_bytes()]);
        let (group_hash, beacon_id) = (*group_hash, beacon_id.to_owned());
        Ok(Self { public_key, genesis, period, group_hash, beacon_id, hash })
    }

    /// The League of Entropy's quicknet: a round each 3 seconds since August 2023.
    pub fn quicknet() -> Self {
        Self {
            public_key: QUICKNET_KEY,
            genesis: 1_692_803_367,
            period: 3,
            group_hash: QUICKNET_GROUP,
            beacon_id: "quicknet".to_owned(),
            hash: QUICKNET_HASH,
        }
    }

    pub fn hash(&self) -> &Hash {
        &self.hash
    }

    pub fn public_key(&self) -> &[u8; 96] {
        &self.public_key
    }

    pub fn genesis(&self) -> u64 {
        self.genesis
    }

    pub fn period(&self) -> u32 {
        self.period
    }

    pub fn group_hash(&self) -> &Hash {
        &self.group_hash
    }

    pub fn beacon_id(&self) -> &str {
        &self.beacon_id
    }

    /// When a round appears, in seconds since 1970.
    pub fn time_of(&self, round: u64) -> Result<u64, BeaconError> {
        let before = round.checked_sub(1).ok_or(BeaconError::Round)?;
        let elapsed = before.checked_mul(u64::from(self.period));
        let time = elapsed.and_then(|elapsed| elapsed.checked_add(self.genesis));
        time.filter(|time| i64::try_from(*time).is_ok()).ok_or(BeaconError::Round)
    }

    /// The first round that appears at a time or after it.
    pub fn round_at(&self, time: u64) -> u64 {
        time.saturating_sub(self.genesis).div_ceil(u64::from(self.period)) + 1
    }

    /// The randomness of a round, if the signature is that of the round.
    pub fn verify(&self, round: u64, signature: &[u8; 48]) -> Result<Hash, BeaconError> {
        self.time_of(round)?;
        let wrong = BeaconError::Signature(round);
        let key = PublicKey::key_validate(&self.public_key).map_err(|_| BeaconError::PublicKey)?;
        let parsed = Signature::sig_validate(signature, true).map_err(|_| wrong)?;
        let message = sha256(&[&round.to_be_bytes()]);
        match parsed.verify(false, &message, DOMAIN, &[], &key, false) {
            BLST_ERROR::BLST_SUCCESS => Ok(sha256(&[signature])),
            _ => Err(wrong),
        }
    }
}

/// `52db9ba7…4e971`.
const QUICKNET_HASH: [u8; 32] = [
    0x52, 0xdb, 0x9b, 0xa7, 0x0e, 0x0c, 0xc0, 0xf6, 0xea, 0xf7, 0x80, 0x3d, 0xd0, 0x74, 0x47, 0xa1, 0xf5, 0x47,
    0x77, 0x35, 0xfd, 0x3f, 0x66, 0x17, 0x92, 0xba, 0x94, 0x60, 0x0c, 0x84, 0xe9, 0x71,
];

const QUICKNET_GROUP: [u8; 32] = [
    0xf4, 0x77, 0xd5, 0xc8, 0x9f, 0x21, 0xa1, 0x7c, 0x86, 0x3a, 0x7f, 0x93, 0x7c, 0x6a, 0x6d, 0x15, 0x85, 0x94,
    0x14, 0xd2, 0xbe, 0x09, 0xcd, 0x44, 0x8d, 0x42, 0x79, 0xaf, 0x33, 0x1c, 0x5d, 0x3e,
];

const QUICKNET_KEY: [u8; 96] = [
    0x83, 0xcf, 0x0f, 0x28, 0x96, 0xad, 0xee, 0x7e, 0xb8, 0xb5, 0xf0, 0x1f, 0xca, 0xd3, 0x91, 0x22, 0x12, 0xc4,
    0x37, 0xe0, 0x07, 0x3e, 0x91, 0x1f, 0xb9, 0x00, 0x22, 0xd3, 0xe7, 0x60, 0x18, 0x3c, 0x8c, 0x4b, 0x45, 0x0b,
    0x6a, 0x0a, 0x6c, 0x3a, 0xc6, 0xa5, 0x77, 0x6a, 0x2d, 0x10, 0x64, 0x51, 0x0d, 0x1f, 0xec, 0x75, 0x8c, 0x92,
    0x1c, 0xc2, 0x2b, 0x0e, 0x17, 0xe6, 0x3a, 0xaf, 0x4b, 0xcb, 0x5e, 0xd6, 0x63, 0x04, 0xde, 0x9c, 0xf8, 0x09,
    0xbd, 0x27, 0x4c, 0xa7, 0x3b, 0xab, 0x4a, 0xf5, 0xa6, 0xe9, 0xc7, 0x6a, 0x4b, 0xc0, 0x9e, 0x76, 0xea, 0xe8,
    0x99, 0x1e, 0xf5, 0xec, 0xe4, 0x5a,
];
