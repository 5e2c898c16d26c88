//! The prize table and the arithmetic of settling a draw.
//!
//! This file knows which matches win, and divides the sales of a draw into prizes, revenue and rollover,
//! exact to the last kopeck. It knows no accounts and no winners: the caller passes the number of winning
//! tickets and moves the money.

use serde::{Deserialize, Serialize};

use super::game::Game;
use super::money::{Money, Share};

/// What a tier pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Award {
    /// This amount to every winning ticket, guaranteed.
    Fixed(Money),
    /// This share of what is left of the fund after the fixed prizes, divided among the winning tickets.
    Shared(Share),
}

/// One line of the prize table. The API and the configuration use this JSON:
/// `{"matches": 3, "kind": "fixed", "amount": 100000}` or
/// `{"matches": 5, "kind": "pool", "share": 6000}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "TierForm", into = "TierForm")]
pub struct Tier {
    pub matches: u8,
    pub award: Award,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum TierForm {
    Fixed { matches: u8, amount: Money },
    Pool { matches: u8, share: Share },
}

impl From<TierForm> for Tier {
    fn from(form: TierForm) -> Tier {
        match form {
            TierForm::Fixed { matches, amount } => Tier { matches, award: Award::Fixed(amount) },
            TierForm::Pool { matches, share } => Tier { matches, award: Award::Shared(share) },
        }
    }
}

impl From<Tier> for TierForm {
    fn from(Tier { matches, award }: Tier) -> TierForm {
        match award {
            Award::Fixed(amount) => TierForm::Fixed { matches, amount },
            Award::Shared(share) => TierForm::Pool { matches, share },
        }
    }
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
///         Tier { matches: 5, award: Award::Shared(Share::new(10_000)?) },
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
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
    #[error("the prize for {matches} matches must be from 1 to {}, not {amount}", PrizeTable::MAX_FIXED)]
    Amount { matches: u8, amount: Money },
    #[error("the share for {matches} matches must be at least 1 basis point")]
    NoShare { matches: u8 },
    #[error("the shares add up to {basis_points} basis points, and {} are the whole", Share::WHOLE)]
    Shares { basis_points: u32 },
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
    /// What the operator adds if the fixed prizes exceed the fund.
    pub from_reserve: Money,
    /// The operator's part: the sales that do not go into the fund.
    pub revenue: Money,
    /// What is left of the fund; it goes to the jackpot.
    pub rollover: Money,
}

/// One tier of a settled draw; `total` is `winners × prize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The largest fixed prize, in minor units: ten thousand million roubles.
    pub const MAX_FIXED: Money = Money::new(1_000_000_000_000);

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

    /// Divides the money of a draw. Fixed prizes are guaranteed and paid first, from the fund and then from
    /// the operator's reserve. Shared tiers divide what is left of the fund, which is never below zero. Three
    /// parts roll over: the remainder of a division among winners, the shares of tiers without a winner, and
    /// the part of the fund that no tier shares.
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
        let fixed = self.fixed_total(winners);
        let after_fixed = wide(prize_fund) - fixed;
        let (left, missing) = (after_fixed.max(0), (-after_fixed).max(0));

        let tiers = self.tiers.iter().zip(winners);
        let tiers = tiers
            .map(|(tier, &winners)| tier.result(left, winners))
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

    /// The sum of the guaranteed prizes. It fits: 63 tiers of 2^40 for 2^64 tickets are 2^110.
    fn fixed_total(&self, winners: &[u64]) -> i128 {
        let cost = |(tier, &winners): (&Tier, &u64)| match tier.award {
            Award::Fixed(amount) => wide(amount) * i128::from(winners),
            Award::Shared(_) => 0,
        };
        self.tiers.iter().zip(winners).map(cost).sum()
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
        match self.award {
            Award::Fixed(amount) if amount <= Money::ZERO || amount > PrizeTable::MAX_FIXED => {
                Err(PrizeTableError::Amount { matches, amount })
            }
            Award::Shared(share) if share.basis_points() == 0 => Err(PrizeTableError::NoShare { matches }),
            Award::Fixed(_) | Award::Shared(_) => Ok(()),
        }
    }

    fn basis_points(&self) -> u32 {
        match self.award {
            Award::Fixed(_) => 0,
            Award::Shared(share) => u32::from(share.basis_points()),
        }
    }

    /// The result of this tier; `left` is what the fixed prizes leave of the fund.
    fn result(&self, left: i128, winners: u64) -> Result<TierResult, Overflow> {
        let prize = match self.award {
            Award::Fixed(amount) => amount,
            Award::Shared(share) => {
                let prize = wide(share.of(narrow(left)?)).checked_div(i128::from(winners));
                narrow(prize.unwrap_or(0))? // no winner, no prize
            }
        };
        let total = prize.checked_mul(winners).ok_or(Overflow)?;
        Ok(TierResult { matches: self.matches, winners, prize, total })
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

    fn pool(matches: u8, basis_points: u16) -> Tier {
        Tier { matches, award: Award::Shared(Share::new(basis_points).unwrap()) }
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
        let twice = [fixed(3, 1), pool(5, 1), pool(3, 1)];
        assert_eq!(refusal(&twice), "two tiers are for 3 matches");
        for amount in [i64::MIN, 0, 1_000_000_000_001] {
            let limits = "the prize for 3 matches must be from 1 to 1000000000000";
            assert_eq!(refusal(&[fixed(3, amount)]), format!("{limits}, not {amount}"));
        }
        let message = "the share for 5 matches must be at least 1 basis point";
        assert_eq!(refusal(&[pool(5, 0)]), message);
        let message = "the shares add up to 10001 basis points, and 10000 are the whole";
        assert_eq!(refusal(&[pool(5, 9_000), pool(4, 1_001)]), message);

        let game = Game::new(5, 6).unwrap(); // at least four numbers match
        let refusal = PrizeTable::new(game, vec![fixed(3, 1)]);
        assert_eq!(refusal, Err(PrizeTableError::Matches { matches: 3, game }));
    }

    #[test]
    fn tiers_are_sorted_by_matches_and_survive_json() {
        let table = table(&[fixed(2, 100), pool(5, 10_000), fixed(3, 1)]).unwrap();
        assert_eq!(table.tiers(), [pool(5, 10_000), fixed(3, 1), fixed(2, 100)]);

        let json = serde_json::to_string(&table.tiers()[..2]).unwrap();
        let expected = r#"[{"kind":"pool","matches":5,"share":10000},{"kind":"fixed","matches":3,"amount":1}]"#;
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_str::<Vec<Tier>>(&json).unwrap(), table.tiers()[..2]);
        let unknown = r#"{"kind":"fixed","matches":3,"amount":1,"share":5}"#;
        assert!(serde_json::from_str::<Tier>(unknown).is_err());
    }

    #[test]
    fn settlements_by_hand() {
        let tiers = [pool(5, 7_000), pool(4, 2_000), fixed(3, 100)];
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
        for line in table.lines().skip(2) {
            let ints: Vec<i64> = line.split_whitespace().flat_map(str::parse).collect();
            let winners: Vec<u64> = ints[2..5].iter().map(|n| n.unsigned_abs()).collect();
            let got = settle(&tiers, ints[0], ints[1], &winners);
            let mut amounts: Vec<Money> = got.tiers.iter().map(|tier| tier.prize).collect();
            amounts.extend([got.prize_fund, got.prizes, got.from_reserve]);
            amounts.extend([got.revenue, got.rollover]);
            let amounts: Vec<i64> = amounts.into_iter().map(Money::minor).collect();
            assert_eq!(amounts, ints[5..], "{line}");
        }
    }

    #[test]
    fn amounts_that_do_not_fit_are_refused() {
        let table = table(&[pool(5, 10_000), fixed(3, 1_000_000_000_000)]).unwrap();
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

    fn awards() -> impl Strategy<Value = Vec<Tier>> {
        let award = prop_oneof![
            (1..=1_000_000_000_000_i64).prop_map(|amount| Award::Fixed(Money::new(amount))),
            (1..=1_000_i64).prop_map(|amount| Award::Fixed(Money::new(amount))),
            (1..=2_000_u16).prop_map(|share| Award::Shared(Share::new(share).unwrap())),
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
                match tier.award {
                    Award::Fixed(amount) => prop_assert_eq!(result.prize, amount),
                    Award::Shared(_) => prop_assert!(winners > 0 || result.prize == Money::ZERO),
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
