//! Writes that stand apart from the sale: people, sessions, new draws and pools. Each is a transaction of
//! its own on a connection of the pool, beside the batches and not between them.

use jiff::Timestamp;

use super::Persistence;
use super::transaction::StepFailure;
use super::write::users::{self, NewToken, NewUser};
use super::write::{draws, keys};
use crate::db::read::users::{User, user};
use crate::db::{Db, DbError, is_passing};
use crate::domain::draw::Times;
use crate::domain::game::Pick;
use crate::domain::id::{DrawId, LotteryId, PoolTicketId, SessionId, UserId};
use crate::domain::lottery::Rules;
use crate::domain::record::{Fence, Key};
use crate::domain::user::{Email, Name, Role, Username};

/// Which of the two names somebody else bears already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    Username,
    Email,
}

/// What became of a refresh token that was shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rotated {
    /// It is spent, and the new one is good.
    New(UserId, SessionId),
    /// It had been spent before: somebody else has it too, and its whole family has ended (RFC 9700,
    /// section 4.14.2).
    Reused,
    /// Unknown, expired, or of a session that has ended.
    Invalid,
}

/// What became of new pool tickets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PoolWritten {
    /// They are for sale; with a key, so many were when they were written.
    Written { available: Option<i64> },
    /// The epoch has passed.
    Stale,
    /// An earlier call was answered under this key.
    KeyTaken,
}

/// Commits, and tells apart what was refused from what nobody knows.
async fn commit(tx: deadpool_postgres::Transaction<'_>) -> Result<(), DbError> {
    tx.commit().await.map_err(|error| if is_passing(&error) { DbError::Unknown(error) } else { error.into() })
}

/// Writes a person with a wallet, in a transaction of its own.
pub async fn insert_user(
    db: &Db,
    (username, email, name): (&Username, &Email, Option<&Name>),
    password_hash: &str,
    role: Role,
    at: Timestamp,
) -> Result<Result<User, Taken>, DbError> {
    let mut client = db.client().await?;
    let tx = client.transaction().await?;
    let new = NewUser { username, email, name, password_hash, role, at };
    match users::insert(tx.client(), &new).await? {
        Some(row) => {
            let user = user(&row)?;
            commit(tx).await?;
            Ok(Ok(user))
        }
        None if users::is_username_taken(tx.client(), username).await? => Ok(Err(Taken::Username)),
        None => Ok(Err(Taken::Email)),
    }
}

impl Persistence {
    /// Writes a player; an admin is made from the command line alone.
    pub async fn register(
        &self,
        names: (&Username, &Email, Option<&Name>),
        password_hash: &str,
        at: Timestamp,
    ) -> Result<Result<User, Taken>, DbError> {
        insert_user(&self.db, names, password_hash, Role::Player, at).await
    }

    /// Drops up to `most` idempotency keys from before that time; returns how many there were.
    pub async fn drop_keys(&self, before: Timestamp, most: i64) -> Result<u64, DbError> {
        Ok(keys::drop_older(&*self.db.client().await?, before, most).await?)
    }

    /// Begins a session with its first refresh token, given by its hash.
    pub async fn begin_session(
        &self,
        session: SessionId,
        user: UserId,
        token: &[u8; 32],
        expires_at: Timestamp,
        at: Timestamp,
    ) -> Result<(), DbError> {
        let mut client = self.db.client().await?;
        let tx = client.transaction().await?;
        users::begin_session(tx.client(), session, user, &NewToken { hash: token, expires_at }, at).await?;
        commit(tx).await
    }

    /// Spends a refresh token for a new one. A spent one ends its session.
    pub async fn rotate(
        &self,
        old: &[u8; 32],
        new: &[u8; 32],
        expires_at: Timestamp,
        at: Timestamp,
    ) -> Result<Rotated, DbError> {
        let mut client = self.db.client().await?;
        let tx = client.transaction().await?;
        let rotated = match users::lock_token(tx.client(), old).await? {
            None => Rotated::Invalid,
            Some(found) if found.spent => {
                users::end_session(tx.client(), found.session, at).await?;
                Rotated::Reused
            }
            Some(found) if found.ended || found.expires_at <= at => Rotated::Invalid,
            Some(found) => {
                users::spend_token(tx.client(), old, at).await?;
                users::insert_token(tx.client(), found.session, &NewToken { hash: new, expires_at }).await?;
                Rotated::New(found.user, found.session)
            }
        };
        commit(tx).await?;
        Ok(rotated)
    }

    /// Gives a user another password, by its hash; every session but this one ends.
    pub async fn change_password(
        &self,
        user: UserId,
        password_hash: &str,
        session: SessionId,
        at: Timestamp,
    ) -> Result<(), DbError> {
        let mut client = self.db.client().await?;
        let tx = client.transaction().await?;
        users::set_password(tx.client(), user, password_hash).await?;
        users::end_other_sessions(tx.client(), user, session, at).await?;
        commit(tx).await
    }

    /// Ends the session of a refresh token, if there is one.
    pub async fn end_session(&self, token: &[u8; 32], at: Timestamp) -> Result<(), DbError> {
        let mut client = self.db.client().await?;
        let tx = client.transaction().await?;
        if let Some(found) = users::lock_token(tx.client(), token).await? {
            users::end_session(tx.client(), found.session, at).await?;
        }
        commit(tx).await
    }

    /// Makes sure that the configured lotteries are known.
    pub async fn know_lotteries(&self, lotteries: impl Iterator<Item = &LotteryId>) -> Result<(), DbError> {
        let mut client = self.db.client().await?;
        let tx = client.transaction().await?;
        for lottery in lotteries {
            draws::know_lottery(tx.client(), lottery).await?;
        }
        commit(tx).await
    }

    /// Makes a draw, scheduled.
    pub async fn create_draw(&self, rules: &Rules, times: &Times, at: Timestamp) -> Result<DrawId, DbError> {
        let mut client = self.db.client().await?;
        let tx = client.transaction().await?;
        let id = draws::create(tx.client(), rules, times, at).await?;
        commit(tx).await?;
        Ok(id)
    }

    /// Takes a draw over for a newly loaded actor; returns the new epoch. Committed before the draw is
    /// read: a transaction of the lost actor either ended before, or is refused.
    pub async fn take_over(&self, draw: DrawId) -> Result<Option<i64>, DbError> {
        let client = self.db.client().await?;
        Ok(draws::take_over(&client, draw).await?)
    }

    /// Writes new pool tickets of a draw, all or none; with a key, the answer with them.
    pub async fn add_to_pool(
        &self,
        fence: Fence,
        tickets: &[(PoolTicketId, Pick)],
        key: Option<&Key>,
        at: Timestamp,
    ) -> Result<PoolWritten, DbError> {
        let mut client = self.db.client().await?;
        let tx = client.transaction().await?;
        match draws::add_to_pool(tx.client(), fence, tickets).await {
            Ok(()) => {}
            Err(StepFailure::Stale) => return Ok(PoolWritten::Stale),
            Err(StepFailure::Postgres(error)) => return Err(error.into()),
            Err(StepFailure::Broken(_)) => return Err(DbError::Corrupt("pool")),
        }
        let mut available = None;
        if let Some(key) = key {
            let tickets_available = draws::count_for_sale(tx.client(), fence.draw).await?;
            // Two numbers always have a JSON text.
            let answer = serde_json::json!({"created": tickets.len(), "tickets_available": tickets_available});
            if !draws::keep_answer(tx.client(), key, &answer.to_string(), at).await? {
                return Ok(PoolWritten::KeyTaken);
            }
            available = Some(tickets_available);
        }
        commit(tx).await?;
        Ok(PoolWritten::Written { available })
    }
}
