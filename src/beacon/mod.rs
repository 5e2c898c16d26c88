//! Fetches rounds of public beacons. Nothing that a server says is believed but a signature that verifies, so a round may
//! come from any server. This module does not know when a round is fetched, nor what for.

mod drand;

use futures_util::future::BoxFuture;

use crate::domain::beacon::{AnnouncedRound, VerifiedRound};

pub use drand::{DEFAULT_ENDPOINTS, DrandClient, from_hex, hex};

/// No server gave the signature of a round. The text names each server and what was wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct RoundUnavailable(pub String);

/// Gives the signatures of rounds.
pub trait RoundSource: Send + Sync {
    /// Asks once for this round.
    fn fetch<'a>(&'a self, round: &'a AnnouncedRound) -> BoxFuture<'a, Result<VerifiedRound, RoundUnavailable>>;
}
