//! Passwords: their shape, and hashing them with Argon2id (RFC 9106) where it holds nobody else up.
//!
//! Parameters, lengths and the dummy hash follow OWASP's Password Storage and Authentication cheat
//! sheets. Knows no users: whose hash it is, and how often they may try, is for the caller.

use std::num::NonZeroUsize;
use std::sync::{Arc, LazyLock};
use std::thread::available_parallelism;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{self, PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};

/// Fewest and most characters of a password. Any characters: rules of composition make worse passwords.
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

/// What a password is held against when there is no such user. It matches none, since the answer is
/// "no" whatever comes out; it only has to take as long: the time depends on the parameters, and on the
/// lengths of salt (16 bytes) and output (32), which are those of a true hash.
static DUMMY: LazyLock<String> = LazyLock::new(|| {
    let (salt, output) = ("A".repeat(22), "A".repeat(43));
    format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${output}")
});

/// A password that somebody chose: 8 to 128 characters, of any kind. `Debug` does not show it.
#[derive(Clone, Debug)]
pub struct Password(SecretString);

/// Why a text is no password; for the person who typed it.
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

/// Counts the characters, and stops at the first one too many.
fn chars_up_to_limit(text: &str) -> usize {
    text.chars().take(MAX_CHARS + 1).count()
}

/// Why a password was neither hashed nor verified.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// As many as may wait are waiting. Nothing was done; the caller answers 503.
    #[error("too many passwords wait to be hashed")]
    Busy,
    /// What the database keeps is no Argon2 hash.
    #[error("the stored password hash cannot be read: {0}")]
    Stored(password_hash::phc::Error),
    /// No memory or no entropy.
    #[error("hashing failed: {0}")]
    Failed(password_hash::Error),
    /// The process is stopping, or the hash panicked.
    #[error("hashing was cut short")]
    CutShort(#[from] JoinError),
}

/// Hashes passwords, a few at a time, on threads of their own.
///
/// A hash takes tens of milliseconds of a core and 19 MiB, so a hundred logins at once would stop the
/// ticket sale. At most `threads` run and at most `queue` wait; the next one is turned away.
/// Clones share both bounds.
#[derive(Clone, Debug)]
pub struct Hasher {
    /// One permit for everybody inside, running or waiting.
    places: Arc<Semaphore>,
    /// One permit for each that runs.
    running: Arc<Semaphore>,
}

impl Hasher {
    /// `threads` hashes at a time, 0 for half of the cores and at least one; `queue` that may wait.
    pub fn new(threads: usize, queue: usize) -> Hasher {
        let threads = if threads == 0 { half_of_the_cores() } else { threads };
        let places = threads.saturating_add(queue).min(Semaphore::MAX_PERMITS);
        Hasher {
            places: Arc::new(Semaphore::new(places)),
            running: Arc::new(Semaphore::new(threads.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// The hash to store, as a PHC string with a salt of its own from the operating system.
    pub async fn hash(&self, password: Password) -> Result<String, HashError> {
        self.run(move || hash(password.0.expose_secret())).await?
    }

    /// Whether `candidate` is the password behind `stored`; `None` stands for an unknown user and is
    /// never right. All answers take the same time, so that nobody learns who has an account.
    pub async fn verify(&self, candidate: SecretString, stored: Option<String>) -> Result<bool, HashError> {
        self.run(move || verify(candidate.expose_secret(), stored.as_deref(), &DUMMY)).await?
    }

    /// Whoever stops waiting gives the place back at once. A hash that has begun cannot be stopped, so it
    /// takes its permits along: a client that hangs up frees no core before the core is free.
    async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, HashError> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| HashError::Busy)?;
        // Nobody ever closes the semaphores.
        let thread = self.running.clone().acquire_owned().await.map_err(|_| HashError::Busy)?;
        let done = spawn_blocking(move || {
            let _held = (place, thread);
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
    // Nobody's password is that long. It is held against the dummy too, and no text is worth more work.
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
    async fn a_log_in_of_an_unknown_user_is_wrong_and_not_an_error() {
        assert!(!Hasher::new(1, 1).verify("correct horse".into(), None).await.unwrap());
    }

    /// What the time depends on: algorithm, version, parameters, and the lengths of salt and output.
    #[test]
    fn the_dummy_costs_as_much_as_a_real_hash() {
        let (dummy, real) = (PasswordHash::new(&DUMMY).unwrap(), hash("correct horse").unwrap());
        let real = PasswordHash::new(&real).unwrap();
        assert_eq!(dummy.algorithm, real.algorithm);
        assert_eq!(dummy.version, real.version);
        assert_eq!(dummy.params.to_string(), real.params.to_string());
        assert_eq!(dummy.salt.unwrap().len(), real.salt.unwrap().len());
        assert_eq!(dummy.hash.unwrap().len(), real.hash.unwrap().len());

        // No machine fills 19 MiB twice in a millisecond, and a busy one only takes longer.
        for (candidate, stored) in [("wrong horse", None), (&*"x".repeat(1_000_000), Some(real.to_string()))] {
            #[allow(clippy::disallowed_methods, reason = "how long it took, not the draw's time")]
            let start = Instant::now();
            assert!(!verify(candidate, stored.as_deref(), &DUMMY).unwrap());
            assert!(start.elapsed() > Duration::from_millis(1), "answered too fast");
        }
    }

    #[test]
    fn an_overlong_candidate_is_wrong_even_if_it_would_match() {
        let long = "x".repeat(MAX_CHARS + 1);
        let stored = hash(&long).unwrap();
        assert!(!verify(&long, Some(&stored), &DUMMY).unwrap());
        let longest = "x".repeat(MAX_CHARS);
        let stored = hash(&longest).unwrap();
        assert!(verify(&longest, Some(&stored), &DUMMY).unwrap());
    }

    /// A job that runs until the sender sends or is dropped.
    fn until_told() -> (mpsc::Sender<()>, impl FnOnce() + Send + 'static) {
        let (sender, receiver) = mpsc::channel();
        (sender, move || _ = receiver.recv())
    }

    /// What one poll gives.
    async fn at_once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    async fn is_busy(hasher: &Hasher) -> bool {
        matches!(at_once(pin!(hasher.verify("x".into(), None))).await, Some(Err(HashError::Busy)))
    }

    #[tokio::test]
    async fn jobs_beyond_the_queue_are_refused() {
        let hasher = Hasher::new(1, 1);
        let (first, job) = until_told();
        let mut running = pin!(hasher.run(job));
        assert!(at_once(running.as_mut()).await.is_none());
        assert!(!is_busy(&hasher).await);
        let mut waiting = pin!(hasher.run(|| ()));
        assert!(at_once(waiting.as_mut()).await.is_none());
        assert!(is_busy(&hasher).await);
        assert!(is_busy(&hasher.clone()).await, "clones share the bounds");

        drop(first);
        running.await.unwrap();
        waiting.await.unwrap();
        hasher.run(|| ()).await.unwrap();
    }

    #[tokio::test]
    async fn a_caller_that_stops_waiting_frees_its_place() {
        let hasher = Hasher::new(1, 1);
        let (_first, job) = until_told();
        assert!(at_once(pin!(hasher.run(job))).await.is_none());
        let mut waiting = Box::pin(hasher.run(|| ()));
        assert!(at_once(waiting.as_mut()).await.is_none());
        assert!(is_busy(&hasher).await);
        drop(waiting);
        assert!(!is_busy(&hasher).await);
    }

    #[tokio::test]
    async fn a_running_hash_keeps_its_thread_until_it_ends() {
        let hasher = Hasher::new(1, 1);
        let (first, job) = until_told();
        let mut hung_up = Box::pin(hasher.run(job));
        assert!(at_once(hung_up.as_mut()).await.is_none());
        drop(hung_up);

        let (started, has_started) = mpsc::channel();
        let mut waiting = pin!(hasher.run(move || _ = started.send(())));
        assert!(at_once(waiting.as_mut()).await.is_none());
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
