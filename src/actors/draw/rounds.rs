//! What a draw with a beacon waits for: the signature of its round, and its turn among the draws of its lottery. This file
//! decides nothing: the draw's machine says when it asks, and for how long.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::beacon::RoundSource;
use crate::db::read::beacon;
use crate::db::{Db, describe};
use crate::domain::beacon::{AnnouncedRound, VerifiedRound};
use crate::domain::id::DrawId;

/// The pause after the first time that a round was not there, and the longest one: it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// After so many times in vain, a round that is not there is more than a few seconds late.
const EXPECTED_MISSES: u32 = 5;

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

/// Waits until no earlier draw of the lottery is left. `steps` changes with each step of any draw.
pub async fn await_turn(mut steps: watch::Receiver<()>, db: &Db, draw: DrawId) {
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
                tracing::warn!(error = describe(&error), "it is not known whose turn it is; this is read again");
                tokio::time::sleep(LONGEST_PAUSE).await;
            }
        }
    }
}
