//! One's own payments, and paying them.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auth_user::AuthUser;
use super::body::Body;
use super::error::Problem;
use super::idempotency::{self, KeyGuard, KeyHeader};
use super::query::{List, PageParams, Query, path_id};
use super::state::State;
use super::tickets::refused;
use crate::actors::messages::SaleError;
use crate::db::read::payments;
use crate::domain::id::PaymentId;
use crate::domain::payment::Payment;
use crate::payment::CardToken;

/// One's own payments, newest first.
#[utoipa::path(
    get, path = "/api/v1/payments", tag = "payments", operation_id = "list_payments",
    params(PageParams),
    security(("bearer" = [])),
    responses((status = 200, body = List<Payment>)),
)]
pub async fn list(
    state: web::Data<State>,
    auth: AuthUser,
    request: HttpRequest,
) -> Result<web::Json<List<Payment>>, Problem> {
    let page = Query::of(&request, &["limit", "cursor"])?.page()?;
    let rows = payments::list(&state.db, state.currency, auth.user, page).await?;
    Ok(web::Json(List::of(rows, |payment| payment)))
}

/// One of one's own payments.
#[utoipa::path(
    get, path = "/api/v1/payments/{id}", tag = "payments", operation_id = "get_payment",
    params(("id" = Uuid, Path)),
    security(("bearer" = [])),
    responses((status = 200, body = Payment)),
)]
pub async fn one(
    state: web::Data<State>,
    auth: AuthUser,
    request: HttpRequest,
) -> Result<web::Json<Payment>, Problem> {
    let id = PaymentId(path_id(&request, "payment")?);
    let view = payments::one(&state.db, state.currency, auth.user, id).await?;
    view.map(|view| web::Json(view.payment)).ok_or_else(|| Problem::not_found("payment"))
}

#[derive(Deserialize, Serialize, ToSchema)]
#[serde(tag = "method", rename_all = "snake_case", deny_unknown_fields)]
#[schema(as = Pay, example = json!({"method": "card", "token": "tok_visa"}))]
pub enum PayBody {
    // Braces, without which serde lets unknown fields pass.
    Wallet {},
    Card { token: String },
}

/// Pays for what is reserved. A declined card leaves the payment pending, with a `failure_code`.
#[utoipa::path(
    post, path = "/api/v1/payments/{id}/pay", tag = "payments", operation_id = "pay",
    params(("id" = Uuid, Path), KeyHeader),
    request_body = PayBody,
    security(("bearer" = [])),
    responses(
        (status = 200, body = Payment),
        (status = "default", description = "insufficient_funds payment_not_payable"),
    ),
)]
pub async fn pay(
    state: web::Data<State>,
    auth: AuthUser,
    request: HttpRequest,
    Body(body): Body<PayBody>,
) -> Result<HttpResponse, Problem> {
    let id = PaymentId(path_id(&request, "payment")?);
    let card = match &body {
        PayBody::Wallet {} => None,
        PayBody::Card { token } => Some(card(&state, token)?),
    };
    let view = payments::one(&state.db, state.currency, auth.user, id).await?;
    let view = view.ok_or_else(|| Problem::not_found("payment"))?;
    let guard = idempotency::acquire(&state, &request, auth.user, &body)?;
    let paid = match (view.draw, card) {
        (None, _) => Err(SaleError::NotPayable),
        (Some(draw), None) => state.draws.pay(draw, auth.user, id, guard.key, guard.hold()).await,
        (Some(draw), Some(card)) => {
            // Before a card is charged the key must be known to be new.
            if let Some(first) = idempotency::first_answer(&state, guard.key.as_ref()).await? {
                return Ok(first);
            }
            let (charges, key) = (state.charges.clone(), guard.key);
            let charge = async move { charges.charge(draw, auth.user, id, card, key).await };
            run_to_completion(&state, &guard, charge).await
        }
    };
    match paid {
        Ok(payment) => Ok(HttpResponse::Ok().json(payment)),
        Err(error) => refused(&state, &guard, error).await,
    }
}

/// A card that the provider may know.
pub fn card(state: &State, token: &str) -> Result<CardToken, Problem> {
    let card = CardToken::parse(token).map_err(|error| Problem::field("token", error))?;
    if state.charges.knows(&card) {
        Ok(card)
    } else {
        Err(Problem::field("token", "the payment provider knows no such card token"))
    }
}

/// Waits for a charge, or whatever else becomes of money, as for anything else. A client that hangs up, or has
/// waited for long enough, must not leave it half told: it goes on, and its key is in progress until its end.
pub async fn run_to_completion(
    state: &State,
    guard: &KeyGuard,
    moves: impl Future<Output = Result<Payment, SaleError>> + 'static,
) -> Result<Payment, SaleError> {
    let (outcome_deadline, hold) = (state.draws.outcome_deadline(), guard.hold());
    let moves = actix_web::rt::spawn(async move {
        let moved = moves.await;
        drop(hold);
        moved
    });
    match tokio::time::timeout_at(outcome_deadline.into(), moves).await {
        Ok(Ok(moved)) => moved,
        _ => Err(SaleError::OutcomeUnknown),
    }
}
