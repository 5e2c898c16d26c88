//! Which logs an installation has for its whole life: their names, and the master secret that all of their keys and all
//! seeds of draws come from. This file stores neither.

use std::fmt;

use sha2::{Digest, Sha256};
use uuid::Uuid;
use verifiable_draw::Hash;
use verifiable_draw::checkpoint::{add_signature, sign_head};
use verifiable_draw::keys::{DrawSeed, MasterSecret, RowKey, SaltKey};
use verifiable_draw::merkle::Head;
use verifiable_draw::vkey::{NoteSigner, VerifierKey};

use super::id::DrawId;

/// What the fingerprint of a master secret is labelled with, so that it is no other hash of it.
const FINGERPRINT_LABEL: &[u8] = b"lottery/master-secret/v1\0";
/// Where the logs are below the public address of a service.
const BASE_PATH: &str = "/api/v1/";
const PUBLIC_LOG: &str = "log";
/// Room for the number of a draw, as the origin of a ticket log is the name of a key, of 255 bytes at most.
const MAX_ORIGIN_BYTES: usize = 220;

/// The origin of the public log: its name in each checkpoint. Those of the ticket logs follow from it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogOrigin(String);

impl LogOrigin {
    /// The origin of a service at this address, such as `https://lottery.example`.
    pub fn of_url(url: &str) -> Option<LogOrigin> {
        let (_, host) = url.split_once("://")?;
        LogOrigin::parse(&format!("{host}{BASE_PATH}{PUBLIC_LOG}"))
    }

    /// The origin of a service that has no public address: unique all the same.
    pub fn of_installation(id: Uuid) -> LogOrigin {
        LogOrigin(format!("lottery.localhost/{}{BASE_PATH}{PUBLIC_LOG}", id.simple()))
    }

    /// The inverse of `to_string`.
    pub fn parse(text: &str) -> Option<LogOrigin> {
        let host = text.strip_suffix(PUBLIC_LOG)?.strip_suffix(BASE_PATH)?;
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']' | '/');
        let is_name = !host.is_empty() && host.chars().all(legal) && text.len() <= MAX_ORIGIN_BYTES;
        is_name.then(|| LogOrigin(text.to_owned()))
    }

    /// The origin of a draw's ticket log.
    pub fn of_draw(&self, draw: DrawId) -> String {
        let base = self.0.strip_suffix(PUBLIC_LOG).unwrap_or(&self.0);
        format!("{base}draws/{draw}/log")
    }
}

impl fmt::Display for LogOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What tells one master secret from another without showing it.
pub fn fingerprint(master_secret: &[u8; 32]) -> Hash {
    Sha256::new().chain_update(FINGERPRINT_LABEL).chain_update(master_secret).finalize().into()
}

/// What an installation is recorded with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogIdentity {
    pub origin: LogOrigin,
    pub fingerprint: Hash,
}

/// The generations of the public log's keys that sign now: one, or two while a key is rotated.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct KeyGenerations {
    pub oldest: u64,
    pub newest: u64,
}

/// Why the key of the public log is not rotated, or not retired.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyRefusal {
    #[error("two keys sign the public log already: retire the older one first, with `lottery log retire-key`")]
    BeingRotated,
    #[error("only one key signs the public log: add another one first, with `lottery log rotate-key`")]
    OnlyOne,
}

/// A step of a rotation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyChange {
    /// Another key signs too.
    Rotate,
    /// The older of two keys does not sign any more.
    Retire,
}

impl KeyGenerations {
    /// The generations after a change, and the generation that it adds or retires.
    pub fn changed(self, change: KeyChange) -> Result<(KeyGenerations, u64), KeyRefusal> {
        let KeyGenerations { oldest, newest } = self;
        match (change, oldest == newest) {
            (KeyChange::Rotate, true) => Ok((KeyGenerations { oldest, newest: newest + 1 }, newest + 1)),
            (KeyChange::Retire, false) => Ok((KeyGenerations { oldest: newest, newest }, oldest)),
            (KeyChange::Rotate, false) => Err(KeyRefusal::BeingRotated),
            (KeyChange::Retire, true) => Err(KeyRefusal::OnlyOne),
        }
    }
}

/// Signs the heads of the public log with every key that signs now.
#[derive(Debug)]
pub struct PublicLogSigner {
    newest: NoteSigner,
    /// While the key is rotated.
    older: Option<NoteSigner>,
}

impl PublicLogSigner {
    /// The key that verifies its checkpoints: while the key is rotated, the newer one.
    pub fn verifier(&self) -> &VerifierKey {
        self.newest.verifier()
    }

    /// All keys that verify its checkpoints.
    pub fn verifiers(&self) -> impl Iterator<Item = &VerifierKey> {
        [&self.newest].into_iter().chain(&self.older).map(NoteSigner::verifier)
    }

    /// A checkpoint. Only for a head that is known to be committed.
    pub fn sign(&self, head: &Head) -> String {
        let mut checkpoint = sign_head(head, &self.newest);
        if let Some(older) = &self.older {
            add_signature(&mut checkpoint, older);
        }
        checkpoint
    }
}

/// Makes the keys of the logs and the seeds of the draws. `Debug` shows no secret.
#[derive(Debug)]
pub struct LogKeys {
    master_secret: MasterSecret,
    row_key: RowKey,
    origin: LogOrigin,
}

impl LogKeys {
    pub fn new(master_secret: MasterSecret, origin: LogOrigin) -> LogKeys {
        LogKeys { row_key: master_secret.row_key(), master_secret, origin }
    }

    pub fn origin(&self) -> &LogOrigin {
        &self.origin
    }

    /// A key of the public log.
    pub fn public_log_key(&self, generation: u64) -> NoteSigner {
        let signer = self.master_secret.public_log_signer(generation, &self.origin.0);
        signer.expect("an origin is the name of a key")
    }

    /// The keys of the public log that sign now.
    pub fn public_log(&self, generations: KeyGenerations) -> PublicLogSigner {
        let KeyGenerations { oldest, newest } = generations;
        let older = (oldest != newest).then(|| self.public_log_key(oldest));
        PublicLogSigner { newest: self.public_log_key(newest), older }
    }

    /// Makes the MACs of the rows of the public log.
    pub fn row_key(&self) -> &RowKey {
        &self.row_key
    }

    pub fn ticket_log(&self, draw: DrawId) -> NoteSigner {
        let signer = self.master_secret.ticket_log_signer(number(draw), &self.origin.of_draw(draw));
        signer.expect("an origin is the name of a key")
    }

    /// Secret until the draw's list is sealed.
    pub fn seed(&self, draw: DrawId) -> DrawSeed {
        self.master_secret.seed(number(draw))
    }

    /// What is announced of the seed.
    pub fn commitment(&self, draw: DrawId) -> Hash {
        self.seed(draw).commitment(&self.origin.of_draw(draw))
    }

    pub fn salt_key(&self, draw: DrawId) -> SaltKey {
        self.master_secret.salt_key(number(draw))
    }
}

/// Ids of draws are positive: the database makes them.
fn number(draw: DrawId) -> u64 {
    draw.0.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use verifiable_draw::checkpoint::Checkpoint;
    use verifiable_draw::note::SignedNote;

    use super::*;

    const SECRET: [u8; 32] = [7; 32];

    fn keys(url: &str) -> LogKeys {
        LogKeys::new(MasterSecret::new(SECRET), LogOrigin::of_url(url).unwrap())
    }

    #[test]
    fn origins_follow_from_the_public_address() {
        let origin = LogOrigin::of_url("https://lottery.example:8443").unwrap();
        assert_eq!(origin.to_string(), "lottery.example:8443/api/v1/log");
        assert_eq!(origin.of_draw(DrawId(7)), "lottery.example:8443/api/v1/draws/7/log");
        assert_eq!(LogOrigin::parse(&origin.to_string()), Some(origin));
        let local = LogOrigin::of_installation(Uuid::from_u128(1));
        assert_eq!(local.to_string(), "lottery.localhost/00000000000000000000000000000001/api/v1/log");
        assert_eq!(LogOrigin::parse(&local.to_string()), Some(local));
    }

    #[test]
    fn a_text_that_cannot_name_a_key_is_no_origin() {
        let long = "x".repeat(MAX_ORIGIN_BYTES);
        for text in ["", "/api/v1/log", "a b/api/v1/log", "a+b/api/v1/log", "a/log", "a/api/v1/logs", &long] {
            assert_eq!(LogOrigin::parse(text), None, "{text}");
        }
        for url in ["lottery.example", "https://", "https://a b", &format!("https://{long}")] {
            assert_eq!(LogOrigin::of_url(url), None, "{url}");
        }
    }

    #[test]
    fn the_longest_origins_name_keys() {
        let host = "x".repeat(MAX_ORIGIN_BYTES - BASE_PATH.len() - PUBLIC_LOG.len());
        let keys = keys(&format!("https://{host}"));
        assert_eq!(keys.public_log_key(0).verifier().name().len(), MAX_ORIGIN_BYTES);
        let longest = DrawId(i64::MAX);
        assert_eq!(keys.ticket_log(longest).verifier().name(), keys.origin().of_draw(longest));
    }

    #[test]
    fn a_key_is_rotated_one_step_after_the_other() {
        let first = KeyGenerations::default();
        let (both, added) = first.changed(KeyChange::Rotate).unwrap();
        let (second, retired) = both.changed(KeyChange::Retire).unwrap();
        assert_eq!((added, retired, second), (1, 0, KeyGenerations { oldest: 1, newest: 1 }));
        assert_eq!(both.changed(KeyChange::Rotate), Err(KeyRefusal::BeingRotated));
        assert_eq!(first.changed(KeyChange::Retire), Err(KeyRefusal::OnlyOne));
    }

    #[test]
    fn while_a_key_is_rotated_either_key_verifies() {
        let keys = keys("https://lottery.example");
        let head = Head { size: 1, root: [5; 32] };
        let [old, new] = [0, 1].map(|generation| keys.public_log_key(generation).verifier().clone());
        let opens = |oldest, newest, key: &VerifierKey| {
            let checkpoint = keys.public_log(KeyGenerations { oldest, newest }).sign(&head);
            let note = SignedNote::parse(checkpoint.as_bytes()).unwrap();
            Checkpoint::open(&note, [key]).is_ok_and(|checkpoint| checkpoint.head == head)
        };
        assert_eq!([opens(0, 0, &old), opens(0, 0, &new)], [true, false]);
        assert_eq!([opens(0, 1, &old), opens(0, 1, &new)], [true, true]);
        assert_eq!([opens(1, 1, &old), opens(1, 1, &new)], [false, true]);
    }

    #[test]
    fn each_log_has_a_key_of_its_own_and_the_fingerprint_is_none() {
        let keys = keys("https://lottery.example");
        let public = |signer: NoteSigner| *signer.verifier().public_key();
        let mut all = vec![public(keys.public_log_key(0)), fingerprint(&SECRET), keys.commitment(DrawId(1))];
        all.extend([1, 2].map(|draw| public(keys.ticket_log(DrawId(draw)))));
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 5);
        assert!(!format!("{keys:?}").contains(", 7"), "{keys:?}");
    }
}
