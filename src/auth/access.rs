//! Who an access token may act for, cached: the user of each session, and what each user may do. So a request need not
//! ask the database, and the end of a session or a block takes effect at once ([`super::cache`] says how).
//!
//! A token is accepted only while its session exists: after a restore of the database, ids of users are given out
//! again, and a token from before must not open the account of somebody else.

use super::cache::LoadingCache;
use crate::domain::id::{SessionId, UserId};
use crate::domain::user::{Role, UserStatus};

/// Sessions cached at most, some 100 bytes each.
pub const MAX_SESSIONS: usize = 1_000_000;

/// Users cached at most, some 100 bytes each.
pub const MAX_USERS: usize = 1_000_000;

/// What a user may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UserAccess {
    pub role: Role,
    pub status: UserStatus,
}

/// The access of each user.
pub type AccessCache = LoadingCache<UserId, UserAccess>;

/// The user of each active session. `None`: the session has ended, or does not exist. That never changes again, so it
/// is cached too, and the token of such a session costs one lookup. Only tokens that the service signed are looked up.
pub type SessionCache = LoadingCache<SessionId, Option<UserId>>;
