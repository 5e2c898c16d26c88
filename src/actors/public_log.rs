//! Publishes the public log. What is committed is copied to a file outside the database, and only then its head is
//! signed. A database that lacks what was copied was restored from a backup, and is not signed for: others may have a
//! checkpoint of what it forgot.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::SignedDuration;
use tokio::sync::{Mutex, Notify, watch};
use verifiable_draw::event::{Event, FairnessMode};
use verifiable_draw::merkle::edge::Edge;
use verifiable_draw::merkle::verify::verify_inclusion;
use verifiable_draw::merkle::{Head, hash_leaf};
use verifiable_draw::vkey::VerifierKey;

use super::key_changes;
use super::log_copy::LogCopy;
use super::persistence::{LogHeads, Persistence};
use crate::clock::Clock;
use crate::db::read::public_log;
use crate::db::{Db, DbError, describe};
use crate::domain::id::DrawId;
use crate::domain::log_entry::{EntryCheck, ForeignEntry, StoredEntry};
use crate::domain::log_index::DrawEntries;
use crate::domain::log_keys::{LogKeys, PublicLogSigner};
use crate::domain::lottery::Fairness;
use crate::domain::witness_policy::WitnessPolicy;

/// Entries that are copied at a time.
const ENTRIES_AT_ONCE: u64 = 256;
/// How long a step of a draw waits until its entry is published. It is published later if this does not suffice.
const PUBLISH_WAIT: Duration = Duration::from_secs(5);
/// The pause before it is published again after a failure that may pass.
const PUBLISH_PAUSE: Duration = Duration::from_secs(1);
/// How often the heads of the ticket logs are logged while something sells, and unpublished entries looked for.
const HEADS_INTERVAL: SignedDuration = SignedDuration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum PublicLogError {
    #[error("the copy of the public log in data_dir/log cannot be written: {0}")]
    Copy(#[from] io::Error),
    #[error(transparent)]
    Database(#[from] DbError),
    #[error(
        "{} has {copied} entries of the public log that were published, and the database has only {stored}: it was restored from \
         a backup. This service must not sign another history. Restore a newer backup if you have one. If what was sold since \
         this one is lost for good, `lottery log import` brings the missing entries of the log back, and stops the draws that \
         have lost tickets (docs/operations.md, \"The public log after a restore\")",
        path.display()
    )]
    DatabaseBehind { path: PathBuf, copied: u64, stored: u64 },
    #[error(
        "{} has {copied} entries of the public log that were published, and the database has others: it is another database, \
         or one that was restored from a backup and served without this file. This service must not sign another history. \
         Restore a backup of the database that the file belongs to. If nobody can, move the file away: then everybody who \
         has a checkpoint of it sees that the log was forked, so say why",
        path.display()
    )]
    Forked { path: PathBuf, copied: u64 },
    #[error(
        "the witness {} has cosigned {} entries of the public log, and the database has only {stored}: it was restored from \
         a backup, or is another one. This service must not sign another history. Restore a newer backup, or bring the \
         entries back from a copy of data_dir/log, with `lottery log import DIRECTORY`. If the witness is wrong, take it out \
         of the file of fairness.policy and say why",
        .seen.witness, .seen.size
    )]
    WitnessAhead { seen: WitnessedSize, stored: u64 },
    #[error(
        "the entry {index} of the public log in the database {fault}: this service has not written it. Nothing is signed, \
         because whoever trusts this log would believe the entry. Find out who can write to log_entries, and restore a \
         backup of the database from before the entry (docs/operations.md, \"An entry that the service has not written\")"
    )]
    Foreign { index: u64, fault: ForeignEntry },
}

impl PublicLogError {
    /// Whether the same may succeed later, once the disk or the database works again.
    fn is_transient(&self) -> bool {
        match self {
            PublicLogError::Copy(_) => true,
            PublicLogError::Database(error) => error.is_transient(),
            _ => false,
        }
    }
}

/// The size of the log that a witness has cosigned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WitnessedSize {
    /// The name of its key.
    pub witness: String,
    pub size: u64,
}

/// The head that everybody may know, and its checkpoint with the cosignatures that it has got.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublishedHead {
    pub head: Head,
    pub checkpoint: String,
}

/// What was published of a draw before its numbers.
pub struct PublishedList {
    /// The bytes of the entry that announced it.
    pub announcement: Vec<u8>,
    /// The bytes of the last entry before the seal, which has its times and its round.
    pub last: Vec<u8>,
    /// The index of the entry that sealed it.
    pub seal: u64,
    /// When it was sealed, in Unix seconds.
    pub sealed_at: u64,
    /// The head of its sealed ticket log.
    pub log: Head,
    pub tickets: i64,
}

/// The public log. Clones are the same.
#[derive(Clone)]
pub struct PublicLog(Arc<SharedPublicLog>);

struct SharedPublicLog {
    db: Db,
    keys: Arc<LogKeys>,
    /// The index of the first entry that needs a MAC, as it was when the service started.
    first_mac: u64,
    signer: PublicLogSigner,
    key_changes: Vec<String>,
    policy: Option<Arc<WitnessPolicy>>,
    copy: Mutex<LogCopy>,
    published: watch::Sender<Arc<PublishedHead>>,
    /// Entries could not be published, and may be later.
    late: Notify,
    /// Why it could not be published the last time. `None`: it was published.
    failure: watch::Sender<Option<String>>,
    /// The witness that has cosigned more than the database has. Nothing is signed any more.
    ahead: OnceLock<WitnessedSize>,
    /// Whether a witness has cosigned more than this log, or something else, or the database contradicts what was published.
    contradicted: AtomicBool,
}

impl PublicLog {
    /// Compares the database with the copy in the data directory, which it completes, and with the largest size that the
    /// witnesses have `seen`. Then it signs the head.
    pub async fn open(
        db: Db,
        keys: &Arc<LogKeys>,
        data_dir: &Path,
        policy: Option<Arc<WitnessPolicy>>,
        seen: Option<WitnessedSize>,
    ) -> Result<PublicLog, PublicLogError> {
        let data_dir = data_dir.to_owned();
        let opened = tokio::task::spawn_blocking(move || LogCopy::open(&data_dir)).await;
        let mut copy = opened.map_err(io::Error::other)??;
        let client = db.client().await?;
        let first_mac = public_log::first_mac(&client).await.map_err(DbError::from)?;
        drop(client);
        let edge = complete(&db, (keys, first_mac), &mut copy).await?;
        if let Some(seen) = seen.filter(|seen| seen.size > edge.size()) {
            return Err(PublicLogError::WitnessAhead { seen, stored: edge.size() });
        }
        let generations = public_log::key_generations(&db).await?;
        let signer = keys.public_log(generations);
        let key_changes = key_changes::proofs(&db, keys, generations, &edge.head()).await?;
        let published = watch::Sender::new(Arc::new(signed(&edge, &signer)));
        let (late, failure, ahead, contradicted) = <_>::default();
        Ok(PublicLog(Arc::new(SharedPublicLog {
            db,
            keys: keys.clone(),
            first_mac,
            signer,
            key_changes,
            policy,
            copy: Mutex::new(copy),
            published,
            late,
            failure,
            ahead,
            contradicted,
        })))
    }

    /// The key that verifies its checkpoints: while the key is rotated, the newer one.
    pub fn key(&self) -> &VerifierKey {
        self.0.signer.verifier()
    }

    /// All keys of the logs.
    pub fn log_keys(&self) -> &LogKeys {
        &self.0.keys
    }

    /// The proofs of the changes of its keys up to the start of the service, the oldest first.
    pub fn key_changes(&self) -> &[String] {
        &self.0.key_changes
    }

    /// The policy of its witnesses, with which draws are announced.
    pub fn policy(&self) -> Option<&Arc<WitnessPolicy>> {
        self.0.policy.as_ref()
    }

    pub fn published(&self) -> Arc<PublishedHead> {
        self.0.published.borrow().clone()
    }

    /// Tells of each new head.
    pub fn subscribe(&self) -> watch::Receiver<Arc<PublishedHead>> {
        self.0.published.subscribe()
    }

    /// The checkpoint of a head of this log, without cosignatures.
    pub fn sign(&self, head: &Head) -> String {
        self.0.signer.sign(head)
    }

    /// Shows a verified cosignature beside the checkpoint, if the head is still the newest. Nobody is told.
    pub fn add_cosignature(&self, head: &Head, line: &str) {
        self.0.published.send_if_modified(|published| {
            if published.head == *head {
                let checkpoint = format!("{}{line}", published.checkpoint);
                *published = Arc::new(PublishedHead { checkpoint, ..**published });
            }
            false
        });
    }

    /// Signs nothing any more: a witness has cosigned more than this log has.
    pub fn stop_signing(&self, seen: WitnessedSize) {
        self.contradicted();
        let stored = self.published().head.size;
        if self.0.ahead.set(seen.clone()).is_ok() {
            tracing::error!(error = %PublicLogError::WitnessAhead { seen, stored }, "the public log is not signed any more");
        }
    }

    /// Whether a witness has cosigned more than this log has.
    pub fn is_behind_witness(&self) -> bool {
        self.0.ahead.get().is_some()
    }

    /// A witness has cosigned more than this log has, or another history; or the database has what cannot be published.
    pub fn contradicted(&self) {
        self.0.contradicted.store(true, Ordering::Relaxed);
    }

    pub fn is_contradicted(&self) -> bool {
        self.0.contradicted.load(Ordering::Relaxed)
    }

    /// What the numbers of a draw and the count of its tickets follow from, if it was announced. The published log says which
    /// entries these are, and they are proved to be in it, so a database in which they were changed is not believed.
    ///
    /// # Errors
    /// [`DbError::Corrupt`] if the database contradicts what was published.
    pub async fn of_numbers(&self, draw: DrawId) -> Result<Option<PublishedList>, DbError> {
        let fairness = public_log::fairness(&self.0.db, draw).await?;
        let (found, fairness) = match (self.sealed_entries(draw).await?, fairness) {
            (None, None) => return Ok(None),
            (Some(found), Some(fairness)) => (found, fairness),
            _ => return Err(DbError::Corrupt("whether a draw is announced")),
        };
        if found.is_contradicted {
            return Err(DbError::Corrupt("two announcements or two seals of a draw"));
        }
        let seal = found.seal.ok_or(DbError::Corrupt("a verifiable draw without its seal"))?;
        let announcement = self.entry(found.announced).await?;
        let (last, sealed) = (self.entry(found.last).await?, self.entry(seal).await?);
        let mode = match fairness {
            Fairness::CommitReveal => FairnessMode::CommitReveal,
            Fairness::Beacon => FairnessMode::Beacon,
        };
        match (Event::parse(&announcement), Event::parse(&sealed)) {
            (
                Ok(Event::DrawAnnounced { fairness, .. }),
                Ok(Event::DrawSealed { at: sealed_at, orders, tickets, root, .. }),
            ) if fairness == mode => {
                let (log, tickets) = (Head { size: orders, root }, tickets.cast_signed());
                Ok(Some(PublishedList { announcement, last, seal, sealed_at, log, tickets }))
            }
            _ => Err(DbError::Corrupt("how the numbers of a draw come about")),
        }
    }

    /// Where the entries of a draw are whose list is sealed. What is not published yet is published.
    async fn sealed_entries(&self, draw: DrawId) -> Result<Option<DrawEntries>, DbError> {
        let find = async || self.0.copy.lock().await.index().of_draw(draw);
        match find().await {
            Some(found) if found.seal.is_some() => Ok(Some(found)),
            _ => {
                self.publish_now().await?;
                Ok(find().await)
            }
        }
    }

    /// The entry at this index of the published log.
    async fn entry(&self, index: u64) -> Result<Vec<u8>, DbError> {
        let corrupt = || DbError::Corrupt("an entry of the public log that was not published like this");
        let head = self.published().head;
        let entry = public_log::entries(&self.0.db, index, 1).await?.pop().ok_or_else(corrupt)?;
        let proof = public_log::inclusion_proof(&self.0.db, index, head.size).await?;
        verify_inclusion(&hash_leaf(&entry), index, &proof, &head).map_err(|_| corrupt())?;
        Ok(entry)
    }

    /// Publishes what is committed. A failure is logged; [`PublicLog::run`] tries again soon.
    pub async fn publish(&self) {
        let _ = self.publish_now().await;
    }

    /// Publishes what is committed, and waits until that has succeeded. A log that is not signed any more, because a witness
    /// has seen more of it, is not waited for.
    pub async fn await_published(&self) {
        while self.publish_now().await.is_err() && !self.is_behind_witness() {
            tokio::time::sleep(PUBLISH_PAUSE).await;
        }
    }

    /// Publishes the announcement of a draw that is on sale, unless it is published.
    ///
    /// # Errors
    /// [`DbError::NotPublished`] if it is not published yet, so that nothing may be sold; [`DbError::Corrupt`] if there is none.
    pub async fn publish_announcement(&self, draw: DrawId) -> Result<(), DbError> {
        let is_published = async || self.0.copy.lock().await.index().of_draw(draw).is_some();
        if is_published().await || public_log::fairness(&self.0.db, draw).await?.is_none() {
            return Ok(());
        }
        let published = self.publish_now().await;
        match published {
            _ if is_published().await || self.is_behind_witness() => Ok(()),
            Ok(()) => Err(DbError::Corrupt("a draw on sale that was not announced")),
            Err(_) => Err(DbError::NotPublished),
        }
    }

    /// Publishes what is committed. A failure is logged when its cause is another than before, and so is its end.
    ///
    /// # Errors
    /// [`DbError::NotPublished`] if the same may succeed later.
    async fn publish_now(&self) -> Result<(), DbError> {
        let published = tokio::time::timeout(PUBLISH_WAIT, self.try_to_publish()).await;
        let published = published.unwrap_or(Err(DbError::Timeout(PUBLISH_WAIT).into()));
        let failure = published.as_ref().err().map(|error| describe(error));
        let is_news = self.0.failure.send_replace(failure.clone()) != failure;
        match failure {
            Some(error) if is_news => tracing::error!(error, "entries of the public log are not published yet"),
            None if is_news => tracing::info!("the public log is published again"),
            _ => {}
        }
        let Err(error) = published else { return Ok(()) };
        if error.is_transient() {
            self.0.late.notify_one();
            return Err(DbError::NotPublished);
        }
        self.contradicted();
        Err(DbError::Corrupt("the public log"))
    }

    async fn try_to_publish(&self) -> Result<(), PublicLogError> {
        let mut copy = self.0.copy.lock().await;
        if let Some(seen) = self.0.ahead.get() {
            let stored = self.published().head.size;
            return Err(PublicLogError::WitnessAhead { seen: seen.clone(), stored });
        }
        let edge = complete(&self.0.db, (&self.0.keys, self.0.first_mac), &mut copy).await?;
        // The copy is locked until here, so that no older head follows. The newest keeps its cosignatures.
        self.0.published.send_if_modified(|published| {
            let is_new = published.head != edge.head();
            if is_new {
                *published = Arc::new(signed(&edge, &self.0.signer));
            }
            is_new
        });
        Ok(())
    }

    /// Logs the heads of the ticket logs while something sells, and publishes what could not be published at once, until the
    /// service stops.
    pub async fn run(self, persistence: Persistence, clock: Clock) {
        let mut logged = None;
        loop {
            let began = clock.since_boot();
            let heads = public_log::open_draws(&self.0.db).await;
            if let Ok(heads) = heads
                && logged.as_ref() != Some(&heads)
            {
                let sold = heads.iter().any(|(_, orders)| *orders > 0);
                if !sold || persistence.step(LogHeads { at: clock.now() }).await.is_ok() {
                    logged = Some(heads);
                }
            }
            self.publish().await;
            let mut next = pin!(clock.sleep_since(began, HEADS_INTERVAL));
            loop {
                tokio::select! {
                    () = &mut next => break,
                    () = self.0.late.notified() => tokio::time::sleep(PUBLISH_PAUSE).await,
                }
                self.publish().await;
            }
        }
    }
}

/// Copies what the database has and the copy has not, if this service has written it. Returns the edge that both have then.
async fn complete(
    db: &Db,
    (keys, first_mac): (&LogKeys, u64),
    copy: &mut LogCopy,
) -> Result<Edge, PublicLogError> {
    let edge = public_log::edge(db).await?;
    let refused = |copy: &LogCopy| {
        let (path, copied, stored) = (copy.path.clone(), copy.edge().size(), edge.size());
        if stored < copied {
            PublicLogError::DatabaseBehind { path, copied, stored }
        } else {
            PublicLogError::Forked { path, copied }
        }
    };
    // First all of it is compared: the copy must stay a witness of what was published.
    let (mut continued, generations) = (copy.edge().clone(), copy.index().generations());
    let mut check = EntryCheck { keys, first_mac, generations, is_new: continued.size() == 0 };
    while continued.size() < edge.size() {
        for entry in page(db, &continued, &edge).await? {
            let index = continued.size();
            check.check(&entry).map_err(|fault| PublicLogError::Foreign { index, fault })?;
            continued.append(hash_leaf(&entry.bytes)).map_err(|_| DbError::Corrupt("the public log"))?;
        }
    }
    if continued != edge {
        return Err(refused(copy));
    }
    while copy.edge().size() < edge.size() {
        let entries = page(db, copy.edge(), &edge).await?;
        let entries: Vec<_> = entries.into_iter().map(|entry| entry.bytes).collect();
        copy.append(&entries).await?;
    }
    Ok(edge)
}

/// The next entries that the database has.
async fn page(db: &Db, known: &Edge, all: &Edge) -> Result<Vec<StoredEntry>, DbError> {
    public_log::stored_entries(db, known.size(), ENTRIES_AT_ONCE.min(all.size() - known.size())).await
}

fn signed(edge: &Edge, signer: &PublicLogSigner) -> PublishedHead {
    let head = edge.head();
    PublishedHead { head, checkpoint: signer.sign(&head) }
}
