//! The public calls about draws, their pools and results. Active draws and the newest ended ones are read from the
//! snapshots that their actors publish, older ones from the database.

use actix_web::{HttpRequest, HttpResponse, web};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::error::{Code, Problem};
use super::lotteries::{PrizeBody, prizes};
use super::query::{List, PageParams, Query, path_id};
use super::state::State;
use crate::db::read::PageRows;
use crate::db::read::draws::{self, PoolTicket, ResultState};
use crate::domain::draw::DrawSnapshot;
use crate::domain::game::Pick;
use crate::domain::id::{DrawId, LotteryId, PoolTicketId};
use crate::domain::lottery::{DrawStatus, Fairness};
use crate::domain::money::{Currency, Money};

/// A draw: one date of a lottery, with its tickets, its numbers and its prizes.
#[derive(Serialize, ToSchema)]
#[schema(as = Draw, example = json!({
    "id": 7, "lottery": "5of36", "number": 7, "status": "open", "price": 10000, "currency": "RUB", "sales_open_at": null,
    "sales_close_at": "2030-05-01T20:00:00Z", "draw_at": "2030-05-01T20:05:00Z", "tickets_sold": 1,
    "tickets_available": 999, "prize_fund": 5000, "fairness": "commit_reveal", "winning_numbers": null, "drawn_at": null,
    "cancel_reason": null
}))]
pub struct DrawBody {
    /// The id of the draw, as in addresses. It is unique among the draws of all lotteries.
    id: DrawId,
    /// The lottery that is drawn.
    lottery: LotteryId,
    /// The number of the draw within its lottery, for people (draw no. 123). Calls take the `id`.
    number: i32,
    /// Where the draw is in its life. Tickets are sold while it is `open`.
    status: DrawStatus,
    /// The price of one ticket, in minor units.
    price: Money,
    /// The currency of all amounts.
    currency: Currency,
    /// When the sale begins by itself. Null: an admin opens it by hand.
    #[schema(required)]
    sales_open_at: Option<Timestamp>,
    /// The cut-off: later orders are refused.
    sales_close_at: Timestamp,
    /// When the numbers are drawn by themselves: with a beacon, by the first round at this time or after it. Without one, an admin
    /// may draw them earlier.
    draw_at: Timestamp,
    /// How many tickets are paid.
    tickets_sold: i64,
    /// How many pool tickets are left. Tickets with chosen numbers and quick picks have no limit.
    tickets_available: i64,
    /// What the winners get together, in minor units, with the jackpot that rolled over. While tickets are on sale: as if the
    /// draw took place now.
    prize_fund: Money,
    /// How the numbers come about, so that anybody can verify them: `GET /draws/{id}/proof`. Null: the draw is not opened yet,
    /// or was opened before draws could be verified.
    #[schema(required)]
    fairness: Option<Fairness>,
    /// The drawn numbers in ascending order. Null until the status is `settling`.
    #[schema(required, value_type = Option<Vec<i32>>)]
    winning_numbers: Option<Pick>,
    /// When the numbers were drawn: before `draw_at` if an admin drew them early. Null while there are no `winning_numbers`.
    #[schema(required)]
    drawn_at: Option<Timestamp>,
    /// Why the draw was cancelled. Null if it was not. A draw with a beacon whose sale had to end has one of these reasons:
    /// `no_round` (the beacon's round did not appear for a day), `no_quorum`, `list_mismatch`, `log_rolled_back`.
    #[schema(required)]
    cancel_reason: Option<String>,
}

/// A draw with its prize table. The prizes of a lottery are scaled to the price of the draw, and stay as they were
/// when the draw was created.
#[derive(Serialize, ToSchema)]
#[schema(as = DrawWithPrizes, example = json!({
    "id": 7, "lottery": "5of36", "number": 7, "status": "open", "price": 10000, "currency": "RUB", "sales_open_at": null,
    "sales_close_at": "2030-05-01T20:00:00Z", "draw_at": "2030-05-01T20:05:00Z", "tickets_sold": 1,
    "tickets_available": 999, "prize_fund": 5000, "fairness": "commit_reveal", "winning_numbers": null, "drawn_at": null,
    "cancel_reason": null,
    "prizes": [
        {"matches": 5, "kind": "shared", "share": 10000, "minimum": 100000000, "odds": 376992.0},
        {"matches": 4, "kind": "fixed", "amount": 1000000, "minimum": null, "odds": 2432.21},
        {"matches": 3, "kind": "fixed", "amount": 100000, "minimum": null, "odds": 81.07},
        {"matches": 2, "kind": "fixed", "amount": 10000, "minimum": null, "odds": 8.39}
    ]
}))]
pub struct DrawWithPrizes {
    #[serde(flatten)]
    draw: DrawBody,
    /// What each number of matches wins, the most matches first.
    prizes: Vec<PrizeBody>,
}

impl DrawWithPrizes {
    /// The numbers are drawn, or the draw is cancelled, and payments or refunds still run.
    pub fn is_under_way(&self) -> bool {
        matches!(self.draw.status, DrawStatus::Settling | DrawStatus::Cancelling)
    }
}

fn body(state: &State, view: &DrawSnapshot) -> DrawBody {
    DrawBody {
        id: view.id,
        lottery: view.rules.lottery.clone(),
        number: view.number,
        status: view.status,
        price: view.rules.price,
        currency: state.currency,
        sales_open_at: view.times.sales_open_at,
        sales_close_at: view.times.sales_close_at,
        draw_at: view.times.draw_at,
        tickets_sold: view.sold,
        tickets_available: view.available,
        prize_fund: view.prize_fund(state.snapshots.jackpot(&view.rules.lottery)),
        fairness: view.fairness,
        winning_numbers: view.winning.map(|winning| winning.pick),
        drawn_at: view.winning.map(|winning| winning.drawn_at),
        cancel_reason: view.cancel_reason.clone(),
    }
}

fn with_prizes(state: &State, view: &DrawSnapshot) -> DrawWithPrizes {
    DrawWithPrizes { draw: body(state, view), prizes: prizes(&view.rules) }
}

/// The current state of a draw.
pub async fn current(state: &State, id: DrawId) -> Result<DrawWithPrizes, Problem> {
    if let Some(view) = state.snapshots.draw(id) {
        return Ok(with_prizes(state, &view));
    }
    let view = draws::one(&state.db, id).await?.ok_or_else(|| Problem::not_found("draw"))?;
    Ok(with_prizes(state, &view))
}

/// One draw.
///
/// With its prize table, which the list of draws does not have.
#[utoipa::path(
    get, path = "/api/v1/draws/{id}", tag = "draws", operation_id = "get_draw",
    params(("id" = i64, Path, description = "The draw's `id`, not its `number`.")),
    responses((status = 200, body = DrawWithPrizes)),
)]
pub async fn one(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let version = state.snapshots.version();
    if let Some(known) = state.response_cache.get(&request, version) {
        return Ok(known);
    }
    let id = DrawId(path_id(&request, "draw")?);
    match state.snapshots.draw(id) {
        Some(view) => state.response_cache.answer(&request, version, &with_prizes(&state, &view)),
        None => Ok(HttpResponse::Ok().json(current(&state, id).await?)),
    }
}

/// Every draw, newest first.
///
/// Draws that are over stay in the list. `status=open` finds those whose tickets are on sale: any number at once.
#[utoipa::path(
    get, path = "/api/v1/draws", tag = "draws", operation_id = "list_draws",
    params(
        ("lottery" = Option<Vec<String>>, Query, description = "Only draws of these lotteries."),
        ("status" = Option<Vec<DrawStatus>>, Query, description = "Only draws with one of these statuses."),
        PageParams,
    ),
    responses((status = 200, body = List<DrawBody>)),
)]
pub async fn list(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let version = state.snapshots.version();
    if let Some(known) = state.response_cache.get(&request, version) {
        return Ok(known);
    }
    let query = Query::of(&request, &["lottery", "status", "limit", "cursor"])?;
    let (lotteries, statuses) = query.draw_filters()?;
    let page = query.page::<i64>()?;
    // One row more than the page holds: it tells whether there is a next page.
    let most = usize::try_from(page.limit + 1).unwrap_or(0);
    if let Some(views) = state.snapshots.newest(&lotteries, &statuses, page.after.map(DrawId), most) {
        let rows = PageRows::cut(views, page.limit, |view| view.id.0);
        let list = List::of(rows, |view| body(&state, &view));
        return state.response_cache.answer(&request, version, &list);
    }
    let rows = draws::list(&state.db, &lotteries, &statuses, page).await?;
    let list = List::of(rows, |view| match state.snapshots.draw(view.id) {
        Some(live) => body(&state, &live),
        None => body(&state, &view),
    });
    Ok(HttpResponse::Ok().json(list))
}

/// A pool ticket: made in advance, and still for sale.
#[derive(Serialize, ToSchema)]
#[schema(as = PoolTicket, example = json!({"id": "01980000-0000-7000-8000-000000000003", "numbers": [2, 9, 17, 20, 31], "price": 10000}))]
pub struct PoolTicketBody {
    /// The `pool_ticket_id` for an order of this very ticket.
    id: PoolTicketId,
    /// The numbers on the ticket, in ascending order. No two pool tickets of a draw have the same.
    #[schema(value_type = Vec<i32>)]
    numbers: Pick,
    /// The price of the ticket, in minor units.
    price: Money,
}

/// The pool tickets that are still for sale.
///
/// A ticket that is reserved is not in the list; if its reservation expires, it comes back.
#[utoipa::path(
    get, path = "/api/v1/draws/{id}/pool", tag = "draws", operation_id = "list_pool_tickets",
    params(("id" = i64, Path, description = "The draw's `id`, not its `number`."), PageParams),
    responses((status = 200, body = List<PoolTicketBody>)),
)]
pub async fn pool(
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<web::Json<List<PoolTicketBody>>, Problem> {
    let id = DrawId(path_id(&request, "draw")?);
    let page = Query::of(&request, &["limit", "cursor"])?.page::<Uuid>()?;
    let rows = draws::pool_page(&state.db, id, page).await?.ok_or_else(|| Problem::not_found("draw"))?;
    let words = |ticket: PoolTicket| PoolTicketBody { id: ticket.id, numbers: ticket.pick, price: ticket.price };
    Ok(web::Json(List::of(rows, words)))
}

/// The result of a draw.
#[derive(Serialize, ToSchema)]
#[schema(as = DrawResult, example = json!({
    "draw_id": 7, "winning_numbers": [1, 7, 13, 22, 35], "drawn_at": "2030-05-01T20:05:00Z", "tickets_sold": 400,
    "prize_fund": 2000000, "tiers": [
        {"matches": 5, "winners": 0, "prize": 0, "total": 0},
        {"matches": 4, "winners": 1, "prize": 1000000, "total": 1000000},
        {"matches": 3, "winners": 5, "prize": 100000, "total": 500000},
        {"matches": 2, "winners": 47, "prize": 10000, "total": 470000}
    ], "rollover": 30000
}))]
pub struct ResultBody {
    /// The draw.
    draw_id: DrawId,
    /// The drawn numbers, in ascending order.
    #[schema(value_type = Vec<i32>)]
    winning_numbers: Pick,
    /// When they were drawn.
    drawn_at: Timestamp,
    /// How many paid tickets took part.
    tickets_sold: i64,
    /// What was there for the winners, in minor units, with the jackpot that had rolled over.
    prize_fund: Money,
    /// Every number of matches that wins something, the most matches first, with winners or without.
    tiers: Vec<TierBody>,
    /// What nobody won, in minor units. It goes into the prize fund of the lottery's next draw.
    rollover: Money,
}

/// The winners with one number of matches.
#[derive(Serialize, ToSchema)]
#[schema(as = ResultTier)]
struct TierBody {
    /// How many of the drawn numbers are on the ticket.
    matches: i16,
    /// How many tickets have so many matches.
    winners: i64,
    /// What one of them gets, in minor units. 0 for a shared prize without winners.
    prize: Money,
    /// What they get together: `winners` times `prize`.
    total: Money,
}

/// The winning numbers and the prizes of a completed draw.
///
/// There is no result until every prize is in its winner's wallet. It never changes.
#[utoipa::path(
    get, path = "/api/v1/draws/{id}/results", tag = "draws", operation_id = "get_result",
    params(("id" = i64, Path, description = "The draw's `id`, not its `number`.")),
    responses((status = 200, body = ResultBody), (status = "default", description = "draw_not_completed")),
)]
pub async fn results(state: web::Data<State>, request: HttpRequest) -> Result<web::Json<ResultBody>, Problem> {
    let id = DrawId(path_id(&request, "draw")?);
    match draws::result(&state.db, id).await? {
        ResultState::NoSuchDraw => Err(Problem::not_found("draw")),
        ResultState::NotCompleted => Err(Code::DrawNotCompleted.into()),
        ResultState::Completed(result) => Ok(web::Json(ResultBody {
            draw_id: result.draw,
            winning_numbers: result.winning,
            drawn_at: result.drawn_at,
            tickets_sold: result.sold,
            prize_fund: result.prize_fund,
            tiers: result.tiers.iter().map(tier).collect(),
            rollover: result.rollover,
        })),
    }
}

fn tier(&(matches, winners, prize): &(i16, i64, Money)) -> TierBody {
    // The settlement added this up before it paid it out.
    let total = prize.checked_mul(winners.unsigned_abs()).unwrap_or(Money::MAX);
    TierBody { matches, winners, prize, total }
}
