//! Floor 2: the actors. The registry finds each draw's actor, the draw's actor decides, the persistence
//! actor makes it durable. Outside, nobody sees an actor: there are handles with verbs.

pub mod draw;
pub mod draws;
pub mod housekeeping;
pub mod messages;
pub mod persistence;
mod registry;
pub mod schedule;
pub mod snapshots;
