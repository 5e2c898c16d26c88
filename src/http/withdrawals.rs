//! The admins' word on withdrawals. That the caller is an admin was made sure of before.

use actix_web::{HttpRequest, HttpResponse, web};

use super::caller::Caller;
use super::error::Problem;
use super::idempotency::{self, KeyHeader};
use super::payments::seen_through;
use super::query::path_id;
use super::state::State;
use super::tickets::refused;
use crate::actors::draws::written;
use crate::db::read::payments;
use crate::domain::id::PaymentId;
use crate::domain::payment::{Payment, PaymentKind};
use crate::domain::record::{EndWithdrawal, Record, Verdict};

/// Lets a withdrawal go out.
#[utoipa::path(
    post, path = "/api/v1/admin/withdrawals/{id}/approve", tag = "admin", operation_id = "approve_withdrawal",
    params(("id" = Uuid, Path), KeyHeader),
    security(("bearer" = [])),
    responses((status = 200, body = Payment), (status = "default", description = "invalid_transition")),
)]
pub async fn approve(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    end(&state, &request, Verdict::Approved, caller).await
}

/// Puts a withdrawal back into its wallet.
#[utoipa::path(
    post, path = "/api/v1/admin/withdrawals/{id}/reject", tag = "admin", operation_id = "reject_withdrawal",
    params(("id" = Uuid, Path), KeyHeader),
    security(("bearer" = [])),
    responses((status = 200, body = Payment), (status = "default", description = "invalid_transition")),
)]
pub async fn reject(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    end(&state, &request, Verdict::Rejected, caller).await
}

async fn end(
    state: &State,
    request: &HttpRequest,
    verdict: Verdict,
    caller: Caller,
) -> Result<HttpResponse, Problem> {
    let id = PaymentId(path_id(request, "withdrawal")?);
    let found = payments::owned(&state.db, state.currency, id).await?;
    let found = found.filter(|found| found.payment.kind == PaymentKind::Withdrawal);
    let user = found.ok_or_else(|| Problem::not_found("withdrawal"))?.user_id;
    // The path says it all; there is no body.
    let working = idempotency::take_up(state, request, caller.user, &())?;
    let (by, at, key) = (caller.user, state.clock.now(), working.key);
    let end = Record::EndWithdrawal(EndWithdrawal { user, payment: id, verdict, by, at, key });
    let (persistence, deadline) = (state.persistence.clone(), Some(state.persistence.deadline()));
    let ending = async move { written(persistence.write(end, deadline).await) };
    match seen_through(state, &working, ending).await {
        Ok(payment) => Ok(HttpResponse::Ok().json(payment)),
        Err(error) => refused(state, &working, error).await,
    }
}
