//! The persistence actor's decisions: which records make the next transaction, what must be read before it is
//! written, and what follows from how it ended. They are state machines without SQL, channels, clocks and waits:
//! `actors::persistence` and the simulation run the same ones, and each only carries out what a machine asks for.
//!
//! Work waits in the [`WriteQueue`]. Each batch of records is a [`BatchRun`], each step of a draw's life a
//! [`StepRun`]. Both ask for one action at a time with `next` and are told how it went. What outlives them, the
//! connection and the cache, is the [`ConnectionState`].
//!
//! ```text
//! batch:  drop late records ─ connect ─ prefetch what the cache misses ─ write ─┬─ answer
//!              ▲                                                                ├─ commit unknown: ask the database
//!              └──── rest, begin anew ◄─────────────────────────────────────────┴─ refused: each record alone
//! ```

mod batch;
mod connection;
mod queue;
mod step;
#[cfg(test)]
mod tests;

pub use batch::{Answers, BatchAction, BatchRun, BatchWrite, Decision, PrefetchFailure, TransactionEnd};
pub use connection::{ConnectionAction, ConnectionState, Mark};
pub use queue::{BatchRecord, QueuedWork, Work, WriteQueue};
pub use step::{StepAction, StepEnd, StepRun};
