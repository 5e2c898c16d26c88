//! The calls of players about tickets: ordering them, reading them, giving back a reservation.

use actix_web::http::header::{ContentType, VARY};
use actix_web::{HttpRequest, HttpResponse, web};

use super::auth_user::AuthUser;
use super::body::Body;
use super::error::{Code, Problem};
use super::idempotency::KeyHeader;
use super::orders::{OrderBody, OrderResponse, PaymentTime, ReceiptBody, salt_text};
use super::preferences::{self, PreferHeader};
use super::query::{List, PageParams, Query, path_id};
use super::replay::{first_answer_of_player, first_answer_or};
use super::state::State;
use crate::actors::messages::SaleError;
use crate::db::read::ticket_log;
use crate::db::read::tickets::{self, TicketView};
use crate::domain::id::{DrawId, TicketId};
use crate::domain::ticket::{Ticket, TicketStatus};

/// Orders tickets of a draw.
///
/// The order succeeds for all its lines or for none. `payment: wallet` pays at once from the wallet. `payment: later`, the
/// default, reserves the tickets: pay with `POST /payments/{id}/pay` before `reserved_until`, or they expire.
#[utoipa::path(
    post, path = "/api/v1/draws/{id}/tickets", tag = "tickets", operation_id = "order_tickets",
    params(("id" = i64, Path, description = "The draw's `id`, not its `number`."), KeyHeader, PreferHeader),
    request_body = OrderBody,
    security(("bearer" = [])),
    responses(
        (status = 201, body = OrderResponse),
        (status = "default", description = "admins_do_not_play insufficient_funds draw_not_open too_many_reservations ticket_unavailable pool_empty rate_limited"),
    ),
)]
pub async fn order(
    state: web::Data<State>,
    auth: AuthUser,
    request: HttpRequest,
    Body(body): Body<OrderBody>,
) -> Result<HttpResponse, Problem> {
    let draw = DrawId(path_id(&request, "draw")?);
    let lines = body.parse()?;
    state.limits.purchase(auth.user, lines.len(), state.clock.since_boot())?;
    let guard = state.keys.acquire(&request, auth.user, &body)?;
    if auth.may_not_play(&state) {
        return first_answer_of_player(&state, &guard).await;
    }
    let pay_now = body.payment == PaymentTime::Wallet;
    match state.draws.order(draw, auth.user, lines, pay_now, guard.key, guard.hold()).await {
        Ok(written) => {
            let (is_minimal, mut response) = (preferences::is_minimal(&request), HttpResponse::Created());
            if is_minimal {
                response.insert_header(preferences::APPLIED);
            }
            let answer = OrderResponse::new(written, !is_minimal, state.currency)?;
            Ok(response.content_type(ContentType::json()).body(answer.to_json()?))
        }
        Err(error) => first_answer_or(&state, &guard, error).await,
    }
}

/// The logged-in user's tickets, newest first.
///
/// `status=won` finds the tickets that won something.
#[utoipa::path(
    get, path = "/api/v1/tickets", tag = "tickets", operation_id = "list_tickets",
    params(
        ("draw_id" = Option<Vec<i64>>, Query, description = "Only tickets of these draws."),
        ("status" = Option<Vec<TicketStatus>>, Query, description = "Only tickets with one of these statuses."),
        PageParams,
    ),
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

/// One of the logged-in user's tickets.
///
/// A ticket of another user is not found.
#[utoipa::path(
    get, path = "/api/v1/tickets/{id}", tag = "tickets", operation_id = "get_ticket",
    params(("id" = Uuid, Path, description = "The ticket's id. The id of a pool ticket is another one.")),
    security(("bearer" = [])),
    responses((status = 200, body = Ticket)),
)]
pub async fn one(
    state: web::Data<State>,
    auth: AuthUser,
    request: HttpRequest,
) -> Result<web::Json<Ticket>, Problem> {
    Ok(web::Json(own_ticket(&state, &auth, &request).await?.ticket))
}

/// The ticket of the path, which must be the caller's.
async fn own_ticket(state: &State, auth: &AuthUser, request: &HttpRequest) -> Result<TicketView, Problem> {
    let id = TicketId(path_id(request, "ticket")?);
    tickets::one(&state.db, auth.user, id).await?.ok_or_else(|| Problem::not_found("ticket"))
}

/// Proves that the draw's ticket log has the order of a paid ticket.
///
/// The proof is for the newest checkpoint of the log; once the sale is over, for the sealed list. With `Accept: text/plain`
/// the answer is the bare proof.
#[utoipa::path(
    get, path = "/api/v1/tickets/{id}/proof", tag = "tickets", operation_id = "get_ticket_proof",
    params(("id" = Uuid, Path, description = "The ticket's id.")),
    security(("bearer" = [])),
    responses(
        (status = 200, content((ReceiptBody = "application/json"), (String = "text/plain"))),
        (status = "default", description = "ticket_not_paid draw_not_verifiable"),
    ),
)]
pub async fn proof(
    state: web::Data<State>,
    auth: AuthUser,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let view = own_ticket(&state, &auth, &request).await?;
    let number = view.ticket.number.ok_or(Code::TicketNotPaid)?;
    let log = ticket_log::read(&state.db, state.persistence.ticket_logs(), view.ticket.draw_id).await?;
    let log = log.ok_or(Code::DrawNotVerifiable)?;
    let (proof, salt) = log.proof(&state.db, view.payment, number).await?;
    let mut response = HttpResponse::Ok();
    response.insert_header((VARY, "Accept"));
    Ok(if preferences::is_plain_text(&request) {
        response.content_type(ContentType::plaintext()).body(proof)
    } else {
        response.json(ReceiptBody { proof, salt: salt_text(&salt) })
    })
}

/// Gives back a reserved ticket of the logged-in user.
///
/// The amount of its payment becomes lower. With the last ticket the payment expires.
#[utoipa::path(
    delete, path = "/api/v1/tickets/{id}", tag = "tickets", operation_id = "give_back_ticket",
    params(("id" = Uuid, Path, description = "The ticket's id.")),
    security(("bearer" = [])),
    responses((status = 204), (status = "default", description = "ticket_not_reserved")),
)]
pub async fn give_back(
    state: web::Data<State>,
    auth: AuthUser,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let view = own_ticket(&state, &auth, &request).await?;
    if view.ticket.status != TicketStatus::Reserved {
        return Err(SaleError::NotReserved.into());
    }
    state.draws.give_back(view.ticket.draw_id, auth.user, view.payment, view.ticket.id).await?;
    Ok(HttpResponse::NoContent().finish())
}
