//! Between model values and message bodies, and between bodies and compressed bytes.

use std::io::{Read, Write};
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::message::*;
use crate::model::{
    Change, ConflictKind, Cursor, Incarnation, Key, Operation, Outcome, Page, RemoteRow, Revision, page::Span, text,
};

/// A batch as JSON, a `Push`: neighbouring changes of one table with the same columns
/// share a header. Order is kept. Nothing of the changes is copied on the way.
pub fn push(
    device: &str,
    incarnation: &Incarnation,
    batch: i64,
    epoch: &str,
    seen: Revision,
    changes: &[Change],
    key_names: impl Fn(&str) -> Vec<String>,
) -> Vec<u8> {
    let delete = |change: &Change| change.operation == Operation::Delete;
    let alike = |a: &Change, b: &Change| {
        delete(a) == delete(b) && a.table == b.table && (Arc::ptr_eq(&a.columns, &b.columns) || a.columns == b.columns)
    };
    let groups = changes.chunk_by(alike).map(|changes| Group {
        table: &changes[0].table,
        key: key_names(&changes[0].table),
        columns: &changes[0].columns,
        delete: delete(&changes[0]),
        rows: changes.iter().map(Line).collect(),
    });
    let batch = Bundle { protocol: super::VERSION, device, incarnation, batch, epoch, seen, groups: groups.collect() };
    serde_json::to_vec(&batch).expect("BUG: a push is always JSON")
}

/// A `Push`, borrowed.
#[derive(Serialize)]
struct Bundle<'a> {
    protocol: u32,
    device: &'a str,
    incarnation: &'a Incarnation,
    batch: i64,
    epoch: &'a str,
    seen: Revision,
    groups: Vec<Group<'a>>,
}

/// A `ChangeGroup`, borrowed.
#[derive(Serialize)]
struct Group<'a> {
    table: &'a str,
    key: Vec<String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    columns: &'a [String],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    delete: bool,
    rows: Vec<Line<'a>>,
}

/// A `WireChange`, borrowed.
struct Line<'a>(&'a Change);

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Change { base_revision, stamp, key, values, .. } = self.0;
        super::rows::change(serializer, *base_revision, *stamp, key.0.iter().chain(values))
    }
}

/// The outcomes of a push, in its order. `changes` are the table and key of each
/// change sent. An answer with another count is not an answer.
pub fn outcomes(answer: Pushed, changes: &[(Arc<str>, Key)]) -> Result<Vec<Outcome>, String> {
    if answer.outcomes.len() != changes.len() {
        return Err(format!("{} outcomes for {} changes", answer.outcomes.len(), changes.len()));
    }
    let pairs = answer.outcomes.into_iter().zip(changes);
    Ok(pairs
        .map(|(outcome, (table, key))| match outcome {
            WireOutcome::Applied(revision) => Outcome::Applied(revision),
            WireOutcome::Refused(refusal) => Outcome::Refused { code: refusal.refused, text: refusal.text },
            WireOutcome::Conflict(conflict) => Outcome::Conflict {
                kind: match conflict.conflict {
                    ConflictWord::MovedOn => ConflictKind::UpdateUpdate,
                    ConflictWord::Unique => ConflictKind::Unique,
                    ConflictWord::ForeignKey => ConflictKind::ForeignKey,
                },
                remote: conflict.row.map(|row| remote_row(table, key, row)),
                columns: conflict.columns,
                others: conflict.others.into_iter().map(|other| (other.table, Key::from(other.key))).collect(),
            },
        })
        .collect())
}

/// A single row as the model knows it.
pub fn remote_row(table: &str, key: &Key, row: WireRow) -> RemoteRow {
    RemoteRow {
        table: table.to_owned(),
        key: key.clone(),
        revision: row.revision,
        stamp: row.stamp,
        row: row.values,
        columns: row.columns.into(),
        device: row.device,
        role: row.role,
    }
}

/// A pulled page as the model knows it. Every row must be as wide as its header, and
/// carry its key.
pub fn page(answer: Pulled) -> Result<Page, String> {
    let mut page = Page {
        epoch: answer.epoch,
        cursor: Cursor(answer.cursor),
        head: answer.head,
        more: answer.more,
        rows_left: answer.rows_left,
        ..Page::default()
    };
    for span in answer.covers {
        let bytes = |side: Option<String>| match side {
            None => Ok(None),
            Some(digits) => text::unhex(&digits).map(Some).ok_or("a span that is not hexadecimal"),
        };
        page.covers.push(Span { table: span.table, from: bytes(span.from)?, to: bytes(span.to)? });
    }
    for group in answer.groups {
        let columns: Arc<[String]> = group.columns.into();
        let mut key_at = Vec::with_capacity(group.key.len());
        for name in &group.key {
            let at = columns.iter().position(|column| column.eq_ignore_ascii_case(name));
            key_at.push(at.ok_or_else(|| format!("rows of {} without key column {name}", group.table))?);
        }
        if key_at.is_empty() {
            return Err(format!("rows of {} without a key", group.table));
        }
        for entry in group.rows {
            if entry.values.len() != columns.len() {
                return Err(format!("a row of {} is not as wide as its header", group.table));
            }
            let key = Key(key_at.iter().map(|at| entry.values[*at].clone()).collect());
            let writer = usize::try_from(entry.device).ok();
            let of = |list: &[String]| writer.and_then(|at| list.get(at)).cloned().unwrap_or_default();
            page.rows.push(RemoteRow {
                table: group.table.clone(),
                key,
                revision: entry.revision,
                stamp: entry.stamp,
                row: (!group.delete).then_some(entry.values),
                columns: columns.clone(),
                device: of(&group.devices),
                role: of(&group.roles),
            });
        }
    }
    if page.rows.iter().any(|row| row.revision <= Revision::NONE) {
        return Err("a row without a revision".to_owned());
    }
    Ok(page)
}

/// How a body is packed on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    Plain,
    Gzip,
    Zstd,
}

impl Packing {
    /// From a `Content-Encoding`; `None` for one this version does not know.
    pub fn named(encoding: &str) -> Option<Packing> {
        match encoding.trim() {
            "" | "identity" => Some(Packing::Plain),
            "gzip" => Some(Packing::Gzip),
            "zstd" => Some(Packing::Zstd),
            _ => None,
        }
    }

    /// The best of an `Accept-Encoding`.
    pub fn accepted(header: &str) -> Packing {
        let offers = |name: &str| {
            header.split(',').any(|offer| {
                let mut parts = offer.split(';').map(str::trim);
                parts.next() == Some(name) && parts.all(|part| part != "q=0")
            })
        };
        match () {
            () if offers("zstd") => Packing::Zstd,
            () if offers("gzip") => Packing::Gzip,
            () => Packing::Plain,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Packing::Plain => "identity",
            Packing::Gzip => "gzip",
            Packing::Zstd => "zstd",
        }
    }

    pub fn pack(self, body: &[u8]) -> std::io::Result<Vec<u8>> {
        match self {
            Packing::Plain => Ok(body.to_vec()),
            Packing::Gzip => {
                let mut packer = flate2::read::GzEncoder::new(body, flate2::Compression::fast());
                let mut out = Vec::new();
                packer.read_to_end(&mut out).map(|_| out)
            }
            Packing::Zstd => zstd::stream::encode_all(body, 1),
        }
    }

    /// The body, never more than `bytes_max` of it: a bomb is refused, not unpacked.
    pub fn unpack(self, packed: &[u8], bytes_max: usize) -> std::io::Result<Vec<u8>> {
        let too_large = || std::io::Error::new(std::io::ErrorKind::FileTooLarge, "the body unpacks to too much");
        if self == Packing::Plain && packed.len() > bytes_max {
            return Err(too_large());
        }
        // Rows pack to a quarter or less; what is announced by a small body is not believed.
        let mut out = Vec::with_capacity(packed.len().saturating_mul(5).min(bytes_max));
        self.reader(packed)?.take(bytes_max as u64 + 1).read_to_end(&mut out)?;
        if out.len() > bytes_max { Err(too_large()) } else { Ok(out) }
    }

    /// The body as it comes. How much of it is read is the reader's to bound.
    pub fn reader<'a>(self, packed: impl Read + 'a) -> std::io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Packing::Plain => Box::new(packed),
            Packing::Gzip => Box::new(flate2::read::GzDecoder::new(packed)),
            Packing::Zstd => {
                // A frame names the memory it wants before it brings a byte.
                let mut unpacker = zstd::stream::Decoder::new(packed)?;
                unpacker.window_log_max(24)?;
                Box::new(unpacker)
            }
        })
    }
}

/// Packs what is written to it.
pub enum Packer<W: Write> {
    Plain(W),
    Gzip(flate2::write::GzEncoder<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> Packer<W> {
    pub fn new(packing: Packing, out: W) -> std::io::Result<Packer<W>> {
        Ok(match packing {
            Packing::Plain => Packer::Plain(out),
            Packing::Gzip => Packer::Gzip(flate2::write::GzEncoder::new(out, flate2::Compression::fast())),
            Packing::Zstd => Packer::Zstd(zstd::stream::write::Encoder::new(out, 1)?),
        })
    }

    /// What it was written to, with the packing at its end.
    pub fn finish(self) -> std::io::Result<W> {
        match self {
            Packer::Plain(out) => Ok(out),
            Packer::Gzip(packer) => packer.finish(),
            Packer::Zstd(packer) => packer.finish(),
        }
    }
}

impl<W: Write> Write for Packer<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Packer::Plain(out) => out.write(bytes),
            Packer::Gzip(packer) => packer.write(bytes),
            Packer::Zstd(packer) => packer.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Packer::Plain(out) => out.flush(),
            Packer::Gzip(packer) => packer.flush(),
            Packer::Zstd(packer) => packer.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without the head, a push could not say what its sender had seen, and the remote
    /// would call every old deletion news.
    #[test]
    fn a_page_says_how_far_the_remote_had_come() {
        let answer = Pulled {
            protocol: crate::protocol::VERSION,
            epoch: "e".to_owned(),
            head: Revision(42),
            time: 0,
            cursor: "c".to_owned(),
            more: true,
            covers: Vec::new(),
            rows_left: Some(7),
            groups: Vec::new(),
        };
        let page = page(answer).unwrap();
        assert_eq!((page.head, page.cursor.0.as_str(), page.more, page.rows_left), (Revision(42), "c", true, Some(7)));
    }

    #[test]
    fn a_bomb_is_refused_whatever_its_packing() {
        let bomb = vec![0u8; 1 << 20];
        for packing in [Packing::Plain, Packing::Gzip, Packing::Zstd] {
            let packed = packing.pack(&bomb).unwrap();
            assert!(packing.unpack(&packed, 1000).is_err(), "{packing:?}");
            assert_eq!(packing.unpack(&packed, 1 << 20).unwrap(), bomb, "{packing:?}");
            let mut packer = Packer::new(packing, Vec::new()).unwrap();
            packer.write_all(&bomb).unwrap();
            assert_eq!(packing.unpack(&packer.finish().unwrap(), 1 << 20).unwrap(), bomb, "{packing:?}, bit by bit");
        }
    }
}
