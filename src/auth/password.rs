//! Passwords: their allowed lengths, and hashing with Argon2id (RFC 9106) on threads of its own, so that
//! other requests do not wait.
//!
//! Parameters, lengths and the dummy hash follow OWASP's Password Storage and Authentication cheat sheets.
//! This file knows no users: the caller decides whose hash is compared and limits the tries.

use std::num::NonZeroUsize;
use std::sync::{Arc, LazyLock};
use std::thread::available_parallelism;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{self, PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};

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

/// Hashes passwords on blocking threads, a few at the same time.
///
/// A hash takes tens of milliseconds of a core and 19 MiB, so a hundred simultaneous log-ins would stop the
/// sale of tickets. At most `threads` hashes run and at most `queue` wait; the next one is refused. Clones
/// share both limits.
#[derive(Clone, Debug)]
pub struct Hasher {
    /// One permit for each hash that runs or waits.
    admitted: Arc<Semaphore>,
    /// One permit for each hash that runs.
    running: Arc<Semaphore>,
}

impl Hasher {
    /// `threads` hashes run at the same time (0: half of the cores, at least one); `queue` more may wait.
    pub fn new(threads: usize, queue: usize) -> Hasher {
        let threads = if threads == 0 { half_of_the_cores() } else { threads };
        let admitted = threads.saturating_add(queue).min(Semaphore::MAX_PERMITS);
        Hasher {
            admitted: Arc::new(Semaphore::new(admitted)),
            running: Arc::new(Semaphore::new(threads.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// The hash to store, as a PHC string; each has its own random salt.
    pub async fn hash(&self, password: Password) -> Result<String, HashError> {
        self.run(move || hash(password.0.expose_secret())).await?
    }

    /// Whether `candidate` is the password behind `stored`. `None` means an unknown user, and the answer is
    /// always false. All answers take the same time, so that they do not reveal who has an account.
    pub async fn verify(&self, candidate: SecretString, stored: Option<String>) -> Result<bool, HashError> {
        self.run(move || verify(candidate.expose_secret(), stored.as_deref(), &DUMMY)).await?
    }

    /// A caller that stops waiting gives its permit back at once. A hash that has begun cannot be stopped, so
    /// it keeps its permits until it ends: a client that disconnects does not make room for a hash too many.
    async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, HashError> {
        let admitted = self.admitted.clone().try_acquire_owned().map_err(|_| HashError::Busy)?;
        // The semaphores are never closed.
        let thread = self.running.clone().acquire_owned().await.map_err(|_| HashError::Busy)?;
        let done = spawn_blocking(move || {
            let _permits = (admitted, thread);
            job()
        });
        Ok(done.await?)
    }
}

fn half_of_the_cores() -> usize {
    (available_parallelism().map_or(1, NonZeroUsize::get) / 2).max(1)
}

fn argon2id() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, PARAMS)
}

fn hash(password: &str) -> Result<String, HashError> {
    let hash = argon2id().hash_password(password.as_bytes()).map_err(HashError::Failed)?;
    Ok(hash.to_string())
}

fn verify(candidate: &str, stored: Option<&str>, dummy: &str) -> Result<bool, HashError> {
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
    use std::future::poll_fn;
    use std::pin::{Pin, pin};
    use std::sync::mpsc;
    use std::task::Poll;
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

    #[tokio::test]
    async fn only_the_right_password_is_accepted() {
        let hasher = Hasher::new(0, 8);
        let stored = hasher.hash(password("correct horse")).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert_ne!(stored, hasher.hash(password("correct horse")).await.unwrap(), "each has a salt of its own");

        let right = |text: &str, stored: &str| hasher.verify(text.into(), Some(stored.to_owned()));
        assert!(right("correct horse", &stored).await.unwrap());
        assert!(!right("correct horse ", &stored).await.unwrap());
        assert!(!right("", &stored).await.unwrap());
        assert!(matches!(right("correct horse", "md5:1234").await, Err(HashError::Stored(_))));
    }

    #[test]
    fn an_unknown_user_has_no_password_not_even_that_of_the_dummy() {
        let dummy = hash("correct horse").unwrap();
        assert!(verify("correct horse", Some(&dummy), &DUMMY).unwrap());
        assert!(!verify("correct horse", None, &dummy).unwrap());
    }

    #[tokio::test]
    async fn a_login_of_an_unknown_user_is_wrong_and_not_an_error() {
        assert!(!Hasher::new(1, 1).verify("correct horse".into(), None).await.unwrap());
    }

    /// The time depends on these: algorithm, version, parameters, and the lengths of salt and output.
    #[test]
    fn the_dummy_takes_as_long_as_a_real_hash() {
        let (dummy, real) = (PasswordHash::new(&DUMMY).unwrap(), hash("correct horse").unwrap());
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
            assert!(!verify(candidate, stored.as_deref(), &DUMMY).unwrap());
            assert!(start.elapsed() > Duration::from_millis(1), "answered too fast");
        }
    }

    #[test]
    fn a_too_long_candidate_is_wrong_even_if_it_matches() {
        let long = "x".repeat(MAX_CHARS + 1);
        let stored = hash(&long).unwrap();
        assert!(!verify(&long, Some(&stored), &DUMMY).unwrap());
        let longest = "x".repeat(MAX_CHARS);
        let stored = hash(&longest).unwrap();
        assert!(verify(&longest, Some(&stored), &DUMMY).unwrap());
    }

    /// A job that runs until the sender sends or is dropped.
    fn blocking_job() -> (mpsc::Sender<()>, impl FnOnce() + Send + 'static) {
        let (sender, receiver) = mpsc::channel();
        (sender, move || _ = receiver.recv())
    }

    /// The output, if the future is ready at its first poll.
    async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    async fn is_busy(hasher: &Hasher) -> bool {
        matches!(poll_once(pin!(hasher.verify("x".into(), None))).await, Some(Err(HashError::Busy)))
    }

    #[tokio::test]
    async fn a_hash_beyond_the_queue_is_refused() {
        let hasher = Hasher::new(1, 1);
        let (first, job) = blocking_job();
        let mut running = pin!(hasher.run(job));
        assert!(poll_once(running.as_mut()).await.is_none());
        assert!(!is_busy(&hasher).await);
        let mut waiting = pin!(hasher.run(|| ()));
        assert!(poll_once(waiting.as_mut()).await.is_none());
        assert!(is_busy(&hasher).await);
        assert!(is_busy(&hasher.clone()).await, "clones share the bounds");

        drop(first);
        running.await.unwrap();
        waiting.await.unwrap();
        hasher.run(|| ()).await.unwrap();
    }

    #[tokio::test]
    async fn a_cancelled_caller_gives_its_permit_back() {
        let hasher = Hasher::new(1, 1);
        let (_first, job) = blocking_job();
        assert!(poll_once(pin!(hasher.run(job))).await.is_none());
        let mut waiting = Box::pin(hasher.run(|| ()));
        assert!(poll_once(waiting.as_mut()).await.is_none());
        assert!(is_busy(&hasher).await);
        drop(waiting);
        assert!(!is_busy(&hasher).await);
    }

    #[tokio::test]
    async fn a_running_hash_keeps_its_thread_until_it_ends() {
        let hasher = Hasher::new(1, 1);
        let (first, job) = blocking_job();
        let mut hung_up = Box::pin(hasher.run(job));
        assert!(poll_once(hung_up.as_mut()).await.is_none());
        drop(hung_up);

        let (started, has_started) = mpsc::channel();
        let mut waiting = pin!(hasher.run(move || _ = started.send(())));
        assert!(poll_once(waiting.as_mut()).await.is_none());
        assert!(is_busy(&hasher).await);
        assert!(has_started.recv_timeout(Duration::from_millis(50)).is_err(), "two at a time");
        drop(first);
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn a_panic_frees_its_thread() {
        let hasher = Hasher::new(1, 0);
        assert!(matches!(hasher.run(|| panic!("told to")).await, Err(HashError::CutShort(_))));
        hasher.run(|| ()).await.unwrap();
    }
}
