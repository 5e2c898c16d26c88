//! How the sales of a draw and its jackpot become prizes and rollover: pure arithmetic over the published rules, in whole
//! minor units. `docs/verifiable-draw.md` has the formula.
//!
//! The service settles a draw with code of its own, so a mistake in one of the two is seen.

use crate::event::{PublishedRules, PublishedTier};
use crate::numbers::MAX_NUMBERS;

/// The basis points of the whole.
const WHOLE: u16 = 10_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RulesError {
    #[error("a ticket has 1 to n of at most {MAX_NUMBERS} numbers")]
    Game,
    #[error("a ticket costs nothing")]
    Price,
    #[error("a share is more than the whole")]
    Share,
    #[error("there are no tiers, or they do not go from the most matches down")]
    TierOrder,
    #[error("no ticket can have {0} matches")]
    Matches(u8),
    #[error("the tier for {0} matches has neither a fixed prize nor a share, or both, or one of zero")]
    Award(u8),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the prizes of these sales do not fit into 64 bits")]
pub struct PrizeOverflow;

/// What a draw pays, as `draw_completed` says it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DrawPrizes {
    pub prize_fund: u64,
    /// Of one winning ticket of each tier, in the order of the rules.
    pub prizes: Vec<u64>,
    pub rollover: u64,
}

impl PublishedRules {
    /// Whether tickets and prizes of these rules are possible.
    pub fn check(&self) -> Result<(), RulesError> {
        let Self { pick, of, price, fund_share, tiers, .. } = self;
        if !(1..=*of).contains(pick) || *of > MAX_NUMBERS {
            return Err(RulesError::Game);
        }
        if *price == 0 {
            return Err(RulesError::Price);
        }
        let shares: u32 = tiers.iter().filter_map(|tier| tier.share).map(u32::from).sum();
        if *fund_share > WHOLE || shares > u32::from(WHOLE) {
            return Err(RulesError::Share);
        }
        if tiers.is_empty() || !tiers.is_sorted_by(|left, right| left.matches > right.matches) {
            return Err(RulesError::TierOrder);
        }
        // Of n numbers, at most n - pick of a ticket are not drawn.
        let fewest = pick.saturating_sub(of - pick).max(1);
        for tier in tiers {
            if !(fewest..=*pick).contains(&tier.matches) {
                return Err(RulesError::Matches(tier.matches));
            }
            if !tier.has_one_award() {
                return Err(RulesError::Award(tier.matches));
            }
        }
        Ok(())
    }

    /// What is paid for these sales. `winners` are the winning tickets of each tier, in the order of the rules.
    pub fn prizes(&self, sales: u64, jackpot: u64, winners: &[u64]) -> Result<DrawPrizes, PrizeOverflow> {
        let fund = share_of(sales.into(), self.fund_share) + i128::from(jackpot);
        let tiers: Vec<(&PublishedTier, i128)> =
            self.tiers.iter().zip(winners.iter().map(|winners| i128::from(*winners))).collect();
        // A guaranteed prize reduces what is left, and then the minimum of another tier may be more than its share. What
        // is left only shrinks, so the order of the tiers does not matter.
        let (mut guaranteed, mut left) = (vec![None; tiers.len()], fund);
        let next = |guaranteed: &[Option<i128>], left| {
            let mut open = tiers.iter().enumerate().filter(|(place, _)| guaranteed[*place].is_none());
            open.find_map(|(place, (tier, winners))| Some((place, tier.guaranteed(left, *winners)?)))
        };
        while let Some((place, prize)) = next(&guaranteed, left) {
            guaranteed[place] = Some(prize);
            left -= prize * tiers[place].1;
        }
        let prizes: Vec<i128> = (tiers.iter().zip(&guaranteed))
            .map(|((tier, winners), guaranteed)| guaranteed.unwrap_or_else(|| tier.shared(left, *winners)))
            .collect();
        let paid: i128 = prizes.iter().zip(&tiers).map(|(prize, (_, winners))| prize * winners).sum();
        // The operator adds what the guaranteed prizes need beyond the fund.
        let rollover = fund + (-left).max(0) - paid;
        let narrow = |amount: i128| u64::try_from(amount).map_err(|_| PrizeOverflow);
        Ok(DrawPrizes {
            prize_fund: narrow(fund)?,
            prizes: prizes.into_iter().map(narrow).collect::<Result<_, _>>()?,
            rollover: narrow(rollover)?,
        })
    }
}

impl PublishedTier {
    fn has_one_award(&self) -> bool {
        match (self.amount, self.share) {
            (Some(amount), None) => amount > 0 && self.minimum.is_none(),
            (None, Some(share)) => share > 0 && self.minimum != Some(0),
            _ => false,
        }
    }

    /// What each winner is paid before the rest is shared: a fixed prize always, and a minimum where the share of what is
    /// left would be less.
    fn guaranteed(&self, left: i128, winners: i128) -> Option<i128> {
        let minimum = || {
            let minimum = i128::from(self.minimum?);
            (winners > 0 && self.shared(left, winners) < minimum).then_some(minimum)
        };
        self.amount.map(i128::from).or_else(minimum)
    }

    /// What each winner gets of a shared tier, rounded down.
    fn shared(&self, left: i128, winners: i128) -> i128 {
        share_of(left.max(0), self.share.unwrap_or(0)).checked_div(winners).unwrap_or(0)
    }
}

/// A share of an amount that is not negative, rounded down.
fn share_of(amount: i128, share: u16) -> i128 {
    amount * i128::from(share) / i128::from(WHOLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(tiers: Vec<PublishedTier>) -> PublishedRules {
        PublishedRules { pick: 5, of: 36, price: 100, currency: "RUB".to_owned(), fund_share: 5_000, tiers }
    }

    fn fixed(matches: u8, amount: u64) -> PublishedTier {
        PublishedTier { matches, amount: Some(amount), share: None, minimum: None }
    }

    fn shared(matches: u8, share: u16, minimum: Option<u64>) -> PublishedTier {
        PublishedTier { matches, amount: None, share: Some(share), minimum }
    }

    /// The cases are those of the service's own arithmetic, computed by hand there.
    #[test]
    fn prizes_by_hand() {
        let plain = rules(vec![shared(5, 7_000, None), shared(4, 2_000, None), fixed(3, 100)]);
        let minimums = rules(vec![shared(5, 7_000, Some(100)), shared(4, 2_000, Some(150)), fixed(3, 100)]);
        let cases = [
            (&plain, 2001, 500, [0, 0, 0], [0, 0, 100], 1500, 1500),
            (&plain, 2000, 500, [1, 3, 2], [910, 86, 100], 1500, 132),
            (&plain, 2000, 500, [0, 1, 2], [0, 260, 100], 1500, 1040),
            (&plain, 2000, 500, [1, 1, 15], [0, 0, 100], 1500, 0),
            (&plain, 2000, 500, [1, 1, 16], [0, 0, 100], 1500, 0),
            (&plain, 200, 0, [71, 1, 0], [0, 20, 100], 100, 80),
            (&minimums, 2000, 500, [0, 0, 2], [0, 0, 100], 1500, 1300),
            (&minimums, 2000, 0, [1, 1, 0], [700, 200, 100], 1000, 100),
            (&minimums, 2000, 0, [1, 1, 7], [105, 150, 100], 1000, 45),
            (&minimums, 2000, 0, [1, 1, 8], [100, 150, 100], 1000, 0),
            (&minimums, 2000, 0, [9, 1, 0], [100, 150, 100], 1000, 0),
            (&minimums, 0, 0, [0, 0, 0], [0, 0, 100], 0, 0),
            (&minimums, 2000, 0, [1, 2, 20], [100, 150, 100], 1000, 0),
        ];
        for (rules, sales, jackpot, winners, prizes, prize_fund, rollover) in cases {
            rules.check().unwrap();
            let expected = DrawPrizes { prize_fund, prizes: prizes.to_vec(), rollover };
            assert_eq!(rules.prizes(sales, jackpot, &winners), Ok(expected), "{sales} {winners:?}");
        }
        assert_eq!(plain.prizes(u64::MAX, u64::MAX, &[0, 0, 0]), Err(PrizeOverflow));
    }

    #[test]
    fn impossible_rules_are_refused() {
        let sound = rules(vec![shared(5, 7_000, None), fixed(3, 100)]);
        assert_eq!(sound.check(), Ok(()));
        let refused = |change: &dyn Fn(&mut PublishedRules)| {
            let mut rules = sound.clone();
            change(&mut rules);
            rules.check().unwrap_err()
        };
        assert_eq!(refused(&|rules| rules.pick = 0), RulesError::Game);
        assert_eq!(refused(&|rules| rules.pick = 37), RulesError::Game);
        assert_eq!(refused(&|rules| rules.of = 65), RulesError::Game);
        assert_eq!(refused(&|rules| rules.of = 6), RulesError::Matches(3));
        assert_eq!(refused(&|rules| rules.price = 0), RulesError::Price);
        assert_eq!(refused(&|rules| rules.fund_share = 10_001), RulesError::Share);
        assert_eq!(refused(&|rules| rules.tiers.push(shared(2, 3_001, None))), RulesError::Share);
        assert_eq!(refused(&|rules| rules.tiers.clear()), RulesError::TierOrder);
        assert_eq!(refused(&|rules| rules.tiers.reverse()), RulesError::TierOrder);
        assert_eq!(refused(&|rules| rules.tiers.push(fixed(3, 1))), RulesError::TierOrder);
        assert_eq!(refused(&|rules| rules.tiers.push(fixed(0, 1))), RulesError::Matches(0));
        for tier in [fixed(2, 0), shared(2, 0, None), shared(2, 1, Some(0))] {
            assert_eq!(refused(&|rules| rules.tiers.push(tier.clone())), RulesError::Award(2));
        }
        let mut both = fixed(2, 1);
        both.share = Some(1);
        assert_eq!(refused(&|rules| rules.tiers.push(both.clone())), RulesError::Award(2));
    }
}
