//! Counts the sold tickets of a draw, and stops the draw if they are not those that were sealed: `domain::recount` decides
//! it. Rows are read by pieces on several connections, and each piece is hashed on a thread of its own while the next
//! ones are read. This file contains no SQL.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tokio::task::spawn_blocking;
use verifiable_draw::Hash;

use super::Deps;
use super::reads::{READ_AT_ONCE, READERS, patiently, pieces};
use crate::actors::public_log::PublishedList;
use crate::db::{DbError, read};
use crate::domain::draw::{StepError, WinningPick};
use crate::domain::id::DrawId;
use crate::domain::lottery::Rules;
use crate::domain::public_log;
use crate::domain::recount::{CountedList, ListFault, Recount, RunningCount, SealedTickets, TicketRange};

/// Why the tickets were not counted.
pub enum CountError {
    Step(StepError),
    List(ListFault),
}

impl From<StepError> for CountError {
    fn from(error: StepError) -> CountError {
        CountError::Step(error)
    }
}

impl From<ListFault> for CountError {
    fn from(fault: ListFault) -> CountError {
        CountError::List(fault)
    }
}

impl CountError {
    /// The draw stops if its tickets are not those that were sealed.
    pub fn stop(self, draw: DrawId, prizes_fixed: bool) -> StepError {
        match self {
            CountError::Step(error) => error,
            CountError::List(fault) => {
                tracing::error!(%draw, %fault, "a draw stops and pays nothing: it is not what was sealed and published");
                StepError::ListMismatch { prizes_fixed }
            }
        }
    }
}

/// Counts every ticket. A crash begins the count anew, without a stored cursor: nothing is paid before it ends, ten
/// million tickets take seconds, and storing a cursor would take time of the writer.
pub async fn count(
    deps: &Deps,
    draw: DrawId,
    rules: &Rules,
    winning: WinningPick,
    sold: i64,
) -> Result<CountedList, CountError> {
    let sealed = sealed_list(deps, draw, rules, winning).await?;
    let keys = sealed.log.map(|_| deps.persistence.ticket_logs().keys(draw));
    let recount = Arc::new(Recount::new(rules, winning.pick, keys));
    let read = |range: TicketRange| {
        let recount = recount.clone();
        async move {
            let rows = patiently(async || read::payout::sold_tickets(&deps.db, draw, range).await).await?;
            let counted = spawn_blocking(move || recount.count(range, rows.tickets())).await;
            Ok::<_, CountError>(counted.map_err(|_| StepError::Failed)??)
        }
    };
    let mut pieces = stream::iter(pieces(0, sold, READ_AT_ONCE)).map(read).buffered(READERS);
    let mut count = RunningCount::new(recount.clone());
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        let added = spawn_blocking(move || count.add(piece).map(|()| count)).await;
        count = added.map_err(|_| StepError::Failed)??;
    }
    match count.finish(&sealed) {
        Ok(counted) => Ok(counted),
        Err((fault, tiles)) => {
            log_first_tile(deps, draw, &tiles).await;
            Err(fault.into())
        }
    }
}

/// What was sealed. Of a draw that was announced it is what was published, from which the numbers must follow, too.
async fn sealed_list(
    deps: &Deps,
    draw: DrawId,
    rules: &Rules,
    winning: WinningPick,
) -> Result<SealedTickets, CountError> {
    let list = published_list(deps, draw, rules).await?;
    let Some(PublishedList { announcement, last, sealed_at, log, tickets, .. }) = list else {
        return Ok(patiently(async || read::payout::seal(&deps.db, draw).await).await?);
    };
    let keys = deps.persistence.ticket_logs().log_keys();
    let numbers = match patiently(async || read::beacon::drawn_round(&deps.db, draw).await).await? {
        None => public_log::winning_numbers(keys, draw, rules, &announcement, &log),
        Some(Ok(round)) => public_log::numbers_of_round(rules, &announcement, (&last, sealed_at), &round),
        Some(Err(_)) => return Err(ListFault::Numbers.into()),
    };
    if numbers != Ok(winning.pick) {
        return Err(ListFault::Numbers.into());
    }
    Ok(SealedTickets { tickets, log: Some(log) })
}

/// What was published of the draw, which must have been announced with these rules. `None`: it was opened before draws were
/// announced.
pub async fn published_list(
    deps: &Deps,
    draw: DrawId,
    rules: &Rules,
) -> Result<Option<PublishedList>, CountError> {
    let read = async || match deps.public_log.of_numbers(draw).await {
        Err(DbError::Corrupt(what)) => Ok(Err(what)),
        read => read.map(Ok),
    };
    let published = patiently(read).await?.map_err(|what| {
        tracing::error!(what, "the database does not have what was published of a draw");
        ListFault::Seal
    })?;
    let currency = deps.persistence.currency();
    match published {
        Some(list) if !public_log::has_announced(rules, currency, &list.announcement) => {
            Err(ListFault::Rules.into())
        }
        published => Ok(published),
    }
}

/// Says where to look.
async fn log_first_tile(deps: &Deps, draw: DrawId, counted: &[Hash]) {
    let stored = patiently(async || read::payout::tile_roots(&deps.db, draw).await).await.unwrap_or_default();
    let differs = (0..counted.len().max(stored.len())).find(|tile| counted.get(*tile) != stored.get(*tile));
    match differs {
        Some(tile) => tracing::error!(tile, "the first 256 orders that differ from those that were sold"),
        None => tracing::error!(tiles = counted.len(), "all complete tiles of 256 orders are as they were sold"),
    }
}
