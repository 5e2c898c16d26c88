//! The admins' word on withdrawals. That the caller is an admin was made sure of before.

use actix_web::{HttpRequest, web};

use super::caller::Caller;
use super::error::Problem;
use super::query::path_id;
use super::state::State;
use crate::actors::draws::{SaleError, written};
use crate::db::read::payments;
use crate::domain::id::{PaymentId, UserId};
use crate::domain::payment::{Payment, PaymentKind};
use crate::domain::record::{EndWithdrawal, Record, Verdict};

/// Lets a withdrawal go out.
#[utoipa::path(
    post, path = "/api/v1/admin/withdrawals/{id}/approve", tag = "admin", operation_id = "approve_withdrawal",
    params(("id" = Uuid, Path)),
    security(("bearer" = [])),
    responses((status = 200, body = Payment), (status = "default", description = "invalid_transition")),
)]
pub async fn approve(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<web::Json<Payment>, Problem> {
    end(&state, &request, Verdict::Approved, caller.user).await
}

/// Puts a withdrawal back into its wallet.
#[utoipa::path(
    post, path = "/api/v1/admin/withdrawals/{id}/reject", tag = "admin", operation_id = "reject_withdrawal",
    params(("id" = Uuid, Path)),
    security(("bearer" = [])),
    responses((status = 200, body = Payment), (status = "default", description = "invalid_transition")),
)]
pub async fn reject(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<web::Json<Payment>, Problem> {
    end(&state, &request, Verdict::Rejected, caller.user).await
}

async fn end(
    state: &State,
    request: &HttpRequest,
    verdict: Verdict,
    by: UserId,
) -> Result<web::Json<Payment>, Problem> {
    let id = PaymentId(path_id(request, "withdrawal")?);
    let found = payments::owned(&state.db, state.currency, id).await?;
    let found = found.filter(|found| found.payment.kind == PaymentKind::Withdrawal);
    let user = found.ok_or_else(|| Problem::not_found("withdrawal"))?.user_id;
    let end = Record::EndWithdrawal(EndWithdrawal { user, payment: id, verdict, by, at: state.clock.now() });
    let writing = state.persistence.write(end, Some(state.persistence.deadline()));
    let answer = tokio::time::timeout_at(state.draws.patience().into(), writing).await;
    Ok(web::Json(written(answer.map_err(|_| SaleError::OutcomeUnknown)?)?))
}
