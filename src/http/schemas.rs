//! OpenAPI schemas of what the layers below return and the handlers send as it is. The schemas stand here because
//! the domain, the database and the actors know nothing of HTTP. That a schema fits its type is held by the tests,
//! which compare every answer they get with the document.

#![allow(dead_code, reason = "the structs here are only described, never made")]

use std::borrow::Cow;

use jiff::Timestamp;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;

use super::codes::Code;
use crate::db::read::audit::AuditRow;
use crate::db::read::charges::{ChargeFilter, ListedCharge};
use crate::db::read::export::ExportTable;
use crate::db::read::finance::{AccountBalance, AccountKind, DrawFinance};
use crate::db::read::payments::OwnedPayment;
use crate::db::read::tickets::OwnedTicket;
use crate::db::read::users::User;
use crate::db::read::wallet::WalletTransfer;
use crate::domain::audit::Action;
use crate::domain::charge::{ChargeIssue, ChargeOutcome};
use crate::domain::id::{DrawId, LotteryId, PaymentId, PoolTicketId, TicketId, UserId};
use crate::domain::ledger::TransferKind;
use crate::domain::lottery::{DrawStatus, Fairness};
use crate::domain::money::{Currency, Money, Share};
use crate::domain::payment::{FAILURE_CODES, Method, Payment, PaymentKind, PaymentStatus};
use crate::domain::ticket::{Origin, Ticket, TicketStatus};
use crate::domain::user::{Role, UserStatus};
use crate::export::ExportFormat;

/// `Type "Name": schema;` gives a type a schema under that name.
macro_rules! scalar_schemas {
    ($($target:ident $name:literal: $schema:expr;)*) => {$(
        impl PartialSchema for $target {
            fn schema() -> RefOr<Schema> {
                $schema.into()
            }
        }

        impl ToSchema for $target {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed($name)
            }
        }
    )*};
}

/// `Type: Shape;` gives a type the schema that is derived for a struct of this file.
macro_rules! derived_schemas {
    ($($target:ident: $shape:ident;)*) => {$(
        impl PartialSchema for $target {
            fn schema() -> RefOr<Schema> {
                $shape::schema()
            }
        }

        impl ToSchema for $target {
            fn name() -> Cow<'static, str> {
                $shape::name()
            }

            fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
                $shape::schemas(schemas);
            }
        }
    )*};
}

scalar_schemas! {
    UserId "UserId": integer("A user, player or admin.");
    DrawId "DrawId": integer("One draw of one lottery.");
    TicketId "TicketId": uuid("A ticket that somebody ordered. UUIDv7.");
    PoolTicketId "PoolTicketId": uuid("A pool ticket. Its sale creates a ticket with an id of its own. UUIDv7.");
    PaymentId "PaymentId": uuid("A payment. UUIDv7; the tickets it pays for have the ids that follow.");
    Money "Money": integer("An amount in minor units (kopecks, cents).");
    Share "Share": integer("A part, in basis points: 10000 is the whole.")
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int32)))
        .minimum(Some(0))
        .maximum(Some(Share::WHOLE));
    Role "Role": one_of("What a user may do.", Role::ALL.map(Role::as_str));
    UserStatus "UserStatus": one_of("Whether a user may log in and make calls.", UserStatus::ALL.map(UserStatus::as_str));
    Fairness "Fairness": one_of(
        "How the numbers of a draw come about.", [Fairness::CommitReveal, Fairness::Beacon].map(Fairness::as_str)
    );
    DrawStatus "DrawStatus": one_of(
        "The status of a draw, in the order of its life.", DrawStatus::ALL.map(DrawStatus::as_str)
    );
    Origin "Origin": one_of("Where a ticket's numbers came from.", Origin::ALL.map(Origin::as_str));
    TicketStatus "TicketStatus": one_of(
        "The status of a ticket. Won, lost and refunded follow from its draw.",
        TicketStatus::ALL.map(TicketStatus::as_str)
    );
    PaymentKind "PaymentKind": one_of("What a payment is for.", PaymentKind::ALL.map(PaymentKind::as_str));
    PaymentStatus "PaymentStatus": one_of("The status of a payment.", PaymentStatus::ALL.map(PaymentStatus::as_str));
    Method "Method": one_of("What a payment is made with.", Method::ALL.map(Method::as_str));
    FailureCode "FailureCode": one_of(
        "Why a payment failed. `card_declined` also stands for every reason that has no code here.", FAILURE_CODES
    );
    TransferKind "TransferKind": one_of(
        "What a transfer is for.", TransferKind::OF_WALLETS.map(TransferKind::as_str)
    );
    ChargeOutcome "ChargeOutcome": one_of("How a charge ended.", ChargeOutcome::ALL.map(ChargeOutcome::as_str));
    ChargeIssue "ChargeIssue": one_of(
        "Why a charge waits for an admin: the provider does not know it (not_found), the provider took other money \
         (other_money), or its money may be booked already (unclear).",
        ChargeIssue::ALL.map(ChargeIssue::as_str)
    );
    ChargeFilter "ChargeStatus": one_of(
        "What a charge is. It may be several of these.", ChargeFilter::ALL.map(ChargeFilter::as_str)
    );
    Action "AuditAction": one_of("What was done, or refused.", Action::ALL.map(Action::as_str));
    AccountKind "AccountKind": one_of(
        "What an account is for: the players' wallets, the money of open withdrawals (held), the money of draws that are \
         not over (escrow), what rolled over to a lottery's next draw (jackpot), what the operator adds to guaranteed \
         prizes (reserve; below zero when the operator has paid in nothing), what the operator has earned (revenue), and \
         what the payment provider owes, below zero (clearing).",
        AccountKind::ALL.map(AccountKind::as_str)
    );
    Code "ProblemCode": one_of("The stable name of an error.", Code::ALL.iter().map(|code| code.as_str()));
    ExportTable "ExportTable": one_of("What can be exported.", ExportTable::ALL.map(ExportTable::as_str));
    ExportFormat "ExportFormat": one_of("The format of an exported table.", ExportFormat::ALL.map(ExportFormat::as_str));
}

derived_schemas! {
    LotteryId: LotteryIdSchema;
    Currency: CurrencySchema;
    Ticket: TicketSchema;
    OwnedTicket: OwnedTicketSchema;
    Payment: PaymentSchema;
    OwnedPayment: OwnedPaymentSchema;
    WalletTransfer: WalletTransferSchema;
    User: UserSchema;
    AuditRow: AuditRowSchema;
    ListedCharge: ListedChargeSchema;
    AccountBalance: AccountBalanceSchema;
    DrawFinance: DrawFinanceSchema;
}

fn scalar(kind: Type, description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(kind).description(Some(description))
}

fn integer(description: &str) -> ObjectBuilder {
    scalar(Type::Integer, description).format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
}

fn text(description: &str) -> ObjectBuilder {
    scalar(Type::String, description)
}

fn uuid(description: &str) -> ObjectBuilder {
    text(description).format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)))
}

fn one_of(description: &str, names: impl IntoIterator<Item = &'static str>) -> ObjectBuilder {
    text(description).enum_values(Some(names))
}

/// The failure code of a payment. In the code it is a text: the database has it from there.
struct FailureCode;

/// The name of a lottery in the configuration and in addresses, such as `5of36`.
#[derive(ToSchema)]
#[schema(as = LotteryId, example = "5of36")]
struct LotteryIdSchema(String);

/// As in ISO 4217.
#[derive(ToSchema)]
#[schema(as = Currency, pattern = "^[A-Z]{3}$", example = "RUB")]
struct CurrencySchema(String);

/// A ticket.
#[derive(ToSchema)]
#[schema(as = Ticket, example = json!({
    "id": "01980000-0000-7000-8000-000000000002", "draw_id": 7, "lottery": "5of36", "number": 1,
    "numbers": [1, 7, 13, 22, 36], "origin": "chosen", "pool_ticket_id": null, "status": "paid", "price": 10000,
    "reserved_until": null, "matches": null, "prize": null, "created_at": "2030-05-01T12:00:00Z"
}))]
struct TicketSchema {
    /// The id of the ticket, as in addresses.
    id: TicketId,
    /// The draw that the ticket takes part in.
    draw_id: DrawId,
    /// The lottery of the draw.
    lottery: LotteryId,
    /// The ticket's number among the paid tickets of its draw, from 1 on without a gap, for people. Null until it is paid.
    /// Calls take the `id`.
    #[schema(required)]
    number: Option<i64>,
    /// The numbers that the player bets on, in ascending order.
    numbers: Vec<i32>,
    /// Where the numbers came from.
    origin: Origin,
    /// The pool ticket that was sold as this ticket. Null if it was none.
    #[schema(required)]
    pool_ticket_id: Option<PoolTicketId>,
    /// Whether the ticket is reserved or paid, and what became of it.
    status: TicketStatus,
    /// The price of the ticket, in minor units.
    price: Money,
    /// Until when the ticket can be paid. Null if it was paid when it was ordered.
    #[schema(required)]
    reserved_until: Option<Timestamp>,
    /// How many winning numbers it has. Null until the numbers are drawn, and if the ticket was not paid.
    #[schema(required)]
    matches: Option<i16>,
    /// What the ticket won, in minor units; 0 if it lost. Null until the draw is completed.
    #[schema(required)]
    prize: Option<Money>,
    /// When the ticket was ordered.
    created_at: Timestamp,
}

/// A ticket with its owner.
#[derive(serde::Serialize, ToSchema)]
#[schema(as = OwnedTicket)]
struct OwnedTicketSchema {
    #[serde(flatten)]
    ticket: Ticket,
    /// The user who ordered the ticket.
    user_id: UserId,
}

/// A payment.
#[derive(ToSchema)]
#[schema(as = Payment, example = json!({
    "id": "01980000-0000-7000-8000-000000000001", "kind": "purchase", "status": "paid", "amount": 10000, "currency": "RUB",
    "method": "wallet", "ticket_ids": ["01980000-0000-7000-8000-000000000002"], "failure_code": null,
    "created_at": "2030-05-01T12:00:00Z", "updated_at": "2030-05-01T12:00:00Z"
}))]
struct PaymentSchema {
    /// The id of the payment, as in addresses. It is also the `reference` of its transfers.
    id: PaymentId,
    /// What the payment is for.
    kind: PaymentKind,
    /// How far the payment is.
    status: PaymentStatus,
    /// How much, in minor units.
    amount: Money,
    /// The currency of the amount.
    currency: Currency,
    /// What it is paid with. Null until somebody tries to pay, and for a withdrawal.
    #[schema(required)]
    method: Option<Method>,
    /// The tickets that a purchase pays for. Empty for deposits and withdrawals.
    ticket_ids: Vec<TicketId>,
    /// Why the last attempt to pay failed. Null if none has failed.
    #[schema(required)]
    failure_code: Option<FailureCode>,
    /// When the payment was made.
    created_at: Timestamp,
    /// When its status changed last.
    updated_at: Timestamp,
}

/// A payment with its payer.
#[derive(serde::Serialize, ToSchema)]
#[schema(as = OwnedPayment)]
struct OwnedPaymentSchema {
    #[serde(flatten)]
    payment: Payment,
    /// The user who pays, or to whom a withdrawal is paid.
    user_id: UserId,
}

/// A charge: one attempt to take money from a card.
#[derive(ToSchema)]
#[schema(as = Charge, example = json!({
    "payment_id": "01980000-0000-7000-8000-000000000001", "user_id": 42, "kind": "deposit", "amount": 10000,
    "currency": "RUB", "begun_at": "2030-05-01T12:00:00Z", "ended_at": "2030-05-01T12:00:01Z", "outcome": "paid",
    "late": false, "failure_code": null, "issue": null, "dispute": null, "refunded": 0
}))]
struct ListedChargeSchema {
    /// The payment that the charge is an attempt to pay.
    payment_id: PaymentId,
    /// The user who pays.
    user_id: UserId,
    /// What the payment is for.
    kind: PaymentKind,
    /// What was to be taken from the card, in minor units.
    amount: Money,
    /// The currency of the amount.
    currency: Currency,
    /// With `payment_id` the charge's name, also at the payment provider.
    begun_at: Timestamp,
    /// When the result became known. Null while the payment provider has not decided.
    #[schema(required)]
    ended_at: Option<Timestamp>,
    /// Whether the money was taken. Null while the payment provider has not decided.
    #[schema(required)]
    outcome: Option<ChargeOutcome>,
    /// Whether the money came too late for what the payment is for. Then it is in the wallet.
    late: bool,
    /// Why the card was not charged. Null if it was, or if that is not known yet.
    #[schema(required)]
    failure_code: Option<FailureCode>,
    /// Why the charge waits for an admin. Null if it does not.
    #[schema(required)]
    issue: Option<ChargeIssue>,
    /// The status of the dispute at the payment provider, such as needs_response, won or lost. Null without a dispute.
    #[schema(required)]
    dispute: Option<String>,
    /// What was given back to the card at the payment provider, in all, in minor units.
    refunded: Money,
}

/// The sum of all accounts of one kind.
#[derive(ToSchema)]
#[schema(as = AccountBalance, example = json!({"kind": "escrow", "lottery": "5of36", "balance": 30000}))]
struct AccountBalanceSchema {
    /// What the account is for.
    kind: AccountKind,
    /// The lottery of escrows and jackpots, which are summed for each lottery. Null for all others.
    #[schema(required)]
    lottery: Option<LotteryId>,
    /// The sum of the balances, in minor units.
    balance: Money,
}

/// The money of a draw. Of a draw that is over, `sales + rollover_in + reserve = prizes + refunds + rollover_out +
/// revenue`; until then, what is missing on the right is in its escrow.
#[derive(ToSchema)]
#[schema(as = DrawFinance, example = json!({
    "draw_id": 7, "lottery": "5of36", "number": 7, "status": "completed", "currency": "RUB", "sales": 30000,
    "prizes": 10000, "refunds": 0, "rollover_in": 0, "rollover_out": 5000, "reserve": 0, "revenue": 15000
}))]
struct DrawFinanceSchema {
    /// The draw.
    draw_id: DrawId,
    /// The lottery of the draw.
    lottery: LotteryId,
    /// The number of the draw within its lottery.
    number: i32,
    /// Where the draw is in its life.
    status: DrawStatus,
    /// The currency of all amounts, which are in minor units.
    currency: Currency,
    /// The price of all tickets that are paid.
    sales: Money,
    /// What was paid to winners so far.
    prizes: Money,
    /// What was paid back to payers so far, because the draw is cancelled.
    refunds: Money,
    /// The jackpot that came into the draw with its winning numbers.
    rollover_in: Money,
    /// What the draw has left for the lottery's next draw.
    rollover_out: Money,
    /// What the operator's reserve has added, because the fund was smaller than the guaranteed prizes.
    reserve: Money,
    /// The operator's part of the sales. Zero until the prizes are fixed.
    revenue: Money,
}

/// A transfer into the wallet or out of it.
#[derive(ToSchema)]
#[schema(as = Transfer, example = json!({
    "id": 1, "kind": "deposit", "amount": 100000, "balance_after": 100000,
    "reference": "01980000-0000-7000-8000-000000000001", "created_at": "2030-05-01T12:00:00Z"
}))]
struct WalletTransferSchema {
    /// The id of the transfer. A later transfer has a higher one.
    id: i64,
    /// What the transfer is for.
    kind: TransferKind,
    /// The change of the balance, in minor units: negative if money left the wallet.
    amount: Money,
    /// The balance after the transfer, in minor units.
    balance_after: Money,
    /// What it belongs to: the id of the ticket for a prize, otherwise the id of the payment.
    #[schema(required)]
    reference: Option<Uuid>,
    /// When the transfer was made.
    created_at: Timestamp,
}

/// A user: a player or an admin.
#[derive(ToSchema)]
#[schema(as = User, example = json!({
    "id": 42, "username": "ann", "email": "ann@example.com", "name": null, "role": "player", "status": "active",
    "created_at": "2030-05-01T12:00:00Z"
}))]
struct UserSchema {
    /// The id of the user.
    id: UserId,
    /// The name to log in with, as it was registered.
    username: String,
    /// The email address.
    email: String,
    /// The name of the person. Null if it was not given.
    #[schema(required)]
    name: Option<String>,
    /// What the user may do.
    role: Role,
    /// Whether the user may log in and make calls.
    status: UserStatus,
    /// When the user was registered.
    created_at: Timestamp,
}

/// One entry of the audit log.
#[derive(ToSchema)]
#[schema(as = AuditEntry, example = json!({
    "id": 1, "at": "2030-05-01T12:00:00Z", "actor_id": 1, "action": "draw.open", "subject": "draw:7", "detail": {},
    "address": "203.0.113.7", "request_id": "01980000-0000-7000-8000-000000000003", "count": 1
}))]
struct AuditRowSchema {
    /// The id of the entry. A later entry has a higher one.
    id: i64,
    /// When it happened; the first time, if it is counted.
    at: Timestamp,
    /// The user who did it; of a failed log-in, the account that was tried. Null: it was done at the command line, or
    /// by several users who are counted together.
    #[schema(required)]
    actor_id: Option<UserId>,
    /// What was done, or refused.
    action: Action,
    /// What it was done to, such as `draw:7`, `user:42` or `payment:01980000-0000-7000-8000-000000000001`.
    subject: String,
    /// More about it, which depends on the action.
    #[schema(value_type = Object)]
    detail: serde_json::Value,
    /// The client's address. Null at the command line, and in entries of earlier versions.
    #[schema(required)]
    address: Option<String>,
    /// The `X-Request-Id` of the request. Null where the address is.
    #[schema(required)]
    request_id: Option<Uuid>,
    /// How many times it happened within about a minute from `at` on: failed log-ins and refused calls are counted for
    /// each account, and show the first one's request. All others are 1.
    count: i64,
}
