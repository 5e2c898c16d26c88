//! The wallet: its balance, its transfers, deposits into it and withdrawals out of it.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auth_user::AuthUser;
use super::body::Body;
use super::error::Problem;
use super::idempotency::KeyHeader;
use super::payments::{card, charge_card};
use super::query::{List, PageParams, Query};
use super::replay::{first_answer, payment_response, run_to_completion};
use super::state::State;
use crate::actors::draws::payment_result;
use crate::db::read::wallet::{self, WalletTransfer};
use crate::domain::id::PaymentId;
use crate::domain::money::{Currency, Money};
use crate::domain::payment::Payment;
use crate::domain::record::{AnswerKind, BeginWithdrawal, Record};

/// The largest deposit or withdrawal, in minor units.
const MAX_AMOUNT: i64 = 1_000_000_000_000;

/// The wallet of a user.
#[derive(Serialize, ToSchema)]
#[schema(as = Wallet, example = json!({"balance": 100000, "currency": "RUB"}))]
pub struct WalletBody {
    /// What can be spent, in minor units. Money that is set aside for a withdrawal is no longer part of it.
    balance: Money,
    /// The currency of the balance.
    currency: Currency,
}

/// The balance of the logged-in user's wallet.
///
/// Never below zero.
#[utoipa::path(
    get, path = "/api/v1/wallet", tag = "wallet", operation_id = "get_wallet",
    security(("bearer" = [])),
    responses((status = 200, body = WalletBody)),
)]
pub async fn balance(state: web::Data<State>, auth: AuthUser) -> Result<web::Json<WalletBody>, Problem> {
    let balance = wallet::balance(&state.db, auth.user).await?;
    Ok(web::Json(WalletBody { balance, currency: state.currency }))
}

/// The transfers into the wallet and out of it, newest first.
///
/// Their sum is the balance. What was paid by card for tickets does not pass through the wallet, but its refund does.
#[utoipa::path(
    get, path = "/api/v1/wallet/transfers", tag = "wallet", operation_id = "list_transfers",
    params(PageParams),
    security(("bearer" = [])),
    responses((status = 200, body = List<WalletTransfer>)),
)]
pub async fn transfers(
    state: web::Data<State>,
    auth: AuthUser,
    request: HttpRequest,
) -> Result<web::Json<List<WalletTransfer>>, Problem> {
    let page = Query::of(&request, &["limit", "cursor"])?.page()?;
    let rows = wallet::transfers(&state.db, auth.user, page).await?;
    Ok(web::Json(List::of(rows, |transfer| transfer)))
}

/// A deposit from a card.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Deposit, example = json!({"amount": 100000, "token": "tok_visa"}))]
pub struct DepositBody {
    /// How much, in minor units.
    #[schema(minimum = 1, maximum = 1_000_000_000_000_i64)]
    pub amount: i64,
    /// The card's token, made by the payment provider's form in the client. The sandbox knows `tok_visa` (paid),
    /// `tok_declined`, `tok_insufficient` and `tok_async` (processing until a webhook tells the end).
    #[schema(min_length = 1, max_length = 255, pattern = "^[!-~]+$")]
    token: String,
}

/// Puts money into the wallet from a card.
///
/// The payment is `paid` and the money in the wallet, or `failed` with a `failure_code`, or `processing` until the payment
/// provider has decided.
#[utoipa::path(
    post, path = "/api/v1/wallet/deposits", tag = "wallet", operation_id = "deposit",
    params(KeyHeader),
    request_body = DepositBody,
    security(("bearer" = [])),
    responses((status = 201, body = Payment), (status = "default", description = "rate_limited")),
)]
pub async fn deposit(
    state: web::Data<State>,
    auth: AuthUser,
    request: HttpRequest,
    Body(body): Body<DepositBody>,
) -> Result<HttpResponse, Problem> {
    let amount = parse(body.amount)?;
    let card = card(&state, &body.token)?;
    let guard = state.keys.acquire(&request, auth.user, &body)?;
    let (charges, key) = (state.charges.clone(), guard.key);
    let deposit = async move { charges.deposit(auth.user, amount, card, key).await };
    charge_card(&state, (auth.user, &request), &guard, AnswerKind::Created, deposit).await
}

pub fn parse(amount: i64) -> Result<Money, Problem> {
    at_least(1, amount)
}

fn at_least(minimum: i64, amount: i64) -> Result<Money, Problem> {
    if (minimum..=MAX_AMOUNT).contains(&amount) {
        Ok(Money::new(amount))
    } else {
        Err(Problem::field("amount", format!("must be {minimum} to {MAX_AMOUNT} minor units")))
    }
}

/// A withdrawal from the wallet.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Withdrawal, example = json!({"amount": 10000}))]
pub struct WithdrawalBody {
    /// How much, in minor units. The operator may have set a larger minimum than 1.
    #[schema(minimum = 1, maximum = 1_000_000_000_000_i64)]
    amount: i64,
}

/// Asks for money from the wallet.
///
/// The amount leaves the balance at once and is set aside: the user sees it as a payment that is `processing`, and admins
/// see it in `GET /admin/payments?kind=withdrawal&status=processing`. An admin approves the withdrawal, and it is `paid`; or
/// rejects it, and it is `failed` and the money is back in the wallet.
#[utoipa::path(
    post, path = "/api/v1/wallet/withdrawals", tag = "wallet", operation_id = "withdraw",
    params(KeyHeader),
    request_body = WithdrawalBody,
    security(("bearer" = [])),
    responses((status = 201, body = Payment), (status = "default", description = "insufficient_funds")),
)]
pub async fn withdraw(
    state: web::Data<State>,
    auth: AuthUser,
    request: HttpRequest,
    Body(body): Body<WithdrawalBody>,
) -> Result<HttpResponse, Problem> {
    let amount = parse(body.amount)?;
    let guard = state.keys.acquire(&request, auth.user, &body)?;
    if let Err(too_small) = at_least(state.min_withdrawal, body.amount) {
        // The minimum may have been raised since the key was used.
        return first_answer(&state, guard.key.as_ref()).await?.ok_or(too_small);
    }
    let at = state.clock.now();
    let (user, payment, key) = (auth.user, PaymentId(state.clock.ids().next(at)), guard.key);
    let begin = Record::BeginWithdrawal(BeginWithdrawal { user, payment, amount, at, key });
    let (persistence, deadline) = (state.persistence.clone(), Some(state.persistence.deadline()));
    let withdrawal = async move { payment_result(persistence.write(begin, deadline).await) };
    let result = run_to_completion(&state, &guard, withdrawal).await;
    payment_response(&state, &guard, AnswerKind::Created, result).await
}
