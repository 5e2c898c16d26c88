//! Layer 2: the actors. The registry finds each draw's actor, the draw actor drives the draw's state machine, and
//! the persistence actor writes. The layers above do not see the actors: they call handles, such as
//! [`draws::Draws`]. No file here knows HTTP.

pub mod audit;
pub mod draw;
pub mod draws;
pub mod housekeeping;
pub mod key_changes;
pub mod lease;
pub mod log_copy;
pub mod messages;
pub mod node;
pub mod persistence;
pub mod public_log;
mod registry;
pub mod sales_history;
pub mod schedule;
pub mod snapshots;
pub mod witnesses;
