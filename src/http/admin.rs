//! The calls of admins about draws, payments and the audit log. Does not check that the caller is an admin: the
//! router's middleware does.

use actix_web::{HttpRequest, HttpResponse, web};
use jiff::{Timestamp, Unit};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::audit;
use super::auth_user::AdminUser;
use super::body::Body;
use super::draws::{DrawWithPrizes, current};
use super::error::{Code, FieldError, Problem};
use super::idempotency::KeyHeader;
use super::query::{List, PageParams, Query, path_id};
use super::replay::first_answer;
use super::state::State;
use crate::actors::messages::{PoolCreated, PoolError, SaleError};
use crate::db::read::audit::AuditRow;
use crate::db::read::payments::OwnedPayment;
use crate::db::read::public_log::{self, MAX_ENTRIES_BEFORE_RESCHEDULE};
use crate::db::read::tickets::OwnedTicket;
use crate::db::read::{self, draws};
use crate::domain::audit::{Action, AuditActor};
use crate::domain::draw::{Step, Times, TimesChange};
use crate::domain::id::DrawId;
use crate::domain::lottery::Rules;
use crate::domain::money::Money;
use crate::domain::payment::{PaymentKind, PaymentStatus};
use crate::domain::ticket::TicketStatus;

/// The highest price of a ticket, in minor units.
const MAX_PRICE: i64 = 1_000_000_000_000;
/// The longest reason for a cancellation, in characters.
const MAX_REASON: usize = 500;

/// A draw to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewDraw, example = json!({"lottery": "5of36", "sales_close_at": "2099-01-01T20:00:00Z", "draw_at": "2099-01-01T20:05:00Z"}))]
pub struct CreateBody {
    /// The id of the lottery.
    lottery: String,
    /// The price of one ticket, in minor units. Without it, the lottery's price. With another price, fixed prizes and minimums change in proportion.
    #[schema(minimum = 1, maximum = 1_000_000_000_000_i64)]
    price: Option<i64>,
    /// When the sale begins by itself. Without it, an admin opens the draw by hand.
    sales_open_at: Option<Timestamp>,
    /// The cut-off: later orders are refused.
    sales_close_at: Timestamp,
    /// When the numbers are drawn by themselves. Without it: at `sales_close_at`.
    draw_at: Option<Timestamp>,
}

/// Creates a draw.
///
/// It is `scheduled`: its tickets are on sale from `sales_open_at` on, or when an admin opens it.
#[utoipa::path(
    post, path = "/api/v1/admin/draws", tag = "admin", operation_id = "create_draw",
    request_body = CreateBody,
    security(("bearer" = [])),
    responses((status = 201, body = DrawWithPrizes)),
)]
pub async fn create(
    state: web::Data<State>,
    AdminUser(actor): AdminUser,
    Body(body): Body<CreateBody>,
) -> Result<HttpResponse, Problem> {
    let (rules, times) = parse(&state, &body)?;
    let id = state.draws.create(&rules, &times, Some(actor)).await?;
    Ok(HttpResponse::Created().json(current(&state, id).await?))
}

/// Times are cut to whole milliseconds, so that the response equals what is stored.
fn whole(at: Timestamp) -> Timestamp {
    at.round(Unit::Millisecond).unwrap_or(at)
}

/// The times of a new draw.
pub fn times(body: &CreateBody) -> Times {
    Times {
        sales_open_at: body.sales_open_at.map(whole),
        sales_close_at: whole(body.sales_close_at),
        draw_at: whole(body.draw_at.unwrap_or(body.sales_close_at)),
    }
}

/// The new times of a draw. What is not given stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DrawTimes, example = json!({"sales_close_at": "2099-01-02T20:00:00Z", "draw_at": "2099-01-02T20:05:00Z"}))]
pub struct RescheduleBody {
    /// When the sale begins by itself.
    sales_open_at: Option<Timestamp>,
    /// The cut-off: later orders are refused.
    sales_close_at: Option<Timestamp>,
    /// When the numbers are drawn by themselves.
    draw_at: Option<Timestamp>,
}

/// Changes times of a draw.
///
/// Only while it is `scheduled` or `open`, and before its cut-off, and some 900 times at most after its announcement. With a beacon, another `draw_at` announces another round,
/// and the sale must end `fairness.margin` before the round.
#[utoipa::path(
    patch, path = "/api/v1/admin/draws/{id}", tag = "admin", operation_id = "reschedule_draw",
    params(("id" = i64, Path, description = "The draw's `id`, not its `number`.")),
    request_body = RescheduleBody,
    security(("bearer" = [])),
    responses((status = 200, body = DrawWithPrizes), (status = "default", description = "invalid_transition draw_due")),
)]
pub async fn reschedule(
    state: web::Data<State>,
    AdminUser(actor): AdminUser,
    request: HttpRequest,
    Body(body): Body<RescheduleBody>,
) -> Result<web::Json<DrawWithPrizes>, Problem> {
    let id = DrawId(path_id(&request, "draw")?);
    let change = TimesChange {
        sales_open_at: body.sales_open_at.map(whole),
        sales_close_at: body.sales_close_at.map(whole),
        draw_at: body.draw_at.map(whole),
    };
    if public_log::count_of_draw(&state.db, id).await? >= MAX_ENTRIES_BEFORE_RESCHEDULE {
        return Err(Problem::new(
            Code::InvalidTransition,
            "the times of the draw were changed so often that its proof has no room for more: let it take place, or cancel it",
        ));
    }
    if !state.draws.step(id, Step::Reschedule(change), String::new(), actor).await? {
        return Err(SaleError::OutcomeUnknown.into());
    }
    Ok(web::Json(current(&state, id).await?))
}

/// Every ticket of a draw, newest first.
///
/// Each with the id of its owner. Pool tickets that nobody has ordered are not in the list.
#[utoipa::path(
    get, path = "/api/v1/admin/draws/{id}/tickets", tag = "admin", operation_id = "list_draw_tickets",
    params(
        ("id" = i64, Path, description = "The draw's `id`, not its `number`."),
        ("status" = Option<Vec<TicketStatus>>, Query, description = "Only tickets with one of these statuses."),
        PageParams,
    ),
    security(("bearer" = [])),
    responses((status = 200, body = List<OwnedTicket>)),
)]
pub async fn tickets(
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<web::Json<List<OwnedTicket>>, Problem> {
    let id = DrawId(path_id(&request, "draw")?);
    let query = Query::of(&request, &["status", "limit", "cursor"])?;
    let statuses = query.all("status", TicketStatus::parse, "must be a ticket's status, such as paid")?;
    let page = query.page()?;
    draws::one(&state.db, id).await?.ok_or_else(|| Problem::not_found("draw"))?;
    let rows = read::tickets::of_draw(&state.db, id, &statuses, page).await?;
    Ok(web::Json(List::of(rows, |ticket| ticket)))
}

/// The payments of all users, newest first.
///
/// `kind=withdrawal&status=processing` finds the withdrawals whose money is set aside until an admin decides.
#[utoipa::path(
    get, path = "/api/v1/admin/payments", tag = "admin", operation_id = "list_all_payments",
    params(
        ("user_id" = Option<Vec<i64>>, Query, description = "Only payments of these users. It is recorded in the audit log."),
        ("status" = Option<Vec<PaymentStatus>>, Query, description = "Only payments with one of these statuses."),
        ("kind" = Option<Vec<PaymentKind>>, Query, description = "Only payments of these kinds."),
        PageParams,
    ),
    security(("bearer" = [])),
    responses((status = 200, body = List<OwnedPayment>)),
)]
pub async fn payments(
    state: web::Data<State>,
    AdminUser(actor): AdminUser,
    request: HttpRequest,
) -> Result<web::Json<List<OwnedPayment>>, Problem> {
    let query = Query::of(&request, &["user_id", "status", "kind", "limit", "cursor"])?;
    let users = query.all("user_id", |text| text.parse().ok(), "must be a user's id")?;
    let statuses = query.all("status", PaymentStatus::parse, "must be a payment's status, such as paid")?;
    let kinds = query.all("kind", PaymentKind::parse, "must be purchase, deposit or withdrawal")?;
    let page = query.page()?;
    let rows = read::payments::all(&state.db, state.currency, &users, &statuses, &kinds, page).await?;
    audit::record_read_of_users(&state, actor, Action::ReadPayments, &users).await?;
    Ok(web::Json(List::of(rows, |payment| payment)))
}

/// The audit log, newest first.
///
/// What admins did and read, their log-ins, and calls that were refused. Nothing in it can be changed or removed.
#[utoipa::path(
    get, path = "/api/v1/admin/audit-log", tag = "admin", operation_id = "list_audit_log",
    params(
        ("action" = Option<Vec<Action>>, Query, description = "Only these actions."),
        ("actor_id" = Option<Vec<i64>>, Query, description = "Only what these users did."),
        PageParams,
    ),
    security(("bearer" = [])),
    responses((status = 200, body = List<AuditRow>)),
)]
pub async fn audit_log(
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<web::Json<List<AuditRow>>, Problem> {
    let query = Query::of(&request, &["action", "actor_id", "limit", "cursor"])?;
    let actions = query.all("action", Action::parse, "must be an action of the audit log, such as draw.create")?;
    let actors = query.all("actor_id", |text| text.parse().ok(), "must be a user's id")?;
    let rows = read::audit::list(&state.db, &actions, &actors, query.page()?).await?;
    Ok(web::Json(List::of(rows, |entry| entry)))
}

fn parse(state: &State, body: &CreateBody) -> Result<(Rules, Times), Problem> {
    let mut errors = Vec::new();
    let mut check = |holds: bool, field: &str, message: String| {
        if !holds {
            errors.push(FieldError { field: field.to_owned(), message });
        }
    };
    let known = state.lotteries.iter().find(|lottery| lottery.rules.lottery.0 == body.lottery);
    let ids = state.lotteries.iter().map(|lottery| lottery.rules.lottery.0.as_str()).collect::<Vec<_>>();
    check(known.is_some(), "lottery", format!("must be one of {}", ids.join(", ")));
    let price_fits = body.price.is_none_or(|price| (1..=MAX_PRICE).contains(&price));
    check(price_fits, "price", format!("must be 1 to {MAX_PRICE} minor units"));
    let rules = known.map(|lottery| match body.price {
        Some(price) if price_fits => lottery.rules.with_price(Money::new(price)),
        _ => Ok(lottery.rules.clone()),
    });
    let rules = rules.transpose().map_err(|error| check(false, "price", error.to_string()));
    let times = times(body);
    errors.extend(state.draws.times_errors(&times).into_iter().map(FieldError::from));
    match rules {
        Ok(Some(rules)) if errors.is_empty() => Ok((rules, times)),
        _ => Err(Problem::validation(errors)),
    }
}

/// Pool tickets to create.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewPoolTickets, example = json!({"count": 1000}))]
pub struct PoolBody {
    /// How many.
    #[schema(minimum = 1)]
    count: i64,
}

/// The pool tickets that a call created.
#[derive(Serialize, ToSchema)]
#[schema(as = PoolAddition, example = json!({"created": 1000, "tickets_available": 1000}))]
pub struct PoolResponse {
    /// How many were created.
    created: usize,
    /// How many pool tickets of the draw are for sale now.
    tickets_available: i64,
}

/// Creates pool tickets of a draw.
///
/// Only while it is `scheduled` or `open`. No two pool tickets of a draw have the same numbers; more than are left cannot be
/// created.
#[utoipa::path(
    post, path = "/api/v1/admin/draws/{id}/pool", tag = "admin", operation_id = "add_to_pool",
    params(("id" = i64, Path, description = "The draw's `id`, not its `number`."), KeyHeader),
    request_body = PoolBody,
    security(("bearer" = [])),
    responses((status = 201, body = PoolResponse), (status = "default", description = "invalid_transition")),
)]
pub async fn add_to_pool(
    state: web::Data<State>,
    AdminUser(actor): AdminUser,
    request: HttpRequest,
    Body(body): Body<PoolBody>,
) -> Result<HttpResponse, Problem> {
    let id = DrawId(path_id(&request, "draw")?);
    let count = usize::try_from(body.count).ok().filter(|count| *count > 0);
    let count = count.ok_or_else(|| Problem::field("count", "must be at least 1"))?;
    let guard = state.keys.acquire(&request, actor.user, &body)?;
    // A call that is refused now may have succeeded before with the same key.
    if let Some(first) = first_answer(&state, guard.key.as_ref()).await? {
        return Ok(first);
    }
    match state.draws.add_to_pool(id, count, guard.key, Some(actor)).await {
        Ok(PoolCreated { created, tickets_available }) => {
            Ok(HttpResponse::Created().json(PoolResponse { created, tickets_available }))
        }
        Err(error @ PoolError::KeyTaken) => match first_answer(&state, guard.key.as_ref()).await? {
            Some(first) => Ok(first),
            None => Err(error.into()),
        },
        Err(error) => Err(error.into()),
    }
}

/// Puts a draw on sale.
///
/// Only a `scheduled` draw can be opened; one that is open already stays as it is.
#[utoipa::path(
    post, path = "/api/v1/admin/draws/{id}/open", tag = "admin", operation_id = "open_draw",
    params(("id" = i64, Path, description = "The draw's `id`, not its `number`.")),
    security(("bearer" = [])),
    responses((status = 200, body = DrawWithPrizes), (status = "default", description = "invalid_transition")),
)]
pub async fn open(
    state: web::Data<State>,
    AdminUser(actor): AdminUser,
    request: HttpRequest,
) -> Result<web::Json<DrawWithPrizes>, Problem> {
    step(&state, actor, &request, Step::Open, String::new()).await
}

/// Ends the sale of a draw.
///
/// Later orders are refused, unpaid reservations expire, and the list of tickets is sealed: no ticket enters or leaves
/// the draw any more.
#[utoipa::path(
    post, path = "/api/v1/admin/draws/{id}/close", tag = "admin", operation_id = "close_draw",
    params(("id" = i64, Path, description = "The draw's `id`, not its `number`.")),
    security(("bearer" = [])),
    responses((status = 200, body = DrawWithPrizes), (status = "default", description = "invalid_transition")),
)]
pub async fn close(
    state: web::Data<State>,
    AdminUser(actor): AdminUser,
    request: HttpRequest,
) -> Result<web::Json<DrawWithPrizes>, Problem> {
    step(&state, actor, &request, Step::Close, String::new()).await
}

/// Draws the numbers.
///
/// Of a `closed` draw, also before its `draw_at`; with a beacon, not before its round is known, and not before an earlier draw
/// of the lottery has ended. The prizes are counted and paid after that: the draw is `settling`, then
/// `completed`. Numbers are drawn once, however often this is called. A draw that has stopped with `list_mismatch` is
/// counted again.
#[utoipa::path(
    post, path = "/api/v1/admin/draws/{id}/conduct", tag = "admin", operation_id = "conduct_draw",
    params(("id" = i64, Path, description = "The draw's `id`, not its `number`.")),
    security(("bearer" = [])),
    responses((status = 200, body = DrawWithPrizes), (status = "default", description = "invalid_transition list_mismatch beacon_not_ready draw_waits")),
)]
pub async fn conduct(
    state: web::Data<State>,
    AdminUser(actor): AdminUser,
    request: HttpRequest,
) -> Result<web::Json<DrawWithPrizes>, Problem> {
    step(&state, actor, &request, Step::Conduct, String::new()).await
}

/// Why a draw is cancelled.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Cancellation, example = json!({"reason": "the drum is broken"}))]
pub struct CancelBody {
    /// The reason, which everybody can read in the draw.
    #[schema(min_length = 1, max_length = 500)]
    reason: String,
}

/// Cancels a draw.
///
/// Every payer is refunded once, to the wallet, also what was paid by card. A draw whose numbers are drawn cannot be
/// cancelled, unless it has stopped with `list_mismatch` before its prizes were fixed, nor a draw with a beacon from its
/// `sales_close_at` on.
#[utoipa::path(
    post, path = "/api/v1/admin/draws/{id}/cancel", tag = "admin", operation_id = "cancel_draw",
    params(("id" = i64, Path, description = "The draw's `id`, not its `number`.")),
    request_body = CancelBody,
    security(("bearer" = [])),
    responses((status = 200, body = DrawWithPrizes), (status = "default", description = "invalid_transition draw_due list_mismatch")),
)]
pub async fn cancel(
    state: web::Data<State>,
    AdminUser(actor): AdminUser,
    request: HttpRequest,
    Body(body): Body<CancelBody>,
) -> Result<web::Json<DrawWithPrizes>, Problem> {
    let reason = body.reason.trim();
    let legal = (1..=MAX_REASON).contains(&reason.chars().count()) && !reason.contains('\0');
    if !legal {
        return Err(Problem::field("reason", format!("must be 1 to {MAX_REASON} characters")));
    }
    step(&state, actor, &request, Step::Cancel, reason.to_owned()).await
}

async fn step(
    state: &State,
    actor: AuditActor,
    request: &HttpRequest,
    step: Step,
    reason: String,
) -> Result<web::Json<DrawWithPrizes>, Problem> {
    let id = DrawId(path_id(request, "draw")?);
    let done = state.draws.step(id, step, reason, actor).await?;
    let draw = current(state, id).await?;
    // A long settlement or refund goes on by itself. A step that has not begun has failed.
    if done || draw.is_under_way() { Ok(web::Json(draw)) } else { Err(SaleError::OutcomeUnknown.into()) }
}
