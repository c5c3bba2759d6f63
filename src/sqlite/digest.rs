//! Hashes of values and rows: the same on every side, for comparing, not for secrets.

use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_128_with_seed};

use crate::model::Value;

/// XXH3 of one value's class and bytes. Values that differ in either differ here, but
/// for one in 2^64.
pub fn value(value: &Value) -> u64 {
    match value {
        Value::Null => xxh3_64(&[0]),
        Value::Integer(number) => tagged(1, &number.to_le_bytes()),
        Value::Real(number) => tagged(2, &number.to_bits().to_le_bytes()),
        Value::Text(content) => tagged(3, content.as_bytes()),
        Value::Malformed(bytes) => tagged(3, bytes),
        Value::Blob(bytes) => tagged(4, bytes),
    }
}

/// XXH3 of the value hashes in column order, little-endian: a row's hash.
pub fn row<'a>(values: impl IntoIterator<Item = &'a Value>) -> u64 {
    let mut hasher = Xxh3::new();
    for content in values {
        hasher.update(&value(content).to_le_bytes());
    }
    hasher.digest()
}

/// A row's identity: its table, whatever the case of its name, and its encoded key. Two
/// rows have the same one in 2^128.
pub fn identity(table: &str, encoded: &[u8]) -> u128 {
    let mut hasher = Xxh3::new();
    hasher.update(table.to_ascii_lowercase().as_bytes());
    hasher.update(&[0]);
    hasher.update(encoded);
    hasher.digest128()
}

/// `identity`, for a table that has a number.
pub fn numbered(tab: i64, encoded: &[u8]) -> u128 {
    xxh3_128_with_seed(encoded, tab as u64)
}

fn tagged(tag: u8, bytes: &[u8]) -> u64 {
    // A hasher's state is larger than most values: one piece is hashed at once.
    let mut piece = [tag; 256];
    if let Some(place) = piece.get_mut(1..bytes.len() + 1) {
        place.copy_from_slice(bytes);
        return xxh3_64(&piece[..bytes.len() + 1]);
    }
    let mut hasher = Xxh3::new();
    hasher.update(&[tag]);
    hasher.update(bytes);
    hasher.digest()
}
