//! What all calls that move money or sell tickets share: they run to their end even if the client hangs up, and
//! a repeated Idempotency-Key gets the first answer again. Does not lock keys (see [`super::idempotency`]).

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, ContentType, HeaderName};
use actix_web::{HttpResponse, HttpResponseBuilder};
use futures_util::future::{FutureExt, LocalBoxFuture};

use super::error::{Code, Problem};
use super::idempotency::KeyGuard;
use super::orders::OrderResponse;
use super::state::State;
use crate::actors::messages::SaleError;
use crate::db::read::{keys, payments, tickets};
use crate::domain::id::UserId;
use crate::domain::payment::Payment;
use crate::domain::record::{AnswerKind, Key, Refusal, StoredAnswer};

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The status of an answer, the first time and at each replay.
fn status(kind: AnswerKind) -> StatusCode {
    match kind {
        AnswerKind::Created => StatusCode::CREATED,
        AnswerKind::Changed => StatusCode::OK,
    }
}

/// The response to a call whose result is a payment, or its first answer if the key has one.
pub async fn payment_response(
    state: &State,
    guard: &KeyGuard,
    kind: AnswerKind,
    result: Result<Payment, SaleError>,
) -> Result<HttpResponse, Problem> {
    match result {
        Ok(payment) => Ok(HttpResponse::build(status(kind)).json(payment)),
        Err(error) => first_answer_or(state, guard, error).await,
    }
}

/// The first answer under the key, if it has one; else the error. An order that is repeated may be refused,
/// because its tickets are sold or its draw is closed, when it was the first request with this key that bought
/// them.
///
/// Boxed: the reads in here would make the future of every order four times as large.
pub fn first_answer_or<'a>(
    state: &'a State,
    guard: &'a KeyGuard,
    error: SaleError,
) -> LocalBoxFuture<'a, Result<HttpResponse, Problem>> {
    async move {
        match (error, &guard.key) {
            (SaleError::Refused(Refusal::Replay(stored)), Some(key)) => {
                // The first request succeeded. If its answer cannot be read now, "nothing was taken" would be
                // wrong.
                let unknown = |problem: Problem| {
                    Problem::from(SaleError::OutcomeUnknown).because(problem.cause().map(str::to_owned))
                };
                replay(state, key.user, stored).await.map_err(unknown)
            }
            (SaleError::OutcomeUnknown, _) => Err(SaleError::OutcomeUnknown.into()),
            (error, key) => match first_answer(state, key.as_ref()).await? {
                Some(first) => Ok(first),
                None => Err(error.into()),
            },
        }
    }
    .boxed_local()
}

/// The answer to an admin who may not play: the first one under the key, which the user may have got as a player; else
/// the refusal. Boxed for the same reason.
pub fn first_answer_of_player<'a>(
    state: &'a State,
    guard: &'a KeyGuard,
) -> LocalBoxFuture<'a, Result<HttpResponse, Problem>> {
    async move {
        let first = first_answer(state, guard.key.as_ref()).await?;
        first.ok_or_else(|| Code::AdminsDoNotPlay.into())
    }
    .boxed_local()
}

/// The first answer under this key, if there is one. A problem if another request used the key.
pub async fn first_answer(state: &State, key: Option<&Key>) -> Result<Option<HttpResponse>, Problem> {
    let Some(key) = key else { return Ok(None) };
    match keys::one(&state.db, key.id).await?.map(|stored| key.refusal(stored)) {
        None => Ok(None),
        Some(Refusal::Replay(stored)) => Ok(Some(replay(state, key.user, stored).await?)),
        Some(refusal) => Err(refusal.into()),
    }
}

/// Answers again what was answered first: the stored body, or one that is rebuilt from the rows.
async fn replay(state: &State, user: UserId, stored: StoredAnswer) -> Result<HttpResponse, Problem> {
    let mut response: HttpResponseBuilder = HttpResponse::build(status(stored.kind));
    response.insert_header((REPLAYED, "true"));
    if let Some(body) = stored.answer {
        return Ok(response.insert_header((CONTENT_TYPE, "application/json")).body(body));
    }
    let id = stored.payment.ok_or_else(|| Problem::internal("a key without an answer"))?;
    let view = payments::one(&state.db, state.currency, user, id).await?;
    let view = view.ok_or_else(|| Problem::internal("a key without its payment"))?;
    if view.draw.is_none() {
        // A deposit whose end was never written is answered as it stands now.
        return Ok(response.json(view.payment));
    }
    let tickets = tickets::of_payment(&state.db, user, id).await?;
    let answer = OrderResponse::rebuilt(view.payment, tickets, view.reserved_until)?;
    Ok(response.content_type(ContentType::json()).body(answer.to_json()?))
}

/// Waits for work that moves money, at most until the outcome deadline. The work goes on when the client hangs up
/// or the deadline passes, and the key stays locked until the work ends.
pub async fn run_to_completion<E: From<SaleError> + 'static>(
    state: &State,
    guard: &KeyGuard,
    work: impl Future<Output = Result<Payment, E>> + 'static,
) -> Result<Payment, E> {
    let (outcome_deadline, hold) = (state.draws.outcome_deadline(), guard.hold());
    let work = actix_web::rt::spawn(async move {
        let result = work.await;
        drop(hold);
        result
    });
    match tokio::time::timeout_at(outcome_deadline.into(), work).await {
        Ok(Ok(result)) => result,
        _ => Err(SaleError::OutcomeUnknown.into()),
    }
}
