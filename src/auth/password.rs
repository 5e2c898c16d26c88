//! Passwords: their allowed lengths, and their hashes with Argon2id (RFC 9106).
//!
//! Parameters, lengths and the dummy hash follow OWASP's Password Storage and Authentication cheat sheets.
//! This file knows no users: the caller decides whose hash is compared and limits the tries. When and where a
//! password is hashed is the part of `hasher.rs`; which ones are too weak, of `weak.rs`.

use std::sync::LazyLock;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{self, PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use secrecy::{ExposeSecret, SecretString};
use tokio::task::JoinError;

/// The least and the most characters of a password. All characters are allowed: rules about kinds of
/// characters lead to weaker passwords.
pub const MIN_CHARS: usize = 8;
pub const MAX_CHARS: usize = 128;

/// OWASP's first choice for Argon2id, 19 MiB and two passes on one lane:
/// <https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html#argon2id>
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

const PARAMS: Params = match Params::new(MEMORY_KIB, PASSES, LANES, None) {
    Ok(params) => params,
    Err(_) => panic!("Argon2 takes no such parameters"),
};

/// The hash that a password is compared with if the user does not exist. The result is "no" whatever the
/// comparison gives; the comparison must only take as long as a real one. The time depends on the parameters
/// and on the lengths of salt (16 bytes) and output (32 bytes), which are those of a real hash.
static DUMMY: LazyLock<String> = LazyLock::new(|| {
    let (salt, output) = ("A".repeat(22), "A".repeat(43));
    format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${output}")
});

/// A valid password: 8 to 128 characters of any kind. `Debug` does not show it.
#[derive(Clone, Debug)]
pub struct Password(SecretString);

/// Why a text is not a valid password; for the user who typed it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PasswordError {
    #[error("must be at least {MIN_CHARS} characters")]
    TooShort,
    #[error("must be at most {MAX_CHARS} characters")]
    TooLong,
    #[error(
        "is one of the most common passwords, which are guessed first: take a few words that have no connection"
    )]
    Common,
    #[error("must not be the username or the email address: take a few words that have no connection")]
    OwnName,
    #[error("must not be a sequence such as 12345678 or aaaaaaaa: take a few words that have no connection")]
    Sequence,
}

impl Password {
    /// ```
    /// use lottery::auth::{Password, PasswordError};
    ///
    /// assert!(Password::parse("correct horse").is_ok());
    /// assert_eq!(Password::parse("horse").unwrap_err(), PasswordError::TooShort);
    /// ```
    pub fn parse(text: &str) -> Result<Password, PasswordError> {
        match chars_up_to_limit(text) {
            ..MIN_CHARS => Err(PasswordError::TooShort),
            MIN_CHARS..=MAX_CHARS => Ok(Password(text.into())),
            _ => Err(PasswordError::TooLong),
        }
    }

    /// The hash to store, as a PHC string; each has its own random salt. Blocks for tens of milliseconds: the
    /// service calls it by its `Hasher`.
    pub fn hash(&self) -> Result<String, HashError> {
        let hash = argon2id().hash_password(self.0.expose_secret().as_bytes()).map_err(HashError::Failed)?;
        Ok(hash.to_string())
    }
}

/// Counts the characters, but stops after the first that is too many.
fn chars_up_to_limit(text: &str) -> usize {
    text.chars().take(MAX_CHARS + 1).count()
}

/// Why a password was not hashed or not verified.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// The queue is full. Nothing was done; the caller answers 503.
    #[error("too many passwords are waiting to be hashed")]
    Busy,
    /// Too many passwords of this account are waiting. Nothing was done; the caller answers 429.
    #[error("too many passwords of this account are waiting to be hashed")]
    AccountBusy,
    /// The text in the database is not an Argon2 hash.
    #[error("the stored password hash cannot be read: {0}")]
    Stored(password_hash::phc::Error),
    /// There was no memory, or no entropy.
    #[error("hashing failed: {0}")]
    Failed(password_hash::Error),
    /// The process is stopping, or the hashing panicked.
    #[error("hashing was interrupted")]
    CutShort(#[from] JoinError),
}

fn argon2id() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, PARAMS)
}

/// Whether `candidate` is the password behind `stored`. `None` means an unknown user, and the answer is always
/// false, after the same time.
pub(super) fn verify(candidate: &SecretString, stored: Option<&str>) -> Result<bool, HashError> {
    verify_or_dummy(candidate.expose_secret(), stored, &DUMMY)
}

fn verify_or_dummy(candidate: &str, stored: Option<&str>, dummy: &str) -> Result<bool, HashError> {
    // No password is that long. The dummy is compared instead of the long text, whose hashing would take more
    // time.
    let (candidate, stored) = match chars_up_to_limit(candidate) {
        ..=MAX_CHARS => (candidate, stored),
        _ => ("", None),
    };
    let hash = PasswordHash::new(stored.unwrap_or(dummy)).map_err(HashError::Stored)?;
    match argon2id().verify_password(candidate.as_bytes(), &hash) {
        Ok(()) => Ok(stored.is_some()),
        Err(password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(HashError::Failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn password(text: &str) -> Password {
        Password::parse(text).unwrap()
    }

    #[test]
    fn length_counts_characters() {
        let cases = [
            ("", Err(PasswordError::TooShort)),
            ("1234567", Err(PasswordError::TooShort)),
            ("парольп", Err(PasswordError::TooShort)),
            ("12345678", Ok(())),
            ("парольпа", Ok(())),
            ("        ", Ok(())),
        ];
        for (text, expected) in cases {
            assert_eq!(Password::parse(text).map(drop), expected, "{text:?}");
        }
        assert!(Password::parse(&"я".repeat(128)).is_ok());
        assert_eq!(Password::parse(&"я".repeat(129)).map(drop), Err(PasswordError::TooLong));
    }

    #[test]
    fn debug_shows_no_password() {
        assert!(!format!("{:?}", password("correct horse")).contains("horse"));
    }

    #[test]
    fn only_the_right_password_is_accepted() {
        let stored = password("correct horse").hash().unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert_ne!(stored, password("correct horse").hash().unwrap(), "each has a salt of its own");

        let right = |text: &str, stored: &str| verify(&text.into(), Some(stored));
        assert!(right("correct horse", &stored).unwrap());
        assert!(!right("correct horse ", &stored).unwrap());
        assert!(!right("", &stored).unwrap());
        assert!(matches!(right("correct horse", "md5:1234"), Err(HashError::Stored(_))));
    }

    #[test]
    fn an_unknown_user_has_no_password_not_even_that_of_the_dummy() {
        let dummy = password("correct horse").hash().unwrap();
        assert!(verify(&"correct horse".into(), Some(&dummy)).unwrap());
        assert!(!verify_or_dummy("correct horse", None, &dummy).unwrap());
    }

    #[test]
    fn a_login_of_an_unknown_user_is_wrong_and_not_an_error() {
        assert!(!verify(&"correct horse".into(), None).unwrap());
    }

    /// The time depends on these: algorithm, version, parameters, and the lengths of salt and output.
    #[test]
    fn the_dummy_takes_as_long_as_a_real_hash() {
        let (dummy, real) = (PasswordHash::new(&DUMMY).unwrap(), password("correct horse").hash().unwrap());
        let real = PasswordHash::new(&real).unwrap();
        assert_eq!(dummy.algorithm, real.algorithm);
        assert_eq!(dummy.version, real.version);
        assert_eq!(dummy.params.to_string(), real.params.to_string());
        assert_eq!(dummy.salt.unwrap().len(), real.salt.unwrap().len());
        assert_eq!(dummy.hash.unwrap().len(), real.hash.unwrap().len());

        // No machine fills 19 MiB twice in a millisecond; a busy machine only takes longer.
        for (candidate, stored) in [("wrong horse", None), (&*"x".repeat(1_000_000), Some(real.to_string()))] {
            #[allow(clippy::disallowed_methods, reason = "how long it took, not the draw's time")]
            let start = Instant::now();
            assert!(!verify(&candidate.into(), stored.as_deref()).unwrap());
            assert!(start.elapsed() > Duration::from_millis(1), "answered too fast");
        }
    }

    #[test]
    fn a_too_long_candidate_is_wrong_even_if_it_matches() {
        let long = "x".repeat(MAX_CHARS + 1);
        let stored = Password(long.as_str().into()).hash().unwrap();
        assert!(!verify(&long.into(), Some(&stored)).unwrap());
        let longest = "x".repeat(MAX_CHARS);
        let stored = password(&longest).hash().unwrap();
        assert!(verify(&longest.into(), Some(&stored)).unwrap());
    }
}
