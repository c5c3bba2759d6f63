//! Rows to test with: of a table that needs no other, harmless and easy to know again.
//!
//! Columns that may be NULL are, but for the one that carries the text; those that may
//! not get a plain value of their form. Nothing of the app's own rows is ever sent.

use crate::model::settings::{Replica, Wire};
use crate::model::{Column, ForeignKey, Key, Table, Value};

/// The table that the checks write to.
#[derive(Clone, Debug)]
pub struct Sample {
    pub table: Table,
    /// The column that carries the text.
    pub text: String,
    /// One with whole numbers, and one with reals, where there are.
    pub whole: Option<String>,
    pub real: Option<String>,
    wire: Wire,
}

impl Sample {
    /// Of the tables that sync, the first that stands alone and has a column for text.
    pub fn choose(replica: &Replica, tables: &[Table]) -> Option<Sample> {
        let mut fit: Vec<Sample> = tables.iter().filter_map(|table| Sample::of(replica, table, &[])).collect();
        fit.sort_by_key(|sample| sample.table.foreign_keys.len());
        fit.into_iter().next()
    }

    /// `given`: columns whose values somebody else brings.
    fn of(replica: &Replica, table: &Table, given: &[String]) -> Option<Sample> {
        let wire = replica.rule(&table.name).wire.clone();
        let needs = |key: &ForeignKey| {
            let column = |name: &String| table.columns.iter().find(|column| column.name == *name);
            !key.columns.iter().all(|name| given.contains(name))
                && key
                    .columns
                    .iter()
                    .any(|name| column(name).is_some_and(|column| column.not_null) || table.key.contains(name))
        };
        if wire.singleton.is_some() || table.foreign_keys.iter().any(needs) {
            return None;
        }
        let mut sample =
            Sample { table: table.clone(), text: String::new(), whole: None, real: None, wire: wire.clone() };
        let free = |column: &&Column| sample.is_free(column);
        let named = |found: Option<&Column>| found.map(|column| column.name.clone());
        let columns: Vec<&Column> = table.columns.iter().filter(free).collect();
        let of_type = |words: &[&str]| {
            let fits = |column: &&&Column| words.iter().any(|word| column.declared.to_ascii_uppercase().contains(word));
            named(columns.iter().find(fits).copied())
        };
        let (text, whole, real) = (of_type(&["TEXT", "CHAR", "CLOB"])?, of_type(&["INT"]), of_type(&["REAL", "DOUB"]));
        (sample.text, sample.whole, sample.real) = (text, whole, real);
        Some(sample)
    }

    /// A table with a reference to this one, and the column that refers.
    pub fn child(&self, replica: &Replica, tables: &[Table]) -> Option<(Sample, String)> {
        tables.iter().find_map(|table| {
            let refers = |key: &&ForeignKey| {
                key.parent.eq_ignore_ascii_case(&self.table.name)
                    && key.columns.len() == 1
                    && key.parent_columns == self.table.key
                    && table.name != self.table.name
            };
            let column = table.foreign_keys.iter().find(refers)?.columns[0].clone();
            let sample = Sample::of(replica, table, std::slice::from_ref(&column))?;
            (!table.key.contains(&column)).then_some((sample, column))
        })
    }

    pub fn key(&self) -> Key {
        let value = |name: &String| {
            let random = uuid::Uuid::new_v4();
            let column = self.table.columns.iter().find(|column| column.name == *name);
            match column.is_some_and(|column| column.declared.to_ascii_uppercase().contains("INT")) {
                true => Value::Integer((random.as_u128() & 0xff_ffff_ffff) as i64),
                false => Value::Text(random.to_string()),
            }
        };
        Key(self.table.key.iter().map(value).collect())
    }

    /// A row of this key, the text in its place, with every column that goes.
    pub fn row(&self, key: &Key, text: &str) -> Vec<(String, Value)> {
        self.row_with(key, &[(&self.text, Value::Text(text.to_owned()))])
    }

    pub fn row_with(&self, key: &Key, set: &[(&str, Value)]) -> Vec<(String, Value)> {
        let value = |column: &Column| {
            if let Some(at) = self.table.key.iter().position(|name| *name == column.name) {
                return key.0[at].clone();
            }
            let given = set.iter().find(|(name, _)| *name == column.name);
            given.map_or_else(|| self.plain(column), |(_, value)| value.clone())
        };
        let goes = self.table.columns.iter().filter(|column| self.goes(&column.name));
        goes.map(|column| (column.name.clone(), value(column))).collect()
    }

    /// Whether the text's column may be NULL.
    pub fn may_be_null(&self) -> bool {
        self.table.columns.iter().any(|column| column.name == self.text && !column.not_null)
    }

    /// Whether what is written into the column comes back in it.
    fn is_free(&self, column: &Column) -> bool {
        let name = &column.name;
        let has_meaning = [&self.wire.deleted_field, &self.wire.modified_field, &self.wire.version_field];
        self.goes(name)
            && !self.table.key.contains(name)
            && !self.table.foreign_keys.iter().any(|key| key.columns.contains(name))
            && !self.table.unique.iter().any(|unique| unique.columns.contains(name))
            && !self.wire.forms.contains_key(name)
            && !has_meaning.into_iter().flatten().any(|field| field == name)
    }

    fn goes(&self, name: &str) -> bool {
        let listed = |list: &[String]| list.iter().any(|column| column.eq_ignore_ascii_case(name));
        !listed(&self.wire.local_columns) && !listed(&self.wire.server_columns)
    }

    fn plain(&self, column: &Column) -> Value {
        let (name, declared) = (&column.name, column.declared.to_ascii_uppercase());
        let is_mark = self.wire.deleted_field.as_ref() == Some(name);
        if !column.not_null || (is_mark && declared.contains("TEXT")) {
            return Value::Null;
        }
        let (whole, real) = (declared.contains("INT"), declared.contains("REAL") || declared.contains("DOUB"));
        let word = |word: &str| Value::Text(word.to_owned());
        match self.wire.forms.get(name).map(String::as_str) {
            _ if is_mark => Value::Integer(0),
            Some("boolean") => Value::Integer(0),
            Some("json") => word("{}"),
            Some("seconds" | "milliseconds" | "iso8601") if whole => Value::Integer(1_767_225_600_000),
            Some("seconds" | "milliseconds" | "iso8601") => word("2026-01-01T00:00:00.000Z"),
            _ if whole => Value::Integer(1),
            _ if real => Value::Real(1.5),
            _ if declared.contains("BLOB") => Value::Blob(vec![0, 255]),
            // An app's own time of change, as text.
            _ if self.wire.modified_field.as_ref() == Some(name) => word("2026-01-01T00:00:00.000Z"),
            _ => word("conformance"),
        }
    }
}
