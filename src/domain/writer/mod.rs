//! The decisions of the persistence actor: which records form the next transaction, what it must read before it
//! writes, and what to do at its end.
//!
//! Records and steps wait in the [`WriteQueue`]. A batch of records is a [`BatchRun`], a step of a draw is a
//! [`StepRun`]. Both are state machines: `next` returns one action, the driver carries it out and reports the
//! result. What outlives them, the connection and the cache, is the [`ConnectionState`].
//!
//! A batch reads only what the cache does not have, and it commits only if the database still has the state that
//! the cache expects. If the outcome of a COMMIT is unknown, the machine does not guess: it asks the database.
//!
//! The machines have no SQL, channels, clocks or waits. `actors::persistence` and the simulation drive the same
//! machines.
//!
//! ```text
//! batch:  drop late records ─ connect ─ prefetch what the cache misses ─ write ─┬─ answer
//!              ▲                                                                ├─ commit unknown: ask the database
//!              └──── pause, begin again ◄───────────────────────────────────────┴─ refused: each record alone
//! ```

mod batch;
mod connection;
mod delivery;
mod queue;
mod step;
#[cfg(test)]
mod tests;

pub use batch::{BatchAction, BatchRun, BatchWrite, Decision, PrefetchFailure, TransactionEnd};
pub use connection::{ConnectionAction, ConnectionState, Mark};
pub use delivery::group_by_draw;
pub use queue::{Answers, BatchRecord, QueuedWork, Work, WriteQueue};
pub use step::{StepAction, StepEnd, StepRun};
