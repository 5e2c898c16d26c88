//! The statements for users, their sessions and their tokens. Passwords and tokens arrive here as hashes; this
//! file does not check them.

use jiff::Timestamp;
use tokio_postgres::{Client, Error, Row};
use uuid::Uuid;

use crate::domain::id::{SessionId, UserId};
use crate::domain::user::{Email, Name, Role, UserStatus, Username};

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

/// A refresh token by its hash.
pub struct NewToken<'a> {
    pub hash: &'a [u8; 32],
    pub expires_at: Timestamp,
}

/// Begins a session with its first refresh token, unless the password hash has changed since. A concurrent change
/// of the password either waits for this transaction and then ends the session, or this transaction waits for the
/// change.
pub async fn begin_session(
    db: &Client,
    id: SessionId,
    user: UserId,
    password_hash: &str,
    token: &NewToken<'_>,
    at: Timestamp,
) -> Result<bool, Error> {
    let sql = "-- users::begin_session()
        INSERT INTO sessions (id, user_id, created_at)
        SELECT $1, id, $3 FROM users WHERE id = $2 AND password_hash = $4 FOR SHARE";
    if db.execute(sql, &[&id.0, &user.0, &at, &password_hash]).await? == 0 {
        return Ok(false);
    }
    insert_token(db, id, token).await.map(|()| true)
}

/// Adds a refresh token to a session.
pub async fn insert_token(db: &Client, session: SessionId, token: &NewToken<'_>) -> Result<(), Error> {
    let sql = "-- users::insert_token()
        INSERT INTO refresh_tokens (hash, session_id, expires_at) VALUES ($1, $2, $3)";
    db.execute(sql, &[&token.hash.as_slice(), &session.0, &token.expires_at]).await.map(drop)
}

/// A refresh token that was found, locked with its session.
pub struct RefreshTokenRow {
    pub session: SessionId,
    pub user: UserId,
    pub spent: bool,
    pub ended: bool,
    pub expires_at: Timestamp,
}

/// Finds a refresh token and locks its session. If two requests use one token at the same time, the second sees
/// that it is used.
pub async fn lock_token(db: &Client, hash: &[u8; 32]) -> Result<Option<RefreshTokenRow>, Error> {
    let sql = "-- users::lock_token(session)
        SELECT s.id FROM sessions s JOIN refresh_tokens t ON t.session_id = s.id WHERE t.hash = $1 FOR UPDATE OF s";
    if db.query_opt(sql, &[&hash.as_slice()]).await?.is_none() {
        return Ok(None);
    }
    let sql = "-- users::lock_token(token)
        SELECT s.id, s.user_id, s.ended_at IS NOT NULL AS ended, t.spent_at IS NOT NULL AS spent, t.expires_at
        FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id WHERE t.hash = $1";
    // A token that expired long ago may be deleted before it is read.
    Ok(db.query_opt(sql, &[&hash.as_slice()]).await?.map(|row| RefreshTokenRow {
        session: SessionId(row.get::<_, Uuid>("id")),
        user: UserId(row.get("user_id")),
        spent: row.get("spent"),
        ended: row.get("ended"),
        expires_at: row.get("expires_at"),
    }))
}

/// Marks a refresh token as used.
pub async fn spend_token(db: &Client, hash: &[u8; 32], at: Timestamp) -> Result<(), Error> {
    let sql = "-- users::spend_token()
        UPDATE refresh_tokens SET spent_at = $2 WHERE hash = $1";
    db.execute(sql, &[&hash.as_slice(), &at]).await.map(drop)
}

/// Ends a session: none of its refresh tokens is valid any more.
pub async fn end_session(db: &Client, session: SessionId, at: Timestamp) -> Result<(), Error> {
    let sql = "-- users::end_session()
        UPDATE sessions SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL";
    db.execute(sql, &[&session.0, &at]).await.map(drop)
}

/// Changes the password hash of a user. If `old` is given, only if the stored hash is still `old`.
pub async fn set_password(db: &Client, user: UserId, old: Option<&str>, new: &str) -> Result<bool, Error> {
    let sql = "-- users::set_password()
        UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = coalesce($2, password_hash)";
    Ok(db.execute(sql, &[&user.0, &old, &new]).await? == 1)
}

/// Deletes up to `most` refresh tokens that expired before that time, and the sessions that have no token left.
/// Returns how many tokens.
pub async fn drop_expired(db: &Client, before: Timestamp, most: i64) -> Result<u64, Error> {
    let sql = "-- users::drop_expired(tokens)
        DELETE FROM refresh_tokens WHERE hash = ANY (ARRAY(
            SELECT hash FROM refresh_tokens WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)) RETURNING session_id";
    let of: Vec<Uuid> = db.query(sql, &[&before, &most]).await?.iter().map(|row| row.get(0)).collect();
    let sql = "-- users::drop_expired(sessions)
        DELETE FROM sessions s WHERE id = ANY ($1)
        AND NOT EXISTS (SELECT FROM refresh_tokens WHERE session_id = s.id)";
    db.execute(sql, &[&of]).await?;
    Ok(of.len() as u64)
}

/// Ends every session of a user except this one; returns the ended sessions.
pub async fn end_other_sessions(
    db: &Client,
    user: UserId,
    but: Option<SessionId>,
    at: Timestamp,
) -> Result<Vec<SessionId>, Error> {
    let sql = "-- users::end_other_sessions()
        UPDATE sessions SET ended_at = $3 WHERE user_id = $1 AND id IS DISTINCT FROM $2 AND ended_at IS NULL RETURNING id";
    let ended = db.query(sql, &[&user.0, &but.map(|session| session.0), &at]).await?;
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
