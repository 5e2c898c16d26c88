//! Every INSERT, UPDATE and DELETE of the crate. The module is private to the persistence module, so no other
//! code writes. These files import the connection, which imports none of them.

pub mod audit;
pub mod charges;
pub mod draws;
pub mod installation;
pub mod keys;
pub mod ledger;
pub mod log;
pub mod log_import;
pub mod nodes;
mod params;
pub mod payout;
pub mod sales;
pub mod sandbox;
pub mod settle;
pub mod unpaid;
pub mod users;
pub mod witnesses;
pub mod writers;

/// The settings of the writer's session: every plan is generic and uses an index. A plan is made once for a
/// connection, not for each batch, and it may be made while the tables are small. It must still be right when
/// they are large.
pub const SESSION: &str = "-- write::session()
    SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
    SET plan_cache_mode = force_generic_plan; SET jit = off";

/// The statements that the writer sends often. They are prepared once for each connection.
pub fn statements() -> impl Iterator<Item = &'static str> {
    sales::STATEMENTS.into_iter().chain(payout::STATEMENTS).chain([writers::MARK])
}
