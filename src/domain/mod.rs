//! The bottom layer: the rules of a lottery. It has no async, no SQL, no clock and no source of randomness:
//! the time and the entropy are arguments, so that every decision can be replayed.

pub mod audit;
pub mod batch_state;
pub mod beacon;
pub mod charge;
pub mod charge_end;
pub mod draw;
pub mod game;
pub mod id;
pub mod installation;
pub mod ledger;
pub mod log_import;
pub mod log_index;
pub mod log_keys;
pub mod lottery;
pub mod money;
pub mod node;
pub mod payment;
pub mod payout;
pub mod payout_run;
pub mod pool;
pub mod prefetch;
pub mod prize;
pub mod public_log;
pub mod record;
pub mod recount;
pub mod rows;
pub mod schedule;
pub mod settle;
pub mod ticket;
pub mod ticket_log;
pub mod user;
pub mod witness_policy;
pub mod witness_progress;
pub mod writer;
pub mod writer_cache;
