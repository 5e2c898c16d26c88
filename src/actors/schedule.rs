//! Creates the coming draws of every schedule, each once, and their pools. This file decides when to check again;
//! the database knows which draws exist already.

use jiff::{SignedDuration, Timestamp};

use super::draws::Draws;
use super::messages::PoolError;
use crate::clock::Clock;
use crate::db::{Db, DbError, read};
use crate::domain::lottery::Rules;
use crate::domain::schedule::Schedule;

/// The time between two rounds, if no sale closes earlier.
const INTERVAL: SignedDuration = SignedDuration::from_mins(10);
/// The time until the next try after a failure.
const RETRY_WAIT: SignedDuration = SignedDuration::from_secs(10);

/// A schedule, with what each of its draws needs.
#[derive(Clone, Debug)]
pub struct DrawPlan {
    pub rules: Rules,
    pub schedule: Schedule,
    /// The number of pool tickets of each draw.
    pub pool: usize,
    /// How many coming draws exist at any time.
    pub ahead: usize,
}

/// Creates the coming draws until the service stops.
pub async fn run(plans: Vec<DrawPlan>, draws: Draws, db: Db, clock: Clock) {
    loop {
        let began = clock.since_boot();
        let now = clock.trusted_now().await;
        let mut next = now + INTERVAL;
        for plan in &plans {
            match create_missing_draws(plan, &draws, &db, now).await {
                // When the nearest sale closes, another draw is needed.
                Ok(ends) => next = next.min(ends.unwrap_or(next)),
                Err(error) => {
                    tracing::warn!(lottery = %plan.rules.lottery, %error, "a scheduled draw could not be created yet");
                    next = next.min(now + RETRY_WAIT);
                }
            }
        }
        if let Err(error) = create_missing_pools(&draws, &db).await {
            tracing::warn!(%error, "the pool of a scheduled draw could not be created yet");
            next = next.min(now + RETRY_WAIT);
        }
        clock.sleep_since(began, next.duration_since(now)).await;
    }
}

/// Creates those of the plan's coming draws that are missing. Returns when the nearest sale closes.
async fn create_missing_draws(
    plan: &DrawPlan,
    draws: &Draws,
    db: &Db,
    now: Timestamp,
) -> Result<Option<Timestamp>, DbError> {
    let coming: Vec<_> = plan.schedule.coming(now).take(plan.ahead).collect();
    let Some(nearest) = coming.first() else { return Ok(None) };
    let existing = read::draws::planned(db, &plan.rules.lottery, nearest.draw_at).await?;
    for times in coming.iter().filter(|times| !existing.contains(&times.draw_at)) {
        draws.create_planned(&plan.rules, times, plan.pool).await?;
    }
    Ok(Some(nearest.sales_close_at))
}

/// Creates the pools that are missing: of new draws, and of draws whose pool a crash prevented.
async fn create_missing_pools(draws: &Draws, db: &Db) -> Result<(), CreatePoolError> {
    let mut failed = None;
    for (draw, pool) in read::draws::without_pool(db).await? {
        // A pool that cannot be created does not prevent the others.
        failed = draws.add_to_pool(draw, pool, None, None).await.err().or(failed);
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// Why a pool was not created.
#[derive(Debug, thiserror::Error)]
enum CreatePoolError {
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Pool(#[from] PoolError),
}
