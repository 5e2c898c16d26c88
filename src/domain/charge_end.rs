//! Decides what to do after an attempt to write the end of a charge. The money has moved, so the attempts are
//! repeated until the database has the end. The service and the simulation use the same rule. It writes nothing
//! and does not wait.

use super::draw::SaleError;
use super::record::Refusal;

/// What to do after an attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AfterAttempt {
    /// The charge has its end: answer with the result of the attempt.
    Answer,
    /// Answer that the outcome is unknown.
    AnswerUnknown,
    /// The draw is over and holds no tickets: write the end without the draw, and answer with that result.
    WriteWithoutDraw,
    /// Wait a moment, and try again.
    TryAgain,
}

/// The attempts to write the end of one charge.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ChargeEndAttempts {
    /// Whether an earlier attempt may have been written, although its answer was lost.
    unsure: bool,
}

impl ChargeEndAttempts {
    /// Decides after the result of one attempt through the draw. `has_key`: the client sent an idempotency key,
    /// under which the answer of an earlier attempt is stored.
    pub fn after<T>(&mut self, result: &Result<T, SaleError>, has_key: bool) -> AfterAttempt {
        match result {
            Err(SaleError::NotReserved) => AfterAttempt::WriteWithoutDraw,
            Err(SaleError::OutcomeUnknown) => {
                self.unsure = true;
                AfterAttempt::TryAgain
            }
            Err(SaleError::Refused(Refusal::StaleEpoch | Refusal::Overloaded)) => AfterAttempt::TryAgain,
            // An earlier attempt may have ended this very charge. With a key, the stored answer says so.
            Err(SaleError::Refused(Refusal::NotPayable)) if self.unsure && !has_key => AfterAttempt::AnswerUnknown,
            _ => AfterAttempt::Answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOT_PAYABLE: Result<(), SaleError> = Err(SaleError::Refused(Refusal::NotPayable));

    #[test]
    fn an_attempt_that_may_have_failed_is_repeated() {
        for error in [
            SaleError::OutcomeUnknown,
            SaleError::Refused(Refusal::StaleEpoch),
            SaleError::Refused(Refusal::Overloaded),
        ] {
            assert_eq!(ChargeEndAttempts::default().after::<()>(&Err(error), false), AfterAttempt::TryAgain);
        }
    }

    #[test]
    fn without_a_draw_the_end_is_written_directly() {
        let after = ChargeEndAttempts::default().after::<()>(&Err(SaleError::NotReserved), false);
        assert_eq!(after, AfterAttempt::WriteWithoutDraw);
    }

    #[test]
    fn a_refusal_after_a_lost_answer_is_unknown_unless_a_key_tells() {
        let mut attempts = ChargeEndAttempts::default();
        assert_eq!(attempts.after(&NOT_PAYABLE, false), AfterAttempt::Answer);
        attempts.after::<()>(&Err(SaleError::Refused(Refusal::StaleEpoch)), false);
        assert_eq!(attempts.after(&NOT_PAYABLE, false), AfterAttempt::Answer, "a stale epoch wrote nothing");
        attempts.after::<()>(&Err(SaleError::OutcomeUnknown), false);
        assert_eq!(attempts.after(&NOT_PAYABLE, true), AfterAttempt::Answer);
        assert_eq!(attempts.after(&NOT_PAYABLE, false), AfterAttempt::AnswerUnknown);
        assert_eq!(attempts.after(&Ok(()), false), AfterAttempt::Answer);
    }
}
