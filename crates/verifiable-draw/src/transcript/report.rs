//! What a verification says: a line for each step, and in the end what is proved.

use std::fmt::{self, Display, Formatter};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StepResult {
    Holds,
    Fails,
    /// Nothing was found wrong, and nothing was proved.
    NotChecked,
}

/// One thing that was checked, in a sentence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerificationStep {
    pub outcome: StepResult,
    pub text: String,
}

impl Display for VerificationStep {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let mark = match self.outcome {
            StepResult::Holds => '✓',
            StepResult::Fails => '✗',
            StepResult::NotChecked => '–',
        };
        write!(formatter, "{mark} {}", self.text)
    }
}

/// A step that must hold for those after it does not: they are left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stopped;

/// The steps of a verification in their order.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct VerificationReport {
    steps: Vec<VerificationStep>,
    strict: bool,
}

impl VerificationReport {
    /// With `strict`, what rests on the operator's word fails.
    pub fn new(strict: bool) -> Self {
        Self { steps: Vec::new(), strict }
    }

    pub fn steps(&self) -> &[VerificationStep] {
        &self.steps
    }

    /// Whether nothing failed.
    pub fn holds(&self) -> bool {
        self.failures() == 0
    }

    pub fn failures(&self) -> usize {
        self.steps.iter().filter(|step| step.outcome == StepResult::Fails).count()
    }

    pub fn add_holding(&mut self, text: impl Into<String>) {
        self.add(StepResult::Holds, text.into());
    }

    pub fn add_unchecked(&mut self, text: impl Into<String>) {
        self.add(StepResult::NotChecked, text.into());
    }

    pub fn add_failure(&mut self, text: impl Into<String>) -> Stopped {
        self.add(StepResult::Fails, text.into());
        Stopped
    }

    /// What only the operator's word says.
    pub fn add_word_of_operator(&mut self, text: impl Into<String>) {
        self.add(if self.strict { StepResult::Fails } else { StepResult::NotChecked }, text.into());
    }

    /// Adds one of two sentences.
    pub fn require(&mut self, condition: bool, holds: impl Into<String>, fails: impl Into<String>) -> bool {
        match condition {
            true => self.add_holding(holds),
            false => drop(self.add_failure(fails)),
        }
        condition
    }

    fn add(&mut self, outcome: StepResult, text: String) {
        self.steps.push(VerificationStep { outcome, text });
    }
}

/// Who vouches for a key of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeySource {
    /// The verifier, who got the key elsewhere.
    Verifier,
    /// Nobody but the operator: the key came with the draw, or from the same host.
    Operator,
}

/// Whose witnesses have cosigned the seal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum WitnessedBy {
    Nobody,
    /// A quorum of the policy that the operator has announced.
    OperatorsChoice,
    /// A quorum of the verifier's own policy.
    OwnChoice,
}

/// What is proved of a draw, if every step holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DrawClaim {
    /// The draw has not ended.
    Unfinished,
    /// `by_hand`: an admin ended the sale or drew the numbers before the published time.
    CommitReveal { by_hand: bool, witnessed: WitnessedBy },
    /// `moved`: the round was changed, and only the operator says when.
    Beacon { moved: bool, witnessed: WitnessedBy },
    /// With the numbers that would have been drawn, as far as they can be computed.
    Voided { numbers: Option<Vec<u8>> },
}

impl Display for DrawClaim {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unfinished => {
                formatter.write_str("the draw has not ended, and what was published so far fits together.")
            }
            Self::Voided { numbers } => {
                formatter.write_str("the draw was cancelled. ")?;
                match numbers {
                    Some(numbers) => write!(formatter, "It would have drawn {}.", Numbers(numbers)),
                    None => formatter.write_str("Its numbers were never fixed."),
                }
            }
            Self::CommitReveal { by_hand, witnessed } => {
                formatter.write_str(
                    "the list and the seed were fixed before the numbers, and the numbers follow from both. The \
                     operator knows the seed, so it could have tried last tickets of its own before the seal.",
                )?;
                if *by_hand {
                    formatter.write_str(" The operator chose the moment of the draw.")?;
                }
                formatter.write_str(match witnessed {
                    WitnessedBy::Nobody => "",
                    WitnessedBy::OperatorsChoice => {
                        " Witnesses, chosen by the operator, saw the sealed list in this log."
                    }
                    WitnessedBy::OwnChoice => {
                        " Your witnesses saw the sealed list, and everybody who asks them sees the same log."
                    }
                })
            }
            Self::Beacon { moved, witnessed } => {
                formatter.write_str(
                    "nobody chose the numbers: the round did not exist when it was announced. (A threshold of the \
                     beacon's members could know it early.)",
                )?;
                formatter.write_str(match witnessed {
                    WitnessedBy::Nobody => {
                        " That the list was closed before the round is the operator's word, unless a monitor saw the \
                         seal earlier."
                    }
                    WitnessedBy::OperatorsChoice => {
                        " The list existed before the round by the clocks of witnesses chosen by the operator."
                    }
                    WitnessedBy::OwnChoice => {
                        " The list existed before the round, by clocks that are not the operator's, and everybody who \
                         asks your witnesses sees the same log."
                    }
                })?;
                formatter.write_str(match moved {
                    true => " That the round was changed before it was known is the operator's word.",
                    false => "",
                })
            }
        }
    }
}

/// Numbers as a sentence has them: `1 7 13`.
pub(crate) struct Numbers<'n>(pub &'n [u8]);

impl Display for Numbers<'_> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.0.iter().map(u8::to_string).collect();
        formatter.write_str(&numbers.join(" "))
    }
}

/// A time in Unix seconds as people read it: `2030-05-01 12:00:00 UTC`.
pub(crate) fn utc(seconds: u64) -> String {
    // Days are counted from March 1st of the year 0, so that a leap day is the last of its year: 400 years have 146,097
    // days, and 1970-01-01 is day 719,468.
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC", 400 * era + year + next_year)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
            (1_903_953_600, "2030-05-02 12:00:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(seconds), text);
        }
    }
}
