//! The calls of admins about the machine's clock. Does not check that the caller is an admin: the router's middleware
//! does.

use actix_web::web;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::auth_user::AdminUser;
use super::error::Problem;
use super::state::State;
use crate::clock::ClockReport;
use crate::domain::audit::{Action, AuditEntry, Subject};

/// The machine's clock.
#[derive(Serialize, ToSchema)]
#[schema(as = Clock, example = json!({"wall": "2030-05-01T15:00:00Z", "offset_ms": 10_800_000, "paused": true}))]
pub struct ClockBody {
    /// What the clock shows.
    wall: Timestamp,
    /// How far it is ahead of the time that is expected since the start; negative if it is behind.
    offset_ms: i64,
    /// Whether draws, schedules and housekeeping do nothing by the clock.
    paused: bool,
}

impl From<ClockReport> for ClockBody {
    fn from(report: ClockReport) -> ClockBody {
        ClockBody { wall: report.wall, offset_ms: report.departure_ms(), paused: !report.trusted }
    }
}

/// The machine's clock, and whether it is trusted.
///
/// If the clock is set while the service runs, draws wait until an admin confirms it.
#[utoipa::path(
    get, path = "/api/v1/admin/clock", tag = "admin", operation_id = "get_clock",
    security(("bearer" = [])),
    responses((status = 200, body = ClockBody)),
)]
pub async fn show(state: web::Data<State>) -> web::Json<ClockBody> {
    web::Json(state.clock.report().into())
}

/// Confirms that the clock is right.
///
/// After it was set: draws go on by it. Look at `GET /admin/clock` first.
#[utoipa::path(
    post, path = "/api/v1/admin/clock/confirm", tag = "admin", operation_id = "confirm_clock",
    security(("bearer" = [])),
    responses((status = 200, body = ClockBody)),
)]
pub async fn confirm(
    state: web::Data<State>,
    AdminUser(actor): AdminUser,
) -> Result<web::Json<ClockBody>, Problem> {
    let report = state.clock.report();
    if !report.trusted {
        let detail = json!({"offset_ms": report.departure_ms()});
        let (action, subject, at) = (Action::ConfirmClock, Subject::Clock, report.wall);
        // It is recorded before it has an effect. If the clock is set again meanwhile, that is not confirmed.
        state.persistence.record(&[AuditEntry::once(Some(actor), action, subject, detail, at)]).await?;
        state.clock.confirm(report);
    }
    Ok(web::Json(state.clock.report().into()))
}
