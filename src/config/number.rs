//! Reads whole numbers and durations. A number that is out of a setting's range is refused with the range.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use jiff::{Span, SpanRelativeTo};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// Reads a number of this range, from a number or from its digits in a text, as an environment variable has them.
pub fn number<'de, D, T, const MIN: i64, const MAX: i64>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<i64>,
{
    let number = optional::<D, T, MIN, MAX>(deserializer)?;
    number.ok_or_else(|| D::Error::custom(format!("must be {MIN} to {MAX}, and is empty")))
}

/// The same, or nothing.
pub fn optional<'de, D, T, const MIN: i64, const MAX: i64>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<i64>,
{
    let range = NumberRange { min: MIN, max: MAX };
    let Some(number) = deserializer.deserialize_any(range)? else { return Ok(None) };
    T::try_from(number).map(Some).map_err(|_| range.refuse(number))
}

/// Reads a number that is not zero.
pub fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NonZeroU32, D::Error> {
    let number = number::<D, u32, 1, { u32::MAX as i64 }>(deserializer)?;
    NonZeroU32::try_from(number).map_err(D::Error::custom)
}

/// The numbers that a setting accepts.
#[derive(Clone, Copy)]
struct NumberRange {
    min: i64,
    max: i64,
}

impl NumberRange {
    fn refuse<E: Error>(self, given: impl fmt::Display) -> E {
        E::custom(format!("must be {} to {}, not {given}", self.min, self.max))
    }
}

impl Visitor<'_> for NumberRange {
    type Value = Option<i64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {} to {}", self.min, self.max)
    }

    fn visit_unit<E: Error>(self) -> Result<Option<i64>, E> {
        Ok(None)
    }

    fn visit_i128<E: Error>(self, number: i128) -> Result<Option<i64>, E> {
        let allowed = i64::try_from(number).ok().filter(|number| (self.min..=self.max).contains(number));
        allowed.map(Some).ok_or_else(|| self.refuse(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Option<i64>, E> {
        self.visit_i128(number.into())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Option<i64>, E> {
        self.visit_i128(number.into())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<i64>, E> {
        match text.trim().parse() {
            Ok(number) => self.visit_i128(number),
            Err(_) => Err(self.refuse(format_args!("{text:?}"))),
        }
    }
}

/// Reads `5m`, `1h 30m` or `30d` (jiff's friendly format, or ISO 8601). A day has 24 hours, because these are
/// lengths of time and not dates; months and years are refused.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse::<Span>()
        .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()))
        .ok()
        .and_then(|signed| Duration::try_from(signed).ok())
        .ok_or_else(|| Error::custom(format!("{text:?} is not a duration such as 30s, 5m or 30d")))
}
