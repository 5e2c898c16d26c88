//! Which program this is: its version, and the commit that it was built from. `build.rs` finds out the commit.

/// The version of the package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The first digits of the commit; `unknown` if the program was built without a repository.
pub const COMMIT: &str = env!("LOTTERY_COMMIT");

/// The day of the commit, such as `2026-11-26`; `unknown` if the commit is.
pub const COMMIT_DATE: &str = env!("LOTTERY_COMMIT_DATE");

/// All of it for people: `0.1.0 (07a6d48b1c 2026-11-26)`.
pub const LONG: &str = env!("LOTTERY_VERSION");
