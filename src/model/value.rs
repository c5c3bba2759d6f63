//! One SQLite value, kept exactly.
//!
//! Equality is identity: storage class and bytes. `1` and `1.0` differ, `'abc'`
//! and `'ABC'` differ whatever a collation says, `0.0` and `-0.0` differ. There is
//! no NaN: SQLite stores NULL in its place.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::text;

/// One of SQLite's five storage classes, and text that is not UTF-8.
///
/// As JSON: `null`, an integer, a number with a point or exponent, a string,
/// `{"blob": "hex"}`, `{"real": "inf"}` or `{"real": "-inf"}`, and
/// `{"text": "hex"}` for text that is not UTF-8.
#[derive(Clone, Debug, Default)]
pub enum Value {
    #[default]
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    /// Bytes that SQLite calls text although they are not UTF-8.
    Malformed(Vec<u8>),
    Blob(Vec<u8>),
}

impl Value {
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// Bytes this value takes on the wire, roughly: for bounds, not for billing.
    pub fn weight(&self) -> usize {
        match self {
            Value::Null => 4,
            Value::Integer(_) | Value::Real(_) => 9,
            Value::Text(text) => text.len() + 2,
            Value::Malformed(bytes) | Value::Blob(bytes) => bytes.len() * 2 + 11,
        }
    }

    fn class(&self) -> u8 {
        match self {
            Value::Null => 0,
            Value::Integer(_) => 1,
            Value::Real(_) => 2,
            Value::Text(_) | Value::Malformed(_) => 3,
            Value::Blob(_) => 4,
        }
    }

    /// The bytes of text or blob; empty for the other classes.
    fn bytes(&self) -> &[u8] {
        match self {
            Value::Text(text) => text.as_bytes(),
            Value::Malformed(bytes) | Value::Blob(bytes) => bytes,
            _ => &[],
        }
    }
}

/// A total order for maps and tests: class first, then content. Not SQLite's order.
impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        self.class().cmp(&other.class()).then_with(|| match (self, other) {
            (Value::Integer(a), Value::Integer(b)) => a.cmp(b),
            (Value::Real(a), Value::Real(b)) => a.total_cmp(b),
            _ => self.bytes().cmp(other.bytes()),
        })
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.class().hash(state);
        match self {
            Value::Integer(number) => number.hash(state),
            Value::Real(number) => number.to_bits().hash(state),
            _ => self.bytes().hash(state),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tagged = |serializer: S, tag: &str, content: &str| {
            let mut map = serializer.serialize_map(Some(1))?;
            map.serialize_entry(tag, content)?;
            map.end()
        };
        match self {
            Value::Null => serializer.serialize_unit(),
            Value::Integer(number) => serializer.serialize_i64(*number),
            Value::Real(number) if number.is_finite() => serializer.serialize_f64(*number),
            Value::Real(number) if *number > 0.0 => tagged(serializer, "real", "inf"),
            Value::Real(_) => tagged(serializer, "real", "-inf"),
            Value::Text(text) => serializer.serialize_str(text),
            Value::Malformed(bytes) => tagged(serializer, "text", &text::hex(bytes)),
            Value::Blob(bytes) => tagged(serializer, "blob", &text::hex(bytes)),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        formatter.write_str("null, a number, a string, or an object with blob, real or text")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Integer(i64::from(flag)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Integer(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        i64::try_from(number).map(Value::Integer).map_err(|_| E::custom("an integer over 2^63-1"))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Real(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let Some((tag, content)) = map.next_entry::<String, String>()? else {
            return Err(de::Error::custom("an empty object is not a value"));
        };
        if map.next_key::<String>()?.is_some() {
            return Err(de::Error::custom("a tagged value has one member"));
        }
        let bytes = || text::unhex(&content).ok_or_else(|| de::Error::custom("not hexadecimal"));
        match (tag.as_str(), content.as_str()) {
            ("blob", _) => bytes().map(Value::Blob),
            ("text", _) => bytes().map(text::from_bytes),
            ("real", "inf") => Ok(Value::Real(f64::INFINITY)),
            ("real", "-inf") => Ok(Value::Real(f64::NEG_INFINITY)),
            _ => Err(de::Error::custom(format!("unknown tagged value {tag}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_makes_the_round_trip_through_json() {
        for value in [
            Value::Null,
            Value::Integer(i64::MIN),
            Value::Integer((1 << 53) + 1),
            Value::Real(1.0),
            Value::Real(-0.0),
            Value::Real(5e-324),
            Value::Real(f64::INFINITY),
            Value::Real(f64::NEG_INFINITY),
            Value::Text("é \u{0} \" \\ \u{2028}".into()),
            Value::Malformed(vec![0xff, 0x00, 0x61]),
            Value::Blob(vec![]),
            Value::Blob(vec![0, 255]),
        ] {
            let json = serde_json::to_string(&value).unwrap();
            let back: Value = serde_json::from_str(&json).unwrap();
            assert_eq!(back, value, "{json}");
        }
    }

    /// A parser of decimals that is one bit off now and then makes replicas differ.
    #[test]
    fn reals_keep_their_last_bit_through_json() {
        for step in 0..20_000u32 {
            let reals = [f64::from(step) / 7.0, (f64::from(step) * 1.37).exp2().recip(), 1e300 / f64::from(step + 3)];
            let json = serde_json::to_string(&reals.map(Value::Real)).unwrap();
            let back: [Value; 3] = serde_json::from_str(&json).unwrap();
            assert_eq!(back, reals.map(Value::Real), "{json}");
        }
    }

    #[test]
    fn equality_is_identity() {
        assert_ne!(Value::Integer(1), Value::Real(1.0));
        assert_ne!(Value::Real(0.0), Value::Real(-0.0));
        assert_ne!(Value::Text("abc".into()), Value::Text("ABC".into()));
        assert_ne!(Value::Text("a".into()), Value::Blob(b"a".to_vec()));
    }
}
