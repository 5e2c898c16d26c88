//! The calls about a user's own log-ins. A session begins, goes on and ends by its own token in `auth.rs`; here its user
//! sees and ends it from another one.

use std::net::IpAddr;

use actix_web::{HttpRequest, HttpResponse, web};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::auth::end_sessions;
use super::auth_user::AuthUser;
use super::error::Problem;
use super::query::{List, PageParams, Query, path_id};
use super::state::State;
use crate::db::read::users;
use crate::domain::id::SessionId;

/// A log-in of the user.
#[derive(Serialize, ToSchema)]
#[schema(as = Session, example = json!({
    "id": "01970000-0000-7000-8000-000000000000", "created_at": "2030-05-01T12:00:00Z",
    "last_used_at": "2030-05-01T12:15:00Z", "address": "203.0.113.7", "current": true
}))]
pub struct SessionBody {
    /// The session's id.
    id: Uuid,
    /// When the user logged in.
    created_at: Timestamp,
    /// When its tokens were last refreshed; at first, when the user logged in.
    last_used_at: Timestamp,
    /// The client's address at that time. Null: it was not recorded yet.
    #[schema(value_type = Option<String>, required)]
    address: Option<IpAddr>,
    /// Whether it is the session of this call.
    current: bool,
}

/// The logged-in user's sessions, newest first.
///
/// Each is a log-in that has not ended: a browser, or another client.
#[utoipa::path(
    get, path = "/api/v1/me/sessions", tag = "auth", operation_id = "list_sessions",
    params(PageParams),
    security(("bearer" = [])),
    responses((status = 200, body = List<SessionBody>)),
)]
pub async fn list(
    state: web::Data<State>,
    auth: AuthUser,
    request: HttpRequest,
) -> Result<web::Json<List<SessionBody>>, Problem> {
    let page = Query::of(&request, &["limit", "cursor"])?.page()?;
    let rows = users::sessions(&state.db, (auth.user, auth.session), state.clock.now(), page).await?;
    Ok(web::Json(List::of(rows, |session| SessionBody {
        id: session.id.0,
        created_at: session.created_at,
        last_used_at: session.used_at,
        address: session.address,
        current: session.id == auth.session,
    })))
}

/// Ends one of the logged-in user's sessions.
///
/// All its tokens become invalid at once. The session of this call can be ended, too.
#[utoipa::path(
    delete, path = "/api/v1/me/sessions/{id}", tag = "auth", operation_id = "end_session",
    params(("id" = Uuid, Path, description = "The session's `id`.")),
    security(("bearer" = [])),
    responses((status = 204)),
)]
pub async fn end(state: web::Data<State>, auth: AuthUser, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let session = SessionId(path_id(&request, "session")?);
    let (persistence, user) = (state.persistence.clone(), auth.user);
    let end = async move { persistence.end_session_of(user, session).await };
    let ended = move |ended: &bool| if *ended { vec![session] } else { Vec::new() };
    match end_sessions(&state, end, ended).await? {
        true => Ok(HttpResponse::NoContent().finish()),
        false => Err(Problem::not_found("session")),
    }
}
