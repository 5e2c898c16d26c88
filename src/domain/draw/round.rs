//! What a draw with a beacon does differently: its round is announced, then fetched, and the draw waits for its turn among
//! the draws of its lottery. Once its sale was to end, it takes place as it was announced, or is void for a reason that
//! everybody can verify. This file is a part of the draw.

use std::mem;

use jiff::{SignedDuration, Timestamp};

use super::{Draw, Times, TimesError};
use crate::domain::beacon::{AnnouncedRound, VerifiedRound};
use crate::domain::lottery::{DrawStatus, VoidReason};

/// How long a process asks for a round before it calls a draw void, at least: the service may have been down for long, and
/// its network may need a moment.
const SHORTEST_ASKING: SignedDuration = SignedDuration::from_mins(10);

/// What a draw knows of its round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RoundState {
    Unknown,
    /// It is being fetched.
    Fetching,
    Known(VerifiedRound),
}

impl Draw {
    /// Whether the draw has a beacon, and its sale was to end by now: it takes place as it was announced, and only what
    /// everybody can verify prevents it.
    pub(super) fn is_bound(&self, now: Timestamp) -> bool {
        self.it.round.is_some() && now >= self.it.times.sales_close_at
    }

    /// Whether the draw has what its numbers come from.
    pub(super) fn is_round_ready(&self, now: Timestamp) -> bool {
        let known = || matches!(self.signature, RoundState::Known(_));
        self.it.round.as_ref().is_none_or(|round| now >= round.at() && known())
    }

    /// The rule that these times would break, of the announced round or of the terms.
    pub(super) fn margin_error(&self, times: &Times) -> Option<TimesError> {
        match (&self.it.round, self.it.status) {
            (Some(round), _) => self.terms.margin_error(times, &AnnouncedRound::of(&round.chain, times.draw_at)),
            (None, DrawStatus::Scheduled) => self.terms.error(times),
            (None, _) => None,
        }
    }

    /// The round of these times, of a draw that is announced with a beacon.
    pub fn round_of(&self, times: &Times) -> Option<AnnouncedRound> {
        self.it.round.as_ref().map(|round| AnnouncedRound::of(&round.chain, times.draw_at))
    }

    /// Why a scheduled draw cannot be opened with its times.
    pub fn opening_error(&self) -> Option<TimesError> {
        (self.it.status == DrawStatus::Scheduled).then(|| self.terms.error(&self.it.times)).flatten()
    }

    /// The round with which the draw is announced if it is opened now. `None`: it needs no beacon.
    pub(super) fn round_to_announce(&self) -> Option<AnnouncedRound> {
        self.terms.round(self.it.times.draw_at)
    }

    /// The announced round, if its signature must be fetched now. It counts as being fetched from then on.
    pub fn fetch_round(&mut self, now: Timestamp) -> Option<AnnouncedRound> {
        let round = self.it.round.as_ref().filter(|round| now >= round.at())?;
        let wanted = self.it.status == DrawStatus::Closed && self.clock_trusted && self.void.is_none();
        if !wanted || self.signature != RoundState::Unknown {
            return None;
        }
        self.signature = RoundState::Fetching;
        self.asks_since.get_or_insert(now);
        Some(round.clone())
    }

    /// The signature was fetched; `None`: it was not there. A day after the time of the round the draw is void, but not at the
    /// first failure after a start.
    pub fn round_fetched(&mut self, verified: Option<VerifiedRound>, now: Timestamp) {
        let Some(round) = &self.it.round else { return };
        self.signature = match verified {
            Some(verified) if verified.round() == round.round && verified.chain() == round.chain.hash() => {
                RoundState::Known(verified)
            }
            _ => RoundState::Unknown,
        };
        let has_asked = self.asks_since.is_some_and(|since| now.duration_since(since) >= SHORTEST_ASKING);
        let is_over = self.signature == RoundState::Unknown && has_asked && now >= round.gives_up_at();
        if is_over && self.clock_trusted {
            self.stop_for(VoidReason::NoRound);
        }
    }

    /// When the announced round appears.
    pub(super) fn round_at(&self) -> Timestamp {
        self.it.round.as_ref().map_or(Timestamp::MAX, AnnouncedRound::at)
    }

    /// The round, if its signature is known.
    pub fn verified_round(&self) -> Option<VerifiedRound> {
        match self.signature {
            RoundState::Known(verified) => Some(verified),
            RoundState::Unknown | RoundState::Fetching => None,
        }
    }

    /// The draw cannot take place as it was announced. The first reason stays.
    pub fn stop_for(&mut self, reason: VoidReason) {
        self.void.get_or_insert(self.reason_after_rollback(reason));
    }

    /// Why the draw cannot take place as it was announced.
    pub fn void_reason(&self) -> Option<VoidReason> {
        let is_another_list = self.it.round.is_some() && self.payout_stop.is_some();
        self.void.or(self.rolled_back_void()).or(is_another_list.then_some(VoidReason::ListMismatch))
    }

    /// Whether the draw cannot take place as it was announced, and an admin looks at it first.
    pub(super) fn waits_for_admin(&self) -> bool {
        self.it.status == DrawStatus::Closed && self.void.is_some_and(|reason| !reason.is_automatic())
    }

    /// An earlier draw of the lottery must end first. False if that was known.
    pub fn wait_for_turn(&mut self) -> bool {
        !mem::replace(&mut self.waits_for_turn, true)
    }

    /// No earlier draw of the lottery is left.
    pub fn turn_came(&mut self) {
        self.waits_for_turn = false;
    }

    /// When the numbers are drawn by themselves. `None`: when what the draw waits for has come.
    pub(super) fn conducts_at(&self) -> Option<Timestamp> {
        let draw_at = if self.is_drawn_again() { Timestamp::MIN } else { self.it.times.draw_at };
        match &self.it.round {
            _ if self.waits_for_turn || self.payout_stop.is_some() => None,
            Some(round) => self.verified_round().map(|_| draw_at.max(round.at())),
            None => Some(draw_at),
        }
    }

    /// When the round appears, while nobody has asked for it.
    pub(super) fn fetches_at(&self) -> Option<Timestamp> {
        self.it.round.as_ref().filter(|_| self.signature == RoundState::Unknown).map(AnnouncedRound::at)
    }
}
