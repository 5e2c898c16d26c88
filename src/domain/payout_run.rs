//! The state machine of a payout, from its stored progress to its end: one window after the other, one step after
//! the other. The service and the simulation drive the same machine. It reads and writes nothing: the driver
//! reads the tickets of a window, writes the steps, and reports both.

use jiff::Timestamp;

use super::payout::{Credit, PayStep, Payout, Progress, Window, WindowError};
use super::record::Fence;

/// The next action.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PayoutAction {
    /// Read the credits of the tickets after this number, then call [`PayoutRun::window_read`]. `end`: exactly up to
    /// this number, because a part of that window is already paid. `None`: the caller chooses the end.
    ReadWindow { after: i64, end: Option<i64> },
    /// Write [`PayoutRun::step`], then call [`PayoutRun::paid`].
    Pay,
    /// Everything is paid, and the draw has ended.
    Done,
    /// Every ticket was paid, and the draw has not ended: a bug.
    Stuck,
}

/// A payout that has begun.
#[derive(Debug)]
pub struct PayoutRun {
    fence: Fence,
    payout: Payout,
    /// The number of paid tickets of the draw.
    sold: i64,
    /// The progress that the last written step has stored.
    progress: Progress,
    /// The window that is being paid, and the progress of the step that is being written.
    window: Option<(Window, Progress)>,
    /// The end of the run: [`PayoutAction::Done`] or [`PayoutAction::Stuck`].
    end: Option<PayoutAction>,
}

impl PayoutRun {
    /// Begins a payout, or continues it after a crash, at the stored progress.
    pub fn new(fence: Fence, payout: Payout, sold: i64, progress: Progress) -> PayoutRun {
        PayoutRun { fence, payout, sold, progress, window: None, end: None }
    }

    pub fn payout(&self) -> Payout {
        self.payout
    }

    /// The stored progress.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    pub fn next(&self) -> PayoutAction {
        let Progress { done, window: part } = self.progress;
        match (self.end, &self.window) {
            (Some(end), _) => end,
            (None, Some(_)) => PayoutAction::Pay,
            (None, None) => PayoutAction::ReadWindow { after: done, end: part.map(|part| part.end) },
        }
    }

    /// The credits of the window were read, up to the ticket with this number. Credits that are already paid are
    /// removed here. This takes long for a million credits.
    ///
    /// # Errors
    /// [`WindowError`] if the credits do not add up.
    pub fn window_read(&mut self, mut credits: Vec<Credit>, end: i64) -> Result<(), WindowError> {
        credits.retain(|credit| !self.progress.includes(credit));
        let tickets = (self.progress.done, end);
        let window = match self.payout {
            Payout::Prizes => Window::of_prizes(credits, tickets)?,
            Payout::Refunds => Window::of_refunds(credits, tickets)?,
        };
        self.window = Some((window, self.progress));
        Ok(())
    }

    /// The next step of the window, with at most `limit` credits. `None`: no window was read.
    pub fn step(&mut self, limit: usize, at: Timestamp) -> Option<PayStep> {
        let (window, pending) = self.window.as_mut()?;
        let (credits, after) = window.take(limit);
        *pending = after;
        let (fence, payout, credits, before) = (self.fence, self.payout, credits.to_vec(), self.progress);
        Some(PayStep { fence, payout, credits, before, after, at })
    }

    /// The step was written. `all`: it was the last one, and the draw has ended.
    pub fn paid(&mut self, all: bool) {
        if let Some((_, after)) = &self.window {
            self.progress = *after;
        }
        if self.progress.window.is_none() {
            self.window = None;
        }
        if all {
            self.end = Some(PayoutAction::Done);
        } else if self.window.is_none() && self.progress.done >= self.sold {
            self.end = Some(PayoutAction::Stuck);
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::id::{DrawId, UserId};
    use crate::domain::money::Money;

    const FENCE: Fence = Fence { draw: DrawId(7), epoch: 3 };

    fn credit(ticket: u128) -> Credit {
        Credit { user: UserId(1), reference: Uuid::from_u128(ticket), amount: Money::new(5) }
    }

    fn run(sold: i64, progress: Progress) -> PayoutRun {
        PayoutRun::new(FENCE, Payout::Prizes, sold, progress)
    }

    #[test]
    fn windows_are_paid_one_after_the_other_until_the_draw_has_ended() {
        let mut payout = run(4, Progress::default());
        let mut paid = Vec::new();
        for end in [2, 4] {
            let after = payout.progress().done;
            assert_eq!(payout.next(), PayoutAction::ReadWindow { after, end: None });
            payout.window_read((after..end).map(|ticket| credit(ticket as u128)).collect(), end).unwrap();
            for _ in 0..2 {
                assert_eq!(payout.next(), PayoutAction::Pay);
                let step = payout.step(1, Timestamp::UNIX_EPOCH).unwrap();
                assert_eq!((step.fence, step.before), (FENCE, payout.progress()));
                paid.extend(step.credits);
                payout.paid(step.after.done == 4);
            }
        }
        assert_eq!(payout.next(), PayoutAction::Done);
        assert_eq!(paid, [0, 1, 2, 3].map(credit));
    }

    #[test]
    fn an_interrupted_window_is_read_to_its_old_end_and_nothing_is_paid_twice() {
        let mut payout = run(4, Progress::default());
        payout.window_read([0, 1, 2].map(credit).to_vec(), 3).unwrap();
        let stored = payout.step(1, Timestamp::UNIX_EPOCH).unwrap().after;

        let mut again = run(4, stored);
        assert_eq!(again.next(), PayoutAction::ReadWindow { after: 0, end: Some(3) });
        again.window_read([0, 1, 2].map(credit).to_vec(), 3).unwrap();
        assert_eq!(again.step(9, Timestamp::UNIX_EPOCH).unwrap().credits, [1, 2].map(credit));
    }

    #[test]
    fn a_draw_without_tickets_takes_one_empty_step() {
        let mut payout = run(0, Progress::default());
        assert_eq!(payout.next(), PayoutAction::ReadWindow { after: 0, end: None });
        payout.window_read(Vec::new(), 0).unwrap();
        assert_eq!(payout.step(9, Timestamp::UNIX_EPOCH).unwrap().credits, []);
        payout.paid(true);
        assert_eq!(payout.next(), PayoutAction::Done);
    }

    #[test]
    fn a_draw_that_has_not_ended_with_its_last_ticket_is_stuck() {
        let mut payout = run(1, Progress::default());
        payout.window_read(vec![credit(0)], 1).unwrap();
        payout.step(9, Timestamp::UNIX_EPOCH).unwrap();
        payout.paid(false);
        assert_eq!(payout.next(), PayoutAction::Stuck);
    }

    #[test]
    fn credits_that_do_not_add_up_make_no_window() {
        let mut payout = run(2, Progress::default());
        let twice = payout.window_read(vec![credit(0), credit(0)], 2);
        assert_eq!(twice, Err(WindowError::Duplicate(Uuid::from_u128(0))));
    }
}
