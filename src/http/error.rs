//! All errors of the API, and the mapping from the errors of each layer to them. Responses are problem details
//! (RFC 9457). An internal cause is only logged, never sent.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::actors::messages::{PoolError, SaleError, StepRefusal};
use crate::auth::HashError;
use crate::charges::{EndError, WebhookError};
use crate::db::{DbError, describe, is_transient};
use crate::domain::draw::{OrderRefusal, TimesError, TooManyReservations};
use crate::domain::record::Refusal;
use crate::payment::NoticeError;

/// How long a client should wait when the service is overloaded, in seconds.
const RETRY_OVERLOADED: u64 = 1;

/// The stable name of an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    MalformedJson,
    Unauthorized,
    InvalidCredentials,
    InsufficientFunds,
    Forbidden,
    AccountBlocked,
    AdminsDoNotPlay,
    NotFound,
    MethodNotAllowed,
    UsernameTaken,
    EmailTaken,
    DrawNotOpen,
    DrawNotCompleted,
    TicketUnavailable,
    PoolEmpty,
    TooManyReservations,
    TicketNotReserved,
    PaymentNotPayable,
    InvalidTransition,
    LastAdmin,
    OwnWithdrawal,
    OwnPayment,
    IdempotencyInProgress,
    RequestTimeout,
    PayloadTooLarge,
    UnsupportedMediaType,
    ValidationFailed,
    IdempotencyKeyReused,
    RateLimited,
    InternalError,
    Overloaded,
    Standby,
    OutcomeUnknown,
}

impl Code {
    pub fn status(self) -> StatusCode {
        match self {
            Code::MalformedJson => StatusCode::BAD_REQUEST,
            Code::Unauthorized | Code::InvalidCredentials => StatusCode::UNAUTHORIZED,
            Code::InsufficientFunds => StatusCode::PAYMENT_REQUIRED,
            Code::Forbidden | Code::AccountBlocked | Code::AdminsDoNotPlay => StatusCode::FORBIDDEN,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Code::UsernameTaken
            | Code::EmailTaken
            | Code::DrawNotOpen
            | Code::DrawNotCompleted
            | Code::TicketUnavailable
            | Code::PoolEmpty
            | Code::TooManyReservations
            | Code::TicketNotReserved
            | Code::PaymentNotPayable
            | Code::InvalidTransition
            | Code::LastAdmin
            | Code::OwnWithdrawal
            | Code::OwnPayment
            | Code::IdempotencyInProgress => StatusCode::CONFLICT,
            Code::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Code::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Code::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Code::ValidationFailed | Code::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Code::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Code::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
            Code::Overloaded | Code::Standby | Code::OutcomeUnknown => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Code::MalformedJson => "The body is not JSON",
            Code::Unauthorized => "Log in first",
            Code::InvalidCredentials => "Wrong login or password",
            Code::InsufficientFunds => "The wallet holds less than that",
            Code::Forbidden => "Not allowed",
            Code::AccountBlocked => "The account is blocked",
            Code::AdminsDoNotPlay => "Admins do not play here",
            Code::NotFound => "It does not exist",
            Code::MethodNotAllowed => "The method is not allowed here",
            Code::UsernameTaken => "The username is taken",
            Code::EmailTaken => "The email address is taken",
            Code::DrawNotOpen => "The draw is not on sale",
            Code::DrawNotCompleted => "The draw is not completed",
            Code::TicketUnavailable => "The ticket is sold or reserved",
            Code::PoolEmpty => "The pool has no ticket left",
            Code::TooManyReservations => "Too many tickets are reserved and not paid",
            Code::TicketNotReserved => "The ticket is not reserved",
            Code::PaymentNotPayable => "The payment cannot be paid",
            Code::LastAdmin => "It is the last active admin",
            Code::OwnWithdrawal => "The withdrawal is the admin's own",
            Code::OwnPayment => "The payment is the admin's own",
            Code::InvalidTransition => "The state does not allow it",
            Code::IdempotencyInProgress => "The first request with this key still runs",
            Code::RequestTimeout => "The body took too long",
            Code::PayloadTooLarge => "The body is too large",
            Code::UnsupportedMediaType => "The body must be application/json",
            Code::ValidationFailed => "Some fields are invalid",
            Code::IdempotencyKeyReused => "The key was used with another request",
            Code::RateLimited => "Too many requests",
            Code::InternalError => "Internal error",
            Code::Overloaded => "Too busy; nothing was taken",
            Code::Standby => "Another node serves",
            Code::OutcomeUnknown => "It is not known yet whether the call succeeded",
        }
    }
}

/// One field that is invalid.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct FieldError {
    /// As in `tickets[0].numbers`.
    pub field: String,
    pub message: String,
}

impl From<TimesError> for FieldError {
    fn from(error: TimesError) -> FieldError {
        FieldError { field: error.field().to_owned(), message: error.to_string() }
    }
}

/// An error as the client gets it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    code: Code,
    detail: String,
    errors: Vec<FieldError>,
    /// Seconds.
    retry_after: Option<u64>,
    /// Only for the log.
    cause: Option<String>,
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Problem {
        Problem { code, detail: detail.into(), errors: Vec::new(), retry_after: None, cause: None }
    }

    /// Invalid fields; at least one.
    pub fn validation(errors: Vec<FieldError>) -> Problem {
        let detail = errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect::<Vec<_>>();
        Problem { errors, ..Problem::new(Code::ValidationFailed, detail.join("; ")) }
    }

    /// One invalid field.
    pub fn field(field: impl Into<String>, message: impl fmt::Display) -> Problem {
        Problem::validation(vec![FieldError { field: field.into(), message: message.to_string() }])
    }

    pub fn not_found(what: &str) -> Problem {
        Problem::new(Code::NotFound, format!("there is no such {what}"))
    }

    pub fn unauthorized(detail: &str) -> Problem {
        Problem::new(Code::Unauthorized, detail)
    }

    pub fn overloaded() -> Problem {
        let detail = "nothing was taken or charged; try again in a moment";
        Problem { retry_after: Some(RETRY_OVERLOADED), ..Problem::new(Code::Overloaded, detail) }
    }

    /// What an admin may see only if the audit log tells of it, which cannot be written now.
    pub fn unrecorded(error: DbError) -> Problem {
        let detail = "the audit log cannot be written now, so nothing is shown; try again in a moment";
        Problem { detail: detail.to_owned(), ..Problem::overloaded() }.because(Some(describe(&error)))
    }

    /// This node is not the active one, or stops.
    pub fn standby() -> Problem {
        let detail = "this node does not serve now; nothing was taken or charged; try again, at another node if there is one";
        Problem { retry_after: Some(RETRY_OVERLOADED), ..Problem::new(Code::Standby, detail) }
    }

    pub fn rate_limited(retry_after: u64) -> Problem {
        let detail = format!("try again in {retry_after} s");
        Problem { retry_after: Some(retry_after), ..Problem::new(Code::RateLimited, detail) }
    }

    /// The same problem with another text for the client.
    pub fn with_detail(self, detail: String) -> Problem {
        Problem { detail, ..self }
    }

    /// An internal error. Its cause is logged.
    pub fn internal(cause: impl fmt::Display) -> Problem {
        let problem = Problem::new(Code::InternalError, "the service's log has the cause under the request id");
        problem.because(Some(cause.to_string()))
    }

    /// The same problem with a cause for the log.
    pub fn because(self, cause: Option<String>) -> Problem {
        Problem { cause, ..self }
    }

    /// The cause for the log, if the error is the service's.
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    pub fn code(&self) -> Code {
        self.code
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.title(), self.detail)
    }
}

/// Problem details (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: Code,
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    #[schema(required = false)]
    errors: &'a [FieldError],
}

impl Problem {
    pub fn body(&self) -> ProblemBody<'_> {
        let code = serde_json::to_value(self.code).unwrap_or_default();
        ProblemBody {
            r#type: format!("urn:lottery:problem:{}", code.as_str().unwrap_or("error")),
            title: self.code.title(),
            status: self.status_code().as_u16(),
            detail: &self.detail,
            code: self.code,
            errors: &self.errors,
        }
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.code.status()
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        if let Some(seconds) = self.retry_after {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        if self.code == Code::Unauthorized {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        let mut response = response.json(self.body());
        let problem = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, problem);
        response
    }
}

impl From<DbError> for Problem {
    fn from(error: DbError) -> Problem {
        let cause = describe(&error);
        let away = match &error {
            DbError::NoConnection(_)
            | DbError::Unreachable { .. }
            | DbError::NoPrimary(_)
            | DbError::Timeout(_) => true,
            DbError::Postgres(cause) | DbError::Tls(cause) => is_transient(cause),
            _ => false,
        };
        match error {
            DbError::Unknown(_) | DbError::WriteTimeout(_) => {
                Problem::from(SaleError::OutcomeUnknown).because(Some(cause))
            }
            _ if away => Problem::overloaded().because(Some(cause)),
            _ => Problem::internal(cause),
        }
    }
}

impl From<SaleError> for Problem {
    fn from(error: SaleError) -> Problem {
        match error {
            SaleError::NoSuchDraw => Problem::not_found("draw"),
            SaleError::Order(refusal) => refusal.into(),
            SaleError::NotPayable => Problem::new(
                Code::PaymentNotPayable,
                "it is paid or being paid, its time is up, or its draw is not on sale any more",
            ),
            SaleError::NotReserved => Problem::new(
                Code::TicketNotReserved,
                "only a reserved ticket can be given back, and not while it is being paid for",
            ),
            SaleError::Refused(refused) => refused.into(),
            SaleError::OutcomeUnknown => Problem::new(
                Code::OutcomeUnknown,
                "it may still succeed: repeat the call with the same Idempotency-Key, or look at your payments",
            ),
        }
    }
}

impl From<OrderRefusal> for Problem {
    fn from(refusal: OrderRefusal) -> Problem {
        match refusal {
            OrderRefusal::NotOpen => Problem::new(Code::DrawNotOpen, "tickets are sold while the draw is open"),
            OrderRefusal::InvalidPick { line, error } => Problem::field(format!("tickets[{line}].numbers"), error),
            OrderRefusal::TooManyReservations(TooManyReservations { open, limit }) => Problem::new(
                Code::TooManyReservations,
                format!(
                    "{open} of your tickets are reserved and not paid, and at most {limit} may be: pay for some, give \
                     some back (DELETE /tickets/{{id}}), or wait until they expire; nothing was taken"
                ),
            ),
            OrderRefusal::TicketUnavailable { line } => Problem::new(
                Code::TicketUnavailable,
                format!(
                    "tickets[{line}]: this ticket is sold, reserved or not of this draw's pool; nothing was taken"
                ),
            ),
            OrderRefusal::KeyInFlight => Problem::new(Code::IdempotencyInProgress, "wait for its answer"),
            OrderRefusal::PoolEmpty => {
                Problem::new(Code::PoolEmpty, "the pool has too few tickets left; nothing was taken")
            }
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refused: Refusal) -> Problem {
        match refused {
            Refusal::InsufficientFunds => {
                Problem::new(Code::InsufficientFunds, "fund the wallet first; nothing was taken")
            }
            Refusal::NotPayable => SaleError::NotPayable.into(),
            error @ (Refusal::Ended(_) | Refusal::ChargeEnded(_)) => {
                Problem::new(Code::InvalidTransition, error.to_string())
            }
            Refusal::OwnWithdrawal => {
                Problem::new(Code::OwnWithdrawal, "ask another admin to approve it; you may reject it yourself")
            }
            Refusal::OwnPayment => Problem::new(Code::OwnPayment, "ask another admin to end its charge"),
            Refusal::KeyReused => Problem::new(Code::IdempotencyKeyReused, "take a new key for a new request"),
            // The draw is being loaded again: the same call works in a moment.
            Refusal::Overloaded | Refusal::StaleEpoch => Problem::overloaded(),
            Refusal::Rejected => Problem::internal("the database refused a record"),
            Refusal::Replay(_) => Problem::internal("a stored answer that was not replayed"),
        }
    }
}

impl From<StepRefusal> for Problem {
    fn from(refusal: StepRefusal) -> Problem {
        match refusal {
            StepRefusal::NoSuchDraw => Problem::not_found("draw"),
            StepRefusal::InvalidTransition(status) => {
                Problem::new(Code::InvalidTransition, format!("the draw is {}", status.as_str()))
            }
            StepRefusal::InvalidTimes(errors) => {
                Problem::validation(errors.into_iter().map(FieldError::from).collect())
            }
            StepRefusal::Overloaded | StepRefusal::Unavailable => Problem::overloaded(),
            StepRefusal::Failed => Problem::internal("a step of a draw's life failed"),
        }
    }
}

impl From<PoolError> for Problem {
    fn from(error: PoolError) -> Problem {
        match error {
            PoolError::Step(refusal) => refusal.into(),
            PoolError::OutcomeUnknown => SaleError::OutcomeUnknown.into(),
            PoolError::KeyTaken => Problem::internal("a key is taken, but has no answer"),
            error @ (PoolError::TooFewLeft { .. } | PoolError::TooMany { .. }) => Problem::field("count", error),
        }
    }
}

impl From<WebhookError> for Problem {
    fn from(error: WebhookError) -> Problem {
        match error {
            WebhookError::NoSuchProvider => Problem::not_found("payment provider"),
            WebhookError::Notice(NoticeError::Signature(error)) => Problem::unauthorized(&error.to_string()),
            WebhookError::Notice(NoticeError::Malformed(error)) if error.is_data() => {
                Problem::field("body", error)
            }
            WebhookError::Notice(NoticeError::Malformed(error)) => {
                Problem::new(Code::MalformedJson, error.to_string())
            }
            WebhookError::Notice(error @ NoticeError::Unavailable(_)) => {
                Problem::overloaded().because(Some(error.to_string()))
            }
            WebhookError::Sale(error) => error.into(),
            WebhookError::Db(error) => error.into(),
        }
    }
}

impl From<EndError> for Problem {
    fn from(error: EndError) -> Problem {
        match error {
            EndError::NoSuchPayment => Problem::not_found("payment"),
            error @ EndError::NoSuchCharge => Problem::new(Code::InvalidTransition, error.to_string()),
            EndError::Sale(error) => error.into(),
            EndError::Db(error) => error.into(),
        }
    }
}

impl From<HashError> for Problem {
    fn from(error: HashError) -> Problem {
        match error {
            HashError::Busy => Problem::overloaded(),
            HashError::AccountBusy => Problem::rate_limited(RETRY_OVERLOADED).with_detail(format!(
                "too many passwords of this account are being checked or set at the same time; try again in \
                 {RETRY_OVERLOADED} s"
            )),
            error => Problem::internal(error),
        }
    }
}

/// The response to unknown addresses.
pub async fn not_found() -> Problem {
    Problem::new(Code::NotFound, "there is nothing at this address")
}

/// The response to a method that the address does not have.
pub fn method_not_allowed(request: &HttpRequest) -> Problem {
    Problem::new(Code::MethodNotAllowed, format!("{} does not work here", request.method()))
}

impl actix_web::Responder for Problem {
    type Body = actix_web::body::BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        self.error_response()
    }
}
