//! Secrets that the configuration does not give, such as the key that signs tokens: each is generated once
//! and stored in the data directory.
//!
//! This file knows neither tokens nor settings. It never replaces a secret: a file that cannot be used is an
//! error, because a new secret would end all log-ins and hide the fault.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRng;
use rand::rngs::SysRng;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use tempfile::NamedTempFile;

/// HS256 needs a key at least as long as its hash (RFC 7518, section 3.2).
const MIN_BYTES: usize = 32;
/// A secret of fewer different bytes was not made at random: even of 32 random hexadecimal digits, 8 are different in
/// all but one of ten million cases.
const MIN_DIFFERENT_BYTES: usize = 8;

/// Why a secret is refused. It never shows the secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WeakSecret {
    #[error("must be at least {MIN_BYTES} bytes")]
    TooShort,
    #[error("must have at least {MIN_DIFFERENT_BYTES} different bytes")]
    TooUniform,
}

/// Refuses a secret that can be guessed.
pub fn check_strength(secret: &SecretString) -> Result<(), WeakSecret> {
    let bytes = secret.expose_secret().as_bytes();
    let different = bytes.iter().collect::<HashSet<_>>().len();
    if bytes.len() < MIN_BYTES {
        Err(WeakSecret::TooShort)
    } else if different < MIN_DIFFERENT_BYTES {
        Err(WeakSecret::TooUniform)
    } else {
        Ok(())
    }
}

/// A secret, named by its file in the data directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SecretFile(&'static str);

impl SecretFile {
    /// The key that signs access tokens.
    pub const TOKENS: SecretFile = SecretFile("jwt_secret");
    /// The key that signed access tokens before it. It exists only while the key is rotated.
    pub const PREVIOUS_TOKENS: SecretFile = SecretFile("jwt_secret_previous");
    /// The key that signs the sandbox's webhooks.
    pub const WEBHOOKS: SecretFile = SecretFile("webhook_secret");
    /// The master secret of the logs and draws (`master_secret`).
    pub const MASTER: SecretFile = SecretFile("log_master");

    pub fn path(self, data_dir: &Path) -> PathBuf {
        data_dir.join(self.0)
    }
}

/// Why the secret is not available. It names the file and never shows the content.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("cannot read the secret {}: {cause}", path.display())]
    Unreadable { path: PathBuf, cause: io::Error },
    #[error(
        "the secret {} {cause}: remove the file and start again, or write one that `openssl rand -base64 32` makes",
        path.display()
    )]
    Weak { path: PathBuf, cause: WeakSecret },
    #[error("cannot make the secret {}: {cause}", path.display())]
    NotMade { path: PathBuf, cause: io::Error },
}

/// The secret stored in `data_dir`. If there is none yet, it is generated from 32 bytes of the operating
/// system's entropy, in a file that only its owner may read. If several processes do this at the same time,
/// all get the same secret. This function blocks on file operations.
pub fn load_or_create(data_dir: &Path, file: SecretFile) -> Result<SecretString, SecretError> {
    if let Some(secret) = load(data_dir, file)? {
        return Ok(secret);
    }
    let path = file.path(data_dir);
    create(data_dir, &path).map_err(|cause| SecretError::NotMade { path: path.clone(), cause })?;
    // Read the file again: another process may have written it first.
    load(data_dir, file)?.ok_or_else(|| SecretError::Unreadable { path, cause: ErrorKind::NotFound.into() })
}

/// The secret stored in `data_dir`, if there is one.
pub fn load(data_dir: &Path, file: SecretFile) -> Result<Option<SecretString>, SecretError> {
    let Some(secret) = read(data_dir, file)? else { return Ok(None) };
    match check_strength(&secret) {
        Ok(()) => Ok(Some(secret)),
        Err(cause) => Err(SecretError::Weak { path: file.path(data_dir), cause }),
    }
}

/// What the file of the secret says, if there is one.
pub(super) fn read(data_dir: &Path, file: SecretFile) -> Result<Option<SecretString>, SecretError> {
    let path = file.path(data_dir);
    match fs::read_to_string(&path).map(Zeroizing::new) {
        // An editor may have left a newline.
        Ok(text) => Ok(Some(SecretString::from(text.trim()))),
        Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(SecretError::Unreadable { path, cause }),
    }
}

/// Writes the whole file, readable only for its owner; if another process has written it first, keeps that
/// one.
fn create(data_dir: &Path, path: &Path) -> io::Result<()> {
    fs::create_dir_all(data_dir)?;
    let mut bytes = Zeroizing::new([0; MIN_BYTES]);
    SysRng.try_fill_bytes(&mut *bytes).map_err(io::Error::other)?;
    let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(&bytes[..]) + "\n");
    let mut draft = NamedTempFile::new_in(data_dir)?;
    draft.write_all(text.as_bytes())?;
    draft.as_file().sync_all()?;
    match draft.persist_noclobber(path) {
        Err(refused) if refused.error.kind() != ErrorKind::AlreadyExists => Err(refused.error),
        _ => File::open(data_dir)?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    const FILE: &str = SecretFile::TOKENS.0;

    fn secret(data_dir: &Path) -> String {
        load_or_create(data_dir, SecretFile::TOKENS).unwrap().expose_secret().to_owned()
    }

    #[test]
    fn is_generated_once_and_readable_only_by_its_owner() {
        let home = tempfile::tempdir().unwrap();
        let data_dir = home.path().join("not/yet/there");
        let first = secret(&data_dir);
        assert_eq!(URL_SAFE_NO_PAD.decode(&first).unwrap().len(), 32);
        assert_eq!(secret(&data_dir), first);
        let mode = fs::metadata(data_dir.join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_ne!(secret(home.path()), first);
        let other = load_or_create(&data_dir, SecretFile::WEBHOOKS).unwrap();
        assert_ne!(other.expose_secret(), first);
    }

    #[test]
    fn parallel_callers_get_the_same_secret() {
        let home = tempfile::tempdir().unwrap();
        let start = Barrier::new(16);
        let secrets: Vec<String> = thread::scope(|scope| {
            let racer = || {
                start.wait();
                secret(home.path())
            };
            let racers: Vec<_> = (0..16).map(|_| scope.spawn(racer)).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        assert!(secrets.iter().all(|secret| *secret == secrets[0]));
        let files: Vec<_> = fs::read_dir(home.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(files, [FILE]);
    }

    #[test]
    fn an_existing_secret_is_used_unchanged() {
        let home = tempfile::tempdir().unwrap();
        let own = "my own secret, long enough for HS256";
        fs::write(home.path().join(FILE), format!("{own}\n")).unwrap();
        assert_eq!(secret(home.path()), own);
    }

    #[test]
    fn an_unusable_file_is_an_error_and_stays() {
        let uniform = "hunter2".repeat(5);
        for content in [&b""[..], b"hunter2 hunter2 hunter2 hunter2\n", &[0xff; 64], uniform.as_bytes()] {
            let home = tempfile::tempdir().unwrap();
            let path = home.path().join(FILE);
            fs::write(&path, content).unwrap();
            let error = load_or_create(home.path(), SecretFile::TOKENS).unwrap_err().to_string();
            assert!(error.contains(path.to_str().unwrap()) && !error.contains("hunter2"), "{error}");
            assert!(error.contains("openssl rand -base64 32") || content[..] == [0xff; 64], "{error}");
            assert_eq!(fs::read(&path).unwrap(), content);
        }
    }

    #[test]
    fn a_secret_that_can_be_guessed_is_refused() {
        let strength = |text: &str| check_strength(&text.into());
        assert_eq!(strength(&"0123456789".repeat(4)[..31]), Err(WeakSecret::TooShort));
        assert_eq!(strength(""), Err(WeakSecret::TooShort));
        for weak in ["0", "changeme", "secret", "0123456"] {
            assert_eq!(strength(&weak.repeat(32)), Err(WeakSecret::TooUniform), "{weak}");
        }
        for good in ["01234567", "a passphrase with spaces"] {
            assert_eq!(strength(&good.repeat(4)), Ok(()), "{good}");
        }
    }

    #[test]
    fn a_previous_secret_is_never_created() {
        let home = tempfile::tempdir().unwrap();
        assert!(load(home.path(), SecretFile::PREVIOUS_TOKENS).unwrap().is_none());
        let first = secret(home.path());
        fs::rename(home.path().join(FILE), home.path().join("jwt_secret_previous")).unwrap();
        let previous = load(home.path(), SecretFile::PREVIOUS_TOKENS).unwrap().unwrap();
        assert_eq!(previous.expose_secret(), first);
        assert_ne!(secret(home.path()), first);
    }

    #[test]
    fn errors_name_the_file() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(FILE)).unwrap();
        assert!(matches!(load_or_create(home.path(), SecretFile::TOKENS), Err(SecretError::Unreadable { .. })));
        let file = home.path().join("a file");
        fs::write(&file, "").unwrap();
        let error = load_or_create(&file, SecretFile::TOKENS).unwrap_err().to_string();
        assert!(error.contains(FILE), "{error}");
    }
}
