//! The calls by which admins approve or reject withdrawals. Does not check that the caller is an admin: the
//! router's middleware does.

use actix_web::{HttpRequest, HttpResponse, web};

use super::auth_user::AdminUser;
use super::error::Problem;
use super::idempotency::KeyHeader;
use super::query::path_id;
use super::replay::{payment_response, run_to_completion};
use super::state::State;
use crate::actors::draws::payment_result;
use crate::db::read::payments;
use crate::domain::audit::AuditActor;
use crate::domain::id::PaymentId;
use crate::domain::payment::{Payment, PaymentKind};
use crate::domain::record::{AnswerKind, EndWithdrawal, Record, WithdrawalDecision};

/// Approves a withdrawal of another user.
///
/// Its status becomes `paid`. The operator pays the money out.
#[utoipa::path(
    post, path = "/api/v1/admin/withdrawals/{id}/approve", tag = "admin", operation_id = "approve_withdrawal",
    params(("id" = Uuid, Path, description = "The id of the withdrawal's payment."), KeyHeader),
    security(("bearer" = [])),
    responses((status = 200, body = Payment), (status = "default", description = "invalid_transition own_withdrawal")),
)]
pub async fn approve(
    state: web::Data<State>,
    AdminUser(actor): AdminUser,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    end(&state, &request, WithdrawalDecision::Approved, actor).await
}

/// Rejects a withdrawal.
///
/// Its status becomes `failed`, and its money goes back into the wallet.
#[utoipa::path(
    post, path = "/api/v1/admin/withdrawals/{id}/reject", tag = "admin", operation_id = "reject_withdrawal",
    params(("id" = Uuid, Path, description = "The id of the withdrawal's payment."), KeyHeader),
    security(("bearer" = [])),
    responses((status = 200, body = Payment), (status = "default", description = "invalid_transition")),
)]
pub async fn reject(
    state: web::Data<State>,
    AdminUser(actor): AdminUser,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    end(&state, &request, WithdrawalDecision::Rejected, actor).await
}

async fn end(
    state: &State,
    request: &HttpRequest,
    verdict: WithdrawalDecision,
    by: AuditActor,
) -> Result<HttpResponse, Problem> {
    let id = PaymentId(path_id(request, "withdrawal")?);
    let found = payments::owned(&state.db, state.currency, id).await?;
    let found = found.filter(|found| found.payment.kind == PaymentKind::Withdrawal);
    let user = found.ok_or_else(|| Problem::not_found("withdrawal"))?.user_id;
    // There is no body: the path says which withdrawal, and which decision.
    let guard = state.keys.acquire(request, by.user, &())?;
    let (at, key) = (state.clock.now(), guard.key);
    let end = Record::EndWithdrawal(EndWithdrawal { user, payment: id, verdict, by, at, key });
    let (persistence, deadline) = (state.persistence.clone(), Some(state.persistence.deadline()));
    let ending = async move { payment_result(persistence.write(end, deadline).await) };
    let result = run_to_completion(state, &guard, ending).await;
    payment_response(state, &guard, AnswerKind::Changed, result).await
}
