//! People, and the hashes their passwords are compared with.

use jiff::Timestamp;
use serde::Serialize;
use tokio_postgres::Row;

use super::{Page, PageRows};
use crate::db::{Db, DbError};
use crate::domain::id::{SessionId, UserId};
use crate::domain::user::{Role, UserStatus};

/// A person, field by field as the contract gives it.
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

/// The user who logs in by this name or address, with the hash of the password. A name never holds an
/// `@`, an address always does: at most one can match.
pub async fn by_login(db: &Db, login: &str) -> Result<Option<(User, String)>, DbError> {
    let sql = "-- users::by_login()
        SELECT id, username, email, name, role, status, created_at, password_hash FROM users
        WHERE lower(username) = lower($1) OR lower(email) = lower($1)";
    let Some(row) = db.query_opt(sql, &[&login]).await? else { return Ok(None) };
    Ok(Some((user(&row)?, row.get("password_hash"))))
}

/// The hash a user's password is compared with.
pub async fn password_hash(db: &Db, id: UserId) -> Result<Option<String>, DbError> {
    let sql = "-- users::password_hash()
        SELECT password_hash FROM users WHERE id = $1";
    Ok(db.query_opt(sql, &[&id.0]).await?.map(|row| row.get(0)))
}

/// People, newest first; with a part given, those whose username or address holds it, whatever its case.
pub async fn list(
    db: &Db,
    part: Option<&str>,
    statuses: &[UserStatus],
    roles: &[Role],
    page: Page<i64>,
) -> Result<PageRows<User, i64>, DbError> {
    // The words that `users_search` is made of. What is shorter than a trigram is looked for in each row.
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

/// The log-ins that have ended since.
pub async fn sessions_ended(db: &Db, since: Timestamp) -> Result<Vec<SessionId>, DbError> {
    let sql = "-- users::sessions_ended(since)
        SELECT id FROM sessions WHERE ended_at > $1";
    Ok(db.query(sql, &[&since]).await?.iter().map(|row| SessionId(row.get("id"))).collect())
}

/// Whether this token, given by its hash, is good to set a password anew.
pub async fn may_reset(db: &Db, hash: &[u8; 32], now: Timestamp) -> Result<bool, DbError> {
    let sql = "-- users::may_reset()
        SELECT FROM password_resets WHERE hash = $1 AND expires_at > $2";
    Ok(db.query_opt(sql, &[&hash.as_slice(), &now]).await?.is_some())
}

/// A user from a row with all its columns.
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
