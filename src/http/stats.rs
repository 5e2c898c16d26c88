//! What the dashboard of admins shows: sales, the writer, the service's health, and the money. It is read from memory, but
//! for the few accounts that are no player's, so that dashboards cost sales nothing.

use std::time::Duration;

use actix_web::web;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::Problem;
use super::state::State;
use crate::actors::sales_history::{INTERVAL, SalesRates};
use crate::db::read::finance::{self, AccountKind};
use crate::db::read::health;
use crate::domain::draw::DrawSnapshot;
use crate::domain::id::{DrawId, LotteryId};
use crate::domain::lottery::DrawStatus;
use crate::domain::money::{Currency, Money};

/// The most draws that are listed.
const MAX_DRAWS: usize = 200;
/// How long the figures wait for the database.
const DATABASE_WAIT: Duration = Duration::from_millis(500);

/// What the service does now.
#[derive(Serialize, ToSchema)]
#[schema(as = Stats, example = json!({
    "at": "2030-05-01T12:00:00Z", "currency": "RUB",
    "health": {"ready": true, "database": true, "writer": true, "clock_paused": false, "draining": false},
    "tickets_sold": 1200, "sales_per_second": 12.5,
    "draws": [{
        "draw_id": 1, "lottery": "5of36", "number": 1, "status": "open", "sales_close_at": "2030-05-01T18:00:00Z",
        "draw_at": "2030-05-01T18:05:00Z", "price": 10000, "tickets_sold": 1200, "tickets_available": 300,
        "sales_per_second": 12.5
    }],
    "sales": {"interval_seconds": 2, "tickets": [20, 25, 30]},
    "commit_latency": {"p50": 2.1, "p99": 8.4, "batches": 512}, "queue": 3, "orders_in_flight": 5,
    "charges_waiting": 0, "draws_stopped": 0,
    "accounts": {
        "players": 970000, "escrow": 30000, "jackpot": 0, "reserve": 0, "revenue": 0, "clearing": -1000000
    }
}))]
pub struct StatsBody {
    /// When the figures were read.
    at: Timestamp,
    /// The currency of all amounts, which are in minor units.
    currency: Currency,
    /// Whether the parts of the service work.
    health: ServiceHealth,
    /// Paid tickets of the active draws.
    tickets_sold: i64,
    /// Tickets sold a second, over the last ten seconds.
    sales_per_second: f64,
    /// The active draws, newest first, at most 200.
    draws: Vec<ActiveDrawSales>,
    /// The sales of the last five minutes.
    sales: RecentSales,
    /// How long the last batches of the writer took.
    commit_latency: LatencyBody,
    /// Records and steps that wait for the writer.
    queue: u64,
    /// Orders and payments in flight.
    orders_in_flight: usize,
    /// Charges of cards that wait for an admin.
    charges_waiting: i64,
    /// Draws that pay nothing, because their tickets are not those that were sealed.
    draws_stopped: usize,
    /// The money. Null: the database did not answer at once.
    #[schema(required)]
    accounts: Option<AccountSums>,
}

/// Whether the parts of the service work.
#[derive(Serialize, ToSchema)]
struct ServiceHealth {
    /// It can serve requests.
    ready: bool,
    /// The database answers reads.
    database: bool,
    /// The database answers the writer.
    writer: bool,
    /// The machine's clock was set, and draws do nothing by it.
    clock_paused: bool,
    /// The service stops, or gives its place to another node.
    draining: bool,
}

/// The sales of an active draw.
#[derive(Serialize, ToSchema)]
struct ActiveDrawSales {
    /// The draw.
    draw_id: DrawId,
    /// The lottery of the draw.
    lottery: LotteryId,
    /// The number of the draw within its lottery.
    number: i32,
    /// Where the draw is in its life.
    status: DrawStatus,
    /// When its sales close.
    sales_close_at: Timestamp,
    /// When its numbers are drawn.
    draw_at: Timestamp,
    /// The price of a ticket, in minor units.
    price: Money,
    /// Paid tickets.
    tickets_sold: i64,
    /// Tickets of its pool that are still for sale.
    tickets_available: i64,
    /// Tickets sold a second, over the last ten seconds.
    sales_per_second: f64,
}

/// The sales of the last five minutes.
#[derive(Serialize, ToSchema)]
struct RecentSales {
    /// How long each interval is, in seconds.
    interval_seconds: u64,
    /// Tickets sold in each interval, the oldest first.
    tickets: Vec<i64>,
}

/// How long the last batches of the writer took.
#[derive(Serialize, ToSchema)]
struct LatencyBody {
    /// Half of them took no longer, in milliseconds. Null: there was none yet.
    #[schema(required)]
    p50: Option<f64>,
    /// 99 of 100 took no longer, in milliseconds. Null: there was none yet.
    #[schema(required)]
    p99: Option<f64>,
    /// How many they are, at most 512.
    batches: usize,
}

/// Balances, in minor units. They sum to zero.
#[derive(Serialize, ToSchema)]
struct AccountSums {
    /// What players have: their wallets, and the withdrawals that wait for an admin.
    players: Money,
    /// What the draws that are not over have taken.
    escrow: Money,
    /// What draws have left for the next ones.
    jackpot: Money,
    /// What the operator has set aside for guaranteed prizes.
    reserve: Money,
    /// What the operator has earned.
    revenue: Money,
    /// What is at the payment provider, as a negative amount.
    clearing: Money,
}

/// What the dashboard shows now.
///
/// Read from memory: it can be called every two seconds. Exact balances by lottery are in `GET /admin/finance`.
#[utoipa::path(
    get, path = "/api/v1/admin/stats", tag = "admin", operation_id = "get_stats",
    security(("bearer" = [])),
    responses((status = 200, body = StatsBody)),
)]
pub async fn stats(state: web::Data<State>) -> Result<web::Json<StatsBody>, Problem> {
    let (database, accounts) = tokio::join!(answers(&state), accounts(&state));
    let draining = state.lease.is_draining();
    let writer = state.persistence.is_ready();
    let health = ServiceHealth {
        ready: state.lease.is_held() && !draining && database && writer,
        database,
        writer,
        clock_paused: !state.clock.report().trusted,
        draining,
    };
    let (active, rates) = (state.snapshots.active(), state.sales_history.rates());
    let latency = state.metrics.commit_latency();
    let measured = |millis: f64| (latency.batches > 0).then_some(millis);
    Ok(web::Json(StatsBody {
        at: state.clock.now(),
        currency: state.currency,
        health,
        tickets_sold: active.iter().map(|draw| draw.sold).sum(),
        sales_per_second: rates.total,
        draws: active.iter().take(MAX_DRAWS).map(|draw| draw_sales(draw, &rates)).collect(),
        sales: RecentSales { interval_seconds: INTERVAL.as_secs(), tickets: rates.intervals },
        commit_latency: LatencyBody {
            p50: measured(latency.p50),
            p99: measured(latency.p99),
            batches: latency.batches,
        },
        queue: state.metrics.queue(),
        orders_in_flight: state.draws.orders_in_flight(),
        charges_waiting: state.charges.waiting(),
        draws_stopped: state.snapshots.payouts_stopped(),
        accounts,
    }))
}

fn draw_sales(draw: &DrawSnapshot, rates: &SalesRates) -> ActiveDrawSales {
    ActiveDrawSales {
        draw_id: draw.id,
        lottery: draw.rules.lottery.clone(),
        number: draw.number,
        status: draw.status,
        sales_close_at: draw.times.sales_close_at,
        draw_at: draw.times.draw_at,
        price: draw.rules.price,
        tickets_sold: draw.sold,
        tickets_available: draw.available,
        sales_per_second: rates.draws.get(&draw.id).copied().unwrap_or_default(),
    }
}

async fn answers(state: &State) -> bool {
    let answer = tokio::time::timeout(DATABASE_WAIT, health::answers(&state.db)).await;
    answer.is_ok_and(|answer| answer.is_ok())
}

/// The sums of the accounts. All accounts sum to zero, so the players' follow from the others and need not be read.
async fn accounts(state: &State) -> Option<AccountSums> {
    let house = tokio::time::timeout(DATABASE_WAIT, finance::house(&state.db)).await.ok()?.ok()?;
    let sum = |kind| house.iter().find(|(of, _)| *of == kind).map(|(_, balance)| *balance);
    let all = house.iter().map(|(_, balance)| balance.minor()).sum::<i64>();
    Some(AccountSums {
        players: Money::new(-all),
        escrow: sum(AccountKind::Escrow)?,
        jackpot: sum(AccountKind::Jackpot)?,
        reserve: sum(AccountKind::Reserve)?,
        revenue: sum(AccountKind::Revenue)?,
        clearing: sum(AccountKind::Clearing)?,
    })
}
