//! The calls of players about payments: reading them, and paying for a reservation.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::schema::{ObjectBuilder, Type};

use super::auth_user::AuthUser;
use super::body::Body;
use super::error::Problem;
use super::idempotency::{KeyGuard, KeyHeader};
use super::query::{List, PageParams, Query, path_id};
use super::replay::{first_answer, first_answer_of_player, payment_response, run_to_completion};
use super::state::State;
use crate::actors::messages::SaleError;
use crate::db::read::payments;
use crate::domain::id::{PaymentId, UserId};
use crate::domain::payment::{Method, Payment};
use crate::domain::record::AnswerKind;
use crate::payment::CardToken;

/// The logged-in user's payments, newest first.
///
/// Purchases, deposits and withdrawals. What has moved money in the wallet is in `GET /wallet/transfers`.
#[utoipa::path(
    get, path = "/api/v1/payments", tag = "payments", operation_id = "list_payments",
    params(PageParams),
    security(("bearer" = [])),
    responses((status = 200, body = List<Payment>)),
)]
pub async fn list(
    state: web::Data<State>,
    auth: AuthUser,
    request: HttpRequest,
) -> Result<web::Json<List<Payment>>, Problem> {
    let page = Query::of(&request, &["limit", "cursor"])?.page()?;
    let rows = payments::list(&state.db, state.currency, auth.user, page).await?;
    Ok(web::Json(List::of(rows, |payment| payment)))
}

/// One of the logged-in user's payments.
///
/// While a card is being charged its status is `processing`: ask again until it is not. A payment of another user is not
/// found.
#[utoipa::path(
    get, path = "/api/v1/payments/{id}", tag = "payments", operation_id = "get_payment",
    params(("id" = Uuid, Path, description = "The payment's id.")),
    security(("bearer" = [])),
    responses((status = 200, body = Payment)),
)]
pub async fn one(
    state: web::Data<State>,
    auth: AuthUser,
    request: HttpRequest,
) -> Result<web::Json<Payment>, Problem> {
    let id = PaymentId(path_id(&request, "payment")?);
    let view = payments::one(&state.db, state.currency, auth.user, id).await?;
    view.map(|view| web::Json(view.payment)).ok_or_else(|| Problem::not_found("payment"))
}

#[derive(Deserialize, Serialize)]
#[serde(tag = "method", rename_all = "snake_case", deny_unknown_fields)]
pub enum PayBody {
    // With braces, because serde accepts unknown fields in a variant without them.
    Wallet {},
    Card { token: String },
}

// The schema of `PayBody`, whose variants have names here, so that generated clients have them too.
/// How to pay.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(
    as = Pay,
    example = json!({"method": "card", "token": "tok_visa"}),
    discriminator(property_name = "method", mapping(
        ("wallet" = "#/components/schemas/WalletPayment"),
        ("card" = "#/components/schemas/CardPayment"),
    )),
)]
#[allow(dead_code, reason = "only described")]
pub enum PaySchema {
    Wallet(WalletPayment),
    Card(CardPayment),
}

/// Pays from the user's wallet.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"method": "wallet"}))]
#[allow(dead_code, reason = "only described")]
pub struct WalletPayment {
    #[schema(schema_with = only_wallet)]
    method: Method,
}

/// Charges a card.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"method": "card", "token": "tok_visa"}))]
#[allow(dead_code, reason = "only described")]
pub struct CardPayment {
    #[schema(schema_with = only_card)]
    method: Method,
    /// The card's token, made by the payment provider's form in the client. The sandbox knows `tok_visa` (paid),
    /// `tok_declined`, `tok_insufficient` and `tok_async` (processing until a webhook tells the end).
    #[schema(min_length = 1, max_length = 255, pattern = "^[!-~]+$")]
    token: String,
}

fn only_wallet() -> ObjectBuilder {
    only(Method::Wallet)
}

fn only_card() -> ObjectBuilder {
    only(Method::Card)
}

fn only(method: Method) -> ObjectBuilder {
    let method = [method.as_str()];
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("Says that it is this way to pay."))
        .enum_values(Some(method))
}

/// Pays for reserved tickets.
///
/// A declined card is no error: the answer is a payment that is still `pending`, with a `failure_code`, and it can be paid
/// again until it expires. `processing` means that the provider has not decided yet.
#[utoipa::path(
    post, path = "/api/v1/payments/{id}/pay", tag = "payments", operation_id = "pay",
    params(("id" = Uuid, Path, description = "The payment's id."), KeyHeader),
    request_body = PaySchema,
    security(("bearer" = [])),
    responses(
        (status = 200, body = Payment),
        (status = "default", description = "admins_do_not_play insufficient_funds payment_not_payable rate_limited"),
    ),
)]
pub async fn pay(
    state: web::Data<State>,
    auth: AuthUser,
    request: HttpRequest,
    Body(body): Body<PayBody>,
) -> Result<HttpResponse, Problem> {
    let id = PaymentId(path_id(&request, "payment")?);
    let card = match &body {
        PayBody::Wallet {} => None,
        PayBody::Card { token } => Some(card(&state, token)?),
    };
    let view = payments::one(&state.db, state.currency, auth.user, id).await?;
    let view = view.ok_or_else(|| Problem::not_found("payment"))?;
    let guard = state.keys.acquire(&request, auth.user, &body)?;
    // A reservation is no part of the draw until it is paid, so an admin who reserved it as a player may not pay it.
    if auth.may_not_play(&state) {
        return first_answer_of_player(&state, &guard).await;
    }
    let result = match (view.draw, card) {
        (None, _) => Err(SaleError::NotPayable),
        (Some(draw), None) => state.draws.pay(draw, auth.user, id, guard.key, guard.hold()).await,
        (Some(draw), Some(card)) => {
            // The card must not be charged again if this key has an answer.
            if let Some(first) = first_answer(&state, guard.key.as_ref()).await? {
                return Ok(first);
            }
            let (charges, key) = (state.charges.clone(), guard.key);
            let charge = async move { charges.charge(draw, auth.user, id, card, key).await };
            return charge_card(&state, (auth.user, &request), &guard, AnswerKind::Changed, charge).await;
        }
    };
    payment_response(&state, &guard, AnswerKind::Changed, result).await
}

/// Charges a card, unless too many were declined: then only a stored answer is given again.
pub async fn charge_card(
    state: &State,
    (user, request): (UserId, &HttpRequest),
    guard: &KeyGuard,
    kind: AnswerKind,
    charge: impl Future<Output = Result<Payment, SaleError>> + 'static,
) -> Result<HttpResponse, Problem> {
    let attempt = match state.limits.card(user, state.proxies.network(request), state.clock.since_boot()) {
        Ok(attempt) => attempt,
        Err(limited) => return first_answer(state, guard.key.as_ref()).await?.ok_or(limited),
    };
    let clock = state.clock.clone();
    // The attempt counts until the charge has ended, also when the client has hung up.
    let charge = async move {
        let result = charge.await;
        if result.as_ref().is_ok_and(|payment| payment.failure_code.is_some()) {
            attempt.declined(clock.since_boot());
        }
        result
    };
    let result = run_to_completion(state, guard, charge).await;
    payment_response(state, guard, kind, result).await
}

/// The card behind a token, if the provider can know it.
pub fn card(state: &State, token: &str) -> Result<CardToken, Problem> {
    let card = CardToken::parse(token).map_err(|error| Problem::field("token", error))?;
    if state.charges.knows(&card) {
        Ok(card)
    } else {
        Err(Problem::field("token", "the payment provider does not know this card token"))
    }
}
