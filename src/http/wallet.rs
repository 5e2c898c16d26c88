//! The wallet: its balance, its transfers, deposits into it and withdrawals out of it.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::body::Body;
use super::caller::Caller;
use super::error::Problem;
use super::idempotency;
use super::payments::{card, seen_through};
use super::query::{List, Query};
use super::state::State;
use super::tickets::refused;
use crate::actors::draws::written;
use crate::db::read::wallet::{self, WalletTransfer};
use crate::domain::id::PaymentId;
use crate::domain::money::{Currency, Money};
use crate::domain::record::{BeginWithdrawal, Record};

/// The largest deposit or withdrawal, in minor units.
const MAX_AMOUNT: i64 = 1_000_000_000_000;

#[derive(Serialize)]
pub struct WalletBody {
    balance: Money,
    currency: Currency,
}

pub async fn balance(state: web::Data<State>, caller: Caller) -> Result<web::Json<WalletBody>, Problem> {
    let balance = wallet::balance(&state.db, caller.user).await?;
    Ok(web::Json(WalletBody { balance, currency: state.currency }))
}

pub async fn transfers(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<web::Json<List<WalletTransfer>>, Problem> {
    let page = Query::of(&request, &["limit", "cursor"])?.page()?;
    let rows = wallet::transfers(&state.db, caller.user, page).await?;
    Ok(web::Json(List::of(rows, |transfer| transfer)))
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DepositBody {
    amount: i64,
    token: String,
}

pub async fn deposit(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
    Body(body): Body<DepositBody>,
) -> Result<HttpResponse, Problem> {
    let amount = parse(body.amount)?;
    let card = card(&state, &body.token)?;
    let working = idempotency::take_up(&state, &request, caller.user, &body)?;
    let (cashier, key) = (state.cashier.clone(), working.key);
    let deposit = async move { cashier.deposit(caller.user, amount, card, key).await };
    match seen_through(&state, &working, deposit).await {
        Ok(payment) => Ok(HttpResponse::Created().json(payment)),
        Err(error) => refused(&state, &working, error).await,
    }
}

fn parse(amount: i64) -> Result<Money, Problem> {
    if (1..=MAX_AMOUNT).contains(&amount) {
        Ok(Money::new(amount))
    } else {
        Err(Problem::field("amount", format!("must be 1 to {MAX_AMOUNT} minor units")))
    }
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WithdrawalBody {
    amount: i64,
}

pub async fn withdraw(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
    Body(body): Body<WithdrawalBody>,
) -> Result<HttpResponse, Problem> {
    let amount = parse(body.amount)?;
    let working = idempotency::take_up(&state, &request, caller.user, &body)?;
    let at = state.clock.now();
    let (user, payment, key) = (caller.user, PaymentId(state.clock.ids().next(at)), working.key);
    let begin = Record::BeginWithdrawal(BeginWithdrawal { user, payment, amount, at, key });
    let (persistence, deadline) = (state.persistence.clone(), Some(state.persistence.deadline()));
    let withdrawal = async move { written(persistence.write(begin, deadline).await) };
    match seen_through(&state, &working, withdrawal).await {
        Ok(payment) => Ok(HttpResponse::Created().json(payment)),
        Err(error) => refused(&state, &working, error).await,
    }
}
