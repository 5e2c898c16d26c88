//! Hashes passwords on blocking threads, a few at the same time: a hash takes tens of milliseconds of a core and 19
//! MiB, so a hundred at the same time would stop the sale of tickets.
//!
//! Three limits, each for another kind of flood. An account has one hash under way, and a few that wait for it. The
//! log-ins have half of the queue, and at most half of the threads hash anything else, so that no number of
//! registrations and new passwords keeps users from logging in. And all together use no more than the threads.
//! This file knows no users; how often they may try is limited elsewhere.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;

use secrecy::SecretString;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use super::password::{HashError, Password, verify};
use crate::domain::id::UserId;

/// The most hashes of one account that wait for the one under way.
pub const MAX_WAITING: usize = 16;

/// What a password is hashed for, and for which account.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum PasswordUse {
    /// A log-in, by what was typed as the login. It counts alike whether such a user exists, so that neither an answer
    /// nor its time tells; and other uses of the account do not delay its log-ins.
    LogIn(String),
    /// A registration, by the username.
    Registration(String),
    /// A new password for a user.
    Change(UserId),
}

/// Hashes passwords within the limits. Clones share them.
#[derive(Clone, Debug)]
pub struct Hasher {
    accounts: Arc<AccountQueues>,
    logins: Lane,
    others: Lane,
    /// One permit for each hash that runs.
    threads: Arc<Semaphore>,
}

/// The limits of the log-ins, or of everything else.
#[derive(Clone, Debug)]
struct Lane {
    /// One permit for each hash that runs or waits for a thread.
    admitted: Arc<Semaphore>,
    /// One permit for each hash that runs or is among the next.
    threads: Arc<Semaphore>,
}

impl Lane {
    fn new(threads: usize, queue: usize) -> Lane {
        Lane { admitted: semaphore(threads.saturating_add(queue)), threads: semaphore(threads) }
    }
}

fn semaphore(permits: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)))
}

impl Hasher {
    /// `threads` hashes run at the same time (0: half of the cores, at least one), at most half of them (and at least
    /// one) for something else than a log-in. `queue` more may wait, half of them log-ins. With one thread, log-ins
    /// and the others take turns if both wait.
    pub fn new(threads: usize, queue: usize) -> Hasher {
        let threads = if threads == 0 { half_of_the_cores() } else { threads };
        Hasher {
            accounts: Arc::default(),
            logins: Lane::new(threads, queue.div_ceil(2)),
            others: Lane::new((threads / 2).max(1), queue / 2),
            threads: semaphore(threads),
        }
    }

    /// The hash to store, as a PHC string; each has its own random salt.
    pub async fn hash(&self, account: PasswordUse, password: Password) -> Result<String, HashError> {
        self.run(account, move || password.hash()).await?
    }

    /// Whether `candidate` is the password behind `stored`. `None` means an unknown user, and the answer is
    /// always false. All answers take the same time, so that they do not reveal who has an account.
    pub async fn verify(
        &self,
        account: PasswordUse,
        candidate: SecretString,
        stored: Option<String>,
    ) -> Result<bool, HashError> {
        self.run(account, move || verify(&candidate, stored.as_deref())).await?
    }

    /// The hash of the new password, if `current` is the password behind `stored`.
    pub async fn change(
        &self,
        account: PasswordUse,
        current: SecretString,
        stored: Option<String>,
        new: Password,
    ) -> Result<Option<String>, HashError> {
        let change = move || match verify(&current, stored.as_deref())? {
            true => new.hash().map(Some),
            false => Ok(None),
        };
        self.run(account, change).await?
    }

    /// A caller that stops waiting gives its permits back at once. A hash that has begun cannot be stopped, so
    /// it keeps them until it ends: a client that disconnects does not make room for a hash too many.
    async fn run<T: Send + 'static>(
        &self,
        account: PasswordUse,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, HashError> {
        let lane = match account {
            PasswordUse::LogIn(_) => &self.logins,
            PasswordUse::Registration(_) | PasswordUse::Change(_) => &self.others,
        };
        // What waits for its account has no place in the queue yet: one account takes one place at most.
        let place = self.accounts.enter(account)?;
        let turn = acquire(&place.turn).await?;
        let admitted = lane.admitted.clone().try_acquire_owned().map_err(|_| HashError::Busy)?;
        let next = acquire(&lane.threads).await?;
        let thread = acquire(&self.threads).await?;
        let done = spawn_blocking(move || {
            let _permits = (thread, next, admitted, turn, place);
            job()
        });
        Ok(done.await?)
    }
}

/// Waits for a permit, first come, first served.
async fn acquire(semaphore: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, HashError> {
    // The semaphores are never closed.
    semaphore.clone().acquire_owned().await.map_err(|_| HashError::Busy)
}

fn half_of_the_cores() -> usize {
    (available_parallelism().map_or(1, NonZeroUsize::get) / 2).max(1)
}

/// The accounts with a hash under way. Bounded by the queue: one hash of each account is in it.
#[derive(Debug, Default)]
struct AccountQueues(Mutex<HashMap<PasswordUse, AccountQueue>>);

#[derive(Debug)]
struct AccountQueue {
    /// Has one permit, for the hash under way.
    turn: Arc<Semaphore>,
    /// The hashes under way and waiting.
    places: usize,
}

/// A place in the queue of an account, until it is dropped.
struct AccountPlace {
    queues: Arc<AccountQueues>,
    account: PasswordUse,
    turn: Arc<Semaphore>,
}

impl AccountQueues {
    fn lock(&self) -> MutexGuard<'_, HashMap<PasswordUse, AccountQueue>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(self: &Arc<AccountQueues>, account: PasswordUse) -> Result<AccountPlace, HashError> {
        let mut queues = self.lock();
        let queue =
            queues.entry(account.clone()).or_insert_with(|| AccountQueue { turn: semaphore(1), places: 0 });
        if queue.places > MAX_WAITING {
            return Err(HashError::AccountBusy);
        }
        queue.places += 1;
        Ok(AccountPlace { queues: self.clone(), account, turn: queue.turn.clone() })
    }
}

impl Drop for AccountPlace {
    fn drop(&mut self) {
        let mut queues = self.queues.lock();
        let Some(queue) = queues.get_mut(&self.account) else { return };
        queue.places -= 1;
        if queue.places == 0 {
            queues.remove(&self.account);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::{Pin, pin};
    use std::sync::mpsc;
    use std::task::Poll;
    use std::time::Duration;

    use futures_util::future::join_all;
    use tokio::task::yield_now;

    use super::*;

    /// A log-in, or another use, of an account of its own.
    fn login(account: i64) -> PasswordUse {
        PasswordUse::LogIn(account.to_string())
    }

    fn change(account: i64) -> PasswordUse {
        PasswordUse::Change(UserId(account))
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

    /// Why a hash for this account is refused at once; `None` if it waits.
    async fn refusal(hasher: &Hasher, account: PasswordUse) -> Option<HashError> {
        poll_once(pin!(hasher.run(account, || ()))).await.map(|refused| refused.unwrap_err())
    }

    #[tokio::test]
    async fn a_password_is_hashed_verified_and_changed() {
        let hasher = Hasher::new(0, 8);
        let stored = hasher.hash(change(1), Password::parse("correct horse").unwrap()).await.unwrap();
        assert!(hasher.verify(login(1), "correct horse".into(), Some(stored.clone())).await.unwrap());
        assert!(!hasher.verify(login(1), "wrong horse".into(), Some(stored.clone())).await.unwrap());
        assert!(!hasher.verify(login(1), "correct horse".into(), None).await.unwrap());
        let changed = async |current: &str, stored| {
            let new = Password::parse("battery staple").unwrap();
            hasher.change(change(1), current.into(), stored, new).await.unwrap()
        };
        assert_eq!(changed("wrong horse", Some(stored.clone())).await, None);
        assert_eq!(changed("correct horse", None).await, None);
        let new = changed("correct horse", Some(stored)).await;
        assert!(hasher.verify(login(1), "battery staple".into(), new).await.unwrap());
        assert!(hasher.accounts.lock().is_empty(), "nothing is kept of accounts without a hash under way");
    }

    #[tokio::test]
    async fn a_hash_beyond_the_queue_is_refused() {
        let hasher = Hasher::new(1, 2);
        for account in [login, change] {
            let (first, job) = blocking_job();
            let mut running = pin!(hasher.run(account(1), job));
            assert!(poll_once(running.as_mut()).await.is_none());
            assert!(refusal(&hasher, account(2)).await.is_none());
            let mut waiting = pin!(hasher.run(account(2), || ()));
            assert!(poll_once(waiting.as_mut()).await.is_none());
            assert!(matches!(refusal(&hasher, account(3)).await, Some(HashError::Busy)));
            let clone = hasher.clone();
            assert!(matches!(refusal(&clone, account(3)).await, Some(HashError::Busy)), "clones share the limits");

            drop(first);
            running.await.unwrap();
            waiting.await.unwrap();
            hasher.run(account(3), || ()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn hashes_of_one_account_wait_for_each_other_and_take_one_place_of_the_queue() {
        let hasher = Hasher::new(8, 8);
        let (first, job) = blocking_job();
        let mut running = pin!(hasher.run(change(1), job));
        assert!(poll_once(running.as_mut()).await.is_none());
        let mut waiting: Vec<_> = (0..MAX_WAITING).map(|_| Box::pin(hasher.run(change(1), || ()))).collect();
        for hash in &mut waiting {
            assert!(poll_once(hash.as_mut()).await.is_none());
        }
        assert!(matches!(refusal(&hasher, change(1)).await, Some(HashError::AccountBusy)));
        assert_eq!(hasher.others.admitted.available_permits(), 4 + 4 - 1);
        for other in [change(2), login(1)] {
            hasher.run(other, || ()).await.unwrap();
        }

        // One that stops waiting makes room for another.
        drop(waiting.pop());
        assert!(refusal(&hasher, change(1)).await.is_none());
        drop(first);
        running.await.unwrap();
        for hash in waiting {
            hash.await.unwrap();
        }
        hasher.run(change(1), || ()).await.unwrap();
        assert!(hasher.accounts.lock().is_empty());
    }

    #[tokio::test]
    async fn other_hashes_leave_half_of_the_threads_and_of_the_queue_to_log_ins() {
        let hasher = Hasher::new(2, 4);
        let (first, job) = blocking_job();
        let mut running = pin!(hasher.run(change(1), job));
        assert!(poll_once(running.as_mut()).await.is_none());
        let mut waiting = [2, 3].map(|account| Box::pin(hasher.run(change(account), || ())));
        for hash in &mut waiting {
            assert!(poll_once(hash.as_mut()).await.is_none());
        }
        assert!(matches!(refusal(&hasher, change(4)).await, Some(HashError::Busy)));
        hasher.run(login(1), || ()).await.unwrap();

        drop(first);
        running.await.unwrap();
        for hash in waiting {
            hash.await.unwrap();
        }
    }

    #[tokio::test]
    async fn with_one_thread_log_ins_and_others_take_turns() {
        let hasher = Hasher::new(1, 16);
        let (first, job) = blocking_job();
        let mut running = pin!(hasher.run(change(0), job));
        assert!(poll_once(running.as_mut()).await.is_none());
        let (sender, started) = mpsc::channel();
        let job = |name: char| {
            let (sender, (end, job)) = (sender.clone(), blocking_job());
            move || {
                sender.send((name, end)).unwrap();
                job();
            }
        };
        let changes = [1, 2, 3].map(|account| hasher.run(change(account), job('c')));
        let logins = [1, 2, 3].map(|account| hasher.run(login(account), job('l')));
        let mut all = pin!(join_all(changes.into_iter().chain(logins)));
        assert!(poll_once(all.as_mut()).await.is_none());
        drop(first);
        running.await.unwrap();
        let mut order = String::new();
        while order.len() < 6 {
            assert!(poll_once(all.as_mut()).await.is_none());
            match started.try_recv() {
                // While it runs, all others wait for a thread.
                Ok((name, end)) => {
                    assert!(poll_once(all.as_mut()).await.is_none());
                    order.push(name);
                    drop(end);
                }
                Err(_) => yield_now().await,
            }
        }
        all.await;
        assert_eq!(order, "lclclc", "the thread had run a change before");
    }

    #[tokio::test]
    async fn a_cancelled_caller_gives_its_permit_back() {
        let hasher = Hasher::new(1, 2);
        let (_first, job) = blocking_job();
        assert!(poll_once(pin!(hasher.run(login(1), job))).await.is_none());
        let mut waiting = Box::pin(hasher.run(login(2), || ()));
        assert!(poll_once(waiting.as_mut()).await.is_none());
        assert!(refusal(&hasher, login(3)).await.is_some());
        drop(waiting);
        assert!(refusal(&hasher, login(3)).await.is_none());
    }

    #[tokio::test]
    async fn a_running_hash_keeps_its_thread_until_it_ends() {
        let hasher = Hasher::new(1, 2);
        let (first, job) = blocking_job();
        let mut hung_up = Box::pin(hasher.run(login(1), job));
        assert!(poll_once(hung_up.as_mut()).await.is_none());
        drop(hung_up);

        let (started, has_started) = mpsc::channel();
        let mut waiting = pin!(hasher.run(login(2), move || _ = started.send(())));
        assert!(poll_once(waiting.as_mut()).await.is_none());
        assert!(refusal(&hasher, login(3)).await.is_some());
        assert!(has_started.recv_timeout(Duration::from_millis(50)).is_err(), "two at a time");
        drop(first);
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn a_panic_frees_its_thread_and_its_account() {
        let hasher = Hasher::new(1, 0);
        assert!(matches!(hasher.run(login(1), || panic!("told to")).await, Err(HashError::CutShort(_))));
        hasher.run(login(1), || ()).await.unwrap();
    }
}
