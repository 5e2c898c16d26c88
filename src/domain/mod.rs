//! Floor 0: what a lottery is, and nothing else. No async, no SQL, no clock, no randomness of its own:
//! the time and the entropy come in as arguments, so that every decision can be replayed.

pub mod audit;
pub mod batch_state;
pub mod draw;
pub mod game;
pub mod id;
pub mod ledger;
pub mod lottery;
pub mod money;
pub mod payment;
pub mod payout;
pub mod pool;
pub mod prize;
pub mod record;
pub mod schedule;
pub mod ticket;
pub mod user;
pub mod writer_cache;
