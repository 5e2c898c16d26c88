//! Amounts as people read them: `415,700.00 RUB`. The API and the database carry integers of minor units.

use indicatif::HumanCount;

use crate::domain::money::Currency;

/// The decimal places of a currency that the list of ISO 4217 does not have.
const USUAL_PLACES: u16 = 2;

/// An amount of minor units in major units of the currency, with the currency's decimal places.
pub fn amount(minor: i64, currency: Currency) -> String {
    let listed = iso_currency::Currency::from_code(currency.as_str());
    let places = usize::from(listed.and_then(|listed| listed.exponent()).unwrap_or(USUAL_PLACES));
    let digits = format!("{:0>width$}", minor.unsigned_abs(), width = places + 1);
    let (major, rest) = digits.split_at(digits.len() - places);
    let sign = if minor < 0 { "-" } else { "" };
    let point = if places == 0 { "" } else { "." };
    let major = HumanCount(major.parse().expect("the first digits of a u64"));
    format!("{sign}{major}{point}{rest} {currency}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_has_the_decimal_places_of_its_currency() {
        for (minor, currency, text) in [
            (41_570_000, "RUB", "415,700.00 RUB"),
            (0, "EUR", "0.00 EUR"),
            (7, "EUR", "0.07 EUR"),
            (-123_456, "EUR", "-1,234.56 EUR"),
            (41_570_000, "JPY", "41,570,000 JPY"),
            (1_234_567, "KWD", "1,234.567 KWD"),
            (100, "QQQ", "1.00 QQQ"),
            (i64::MIN, "RUB", "-92,233,720,368,547,758.08 RUB"),
        ] {
            assert_eq!(amount(minor, currency.parse().unwrap()), text);
        }
    }
}
