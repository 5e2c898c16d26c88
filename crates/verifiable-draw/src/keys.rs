//! What comes from the master secret: seeds, keys of logs, salts; and the public values that hide or commit to them.
//!
//! All keys are HKDF-Expand of the master secret, so a restored database has lost none of them. Secrets are erased from
//! memory when dropped, and `Debug` does not show them.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::Hash;
use crate::encoding::sha256;
use crate::vkey::{NoteSigner, VkeyError};

const SEED_LABEL: &[u8] = b"lottery/seed/v1\0";
const TICKET_LOG_LABEL: &[u8] = b"lottery/ticket-log/v1\0";
const PUBLIC_LOG_LABEL: &[u8] = b"lottery/public-log/v1\0";
const SALT_KEY_LABEL: &[u8] = b"lottery/salt-key/v1\0";
const SALT_LABEL: &[u8] = b"lottery/salt/v1\0";
const OWNER_LABEL: &[u8] = b"lottery/owner/v1\0";
const ROW_KEY_LABEL: &[u8] = b"lottery/row-key/v1\0";
const ENTRY_LABEL: &[u8] = b"lottery/entry/v1\0";
const COSIGNATURE_LABEL: &[u8] = b"lottery/cosignature/v1\0";

/// The salt of a paid order. The salt and the id of the user together prove whose order an entry is; without the salt
/// nobody can find it out by trying all users.
pub type Salt = [u8; 16];

macro_rules! secret {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Zeroize, ZeroizeOnDrop)]
        pub struct $name([u8; 32]);

        impl std::fmt::Debug for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(concat!(stringify!($name), "(secret)"))
            }
        }

        impl $name {
            pub fn new(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }
        }
    };
}

secret! {
    /// 32 random bytes, kept outside the database. They give every seed, and every log can be signed with them.
    MasterSecret
}
secret! {
    /// The seed of one draw: secret until its numbers are drawn.
    DrawSeed
}

/// Makes the salts of the orders of one draw. HMAC with the key, which is hashed once and not for each order.
pub struct SaltKey(Hmac<Sha256>);

impl std::fmt::Debug for SaltKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SaltKey(secret)")
    }
}

/// Makes the MACs of what a service stores of its public log, in a database that others may write to: rows without such a MAC
/// are not the service's own. Nobody else needs them, and no proof has them.
pub struct RowKey(Hmac<Sha256>);

impl std::fmt::Debug for RowKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("RowKey(secret)")
    }
}

impl MasterSecret {
    pub fn seed(&self, draw: u64) -> DrawSeed {
        DrawSeed(self.derive(SEED_LABEL, draw))
    }

    pub fn salt_key(&self, draw: u64) -> SaltKey {
        SaltKey(self.hmac(SALT_KEY_LABEL, draw))
    }

    pub fn row_key(&self) -> RowKey {
        RowKey(self.hmac(ROW_KEY_LABEL, 0))
    }

    fn hmac(&self, label: &[u8], number: u64) -> Hmac<Sha256> {
        let mut key = self.derive(label, number);
        let mac = Hmac::new_from_slice(&key).expect("HMAC takes keys of any length");
        key.zeroize();
        mac
    }

    /// The key of a draw's ticket log, whose name is the log's origin.
    pub fn ticket_log_signer(&self, draw: u64, origin: &str) -> Result<NoteSigner, VkeyError> {
        self.signer(TICKET_LOG_LABEL, draw, origin)
    }

    /// A key of the public log. A rotation takes the next generation; the first is 0.
    pub fn public_log_signer(&self, generation: u64, origin: &str) -> Result<NoteSigner, VkeyError> {
        self.signer(PUBLIC_LOG_LABEL, generation, origin)
    }

    fn signer(&self, label: &[u8], number: u64, origin: &str) -> Result<NoteSigner, VkeyError> {
        let mut secret = self.derive(label, number);
        let signer = NoteSigner::new(origin, &secret);
        secret.zeroize();
        signer
    }

    /// HKDF-Expand(master, label || u64 number, 32).
    fn derive(&self, label: &[u8], number: u64) -> [u8; 32] {
        let mut key = [0; 32];
        expand(&self.0, &[label, &number.to_be_bytes()], &mut key);
        key
    }
}

/// HKDF-Expand of RFC 5869 with SHA-256.
pub(crate) fn expand(key: &[u8; 32], info: &[&[u8]], output: &mut [u8]) {
    let hkdf = Hkdf::<Sha256>::from_prk(key).expect("a key has at least the 32 bytes of a hash");
    hkdf.expand_multi_info(info, output).expect("no caller asks for more than 255 * 32 bytes");
}

impl DrawSeed {
    /// Shows the seed. Only after the draw's list is sealed.
    pub fn reveal(&self) -> [u8; 32] {
        self.0
    }

    /// SHA-256(label || SHA-256(origin of the ticket log) || seed): published before the first order.
    pub fn commitment(&self, origin: &str) -> Hash {
        sha256(&[SEED_LABEL, &sha256(&[origin.as_bytes()]), &self.0])
    }
}

impl SaltKey {
    /// The first 16 bytes of HMAC-SHA-256(salt key, label || u64 draw || payment id).
    pub fn salt(&self, draw: u64, payment: &[u8; 16]) -> Salt {
        let mut mac = self.0.clone();
        mac.update(SALT_LABEL);
        mac.update(&draw.to_be_bytes());
        mac.update(payment);
        let hash: Hash = mac.finalize().into_bytes().into();
        std::array::from_fn(|i| hash[i])
    }
}

impl RowKey {
    /// The MAC of the entry at this index, whose row says that it is of this draw, or of none. With the index, an older
    /// entry proves nothing in another place.
    pub fn entry_mac(&self, index: u64, draw: Option<u64>, entry: &[u8]) -> Hash {
        self.entry(index, draw, entry).finalize().into_bytes().into()
    }

    /// Whether this is the MAC of that entry. It takes the same time for each wrong one.
    pub fn is_entry_mac(&self, mac: &[u8], index: u64, draw: Option<u64>, entry: &[u8]) -> bool {
        self.entry(index, draw, entry).verify_slice(mac).is_ok()
    }

    fn entry(&self, index: u64, draw: Option<u64>, entry: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(ENTRY_LABEL);
        mac.update(&index.to_be_bytes());
        mac.update(&[draw.is_some().into()]);
        mac.update(&draw.unwrap_or(0).to_be_bytes());
        mac.update(entry);
        mac
    }

    /// What the cosignature of the head of this size by the witness with this public key is stored under: nobody else knows
    /// it before it is stored.
    pub fn cosignature_mac(&self, size: u64, witness: &[u8; 32]) -> Hash {
        let mut mac = self.0.clone();
        mac.update(COSIGNATURE_LABEL);
        mac.update(&size.to_be_bytes());
        mac.update(witness);
        mac.finalize().into_bytes().into()
    }
}

/// SHA-256(label || salt || u64 user): the owner in a ticket log's entry.
pub fn owner(salt: &Salt, user: u64) -> Hash {
    sha256(&[OWNER_LABEL, salt, &user.to_be_bytes()])
}
