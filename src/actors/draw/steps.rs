//! Runs the transactions of a draw's steps, and makes its pool tickets. The long steps, settling and refunding,
//! are in `payout`. This file contains no SQL.

use std::sync::Arc;

use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;

use super::count::{CountError, published_list};
use super::{Deps, payout};
use crate::actors::messages::{PoolError, StepRefusal};
use crate::actors::persistence::{BeginCancel, ConductOutcome, Open, PoolWrite, Reschedule, Seal};
use crate::actors::public_log::PublishedList;
use crate::db::read::draws;
use crate::db::{DbError, describe};
use crate::domain;
use crate::domain::beacon::VerifiedRound;
use crate::domain::draw::{NewPool, PoolOrder, StepError, StepKind, StepOutcome, StepWrite};
use crate::domain::game::Pick;
use crate::domain::id::{DrawId, PoolTicketId};
use crate::domain::lottery::{DrawStatus, Rules};
use crate::domain::recount::ListFault;
use crate::domain::settle::Conduct;

/// Writes a step and returns its outcome.
pub async fn write(deps: Deps, rules: Arc<Rules>, step: StepWrite) -> Result<StepOutcome, StepError> {
    let persistence = &deps.persistence;
    let StepWrite { fence, kind, at, audit } = step;
    let written = match kind {
        StepKind::Open(round) => {
            let currency = persistence.currency();
            let policy = deps.public_log.policy().cloned();
            let opened = persistence.step(Open { fence, rules, at, audit, currency, round, policy }).await;
            opened.map(|()| StepOutcome::Opened)
        }
        StepKind::Reschedule(times, round) => {
            let rescheduled = persistence.step(Reschedule { fence, times, round, at, audit }).await;
            rescheduled.map(|()| StepOutcome::Rescheduled(times))
        }
        StepKind::Seal => {
            persistence.step(Seal { fence, at, audit }).await.map(|epoch| StepOutcome::Sealed { epoch })
        }
        StepKind::BeginCancel { reason } => {
            let cancelling = persistence.step(BeginCancel { fence, rules, reason, at, audit }).await;
            cancelling.map(|begun| StepOutcome::Cancelling { epoch: begun.epoch })
        }
        StepKind::Conduct(round) => {
            let pick = match &round {
                Some(round) => numbers_of_round(&deps, fence.draw, &rules, round).await?,
                None => winning_numbers(&deps, fence.draw, &rules).await?,
            };
            let conducted = persistence.step(Conduct { fence, rules, pick, round, at, audit }).await;
            conducted.map(|outcome| match outcome {
                ConductOutcome::Drawn(winning) => StepOutcome::Conducted(winning),
                ConductOutcome::Waits(earlier) => StepOutcome::Waits(earlier),
            })
        }
        StepKind::Settle { winning, sold } => {
            payout::settle(&deps, fence, rules, winning, sold).await.map(|()| StepOutcome::Settled)
        }
        StepKind::Refund { sold } => {
            payout::refund(&deps, fence, rules.price, sold).await.map(|()| StepOutcome::Refunded)
        }
    };
    if matches!(written, Ok(StepOutcome::Opened)) {
        // Nothing is sold before the draw is announced.
        deps.public_log.await_published().await;
    }
    // Before anybody hears of the step.
    deps.step_written().await;
    written
}

/// The winning numbers: what follows from the announcement and the sealed list, the same however often this is asked.
async fn winning_numbers(deps: &Deps, draw: DrawId, rules: &Rules) -> Result<Pick, StepError> {
    match published_list(deps, draw, rules).await.map_err(|error| error.stop(draw, false))? {
        Some(PublishedList { announcement, log, .. }) => {
            let keys = deps.persistence.ticket_logs().log_keys();
            domain::public_log::winning_numbers(keys, draw, rules, &announcement, &log).map_err(|fault| {
                tracing::error!(%draw, %fault, "the winning numbers are not drawn");
                StepError::Failed
            })
        }
        None => Ok(random_numbers(rules)),
    }
}

/// The winning numbers of a draw with a beacon: what follows from its announcement and its round.
async fn numbers_of_round(
    deps: &Deps,
    draw: DrawId,
    rules: &Rules,
    round: &VerifiedRound,
) -> Result<Pick, StepError> {
    let published = published_list(deps, draw, rules).await.map_err(|error| error.stop(draw, false))?;
    let Some(PublishedList { announcement, last, sealed_at, .. }) = published else {
        tracing::error!(%draw, "a draw with a beacon is not in the public log");
        return Err(CountError::List(ListFault::Seal).stop(draw, false));
    };
    domain::public_log::numbers_of_round(rules, &announcement, (&last, sealed_at), round).map_err(|fault| {
        tracing::error!(%draw, %fault, "the winning numbers are not drawn");
        CountError::List(ListFault::Numbers).stop(draw, false)
    })
}

/// The winning numbers of a draw that was opened before draws could be verified: from the CSPRNG of the operating
/// system. Every combination is equally likely.
fn random_numbers(rules: &Rules) -> Pick {
    // The source does not fail once it has worked. If it ever does, no numbers are better than predictable ones:
    // the actor panics, nothing is written, and the draw is loaded again.
    rules.game.random_pick(&mut UnwrapErr(SysRng))
}

/// Makes pool tickets while the sale goes on: another thread chooses the numbers, and a connection of the
/// connection pool writes the tickets.
pub async fn make_pool(deps: &Deps, order: PoolOrder) -> Result<NewPool, PoolError> {
    let PoolOrder { fence, game, count, key, audit } = order;
    let failed = |error: DbError| {
        tracing::error!(draw = %fence.draw, error = describe(&error), "pool tickets could not be made");
        match error {
            DbError::Unknown(_) => PoolError::OutcomeUnknown,
            error if error.is_transient() => StepRefusal::Unavailable.into(),
            _ => StepRefusal::Failed.into(),
        }
    };
    let held = draws::pool_picks(&deps.db, fence.draw, game).await.map_err(failed)?;
    let choose = move || game.distinct_picks(count, &held, &mut UnwrapErr(SysRng));
    let picks = match tokio::task::spawn_blocking(choose).await {
        Ok(picks) => picks.map_err(|error| PoolError::TooFewLeft { left: error.left })?,
        Err(_) => return Err(StepRefusal::Failed.into()),
    };
    let (ids, now) = (deps.clock.ids(), deps.clock.now());
    let tickets: Vec<_> = picks.into_iter().map(|pick| (PoolTicketId(ids.next(now)), pick)).collect();
    match deps.persistence.add_to_pool(fence, &tickets, key.as_ref(), audit.as_ref(), now).await.map_err(failed)? {
        PoolWrite::Written { available } => {
            tracing::info!(draw = %fence.draw, created = tickets.len(), "pool tickets were made");
            Ok(NewPool { tickets, available })
        }
        PoolWrite::KeyTaken => Err(PoolError::KeyTaken),
        // The sale has ended meanwhile, and its epoch with it.
        PoolWrite::StaleEpoch => Err(StepRefusal::InvalidTransition(DrawStatus::Closed).into()),
    }
}
