//! The drawn numbers: what they depend on, and that each is drawn as often as every other.
//!
//! The seeds are fixed, so the chi-square tests have one outcome for one program.

use std::collections::BTreeSet;

use verifiable_draw::merkle::{Head, hash_leaf};
use verifiable_draw::numbers::{Entropy, NumbersError, draw_numbers};

const DRAWS: u32 = 1000;

/// Chi-square with 35 and with 44 degrees of freedom is below the first bound with a probability of 10^-6, and above the
/// second one with a probability of 10^-6 (8.3756 and 89.9467; 12.7176 and 103.7006, by the incomplete gamma function).
const BOUNDS_35: (f64, f64) = (8.37, 89.95);
const BOUNDS_44: (f64, f64) = (12.71, 103.71);

#[test]
fn every_number_is_drawn_as_often_as_every_other_by_the_beacon() {
    is_uniform(Mode::Beacon);
}

#[test]
fn every_number_is_drawn_as_often_as_every_other_by_commit_and_reveal() {
    is_uniform(Mode::CommitReveal);
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    Beacon,
    CommitReveal,
}

fn is_uniform(mode: Mode) {
    for (k, n, bounds) in [(5, 36, BOUNDS_35), (6, 45, BOUNDS_44)] {
        let draws: Vec<Vec<u8>> = (0..DRAWS).map(|number| draw(mode, number, k, n)).collect();
        // The place in the order of drawing, or none: all places together.
        for place in (0..usize::from(k)).map(Some).chain([None]) {
            let value = chi_square(&draws, place, k, n);
            assert!((bounds.0..bounds.1).contains(&value), "{mode:?}, {k} of {n}, place {place:?}: {value}");
        }
    }
}

fn draw(mode: Mode, number: u32, k: u8, n: u8) -> Vec<u8> {
    let bytes = hash_leaf(&number.to_be_bytes());
    let sealed = Head { size: u64::from(number), root: bytes };
    let entropy = match mode {
        Mode::Beacon => Entropy::Beacon { round: u64::from(number), randomness: &bytes },
        Mode::CommitReveal => Entropy::CommitReveal { seed: &[7; 32], sealed: &sealed },
    };
    let numbers = draw_numbers(entropy, b"announcement", k, n).unwrap();
    let different: BTreeSet<u8> = numbers.iter().copied().collect();
    assert_eq!(different.len(), usize::from(k), "{numbers:?}");
    assert!(different.iter().all(|number| (1..=n).contains(number)), "{numbers:?}");
    numbers
}

/// Of the numbers at one place. Of all places together, the counts of one draw depend on each other: k different numbers
/// have the variance p (1 - p) with p = k / n, and sum up to k, so (n - 1) / n makes it chi-square with n - 1 degrees.
fn chi_square(draws: &[Vec<u8>], place: Option<usize>, k: u8, n: u8) -> f64 {
    let mut counts = vec![0u32; usize::from(n)];
    for numbers in draws {
        let counted = place.map_or(&numbers[..], |place| &numbers[place..=place]);
        counted.iter().for_each(|number| counts[usize::from(*number) - 1] += 1);
    }
    let n = f64::from(n);
    let p = place.map_or(f64::from(k), |_| 1.0) / n;
    let draws = draws.len() as f64;
    let squares = counts.iter().map(|count| (f64::from(*count) - draws * p).powi(2) / (draws * p * (1.0 - p)));
    squares.sum::<f64>() * (n - 1.0) / n
}

#[test]
fn everything_that_was_published_counts() {
    let (seed, root) = ([1; 32], [2; 32]);
    let beacon = |round, randomness| Entropy::Beacon { round, randomness };
    let head = |size, root| Head { size, root };
    let all = |entropy: Entropy<'_>, announcement: &[u8]| draw_numbers(entropy, announcement, 64, 64).unwrap();
    let commit_reveal = |seed, sealed: &Head| all(Entropy::CommitReveal { seed, sealed }, b"a");
    let different: BTreeSet<Vec<u8>> = BTreeSet::from([
        all(beacon(1, &[1; 32]), b"a"),
        all(beacon(2, &[1; 32]), b"a"),
        all(beacon(1, &[2; 32]), b"a"),
        all(beacon(1, &[1; 32]), b"b"),
        commit_reveal(&seed, &head(1, root)),
        commit_reveal(&[3; 32], &head(1, root)),
        commit_reveal(&seed, &head(2, root)),
        commit_reveal(&seed, &head(1, [3; 32])),
    ]);
    assert_eq!(different.len(), 8, "of 64! orders no two are the same");
}

#[test]
fn games_have_limits() {
    let draw = |k, n| draw_numbers(Entropy::Beacon { round: 1, randomness: &[0; 32] }, b"", k, n);
    for (k, n) in [(0, 36), (37, 36), (1, 65), (0, 0), (255, 255)] {
        assert_eq!(draw(k, n), Err(NumbersError::Game { k, n }));
    }
    let mut all = draw(64, 64).unwrap();
    all.sort_unstable();
    assert_eq!(all, (1..=64).collect::<Vec<u8>>());
    assert_eq!(draw(1, 1), Ok(vec![1]));
}
