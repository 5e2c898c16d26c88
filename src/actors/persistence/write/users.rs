//! The statements for users, their sessions and their tokens. Passwords and tokens arrive here as hashes; this
//! file does not check them.

use std::net::IpAddr;

use jiff::Timestamp;
use tokio_postgres::{Client, Error, Row};
use uuid::Uuid;

use crate::domain::id::{SessionId, UserId};
use crate::domain::user::{Email, Name, RefreshTokenHashes, Role, UserStatus, Username};

/// Sessions of a user at the same time.
const MAX_SESSIONS_OF_USER: i64 = 100;

/// A new user, with the hash of the password.
pub struct NewUser<'a> {
    pub username: &'a Username,
    pub email: &'a Email,
    pub name: Option<&'a Name>,
    pub password_hash: &'a str,
    pub role: Role,
    pub at: Timestamp,
}

/// Inserts a user with a wallet and with the account that holds withdrawals. `None`: the name or the email
/// address is taken.
pub async fn insert(db: &Client, user: &NewUser<'_>) -> Result<Option<Row>, Error> {
    let sql = "-- users::insert()
        INSERT INTO users (username, email, name, password_hash, role, created_at) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT DO NOTHING RETURNING id, username, email, name, role, status, created_at";
    let (username, email) = (user.username.as_str(), user.email.as_str());
    let (name, role) = (user.name.map(Name::as_str), user.role.as_str());
    let row = db.query_opt(sql, &[&username, &email, &name, &user.password_hash, &role, &user.at]).await?;
    if let Some(row) = &row {
        let sql = "-- users::insert(accounts)
            INSERT INTO accounts (id, kind, user_id)
            VALUES ($1::bigint * 8 + 1, 'wallet', $1), ($1::bigint * 8 + 2, 'held', $1)";
        db.execute(sql, &[&row.get::<_, i64>("id")]).await?;
    }
    Ok(row)
}

/// Whether the username is taken. If it is not, a refused insert means that the email address is taken.
pub async fn is_username_taken(db: &Client, username: &Username) -> Result<bool, Error> {
    let sql = "-- users::is_username_taken()
        SELECT FROM users WHERE lower(username) = lower($1)";
    Ok(db.query_opt(sql, &[&username.as_str()]).await?.is_some())
}

/// A refresh token, or a token for a password reset, by its hash.
pub struct NewToken<'a> {
    pub hash: &'a [u8; 32],
    pub expires_at: Timestamp,
}

/// A new session, and the client's address.
pub struct NewSession {
    pub id: SessionId,
    pub user: UserId,
    pub address: IpAddr,
}

/// Begins a session with its first refresh token. Before that, ends the sessions that would be too many for the user,
/// those that were not used for the longest time; returns them. `None`: the password hash has changed since. The user
/// is locked, so that of log-ins at the same time each counts the sessions of those before it, and a change of the
/// password either waits for this transaction and then ends the session, or this transaction waits for the change.
pub async fn begin_session(
    db: &Client,
    new: &NewSession,
    password_hash: &str,
    token: &RefreshTokenHashes,
    (expires_at, at): (Timestamp, Timestamp),
) -> Result<Option<Vec<SessionId>>, Error> {
    let sql = "-- users::begin_session(user)
        SELECT FROM users WHERE id = $1 AND password_hash = $2 FOR NO KEY UPDATE";
    if db.query_opt(sql, &[&new.user.0, &password_hash]).await?.is_none() {
        return Ok(None);
    }
    let sql = "-- users::begin_session(oldest)
        DELETE FROM sessions WHERE id = ANY (ARRAY(
            SELECT id FROM sessions WHERE user_id = $1 ORDER BY used_at DESC, id DESC OFFSET $2)) RETURNING id";
    let ended = db.query(sql, &[&new.user.0, &(MAX_SESSIONS_OF_USER - 1)]).await?;
    let sql = "-- users::begin_session(session)
        WITH begun AS (
            INSERT INTO sessions (id, user_id, created_at, used_at, address, family)
            VALUES ($1, $2, $3, $3, $4, $5) RETURNING id)
        INSERT INTO refresh_tokens (hash, session_id, expires_at) SELECT $6, id, $7 FROM begun";
    let (family, hash) = (token.family.as_slice(), token.token.as_slice());
    db.execute(sql, &[&new.id.0, &new.user.0, &at, &new.address, &family, &hash, &expires_at]).await?;
    Ok(Some(ended.iter().map(|row| SessionId(row.get("id"))).collect()))
}

/// The session of a refresh token, locked.
pub struct RefreshedSession {
    pub id: SessionId,
    pub user: UserId,
    pub created_at: Timestamp,
    /// When the token expires. `None`: it was used before.
    pub expires_at: Option<Timestamp>,
    /// It was used, but so shortly before that it is valid all the same.
    pub is_spent: bool,
}

/// Finds the session of a refresh token and locks it. If two requests use one token at the same time, the second sees
/// that it is used. A token that was used after `spent_since`, and is kept, is valid; without it, no used one is.
pub async fn lock_session(
    db: &Client,
    token: &RefreshTokenHashes,
    spent_since: Option<Timestamp>,
) -> Result<Option<RefreshedSession>, Error> {
    let sql = "-- users::lock_session(lock)
        SELECT id FROM sessions
        WHERE id = (SELECT session_id FROM refresh_tokens WHERE hash = $1) OR family = $2 FOR UPDATE";
    let (hash, family) = (token.token.as_slice(), token.family.as_slice());
    let Some(row) = db.query_opt(sql, &[&hash, &family]).await? else { return Ok(None) };
    // Read after the lock: the request before this one has replaced the token.
    let sql = "-- users::lock_session(read)
        SELECT s.id, s.user_id, s.created_at, t.expires_at, t.spent_at IS NOT NULL AS is_spent
        FROM sessions s LEFT JOIN refresh_tokens t
            ON t.session_id = s.id AND t.hash = $1 AND (t.spent_at IS NULL OR t.spent_at > $2)
        WHERE s.id = $3";
    let row = db.query_opt(sql, &[&hash, &spent_since, &row.get::<_, Uuid>("id")]).await?;
    Ok(row.map(|row| RefreshedSession {
        id: SessionId(row.get("id")),
        user: UserId(row.get("user_id")),
        created_at: row.get("created_at"),
        expires_at: row.get("expires_at"),
        is_spent: row.get("is_spent"),
    }))
}

/// Deletes a refresh token that is used. From now on it is known by its family.
pub async fn drop_token(db: &Client, token: &RefreshTokenHashes) -> Result<(), Error> {
    let sql = "-- users::drop_token()
        DELETE FROM refresh_tokens WHERE hash = $1";
    db.execute(sql, &[&token.token.as_slice()]).await.map(drop)
}

/// Keeps a refresh token that is used until the next one is, and no other one of its session.
pub async fn keep_spent_token(
    db: &Client,
    session: SessionId,
    token: &RefreshTokenHashes,
    at: Timestamp,
) -> Result<(), Error> {
    let sql = "-- users::keep_spent_token()
        WITH spent AS (UPDATE refresh_tokens SET spent_at = $3 WHERE hash = $2)
        DELETE FROM refresh_tokens WHERE session_id = $1 AND hash <> $2";
    db.execute(sql, &[&session.0, &token.token.as_slice(), &at]).await.map(drop)
}

/// Adds a refresh token to a session that is locked.
pub async fn add_token(
    db: &Client,
    session: SessionId,
    old: &RefreshTokenHashes,
    new: &NewToken<'_>,
    (address, at): (IpAddr, Timestamp),
) -> Result<(), Error> {
    let sql = "-- users::add_token()
        WITH used AS (UPDATE sessions SET used_at = $2, address = $3, family = $4 WHERE id = $1)
        INSERT INTO refresh_tokens (hash, session_id, expires_at) VALUES ($5, $1, $6)";
    let (family, hash) = (old.family.as_slice(), new.hash.as_slice());
    db.execute(sql, &[&session.0, &at, &address, &family, &hash, &new.expires_at]).await.map(drop)
}

/// Ends a session: it is deleted with its refresh token, and its access tokens are not valid any more.
pub async fn end_session(db: &Client, session: SessionId) -> Result<(), Error> {
    let sql = "-- users::end_session()
        DELETE FROM sessions WHERE id = $1";
    db.execute(sql, &[&session.0]).await.map(drop)
}

/// Ends a session of this user. False if the user has no such session.
pub async fn end_session_of(db: &Client, user: UserId, session: SessionId) -> Result<bool, Error> {
    let sql = "-- users::end_session_of()
        DELETE FROM sessions WHERE id = $1 AND user_id = $2";
    Ok(db.execute(sql, &[&session.0, &user.0]).await? == 1)
}

/// Changes the password hash of a user. If `old` is given, only if the stored hash is still `old`.
pub async fn set_password(db: &Client, user: UserId, old: Option<&str>, new: &str) -> Result<bool, Error> {
    let sql = "-- users::set_password()
        UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = coalesce($2, password_hash)";
    Ok(db.execute(sql, &[&user.0, &old, &new]).await? == 1)
}

/// Deletes up to `most` sessions whose refresh token expired before that time, and of sessions that go on up to `most`
/// used tokens as expired, which only sessions of the pages and those from before the schema V7 have. Returns how many
/// rows. What a request has locked is left to the next round, so that neither waits for the other.
pub async fn drop_expired(db: &Client, before: Timestamp, most: i64) -> Result<u64, Error> {
    let sql = "-- users::drop_expired(sessions)
        DELETE FROM sessions WHERE id = ANY (ARRAY(
            SELECT id FROM sessions WHERE id = ANY (ARRAY(
                SELECT session_id FROM refresh_tokens WHERE expires_at < $1 AND spent_at IS NULL
                ORDER BY expires_at LIMIT $2))
            FOR UPDATE SKIP LOCKED))";
    let sessions = db.execute(sql, &[&before, &most]).await?;
    let sql = "-- users::drop_expired(tokens)
        DELETE FROM refresh_tokens WHERE hash = ANY (ARRAY(
            SELECT hash FROM refresh_tokens WHERE expires_at < $1 AND spent_at IS NOT NULL
            ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED))";
    Ok(sessions + db.execute(sql, &[&before, &most]).await?)
}

/// Ends every session of a user except this one; returns the ended sessions.
pub async fn end_other_sessions(
    db: &Client,
    user: UserId,
    but: Option<SessionId>,
) -> Result<Vec<SessionId>, Error> {
    let sql = "-- users::end_other_sessions()
        DELETE FROM sessions WHERE user_id = $1 AND id IS DISTINCT FROM $2 RETURNING id";
    let ended = db.query(sql, &[&user.0, &but.map(|session| session.0)]).await?;
    Ok(ended.iter().map(|row| SessionId(row.get("id"))).collect())
}

/// Locks every active admin. If two transactions each remove another admin at the same time, the second waits
/// here and then sees one admin less.
pub async fn lock_active_admins(db: &Client) -> Result<Vec<UserId>, Error> {
    let sql = "-- users::lock_active_admins()
        SELECT id FROM users WHERE role = 'admin' AND status = 'active' ORDER BY id FOR NO KEY UPDATE";
    Ok(db.query(sql, &[]).await?.iter().map(|row| UserId(row.get("id"))).collect())
}

/// Locks a user.
pub async fn lock(db: &Client, user: UserId) -> Result<Option<Row>, Error> {
    let sql = "-- users::lock()
        SELECT id, username, email, name, role, status, created_at FROM users WHERE id = $1 FOR NO KEY UPDATE";
    db.query_opt(sql, &[&user.0]).await
}

/// Changes the status and the role of a user.
pub async fn set_access(db: &Client, user: UserId, status: UserStatus, role: Role) -> Result<(), Error> {
    let sql = "-- users::set_access()
        UPDATE users SET status = $2, role = $3 WHERE id = $1";
    db.execute(sql, &[&user.0, &status.as_str(), &role.as_str()]).await.map(drop)
}

/// Stores the token of a password reset. An earlier token is not valid any more.
pub async fn allow_reset(db: &Client, user: UserId, token: &NewToken<'_>) -> Result<(), Error> {
    let sql = "-- users::allow_reset()
        INSERT INTO password_resets (user_id, hash, expires_at) VALUES ($1, $2, $3)
        ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash, expires_at = excluded.expires_at";
    db.execute(sql, &[&user.0, &token.hash.as_slice(), &token.expires_at]).await.map(drop)
}

/// Uses up the token of a password reset. Returns its user, if the token was valid. If two requests use it at the
/// same time, one of them gets the user.
pub async fn spend_reset(db: &Client, hash: &[u8; 32], at: Timestamp) -> Result<Option<UserId>, Error> {
    let sql = "-- users::spend_reset()
        DELETE FROM password_resets WHERE hash = $1 AND expires_at > $2 RETURNING user_id";
    Ok(db.query_opt(sql, &[&hash.as_slice(), &at]).await?.map(|row| UserId(row.get("user_id"))))
}
