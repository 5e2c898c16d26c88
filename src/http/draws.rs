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
use crate::domain::lottery::DrawStatus;
use crate::domain::money::{Currency, Money};

/// A draw.
#[derive(Serialize, ToSchema)]
#[schema(as = Draw, example = json!({
    "id": 7, "lottery": "5of36", "number": 7, "status": "open", "price": 5000, "currency": "RUB", "sales_open_at": null,
    "sales_close_at": "2030-05-01T20:00:00Z", "draw_at": "2030-05-01T20:05:00Z", "tickets_sold": 1,
    "tickets_available": 999, "prize_fund": 2500, "fairness": "none", "winning_numbers": null, "cancel_reason": null
}))]
pub struct DrawBody {
    id: DrawId,
    lottery: LotteryId,
    number: i32,
    status: DrawStatus,
    price: Money,
    currency: Currency,
    #[schema(required)]
    sales_open_at: Option<Timestamp>,
    sales_close_at: Timestamp,
    draw_at: Timestamp,
    tickets_sold: i64,
    tickets_available: i64,
    prize_fund: Money,
    fairness: &'static str,
    #[schema(required, value_type = Option<Vec<i32>>)]
    winning_numbers: Option<Pick>,
    #[schema(required)]
    cancel_reason: Option<String>,
}

/// A draw with its prize table. The prizes of a lottery are scaled to the price of the draw, and stay as they were
/// when the draw was created.
#[derive(Serialize, ToSchema)]
#[schema(as = DrawWithPrizes, example = json!({
    "id": 7, "lottery": "5of36", "number": 7, "status": "open", "price": 5000, "currency": "RUB", "sales_open_at": null,
    "sales_close_at": "2030-05-01T20:00:00Z", "draw_at": "2030-05-01T20:05:00Z", "tickets_sold": 1,
    "tickets_available": 999, "prize_fund": 2500, "fairness": "none", "winning_numbers": null, "cancel_reason": null,
    "prizes": [
        {"matches": 5, "kind": "shared", "share": 10000, "minimum": 50000000, "odds": 376992.0},
        {"matches": 2, "kind": "fixed", "amount": 5000, "minimum": null, "odds": 8.39}
    ]
}))]
pub struct DrawWithPrizes {
    #[serde(flatten)]
    draw: DrawBody,
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
        fairness: "none",
        winning_numbers: view.winning.map(|winning| winning.pick),
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
#[utoipa::path(
    get, path = "/api/v1/draws/{id}", tag = "draws", operation_id = "get_draw",
    params(("id" = i64, Path)),
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
#[utoipa::path(
    get, path = "/api/v1/draws", tag = "draws", operation_id = "list_draws",
    params(("lottery" = Option<Vec<String>>, Query), ("status" = Option<Vec<DrawStatus>>, Query), PageParams),
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

/// A pool ticket.
#[derive(Serialize, ToSchema)]
#[schema(as = PoolTicket, example = json!({"id": "01980000-0000-7000-8000-000000000003", "numbers": [2, 9, 17, 20, 31], "price": 5000}))]
pub struct PoolTicketBody {
    id: PoolTicketId,
    #[schema(value_type = Vec<i32>)]
    numbers: Pick,
    price: Money,
}

/// The pool tickets that are still for sale.
#[utoipa::path(
    get, path = "/api/v1/draws/{id}/pool", tag = "draws", operation_id = "list_pool",
    params(("id" = i64, Path), PageParams),
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
#[schema(as = Result, example = json!({
    "draw_id": 7, "winning_numbers": [1, 7, 13, 22, 35], "drawn_at": "2030-05-01T20:05:00Z", "tickets_sold": 1,
    "prize_fund": 2500, "tiers": [{"matches": 4, "winners": 1, "prize": 1000, "total": 1000}], "rollover": 1500
}))]
pub struct ResultBody {
    draw_id: DrawId,
    #[schema(value_type = Vec<i32>)]
    winning_numbers: Pick,
    drawn_at: Timestamp,
    tickets_sold: i64,
    prize_fund: Money,
    tiers: Vec<TierBody>,
    rollover: Money,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Tier)]
struct TierBody {
    matches: i16,
    winners: i64,
    prize: Money,
    total: Money,
}

/// The winning numbers and the prizes of a completed draw.
#[utoipa::path(
    get, path = "/api/v1/draws/{id}/results", tag = "draws", operation_id = "get_results",
    params(("id" = i64, Path)),
    responses((status = 200, body = ResultBody), (status = "default", description = "draw_not_completed")),
)]
pub async fn results(state: web::Data<State>, request: HttpRequest) -> Result<web::Json<ResultBody>, Problem> {
    let id = DrawId(path_id(&request, "draw")?);
    match draws::result(&state.db, id).await? {
        ResultState::NoSuchDraw => Err(Problem::not_found("draw")),
        ResultState::NotCompleted => {
            Err(Problem::new(Code::DrawNotCompleted, "the result is published when all prizes are paid"))
        }
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
