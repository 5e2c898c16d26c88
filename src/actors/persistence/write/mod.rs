//! Every INSERT and UPDATE of the crate. Private to the persistence actor: nobody else writes. The modules import the
//! connection, which imports none of them.

pub mod audit;
pub mod draws;
pub mod keys;
pub mod ledger;
mod params;
pub mod payout;
pub mod sales;
pub mod settle;
pub mod users;
pub mod writers;

/// The settings of the writer's session: every plan is generic and uses an index. It is made once, not for each batch
/// anew, and one that was made while the tables are small must still be right when they are not.
pub const SESSION: &str = "-- write::session()
    SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
    SET plan_cache_mode = force_generic_plan; SET jit = off";

/// The statements that the writer sends again and again, to be prepared once for each connection.
pub fn statements() -> impl Iterator<Item = &'static str> {
    sales::STATEMENTS.into_iter().chain(payout::STATEMENTS).chain([writers::MARK])
}
