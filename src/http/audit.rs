//! What the HTTP layer tells the audit log beside the changes that admins make: their log-ins, refused calls, and reads of
//! one user's data. Also logs log-ins. No text that a client sent goes into an entry or a line: where a name is expected,
//! people type passwords.

use std::collections::BTreeSet;
use std::net::IpAddr;

use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::{HttpMessage, HttpRequest};
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::error::Problem;
use super::state::State;
use crate::db::read::users::User;
use crate::domain::audit::{Action, AuditActor, AuditEntry, Subject};
use crate::domain::id::UserId;
use crate::domain::user::Role;

/// The id of a request, for those that may leave an entry.
#[derive(Clone, Copy)]
struct RequestId(Uuid);

/// Keeps a request's id if the request may leave an entry in the audit log. All others are spared the allocation.
pub fn keep_id(request: &ServiceRequest, id: Uuid) {
    // As the router compares it: decoded.
    let path = request.match_info().as_str();
    if path.starts_with("/api/v1/admin") || ["/api/v1/auth/login", "/web/session"].contains(&path) {
        request.extensions_mut().insert(RequestId(id));
    }
}

/// The client's address and the request's id.
fn origin(state: &State, request: &HttpRequest) -> Result<(IpAddr, Uuid), Problem> {
    let id = request.extensions().get::<RequestId>().copied();
    let RequestId(id) = id.ok_or_else(|| Problem::internal("the request's id was not kept"))?;
    Ok((state.proxies.client(request), id))
}

/// A user in this request, for the audit log.
pub fn actor(state: &State, request: &HttpRequest, user: UserId) -> Result<AuditActor, Problem> {
    let (address, request) = origin(state, request)?;
    Ok(AuditActor { user, address, request })
}

/// The entry of a log-in, if the user is an admin: it is written with the session.
pub fn login(
    state: &State,
    request: &HttpRequest,
    user: &User,
    at: Timestamp,
) -> Result<Option<AuditEntry>, Problem> {
    if user.role != Role::Admin {
        return Ok(None);
    }
    let actor = actor(state, request, user.id)?;
    Ok(Some(AuditEntry::once(Some(actor), Action::LogIn, Subject::User(user.id), json!({}), at)))
}

/// Logs a log-in.
pub fn log_login(state: &State, request: &HttpRequest, user: &User) -> Result<(), Problem> {
    let (address, request) = origin(state, request)?;
    tracing::info!(user = %user.id, role = user.role.as_str(), %address, %request, "a user logged in");
    Ok(())
}

/// Logs a log-in that failed, and counts it if the account is an admin's. It is not written before the answer: the time of
/// the answer would tell which accounts are admins'.
pub fn login_failed(state: &State, request: &HttpRequest, user: Option<&User>) -> Result<(), Problem> {
    let Some(user) = user else {
        let (address, request) = origin(state, request)?;
        tracing::info!(%address, %request, "a log-in failed: no such user");
        return Ok(());
    };
    let actor = actor(state, request, user.id)?;
    let AuditActor { address, request, .. } = actor;
    if user.role == Role::Admin {
        tracing::warn!(user = %user.id, %address, %request, "a log-in of an admin failed: another password");
        count(state, actor, Action::FailLogIn, json!({}));
    } else {
        tracing::info!(user = %user.id, %address, %request, "a log-in failed: another password");
    }
    Ok(())
}

/// The same for the right password of a blocked account.
pub fn login_blocked(state: &State, request: &HttpRequest, user: &User) -> Result<(), Problem> {
    let actor = actor(state, request, user.id)?;
    let AuditActor { address, request, .. } = actor;
    tracing::warn!(user = %user.id, role = user.role.as_str(), %address, %request, "a log-in failed: the account is blocked");
    if user.role == Role::Admin {
        count(state, actor, Action::BlockLogIn, json!({}));
    }
    Ok(())
}

/// Counts a call under `/admin` of a user who may not make it. Only the first of a minute is logged: the log must not
/// fill up either.
pub fn refused(state: &State, request: &HttpRequest, user: UserId) -> Result<(), Problem> {
    let actor = actor(state, request, user)?;
    let known = [Method::GET, Method::POST, Method::PATCH, Method::PUT, Method::DELETE];
    let method = known.iter().find(|known| *known == request.method()).map(Method::as_str);
    // The route's pattern, not the path: that may have any length.
    let route = request.match_pattern();
    if count(state, actor, Action::RefuseCall, json!({"method": method, "route": route})) {
        let AuditActor { address, request, .. } = actor;
        tracing::warn!(%user, %address, %request, route, "a call that only admins may make was refused");
    }
    Ok(())
}

fn count(state: &State, actor: AuditActor, action: Action, detail: serde_json::Value) -> bool {
    let (subject, at) = (Subject::User(actor.user), state.clock.now());
    state.audit.count(AuditEntry::once(Some(actor), action, subject, detail, at))
}

/// Records what an admin reads, before the admin sees it. If that fails, nothing is shown.
pub async fn record_read(
    state: &State,
    actor: AuditActor,
    action: Action,
    subjects: impl IntoIterator<Item = Subject>,
    detail: serde_json::Value,
) -> Result<(), Problem> {
    let at = state.clock.now();
    let entry = |subject| AuditEntry::once(Some(actor), action, subject, detail.clone(), at);
    let entries: Vec<AuditEntry> = subjects.into_iter().map(entry).collect();
    if entries.is_empty() {
        return Ok(());
    }
    state.persistence.record(&entries).await.map_err(Problem::unrecorded)
}

/// Records that an admin reads what belongs to these users; once for each, however often the query names it.
pub async fn record_read_of_users(
    state: &State,
    actor: AuditActor,
    action: Action,
    users: &[i64],
) -> Result<(), Problem> {
    let users: BTreeSet<i64> = users.iter().copied().collect();
    record_read(state, actor, action, users.into_iter().map(|user| Subject::User(UserId(user))), json!({})).await
}
