//! The times of a draw: the rules that they must obey, and a change of some of them. This file does not know whether
//! a draw's times may still be changed.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

/// The times at which a draw takes its steps by itself. They are in ascending order; `draw_at` is not before the
/// end of the sale.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Times {
    /// `None`: an admin opens the sale.
    pub sales_open_at: Option<Timestamp>,
    pub sales_close_at: Timestamp,
    pub draw_at: Timestamp,
}

/// New values for some of the times; the others stay as they are. A change carries only what its admin gave, so that
/// two changes at once do not undo each other.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TimesChange {
    pub sales_open_at: Option<Timestamp>,
    pub sales_close_at: Option<Timestamp>,
    pub draw_at: Option<Timestamp>,
}

/// A rule that a draw's times break.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TimesError {
    #[error("must be in the future")]
    CloseInPast,
    #[error("must be before sales_close_at")]
    OpenAfterClose,
    /// Very old times do not fit into the database.
    #[error("must not be before 1970")]
    OpenTooOld,
    #[error("must not be before sales_close_at")]
    DrawBeforeClose,
    /// Nobody may buy when somebody could already know the numbers.
    #[error(
        "must be at least {margin:#} before {round_at}, when the beacon's round of draw_at appears (fairness.margin)"
    )]
    CloseToRound { round_at: Timestamp, margin: SignedDuration },
}

impl TimesError {
    /// The field to which the message belongs.
    pub fn field(self) -> &'static str {
        match self {
            TimesError::CloseInPast | TimesError::CloseToRound { .. } => "sales_close_at",
            TimesError::OpenAfterClose | TimesError::OpenTooOld => "sales_open_at",
            TimesError::DrawBeforeClose => "draw_at",
        }
    }
}

impl Times {
    /// These times with the changed ones.
    pub fn with(self, change: TimesChange) -> Times {
        Times {
            sales_open_at: change.sales_open_at.or(self.sales_open_at),
            sales_close_at: change.sales_close_at.unwrap_or(self.sales_close_at),
            draw_at: change.draw_at.unwrap_or(self.draw_at),
        }
    }

    /// The rules that these times break, if they are set now.
    pub fn errors(&self, now: Timestamp) -> Vec<TimesError> {
        let rules = [
            (self.sales_close_at > now, TimesError::CloseInPast),
            (self.sales_open_at.is_none_or(|at| at < self.sales_close_at), TimesError::OpenAfterClose),
            (self.sales_open_at.is_none_or(|at| at >= Timestamp::UNIX_EPOCH), TimesError::OpenTooOld),
            (self.draw_at >= self.sales_close_at, TimesError::DrawBeforeClose),
        ];
        rules.into_iter().filter(|(holds, _)| !holds).map(|(_, error)| error).collect()
    }
}
