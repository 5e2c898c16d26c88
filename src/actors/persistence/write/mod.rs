//! Every INSERT and UPDATE of the crate. Private to the persistence actor: nobody else writes.

pub mod audit;
pub mod draws;
pub mod keys;
pub mod ledger;
mod params;
pub mod payout;
pub mod sales;
pub mod settle;
pub mod users;
