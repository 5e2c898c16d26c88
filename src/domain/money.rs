//! Money, shares of it, and the currency's code.
//!
//! This file knows integers of minor units (kopecks, cents) and how to take a share of them without a float.
//! It knows nothing of accounts, of how many minor units make a major unit, or of exchange rates: the service
//! has one currency, and the currency's code is only shown beside the amounts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

/// An amount in minor units. May be negative: some balances and signed entries are.
///
/// There are no `+` and `-` operators: every sum must handle overflow.
///
/// ```
/// use lottery::domain::money::Money;
///
/// let price = Money::new(100_00);
/// assert_eq!(price.checked_mul(3), Some(Money::new(300_00)));
/// assert_eq!(Money::MAX.checked_add(price), None);
/// assert_eq!(price.to_string(), "10000"); // minor units, as everywhere in the API
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Money(i64);

impl Money {
    pub const ZERO: Money = Money(0);
    pub const MAX: Money = Money(i64::MAX);

    pub const fn new(minor: i64) -> Money {
        Money(minor)
    }

    /// The amount in minor units, as the database and the API carry it.
    pub const fn minor(self) -> i64 {
        self.0
    }

    pub fn checked_add(self, other: Money) -> Option<Money> {
        self.0.checked_add(other.0).map(Money)
    }

    pub fn checked_sub(self, other: Money) -> Option<Money> {
        self.0.checked_sub(other.0).map(Money)
    }

    /// This amount times a count, such as a price times a number of tickets.
    pub fn checked_mul(self, count: u64) -> Option<Money> {
        // 63 bits by 64 bits always fit in an i128.
        Money::from_wide(i128::from(self.0) * i128::from(count))
    }

    /// An equal part of this amount, rounded down; `None` if it is divided among nobody.
    pub fn checked_div(self, count: u64) -> Option<Money> {
        i128::from(self.0).checked_div(i128::from(count)).and_then(Money::from_wide)
    }

    /// The sum, or `None` if it or a partial sum does not fit.
    pub fn checked_sum(amounts: impl IntoIterator<Item = Money>) -> Option<Money> {
        amounts.into_iter().try_fold(Money::ZERO, Money::checked_add)
    }

    /// Converts a wide intermediate result back, if it fits.
    pub(super) fn from_wide(minor: i128) -> Option<Money> {
        i64::try_from(minor).ok().map(Money)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A part of a whole in basis points: 10,000 is all of it, 1 is a hundredth of a percent.
///
/// ```
/// use lottery::domain::money::{Money, Share};
///
/// let half = Share::new(5_000)?;
/// assert_eq!(half.of(Money::new(101)), Money::new(50)); // rounded down
/// assert!(Share::new(10_001).is_err());
/// # Ok::<(), lottery::domain::money::ShareError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Share(u16);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a share is at most {} basis points, not {basis_points}", Share::WHOLE)]
pub struct ShareError {
    pub basis_points: u16,
}

impl Share {
    /// The basis points of the whole.
    pub const WHOLE: u16 = 10_000;

    pub const fn new(basis_points: u16) -> Result<Share, ShareError> {
        if basis_points > Share::WHOLE {
            return Err(ShareError { basis_points });
        }
        Ok(Share(basis_points))
    }

    pub const fn basis_points(self) -> u16 {
        self.0
    }

    /// This share of an amount, rounded down. It never fails: a part is never larger than its whole.
    ///
    /// Shares are taken only of sales and funds, which are never negative. The share of a negative amount is
    /// zero.
    pub fn of(self, amount: Money) -> Money {
        let whole = i128::from(amount.0.max(0));
        let part = whole * i128::from(self.0) / i128::from(Share::WHOLE);
        Money::from_wide(part).expect("0 <= part <= whole, which was an i64")
    }
}

impl TryFrom<u16> for Share {
    type Error = ShareError;

    fn try_from(basis_points: u16) -> Result<Share, ShareError> {
        Share::new(basis_points)
    }
}

impl From<Share> for u16 {
    fn from(share: Share) -> u16 {
        share.0
    }
}

/// The code of a currency as in ISO 4217: three upper-case ASCII letters. Whether ISO 4217 assigns this code
/// is not checked.
///
/// ```
/// use lottery::domain::money::Currency;
///
/// let currency: Currency = "RUB".parse()?;
/// assert_eq!(currency.to_string(), "RUB");
/// assert!("rub".parse::<Currency>().is_err());
/// # Ok::<(), lottery::domain::money::CurrencyError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Currency([u8; 3]);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a currency is three upper-case letters (ISO 4217), such as RUB")]
pub struct CurrencyError;

impl Currency {
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("three ASCII letters, see from_str")
    }
}

impl FromStr for Currency {
    type Err = CurrencyError;

    fn from_str(code: &str) -> Result<Currency, CurrencyError> {
        let letters = <[u8; 3]>::try_from(code.as_bytes()).map_err(|_| CurrencyError)?;
        if !letters.iter().all(u8::is_ascii_uppercase) {
            return Err(CurrencyError);
        }
        Ok(Currency(letters))
    }
}

impl TryFrom<String> for Currency {
    type Error = CurrencyError;

    fn try_from(code: String) -> Result<Currency, CurrencyError> {
        code.parse()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sums_that_do_not_fit_are_refused() {
        let least = Money::new(i64::MIN);
        assert_eq!(Money::MAX.checked_add(Money::new(1)), None);
        assert_eq!(least.checked_sub(Money::new(1)), None);
        assert_eq!(least.checked_mul(u64::MAX), None);
        assert_eq!(Money::new(1).checked_mul(1 << 63), None);
        assert_eq!(Money::checked_sum([Money::MAX, Money::new(1)]), None);
        assert_eq!(Money::checked_sum([]), Some(Money::ZERO));
        assert_eq!(Money::checked_sum([Money::new(5), Money::new(-7)]), Some(Money::new(-2)));
    }

    #[test]
    fn json_is_a_bare_integer_and_a_bare_code() {
        assert_eq!(serde_json::to_string(&Money::new(-5)).unwrap(), "-5");
        assert_eq!(serde_json::from_str::<Money>("12").unwrap(), Money::new(12));
        assert!(serde_json::from_str::<Money>("1.5").is_err());
        assert_eq!(serde_json::to_string(&Share::new(70).unwrap()).unwrap(), "70");
        assert!(serde_json::from_str::<Share>("10001").is_err());
        let rub: Currency = serde_json::from_str("\"RUB\"").unwrap();
        assert_eq!(serde_json::to_string(&rub).unwrap(), "\"RUB\"");
    }

    #[test]
    fn a_currency_is_three_upper_case_letters() {
        for bad in ["", "RU", "RUBL", "rub", "R1B", "РУБ", "é€"] {
            assert_eq!(bad.parse::<Currency>(), Err(CurrencyError), "{bad}");
        }
    }

    #[test]
    fn a_negative_amount_has_no_share() {
        assert_eq!(Share::new(5_000).unwrap().of(Money::new(-3)), Money::ZERO);
    }

    proptest! {
        #[test]
        fn a_share_is_the_largest_part_not_above_it(
            basis_points in 0..=Share::WHOLE,
            minor in prop_oneof![0..=i64::MAX, 0..100_000_i64, Just(i64::MAX)],
        ) {
            let part = Share::new(basis_points).unwrap().of(Money::new(minor)).minor();
            let exact = i128::from(minor) * i128::from(basis_points); // in ten-thousandths
            let rounded = i128::from(part) * 10_000;
            prop_assert!(rounded <= exact && exact < rounded + 10_000);
        }

        #[test]
        fn multiplying_is_adding_again_and_again(minor in any::<i32>(), count in 0..50_u64) {
            let amount = Money::new(i64::from(minor));
            let added = Money::checked_sum((0..count).map(|_| amount));
            prop_assert_eq!(amount.checked_mul(count), added);
        }
    }
}
