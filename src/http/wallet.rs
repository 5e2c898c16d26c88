//! The wallet: its balance, its transfers, and deposits into it.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::body::Body;
use super::caller::Caller;
use super::error::Problem;
use super::idempotency;
use super::payments::{card, charged};
use super::query::{List, Query};
use super::state::State;
use super::tickets::refused;
use crate::actors::draws::SaleError;
use crate::db::read::wallet::{self, WalletTransfer};
use crate::domain::id::{PaymentId, UserId};
use crate::domain::money::{Currency, Money};
use crate::domain::payment::Payment;
use crate::domain::record::{Accepted, BeginDeposit, EndDeposit, Key, Record, Refused};
use crate::payment::{CardToken, ChargeOrder};

/// The largest deposit, in minor units.
const MAX_DEPOSIT: i64 = 1_000_000_000_000;

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
    if !(1..=MAX_DEPOSIT).contains(&body.amount) {
        return Err(Problem::field("amount", format!("must be 1 to {MAX_DEPOSIT} minor units")));
    }
    let card = card(&state, &body.token)?;
    let working = idempotency::take_up(&state, &request, caller.user, &body)?;
    let deposit = charge(state.clone(), caller.user, Money::new(body.amount), card, working.key);
    match charged(&state, &working, deposit).await {
        Ok(payment) => Ok(HttpResponse::Created().json(payment)),
        Err(error) => refused(&state, &working, error).await,
    }
}

/// `processing` is committed, then the provider is called, then what it said is committed.
async fn charge(
    state: web::Data<State>,
    user: UserId,
    amount: Money,
    card: CardToken,
    key: Option<Key>,
) -> Result<Payment, SaleError> {
    let at = state.clock.now();
    let payment = PaymentId(state.clock.ids().next(at));
    let begin = BeginDeposit { user, payment, amount, at, key };
    let deadline = Some(state.persistence.deadline());
    written(state.persistence.write(Record::BeginDeposit(begin), deadline).await)?;
    let order = ChargeOrder { payment, amount, currency: state.currency, card };
    let charge = state.provider.charge(order).await;
    let end = EndDeposit { user, payment, charge, at: state.clock.now(), key };
    // The money has moved: this waits for as long as it takes.
    written(state.persistence.write(Record::EndDeposit(end), None).await)
}

fn written(answer: Option<Result<Accepted, Refused>>) -> Result<Payment, SaleError> {
    match answer {
        Some(Ok(Accepted::Payment(payment))) => Ok(payment),
        Some(Err(refused)) => Err(SaleError::Refused(refused)),
        _ => Err(SaleError::OutcomeUnknown),
    }
}
