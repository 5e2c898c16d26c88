//! A lottery's rules: how many numbers are picked, what a ticket costs and what it may win; and the states of
//! a draw. This file knows no single draw.

use std::fmt;

use serde::Serialize;

use super::game::Game;
use super::id::LotteryId;
use super::money::{Money, Share};
use super::prize::{PriceTooHigh, PrizeTable};

/// The rules of a lottery: as configured, or as copied onto a draw when the draw was created.
#[derive(Clone, PartialEq, Debug)]
pub struct Rules {
    pub lottery: LotteryId,
    pub game: Game,
    /// The price of one ticket.
    pub price: Money,
    /// How much of the sales becomes the prize fund.
    pub fund_share: Share,
    pub prizes: PrizeTable,
}

impl Rules {
    /// The same rules with another price of a ticket. Fixed prizes and minimums change in proportion.
    pub fn with_price(&self, price: Money) -> Result<Rules, PriceTooHigh> {
        let prizes = self.prizes.for_price(self.price, price)?;
        Ok(Rules { price, prizes, ..self.clone() })
    }

    /// Whether the fund's share of a ticket's price pays for its guaranteed prizes on average. (2^40 minor units and
    /// 10,000 basis points for each of fewer than 2^61 combinations fit.)
    pub fn check_funding(&self) -> Result<(), ExpectedLoss> {
        let combinations = i128::from(self.game.combinations());
        let whole = i128::from(Share::WHOLE);
        // Both for one ticket of each combination, in ten-thousandths of a minor unit.
        let cost = self.prizes.guaranteed_cost(self.game) * whole;
        let fund = i128::from(self.price.minor()) * i128::from(self.fund_share.basis_points()) * combinations;
        if cost <= fund {
            return Ok(());
        }
        let hundredth = combinations * whole / 100;
        // Rounded apart, so that the sentence never shows the same number twice.
        Err(ExpectedLoss { price: self.price, cost: (cost + hundredth - 1) / hundredth, fund: fund / hundredth })
    }
}

/// On average, the guaranteed prizes of a ticket cost more than the fund receives of its price.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the guaranteed prizes (fixed prizes and minimums) cost {} on average for each ticket, but of its price of {price} \
     the fund receives only {}",
    Hundredths(*cost),
    Hundredths(*fund)
)]
pub struct ExpectedLoss {
    price: Money,
    /// In hundredths of a minor unit, rounded up.
    cost: i128,
    /// In hundredths of a minor unit, rounded down.
    fund: i128,
}

struct Hundredths(i128);

impl fmt::Display for Hundredths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

/// How the numbers of a draw come about, if anybody can verify that.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fairness {
    /// From a seed that was committed to before the sale, and the sealed list.
    CommitReveal,
    /// From public randomness of a time that was announced.
    Beacon,
}

impl Fairness {
    pub fn as_str(self) -> &'static str {
        match self {
            Fairness::CommitReveal => "commit_reveal",
            Fairness::Beacon => "beacon",
        }
    }

    /// The inverse of [`Fairness::as_str`].
    pub fn parse(text: &str) -> Option<Fairness> {
        [Fairness::CommitReveal, Fairness::Beacon].into_iter().find(|fairness| fairness.as_str() == text)
    }
}

/// Why a draw is void whose sale has ended and that was announced with a beacon: there is no other reason. The public log
/// and the draw show its name, so that everybody can refute it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VoidReason {
    /// Too few witnesses cosigned the sealed list in time.
    NoQuorum,
    /// The signature of the round did not appear.
    NoRound,
    /// The sold tickets are not those of the sealed list.
    ListMismatch,
    /// The database lacks entries of the public log that were published.
    LogRolledBack,
}

impl VoidReason {
    pub fn as_str(self) -> &'static str {
        match self {
            VoidReason::NoQuorum => "no_quorum",
            VoidReason::NoRound => "no_round",
            VoidReason::ListMismatch => "list_mismatch",
            VoidReason::LogRolledBack => "log_rolled_back",
        }
    }

    /// Whether the draw is cancelled by itself. Otherwise it stops, and an admin looks at it first.
    pub fn is_automatic(self) -> bool {
        matches!(self, VoidReason::NoQuorum | VoidReason::NoRound)
    }
}

/// A configured lottery; draws are created from it.
#[derive(Clone, PartialEq, Debug)]
pub struct Lottery {
    pub name: String,
    pub rules: Rules,
}

/// A draw's status. The variants are in the order in which a draw goes through them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DrawStatus {
    Scheduled,
    Open,
    Closed,
    Settling,
    Completed,
    Cancelling,
    Cancelled,
}

impl DrawStatus {
    pub const ALL: [DrawStatus; 7] = [
        DrawStatus::Scheduled,
        DrawStatus::Open,
        DrawStatus::Closed,
        DrawStatus::Settling,
        DrawStatus::Completed,
        DrawStatus::Cancelling,
        DrawStatus::Cancelled,
    ];

    /// As the database and the contract write it.
    pub fn as_str(self) -> &'static str {
        match self {
            DrawStatus::Scheduled => "scheduled",
            DrawStatus::Open => "open",
            DrawStatus::Closed => "closed",
            DrawStatus::Settling => "settling",
            DrawStatus::Completed => "completed",
            DrawStatus::Cancelling => "cancelling",
            DrawStatus::Cancelled => "cancelled",
        }
    }

    /// The inverse of [`DrawStatus::as_str`].
    pub fn parse(text: &str) -> Option<DrawStatus> {
        DrawStatus::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether nothing can happen to the draw any more: such a draw has no actor.
    pub fn is_over(self) -> bool {
        matches!(self, DrawStatus::Completed | DrawStatus::Cancelled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::prize::{Award, Tier};

    fn rules(price: i64, fund_share: u16, tiers: &[(u8, Award)]) -> Rules {
        let game = Game::new(2, 4).unwrap();
        let tiers = tiers.iter().map(|&(matches, award)| Tier { matches, award }).collect();
        Rules {
            lottery: LotteryId("2of4".to_owned()),
            game,
            price: Money::new(price),
            fund_share: Share::new(fund_share).unwrap(),
            prizes: PrizeTable::new(game, tiers).unwrap(),
        }
    }

    fn fixed(amount: i64) -> Award {
        Award::Fixed(Money::new(amount))
    }

    fn shared(minimum: Option<i64>) -> Award {
        Award::Shared { share: Share::new(10_000).unwrap(), minimum: minimum.map(Money::new) }
    }

    #[test]
    fn guaranteed_prizes_may_cost_what_the_fund_receives_and_no_more() {
        // One combination of six has both numbers, four have one. Half of 120 is 60 for each ticket, 360 for all six.
        for (paid, awards) in [
            (true, [(2, shared(None)), (1, fixed(90))]),
            (false, [(2, shared(None)), (1, fixed(91))]),
            (true, [(2, shared(Some(40))), (1, fixed(80))]),
            (false, [(2, shared(Some(41))), (1, fixed(80))]),
            (true, [(2, fixed(40)), (1, fixed(80))]),
        ] {
            assert_eq!(rules(120, 5_000, &awards).check_funding().is_ok(), paid, "{awards:?}");
        }
        assert!(rules(120, 0, &[(2, shared(None))]).check_funding().is_ok());
        let refused = rules(120, 5_000, &[(2, shared(Some(41))), (1, fixed(80))]).check_funding().unwrap_err();
        let sentence = "the guaranteed prizes (fixed prizes and minimums) cost 60.17 on average for each ticket, \
             but of its price of 120 the fund receives only 60.00";
        assert_eq!(refused.to_string(), sentence);
    }

    #[test]
    fn the_largest_numbers_fit() {
        let game = Game::new(32, 64).unwrap();
        let tiers = (1..=32).map(|matches| Tier { matches, award: Award::Fixed(PrizeTable::MAX_GUARANTEED) });
        let rules = Rules {
            game,
            prizes: PrizeTable::new(game, tiers.collect()).unwrap(),
            ..rules(1_000_000_000_000, 10_000, &[(2, shared(None))])
        };
        assert!(rules.check_funding().is_ok(), "each ticket but those without a match wins its price");
        assert!(Rules { price: Money::new(999_999_999_998), ..rules }.check_funding().is_err());
    }

    #[test]
    fn another_price_changes_what_is_guaranteed() {
        let rules = rules(100, 5_000, &[(2, shared(Some(1_000))), (1, fixed(30))]);
        let cheap = rules.with_price(Money::new(1)).unwrap();
        let awards = cheap.prizes.tiers().iter().map(|tier| tier.award).collect::<Vec<_>>();
        assert_eq!((cheap.price, awards), (Money::new(1), vec![shared(Some(10)), fixed(1)]));
        let highest = Money::new(100_000_000_000);
        assert_eq!(rules.with_price(Money::new(100_000_000_001)), Err(PriceTooHigh { highest }));
        assert!(rules.with_price(highest).is_ok());
    }
}
