//! The prize table and the arithmetic of settling a draw.
//!
//! This file knows which matches win, and divides the sales of a draw into prizes, revenue and rollover,
//! exact to the last kopeck. It knows no accounts and no winners: the caller passes the number of winning
//! tickets and moves the money.

use super::game::Game;
use super::money::{Money, Share};

/// What a tier pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Award {
    /// This amount to every winning ticket, guaranteed.
    Fixed(Money),
    /// This share of what the guaranteed prizes leave of the fund, divided among the winning tickets.
    Shared {
        share: Share,
        /// Guaranteed to every winning ticket: it is paid instead of a smaller share.
        minimum: Option<Money>,
    },
}

impl Award {
    /// What every winning ticket is sure to get.
    pub fn guaranteed(self) -> Option<Money> {
        match self {
            Award::Fixed(amount) => Some(amount),
            Award::Shared { minimum, .. } => minimum,
        }
    }
}

/// One line of the prize table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    pub matches: u8,
    pub award: Award,
}

/// The winning tiers of a game, from the most matches down.
///
/// ```
/// use lottery::domain::game::Game;
/// use lottery::domain::money::{Money, Share};
/// use lottery::domain::prize::{Award, PrizeTable, Tier};
///
/// let table = PrizeTable::new(
///     Game::new(5, 36)?,
///     vec![
///         Tier { matches: 4, award: Award::Fixed(Money::new(1_000)) },
///         Tier { matches: 5, award: Award::Shared { share: Share::new(10_000)?, minimum: None } },
///     ],
/// )?;
/// // Sales of 100,000, half of them for prizes; one ticket with five matches, three with four.
/// let (sales, half) = (Money::new(100_000), Share::new(5_000)?);
/// let settlement = table.settle(sales, half, Money::ZERO, &[1, 3])?;
/// assert_eq!(settlement.tiers[0].prize, Money::new(47_000));
/// assert_eq!(settlement.tiers[1].prize, Money::new(1_000));
/// assert_eq!(settlement.rollover, Money::ZERO);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrizeTable {
    tiers: Vec<Tier>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrizeTableError {
    #[error("a prize table has at least one tier")]
    Empty,
    #[error("no tier can be for {matches} matches in {game}")]
    Matches { matches: u8, game: Game },
    #[error("two tiers are for {matches} matches")]
    Repeated { matches: u8 },
    /// A fixed prize or a minimum.
    #[error("the prize for {matches} matches must be from 1 to {}, not {amount}", PrizeTable::MAX_GUARANTEED)]
    Amount { matches: u8, amount: Money },
    #[error("the share for {matches} matches must be at least 1 basis point")]
    NoShare { matches: u8 },
    #[error("the shares add up to {basis_points} basis points, and {} are the whole", Share::WHOLE)]
    Shares { basis_points: u32 },
}

/// At this price of a ticket, a guaranteed prize would be larger than [`PrizeTable::MAX_GUARANTEED`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be at most {highest}: the guaranteed prizes change in proportion to the price, and none may be more than {}",
    PrizeTable::MAX_GUARANTEED
)]
pub struct PriceTooHigh {
    pub highest: Money,
}

/// An amount of a settlement does not fit into 64 bits of minor units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an amount of the settlement is too large for 64 bits")]
pub struct Overflow;

/// How the money of a draw is divided:
/// `sales + jackpot + from_reserve == prizes + rollover + revenue`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// The fund's share of the sales, plus the jackpot that rolled over.
    pub prize_fund: Money,
    /// In the order of [`PrizeTable::tiers`].
    pub tiers: Vec<TierResult>,
    /// All that is paid to tickets: the sum of the tiers' totals.
    pub prizes: Money,
    /// What the operator adds if the guaranteed prizes exceed the fund.
    pub from_reserve: Money,
    /// The operator's part: the sales that do not go into the fund.
    pub revenue: Money,
    /// What is left of the fund; it goes to the jackpot.
    pub rollover: Money,
}

/// One tier of a settled draw; `total` is `winners × prize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TierResult {
    pub matches: u8,
    /// The number of winning tickets.
    pub winners: u64,
    /// What one winning ticket gets: for a fixed tier its amount, even if nobody won; for a shared tier
    /// without a winner zero.
    pub prize: Money,
    pub total: Money,
}

impl PrizeTable {
    /// The largest fixed prize or minimum, in minor units: ten thousand million roubles.
    pub const MAX_GUARANTEED: Money = Money::new(1_000_000_000_000);

    /// Parses the tiers of a game, in any order.
    pub fn new(game: Game, mut tiers: Vec<Tier>) -> Result<PrizeTable, PrizeTableError> {
        if tiers.is_empty() {
            return Err(PrizeTableError::Empty);
        }
        tiers.sort_by_key(|tier| std::cmp::Reverse(tier.matches));
        for (place, tier) in tiers.iter().enumerate() {
            tier.check(game)?;
            if place > 0 && tiers[place - 1].matches == tier.matches {
                return Err(PrizeTableError::Repeated { matches: tier.matches });
            }
        }
        let basis_points = tiers.iter().map(Tier::basis_points).sum();
        if basis_points > u32::from(Share::WHOLE) {
            return Err(PrizeTableError::Shares { basis_points });
        }
        Ok(PrizeTable { tiers })
    }

    /// The tiers, from the most matches down; each number of matches at most once, and at least one tier.
    pub fn tiers(&self) -> &[Tier] {
        &self.tiers
    }

    /// This table, which is for tickets of the price `own`, for tickets of another price: guaranteed prizes change
    /// in proportion, rounded down, and are at least one minor unit. Shares stay. Prices are above zero.
    pub fn for_price(&self, own: Money, price: Money) -> Result<PrizeTable, PriceTooHigh> {
        let largest = self.tiers.iter().filter_map(|tier| tier.award.guaranteed()).max();
        let highest = largest.map(|largest| ((wide(Self::MAX_GUARANTEED) + 1) * wide(own) - 1) / wide(largest));
        if let Some(highest) = highest.filter(|highest| wide(price) > *highest) {
            return Err(PriceTooHigh { highest: Money::from_wide(highest).unwrap_or(price) });
        }
        let scaled = |amount: Money| {
            let scaled = wide(amount) * wide(price) / wide(own);
            Money::from_wide(scaled.max(1)).expect("the price is not above the highest")
        };
        let tier = |tier: &Tier| {
            let award = match tier.award {
                Award::Fixed(amount) => Award::Fixed(scaled(amount)),
                Award::Shared { share, minimum } => Award::Shared { share, minimum: minimum.map(scaled) },
            };
            Tier { award, ..*tier }
        };
        Ok(PrizeTable { tiers: self.tiers.iter().map(tier).collect() })
    }

    /// What the guaranteed prizes of a draw cost if each combination of the game is sold once. (2^40 minor units for
    /// each of fewer than 2^61 combinations fit.)
    pub fn guaranteed_cost(&self, game: Game) -> i128 {
        let cost = |tier: &Tier| {
            tier.award.guaranteed().map_or(0, |amount| wide(amount) * i128::from(game.ways(tier.matches)))
        };
        self.tiers.iter().map(cost).sum()
    }

    /// Divides the money of a draw.
    ///
    /// Guaranteed prizes are paid first, from the fund and then from the operator's reserve. Shared tiers divide
    /// what is left of the fund, which is never below zero. A shared tier with a minimum takes part in one of two
    /// ways: if its share of what is left gives each winner the minimum or more, it pays the share; otherwise it
    /// pays the minimum, which is then a guaranteed prize, and its share stays in what is left. So with
    ///
    /// `left = fund − fixed prizes − minimums that are paid` (zero if that is below zero),
    ///
    /// each winner gets `max(minimum, share of left ÷ winners)`. Where several ways of paying satisfy this, the one
    /// with the fewest minimums counts, which leaves the most to share.
    ///
    /// Three parts roll over: the remainder of a division among winners, the shares of tiers without a winner or
    /// with a minimum that is paid, and the part of the fund that no tier shares.
    ///
    /// `winners` are the counts of winning tickets in the order of [`PrizeTable::tiers`].
    ///
    /// # Errors
    /// [`Overflow`] if the fund, a total or the sum of the prizes does not fit into 64 bits.
    ///
    /// # Panics
    /// If there is not one count for each tier, or if sales or jackpot are negative. Neither can be: the
    /// sales are a number of tickets times a price, and the jackpot's account may not go below zero.
    pub fn settle(
        &self,
        sales: Money,
        fund_share: Share,
        jackpot: Money,
        winners: &[u64],
    ) -> Result<Settlement, Overflow> {
        assert_eq!(winners.len(), self.tiers.len(), "one count of winners for each tier");
        assert!(sales >= Money::ZERO && jackpot >= Money::ZERO, "money taken is not negative");

        let sales_for_fund = fund_share.of(sales);
        let prize_fund = sales_for_fund.checked_add(jackpot).ok_or(Overflow)?;
        let (guaranteed, rest) = self.guaranteed_prizes(prize_fund, winners);
        let missing = (-rest).max(0);

        let tiers = self.tiers.iter().zip(winners).zip(guaranteed);
        let tiers = tiers
            .map(|((tier, &winners), guaranteed)| {
                let prize = guaranteed.unwrap_or_else(|| tier.shared_prize(rest, winners));
                let total = prize.checked_mul(winners).ok_or(Overflow)?;
                Ok(TierResult { matches: tier.matches, winners, prize, total })
            })
            .collect::<Result<Vec<TierResult>, Overflow>>()?;
        let prizes: i128 = tiers.iter().map(|tier| wide(tier.total)).sum();

        let settlement = Settlement {
            prize_fund,
            tiers,
            prizes: narrow(prizes)?,
            from_reserve: narrow(missing)?,
            revenue: narrow(wide(sales) - wide(sales_for_fund))?,
            rollover: narrow(wide(prize_fund) + missing - prizes)?,
        };
        settlement.assert_balanced(sales, jackpot);
        Ok(settlement)
    }

    /// For each tier the prize that is paid as guaranteed, if it is; and what these prizes leave of the fund, which
    /// is below zero if the reserve must pay.
    ///
    /// A tier joins them when what is left has become too little for it. What is left only shrinks, so the result
    /// does not depend on the order. It fits: 63 tiers of 2^40 for 2^64 tickets are 2^110.
    fn guaranteed_prizes(&self, prize_fund: Money, winners: &[u64]) -> (Vec<Option<Money>>, i128) {
        let mut guaranteed = vec![None; self.tiers.len()];
        let mut rest = wide(prize_fund);
        loop {
            let mut open = (0..self.tiers.len()).filter(|place| guaranteed[*place].is_none());
            let next =
                open.find_map(|place| Some((place, self.tiers[place].guaranteed_prize(rest, winners[place])?)));
            let Some((place, prize)) = next else { return (guaranteed, rest) };
            guaranteed[place] = Some(prize);
            rest -= wide(prize) * i128::from(winners[place]);
        }
    }
}

impl Tier {
    fn check(&self, game: Game) -> Result<(), PrizeTableError> {
        let matches = self.matches;
        // A ticket without a match wins nothing. A tier for a number of matches that no ticket can have
        // (fewer than four in 5 of 6) is a mistake in the table.
        if matches == 0 || game.ways(matches) == 0 {
            return Err(PrizeTableError::Matches { matches, game });
        }
        if matches!(self.award, Award::Shared { share, .. } if share.basis_points() == 0) {
            return Err(PrizeTableError::NoShare { matches });
        }
        match self.award.guaranteed() {
            Some(amount) if amount <= Money::ZERO || amount > PrizeTable::MAX_GUARANTEED => {
                Err(PrizeTableError::Amount { matches, amount })
            }
            _ => Ok(()),
        }
    }

    fn basis_points(&self) -> u32 {
        match self.award {
            Award::Fixed(_) => 0,
            Award::Shared { share, .. } => u32::from(share.basis_points()),
        }
    }

    /// The prize that each winner gets as guaranteed: always a fixed one, and a minimum if the tier's share of what
    /// is left is less.
    fn guaranteed_prize(&self, left: i128, winners: u64) -> Option<Money> {
        match self.award {
            Award::Fixed(amount) => Some(amount),
            Award::Shared { minimum, .. } => {
                minimum.filter(|minimum| winners > 0 && self.shared_prize(left, winners) < *minimum)
            }
        }
    }

    /// What each winner gets of a shared tier, where this much of the fund is left; zero if it is below zero, or if
    /// nobody won.
    fn shared_prize(&self, left: i128, winners: u64) -> Money {
        let Award::Shared { share, .. } = self.award else { return Money::ZERO };
        let left = Money::from_wide(left.max(0)).expect("a part of the fund, which is a Money");
        share.of(left).checked_div(winners).unwrap_or(Money::ZERO)
    }
}

impl Settlement {
    /// The money that comes in equals the money that goes out, and no part is negative.
    fn assert_balanced(&self, sales: Money, jackpot: Money) {
        let taken = wide(sales) + wide(jackpot) + wide(self.from_reserve);
        let given = wide(self.prizes) + wide(self.rollover) + wide(self.revenue);
        assert_eq!(taken, given, "a settlement balances: {self:?}");
        let parts = [self.prizes, self.from_reserve, self.revenue, self.rollover];
        assert!(parts.iter().all(|part| *part >= Money::ZERO), "nothing is negative: {self:?}");
    }
}

/// The prize fund: the share of the sales plus the jackpot that rolled over.
///
/// It is shown while the draw is on sale. If it does not fit into 64 bits it is [`Money::MAX`], where
/// [`PrizeTable::settle`] returns an error.
pub fn fund(sales: Money, share: Share, jackpot: Money) -> Money {
    share.of(sales).checked_add(jackpot).unwrap_or(Money::MAX)
}

fn wide(amount: Money) -> i128 {
    i128::from(amount.minor())
}

fn narrow(minor: i128) -> Result<Money, Overflow> {
    Money::from_wide(minor).ok_or(Overflow)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fixed(matches: u8, amount: i64) -> Tier {
        Tier { matches, award: Award::Fixed(Money::new(amount)) }
    }

    fn shared(matches: u8, basis_points: u16) -> Tier {
        Tier { matches, award: Award::Shared { share: Share::new(basis_points).unwrap(), minimum: None } }
    }

    fn with_minimum(matches: u8, basis_points: u16, minimum: i64) -> Tier {
        let (share, minimum) = (Share::new(basis_points).unwrap(), Some(Money::new(minimum)));
        Tier { matches, award: Award::Shared { share, minimum } }
    }

    fn table(tiers: &[Tier]) -> Result<PrizeTable, PrizeTableError> {
        PrizeTable::new(Game::new(5, 36).unwrap(), tiers.to_vec())
    }

    /// A settlement with half of the sales in the fund.
    fn settle(tiers: &[Tier], sales: i64, jackpot: i64, winners: &[u64]) -> Settlement {
        let half = Share::new(5_000).unwrap();
        let table = table(tiers).unwrap();
        table.settle(Money::new(sales), half, Money::new(jackpot), winners).unwrap()
    }

    #[test]
    fn tables_that_make_no_sense_are_refused() {
        let refusal = |tiers: &[Tier]| table(tiers).unwrap_err().to_string();
        assert_eq!(refusal(&[]), "a prize table has at least one tier");
        for matches in [0, 6] {
            let message = format!("no tier can be for {matches} matches in 5 of 36");
            assert_eq!(refusal(&[fixed(matches, 1)]), message);
        }
        let twice = [fixed(3, 1), shared(5, 1), shared(3, 1)];
        assert_eq!(refusal(&twice), "two tiers are for 3 matches");
        for amount in [i64::MIN, 0, 1_000_000_000_001] {
            let limits = "the prize for 3 matches must be from 1 to 1000000000000";
            assert_eq!(refusal(&[fixed(3, amount)]), format!("{limits}, not {amount}"));
            assert_eq!(refusal(&[with_minimum(3, 1, amount)]), format!("{limits}, not {amount}"));
        }
        let message = "the share for 5 matches must be at least 1 basis point";
        assert_eq!(refusal(&[shared(5, 0)]), message);
        let message = "the shares add up to 10001 basis points, and 10000 are the whole";
        assert_eq!(refusal(&[shared(5, 9_000), shared(4, 1_001)]), message);

        let game = Game::new(5, 6).unwrap(); // at least four numbers match
        let refusal = PrizeTable::new(game, vec![fixed(3, 1)]);
        assert_eq!(refusal, Err(PrizeTableError::Matches { matches: 3, game }));
    }

    #[test]
    fn tiers_are_sorted_by_matches() {
        let table = table(&[fixed(2, 100), shared(5, 10_000), fixed(3, 1)]).unwrap();
        assert_eq!(table.tiers(), [shared(5, 10_000), fixed(3, 1), fixed(2, 100)]);
    }

    #[test]
    fn settlements_by_hand() {
        let tiers = [shared(5, 7_000), shared(4, 2_000), fixed(3, 100)];
        // First: nobody won, everything rolls over. Second: the fixed prizes leave 1,300, hence 910 and 260;
        // 130 belong to no tier, and 3 × 86 leave 2. Fourth and fifth: the fixed prizes take the whole fund,
        // and more. Last: there are winners, but a share of less than a kopeck each.
        let table = "
            sales jackpot | winners | prize      | fund prizes reserve revenue rollover
            2001  500     | 0  0 0  | 0   0  100 | 1500 0      0       1001    1500
            2000  500     | 1  3 2  | 910 86 100 | 1500 1368   0       1000    132
            2000  500     | 0  1 2  | 0  260 100 | 1500 460    0       1000    1040
            2000  500     | 1  1 15 | 0   0  100 | 1500 1500   0       1000    0
            2000  500     | 1  1 16 | 0   0  100 | 1500 1600   100     1000    0
            200   0       | 71 1 0  | 0  20  100 | 100  20     0       100     80";
        check_by_hand(&tiers, table);
    }

    #[test]
    fn settlements_with_minimums_by_hand() {
        // Both tiers have a minimum. First: nobody won them. Second: the shares, 700 and 200, are above the minimums.
        // Third: the fixed prizes leave 300; its shares are 210 and 60, so the 4 matches get 150, which leaves 150
        // and makes 105 of the share for 5 matches: still above 100. Fourth: they leave 200, and the minimum of 150
        // leaves 50: not enough for the 5 matches, whose share would have been 140 before, and the reserve pays 50.
        // Fifth: two winners at 5 matches get the minimum each; the share of the 4 matches is still above theirs.
        // Sixth: nothing is sold. Last: the fund is gone, and whoever won gets a minimum.
        let tiers = [with_minimum(5, 7_000, 100), with_minimum(4, 2_000, 150), fixed(3, 100)];
        let table = "
            sales jackpot | winners | prize       | fund prizes reserve revenue rollover
            2000  500     | 0  0 2  | 0   0   100 | 1500 200    0       1000    1300
            2000  0       | 1  1 0  | 700 200 100 | 1000 900    0       1000    100
            2000  0       | 1  1 7  | 105 150 100 | 1000 955    0       1000    45
            2000  0       | 1  1 8  | 100 150 100 | 1000 1050   50      1000    0
            2000  0       | 9  1 0  | 100 150 100 | 1000 1050   50      1000    0
            0     0       | 0  0 0  | 0   0   100 | 0    0      0       0       0
            2000  0       | 1  2 20 | 100 150 100 | 1000 2400   1400    1000    0";
        check_by_hand(&tiers, table);
    }

    /// Holds settlements against lines of sales, jackpot, winners, and the amounts that they must have.
    fn check_by_hand(tiers: &[Tier; 3], table: &str) {
        for line in table.lines().skip(2) {
            let ints: Vec<i64> = line.split_whitespace().flat_map(str::parse).collect();
            let winners: Vec<u64> = ints[2..5].iter().map(|n| n.unsigned_abs()).collect();
            let got = settle(tiers, ints[0], ints[1], &winners);
            let mut amounts: Vec<Money> = got.tiers.iter().map(|tier| tier.prize).collect();
            amounts.extend([got.prize_fund, got.prizes, got.from_reserve]);
            amounts.extend([got.revenue, got.rollover]);
            let amounts: Vec<i64> = amounts.into_iter().map(Money::minor).collect();
            assert_eq!(amounts, ints[5..], "{line}");
        }
    }

    #[test]
    fn amounts_that_do_not_fit_are_refused() {
        let table = table(&[shared(5, 10_000), fixed(3, 1_000_000_000_000)]).unwrap();
        let whole = Share::new(10_000).unwrap();
        let settle = |sales, jackpot, winners: [u64; 2]| {
            table.settle(Money::new(sales), whole, Money::new(jackpot), &winners)
        };
        assert_eq!(settle(i64::MAX, 1, [0, 0]), Err(Overflow));
        assert_eq!(settle(0, 0, [0, u64::MAX]), Err(Overflow));
        assert_eq!(settle(i64::MAX, 0, [1, 0]).unwrap().prizes, Money::MAX);
        assert_eq!(settle(i64::MAX, 0, [u64::MAX, 0]).unwrap().rollover, Money::MAX);
        assert_eq!(fund(Money::MAX, whole, Money::new(1)), Money::MAX);
        assert_eq!(fund(Money::new(5), Share::new(5_000).unwrap(), Money::new(3)), Money::new(5));
    }

    /// The prize of one winner for each tier, and what the guaranteed prizes leave of the fund: every set of tiers is
    /// tried as the one that pays its minimum.
    fn by_definition(tiers: &[Tier], fund: i128, winners: &[u64]) -> (Vec<i128>, i128) {
        let places = 0..tiers.len();
        let solution = |paid: u32| {
            let amount = |place: usize| match tiers[place].award {
                Award::Fixed(amount) => Some(amount),
                Award::Shared { minimum, .. } => minimum.filter(|_| paid >> place & 1 == 1),
            };
            let cost = |place| amount(place).map_or(0, |amount| wide(amount) * i128::from(winners[place]));
            let left = fund - places.clone().map(cost).sum::<i128>();
            let share = |place: usize| {
                let part = left.max(0) * i128::from(tiers[place].basis_points()) / 10_000;
                part.checked_div(winners[place].into()).unwrap_or(0)
            };
            let holds = |place: usize| match tiers[place].award {
                Award::Shared { minimum: Some(minimum), .. } if winners[place] > 0 => {
                    (paid >> place & 1 == 1) == (share(place) < wide(minimum))
                }
                _ => paid >> place & 1 == 0,
            };
            let prize = |place| amount(place).map_or_else(|| share(place), wide);
            places.clone().all(holds).then(|| (paid.count_ones(), places.clone().map(prize).collect(), left))
        };
        let fewest = (0..1 << tiers.len()).filter_map(solution).min_by_key(|(minimums, ..)| *minimums);
        let (_, prizes, left) = fewest.expect("there is always a solution");
        (prizes, left)
    }

    fn minimums() -> impl Strategy<Value = i64> {
        prop_oneof![1..=1_000_000_000_000_i64, 1..=1_000_i64, 1..=1_000_000_i64]
    }

    fn awards() -> impl Strategy<Value = Vec<Tier>> {
        let award = prop_oneof![
            (1..=1_000_000_000_000_i64).prop_map(|amount| Award::Fixed(Money::new(amount))),
            (1..=1_000_i64).prop_map(|amount| Award::Fixed(Money::new(amount))),
            (1..=2_000_u16).prop_map(|share| shared(5, share).award),
            (1..=2_000_u16, minimums()).prop_map(|(share, minimum)| with_minimum(5, share, minimum).award),
        ];
        let tier = |(matches, award)| Tier { matches, award };
        proptest::collection::btree_map(1..=5_u8, award, 1..=5)
            .prop_map(move |tiers| tiers.into_iter().map(tier).collect())
    }

    proptest! {
        #[test]
        fn every_settlement_balances_or_is_refused(
            tiers in awards(),
            sales in prop_oneof![0..=i64::MAX, 0..1_000_000_i64],
            jackpot in prop_oneof![0..=i64::MAX, 0..1_000_000_i64],
            share in 0..=10_000_u16,
            winners in proptest::collection::vec(prop_oneof![0..5_u64, 0..100_000_u64, any::<u64>()], 5),
        ) {
            let table = table(&tiers).unwrap();
            let share = Share::new(share).unwrap();
            let (sales, jackpot) = (Money::new(sales), Money::new(jackpot));
            let winners = &winners[..tiers.len()];
            let Ok(got) = table.settle(sales, share, jackpot, winners) else { return Ok(()) };

            let taken = wide(sales) + wide(jackpot) + wide(got.from_reserve);
            prop_assert_eq!(taken, wide(got.prizes) + wide(got.rollover) + wide(got.revenue));
            prop_assert_eq!(got.prize_fund, fund(sales, share, jackpot));
            prop_assert_eq!(Some(got.revenue), sales.checked_sub(share.of(sales)));
            prop_assert_eq!(Some(got.prizes), Money::checked_sum(got.tiers.iter().map(|t| t.total)));
            prop_assert!(got.from_reserve == Money::ZERO || got.rollover == Money::ZERO);
            for ((tier, result), &winners) in table.tiers().iter().zip(&got.tiers).zip(winners) {
                prop_assert_eq!((result.matches, result.winners), (tier.matches, winners));
                prop_assert_eq!(result.prize.checked_mul(winners), Some(result.total));
            }
            let (prizes, left) = by_definition(table.tiers(), wide(got.prize_fund), winners);
            prop_assert_eq!(got.tiers.iter().map(|tier| wide(tier.prize)).collect::<Vec<_>>(), prizes);
            prop_assert_eq!(wide(got.from_reserve), (-left).max(0));
        }

        #[test]
        fn another_price_changes_guaranteed_prizes_in_proportion(
            tiers in awards(),
            own in 1..=1_000_000_000_000_i64,
            price in prop_oneof![1..=1_000_000_000_000_i64, 1..=1_000_i64],
        ) {
            let table = table(&tiers).unwrap();
            let price_of = |price| table.for_price(Money::new(own), Money::new(price));
            prop_assert_eq!(price_of(own), Ok(table.clone()));
            match price_of(price) {
                Ok(other) => {
                    for (tier, scaled) in table.tiers().iter().zip(other.tiers()) {
                        prop_assert!(scaled.check(Game::new(5, 36).unwrap()).is_ok());
                        let amounts = (tier.award.guaranteed(), scaled.award.guaranteed());
                        let exact = |amount| wide(amount) * i128::from(price);
                        match amounts {
                            (Some(amount), Some(scaled)) if exact(amount) >= i128::from(own) => {
                                let rounded = wide(scaled) * i128::from(own);
                                prop_assert!(rounded <= exact(amount) && exact(amount) < rounded + i128::from(own));
                            }
                            (Some(_), Some(scaled)) => prop_assert_eq!(scaled, Money::new(1)),
                            amounts => prop_assert_eq!(amounts, (None, None)),
                        }
                        prop_assert_eq!(tier.basis_points(), scaled.basis_points());
                    }
                }
                Err(PriceTooHigh { highest }) => {
                    prop_assert!(highest.minor() < price);
                    prop_assert!(highest == Money::ZERO || price_of(highest.minor()).is_ok());
                    prop_assert!(price_of(highest.minor() + 1).is_err());
                }
            }
        }

        #[test]
        fn ordinary_draws_are_never_refused(
            tiers in awards(), sales in 0..1_000_000_000_000_i64, winners in 0..100_u64,
        ) {
            let winners = vec![winners; tiers.len()];
            settle(&tiers, sales, sales, &winners);
        }
    }
}
