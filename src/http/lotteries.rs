//! The public calls about the configured lotteries.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::Problem;
use super::query::{List, PageParams, Query, path_id};
use super::state::State;
use crate::domain::id::LotteryId;
use crate::domain::lottery::{Lottery, Rules};
use crate::domain::money::{Currency, Money, Share};
use crate::domain::prize::{Award, Tier};

/// A lottery: how many numbers of how many are drawn, and what they win.
#[derive(Serialize, ToSchema)]
#[schema(as = Lottery, example = json!({
    "id": "5of36", "name": "5 of 36", "pick": 5, "of": 36, "combinations": 376992, "price": 10000, "currency": "RUB",
    "fund_share": 5000, "prizes": [
        {"matches": 5, "kind": "shared", "share": 10000, "minimum": 100000000, "odds": 376992.0},
        {"matches": 4, "kind": "fixed", "amount": 1000000, "minimum": null, "odds": 2432.21},
        {"matches": 3, "kind": "fixed", "amount": 100000, "minimum": null, "odds": 81.07},
        {"matches": 2, "kind": "fixed", "amount": 10000, "minimum": null, "odds": 8.39}
    ]
}))]
pub struct LotteryBody {
    /// The id of the lottery, as in addresses and draws.
    id: LotteryId,
    /// The name of the lottery, for people.
    name: String,
    /// How many numbers are on a ticket, and how many are drawn.
    pick: u8,
    /// The highest number. The lowest is 1.
    of: u8,
    /// How many different tickets there are.
    combinations: u64,
    /// The price of one ticket, in minor units. A draw may have a price of its own.
    price: Money,
    /// The currency of all amounts.
    currency: Currency,
    /// The part of the sales that goes into the prize fund, in basis points (5000 is one half).
    fund_share: Share,
    /// What each number of matches wins, the most matches first.
    prizes: Vec<PrizeBody>,
}

/// What a number of matches wins.
#[derive(Serialize, ToSchema)]
#[schema(as = Prize)]
pub struct PrizeBody {
    /// How many of the drawn numbers are on the ticket.
    matches: u8,
    /// Whether the prize is an amount, or a part of the fund.
    kind: PrizeKind,
    /// A fixed prize: what each winner gets, in minor units. A shared prize does not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<Money>,
    /// A shared prize: this part of what the guaranteed prizes leave of the fund is divided among the winners, in basis
    /// points. A fixed prize does not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<Share>,
    /// A shared prize: what each winner gets at least, in minor units. Null: nothing is guaranteed.
    #[schema(required)]
    minimum: Option<Money>,
    /// One ticket in so many has this number of matches.
    odds: f64,
}

/// `fixed`: the prize is an amount. `shared`: the winners divide a part of the prize fund.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum PrizeKind {
    Fixed,
    Shared,
}

/// The prize table of a lottery or of a draw, the most matches first.
pub fn prizes(rules: &Rules) -> Vec<PrizeBody> {
    let prize = |tier: &Tier| {
        let (kind, amount, share, minimum) = match tier.award {
            Award::Fixed(amount) => (PrizeKind::Fixed, Some(amount), None, None),
            Award::Shared { share, minimum } => (PrizeKind::Shared, None, Some(share), minimum),
        };
        PrizeBody { matches: tier.matches, kind, amount, share, minimum, odds: rules.game.odds(tier.matches) }
    };
    rules.prizes.tiers().iter().map(prize).collect()
}

fn body(lottery: &Lottery, currency: Currency) -> LotteryBody {
    let rules = &lottery.rules;
    LotteryBody {
        id: rules.lottery.clone(),
        name: lottery.name.clone(),
        pick: rules.game.pick_size(),
        of: rules.game.of(),
        combinations: rules.game.combinations(),
        price: rules.price,
        currency,
        fund_share: rules.fund_share,
        prizes: prizes(rules),
    }
}

/// The version for the response cache is constant: the configuration does not change while the service runs.
const VERSION: u64 = 0;

/// All lotteries.
///
/// They are set in the configuration and do not change while the service runs.
#[utoipa::path(
    get, path = "/api/v1/lotteries", tag = "lotteries", operation_id = "list_lotteries",
    params(PageParams),
    responses((status = 200, body = List<LotteryBody>)),
)]
pub async fn list(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    if let Some(known) = state.response_cache.get(&request, VERSION) {
        return Ok(known);
    }
    let page = Query::of(&request, &["limit", "cursor"])?.page::<usize>()?;
    let from = page.after.unwrap_or(0).min(state.lotteries.len());
    let to = state.lotteries.len().min(from + usize::try_from(page.limit).unwrap_or(0));
    let items = state.lotteries[from..to].iter().map(|lottery| body(lottery, state.currency)).collect();
    let next = (to < state.lotteries.len()).then_some(to);
    let list = List::of(crate::db::read::PageRows { items, next }, |lottery| lottery);
    state.response_cache.answer(&request, VERSION, &list)
}

/// One lottery.
///
/// Its prizes belong to its own price; the prizes of a draw with another price are in proportion.
#[utoipa::path(
    get, path = "/api/v1/lotteries/{id}", tag = "lotteries", operation_id = "get_lottery",
    params(("id" = String, Path, example = "5of36", description = "The lottery's id.")),
    responses((status = 200, body = LotteryBody)),
)]
pub async fn one(state: web::Data<State>, request: HttpRequest) -> Result<web::Json<LotteryBody>, Problem> {
    let id: String = path_id(&request, "lottery")?;
    let lottery = state.lotteries.iter().find(|lottery| lottery.rules.lottery.0 == id);
    lottery.map(|lottery| web::Json(body(lottery, state.currency))).ok_or_else(|| Problem::not_found("lottery"))
}
