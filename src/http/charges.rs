//! The calls of admins about charges of cards. Does not check that the caller is an admin: the router's middleware
//! does.

use actix_web::{HttpRequest, HttpResponse, web};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::audit;
use super::auth_user::AdminUser;
use super::body::Body;
use super::error::Problem;
use super::idempotency::KeyHeader;
use super::query::{List, PageParams, Query, path_id};
use super::replay::{payment_response, run_to_completion};
use super::state::State;
use crate::charges::EndError;
use crate::db::read::charges::{self, ChargeFilter, ListedCharge};
use crate::domain::audit::Action;
use crate::domain::charge::ChargeOutcome;
use crate::domain::id::PaymentId;
use crate::domain::payment::Payment;
use crate::domain::record::AnswerKind;

/// The longest note, in characters.
const MAX_NOTE: usize = 500;

/// The charges of all users, those of the newest payment first.
///
/// `status=waiting` finds the charges that need an admin. A charge may have several of the statuses.
#[utoipa::path(
    get, path = "/api/v1/admin/charges", tag = "admin", operation_id = "list_charges",
    params(
        ("status" = Option<Vec<ChargeFilter>>, Query, description = "Only charges with one of these statuses."),
        ("user_id" = Option<Vec<i64>>, Query, description = "Only charges of these users. It is recorded in the audit log."),
        PageParams,
    ),
    security(("bearer" = [])),
    responses((status = 200, body = List<ListedCharge>)),
)]
pub async fn list(
    state: web::Data<State>,
    AdminUser(actor): AdminUser,
    request: HttpRequest,
) -> Result<web::Json<List<ListedCharge>>, Problem> {
    let query = Query::of(&request, &["status", "user_id", "limit", "cursor"])?;
    let must = "must be open, waiting, paid, failed, late, disputed or refunded";
    let filters = query.all("status", ChargeFilter::parse, must)?;
    let users = query.all("user_id", |text| text.parse().ok(), "must be a user's id")?;
    let rows = charges::all(&state.db, state.currency, &users, &filters, query.page()?).await?;
    audit::record_read_of_users(&state, actor, Action::ReadCharges, &users).await?;
    Ok(web::Json(List::of(rows, |charge| charge)))
}

/// The end of a charge, as an admin found it out.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ChargeEnd, example = json!({"outcome": "failed", "note": "Stripe has no charge with this payment's id"}))]
pub struct EndBody {
    /// `paid`: the money was taken, and it is booked. `failed`: it was not.
    outcome: ChargeOutcome,
    /// Why, for the audit log.
    #[schema(min_length = 1, max_length = 500)]
    note: String,
    /// Which charge of the payment. Without it: the one that waits for an admin, or else the last one.
    begun_at: Option<Timestamp>,
}

/// Ends a charge of another user that the payment provider cannot tell of.
///
/// Look at the provider's own pages first: what is ended as `paid` is booked. `GET /admin/charges?status=waiting` lists the
/// charges that need it.
#[utoipa::path(
    post, path = "/api/v1/admin/payments/{id}/end", tag = "admin", operation_id = "end_charge",
    params(("id" = Uuid, Path, description = "The payment's id."), KeyHeader),
    request_body = EndBody,
    security(("bearer" = [])),
    responses((status = 200, body = Payment), (status = "default", description = "invalid_transition own_payment")),
)]
pub async fn end(
    state: web::Data<State>,
    AdminUser(actor): AdminUser,
    request: HttpRequest,
    Body(body): Body<EndBody>,
) -> Result<HttpResponse, Problem> {
    let id = PaymentId(path_id(&request, "payment")?);
    let note = body.note.trim().to_owned();
    if !(1..=MAX_NOTE).contains(&note.chars().count()) || note.contains('\0') {
        return Err(Problem::field("note", format!("must be 1 to {MAX_NOTE} characters")));
    }
    let guard = state.keys.acquire(&request, actor.user, &body)?;
    let (charges, key, by) = (state.charges.clone(), guard.key, actor);
    let (begun, outcome) = (body.begun_at, body.outcome);
    let ending = async move { charges.end_by_admin(id, begun, outcome, (by, note), key).await };
    let result = match run_to_completion(&state, &guard, ending).await {
        Ok(payment) => Ok(payment),
        Err(EndError::Sale(error)) => Err(error),
        Err(error) => return Err(error.into()),
    };
    payment_response(&state, &guard, AnswerKind::Changed, result).await
}
