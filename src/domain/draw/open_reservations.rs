//! How many tickets each user has reserved and not paid, over all draws, and the limit of that. Each draw counts its own
//! tickets in a share of the counts. When a draw is dropped, for whatever reason, its share is taken back, so a draw
//! that is loaded again is counted once. This file knows no reservation.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::id::UserId;

/// The counts of all draws. Clones are the same counts.
#[derive(Clone, Debug, Default)]
pub struct OpenReservations {
    counts: Arc<Mutex<HashMap<UserId, usize>>>,
    /// The most tickets of one user. `None`: no limit.
    limit: Option<usize>,
}

/// The user would have more reserved tickets than allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{open} tickets are reserved and not paid, and at most {limit} may be")]
pub struct TooManyReservations {
    /// The tickets that are reserved now.
    pub open: usize,
    pub limit: usize,
}

impl OpenReservations {
    pub fn new(limit: Option<usize>) -> OpenReservations {
        OpenReservations { counts: Arc::default(), limit }
    }

    /// The tickets that this user has reserved and not paid.
    pub fn of(&self, user: UserId) -> usize {
        self.with(|counts| counts.get(&user).copied().unwrap_or(0))
    }

    /// The share of one draw, which has counted nothing yet.
    pub fn share(&self) -> ReservationShare {
        ReservationShare { all: self.clone(), own: HashMap::new() }
    }

    /// All draws run on one thread: none waits here for another, and none adds between a check and what follows it.
    fn with<T>(&self, work: impl FnOnce(&mut HashMap<UserId, usize>) -> T) -> T {
        work(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What one draw has counted.
#[derive(Debug)]
pub struct ReservationShare {
    all: OpenReservations,
    own: HashMap<UserId, usize>,
}

impl ReservationShare {
    /// Refuses so many more tickets of this user, if they are too many. Counts nothing.
    pub fn check(&self, user: UserId, tickets: usize) -> Result<(), TooManyReservations> {
        let Some(limit) = self.all.limit else { return Ok(()) };
        let open = self.all.of(user);
        if open + tickets > limit { Err(TooManyReservations { open, limit }) } else { Ok(()) }
    }

    /// Counts these tickets: they are reserved, or are being ordered.
    pub fn add(&mut self, user: UserId, tickets: usize) {
        self.all.with(|counts| *counts.entry(user).or_default() += tickets);
        *self.own.entry(user).or_default() += tickets;
    }

    /// Counts these tickets no longer: they were paid, returned, expired or never written.
    pub fn release(&mut self, user: UserId, tickets: usize) {
        self.all.with(|counts| subtract(counts, user, tickets));
        subtract(&mut self.own, user, tickets);
    }

    /// The tickets that this draw has counted, by user.
    pub fn counted(&self) -> &HashMap<UserId, usize> {
        &self.own
    }
}

impl Drop for ReservationShare {
    fn drop(&mut self) {
        self.all.with(|counts| self.own.iter().for_each(|(user, tickets)| subtract(counts, *user, *tickets)));
    }
}

/// A user without tickets has no entry, so the counts do not grow with all users that ever reserved.
fn subtract(counts: &mut HashMap<UserId, usize>, user: UserId, tickets: usize) {
    if let Entry::Occupied(mut count) = counts.entry(user) {
        *count.get_mut() = count.get().saturating_sub(tickets);
        if *count.get() == 0 {
            count.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: UserId = UserId(1);
    const BOB: UserId = UserId(2);

    #[test]
    fn the_limit_is_over_all_draws_and_for_each_user() {
        let all = OpenReservations::new(Some(5));
        let (mut one, mut other) = (all.share(), all.share());
        one.add(ANN, 3);
        assert_eq!(other.check(ANN, 3), Err(TooManyReservations { open: 3, limit: 5 }));
        assert_eq!(other.check(ANN, 2), Ok(()));
        other.add(ANN, 2);
        assert_eq!(other.check(BOB, 5), Ok(()));
        assert_eq!(other.check(BOB, 6), Err(TooManyReservations { open: 0, limit: 5 }));
        one.release(ANN, 1);
        assert_eq!(other.check(ANN, 1), Ok(()));
        assert_eq!((all.of(ANN), all.of(BOB)), (4, 0));
    }

    #[test]
    fn a_draw_that_is_dropped_takes_its_counts_back_and_no_others() {
        let all = OpenReservations::new(Some(5));
        let (mut one, mut other) = (all.share(), all.share());
        one.add(ANN, 7);
        other.add(ANN, 2);
        other.add(BOB, 1);
        drop(one);
        assert_eq!((all.of(ANN), all.of(BOB)), (2, 1));
        drop(other);
        assert!(all.with(|counts| counts.is_empty()), "nothing is left over");
    }
}
