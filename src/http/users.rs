//! The calls of admins about users. Does not check that the caller is an admin: the router's middleware does.

use actix_web::{HttpRequest, web};
use jiff::Timestamp;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::audit;
use super::auth_user::AdminUser;
use super::body::Body;
use super::completion::complete;
use super::error::{Code, Problem};
use super::query::{List, PageParams, Query, path_id};
use super::state::State;
use crate::actors::persistence::UserChangeRefusal;
use crate::auth::OpaqueToken;
use crate::db::read::users::{self, User};
use crate::db::read::wallet;
use crate::domain::audit::{Action, Subject};
use crate::domain::id::UserId;
use crate::domain::money::{Currency, Money};
use crate::domain::user::{Role, UserStatus};

/// The longest part of a name or an address to search for.
const MAX_QUERY: usize = 254;

/// All users, newest first.
///
/// `status=blocked` and `role=admin` narrow the list.
#[utoipa::path(
    get, path = "/api/v1/admin/users", tag = "admin", operation_id = "list_users",
    params(
        ("query" = Option<String>, Query, description = "A part of a username or an email address."),
        ("status" = Option<Vec<UserStatus>>, Query, description = "Only users with one of these statuses."),
        ("role" = Option<Vec<Role>>, Query, description = "Only users with one of these roles."),
        PageParams,
    ),
    security(("bearer" = [])),
    responses((status = 200, body = List<User>)),
)]
pub async fn list(state: web::Data<State>, request: HttpRequest) -> Result<web::Json<List<User>>, Problem> {
    let query = Query::of(&request, &["query", "status", "role", "limit", "cursor"])?;
    let legal = |text: &str| (text.len() <= MAX_QUERY && !text.contains('\0')).then(|| text.trim().to_owned());
    let parts = query.all("query", legal, "must be a part of a username or an email address")?;
    let part = parts.last().filter(|part| !part.is_empty());
    let statuses = query.all("status", UserStatus::parse, "must be active or blocked")?;
    let roles = query.all("role", Role::parse, "must be player or admin")?;
    let rows = users::list(&state.db, part.map(String::as_str), &statuses, &roles, query.page()?).await?;
    Ok(web::Json(List::of(rows, |user| user)))
}

/// A user with the balance of the wallet.
#[derive(Serialize, ToSchema)]
#[schema(as = UserWithBalance)]
pub struct FundedUser {
    #[serde(flatten)]
    user: User,
    /// The balance of the wallet, in minor units, without what is set aside for withdrawals.
    balance: Money,
    /// The currency of the balance.
    currency: Currency,
}

/// A user with the balance of the wallet.
///
/// That an admin has read it is recorded in the audit log.
#[utoipa::path(
    get, path = "/api/v1/admin/users/{id}", tag = "admin", operation_id = "get_user",
    params(("id" = i64, Path, description = "The user's id.")),
    security(("bearer" = [])),
    responses((status = 200, body = FundedUser)),
)]
pub async fn one(
    state: web::Data<State>,
    AdminUser(actor): AdminUser,
    request: HttpRequest,
) -> Result<web::Json<FundedUser>, Problem> {
    let id = UserId(path_id(&request, "user")?);
    let user = users::one(&state.db, id).await?.ok_or_else(|| Problem::not_found("user"))?;
    let balance = wallet::balance(&state.db, id).await?;
    audit::record_read(&state, actor, Action::ReadUser, [Subject::User(id)], json!({})).await?;
    Ok(web::Json(FundedUser { user, balance, currency: state.currency }))
}

/// What to change of a user. What is not given stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UserChange, example = json!({"status": "blocked"}))]
pub struct UserChange {
    /// `blocked`: the user can no longer log in or make calls, until the status is `active` again.
    status: Option<UserStatus>,
    /// `admin` lets the user make the calls under `/admin`.
    role: Option<Role>,
}

/// Changes the status or the role of a user.
///
/// It counts from the user's next request on, also with tokens that were given before.
#[utoipa::path(
    patch, path = "/api/v1/admin/users/{id}", tag = "admin", operation_id = "change_user",
    params(("id" = i64, Path, description = "The user's id.")),
    request_body = UserChange,
    security(("bearer" = [])),
    responses((status = 200, body = User), (status = "default", description = "last_admin")),
)]
pub async fn change(
    state: web::Data<State>,
    AdminUser(actor): AdminUser,
    request: HttpRequest,
    Body(body): Body<UserChange>,
) -> Result<web::Json<User>, Problem> {
    let id = UserId(path_id(&request, "user")?);
    let cached = state.clone();
    let change = async move {
        let at = cached.clock.now();
        let changed = cached.persistence.change_user(id, body.status, body.role, actor, at).await;
        // Before the response, and also when the outcome is not known.
        cached.access.forget(id);
        changed
    };
    match complete(change).await?? {
        Ok(user) => Ok(web::Json(user)),
        Err(UserChangeRefusal::NoSuchUser) => Err(Problem::not_found("user")),
        Err(UserChangeRefusal::LastAdmin) => Err(Code::LastAdmin.into()),
    }
}

/// A token for a password reset. The admin gives it to the user.
#[derive(Serialize, ToSchema)]
#[schema(as = ResetToken, example = json!({"token": "…", "expires_at": "2030-05-01T13:00:00Z"}))]
pub struct ResetToken {
    /// For `POST /auth/password-reset`, once.
    token: String,
    /// Until when it works.
    expires_at: Timestamp,
}

/// Creates a token that resets a user's password.
///
/// Give it to the user. A new token replaces the earlier one.
#[utoipa::path(
    post, path = "/api/v1/admin/users/{id}/password-reset", tag = "admin", operation_id = "create_password_reset",
    params(("id" = i64, Path, description = "The user's id.")),
    security(("bearer" = [])),
    responses((status = 200, body = ResetToken)),
)]
pub async fn reset_password(
    state: web::Data<State>,
    AdminUser(actor): AdminUser,
    request: HttpRequest,
) -> Result<web::Json<ResetToken>, Problem> {
    let id = UserId(path_id(&request, "user")?);
    let token = OpaqueToken::generate(&mut UnwrapErr(SysRng));
    let now = state.clock.now();
    let expires_at = now + state.reset_ttl;
    let known = state.persistence.allow_reset(id, &token.hash(), expires_at, actor, now).await?;
    if !known {
        return Err(Problem::not_found("user"));
    }
    tracing::info!(user = %id, "a token for a password reset was created");
    Ok(web::Json(ResetToken { token: token.expose(), expires_at }))
}
