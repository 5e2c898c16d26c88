//! Ordering tickets, looking at one's own, and giving back what is not paid.

use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::future::{FutureExt, LocalBoxFuture};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::auth_user::AuthUser;
use super::body::Body;
use super::error::{FieldError, Problem};
use super::idempotency::{self, KeyGuard, KeyHeader};
use super::query::{List, PageParams, Query, path_id};
use super::state::State;
use crate::actors::messages::{PlacedOrder, SaleError};
use crate::db::read::payments::PaymentView;
use crate::db::read::tickets;
use crate::domain::draw::LineRequest;
use crate::domain::id::{DrawId, PoolTicketId, TicketId, UserId};
use crate::domain::payment::{Method, Payment, PaymentKind, PaymentStatus};
use crate::domain::record::Refusal;
use crate::domain::ticket::{Ticket, TicketStatus};

/// The most lines in one order.
const MAX_LINES: usize = 100;

#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Order, example = json!({
    "tickets": [{"numbers": [1, 7, 13, 22, 36]}, {"quick_pick": true}, {"from_pool": true}], "payment": "wallet"
}))]
pub struct OrderBody {
    #[schema(min_items = 1, max_items = 100)]
    tickets: Vec<LineBody>,
    #[serde(default)]
    payment: PaymentTime,
}

#[derive(Deserialize, Serialize, Clone, Copy, PartialEq, Eq, Default, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PaymentTime)]
enum PaymentTime {
    Wallet,
    #[default]
    Later,
}

#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Line, description = "Exactly one of these.")]
struct LineBody {
    numbers: Option<Vec<i64>>,
    quick_pick: Option<bool>,
    pool_ticket_id: Option<Uuid>,
    from_pool: Option<bool>,
}

impl LineBody {
    /// Exactly one way to choose.
    fn parse(&self) -> Option<LineRequest> {
        match (&self.numbers, self.quick_pick, self.pool_ticket_id, self.from_pool) {
            (Some(numbers), None, None, None) => Some(LineRequest::Numbers(numbers.clone())),
            (None, Some(true), None, None) => Some(LineRequest::QuickPick),
            (None, None, Some(id), None) => Some(LineRequest::PoolTicket(PoolTicketId(id))),
            (None, None, None, Some(true)) => Some(LineRequest::FromPool),
            _ => None,
        }
    }
}

pub fn parse(body: &OrderBody) -> Result<Vec<LineRequest>, Problem> {
    if !(1..=MAX_LINES).contains(&body.tickets.len()) {
        return Err(Problem::field("tickets", format!("must be 1 to {MAX_LINES} lines")));
    }
    let mut errors = Vec::new();
    let mut lines = Vec::with_capacity(body.tickets.len());
    for (index, line) in body.tickets.iter().enumerate() {
        match line.parse() {
            Some(line) => lines.push(line),
            None => errors.push(FieldError {
                field: format!("tickets[{index}]"),
                message: "must be one of numbers, quick_pick: true, pool_ticket_id, from_pool: true".to_owned(),
            }),
        }
    }
    if errors.is_empty() { Ok(lines) } else { Err(Problem::validation(errors)) }
}

/// What an order made.
#[derive(Serialize, ToSchema)]
#[schema(as = Ordered)]
pub struct OrderResponse {
    payment: Payment,
    tickets: Vec<Ticket>,
}

/// Orders tickets: all lines or none.
#[utoipa::path(
    post, path = "/api/v1/draws/{id}/tickets", tag = "tickets", operation_id = "order_tickets",
    params(("id" = i64, Path), KeyHeader),
    request_body = OrderBody,
    security(("bearer" = [])),
    responses(
        (status = 201, body = OrderResponse),
        (status = "default", description = "insufficient_funds draw_not_open ticket_unavailable pool_empty rate_limited"),
    ),
)]
pub async fn order(
    state: web::Data<State>,
    auth: AuthUser,
    request: HttpRequest,
    Body(body): Body<OrderBody>,
) -> Result<HttpResponse, Problem> {
    let draw = DrawId(path_id(&request, "draw")?);
    let lines = parse(&body)?;
    state.limits.purchase(auth.user, state.clock.now())?;
    let guard = idempotency::acquire(&state, &request, auth.user, &body)?;
    let pay_now = body.payment == PaymentTime::Wallet;
    match state.draws.order(draw, auth.user, lines, pay_now, guard.key, guard.hold()).await {
        Ok(ordered) => Ok(HttpResponse::Created().json(ordered_body(&state, ordered)?)),
        Err(error) => refused(&state, &guard, error).await,
    }
}

/// A refusal stands only when the key has no earlier success: what looks sold or closed may be its own.
/// Boxed: what it may have to read would make the future of every order four times as large.
pub fn refused<'a>(
    state: &'a State,
    guard: &'a KeyGuard,
    error: SaleError,
) -> LocalBoxFuture<'a, Result<HttpResponse, Problem>> {
    async move {
        match (error, &guard.key) {
            // It is written: whatever keeps us from reading it, "nothing was taken" would be false.
            (SaleError::Refused(Refusal::Replay(kept)), Some(key)) => {
                let unknown = |problem: Problem| {
                    Problem::from(SaleError::OutcomeUnknown).because(problem.cause().map(str::to_owned))
                };
                idempotency::replay(state, key.user, kept).await.map_err(unknown)
            }
            (SaleError::OutcomeUnknown, _) => Err(SaleError::OutcomeUnknown.into()),
            (error, key) => match idempotency::first_answer(state, key.as_ref()).await? {
                Some(first) => Ok(first),
                None => Err(error.into()),
            },
        }
    }
    .boxed_local()
}

fn ordered_body(state: &State, ordered: PlacedOrder) -> Result<OrderResponse, Problem> {
    let PlacedOrder { order, first_number } = ordered;
    let paid = first_number.is_some();
    let amount = order.price.checked_mul(order.lines.len() as u64);
    let payment = Payment {
        id: order.payment,
        kind: PaymentKind::Purchase,
        status: if paid { PaymentStatus::Paid } else { PaymentStatus::Pending },
        amount: amount.ok_or_else(|| Problem::internal("an amount that does not fit"))?,
        currency: state.currency,
        method: paid.then_some(Method::Wallet),
        ticket_ids: order.lines.iter().map(|line| line.ticket).collect(),
        failure_code: None,
        created_at: order.at,
        updated_at: order.at,
    };
    let ticket = |(index, line): (i64, crate::domain::record::Line)| Ticket {
        id: line.ticket,
        draw_id: order.fence.draw,
        lottery: order.lottery.clone(),
        number: first_number.map(|first| first + index),
        numbers: line.pick,
        origin: line.origin,
        pool_ticket_id: line.pool_ticket,
        status: if paid { TicketStatus::Paid } else { TicketStatus::Reserved },
        price: order.price,
        reserved_until: order.reserved_until,
        matches: None,
        prize: None,
        created_at: order.at,
    };
    let tickets = (0..).zip(order.lines).map(ticket).collect();
    Ok(OrderResponse { payment, tickets })
}

/// An order's first answer, rebuilt from its rows: whatever has happened since is left out.
pub async fn first_answer(state: &State, user: UserId, view: PaymentView) -> Result<OrderResponse, Problem> {
    let mut tickets = tickets::of_payment(&state.db, user, view.payment.id).await?;
    let until: Option<Timestamp> = view.reserved_until;
    for ticket in &mut tickets {
        ticket.status = if until.is_none() { TicketStatus::Paid } else { TicketStatus::Reserved };
        ticket.number = ticket.number.filter(|_| until.is_none());
        ticket.reserved_until = until;
        ticket.matches = None;
        ticket.prize = None;
    }
    let price = tickets.first().map(|ticket| ticket.price);
    let amount = price.and_then(|price| price.checked_mul(tickets.len() as u64));
    let payment = Payment {
        status: if until.is_none() { PaymentStatus::Paid } else { PaymentStatus::Pending },
        amount: amount.ok_or_else(|| Problem::internal("an order without tickets"))?,
        method: until.is_none().then_some(Method::Wallet),
        ticket_ids: tickets.iter().map(|ticket| ticket.id).collect(),
        failure_code: None,
        updated_at: view.payment.created_at,
        ..view.payment
    };
    Ok(OrderResponse { payment, tickets })
}

/// One's own tickets, newest first.
#[utoipa::path(
    get, path = "/api/v1/tickets", tag = "tickets", operation_id = "list_tickets",
    params(("draw_id" = Option<Vec<i64>>, Query), ("status" = Option<Vec<TicketStatus>>, Query), PageParams),
    security(("bearer" = [])),
    responses((status = 200, body = List<Ticket>)),
)]
pub async fn list(
    state: web::Data<State>,
    auth: AuthUser,
    request: HttpRequest,
) -> Result<web::Json<List<Ticket>>, Problem> {
    let query = Query::of(&request, &["draw_id", "status", "limit", "cursor"])?;
    let draws = query.all("draw_id", |text| text.parse().ok(), "must be a draw's id")?;
    let statuses = query.all("status", TicketStatus::parse, "must be a ticket's status, such as paid")?;
    let rows = tickets::list(&state.db, auth.user, &draws, &statuses, query.page()?).await?;
    Ok(web::Json(List::of(rows, |ticket| ticket)))
}

/// One of one's own tickets.
#[utoipa::path(
    get, path = "/api/v1/tickets/{id}", tag = "tickets", operation_id = "get_ticket",
    params(("id" = Uuid, Path)),
    security(("bearer" = [])),
    responses((status = 200, body = Ticket)),
)]
pub async fn one(
    state: web::Data<State>,
    auth: AuthUser,
    request: HttpRequest,
) -> Result<web::Json<Ticket>, Problem> {
    let id = TicketId(path_id(&request, "ticket")?);
    let view = tickets::one(&state.db, auth.user, id).await?;
    view.map(|view| web::Json(view.ticket)).ok_or_else(|| Problem::not_found("ticket"))
}

/// Gives back one's own unpaid reservation.
#[utoipa::path(
    delete, path = "/api/v1/tickets/{id}", tag = "tickets", operation_id = "give_back_ticket",
    params(("id" = Uuid, Path)),
    security(("bearer" = [])),
    responses((status = 204), (status = "default", description = "ticket_not_reserved")),
)]
pub async fn give_back(
    state: web::Data<State>,
    auth: AuthUser,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let id = TicketId(path_id(&request, "ticket")?);
    let view = tickets::one(&state.db, auth.user, id).await?.ok_or_else(|| Problem::not_found("ticket"))?;
    if view.ticket.status != TicketStatus::Reserved {
        return Err(SaleError::NotReserved.into());
    }
    state.draws.give_back(view.ticket.draw_id, auth.user, view.payment, id).await?;
    Ok(HttpResponse::NoContent().finish())
}
