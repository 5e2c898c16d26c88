//! People, and the hashes their passwords are compared with.

use jiff::Timestamp;
use serde::Serialize;
use tokio_postgres::Row;

use crate::db::{Db, DbError};
use crate::domain::id::UserId;
use crate::domain::user::{Role, Status};

/// A person, field by field as the contract gives it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct User {
    pub id: UserId,
    pub username: String,
    pub email: String,
    pub name: Option<String>,
    pub role: Role,
    pub status: Status,
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

/// A user from a row with all its columns.
pub fn user(row: &Row) -> Result<User, DbError> {
    Ok(User {
        id: UserId(row.get("id")),
        username: row.get("username"),
        email: row.get("email"),
        name: row.get("name"),
        role: Role::parse(row.get("role")).ok_or(DbError::Corrupt("role"))?,
        status: Status::parse(row.get("status")).ok_or(DbError::Corrupt("status"))?,
        created_at: row.get("created_at"),
    })
}
