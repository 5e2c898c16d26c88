//! Entries of the logs: RFC 8785 canonical JSON of objects, arrays, strings and the integers from 0 to 2^53 - 1.
//!
//! The bytes are the entry: they are hashed as they are. So `parse` accepts only the bytes that `write` would write,
//! and two entries with the same meaning have the same hash. `true`, `false`, `null` and other numbers are refused.

use std::fmt::{self, Formatter};

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};

use crate::bundle::MAX_ENTRY_BYTES;

/// The largest integer that every JSON reader keeps exactly.
pub const MAX_INTEGER: u64 = (1 << 53) - 1;
pub const MAX_DEPTH: u8 = 16;

#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    #[error("an entry has at most {MAX_ENTRY_BYTES} bytes, not {0}")]
    TooLong(usize),
    #[error("the entry is not JSON of objects, arrays, strings and integers: {0}")]
    Json(#[from] serde_json::Error),
    #[error(
        "the entry is not written canonically (RFC 8785): its keys are not in order, or its texts and spaces differ"
    )]
    NotCanonical,
    #[error("an entry holds objects, arrays, strings and integers from 0 to 2^53 - 1 only")]
    Kind,
    #[error("an integer of an entry is at most 2^53 - 1, not {0}")]
    Integer(u64),
    #[error("the key {0:?} stands twice in an object")]
    DuplicateKey(String),
}

/// A value of an entry. The keys of an object are in the order of RFC 8785.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    Integer(u64),
    Text(String),
    Array(Vec<Value>),
    Object(ObjectValue),
}

/// Fields with different keys, in the order of RFC 8785.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ObjectValue(Vec<(String, Value)>);

impl ObjectValue {
    pub fn new(mut fields: Vec<(String, Value)>) -> Result<Self, CanonicalError> {
        fields.sort_by(|(left, _), (right, _)| left.encode_utf16().cmp(right.encode_utf16()));
        match fields.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(CanonicalError::DuplicateKey(pair[0].0.clone())),
            None => Ok(Self(fields)),
        }
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    pub fn fields(&self) -> &[(String, Value)] {
        &self.0
    }
}

impl Value {
    pub fn integer(integer: u64) -> Result<Self, CanonicalError> {
        if integer <= MAX_INTEGER { Ok(Self::Integer(integer)) } else { Err(CanonicalError::Integer(integer)) }
    }

    /// Refuses what an entry cannot hold: `true`, `false`, `null`, and numbers that are no integers from 0 to 2^53 - 1.
    pub(crate) fn from_json(json: serde_json::Value) -> Result<Self, CanonicalError> {
        match json {
            serde_json::Value::Number(number) => match number.as_u64() {
                Some(integer) => Self::integer(integer),
                None => Err(CanonicalError::Kind),
            },
            serde_json::Value::String(text) => Ok(Self::Text(text)),
            serde_json::Value::Array(items) => {
                Ok(Self::Array(items.into_iter().map(Self::from_json).collect::<Result<_, _>>()?))
            }
            serde_json::Value::Object(fields) => {
                let fields = fields.into_iter().map(|(key, value)| Ok((key, Self::from_json(value)?)));
                Ok(Self::Object(ObjectValue::new(fields.collect::<Result<_, CanonicalError>>()?)?))
            }
            serde_json::Value::Null | serde_json::Value::Bool(_) => Err(CanonicalError::Kind),
        }
    }

    /// Refuses bytes that `write` would not write.
    pub fn parse(bytes: &[u8]) -> Result<Self, CanonicalError> {
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(CanonicalError::TooLong(bytes.len()));
        }
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let value = Depth(MAX_DEPTH).deserialize(&mut json)?;
        json.end()?;
        if value.write()? == bytes { Ok(value) } else { Err(CanonicalError::NotCanonical) }
    }

    pub fn write(&self) -> Result<Vec<u8>, CanonicalError> {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes)?;
        if bytes.len() > MAX_ENTRY_BYTES { Err(CanonicalError::TooLong(bytes.len())) } else { Ok(bytes) }
    }

    fn write_to(&self, bytes: &mut Vec<u8>) -> Result<(), CanonicalError> {
        match self {
            Self::Integer(integer) if *integer > MAX_INTEGER => return Err(CanonicalError::Integer(*integer)),
            Self::Integer(integer) => bytes.extend_from_slice(integer.to_string().as_bytes()),
            Self::Text(text) => write_text(bytes, text)?,
            Self::Array(values) => {
                bytes.push(b'[');
                for (index, value) in values.iter().enumerate() {
                    if index > 0 {
                        bytes.push(b',');
                    }
                    value.write_to(bytes)?;
                }
                bytes.push(b']');
            }
            Self::Object(object) => {
                bytes.push(b'{');
                for (index, (key, value)) in object.0.iter().enumerate() {
                    if index > 0 {
                        bytes.push(b',');
                    }
                    write_text(bytes, key)?;
                    bytes.push(b':');
                    value.write_to(bytes)?;
                }
                bytes.push(b'}');
            }
        }
        Ok(())
    }
}

/// serde_json escapes as RFC 8785 wants: the short escapes, `\u00xx` for other control characters, nothing else.
fn write_text(bytes: &mut Vec<u8>, text: &str) -> Result<(), CanonicalError> {
    Ok(serde_json::to_writer(bytes, text)?)
}

/// How many levels of arrays and objects a value may still have.
#[derive(Clone, Copy)]
struct Depth(u8);

impl Depth {
    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        self.0.checked_sub(1).map(Self).ok_or_else(|| E::custom(format!("more than {MAX_DEPTH} levels")))
    }
}

impl<'de> DeserializeSeed<'de> for Depth {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Depth {
    type Value = Value;

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object, an array, a string or an integer from 0 to 2^53 - 1")
    }

    fn visit_u64<E: serde::de::Error>(self, integer: u64) -> Result<Value, E> {
        Value::integer(integer).map_err(E::custom)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let (inner, mut values) = (self.inner()?, Vec::new());
        while let Some(value) = sequence.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let (inner, mut fields) = (self.inner()?, Vec::new());
        while let Some(key) = map.next_key::<String>()? {
            fields.push((key, map.next_value_seed(inner)?));
        }
        ObjectValue::new(fields).map(Value::Object).map_err(A::Error::custom)
    }
}
