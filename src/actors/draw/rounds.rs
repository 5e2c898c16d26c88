//! What a draw with a beacon waits for: the signature of its round, the cosignatures of its sealed list, and its turn among
//! the draws of its lottery. This file decides nothing: the draw's machine says when it asks, and for how long.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::sync::watch;
use verifiable_draw::event::Event;

use crate::actors::public_log::PublicLog;
use crate::beacon::RoundSource;
use crate::clock::Clock;
use crate::db::read::{beacon, witnesses};
use crate::db::{Db, DbError, describe};
use crate::domain::beacon::{AnnouncedRound, VerifiedRound};
use crate::domain::id::DrawId;
use crate::domain::lottery::VoidReason;
use crate::domain::witness_policy::lacks_quorum;

/// The pause after the first time that a round was not there, and the longest one: it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// After so many times in vain, a round that is not there is more than a few seconds late.
const EXPECTED_MISSES: u32 = 5;

/// The pause before the database is read again that did not answer. A read costs little, and the draw is due.
const READ_PAUSE: Duration = Duration::from_secs(1);

/// How long after the time of its round cosignatures of a draw's seal may still be on their way into the database: longer
/// than a witness may take to answer, and than the answer is written again.
const COSIGNATURES_WAIT: SignedDuration = SignedDuration::from_secs(30);

/// Asks once for a round. If it is not there, returns `None` after a pause. `missed`: how often it was not there before.
pub async fn fetch(source: Arc<dyn RoundSource>, announced: AnnouncedRound, missed: u32) -> Option<VerifiedRound> {
    let round = announced.round;
    match source.fetch(&announced).await {
        Ok(verified) => {
            tracing::info!(round, "the signature of the round is there");
            Some(verified)
        }
        Err(error) => {
            let pause = FIRST_PAUSE.saturating_mul(1 << missed.min(16)).min(LONGEST_PAUSE);
            if missed < EXPECTED_MISSES {
                tracing::info!(round, %error, ?pause, "the round is not there yet; it is asked for again");
            } else {
                tracing::error!(round, %error, ?pause, "the draw waits for its round, which no server gives");
            }
            tokio::time::sleep(pause).await;
            None
        }
    }
}

/// Waits until it is certain whether the witnesses that the draw was announced with have cosigned its sealed list in time.
/// A draw without witnesses has all that it needs. Returns what prevents the draw.
pub async fn await_quorum(
    db: &Db,
    log: &PublicLog,
    clock: &Clock,
    draw: DrawId,
    round: &AnnouncedRound,
) -> Result<(), VoidReason> {
    let mut failing = false;
    loop {
        match is_unwitnessed(db, log, draw, round).await {
            Ok(false) => return Ok(()),
            Ok(true) if clock.now().duration_since(round.at()) >= COSIGNATURES_WAIT => {
                tracing::error!("too few witnesses have cosigned the sealed list in time: the draw is void");
                return Err(VoidReason::NoQuorum);
            }
            Ok(true) => clock.sleep_until(round.at() + COSIGNATURES_WAIT).await,
            // Another try would find the same.
            Err(DbError::Corrupt(what)) => {
                tracing::error!(what, "a draw stops: the database does not have what was published of it");
                return Err(VoidReason::ListMismatch);
            }
            Err(error) => {
                read_again(
                    &error,
                    &mut failing,
                    "the cosignatures are not known; they are read again until they are",
                )
                .await;
            }
        }
    }
}

/// Whether the cosignatures that are kept are too few or too late.
async fn is_unwitnessed(db: &Db, log: &PublicLog, draw: DrawId, round: &AnnouncedRound) -> Result<bool, DbError> {
    let Some(list) = log.of_numbers(draw).await? else { return Ok(false) };
    let Ok(Event::DrawAnnounced { policy: Some(policy), .. }) = Event::parse(&list.announcement) else {
        return Ok(false);
    };
    let policy = witnesses::announced_policy(db, &policy).await?;
    let (mut size, newest) = (list.seal, log.published().head.size);
    loop {
        let heads = witnesses::cosigned_heads(db, log.log_keys(), &policy, (size, newest)).await?;
        match heads.last() {
            _ if !lacks_quorum(&policy, &heads, round.at()) => return Ok(false),
            Some(last) => size = last.head.size,
            None => return Ok(true),
        }
    }
}

/// Pauses after a failed read, and says so the first time.
async fn read_again(error: &DbError, failing: &mut bool, what: &'static str) {
    if !std::mem::replace(failing, true) {
        tracing::warn!(error = describe(error), what);
    }
    tokio::time::sleep(READ_PAUSE).await;
}

/// Waits until no earlier draw of the lottery is left. `steps` changes with each step of any draw.
pub async fn await_turn(mut steps: watch::Receiver<()>, db: &Db, draw: DrawId) {
    let mut failing = false;
    loop {
        steps.mark_unchanged();
        match beacon::earlier_draw(db, draw).await {
            Ok(None) => return,
            Ok(Some(earlier)) => {
                tracing::info!(%earlier, "the draw waits: an earlier draw takes the jackpot first");
                if steps.changed().await.is_err() {
                    // The service ends.
                    return;
                }
            }
            Err(error) => {
                read_again(&error, &mut failing, "it is not known whose turn it is; this is read until it is")
                    .await;
            }
        }
    }
}
