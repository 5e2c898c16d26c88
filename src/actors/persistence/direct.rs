//! Direct writes: the writes that do not go through the persistence actor. These are registration and users,
//! sessions and passwords, new draws and their pools, what the installation and its logs are, cosignatures of witnesses,
//! entries of the public log after a restore, audit entries of admins that change nothing else, what the provider reports
//! of disputes and refunds, the sandbox's charges, and housekeeping.
//! Each is a transaction of its own on a connection of the pool. None changes a balance, a sold ticket or a paid payment, so
//! none has to be in the order of the batches: pool tickets are added, and orders that ended unpaid are deleted.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio_postgres::Client;
use uuid::Uuid;
use verifiable_draw::beacon::BeaconChain;
use verifiable_draw::merkle::Head;
use verifiable_draw::vkey::VerifierKey;

use super::Persistence;
use super::step::StepFailure;
use super::write::log_import::{ImportFailure, ImportedLog, LogImport, NewerEntries};
use super::write::unpaid::{self, WalkStep};
use super::write::users::{self, NewSession, NewToken, NewUser};
use super::write::{audit, charges, draws, installation, keys, log, nodes, sandbox, witnesses};
use crate::db::read::installation::recorded;
use crate::db::read::public_log;
use crate::db::read::users::{User, user};
use crate::db::{Db, DbError, is_transient};
use crate::domain::audit::{Action, AuditActor, AuditEntry, Subject};
use crate::domain::charge::ChargeName;
use crate::domain::draw::Times;
use crate::domain::game::Pick;
use crate::domain::id::{DrawId, LotteryId, PoolTicketId, SessionId, UserId};
use crate::domain::installation::Installation;
use crate::domain::log_import::ImportRefusal;
use crate::domain::log_keys::{KeyChange, KeyRefusal, LogIdentity, LogKeys};
use crate::domain::lottery::Rules;
use crate::domain::money::Money;
use crate::domain::record::{Fence, Key};
use crate::domain::user::{Email, Name, RefreshTokenHashes, Role, SessionLifetimes, UserStatus, Username};
use crate::domain::witness_policy::WitnessPolicy;

/// The name that another user has already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DuplicateName {
    Username,
    Email,
}

/// The result of a refresh.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenRotation {
    /// The old token is used up, and the new one is valid.
    New(UserId, SessionId),
    /// The token was used before, so another person may have it too. Its session has ended, with all its tokens
    /// (RFC 9700, section 4.14.2).
    Reused(UserId, SessionId),
    /// The token is unknown or expired, or its session has ended.
    Invalid,
}

/// The result of adding pool tickets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PoolWrite {
    /// The tickets are for sale. With an idempotency key: how many were for sale when they were written.
    Written { available: Option<i64> },
    /// The draw has a newer epoch.
    StaleEpoch,
    /// An earlier call was answered under this key.
    KeyTaken,
}

/// Why a user was not changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UserChangeRefusal {
    NoSuchUser,
    /// Without this admin, there would be no active admin to make another user an admin.
    LastAdmin,
}

/// The time limit for one of these transactions; after it the outcome is unknown. Adding pool tickets has a longer
/// limit of its own (`POOL_WAIT`).
const DIRECT_WAIT: Duration = Duration::from_secs(10);
/// The same for an import of the public log: of a day it has thousands of entries.
const IMPORT_WAIT: Duration = Duration::from_secs(600);

/// Commits. An error says whether the transaction was refused or its outcome is unknown.
async fn commit(tx: deadpool_postgres::Transaction<'_>) -> Result<(), DbError> {
    tx.commit().await.map_err(|error| if is_transient(&error) { DbError::Unknown(error) } else { error.into() })
}

/// Runs a transaction within the time limit.
async fn transaction<T>(db: &Db, work: impl AsyncFnOnce(&Client) -> Result<T, DbError>) -> Result<T, DbError> {
    transaction_within(DIRECT_WAIT, db, work).await
}

async fn transaction_within<T>(
    limit: Duration,
    db: &Db,
    work: impl AsyncFnOnce(&Client) -> Result<T, DbError>,
) -> Result<T, DbError> {
    let all = async {
        let mut client = db.client().await?;
        let tx = client.transaction().await?;
        let done = work(tx.client()).await?;
        commit(tx).await?;
        Ok(done)
    };
    tokio::time::timeout(limit, all).await.unwrap_or(Err(DbError::WriteTimeout(limit)))
}

/// Writes a user with a wallet.
pub async fn insert_user(
    db: &Db,
    (username, email, name): (&Username, &Email, Option<&Name>),
    password_hash: &str,
    role: Role,
    at: Timestamp,
) -> Result<Result<User, DuplicateName>, DbError> {
    let new = NewUser { username, email, name, password_hash, role, at };
    transaction(db, async |db| match users::insert(db, &new).await? {
        Some(row) => {
            let made = user(&row)?;
            if role == Role::Admin {
                // Only the command line creates admins, so the entry has no actor.
                let (subject, detail) = (Subject::User(made.id), json!({"username": username.as_str()}));
                let audit = AuditEntry::once(None, Action::CreateAdmin, subject, detail, at);
                audit::record(db, Some(&audit)).await?;
            }
            Ok(Ok(made))
        }
        None if users::is_username_taken(db, username).await? => Ok(Err(DuplicateName::Username)),
        None => Ok(Err(DuplicateName::Email)),
    })
    .await
}

/// Records what the installation is, unless an earlier start did. Returns what is recorded.
pub async fn record_installation(
    db: &Db,
    configured: &Installation,
    at: Timestamp,
) -> Result<Installation, DbError> {
    transaction(db, async |db| {
        installation::record(db, configured, at).await?;
        recorded(db).await?.ok_or(DbError::Corrupt("no installation"))
    })
    .await
}

/// Records what the logs are, unless an earlier start did. Returns what is recorded.
pub async fn record_log_identity(db: &Db, new: &LogIdentity, at: Timestamp) -> Result<LogIdentity, DbError> {
    transaction(db, async |db| {
        log::record_identity(db, new, at).await?;
        public_log::identity(db).await?.ok_or(DbError::Corrupt("no identity of the logs"))
    })
    .await
}

/// Adds or retires a key of the public log. The service signs with the keys that are stored when it starts.
pub async fn change_log_key(
    db: &Db,
    keys: &LogKeys,
    change: KeyChange,
    at: Timestamp,
) -> Result<Result<VerifierKey, KeyRefusal>, DbError> {
    let changed = transaction(db, async |db| match log::change_key(db, keys, change, at).await {
        Ok(changed) => Ok(changed),
        Err(StepFailure::Postgres(error)) => Err(error.into()),
        Err(_) => Err(DbError::Corrupt("the public log")),
    });
    changed.await
}

/// Brings entries of the public log back into a database that was restored from a backup.
pub async fn import_log(
    db: &Db,
    keys: &LogKeys,
    (chains, policy): (&[Arc<BeaconChain>], Option<&WitnessPolicy>),
    newer: &NewerEntries,
    at: Timestamp,
) -> Result<Result<ImportedLog, ImportRefusal>, DbError> {
    // What a refusal has written until then is rolled back with its error.
    let mut refused = None;
    let imported = transaction_within(IMPORT_WAIT, db, async |db| {
        LogImport { db, keys, chains, policy, at }.run(newer).await.map_err(|failure| match failure {
            ImportFailure::Refused(refusal) => {
                refused = Some(refusal);
                DbError::Corrupt("the public log")
            }
            ImportFailure::Database(error) => error,
            ImportFailure::Step(StepFailure::Postgres(error)) => error.into(),
            ImportFailure::Step(failure) => {
                tracing::error!(%failure, "the entries of the public log are not imported");
                DbError::Corrupt("the public log")
            }
        })
    });
    let imported = imported.await;
    match refused {
        Some(refusal) => Ok(Err(refusal)),
        None => imported.map(Ok),
    }
}

/// Writes audit entries of what changes nothing in the database, such as an export at the command line.
pub async fn record(db: &Db, entries: &[AuditEntry]) -> Result<(), DbError> {
    transaction(db, async |db| Ok(audit::record_all(db, entries).await?)).await
}

impl Persistence {
    /// Writes a player. Admins are created only by the command line.
    pub async fn register(
        &self,
        names: (&Username, &Email, Option<&Name>),
        password_hash: &str,
        at: Timestamp,
    ) -> Result<Result<User, DuplicateName>, DbError> {
        insert_user(&self.db, names, password_hash, Role::Player, at).await
    }

    /// Keeps a witness' cosignature of a head, unless an earlier one is kept.
    pub async fn keep_cosignature(&self, head: &Head, key: &[u8; 32], line: &str) -> Result<(), DbError> {
        let keys = self.logs.log_keys();
        transaction(&self.db, async |db| Ok(witnesses::keep_cosignature(db, keys, head, key, line).await?)).await
    }

    /// Records what the provider reports of a charge's dispute. False if there is no such charge.
    pub async fn record_dispute(&self, name: ChargeName, status: &str, at: Timestamp) -> Result<bool, DbError> {
        transaction(&self.db, async |db| Ok(charges::record_dispute(db, name, status, at).await?)).await
    }

    /// Records how much of a charge the provider has refunded in all. False if there is no such charge.
    pub async fn record_refund(&self, name: ChargeName, refunded: Money) -> Result<bool, DbError> {
        transaction(&self.db, async |db| Ok(charges::record_refund(db, name, refunded).await?)).await
    }

    /// Stores a charge of the sandbox, unless it is stored already. Returns the outcome that is stored. It is not part
    /// of a transaction, because a real provider knows nothing of ours.
    pub async fn store_sandbox_charge(&self, name: ChargeName, outcome: &str) -> Result<String, DbError> {
        let store = async { Ok(sandbox::store(&self.db.client().await?, name, outcome).await?) };
        tokio::time::timeout(DIRECT_WAIT, store).await.unwrap_or(Err(DbError::WriteTimeout(DIRECT_WAIT)))
    }

    /// Deletes up to `most` charges of the sandbox, of payments with an id before this one. Returns how many.
    pub async fn drop_sandbox_charges(&self, before: Uuid, most: i64) -> Result<u64, DbError> {
        transaction(&self.db, async |db| Ok(sandbox::drop_older(db, before, most).await?)).await
    }

    /// Deletes up to `most` idempotency keys from before that time. Returns how many.
    pub async fn drop_keys(&self, before: Timestamp, most: i64) -> Result<u64, DbError> {
        transaction(&self.db, async |db| Ok(keys::drop_older(db, before, most).await?)).await
    }

    /// Deletes up to `most` sessions whose refresh token expired before that time. Returns how many rows.
    pub async fn drop_expired(&self, before: Timestamp, most: i64) -> Result<u64, DbError> {
        transaction(&self.db, async |db| Ok(users::drop_expired(db, before, most).await?)).await
    }

    /// Deletes up to `most` nodes that have shown no sign of life for so many hours. Returns how many.
    pub async fn drop_nodes(&self, hours: i32, most: i64) -> Result<u64, DbError> {
        transaction(&self.db, async |db| Ok(nodes::drop_old(db, hours, most).await?)).await
    }

    /// Deletes some orders that ended unpaid, of those with an id before this one: the next step of a walk. It looks at
    /// up to `most` payments and deletes up to `most` tickets.
    pub async fn drop_unpaid(&self, before: Uuid, most: i64) -> Result<WalkStep, DbError> {
        transaction(&self.db, async |db| Ok(unpaid::drop_some(db, before, most, most).await?)).await
    }

    /// Begins a session with its first refresh token, given by its hashes, and records the log-in. Returns the sessions
    /// that end for it, because the user has too many. `None`: the user's password hash is not `password_hash` any more,
    /// because the password was changed after it was checked.
    pub async fn begin_session(
        &self,
        (session, address): (SessionId, IpAddr),
        (user, password_hash): (UserId, &str),
        token: &RefreshTokenHashes,
        lifetimes: SessionLifetimes,
        audit: Option<&AuditEntry>,
        at: Timestamp,
    ) -> Result<Option<Vec<SessionId>>, DbError> {
        let times = (lifetimes.expires_at(at, at), at);
        transaction(&self.db, async |db| {
            let new = NewSession { id: session, user, address };
            let ended = users::begin_session(db, &new, password_hash, token, times).await?;
            if ended.is_some() {
                audit::record(db, audit).await?;
            }
            Ok(ended)
        })
        .await
    }

    /// Exchanges a refresh token for a new one, given by its hash. A token that was used before ends its session, unless
    /// that was within the `leeway`.
    pub async fn rotate(
        &self,
        old: &RefreshTokenHashes,
        new: &[u8; 32],
        (lifetimes, leeway): (SessionLifetimes, Option<SignedDuration>),
        from: IpAddr,
        at: Timestamp,
    ) -> Result<TokenRotation, DbError> {
        transaction(&self.db, async |db| {
            let Some(session) = users::lock_session(db, old, leeway.map(|leeway| at - leeway)).await? else {
                return Ok(TokenRotation::Invalid);
            };
            let Some(token_expires_at) = session.expires_at else {
                users::end_session(db, session.id).await?;
                return Ok(TokenRotation::Reused(session.user, session.id));
            };
            let expires_at = lifetimes.expires_at(session.created_at, at);
            if token_expires_at <= at || expires_at <= at {
                return Ok(TokenRotation::Invalid);
            }
            let new = NewToken { hash: new, expires_at };
            if leeway.is_none() {
                users::drop_token(db, old).await?;
            } else if !session.is_spent {
                users::keep_spent_token(db, session.id, old, at).await?;
            }
            users::add_token(db, session.id, old, &new, (from, at)).await?;
            Ok(TokenRotation::New(session.user, session.id))
        })
        .await
    }

    /// Changes a password, given by the old and the new hash. All other sessions end; returns them. `None` if the
    /// old password was changed meanwhile.
    pub async fn change_password(
        &self,
        user: UserId,
        (old, new): (&str, &str),
        session: SessionId,
    ) -> Result<Option<Vec<SessionId>>, DbError> {
        transaction(&self.db, async |db| {
            if !users::set_password(db, user, Some(old), new).await? {
                return Ok(None);
            }
            Ok(Some(users::end_other_sessions(db, user, Some(session)).await?))
        })
        .await
    }

    /// Changes the status or the role of a user.
    pub async fn change_user(
        &self,
        id: UserId,
        status: Option<UserStatus>,
        role: Option<Role>,
        by: AuditActor,
        at: Timestamp,
    ) -> Result<Result<User, UserChangeRefusal>, DbError> {
        transaction(&self.db, async |db| {
            let weakens = status == Some(UserStatus::Blocked) || role == Some(Role::Player);
            // Always lock the admins before the user, so that there is no deadlock.
            let admins = if weakens { users::lock_active_admins(db).await? } else { Vec::new() };
            let Some(row) = users::lock(db, id).await? else { return Ok(Err(UserChangeRefusal::NoSuchUser)) };
            let before = user(&row)?;
            if admins == [id] {
                return Ok(Err(UserChangeRefusal::LastAdmin));
            }
            let (new_status, new_role) = (status.unwrap_or(before.status), role.unwrap_or(before.role));
            if (new_status, new_role) == (before.status, before.role) {
                return Ok(Ok(before));
            }
            users::set_access(db, id, new_status, new_role).await?;
            let detail = json!({
                "from": {"status": before.status, "role": before.role},
                "to": {"status": new_status, "role": new_role},
            });
            let (action, subject) = (Action::ChangeUser, Subject::User(id));
            audit::record(db, Some(&AuditEntry::once(Some(by), action, subject, detail, at))).await?;
            Ok(Ok(User { status: new_status, role: new_role, ..before }))
        })
        .await
    }

    /// Stores a token for a password reset, given by its hash. False if the user does not exist.
    pub async fn allow_reset(
        &self,
        id: UserId,
        token: &[u8; 32],
        expires_at: Timestamp,
        by: AuditActor,
        at: Timestamp,
    ) -> Result<bool, DbError> {
        transaction(&self.db, async |db| {
            if users::lock(db, id).await?.is_none() {
                return Ok(false);
            }
            users::allow_reset(db, id, &NewToken { hash: token, expires_at }).await?;
            let (action, subject, detail) = (Action::ResetPassword, Subject::User(id), json!({}));
            audit::record(db, Some(&AuditEntry::once(Some(by), action, subject, detail, at))).await?;
            Ok(true)
        })
        .await
    }

    /// Sets a new password, by its hash, with a reset token. All sessions of the user end. Returns the user and
    /// the sessions, if the token was valid.
    pub async fn reset_password(
        &self,
        token: &[u8; 32],
        password_hash: &str,
        at: Timestamp,
    ) -> Result<Option<(UserId, Vec<SessionId>)>, DbError> {
        transaction(&self.db, async |db| {
            let Some(id) = users::spend_reset(db, token, at).await? else { return Ok(None) };
            users::set_password(db, id, None, password_hash).await?;
            Ok(Some((id, users::end_other_sessions(db, id, None).await?)))
        })
        .await
    }

    /// Ends the session of a refresh token, if there is one. Returns it.
    pub async fn end_session(&self, token: &RefreshTokenHashes) -> Result<Option<SessionId>, DbError> {
        transaction(&self.db, async |db| {
            let Some(session) = users::lock_session(db, token, None).await? else { return Ok(None) };
            users::end_session(db, session.id).await?;
            Ok(Some(session.id))
        })
        .await
    }

    /// Ends one of this user's sessions. False if the user has no such session.
    pub async fn end_session_of(&self, user: UserId, session: SessionId) -> Result<bool, DbError> {
        transaction(&self.db, async |db| Ok(users::end_session_of(db, user, session).await?)).await
    }

    /// Makes sure that the configured lotteries have their rows.
    pub async fn ensure_lotteries(&self, lotteries: impl Iterator<Item = &LotteryId>) -> Result<(), DbError> {
        transaction(&self.db, async |db| {
            for lottery in lotteries {
                draws::ensure_lottery(db, lottery).await?;
            }
            Ok(())
        })
        .await
    }

    /// Creates a draw. Its status is scheduled.
    pub async fn create_draw(
        &self,
        rules: &Rules,
        times: &Times,
        by: Option<AuditActor>,
        at: Timestamp,
    ) -> Result<DrawId, DbError> {
        transaction(&self.db, async |db| {
            let id = draws::create(db, rules, times, at).await?;
            let detail = json!({"lottery": rules.lottery, "price": rules.price, "times": times});
            let (action, subject) = (Action::CreateDraw, Subject::Draw(id));
            let audit = by.map(|actor| AuditEntry::once(Some(actor), action, subject, detail, at));
            audit::record(db, audit.as_ref()).await?;
            Ok(id)
        })
        .await
    }

    /// Writes audit entries of what changes nothing in the database, such as an export.
    pub async fn record(&self, entries: &[AuditEntry]) -> Result<(), DbError> {
        record(&self.db, entries).await
    }

    /// Creates a draw that a schedule plans, unless it was created before.
    pub async fn create_planned_draw(
        &self,
        rules: &Rules,
        times: &Times,
        pool: usize,
        at: Timestamp,
    ) -> Result<Option<DrawId>, DbError> {
        let pool = i32::try_from(pool).map_err(|_| DbError::Corrupt("pool"))?;
        transaction(&self.db, async |db| {
            if draws::is_planned(db, &rules.lottery, times.draw_at).await? {
                return Ok(None);
            }
            let draw = draws::create(db, rules, times, at).await?;
            draws::plan(db, &rules.lottery, times.draw_at, draw, pool).await?;
            Ok(Some(draw))
        })
        .await
    }

    /// Takes a draw over for a newly loaded actor. Returns the new epoch. It is committed before the draw is read:
    /// a transaction of the lost actor was committed before that, or is refused.
    pub async fn take_over(&self, draw: DrawId) -> Result<Option<i64>, DbError> {
        transaction(&self.db, async |db| Ok(draws::take_over(db, draw).await?)).await
    }

    /// Writes new pool tickets of a draw, all or none. With a key, stores the answer in the same transaction.
    pub async fn add_to_pool(
        &self,
        fence: Fence,
        tickets: &[(PoolTicketId, Pick)],
        key: Option<&Key>,
        audit: Option<&AuditEntry>,
        at: Timestamp,
    ) -> Result<PoolWrite, DbError> {
        let mut client = self.db.client().await?;
        let tx = client.transaction().await?;
        match draws::add_to_pool(tx.client(), fence, tickets).await {
            Ok(()) => {}
            Err(StepFailure::StaleEpoch) => return Ok(PoolWrite::StaleEpoch),
            Err(StepFailure::Postgres(error)) => return Err(error.into()),
            Err(StepFailure::Rejected(_)) => return Err(DbError::Corrupt("pool")),
        }
        let mut available = None;
        if let Some(key) = key {
            let tickets_available = draws::count_for_sale(tx.client(), fence.draw).await?;
            // This cannot fail: the value holds only two numbers.
            let answer = serde_json::json!({"created": tickets.len(), "tickets_available": tickets_available});
            if !draws::keep_answer(tx.client(), key, &answer.to_string(), at).await? {
                return Ok(PoolWrite::KeyTaken);
            }
            available = Some(tickets_available);
        }
        audit::record(tx.client(), audit).await?;
        commit(tx).await?;
        Ok(PoolWrite::Written { available })
    }
}
