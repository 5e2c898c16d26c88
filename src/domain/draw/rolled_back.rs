//! A draw of a restored backup that is behind the public log. What was published of it stays true: it goes on to the state
//! that the log says, or stops, because what was sold after the backup is lost. This file is a part of the draw.

use jiff::Timestamp;

use super::{Allowed, Draw, Due, Step};
use crate::domain::lottery::{DrawStatus, VoidReason};

/// What becomes of a draw that the public log has in a later state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RolledBack {
    /// Orders may have been sold that the database does not have. Nothing is sold or drawn; an admin cancels it.
    Lost,
    /// Its list is the one that was sealed, so it is sealed again.
    Sealed,
    /// The same, and its numbers are drawn again: its result must be the published one.
    Completed,
    /// It was cancelled for this reason, and is cancelled again.
    Voided(String),
}

impl Draw {
    /// What the draw must go on to, until it has.
    fn behind(&self) -> Option<&RolledBack> {
        let last = match self.it.rolled_back.as_ref()? {
            RolledBack::Sealed => DrawStatus::Open,
            RolledBack::Completed => DrawStatus::Closed,
            RolledBack::Lost | RolledBack::Voided(_) => DrawStatus::Settling,
        };
        self.it.rolled_back.as_ref().filter(|_| self.it.status <= last)
    }

    /// Whether the draw has lost what was sold.
    pub(super) fn is_lost(&self) -> bool {
        self.behind() == Some(&RolledBack::Lost)
    }

    /// Whether the numbers are to be drawn as they were, whatever the time is.
    pub fn is_drawn_again(&self) -> bool {
        self.behind() == Some(&RolledBack::Completed)
    }

    /// Whether this step may be taken. `None`: as for every draw.
    pub(super) fn rolled_back_allows(&self, step: Step) -> Option<Allowed> {
        let behind = self.behind()?;
        let is_open = self.it.status == DrawStatus::Open;
        Some(match (step, behind) {
            (Step::Cancel, RolledBack::Lost | RolledBack::Voided(_)) => Allowed::Yes,
            (Step::Close, RolledBack::Sealed | RolledBack::Completed) if is_open => Allowed::Yes,
            (Step::Close | Step::Conduct, RolledBack::Completed) if !is_open => return None,
            // Its result is not the published one.
            (Step::Cancel, RolledBack::Completed) if self.payout_stop.is_some() => Allowed::Yes,
            _ => Allowed::No,
        })
    }

    /// What the draw must do now. The outer `None`: as every draw.
    pub(super) fn rolled_back_due(&mut self, now: Timestamp) -> Option<Option<Due>> {
        let is_open = self.it.status == DrawStatus::Open;
        match self.behind()? {
            RolledBack::Lost => {
                // A card that is charged must not add a ticket.
                let held = self.it.reservations.keys().copied().collect();
                let expired = self.expire(held, now);
                Some((!expired.is_empty()).then_some(Due::Expire(expired)))
            }
            RolledBack::Voided(reason) => Some(Some(Due::CancelAgain(reason.clone()))),
            RolledBack::Sealed | RolledBack::Completed if is_open => Some(Some(Due::Step(Step::Close))),
            RolledBack::Sealed | RolledBack::Completed => None,
        }
    }

    /// The published reason of a cancellation: what an admin says counts only if the draw can take place as it was announced.
    pub(super) fn published_reason(&self, given: &str) -> String {
        match (self.behind(), self.void_reason()) {
            (Some(RolledBack::Voided(reason)), _) => reason.clone(),
            (_, Some(reason)) => reason.as_str().to_owned(),
            (_, None) => given.to_owned(),
        }
    }

    /// Others may have cosignatures of the seal that a restored backup lacks, so nobody can say that there was no quorum.
    pub(super) fn reason_after_rollback(&self, reason: VoidReason) -> VoidReason {
        let lacks_cosignatures = reason == VoidReason::NoQuorum && self.it.rolled_back.is_some();
        if lacks_cosignatures { VoidReason::LogRolledBack } else { reason }
    }

    /// Whether the draw waits for an admin, because a restored backup lacks what was published of it.
    pub(super) fn is_stopped_by_rollback(&self) -> bool {
        self.is_lost() || (self.void == Some(VoidReason::LogRolledBack) && self.it.status <= DrawStatus::Settling)
    }

    /// Why a draw that is behind the public log cannot take place.
    pub(super) fn rolled_back_void(&self) -> Option<VoidReason> {
        let has_another_result = self.payout_stop.is_some() && self.it.rolled_back == Some(RolledBack::Completed);
        (self.is_lost() || has_another_result).then_some(VoidReason::LogRolledBack)
    }
}
