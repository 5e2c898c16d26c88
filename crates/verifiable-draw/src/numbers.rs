//! The drawn numbers: a function of what was published before.
//!
//! The stream is uniform if HKDF-SHA-256 is a random function, and then each set of numbers has exactly the same
//! probability: a value that would favour some numbers is skipped. A skip has a probability below 2^-58 for up to 64
//! numbers, and the stream ends only after 957 skips.

use hkdf::Hkdf;
use sha2::Sha256;

use crate::Hash;
use crate::encoding::sha256;
use crate::keys::expand;
use crate::merkle::Head;

/// "k of n" with k <= n <= 64.
pub const MAX_NUMBERS: u8 = 64;
const LABEL: &[u8] = b"lottery/numbers/v1\0";
/// The most that HKDF-Expand gives.
const STREAM_BYTES: usize = 255 * 32;

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NumbersError {
    #[error("1 to n of at most {MAX_NUMBERS} numbers are drawn, not {k} of {n}")]
    Game { k: u8, n: u8 },
    #[error("the stream of the draw has no usable value left")]
    Exhausted,
}

/// Where the numbers come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entropy<'a> {
    /// The randomness of a beacon's round.
    Beacon { round: u64, randomness: &'a Hash },
    /// The committed seed and the sealed list.
    CommitReveal { seed: &'a [u8; 32], sealed: &'a Head },
}

/// `k` different numbers from 1 to `n`, in the order in which they are drawn. `announcement` is the bytes of the
/// `draw_announced` entry.
pub fn draw_numbers(entropy: Entropy<'_>, announcement: &[u8], k: u8, n: u8) -> Result<Vec<u8>, NumbersError> {
    if !(1..=n).contains(&k) || n > MAX_NUMBERS {
        return Err(NumbersError::Game { k, n });
    }
    let stream = stream(entropy, announcement);
    let mut values = stream.as_chunks::<8>().0.iter().map(|bytes| u64::from_be_bytes(*bytes));
    let mut numbers: Vec<u8> = (1..=n).collect();
    for i in 0..usize::from(k) {
        let left = u64::from(n) - i as u64;
        let x = values.find(|x| is_fair(*x, left)).ok_or(NumbersError::Exhausted)?;
        numbers.swap(i, i + (x % left) as usize);
    }
    numbers.truncate(usize::from(k));
    Ok(numbers)
}

/// Whether x < 2^64 - (2^64 mod m): each remainder of m has as many such values.
fn is_fair(x: u64, m: u64) -> bool {
    let excess = (u64::MAX % m + 1) % m;
    x <= u64::MAX - excess
}

fn stream(entropy: Entropy<'_>, announcement: &[u8]) -> Vec<u8> {
    let (round, key) = match entropy {
        Entropy::Beacon { round, randomness } => (round, extract(&[0; 32], &[randomness])),
        Entropy::CommitReveal { seed, sealed } => (0, extract(seed, &[&sealed.root, &sealed.size.to_be_bytes()])),
    };
    let mut stream = vec![0; STREAM_BYTES];
    expand(&key, &[LABEL, &sha256(&[announcement]), &round.to_be_bytes()], &mut stream);
    stream
}

/// HKDF-Extract of RFC 5869 with SHA-256.
fn extract(salt: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    Hkdf::<Sha256>::extract(Some(salt), &parts.concat()).0.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_remainder_has_as_many_fair_values() {
        assert!(is_fair(u64::MAX, 64), "64 divides 2^64: nothing is skipped");
        // 2^64 mod 36 = 16, 2^64 mod 45 = 16 (checked in Python).
        for m in [36, 45] {
            assert!(is_fair(u64::MAX - 16, m));
            assert!(!is_fair(u64::MAX - 15, m));
        }
        for m in 1..=u64::from(MAX_NUMBERS) {
            let last = u64::MAX - (u64::MAX % m + 1) % m;
            assert_eq!(last % m, m - 1, "{m}");
        }
    }
}
