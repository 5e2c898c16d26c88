//! The master secret: 32 bytes from which the keys of all logs and the seeds of all draws come. It is configured, or made
//! once and stored in the data directory like other secrets.
//!
//! Unlike other secrets it can never be replaced, because what was announced of draws follows from it: so this file never
//! says that it can be made anew.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};

use super::secret::{self, SecretError, SecretFile};

/// 32 random bytes with fewer different ones are made in one of 10^30 cases.
const MIN_DIFFERENT_BYTES: usize = 8;

/// Why a text is no master secret. It never shows the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoMasterSecret {
    #[error("must be 32 bytes, as 64 hexadecimal digits or in base64")]
    Format,
    #[error("must be 32 random bytes")]
    TooUniform,
}

/// Why the stored master secret is not available. It never shows the secret.
#[derive(Debug, thiserror::Error)]
pub enum MasterSecretError {
    #[error(transparent)]
    File(#[from] SecretError),
    #[error(
        "the master secret {} {cause}: restore the file from a backup. Without it no draw that is announced can be drawn",
        path.display()
    )]
    Content { path: PathBuf, cause: NoMasterSecret },
}

/// The bytes of a master secret. They are erased from memory when dropped.
pub type MasterSecretBytes = Zeroizing<[u8; 32]>;

/// Reads 64 hexadecimal digits, or base64 of 32 bytes (either alphabet, with or without padding).
pub fn parse(text: &SecretString) -> Result<MasterSecretBytes, NoMasterSecret> {
    let text = text.expose_secret();
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let base64 = |alphabet| GeneralPurpose::new(alphabet, config).decode(text).ok();
    let decoded =
        hexadecimal(text).or_else(|| base64(&alphabet::STANDARD)).or_else(|| base64(&alphabet::URL_SAFE));
    let decoded = Zeroizing::new(decoded.ok_or(NoMasterSecret::Format)?);
    let bytes: [u8; 32] = decoded.as_slice().try_into().map_err(|_| NoMasterSecret::Format)?;
    let bytes = Zeroizing::new(bytes);
    let mut different = Zeroizing::new(*bytes);
    different.sort_unstable();
    match different.chunk_by(u8::eq).count() {
        MIN_DIFFERENT_BYTES.. => Ok(bytes),
        _ => Err(NoMasterSecret::TooUniform),
    }
}

/// `None`: these are not 64 hexadecimal digits.
fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |[high, low]: &[u8; 2]| Some(digit(*high)? << 4 | digit(*low)?);
    if rest.is_empty() && pairs.len() == 32 { pairs.iter().map(byte).collect() } else { None }
}

/// The file in which `data_dir` has the master secret.
pub fn path(data_dir: &Path) -> PathBuf {
    SecretFile::MASTER.path(data_dir)
}

/// The master secret stored in `data_dir`, if there is one.
pub fn load(data_dir: &Path) -> Result<Option<MasterSecretBytes>, MasterSecretError> {
    let parsed = secret::read(data_dir, SecretFile::MASTER)?.map(|text| parse(&text)).transpose();
    parsed.map_err(|cause| MasterSecretError::Content { path: path(data_dir), cause })
}

/// The same; if there is none yet, it is made.
pub fn load_or_create(data_dir: &Path) -> Result<MasterSecretBytes, MasterSecretError> {
    if let Some(secret) = load(data_dir)? {
        return Ok(secret);
    }
    let made = secret::load_or_create(data_dir, SecretFile::MASTER)?;
    parse(&made).map_err(|cause| MasterSecretError::Content { path: path(data_dir), cause })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn bytes(text: &str) -> Result<[u8; 32], NoMasterSecret> {
        parse(&text.into()).map(|bytes| *bytes)
    }

    #[test]
    fn a_master_secret_is_hexadecimal_or_base64() {
        let expected: [u8; 32] = std::array::from_fn(|i| i as u8);
        let base64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        for text in [HEX, &HEX.to_uppercase(), base64, base64.trim_end_matches('=')] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        let ends = |text: &str| bytes(text).unwrap()[30..].to_vec();
        let base64 = base64.replace("Hh8=", "+/8=");
        assert_eq!(ends(&base64), ends(&base64.replace('+', "-").replace('/', "_")));
    }

    #[test]
    fn another_text_is_refused() {
        for text in
            ["", "secret", &HEX[2..], &format!("{HEX}00"), &HEX.replace('1', "x"), "AAECAwQFBgcICQoLDA0ODw=="]
        {
            assert_eq!(bytes(text), Err(NoMasterSecret::Format), "{text}");
        }
        assert_eq!(bytes(&"00".repeat(32)), Err(NoMasterSecret::TooUniform));
        assert_eq!(bytes(&"00010203040506".repeat(5)[..64]), Err(NoMasterSecret::TooUniform));
    }

    #[test]
    fn it_is_made_once_and_never_overwritten() {
        let home = tempfile::tempdir().unwrap();
        assert!(load(home.path()).unwrap().is_none());
        let made = load_or_create(home.path()).unwrap();
        assert_eq!(*load_or_create(home.path()).unwrap(), *made);
        assert_eq!(fs::metadata(path(home.path())).unwrap().permissions().mode() & 0o777, 0o600);

        fs::write(path(home.path()), format!("{HEX}\n")).unwrap();
        assert_eq!(load_or_create(home.path()).unwrap()[31], 31);
        for broken in ["", "hunter2 hunter2 hunter2 hunter2 hunter2"] {
            fs::write(path(home.path()), broken).unwrap();
            let error = load_or_create(home.path()).unwrap_err().to_string();
            assert!(error.contains("log_master") && error.contains("backup"), "{error}");
            assert!(!error.contains("hunter2") && !error.contains("remove the file"), "{error}");
            assert_eq!(fs::read_to_string(path(home.path())).unwrap(), broken);
        }
    }
}
