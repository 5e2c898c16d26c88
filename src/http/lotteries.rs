//! The configured lotteries.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::error::Problem;
use super::query::{List, Query, path_id};
use super::state::State;
use crate::domain::id::LotteryId;
use crate::domain::lottery::Lottery;
use crate::domain::money::{Currency, Money, Share};
use crate::domain::prize::Award;

/// A lottery as the contract gives it.
#[derive(Serialize)]
pub struct LotteryBody {
    id: LotteryId,
    name: String,
    pick: u8,
    of: u8,
    combinations: u64,
    price: Money,
    currency: Currency,
    fund_share: Share,
    prizes: Vec<PrizeBody>,
}

#[derive(Serialize)]
struct PrizeBody {
    matches: u8,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<Money>,
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<Share>,
    /// The N of "1 in N": a probability, no money.
    odds: f64,
}

fn body(lottery: &Lottery, currency: Currency) -> LotteryBody {
    let rules = &lottery.rules;
    let prize = |tier: &crate::domain::prize::Tier| {
        let (kind, amount, share) = match tier.award {
            Award::Fixed(amount) => ("fixed", Some(amount), None),
            Award::Pool(share) => ("pool", None, Some(share)),
        };
        PrizeBody { matches: tier.matches, kind, amount, share, odds: rules.game.odds(tier.matches) }
    };
    LotteryBody {
        id: rules.lottery.clone(),
        name: lottery.name.clone(),
        pick: rules.game.pick_size(),
        of: rules.game.of(),
        combinations: rules.game.combinations(),
        price: rules.price,
        currency,
        fund_share: rules.fund_share,
        prizes: rules.prizes.tiers().iter().map(prize).collect(),
    }
}

/// The configuration does not change while the service runs.
const VERSION: u64 = 0;

pub async fn list(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    if let Some(known) = state.rendered.get(&request, VERSION) {
        return Ok(known);
    }
    let page = Query::of(&request, &["limit", "cursor"])?.page::<usize>()?;
    let from = page.after.unwrap_or(0).min(state.lotteries.len());
    let to = state.lotteries.len().min(from + usize::try_from(page.limit).unwrap_or(0));
    let items = state.lotteries[from..to].iter().map(|lottery| body(lottery, state.currency)).collect();
    let next = (to < state.lotteries.len()).then_some(to);
    let list = List::of(crate::db::read::Rows { items, next }, |lottery| lottery);
    state.rendered.answer(&request, VERSION, &list)
}

pub async fn one(state: web::Data<State>, request: HttpRequest) -> Result<web::Json<LotteryBody>, Problem> {
    let id: String = path_id(&request, "lottery")?;
    let lottery = state.lotteries.iter().find(|lottery| lottery.rules.lottery.0 == id);
    lottery.map(|lottery| web::Json(body(lottery, state.currency))).ok_or_else(|| Problem::not_found("lottery"))
}
