//! The calls of admins about the books. Does not check that the caller is an admin: the router's middleware does. No call
//! here shows one user's data, so none is recorded in the audit log.

use actix_web::{HttpRequest, web};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::Problem;
use super::query::{List, PageParams, Query};
use super::state::State;
use crate::db::read::finance::{self, AccountBalance, DrawFinance};
use crate::domain::lottery::DrawStatus;
use crate::domain::money::Currency;

/// What the books say.
#[derive(Serialize, ToSchema)]
#[schema(as = Finance, example = json!({
    "currency": "RUB", "at": "2030-05-01T12:00:00Z", "accounts": [
        {"kind": "wallet", "lottery": null, "balance": 970000}, {"kind": "held", "lottery": null, "balance": 0},
        {"kind": "escrow", "lottery": "5of36", "balance": 30000}, {"kind": "jackpot", "lottery": "5of36", "balance": 0},
        {"kind": "reserve", "lottery": null, "balance": 0}, {"kind": "revenue", "lottery": null, "balance": 0},
        {"kind": "clearing", "lottery": null, "balance": -1000000}
    ]
}))]
pub struct FinanceBody {
    /// The currency of all amounts.
    currency: Currency,
    /// When the books were read.
    at: Timestamp,
    /// The balances, in minor units. They sum to zero.
    accounts: Vec<AccountBalance>,
}

/// The balances of all accounts now.
///
/// Summed by kind; of escrows and jackpots, by lottery. As a file: `GET /admin/export/finance`.
#[utoipa::path(
    get, path = "/api/v1/admin/finance", tag = "admin", operation_id = "get_finance",
    security(("bearer" = [])),
    responses((status = 200, body = FinanceBody)),
)]
pub async fn accounts(state: web::Data<State>) -> Result<web::Json<FinanceBody>, Problem> {
    let (currency, at) = (state.currency, state.clock.now());
    Ok(web::Json(FinanceBody { currency, at, accounts: finance::accounts(&state.db).await? }))
}

/// The money of each draw, newest first.
///
/// As a file: `GET /admin/export/finance_draws`.
#[utoipa::path(
    get, path = "/api/v1/admin/finance/draws", tag = "admin", operation_id = "list_draw_finance",
    params(
        ("lottery" = Option<Vec<String>>, Query, description = "Only draws of these lotteries."),
        ("status" = Option<Vec<DrawStatus>>, Query, description = "Only draws with one of these statuses."),
        PageParams,
    ),
    security(("bearer" = [])),
    responses((status = 200, body = List<DrawFinance>)),
)]
pub async fn draws(
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<web::Json<List<DrawFinance>>, Problem> {
    let query = Query::of(&request, &["lottery", "status", "limit", "cursor"])?;
    let (lotteries, statuses) = query.draw_filters()?;
    let rows = finance::draws(&state.db, state.currency, &lotteries, &statuses, query.page()?).await?;
    Ok(web::Json(List::of(rows, |draw| draw)))
}
