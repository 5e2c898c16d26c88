//! Reads users, with the hashes of their passwords for the log-in.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::Serialize;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{Page, PageRows};
use crate::db::{Db, DbError};
use crate::domain::id::{SessionId, UserId};
use crate::domain::user::{Role, UserStatus};

/// A user, with the fields that the API returns.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct User {
    pub id: UserId,
    pub username: String,
    pub email: String,
    pub name: Option<String>,
    pub role: Role,
    pub status: UserStatus,
    pub created_at: Timestamp,
}

/// The user with this id.
pub async fn one(db: &Db, id: UserId) -> Result<Option<User>, DbError> {
    let sql = "-- users::one()
        SELECT id, username, email, name, role, status, created_at FROM users WHERE id = $1";
    db.query_opt(sql, &[&id.0]).await?.as_ref().map(user).transpose()
}

/// The user with this username or email address, and the hash of the password. A username never contains an
/// `@` and an address always does, so at most one user matches.
pub async fn by_login(db: &Db, login: &str) -> Result<Option<(User, String)>, DbError> {
    let sql = "-- users::by_login()
        SELECT id, username, email, name, role, status, created_at, password_hash FROM users
        WHERE lower(username) = lower($1) OR lower(email) = lower($1)";
    let Some(row) = db.query_opt(sql, &[&login]).await? else { return Ok(None) };
    Ok(Some((user(&row)?, row.get("password_hash"))))
}

/// The hash of a user's password.
pub async fn password_hash(db: &Db, id: UserId) -> Result<Option<String>, DbError> {
    let sql = "-- users::password_hash()
        SELECT password_hash FROM users WHERE id = $1";
    Ok(db.query_opt(sql, &[&id.0]).await?.map(|row| row.get(0)))
}

/// Users, newest first, with optional filters; `part` must occur in the username or the address, in any case.
pub async fn list(
    db: &Db,
    part: Option<&str>,
    statuses: &[UserStatus],
    roles: &[Role],
    page: Page<i64>,
) -> Result<PageRows<User, i64>, DbError> {
    // The expression that the index `users_search` is built on. A `part` shorter than a trigram is searched
    // in each row.
    const WORDS: &str = "lower(username || ' ' || email)";
    let holds = match part {
        None => "$5::text IS NULL".to_owned(),
        Some(part) if part.chars().count() < 3 => format!("strpos({WORDS}, lower($5)) > 0"),
        Some(_) => {
            format!("trigrams({WORDS}) @> trigrams(lower($5)) AND strpos({WORDS}, lower($5)) > 0")
        }
    };
    let sql = format!(
        "-- users::list()
        SELECT id, username, email, name, role, status, created_at FROM users
        WHERE id < $1 AND ($2::text[] = '{{}}' OR status = ANY($2)) AND ($3::text[] = '{{}}' OR role = ANY($3))
          AND {holds} ORDER BY id DESC LIMIT $4"
    );
    let statuses: Vec<&str> = statuses.iter().map(|status| status.as_str()).collect();
    let roles: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
    let after = page.after.unwrap_or(i64::MAX);
    let rows = db.query(&sql, &[&after, &statuses, &roles, &(page.limit + 1), &part]).await?;
    let items = rows.iter().map(user).collect::<Result<_, DbError>>()?;
    Ok(PageRows::cut(items, page.limit, |user: &User| user.id.0))
}

/// The user of an active session. `None`: the session has ended, or does not exist.
pub async fn of_session(db: &Db, session: SessionId) -> Result<Option<UserId>, DbError> {
    let sql = "-- users::of_session()
        SELECT user_id FROM sessions WHERE id = $1";
    Ok(db.query_opt(sql, &[&session.0]).await?.map(|row| UserId(row.get("user_id"))))
}

/// A log-in of a user that has not ended.
#[derive(Clone, PartialEq, Debug)]
pub struct SessionView {
    pub id: SessionId,
    pub created_at: Timestamp,
    /// The log-in, or the last refresh; and the client's address then, if it was written.
    pub used_at: Timestamp,
    pub address: Option<IpAddr>,
}

/// A user's sessions that can go on at this time, newest first; the one that asks, in any case.
pub async fn sessions(
    db: &Db,
    (user, current): (UserId, SessionId),
    now: Timestamp,
    page: Page<Uuid>,
) -> Result<PageRows<SessionView, Uuid>, DbError> {
    let sql = "-- users::sessions(user, after, current, now, limit)
        SELECT id, created_at, used_at, address FROM sessions s
        WHERE user_id = $1 AND id < $2
          AND (id = $3 OR EXISTS (
            SELECT FROM refresh_tokens t WHERE t.session_id = s.id AND t.spent_at IS NULL AND t.expires_at > $4))
        ORDER BY id DESC LIMIT $5";
    let after = page.after.unwrap_or(Uuid::max());
    let rows = db.query(sql, &[&user.0, &after, &current.0, &now, &(page.limit + 1)]).await?;
    let session = |row: &Row| SessionView {
        id: SessionId(row.get("id")),
        created_at: row.get("created_at"),
        used_at: row.get("used_at"),
        address: row.get("address"),
    };
    Ok(PageRows::cut(rows.iter().map(session).collect(), page.limit, |session| session.id.0))
}

/// The user whom this token, given by its hash, allows to set a new password. `None`: the token is not valid.
pub async fn of_reset(db: &Db, hash: &[u8; 32], now: Timestamp) -> Result<Option<User>, DbError> {
    let sql = "-- users::of_reset()
        SELECT u.id, u.username, u.email, u.name, u.role, u.status, u.created_at
        FROM password_resets r JOIN users u ON u.id = r.user_id WHERE r.hash = $1 AND r.expires_at > $2";
    db.query_opt(sql, &[&hash.as_slice(), &now]).await?.as_ref().map(user).transpose()
}

/// A user from a row that has all columns of [`User`].
pub fn user(row: &Row) -> Result<User, DbError> {
    Ok(User {
        id: UserId(row.get("id")),
        username: row.get("username"),
        email: row.get("email"),
        name: row.get("name"),
        role: Role::parse(row.get("role")).ok_or(DbError::Corrupt("role"))?,
        status: UserStatus::parse(row.get("status")).ok_or(DbError::Corrupt("status"))?,
        created_at: row.get("created_at"),
    })
}
