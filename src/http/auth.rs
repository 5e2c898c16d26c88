//! The calls about a user's own account: registration, log-in, refresh, log-out, passwords, and the logged-in
//! user.

use actix_web::{HttpRequest, HttpResponse, web};
use jiff::SignedDuration;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::audit;
use super::auth_user::AuthUser;
use super::body::Body;
use super::completion::complete;
use super::error::{Code, FieldError, Problem};
use super::limits::GuessedAccount;
use super::state::State;
use crate::actors::persistence::{DuplicateName, TokenRotation};
use crate::auth::{OpaqueToken, Password, PasswordError, PasswordUse};
use crate::db::DbError;
use crate::db::read::users::{self, User};
use crate::domain::id::{SessionId, UserId};
use crate::domain::user::{Email, Name, UserStatus, Username};

type SharedState = web::Data<State>;

/// The longest login that is looked up. No username and no address is longer.
const MAX_LOGIN: usize = 254;

/// A player to register.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Registration, example = json!({"username": "ann", "email": "ann@example.com", "password": "battery staple", "name": "Ann"}))]
pub struct Register {
    /// The name to log in with. Upper and lower case make no difference.
    #[schema(pattern = "^[A-Za-z0-9_.-]{3,32}$")]
    username: String,
    /// The email address, with which the user can log in too. Upper and lower case make no difference.
    #[schema(format = Email, max_length = 254)]
    email: String,
    /// 8 to 128 characters of any kind. Passwords that many people use are refused, and so is the own name.
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 128)]
    password: SecretString,
    /// The name of the person, if it shall be known.
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
}

/// Registers a player.
///
/// The wallet is there at once, with a balance of 0. Log in next: registration gives no token. Admins are made at the
/// command line or by another admin.
#[utoipa::path(
    post, path = "/api/v1/auth/register", tag = "auth", operation_id = "register",
    request_body = Register,
    responses(
        (status = 201, body = User),
        (status = "default", description = "username_taken email_taken rate_limited"),
    ),
)]
pub async fn register(
    state: SharedState,
    request: HttpRequest,
    Body(body): Body<Register>,
) -> Result<HttpResponse, Problem> {
    let now = state.clock.now();
    let mut errors = Vec::new();
    let username = check(&mut errors, "username", Username::parse(&body.username));
    let email = check(&mut errors, "email", Email::parse(&body.email));
    let names = (body.username.as_str(), body.email.as_str());
    let password = check(&mut errors, "password", new_password(&state, &body.password, names));
    let name = body.name.as_deref().map(|name| check(&mut errors, "name", Name::parse(name)));
    let (Some(username), Some(email), Some(password)) = (username, email, password) else {
        return Err(Problem::validation(errors));
    };
    if !errors.is_empty() {
        return Err(Problem::validation(errors));
    }
    let network = state.proxies.network(&request);
    state.limits.registration(network, state.clock.since_boot())?;
    let account = PasswordUse::Registration(username.as_str().to_lowercase());
    let hash = state.hasher.hash(account, password).await?;
    let name = name.flatten();
    let user = state.persistence.register((&username, &email, name.as_ref()), &hash, now).await?;
    let user = user.map_err(|taken| match taken {
        DuplicateName::Username => Code::UsernameTaken,
        DuplicateName::Email => Code::EmailTaken,
    })?;
    state.limits.remember(user.id, network);
    tracing::info!(user = %user.id, "a player registered");
    Ok(HttpResponse::Created().json(user))
}

/// A password that the user with this name and address may set.
fn new_password(state: &State, text: &SecretString, names: (&str, &str)) -> Result<Password, PasswordError> {
    use secrecy::ExposeSecret;
    state.password_policy.parse(text.expose_secret(), names.0, names.1)
}

/// Collects the error of a field.
fn check<T, E: std::fmt::Display>(errors: &mut Vec<FieldError>, field: &str, parsed: Result<T, E>) -> Option<T> {
    match parsed {
        Ok(value) => Some(value),
        Err(error) => {
            errors.push(FieldError { field: field.to_owned(), message: error.to_string() });
            None
        }
    }
}

/// Who logs in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"login": "ann", "password": "battery staple"}))]
pub struct Login {
    /// The username or the email address.
    login: String,
    /// The password.
    #[schema(value_type = String, format = Password)]
    password: SecretString,
}

/// The tokens that begin or continue a session, and whose it is.
pub struct IssuedTokens {
    pub access: String,
    /// In how many seconds the access token expires.
    pub expires_in: u64,
    pub refresh: OpaqueToken,
    pub user: User,
}

impl IssuedTokens {
    fn new(state: &State, user: User, session: SessionId, refresh: OpaqueToken) -> IssuedTokens {
        let access = state.tokens.issue(user.id, session, state.clock.now());
        IssuedTokens { access, expires_in: state.tokens.ttl().as_secs(), refresh, user }
    }
}

/// A pair of tokens (RFC 6749, section 5.1).
#[derive(Serialize, ToSchema)]
#[schema(as = Tokens, example = json!({
    "access_token": "eyJ…", "token_type": "Bearer", "expires_in": 900, "refresh_token": "…"
}))]
struct Pair {
    /// For the header `Authorization: Bearer …` of all other calls.
    access_token: String,
    /// Always `Bearer`.
    token_type: &'static str,
    /// In how many seconds the access token expires.
    expires_in: u64,
    /// For the next pair of tokens, once: see `POST /auth/refresh`.
    refresh_token: String,
}

impl Pair {
    fn of(tokens: &IssuedTokens) -> Pair {
        Pair {
            access_token: tokens.access.clone(),
            token_type: "Bearer",
            expires_in: tokens.expires_in,
            refresh_token: tokens.refresh.expose(),
        }
    }
}

/// Logs in by username or email address.
///
/// Begins a session. Its access token is short-lived; `POST /auth/refresh` gives the next one.
#[utoipa::path(
    post, path = "/api/v1/auth/login", tag = "auth", operation_id = "log_in",
    request_body = Login,
    responses(
        (status = 200, body = Pair),
        (status = "default", description = "invalid_credentials account_blocked rate_limited"),
    ),
)]
pub async fn login(
    state: SharedState,
    request: HttpRequest,
    Body(body): Body<Login>,
) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(Pair::of(&begin_session(&state, &request, body).await?)))
}

/// Begins a session of the user who has this name and this password.
pub async fn begin_session(
    state: &SharedState,
    request: &HttpRequest,
    body: Login,
) -> Result<IssuedTokens, Problem> {
    let now = state.clock.now();
    let network = state.proxies.network(request);
    state.limits.login(network, state.clock.since_boot())?;
    let found = match body.login.len() <= MAX_LOGIN && !body.login.contains('\0') {
        true => users::by_login(&state.db, &body.login).await?,
        false => None,
    };
    let (user, hash) = found.map_or((None, None), |(user, hash)| (Some(user), Some(hash)));
    let account = guessed_account(user.as_ref(), &body.login);
    let guess = state.limits.guess(account, user.as_ref().map(|user| user.id), network);
    guess.check(state.clock.since_boot())?;
    // An unknown user takes as long as a known one, so that the time does not tell which names exist.
    let typed = PasswordUse::LogIn(typed_login(&body.login));
    let right = state.hasher.verify(typed, body.password, hash.clone()).await?;
    let wrong = || Problem::from(Code::InvalidCredentials);
    let Some((user, hash)) = user.clone().zip(hash).filter(|_| right) else {
        audit::login_failed(state, request, user.as_ref())?;
        guess.failed(state.clock.since_boot())?;
        return Err(wrong());
    };
    guess.check(state.clock.since_boot())?;
    if user.status == UserStatus::Blocked {
        audit::login_blocked(state, request, &user)?;
        return Err(Code::AccountBlocked.into());
    }
    let session = SessionId(state.clock.ids().next(now));
    let refresh = OpaqueToken::generate(&mut UnwrapErr(SysRng));
    let (token, entry) = (refresh.refresh_hashes(), audit::login(state, request, &user, now)?);
    let begun = (session, state.proxies.client(request));
    let (persistence, id, lifetimes) = (state.persistence.clone(), user.id, state.session_lifetimes);
    let begin =
        async move { persistence.begin_session(begun, (id, &hash), &token, lifetimes, entry.as_ref(), now).await };
    if end_sessions(state, begin, |begun| begun.clone().unwrap_or_default()).await?.is_none() {
        // The password was changed after it was checked.
        audit::login_failed(state, request, Some(&user))?;
        return Err(wrong());
    }
    state.limits.remember(user.id, network);
    audit::log_login(state, request, &user)?;
    Ok(IssuedTokens::new(state, user, session, refresh))
}

/// Runs a write that ends sessions to its end, and forgets these sessions: the cache must not keep what is committed as
/// ended, also when the client has hung up meanwhile.
pub async fn end_sessions<T: 'static>(
    state: &SharedState,
    write: impl Future<Output = Result<T, DbError>> + 'static,
    ended: impl Fn(&T) -> Vec<SessionId> + 'static,
) -> Result<T, Problem> {
    let state = state.clone();
    let end = async move {
        let written = write.await?;
        ended(&written).into_iter().for_each(|session| state.sessions.forget(session));
        Ok::<T, DbError>(written)
    };
    Ok(complete(end).await??)
}

/// The account that wrong passwords are counted for: the name that was typed, as its user has it, or as it was typed if
/// no user has it. A username never contains an `@`, and an address always does.
fn guessed_account(user: Option<&User>, login: &str) -> GuessedAccount {
    let name = match user {
        Some(user) if login.contains('@') => &user.email,
        Some(user) => &user.username,
        None => login,
    };
    GuessedAccount::named(&name.to_lowercase())
}

/// A login in lower case and cut to a limited length.
fn typed_login(login: &str) -> String {
    login.chars().take(MAX_LOGIN).collect::<String>().to_lowercase()
}

/// The refresh token of a session.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RefreshToken, example = json!({"refresh_token": "…"}))]
pub struct Refresh {
    /// The newest `refresh_token` of the session.
    #[schema(value_type = String)]
    refresh_token: SecretString,
}

impl Refresh {
    fn parse(&self) -> Result<OpaqueToken, Problem> {
        use secrecy::ExposeSecret;
        OpaqueToken::parse(self.refresh_token.expose_secret()).map_err(|_| bad_refresh_token())
    }
}

fn bad_refresh_token() -> Problem {
    Problem::unauthorized("the refresh token is invalid or expired: log in")
}

/// Exchanges a refresh token for a new pair of tokens.
///
/// A refresh token can be used once. If it is used again, somebody else may have it: the whole session ends.
#[utoipa::path(
    post, path = "/api/v1/auth/refresh", tag = "auth", operation_id = "refresh_tokens",
    request_body = Refresh,
    responses(
        (status = 200, body = Pair),
        (status = "default", description = "unauthorized account_blocked rate_limited"),
    ),
)]
pub async fn refresh(
    state: SharedState,
    request: HttpRequest,
    Body(body): Body<Refresh>,
) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(Pair::of(&refresh_session(&state, &request, body.parse()?, None).await?)))
}

/// Continues the session of a refresh token, which is spent by that. Within the `leeway` it may be spent again.
pub async fn refresh_session(
    state: &SharedState,
    request: &HttpRequest,
    old: OpaqueToken,
    leeway: Option<SignedDuration>,
) -> Result<IssuedTokens, Problem> {
    let new = old.successor(&mut UnwrapErr(SysRng));
    let (hashes, now) = (old.refresh_hashes(), state.clock.now());
    let (network, address) = (state.proxies.network(request), state.proxies.client(request));
    state.limits.refresh(network, state.clock.since_boot())?;
    let (persistence, hash, times) = (state.persistence.clone(), new.hash(), (state.session_lifetimes, leeway));
    let rotate = async move { persistence.rotate(&hashes, &hash, times, address, now).await };
    let reused = |rotation: &TokenRotation| match rotation {
        TokenRotation::Reused(_, session) => vec![*session],
        TokenRotation::New(..) | TokenRotation::Invalid => Vec::new(),
    };
    match end_sessions(state, rotate, reused).await? {
        TokenRotation::New(user, session) => {
            let user = users::one(&state.db, user).await?.ok_or_else(no_such_user)?;
            if user.status == UserStatus::Blocked {
                return Err(Code::AccountBlocked.into());
            }
            // After a restart this is how the networks of those who are logged in become known again.
            state.limits.remember(user.id, network);
            Ok(IssuedTokens::new(state, user, session, new))
        }
        TokenRotation::Reused(user, session) => {
            tracing::warn!(%user, session = %session.0, "a used refresh token was sent again; its session has ended");
            Err(bad_refresh_token())
        }
        TokenRotation::Invalid => Err(bad_refresh_token()),
    }
}

/// Logs out: ends the session of a refresh token.
///
/// All tokens of the session become invalid at once. An unknown token is no error: there is nothing to end.
#[utoipa::path(
    post, path = "/api/v1/auth/logout", tag = "auth", operation_id = "log_out",
    request_body = Refresh,
    responses((status = 204), (status = "default", description = "rate_limited")),
)]
pub async fn logout(
    state: SharedState,
    request: HttpRequest,
    Body(body): Body<Refresh>,
) -> Result<HttpResponse, Problem> {
    // An unknown token has no session to end: the client is logged out in any case.
    if let Ok(token) = body.parse() {
        end_session(&state, &request, &token).await?;
    }
    Ok(HttpResponse::NoContent().finish())
}

/// Ends the session of a refresh token, if it has one.
pub async fn end_session(state: &SharedState, request: &HttpRequest, token: &OpaqueToken) -> Result<(), Problem> {
    state.limits.refresh(state.proxies.network(request), state.clock.since_boot())?;
    let (persistence, hashes) = (state.persistence.clone(), token.refresh_hashes());
    let end = async move { persistence.end_session(&hashes).await };
    end_sessions(state, end, |ended| ended.iter().copied().collect()).await.map(drop)
}

/// The logged-in user.
///
/// Tells whether the user is a player or an admin.
#[utoipa::path(
    get, path = "/api/v1/me", tag = "auth", operation_id = "get_me",
    security(("bearer" = [])),
    responses((status = 200, body = User)),
)]
pub async fn me(state: SharedState, auth: AuthUser) -> Result<web::Json<User>, Problem> {
    let user = users::one(&state.db, auth.user).await?;
    user.map(web::Json).ok_or_else(no_such_user)
}

fn no_such_user() -> Problem {
    Problem::unauthorized("this user does not exist")
}

/// The old and the new password of the logged-in user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PasswordChange, example = json!({"current_password": "battery staple", "new_password": "correct horse"}))]
pub struct ChangePassword {
    /// The password until now.
    #[schema(value_type = String, format = Password)]
    current_password: SecretString,
    /// The password from now on: 8 to 128 characters of any kind.
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 128)]
    new_password: SecretString,
}

/// Changes the password of the logged-in user.
///
/// The session of this call goes on; all others end.
#[utoipa::path(
    post, path = "/api/v1/me/password", tag = "auth", operation_id = "change_password",
    request_body = ChangePassword,
    security(("bearer" = [])),
    responses((status = 204), (status = "default", description = "invalid_credentials rate_limited")),
)]
pub async fn change_password(
    state: SharedState,
    auth: AuthUser,
    request: HttpRequest,
    Body(body): Body<ChangePassword>,
) -> Result<HttpResponse, Problem> {
    let user = users::one(&state.db, auth.user).await?.ok_or_else(no_such_user)?;
    let new = new_password(&state, &body.new_password, (&user.username, &user.email));
    let new = new.map_err(|error| Problem::field("new_password", error))?;
    let account = GuessedAccount::LoggedIn(auth.user);
    let guess = state.limits.guess(account, Some(auth.user), state.proxies.network(&request));
    guess.check(state.clock.since_boot())?;
    let old = users::password_hash(&state.db, auth.user).await?;
    let change = PasswordUse::Change(auth.user);
    let hash = state.hasher.change(change, body.current_password, old.clone(), new).await?;
    let wrong = || Problem::new(Code::InvalidCredentials, "the current password is another one");
    let Some((old, new)) = old.zip(hash) else {
        guess.failed(state.clock.since_boot())?;
        return Err(wrong());
    };
    guess.check(state.clock.since_boot())?;
    let persistence = state.persistence.clone();
    let change = async move { persistence.change_password(auth.user, (&old, &new), auth.session).await };
    let changed = end_sessions(&state, change, |changed| changed.clone().unwrap_or_default()).await?;
    changed.ok_or_else(wrong)?;
    tracing::info!(user = %auth.user, "a password was changed");
    Ok(HttpResponse::NoContent().finish())
}

/// A new password for the user who has a token from an admin.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PasswordReset, example = json!({"token": "…", "new_password": "correct horse"}))]
pub struct ResetPassword {
    /// The token, as an admin got it from `POST /admin/users/{id}/password-reset`. It works once.
    #[schema(value_type = String)]
    token: SecretString,
    /// The password from now on: 8 to 128 characters of any kind.
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 128)]
    new_password: SecretString,
}

/// Sets a new password with a token from an admin.
///
/// For users who have forgotten their password. All sessions of the user end.
#[utoipa::path(
    post, path = "/api/v1/auth/password-reset", tag = "auth", operation_id = "reset_password",
    request_body = ResetPassword,
    responses((status = 204), (status = "default", description = "unauthorized rate_limited")),
)]
pub async fn reset_password(
    state: SharedState,
    request: HttpRequest,
    Body(body): Body<ResetPassword>,
) -> Result<HttpResponse, Problem> {
    use secrecy::ExposeSecret;
    let spent = || Problem::unauthorized("the token is invalid or expired: ask an admin for a new one");
    let token = OpaqueToken::parse(body.token.expose_secret()).map_err(|_| spent())?.hash();
    let now = state.clock.now();
    let network = state.proxies.network(&request);
    state.limits.password_reset(network, state.clock.since_boot())?;
    // Hashing is expensive, so a token that is not valid is refused before it.
    let user = users::of_reset(&state.db, &token, now).await?.ok_or_else(spent)?;
    let new = new_password(&state, &body.new_password, (&user.username, &user.email));
    let new = new.map_err(|error| Problem::field("new_password", error))?;
    let hash = state.hasher.hash(PasswordUse::Change(user.id), new).await?;
    let persistence = state.persistence.clone();
    let reset = async move { persistence.reset_password(&token, &hash, now).await };
    let ended =
        |reset: &Option<(UserId, Vec<SessionId>)>| reset.clone().map(|(_, ended)| ended).unwrap_or_default();
    let (user, _) = end_sessions(&state, reset, ended).await?.ok_or_else(spent)?;
    state.limits.remember(user, network);
    tracing::info!(%user, "a password was reset");
    Ok(HttpResponse::NoContent().finish())
}
