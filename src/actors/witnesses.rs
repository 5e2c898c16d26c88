//! Asks the witnesses of the public log to cosign it. Each has a task of its own, which nobody waits for: a witness that is
//! slow or lost delays no sale and no step of a draw.
//!
//! `domain::witness_progress` says which head a witness is asked for, `crate::witness` asks it and verifies the answer.
//! What is kept and shown here was verified there.

use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use metrics::{Counter, Gauge};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use verifiable_draw::event::Event;
use verifiable_draw::merkle::Head;

use super::persistence::Persistence;
use super::public_log::{PublicLog, WitnessedSize};
use crate::db::read::{public_log, witnesses};
use crate::db::{Db, DbError, describe};
use crate::domain::log_keys::PublicLogSigner;
use crate::domain::witness_policy::is_timed;
use crate::domain::witness_progress::{DueHeads, WitnessProgress};
use crate::witness::{Cosignature, WitnessClient, WitnessRefusal};

/// How long a start waits for the witnesses: the service that takes over from another one sells nothing meanwhile.
const START_WAIT: Duration = Duration::from_secs(2);
/// The pause after a failure. It doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often a witness may name another size before it counts as a failure.
const CONFLICTS: usize = 3;
/// How often a cosignature is written: the next one that the witness makes has a later time.
const WRITES: usize = 5;
/// A start looks for entries whose time counts in so many of the newest ones of the log.
const RECENT_ENTRIES: u64 = 1_000;
/// Entries that are read at a time.
const ENTRIES_AT_ONCE: u64 = 256;

/// The metrics of one witness.
#[derive(Clone)]
pub struct WitnessMetrics {
    /// The size of the head that it has cosigned last.
    pub cosigned: Gauge,
    pub failures: Counter,
}

/// A witness that is asked.
pub struct LogWitness {
    pub client: WitnessClient,
    pub metrics: WitnessMetrics,
    /// Whether the policy of the service names it. Others are asked for the draws that were announced with theirs, and are
    /// not believed that the log went back.
    pub is_current: bool,
}

/// All witnesses of the public log.
pub struct LogWitnesses {
    pub db: Db,
    pub log: PublicLog,
    pub persistence: Persistence,
    pub witnesses: Vec<LogWitness>,
}

/// Why a head was not cosigned.
#[derive(Debug, thiserror::Error)]
enum AskFailure {
    #[error(transparent)]
    Refused(#[from] WitnessRefusal),
    #[error("it has cosigned {0} entries, more than this log has")]
    Ahead(u64),
    #[error("each of its answers names another size")]
    Conflicts,
    #[error(transparent)]
    Database(#[from] DbError),
}

/// Asks the witnesses for the size of the log that they have cosigned, before anything is signed of the database: returns
/// the largest. They are shown the empty log, which every log continues.
pub async fn largest_seen(witnesses: &[WitnessClient], log: &PublicLogSigner) -> Option<WitnessedSize> {
    let empty = log.sign(&Head::empty());
    let ask = witnesses.iter().map(async |witness| {
        let name = witness.key().name();
        let refusal = match timeout(START_WAIT, witness.add_checkpoint(0, &[], &empty)).await {
            Ok(Ok(_)) => return Some(WitnessedSize { witness: name.to_owned(), size: 0 }),
            Ok(Err(WitnessRefusal::OtherSize(size))) => {
                return Some(WitnessedSize { witness: name.to_owned(), size });
            }
            Ok(Err(refusal)) => refusal.to_string(),
            Err(_) => format!("no answer within {START_WAIT:?}"),
        };
        tracing::warn!(
            witness = name,
            refusal,
            "a witness does not say how much of the public log it has cosigned"
        );
        None
    });
    join_all(ask).await.into_iter().flatten().max_by_key(|seen| seen.size)
}

impl LogWitnesses {
    /// Asks for each new head, until the service stops.
    pub async fn run(self) {
        let (all, due) = (Rc::new(self), Rc::new(watch::Sender::new(DueHeads::default())));
        // They end with this.
        let mut tasks = JoinSet::new();
        for witness in 0..all.witnesses.len() {
            let (all, due) = (all.clone(), due.clone());
            tasks.spawn_local(async move { all.ask_always(&all.witnesses[witness], &due).await });
        }
        all.follow(&due).await;
    }

    /// Finds the heads that are due in what is published.
    async fn follow(&self, due: &watch::Sender<DueHeads>) {
        let mut published = self.log.subscribe();
        let mut read = published.borrow().head.size.saturating_sub(RECENT_ENTRIES);
        loop {
            let size = published.borrow_and_update().head.size;
            match self.timed_heads(read, size).await {
                Ok(heads) => {
                    read = size;
                    due.send_modify(|due| due.publish(size, heads));
                    if published.changed().await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    let error = describe(&error);
                    tracing::warn!(error, "the witnesses are asked later: the public log could not be read");
                    sleep(FIRST_PAUSE).await;
                }
            }
        }
    }

    /// The sizes of the first heads that have the entries among these whose time counts.
    async fn timed_heads(&self, from: u64, end: u64) -> Result<Vec<u64>, DbError> {
        let (mut next, mut heads) = (from, Vec::new());
        while next < end {
            for entry in public_log::entries(&self.db, next, ENTRIES_AT_ONCE.min(end - next)).await? {
                next += 1;
                if Event::parse(&entry).is_ok_and(|event| is_timed(&event)) {
                    heads.push(next);
                }
            }
        }
        Ok(heads)
    }

    async fn ask_always(&self, it: &LogWitness, due: &watch::Sender<DueHeads>) {
        let mut changes = due.subscribe();
        let Some(mut progress) = self.progress(it, &mut changes).await else { return };
        let (mut pause, mut said) = (FIRST_PAUSE, String::new());
        while !self.log.is_behind_witness() {
            let now = changes.borrow_and_update().clone();
            if progress.has_missed(&now) && due.send_if_modified(DueHeads::add_newest) {
                continue;
            }
            let Some(size) = progress.next(&now) else {
                if changes.changed().await.is_err() {
                    return;
                }
                continue;
            };
            match self.ask(it, &mut progress, size, &now).await {
                Ok(()) => (pause, said) = (FIRST_PAUSE, String::new()),
                Err(failure) => {
                    it.metrics.failures.increment(1);
                    let failure = describe(&failure);
                    if failure != said {
                        let witness = it.client.key().name();
                        tracing::warn!(
                            witness,
                            size,
                            failure,
                            "a witness does not cosign the public log; it is asked again"
                        );
                        said = failure;
                    }
                    sleep(pause).await;
                    pause = LONGEST_PAUSE.min(pause * 2);
                }
            }
        }
    }

    /// What is known of a witness from before. Waits for the first head. `None`: the service stops.
    async fn progress(&self, it: &LogWitness, changes: &mut watch::Receiver<DueHeads>) -> Option<WitnessProgress> {
        loop {
            let due = changes.wait_for(|due| due.newest() > 0).await.ok()?.sizes();
            match witnesses::cosigned_sizes(&self.db, self.log.log_keys(), it.client.key().public_key(), &due)
                .await
            {
                Ok(sizes) => return Some(WitnessProgress::new(sizes)),
                Err(error) => {
                    let error = describe(&error);
                    tracing::warn!(error, "a witness is asked later: its cosignatures could not be read");
                    sleep(FIRST_PAUSE).await;
                }
            }
        }
    }

    /// Asks for the cosignature of one head, and keeps it if the head is due.
    async fn ask(
        &self,
        it: &LogWitness,
        progress: &mut WitnessProgress,
        size: u64,
        due: &DueHeads,
    ) -> Result<(), AskFailure> {
        let head = public_log::older_head(&self.db, size, &self.log.published().head).await?;
        let checkpoint = self.log.sign(&head);
        for _ in 0..CONFLICTS {
            let old = progress.known();
            if old > size {
                // It can cosign a later one only.
                return Ok(());
            }
            let proof = public_log::consistency_proof(&self.db, old, size).await?;
            match it.client.add_checkpoint(old, &proof, &checkpoint).await {
                Ok(cosignature) => {
                    if due.is_due(size) {
                        self.keep(it, &head, &cosignature).await?;
                    }
                    self.log.add_cosignature(&head, &cosignature.line);
                    progress.cosigns(size, due);
                    it.metrics.cosigned.set(size as f64);
                    return Ok(());
                }
                Err(WitnessRefusal::OtherSize(known)) if known != old => self.learn(it, progress, known)?,
                Err(refusal @ (WitnessRefusal::OtherSize(_) | WitnessRefusal::OtherHistory)) => {
                    self.contradicts(it, &refusal);
                    return Err(refusal.into());
                }
                Err(refusal) => return Err(refusal.into()),
            }
        }
        Err(AskFailure::Conflicts)
    }

    /// A witness has cosigned another size than it was asked to continue.
    fn learn(&self, it: &LogWitness, progress: &mut WitnessProgress, known: u64) -> Result<(), AskFailure> {
        // Somebody else may have shown it a head that was published meanwhile.
        if known <= self.log.published().head.size {
            progress.tells(known);
            return Ok(());
        }
        if it.is_current {
            self.log.stop_signing(WitnessedSize { witness: it.client.key().name().to_owned(), size: known });
        }
        Err(AskFailure::Ahead(known))
    }

    /// A witness refuses the proof that the log continues what it has seen.
    fn contradicts(&self, it: &LogWitness, refusal: &WitnessRefusal) {
        if it.is_current {
            let witness = it.client.key().name();
            tracing::error!(witness, %refusal, "a witness says that the public log was forked");
            self.log.contradicted();
        }
    }

    async fn keep(&self, it: &LogWitness, head: &Head, cosignature: &Cosignature) -> Result<(), DbError> {
        let (key, line) = (it.client.key().public_key(), &cosignature.line);
        let mut kept = self.persistence.keep_cosignature(head, key, line).await;
        for _ in 1..WRITES {
            if kept.is_ok() {
                break;
            }
            sleep(FIRST_PAUSE).await;
            kept = self.persistence.keep_cosignature(head, key, line).await;
        }
        kept
    }
}
