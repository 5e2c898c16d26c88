//! The ids of the house, one type each, so that a ticket's can never stand where a payment's belongs.
//! Knows nothing of how they are made: integers come from the database, UUIDs from [`crate::clock`].

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident($inner:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

ids! {
    /// A person, player or admin.
    UserId(i64);
    /// One draw of one lottery.
    DrawId(i64);
    /// A log-in: the family of its refresh tokens.
    SessionId(Uuid);
    /// A ticket that somebody ordered. UUIDv7.
    TicketId(Uuid);
    /// A ticket made in advance. Its sale makes a [`TicketId`] of its own. UUIDv7.
    PoolTicketId(Uuid);
    /// A payment. UUIDv7; the tickets it pays for have the ids that follow.
    PaymentId(Uuid);
}

/// The name of a lottery in the configuration and in addresses, such as `5of36`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(transparent)]
pub struct LotteryId(pub String);

impl fmt::Display for LotteryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
