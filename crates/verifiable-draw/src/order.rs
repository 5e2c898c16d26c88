//! Entries of a ticket log: `{"first":1,"owner":"…","picks":[[1,7,13,22,36]]}`, one for each paid order.
//!
//! A sale writes entries, and a verifier reads them. Whether the picks are legal in the lottery, and whether the ticket
//! numbers have no gap, is decided where the whole list is known: `OrderEntry::next` is the `first` of the entry after.

use crate::Hash;
use crate::bundle::MAX_ENTRY_BYTES;
use crate::canonical::{CanonicalError, MAX_INTEGER, Value};
use crate::encoding::{HASH_TEXT_BYTES, decode_hash, push_base64};
use crate::numbers::MAX_NUMBERS;

/// The entry of an order of three tickets fits.
const SHORT_ENTRY_BYTES: usize = 160;

#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    #[error(
        "an order has the fields `first` (from 1), `owner` ({HASH_TEXT_BYTES} characters of base64) and `picks` (ascending \
         numbers from 1 to {MAX_NUMBERS}, in one list or more), and no others"
    )]
    Fields,
}

/// A paid order: the numbers of its tickets are `first`, `first + 1` and so on, one for each pick.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OrderEntry {
    pub first: u64,
    /// `keys::owner` of the user who ordered.
    pub owner: Hash,
    pub picks: Vec<Vec<u8>>,
}

impl OrderEntry {
    pub fn parse(bytes: &[u8]) -> Result<Self, OrderError> {
        Self::from_value(&Value::parse(bytes)?).ok_or(OrderError::Fields)
    }

    fn from_value(value: &Value) -> Option<Self> {
        let Value::Object(object) = value else { return None };
        let (Value::Integer(first @ 1..), Value::Text(owner), Value::Array(picks)) =
            (object.get("first")?, object.get("owner")?, object.get("picks")?)
        else {
            return None;
        };
        let picks: Vec<Vec<u8>> = picks.iter().map(pick).collect::<Option<_>>()?;
        let is_whole = object.fields().len() == 3 && !picks.is_empty();
        is_whole.then_some(Self { first: *first, owner: decode_hash(owner)?, picks })
    }

    /// The number of the ticket after the last one of this order.
    pub fn next(&self) -> u64 {
        self.first + self.picks.len() as u64
    }
}

fn pick(value: &Value) -> Option<Vec<u8>> {
    let Value::Array(numbers) = value else { return None };
    let numbers = numbers.iter().map(|number| match number {
        Value::Integer(number) => u8::try_from(*number).ok().filter(|number| (1..=MAX_NUMBERS).contains(number)),
        _ => None,
    });
    let numbers: Vec<u8> = numbers.collect::<Option<_>>()?;
    (!numbers.is_empty() && numbers.is_sorted_by(|left, right| left < right)).then_some(numbers)
}

/// The bytes of an order's entry. Refuses what `OrderEntry::parse` would refuse. Each sold order needs its entry, so it is
/// written without a `Value`.
pub fn write_order<P: IntoIterator<Item = u8>>(
    first: u64,
    owner: &Hash,
    picks: impl IntoIterator<Item = P>,
) -> Result<Vec<u8>, OrderError> {
    if first > MAX_INTEGER {
        return Err(CanonicalError::Integer(first).into());
    }
    let mut entry = Vec::with_capacity(SHORT_ENTRY_BYTES);
    entry.extend_from_slice(b"{\"first\":");
    entry.extend_from_slice(first.to_string().as_bytes());
    entry.extend_from_slice(b",\"owner\":\"");
    push_base64(&mut entry, owner);
    entry.extend_from_slice(b"\",\"picks\":");
    let mut separator = b'[';
    for pick in picks {
        entry.push(separator);
        write_pick(&mut entry, pick)?;
        separator = b',';
    }
    entry.extend_from_slice(b"]}");
    match (first, separator) {
        (0, _) | (_, b'[') => Err(OrderError::Fields),
        _ if entry.len() > MAX_ENTRY_BYTES => Err(CanonicalError::TooLong(entry.len()).into()),
        _ => Ok(entry),
    }
}

fn write_pick(entry: &mut Vec<u8>, pick: impl IntoIterator<Item = u8>) -> Result<(), OrderError> {
    let (mut separator, mut last) = (b'[', 0);
    for number in pick {
        if number <= last || number > MAX_NUMBERS {
            return Err(OrderError::Fields);
        }
        entry.push(separator);
        if number >= 10 {
            entry.push(b'0' + number / 10);
        }
        entry.push(b'0' + number % 10);
        (separator, last) = (b',', number);
    }
    entry.push(b']');
    if last == 0 { Err(OrderError::Fields) } else { Ok(()) }
}
