//! Keeps the coming draws of every schedule in the database, each made once, with its pool. Knows when it is to
//! look again; whether a draw was made already, the database says.

use jiff::{SignedDuration, Timestamp};

use super::draws::Draws;
use super::messages::PoolError;
use crate::clock::Clock;
use crate::db::{Db, DbError, read};
use crate::domain::lottery::Rules;
use crate::domain::schedule::Schedule;

/// Between two looks, if no sale ends before.
const ROUND: SignedDuration = SignedDuration::from_mins(10);
/// Until the next try, when one failed.
const AGAIN: SignedDuration = SignedDuration::from_secs(10);

/// The draws that a schedule wants.
#[derive(Clone, Debug)]
pub struct DrawPlan {
    pub rules: Rules,
    pub schedule: Schedule,
    /// Tickets made in advance for each.
    pub pool: usize,
    /// How many coming draws there are at any time.
    pub ahead: usize,
}

/// Makes the coming draws for as long as the service runs.
pub async fn run(plans: Vec<DrawPlan>, draws: Draws, db: Db, clock: Clock) {
    loop {
        let now = clock.now();
        let mut next = now + ROUND;
        for plan in &plans {
            match keep(plan, &draws, &db, now).await {
                // When its sale ends, another one is wanted.
                Ok(ends) => next = next.min(ends.unwrap_or(next)),
                Err(error) => {
                    tracing::warn!(lottery = %plan.rules.lottery, %error, "a scheduled draw is not made yet");
                    next = next.min(now + AGAIN);
                }
            }
        }
        if let Err(error) = fill(&draws, &db).await {
            tracing::warn!(%error, "a scheduled draw is without its pool yet");
            next = next.min(now + AGAIN);
        }
        clock.sleep_until(next).await;
    }
}

/// Makes those of the plan's coming draws that are missing; tells when the sale of the nearest ends.
async fn keep(plan: &DrawPlan, draws: &Draws, db: &Db, now: Timestamp) -> Result<Option<Timestamp>, DbError> {
    let coming: Vec<_> = plan.schedule.coming(now).take(plan.ahead).collect();
    let Some(nearest) = coming.first() else { return Ok(None) };
    let made = read::draws::planned(db, &plan.rules.lottery, nearest.draw_at).await?;
    for times in coming.iter().filter(|times| !made.contains(&times.draw_at)) {
        draws.create_planned(&plan.rules, times, plan.pool).await?;
    }
    Ok(Some(nearest.sales_close_at))
}

/// Makes the pools that are wanted and not there, whether a crash came between or this is their first time.
async fn fill(draws: &Draws, db: &Db) -> Result<(), FillError> {
    let mut failed = None;
    for (draw, pool) in read::draws::without_pool(db).await? {
        // One that cannot be made keeps no other from its own.
        failed = draws.add_to_pool(draw, pool, None, None).await.err().or(failed);
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// Why a pool was not made.
#[derive(Debug, thiserror::Error)]
enum FillError {
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Pool(#[from] PoolError),
}
