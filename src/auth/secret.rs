//! Secrets for a service that was given none, such as the one that signs tokens: each made once, kept beside the
//! service's data.
//!
//! Knows neither tokens nor settings. None is ever replaced: a file that cannot be used is an error, since
//! a new secret would log everybody out and hide that something is wrong.

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

use super::token::MIN_SECRET_BYTES;

/// A secret by its file's name in the data directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SecretFile(&'static str);

impl SecretFile {
    /// Signs access tokens.
    pub const TOKENS: SecretFile = SecretFile("jwt_secret");
    /// Signs the sandbox's webhooks.
    pub const WEBHOOKS: SecretFile = SecretFile("webhook_secret");
}

/// Why there is no secret. Names the file, never its content.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("cannot read the secret {}: {cause}", path.display())]
    Unreadable { path: PathBuf, cause: io::Error },
    #[error("the secret {} is shorter than {MIN_SECRET_BYTES} bytes; remove it to have a new one made", path.display())]
    TooShort { path: PathBuf },
    #[error("cannot make the secret {}: {cause}", path.display())]
    NotMade { path: PathBuf, cause: io::Error },
}

/// The secret kept in `data_dir`, made from 32 bytes of the operating system's entropy if there is none
/// yet. Only its owner may read the file. Of processes that race, all get the same one. Blocks on files.
pub fn load_or_create(data_dir: &Path, SecretFile(name): SecretFile) -> Result<SecretString, SecretError> {
    let path = data_dir.join(name);
    if let Some(secret) = load(&path)? {
        return Ok(secret);
    }
    create(data_dir, &path).map_err(|cause| SecretError::NotMade { path: path.clone(), cause })?;
    // Read back what stands there now: it may be another process's.
    let gone = || SecretError::Unreadable { path: path.clone(), cause: ErrorKind::NotFound.into() };
    load(&path)?.ok_or_else(gone)
}

fn load(path: &Path) -> Result<Option<SecretString>, SecretError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(SecretError::Unreadable { path: path.to_owned(), cause }),
    };
    // An editor may have left a newline.
    let secret = SecretString::from(text.trim());
    if secret.expose_secret().len() < MIN_SECRET_BYTES {
        return Err(SecretError::TooShort { path: path.to_owned() });
    }
    Ok(Some(secret))
}

/// Puts a whole file into place, for its owner alone, or leaves the one that another process put there first.
fn create(data_dir: &Path, path: &Path) -> io::Result<()> {
    fs::create_dir_all(data_dir)?;
    let mut bytes = Zeroizing::new([0; MIN_SECRET_BYTES]);
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
    fn a_secret_is_created_once_and_readable_only_by_its_owner() {
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
    fn concurrent_creators_get_the_same_secret() {
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
    fn an_invalid_secret_is_an_error_and_is_not_replaced() {
        for content in [&b""[..], b"hunter2 hunter2 hunter2 hunter2\n", &[0xff; 64]] {
            let home = tempfile::tempdir().unwrap();
            let path = home.path().join(FILE);
            fs::write(&path, content).unwrap();
            let error = load_or_create(home.path(), SecretFile::TOKENS).unwrap_err().to_string();
            assert!(error.contains(path.to_str().unwrap()) && !error.contains("hunter2"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), content);
        }
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
