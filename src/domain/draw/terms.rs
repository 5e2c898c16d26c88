//! The terms on which draws are opened: how their numbers come about, and how long before the beacon's round the sale ends.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use verifiable_draw::beacon::BeaconChain;

use super::{Times, TimesError};
use crate::domain::beacon::AnnouncedRound;
use crate::domain::lottery::Fairness;

/// The terms on which draws are opened. A draw that is announced keeps the mode and the chain of its announcement.
#[derive(Clone, PartialEq, Debug)]
pub struct FairnessTerms {
    pub mode: Fairness,
    pub chain: Arc<BeaconChain>,
    /// How long before its round the sale of a draw ends, at least.
    pub margin: SignedDuration,
}

impl Default for FairnessTerms {
    /// Draws need no beacon.
    fn default() -> FairnessTerms {
        let chain = Arc::new(BeaconChain::quicknet());
        FairnessTerms { mode: Fairness::CommitReveal, chain, margin: SignedDuration::from_mins(10) }
    }
}

impl FairnessTerms {
    /// The round of a draw that is announced now with this time. `None`: its numbers need no beacon.
    pub fn round(&self, draw_at: Timestamp) -> Option<AnnouncedRound> {
        (self.mode == Fairness::Beacon).then(|| AnnouncedRound::of(&self.chain, draw_at))
    }

    /// The rule that the times of a draw break that is not announced yet.
    pub fn error(&self, times: &Times) -> Option<TimesError> {
        self.margin_error(times, &self.round(times.draw_at)?)
    }

    /// The rule that the times of a draw with this round break.
    pub fn margin_error(&self, times: &Times, round: &AnnouncedRound) -> Option<TimesError> {
        let (round_at, margin) = (round.at(), self.margin);
        let is_wide = round_at.duration_since(times.sales_close_at) >= margin;
        (!is_wide).then_some(TimesError::CloseToRound { round_at, margin })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_sale_ends_a_margin_before_the_round() {
        let times =
            |close, draw_at| Times { sales_open_at: None, sales_close_at: at(close), draw_at: at(draw_at) };
        let terms = FairnessTerms { mode: Fairness::Beacon, ..FairnessTerms::default() };
        assert_eq!(terms.error(&times(1_692_803_133, 1_692_803_731)), None, "exactly ten minutes");
        let error = TimesError::CloseToRound { round_at: at(1_692_803_733), margin: terms.margin };
        assert_eq!(terms.error(&times(1_692_803_134, 1_692_803_731)), Some(error));
        assert_eq!(
            error.to_string(),
            "must be at least 10m before 2023-08-23T15:15:33Z, when the beacon's round of draw_at appears \
             (fairness.margin)"
        );
        assert_eq!(FairnessTerms::default().error(&times(1_692_803_731, 1_692_803_731)), None);
    }
}
