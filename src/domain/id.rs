//! The ids, one type for each kind, so that the compiler refuses a ticket's id where a payment's id belongs.
//! This file does not make ids: the database makes the integers and [`crate::clock`] the UUIDs.

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
    /// One log-in; all refresh tokens of that log-in have this id.
    SessionId(Uuid);
    /// A ticket that somebody ordered. UUIDv7.
    TicketId(Uuid);
    /// A ticket made in advance, for the pool. When it is sold, it gets a [`TicketId`] as well. UUIDv7.
    PoolTicketId(Uuid);
    /// One run of a service. Random.
    NodeId(i64);
    /// A payment. UUIDv7; the tickets that it pays for have the UUIDs that follow it.
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
