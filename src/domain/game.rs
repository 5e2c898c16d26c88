//! The game: a pick of k distinct numbers out of 1..=n, and how picks match.
//!
//! This file knows combinations: how many there are, how to number them, and how to choose among them with
//! equal chances. It knows nothing of tickets, owners, prizes or draws. It has no source of randomness: the
//! random number generator is an argument.

use std::collections::HashSet;
use std::fmt;

use rand::Rng;
use serde::{Serialize, Serializer};

/// "k of n": a pick is `pick_size` distinct numbers from 1 to `of`, with 1 <= k < n <= 64.
///
/// ```
/// use lottery::domain::game::Game;
///
/// let game = Game::new(5, 36)?;
/// assert_eq!(game.combinations(), 376_992);
///
/// let ticket = game.pick(&[36, 1, 7, 22, 13])?;
/// let winning = game.pick(&[1, 7, 8, 9, 36])?;
/// assert_eq!(ticket.numbers().collect::<Vec<_>>(), [1, 7, 13, 22, 36]);
/// assert_eq!(ticket.matches(winning), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Game {
    pick: u8,
    of: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GameError {
    #[error("a game has at most {} numbers, not {of}", Game::MAX_NUMBERS)]
    TooManyNumbers { of: u8 },
    #[error("a pick must be of at least 1 and fewer than {of} numbers, not of {pick}")]
    PickSize { pick: u8, of: u8 },
}

/// Why numbers are not a pick of the game. The messages are for the person who chose the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickError {
    #[error("choose exactly {wanted} numbers, not {given}")]
    WrongCount { wanted: u8, given: usize },
    #[error("{number} is out of range: choose numbers from 1 to {of}")]
    OutOfRange { number: i64, of: u8 },
    #[error("{number} is there twice: choose different numbers")]
    Repeated { number: i64 },
}

/// More distinct combinations were asked for than are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("only {left} combinations are left")]
pub struct TooFewLeft {
    pub left: u64,
}

impl Game {
    /// A pick is one 64-bit mask.
    pub const MAX_NUMBERS: u8 = 64;

    pub const fn new(pick: u8, of: u8) -> Result<Game, GameError> {
        if of > Game::MAX_NUMBERS {
            return Err(GameError::TooManyNumbers { of });
        }
        if pick < 1 || pick >= of {
            return Err(GameError::PickSize { pick, of });
        }
        Ok(Game { pick, of })
    }

    /// k: how many numbers a pick has.
    pub const fn pick_size(&self) -> u8 {
        self.pick
    }

    /// n: the highest number; the lowest is 1.
    pub const fn of(&self) -> u8 {
        self.of
    }

    /// How many different picks there are: C(n, k), at most C(64, 32), about 1.8 × 10^18.
    pub fn combinations(&self) -> u64 {
        binomial(self.of, self.pick)
    }

    /// How many picks match the winning pick in exactly this many numbers: C(k, m) · C(n-k, k-m), the
    /// hypergeometric count. Zero if no pick can.
    pub fn ways(&self, matches: u8) -> u64 {
        let Some(missed) = self.pick.checked_sub(matches) else {
            return 0;
        };
        // No overflow: the ways of all matches add up to combinations().
        binomial(self.pick, matches) * binomial(self.of - self.pick, missed)
    }

    /// The N of "1 in N": a probability and not money, hence a float. Infinite if no pick can match this
    /// many.
    pub fn odds(&self, matches: u8) -> f64 {
        self.combinations() as f64 / self.ways(matches) as f64
    }

    /// Parses chosen numbers, in any order. A wrong count is reported first, otherwise the first wrong
    /// number.
    pub fn pick(&self, numbers: &[i64]) -> Result<Pick, PickError> {
        if numbers.len() != usize::from(self.pick) {
            return Err(PickError::WrongCount { wanted: self.pick, given: numbers.len() });
        }
        let mut mask = 0_u64;
        for &number in numbers {
            if !(1..=i64::from(self.of)).contains(&number) {
                return Err(PickError::OutOfRange { number, of: self.of });
            }
            let bit = 1 << (number - 1);
            if mask & bit != 0 {
                return Err(PickError::Repeated { number });
            }
            mask |= bit;
        }
        Ok(Pick(mask))
    }

    /// Parses a mask that [`Pick::mask`] made and the database stored.
    pub fn pick_from_mask(&self, mask: i64) -> Result<Pick, PickError> {
        let pick = Pick(mask.cast_unsigned());
        if pick.size() != self.pick {
            let given = usize::from(pick.size());
            return Err(PickError::WrongCount { wanted: self.pick, given });
        }
        match pick.numbers().find(|&number| number > self.of) {
            Some(number) => Err(PickError::OutOfRange { number: i64::from(number), of: self.of }),
            None => Ok(pick),
        }
    }

    /// The pick with an index from 0 to `combinations() - 1`, in the order of masks: every index has one pick
    /// and every pick one index (the combinatorial number system; Knuth, TAOCP 7.2.1.3).
    ///
    /// # Panics
    /// If the index is `combinations()` or more.
    pub fn unrank(&self, index: u64) -> Pick {
        assert!(index < self.combinations(), "{self} has no combination {index}");
        let (mut mask, mut rest, mut bit) = (0_u64, index, self.of);
        for size in (1..=self.pick).rev() {
            // The highest bit with at most `rest` picks of this size below it. It exists:
            // `bit` is at least `size` here, and C(size - 1, size) is 0.
            bit -= 1;
            while binomial(bit, size) > rest {
                bit -= 1;
            }
            rest -= binomial(bit, size);
            mask |= 1 << bit;
        }
        Pick(mask)
    }

    /// A random pick; all picks have exactly the same chance.
    pub fn random_pick(&self, rng: &mut (impl Rng + ?Sized)) -> Pick {
        self.unrank(uniform_below(rng, self.combinations()))
    }

    /// `count` different picks, none of them in `held`, uniformly random and in random order.
    ///
    /// `held` are picks of this game. The expected time grows in proportion to `held` and `count`, the memory
    /// in proportion to `count`, also if the call asks for all that is left. The caller limits `count`.
    ///
    /// # Errors
    /// [`TooFewLeft`], before anything is allocated.
    pub fn distinct_picks(
        &self,
        count: usize,
        held: &HashSet<Pick>,
        rng: &mut (impl Rng + ?Sized),
    ) -> Result<Vec<Pick>, TooFewLeft> {
        let left = self.combinations().saturating_sub(held.len() as u64);
        let wanted = count as u64;
        if wanted > left {
            return Err(TooFewLeft { left });
        }
        // If at least half of the free picks stay free, a try succeeds with a chance of at least (left / 2) /
        // combinations(), so the expected number of all tries is below held + 2 · count. If fewer stay free,
        // the last free picks are found too rarely, and listing all picks costs no more: combinations() is
        // held + left, and left is then below 2 · count.
        if wanted <= left / 2 {
            Ok(self.picks_by_trying(count, held, rng))
        } else {
            Ok(self.picks_by_listing(count, held, rng))
        }
    }

    fn picks_by_trying(&self, count: usize, held: &HashSet<Pick>, rng: &mut (impl Rng + ?Sized)) -> Vec<Pick> {
        let mut picks = Vec::with_capacity(count);
        let mut taken = HashSet::with_capacity(count);
        while picks.len() < count {
            let pick = self.random_pick(rng);
            if !held.contains(&pick) && taken.insert(pick) {
                picks.push(pick);
            }
        }
        picks
    }

    fn picks_by_listing(&self, count: usize, held: &HashSet<Pick>, rng: &mut (impl Rng + ?Sized)) -> Vec<Pick> {
        let everything = (0..self.combinations()).map(|index| self.unrank(index));
        let mut picks: Vec<Pick> = everything.filter(|pick| !held.contains(pick)).collect();
        // A Fisher-Yates shuffle of the first `count` elements. Not rand's `shuffle`: its ranges are biased,
        // see `uniform_below`.
        for index in 0..count {
            let rest = (picks.len() - index) as u64;
            picks.swap(index, index + uniform_below(rng, rest) as usize);
        }
        picks.truncate(count);
        picks
    }
}

impl fmt::Display for Game {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.pick, self.of)
    }
}

/// A combination as one mask: number i is bit i-1, so that matching is an AND and a popcount. Only a [`Game`]
/// makes one. Picks are ordered by their masks; in JSON a pick is the list of its numbers, ascending.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pick(u64);

impl Pick {
    /// The mask as the `bigint` that the database stores; it is negative if the pick has the number 64.
    pub const fn mask(self) -> i64 {
        self.0.cast_signed()
    }

    pub fn numbers(self) -> impl Iterator<Item = u8> {
        (1..=Game::MAX_NUMBERS).filter(move |number| self.0 >> (number - 1) & 1 == 1)
    }

    /// How many numbers this pick and the winning one have in common.
    pub const fn matches(self, winning: Pick) -> u8 {
        Pick(self.0 & winning.0).size()
    }

    const fn size(self) -> u8 {
        self.0.count_ones() as u8 // at most 64
    }
}

impl fmt::Debug for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.numbers()).finish()
    }
}

impl Serialize for Pick {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.numbers())
    }
}

/// A random number from 0 to `bound - 1`; all numbers have exactly the same chance.
///
/// It takes as many random bits as the bound needs, and takes them again if the number is too high: fewer
/// than two tries on average. A modulo would favour the low numbers. The ranges of rand have a very small
/// bias unless its feature `unbiased` is on, and no test of ours could notice if that feature were switched
/// off.
///
/// # Panics
/// If the bound is zero.
pub fn uniform_below(rng: &mut (impl Rng + ?Sized), bound: u64) -> u64 {
    assert!(bound > 0, "there is no number below zero");
    let mask = u64::MAX >> ((bound - 1) | 1).leading_zeros(); // `| 1`: a shift is below 64
    loop {
        let candidate = rng.next_u64() & mask;
        if candidate < bound {
            return candidate;
        }
    }
}

const ROWS: usize = Game::MAX_NUMBERS as usize + 1;

/// Pascal's triangle up to the row of 64, whose largest entry is below 2^61.
static TRIANGLE: [[u64; ROWS]; ROWS] = {
    let mut rows = [[0; ROWS]; ROWS];
    let mut n = 0;
    while n < ROWS {
        rows[n][0] = 1;
        let mut k = 1;
        while k <= n {
            rows[n][k] = rows[n - 1][k - 1] + rows[n - 1][k];
            k += 1;
        }
        n += 1;
    }
    rows
};

/// C(n, k), for both up to 64; zero when k > n.
fn binomial(n: u8, k: u8) -> u64 {
    TRIANGLE[usize::from(n)][usize::from(k)]
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use proptest::prelude::*;
    use rand::rngs::StdRng;
    use rand::{SeedableRng, TryRng};

    /// A random number generator that returns the given words, so that a test sees which were used.
    struct Words<'a>(&'a [u64]);

    impl TryRng for Words<'_> {
        type Error = Infallible;

        fn try_next_u32(&mut self) -> Result<u32, Infallible> {
            unreachable!("whole words only")
        }

        fn try_next_u64(&mut self) -> Result<u64, Infallible> {
            let (&word, rest) = self.0.split_first().expect("the test gives enough words");
            self.0 = rest;
            Ok(word)
        }

        fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Infallible> {
            unreachable!("whole words only")
        }
    }

    fn game(pick: u8, of: u8) -> Game {
        Game::new(pick, of).unwrap()
    }

    fn rng() -> StdRng {
        StdRng::seed_from_u64(5_36)
    }

    fn games() -> impl Strategy<Value = Game> {
        (2..=64_u8).prop_flat_map(|of| (1..of).prop_map(move |pick| game(pick, of)))
    }

    fn everything(game: Game) -> HashSet<Pick> {
        (0..game.combinations()).map(|index| game.unrank(index)).collect()
    }

    /// The index of a pick, by the definition: the i-th smallest number c adds C(c - 1, i).
    fn rank(pick: Pick) -> u64 {
        pick.numbers().zip(1..).map(|(number, size)| binomial(number - 1, size)).sum()
    }

    /// Pearson's statistic against equal expectations.
    fn chi_squared(counts: &[u64]) -> f64 {
        let expected = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
        counts.iter().map(|&count| (count as f64 - expected).powi(2) / expected).sum()
    }

    #[test]
    fn games_outside_the_limits_are_refused() {
        assert!(Game::new(1, 2).is_ok() && Game::new(63, 64).is_ok());
        assert_eq!(Game::new(5, 65), Err(GameError::TooManyNumbers { of: 65 }));
        for (pick, of) in [(0, 36), (36, 36), (37, 36), (0, 0), (1, 1)] {
            assert_eq!(Game::new(pick, of), Err(GameError::PickSize { pick, of }));
        }
    }

    #[test]
    fn known_counts_and_odds() {
        assert_eq!(game(6, 45).combinations(), 8_145_060);
        assert_eq!(game(32, 64).combinations(), 1_832_624_140_942_590_534);
        let ways: Vec<u64> = (0..=6).map(|matches| game(5, 36).ways(matches)).collect();
        assert_eq!(ways, [169_911, 157_325, 44_950, 4_650, 155, 1, 0]);
        assert!((game(5, 36).odds(2) - 8.387).abs() < 0.001);
        assert_eq!(game(5, 6).odds(3), f64::INFINITY); // two picks have at least four numbers in common
    }

    #[test]
    fn mistakes_are_reported_in_order() {
        let table = "
            99 99     => choose exactly 3 numbers, not 2
            1 37 37   => 37 is out of range: choose numbers from 1 to 36
            0 1 1     => 0 is out of range: choose numbers from 1 to 36
            1 1 -9    => 1 is there twice: choose different numbers
            1 2 9223372036854775807 => 9223372036854775807 is out of range: choose numbers from 1 to 36";
        for line in table.lines().skip(1) {
            let (numbers, message) = line.split_once(" => ").unwrap();
            let numbers: Vec<i64> = numbers.split_whitespace().flat_map(str::parse).collect();
            let refusal = game(3, 36).pick(&numbers).unwrap_err();
            assert_eq!(refusal.to_string(), message);
        }
    }

    #[test]
    fn masks_of_other_games_are_refused() {
        let pick = game(2, 64).pick(&[64, 1]).unwrap();
        assert!(pick.mask() < 0);
        assert_eq!(game(2, 64).pick_from_mask(pick.mask()), Ok(pick));
        let (number, of, wanted, given) = (64, 63, 3, 2);
        let too_high = Err(PickError::OutOfRange { number, of });
        assert_eq!(game(2, 63).pick_from_mask(pick.mask()), too_high);
        let too_few = Err(PickError::WrongCount { wanted, given });
        assert_eq!(game(3, 64).pick_from_mask(pick.mask()), too_few);
    }

    #[test]
    fn json_is_the_ascending_numbers() {
        let pick = game(3, 36).pick(&[36, 1, 7]).unwrap();
        assert_eq!(serde_json::to_string(&pick).unwrap(), "[1,7,36]");
        assert_eq!(format!("{pick:?}"), "{1, 7, 36}");
    }

    #[test]
    fn candidates_that_are_too_high_are_drawn_again() {
        let mut words = Words(&[7, 6, 5, 0b1011, 4]); // three bits of each word are used
        assert_eq!(uniform_below(&mut words, 5), 3);
        assert_eq!(uniform_below(&mut words, 5), 4);
        assert_eq!(uniform_below(&mut Words(&[3, 2]), 1), 0);
        assert_eq!(uniform_below(&mut Words(&[u64::MAX, 9]), u64::MAX), 9);
    }

    #[test]
    fn random_picks_are_uniform() {
        let (game, mut rng) = (game(3, 8), rng());
        let mut counts = vec![0; 56];
        for _ in 0..56_000 {
            counts[rank(game.random_pick(&mut rng)) as usize] += 1;
        }
        // 55 degrees of freedom: above 116 once in 300,000 seeds, and this one is fixed.
        assert!(chi_squared(&counts) < 116.0, "{counts:?}");
    }

    #[test]
    fn a_pool_covers_all_numbers_evenly_and_in_random_order() {
        let pool = game(6, 45).distinct_picks(20_000, &HashSet::new(), &mut rng()).unwrap();
        assert_eq!(pool.iter().collect::<HashSet<_>>().len(), 20_000);
        for part in [&pool[..], &pool[..10_000]] {
            let mut counts = vec![0; 45];
            for number in part.iter().flat_map(|pick| pick.numbers()) {
                counts[usize::from(number) - 1] += 1;
            }
            // 44 degrees of freedom; the numbers of one pick exclude each other, which only lowers the
            // statistic. A number that never appears would add its whole expectation.
            assert!(chi_squared(&counts) < 100.0, "{counts:?}");
        }
    }

    #[test]
    fn all_free_picks_can_be_generated_and_not_one_more() {
        for (pick, of, held) in [(1, 36, 0), (1, 36, 35), (3, 9, 40), (3, 9, 84)] {
            let (game, rng) = (game(pick, of), &mut rng());
            let held: HashSet<Pick> = everything(game).into_iter().take(held).collect();
            let left = everything(game).len() - held.len();
            for count in [0, 1, left / 2, left / 2 + 1, left, left + 1, usize::MAX] {
                let picks = game.distinct_picks(count, &held, rng);
                if count > left {
                    assert_eq!(picks, Err(TooFewLeft { left: left as u64 }));
                    continue;
                }
                let picks = picks.unwrap();
                let distinct: HashSet<Pick> = picks.iter().copied().collect();
                assert_eq!((picks.len(), distinct.len()), (count, count));
                assert!(distinct.is_disjoint(&held) && distinct.is_subset(&everything(game)));
                assert!(count < 10 || !picks.is_sorted(), "the order is random");
            }
        }
    }

    #[test]
    fn listed_picks_are_uniform_at_every_position() {
        let (game, mut rng) = (game(1, 6), rng());
        let mut counts = vec![0; 5 * 6];
        for _ in 0..6_000 {
            let picks = game.distinct_picks(5, &HashSet::new(), &mut rng).unwrap();
            for (place, pick) in picks.iter().enumerate() {
                counts[place * 6 + rank(*pick) as usize] += 1;
            }
        }
        for place in counts.chunks(6) {
            assert!(chi_squared(place) < 30.0, "{counts:?}"); // 5 degrees: once in 67,000
        }
    }

    proptest! {
        #[test]
        fn numbers_and_mask_lead_back_to_the_pick(game in games(), seed in any::<u64>()) {
            let pick = game.random_pick(&mut StdRng::seed_from_u64(seed));
            prop_assert_eq!(game.pick_from_mask(pick.mask()), Ok(pick));
            let mut numbers: Vec<i64> = pick.numbers().map(i64::from).collect();
            prop_assert!(numbers.is_sorted());
            numbers.reverse();
            prop_assert_eq!(game.pick(&numbers), Ok(pick));
            prop_assert_eq!(pick.matches(pick), game.pick_size());
            numbers[0] = numbers[numbers.len() - 1];
            prop_assert!(numbers.len() == 1 || game.pick(&numbers).is_err());
        }

        #[test]
        fn places_and_picks_are_one_to_one(game in games(), seed in any::<u64>()) {
            for index in [0, seed % game.combinations(), game.combinations() - 1] {
                let pick = game.unrank(index);
                prop_assert_eq!(game.pick_from_mask(pick.mask()), Ok(pick));
                prop_assert_eq!(rank(pick), index);
            }
        }

        #[test]
        fn ways_add_up_to_all_combinations(game in games()) {
            let ways: u64 = (0..=game.pick_size()).map(|matches| game.ways(matches)).sum();
            prop_assert_eq!(ways, game.combinations());
        }
    }
}
