//! The logged-in user of a request. The access token says who it is, and never what the user may do. Whether its
//! session is active, and the user's role and status, come from caches, or from the database if they are not cached.

use actix_web::body::MessageBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::AUTHORIZATION;
use actix_web::middleware::Next;
use actix_web::{Error, FromRequest, HttpMessage, HttpRequest, web};
use futures_util::future::{Either, FutureExt, LocalBoxFuture, Ready, ready};

use super::audit;
use super::error::{Code, Problem};
use super::state::State;
use crate::auth::{Claims, UserAccess};
use crate::db::read::users;
use crate::domain::audit::AuditActor;
use crate::domain::id::{SessionId, UserId};
use crate::domain::user::{Role, UserStatus};

/// The logged-in user, who is not blocked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AuthUser {
    pub user: UserId,
    pub role: Role,
    /// The session that the token belongs to.
    pub session: SessionId,
}

impl AuthUser {
    /// Whether the user is an admin, and admins are kept from playing.
    pub fn may_not_play(self, state: &State) -> bool {
        self.role == Role::Admin && !state.admins_play
    }
}

impl FromRequest for AuthUser {
    type Error = Problem;
    type Future = Either<Ready<Result<AuthUser, Problem>>, LocalBoxFuture<'static, Result<AuthUser, Problem>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        // Nearly always both are cached, and there is nothing to wait for.
        match state_and_claims(request).map(|(state, claims)| cached(state, claims)) {
            Ok(Some(result)) => ready(result).left_future(),
            Ok(None) => {
                let request = request.clone();
                async move { auth_user(&request).await }.boxed_local().right_future()
            }
            Err(problem) => ready(Err(problem)).left_future(),
        }
    }
}

async fn auth_user(request: &HttpRequest) -> Result<AuthUser, Problem> {
    let (state, claims) = state_and_claims(request)?;
    let lookup = async { users::of_session(&state.db, claims.session).await };
    check_session(claims, state.sessions.get_or_load(claims.session, lookup).await?)?;
    let access = state.access.get_or_load(claims.user, load(state, claims.user)).await?;
    may_call(claims, access)
}

/// The same from the caches alone. `None`: the database has to be asked.
fn cached(state: &State, claims: Claims) -> Option<Result<AuthUser, Problem>> {
    let (user, access) = (state.sessions.get(claims.session)?, state.access.get(claims.user)?);
    Some(check_session(claims, user).and_then(|()| may_call(claims, access)))
}

fn state_and_claims(request: &HttpRequest) -> Result<(&State, Claims), Problem> {
    let state = request.app_data::<web::Data<State>>().ok_or_else(|| Problem::internal("no state"))?;
    let token = bearer(request).ok_or(Code::Unauthorized)?;
    let claims = state
        .tokens
        .verify(token, state.clock.now())
        .map_err(|_| Problem::unauthorized("the access token is invalid or expired: refresh it"))?;
    Ok((state, claims))
}

/// Refuses a token whose session has ended, does not exist, or belongs to another user.
fn check_session(claims: Claims, user: Option<UserId>) -> Result<(), Problem> {
    if user == Some(claims.user) { Ok(()) } else { Err(Problem::unauthorized("this session has ended: log in")) }
}

fn may_call(claims: Claims, access: UserAccess) -> Result<AuthUser, Problem> {
    match access.status {
        UserStatus::Active => Ok(AuthUser { user: claims.user, role: access.role, session: claims.session }),
        UserStatus::Blocked => Err(Code::AccountBlocked.into()),
    }
}

/// The access token (RFC 6750, section 2.1). Upper and lower case of the scheme are equal.
fn bearer(request: &HttpRequest) -> Option<&str> {
    let header = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

async fn load(state: &State, user: UserId) -> Result<UserAccess, Problem> {
    let known = users::one(&state.db, user).await?;
    let known = known.ok_or_else(|| Problem::unauthorized("this user does not exist"))?;
    Ok(UserAccess { role: known.role, status: known.status })
}

/// Refuses everything under `/admin` to all but admins. 401 and 403 come first, also for unknown addresses.
pub async fn admins_only(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    match admin(request.request()).await {
        Ok(actor) => {
            request.extensions_mut().insert(actor);
            next.call(request).await.map(ServiceResponse::map_into_left_body)
        }
        Err(problem) => Ok(request.error_response(problem).map_into_right_body()),
    }
}

/// The admin who sent a request. A user who is none is counted for the audit log; without a valid token there is no user.
async fn admin(request: &HttpRequest) -> Result<AuditActor, Problem> {
    let (state, claims) = state_and_claims(request)?;
    match auth_user(request).await {
        Ok(auth) if auth.role == Role::Admin => audit::actor(state, request, auth.user),
        Ok(_) => {
            audit::refused(state, request, claims.user)?;
            Err(Code::Forbidden.into())
        }
        Err(problem) => {
            if problem.code() == Code::AccountBlocked {
                audit::refused(state, request, claims.user)?;
            }
            Err(problem)
        }
    }
}

/// The admin who makes a call under `/admin`, as [`admins_only`] found.
pub struct AdminUser(pub AuditActor);

impl FromRequest for AdminUser {
    type Error = Problem;
    type Future = Ready<Result<AdminUser, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let actor = request.extensions().get::<AuditActor>().copied();
        ready(actor.map(AdminUser).ok_or_else(|| Problem::internal("a call of admins outside of /admin")))
    }
}
