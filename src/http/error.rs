//! All errors of the API, and the mapping from the errors of each layer to them. Responses are problem details
//! (RFC 9457). An internal cause is only logged, never sent.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use serde::Serialize;
use utoipa::ToSchema;

pub use super::codes::Code;
use super::problems;
use crate::actors::messages::{PoolError, SaleError, StepRefusal};
use crate::auth::HashError;
use crate::charges::{EndError, WebhookError};
use crate::db::{DbError, describe, is_transient};
use crate::domain::draw::{OrderRefusal, TimesError, TooManyReservations};
use crate::domain::record::Refusal;
use crate::payment::NoticeError;

/// How long a client should wait when the service is overloaded, in seconds.
const RETRY_OVERLOADED: u64 = 1;

/// One field that is invalid.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct FieldError {
    /// The path to the field, such as `tickets[0].numbers`, or the name of a parameter or a header. `body` is the whole
    /// body.
    pub field: String,
    /// What the field must be.
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
        Problem { retry_after: Some(RETRY_OVERLOADED), ..Code::Overloaded.into() }
    }

    /// What an admin may see only if the audit log tells of it, which cannot be written now.
    pub fn unrecorded(error: DbError) -> Problem {
        let detail = "the audit log cannot be written now, so nothing is shown; try again in a moment";
        Problem { detail: detail.to_owned(), ..Problem::overloaded() }.because(Some(describe(&error)))
    }

    /// This node is not the active one, or stops.
    pub fn standby() -> Problem {
        Problem { retry_after: Some(RETRY_OVERLOADED), ..Code::Standby.into() }
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
        Problem::from(Code::InternalError).because(Some(cause.to_string()))
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

/// The problem with nothing more precise to say than what its code says.
impl From<Code> for Problem {
    fn from(code: Code) -> Problem {
        Problem::new(code, code.remedy())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.title(), self.detail)
    }
}

/// An error: problem details (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody<'a> {
    /// The address of the page that explains the code, relative to the address of the request.
    #[schema(format = "uri-reference")]
    r#type: String,
    /// The error in a few words. It is the same for all errors of a code.
    title: &'static str,
    /// The HTTP status of the answer.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What is wrong in this case, and how to correct it. For people: its words may change.
    detail: &'a str,
    /// The stable name of the error. Programs decide by it.
    code: Code,
    /// Only with `validation_failed`: each field that is invalid.
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    #[schema(required = false)]
    errors: &'a [FieldError],
}

impl Problem {
    pub fn body(&self) -> ProblemBody<'_> {
        ProblemBody {
            r#type: problems::address(self.code),
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
            SaleError::NotPayable => Code::PaymentNotPayable.into(),
            SaleError::NotReserved => Code::TicketNotReserved.into(),
            SaleError::Refused(refused) => refused.into(),
            SaleError::OutcomeUnknown => Code::OutcomeUnknown.into(),
        }
    }
}

impl From<OrderRefusal> for Problem {
    fn from(refusal: OrderRefusal) -> Problem {
        match refusal {
            OrderRefusal::NotOpen => Code::DrawNotOpen.into(),
            OrderRefusal::InvalidPick { line, error } => Problem::field(format!("tickets[{line}].numbers"), error),
            OrderRefusal::TooManyReservations(TooManyReservations { open, limit }) => Problem::new(
                Code::TooManyReservations,
                format!(
                    "{open} of your tickets are reserved and not paid, and at most {limit} may be: {}",
                    Code::TooManyReservations.remedy()
                ),
            ),
            OrderRefusal::TicketUnavailable { line } => Problem::new(
                Code::TicketUnavailable,
                format!(
                    "tickets[{line}]: this ticket is sold, reserved or not of this draw's pool; nothing was taken"
                ),
            ),
            OrderRefusal::KeyInFlight => Code::IdempotencyInProgress.into(),
            OrderRefusal::PoolEmpty => Code::PoolEmpty.into(),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refused: Refusal) -> Problem {
        match refused {
            Refusal::InsufficientFunds => Code::InsufficientFunds.into(),
            Refusal::NotPayable => SaleError::NotPayable.into(),
            error @ (Refusal::Ended(_) | Refusal::ChargeEnded(_)) => {
                Problem::new(Code::InvalidTransition, error.to_string())
            }
            Refusal::OwnWithdrawal => Code::OwnWithdrawal.into(),
            Refusal::OwnPayment => Code::OwnPayment.into(),
            Refusal::KeyReused => Code::IdempotencyKeyReused.into(),
            // The draw is being loaded again: the same call works in a moment.
            Refusal::Overloaded | Refusal::StaleEpoch | Refusal::TicketLog(_) => Problem::overloaded(),
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
            StepRefusal::CloseToRound(_) => Problem::new(Code::InvalidTransition, refusal.to_string()),
            StepRefusal::BeaconNotReady(_) => {
                Problem::new(Code::BeaconNotReady, format!("{refusal}: {}", Code::BeaconNotReady.remedy()))
            }
            StepRefusal::DrawWaits(_) => {
                Problem::new(Code::DrawWaits, format!("{refusal}: {}", Code::DrawWaits.remedy()))
            }
            StepRefusal::DrawDue => Problem::new(Code::DrawDue, refusal.to_string()),
            StepRefusal::Overloaded | StepRefusal::Unavailable => Problem::overloaded(),
            StepRefusal::Failed => Problem::internal("a step of a draw's life failed"),
            StepRefusal::ListMismatch => Code::ListMismatch.into(),
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
    Code::NotFound.into()
}

impl actix_web::Responder for Problem {
    type Body = actix_web::body::BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        self.error_response()
    }
}
