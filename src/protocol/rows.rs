//! Rows as flat JSON arrays: `WireChange` and `WireEntry` read and written without an
//! intermediate tree.

use serde::de::{self, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::message::{WireChange, WireEntry};
use crate::model::{Revision, Stamp, Value};

/// More columns than this in one row is an attack, not a table (SQLite's own default
/// limit is 2,000; its hard one 32,767).
const VALUES_MAX: usize = 32_767;

impl Serialize for WireChange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        change(serializer, self.base, self.stamp, self.values.iter())
    }
}

/// A `WireChange` from its parts.
pub(super) fn change<'a, S: Serializer>(
    serializer: S,
    base: Revision,
    stamp: Stamp,
    values: impl Iterator<Item = &'a Value>,
) -> Result<S::Ok, S::Error> {
    let mut array = serializer.serialize_seq(None)?;
    array.serialize_element(&base)?;
    array.serialize_element(&stamp)?;
    for value in values {
        array.serialize_element(value)?;
    }
    array.end()
}

impl Serialize for WireEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut array = serializer.serialize_seq(Some(self.values.len() + 3))?;
        array.serialize_element(&self.revision)?;
        array.serialize_element(&self.stamp)?;
        array.serialize_element(&self.device)?;
        for value in &self.values {
            array.serialize_element(value)?;
        }
        array.end()
    }
}

impl<'de> Deserialize<'de> for WireChange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = WireChange;

            fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
                formatter.write_str("an array of base revision, stamp and values")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<WireChange, A::Error> {
                let base = head::<Revision, _>(&mut array, "base revision")?;
                let stamp = head::<Stamp, _>(&mut array, "stamp")?;
                Ok(WireChange { base, stamp, values: values(array)? })
            }
        }
        deserializer.deserialize_seq(Reader)
    }
}

impl<'de> Deserialize<'de> for WireEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = WireEntry;

            fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
                formatter.write_str("an array of revision, stamp, device and values")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<WireEntry, A::Error> {
                let revision = head::<Revision, _>(&mut array, "revision")?;
                let stamp = head::<Stamp, _>(&mut array, "stamp")?;
                let device = head::<i64, _>(&mut array, "device")?;
                Ok(WireEntry { revision, stamp, device, values: values(array)? })
            }
        }
        deserializer.deserialize_seq(Reader)
    }
}

fn head<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(array: &mut A, what: &str) -> Result<T, A::Error> {
    array.next_element()?.ok_or_else(|| de::Error::custom(format!("a row without its {what}")))
}

fn values<'de, A: SeqAccess<'de>>(mut array: A) -> Result<Vec<Value>, A::Error> {
    let mut values = Vec::new();
    while let Some(value) = array.next_element()? {
        if values.len() == VALUES_MAX {
            return Err(de::Error::custom("too many values in one row"));
        }
        values.push(value);
    }
    Ok(values)
}
