//! What is published about the config: the reference of its keys in `docs/config.md`
//! and the JSON Schema that editors complete and check with.
//!
//! Both come from `keys`, and tests hold the files to them; `HOMING_WRITE_DOCS=1 cargo
//! test published` writes the files anew.

use serde_json::{Map, Value as Json, json};

use super::keys::{COLUMN_RULES, Key, Part};
use super::kind::Kind;
use super::preset::{self, Preset, preset};
use super::units::{in_bytes, in_units};
use crate::model::ColumnRule;
use crate::model::settings::Priority;

/// A table of keys for each section, as Markdown.
pub fn reference() -> String {
    let mut out = String::new();
    for part in Part::ALL {
        match part {
            Part::Top => out += "### At the top of the file\n",
            part => out += &format!("### `[{}]`\n", part.heading()),
        }
        out += match part {
            Part::Defaults => {
                "\nWhat holds for tables without a section of their own, and for keys that a table's section leaves out.\n"
            }
            Part::Table => {
                "\n`TABLE` is a table's name, in any case; in quotes when it is more than letters, digits, `_` and `-`.\n"
            }
            Part::Strategy => "\n`strategy` may be a word, or this section; in `defaults` it may be one as well.\n",
            _ => "",
        };
        out += "\n| key | takes | default | example | |\n|---|---|---|---|---|\n";
        for key in part.keys() {
            let default = match key.default {
                "" if key.required => "required".to_owned(),
                "" => String::new(),
                default => format!("`{default}`"),
            };
            let Key { name, example, about, .. } = key;
            out += &format!("| `{name}` | {} | {default} | `{example}` | {about} |\n", takes(key.kind));
        }
        if part == Part::Strategy {
            let rules = takes(COLUMN_RULES);
            out += &format!(
                "| `columns.COLUMN` | {rules} |  | `\"counter\"` | What this column comes to when both sides changed it. |\n"
            );
        }
        out += "\n";
    }
    out
}

/// What each preset sets, as a Markdown table.
pub fn presets() -> String {
    let off = |value: Option<String>| value.unwrap_or_else(|| "off".to_owned());
    type Show<'a> = &'a dyn Fn(&Preset) -> String;
    let rows: [(&str, Show); 19] = [
        ("schedule.every", &|preset| off(preset.schedule.every.map(in_units))),
        ("schedule.debounce", &|preset| in_units(preset.schedule.debounce)),
        ("schedule.debounce_max", &|preset| in_units(preset.schedule.debounce_max)),
        ("schedule.poll", &|preset| in_units(preset.schedule.poll)),
        ("schedule.backoff_first", &|preset| in_units(preset.schedule.backoff_first)),
        ("schedule.backoff_max", &|preset| in_units(preset.schedule.backoff_max)),
        ("remote.timeout", &|preset| in_units(preset.timeout)),
        ("limits.batch_rows_max", &|preset| preset.limits.batch_rows_max.to_string()),
        ("limits.batch_bytes_max", &|preset| in_bytes(preset.limits.batch_bytes_max as u64)),
        ("limits.batches_grow", &|preset| preset.limits.batches_grow.to_string()),
        ("limits.tries_max", &|preset| preset.limits.tries_max.to_string()),
        ("limits.pending_age_max", &|preset| off(preset.limits.pending_age_max.map(in_units))),
        ("limits.pending_rows_max", &|preset| off(preset.limits.pending_rows_max.map(|rows| rows.to_string()))),
        ("limits.lock_max", &|preset| in_units(preset.limits.lock_max)),
        ("limits.delete_share_max", &|preset| preset.limits.delete_share_max.to_string()),
        ("limits.delete_rows_min", &|preset| preset.limits.delete_rows_min.to_string()),
        ("limits.ledger_age_max", &|preset| in_units(preset.limits.ledger_age_max)),
        ("limits.ledger_rows_max", &|preset| preset.limits.ledger_rows_max.to_string()),
        ("limits.ledger_bytes_max", &|preset| in_bytes(preset.limits.ledger_bytes_max)),
    ];
    let mut out = String::from("| |");
    preset::NAMES.iter().for_each(|name| out += &format!(" {name} |"));
    out += "\n|---|---|---|---|\n";
    for (name, value) in rows {
        out += &format!("| `{name}` |");
        preset::NAMES.iter().for_each(|name| out += &format!(" {} |", value(&preset(name))));
        out += "\n";
    }
    out
}

/// The JSON Schema of the file.
pub fn schema() -> Json {
    let replica = section(
        Part::Replica,
        json!({
            "remote": section(Part::Remote, json!({})),
            "schedule": section(Part::Schedule, json!({})),
            "limits": section(Part::Limits, json!({})),
            "defaults": section(Part::Defaults, json!({"strategy": strategy()})),
            "tables": {
                "description": "Rules for single tables, by their names.",
                "type": "object",
                "additionalProperties": section(Part::Table, json!({"strategy": strategy()})),
            },
        }),
    );
    let mut schema = section(
        Part::Top,
        json!({
            "replica": {
                "description": "The databases that sync, by names of your own.",
                "type": "object",
                "propertyNames": {"pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"},
                "additionalProperties": replica,
            },
        }),
    );
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("Homing's config");
    schema
}

/// A word, or a section.
fn strategy() -> Json {
    let key = Part::Table.key("strategy").expect("BUG: every table has a strategy");
    let columns = json!({
        "description": "Rules for single columns, by their names.",
        "type": "object",
        "additionalProperties": {"enum": ColumnRule::WORDS},
    });
    let mut word = property(key);
    let about = word["description"].take();
    word.as_object_mut().expect("BUG: a property is an object").remove("description");
    json!({"anyOf": [word, section(Part::Strategy, json!({"columns": columns}))], "description": about})
}

fn section(part: Part, sections: Json) -> Json {
    let mut properties: Map<String, Json> =
        part.keys().iter().map(|key| (key.name.to_owned(), property(key))).collect();
    if let Json::Object(sections) = sections {
        properties.extend(sections);
    }
    let keys = part.keys().iter();
    let mut required: Vec<&str> = keys.filter(|key| key.required).map(|key| key.name).collect();
    if part == Part::Replica {
        required.push("remote");
    }
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn property(key: &Key) -> Json {
    const DURATION: &str = "[0-9]+(ms|s|m|h|d)( ?[0-9]+(ms|s|m|h|d))*";
    let mut property = match key.kind {
        Kind::Text | Kind::Path => json!({"type": "string", "minLength": 1}),
        Kind::Url => json!({"type": "string", "pattern": "^https?://[^@?#\\s]+$"}),
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Duration { off: false, .. } => json!({"type": "string", "pattern": format!("^{DURATION}$")}),
        Kind::Duration { off: true, .. } => json!({"type": "string", "pattern": format!("^(off|{DURATION})$")}),
        Kind::Count { min, max, off } => {
            let mut count = json!({"type": "integer", "minimum": min});
            if max < i64::MAX as u64 {
                count["maximum"] = json!(max);
            }
            if off { json!({"anyOf": [count, {"const": "off"}]}) } else { count }
        }
        Kind::Size { min } => json!({"anyOf": [
            {"type": "integer", "minimum": min},
            {"type": "string", "pattern": "^[0-9]+ ?([kKmMgG][iI]?)?[bB]?$"},
        ]}),
        Kind::Share => json!({"anyOf": [
            {"type": "number", "minimum": 0, "maximum": 1},
            {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?%$"},
        ]}),
        Kind::Priority => json!({"enum": [0, 1, 2, 3, 4, "critical", "high", "normal", "low", "background"]}),
        Kind::Word(words, _) => json!({"enum": words}),
        Kind::Map => json!({"type": "object", "additionalProperties": {"type": "string", "minLength": 1}}),
        Kind::List => json!({"type": "array", "items": {"type": "string", "minLength": 1}}),
    };
    property["description"] = json!(key.about);
    property
}

fn takes(kind: Kind) -> String {
    match kind {
        Kind::Word(words, _) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Kind::Priority => format!("{}, 0 to 4", Priority::WORDS.map(|word| format!("`{word}`")).join(", ")),
        other => other.what().replace('"', "`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The part of a document between the lines `<!-- name -->` and `<!-- /name -->`.
    fn hold(document: &str, name: &str, content: &str) -> String {
        let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
        let (before, rest) = document.split_once(&begin).unwrap_or_else(|| panic!("no {begin}"));
        let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("no {end}"));
        format!("{before}{begin}\n{}\n\n{end}{after}", content.trim())
    }

    fn check(file: &str, published: &str, expected: &str) {
        if std::env::var_os("HOMING_WRITE_DOCS").is_some() {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(file);
            std::fs::write(path, expected).unwrap();
        } else {
            assert!(published == expected, "docs/{file} is not what the code says; HOMING_WRITE_DOCS=1 writes it anew");
        }
    }

    #[test]
    fn the_published_reference_names_every_key_and_preset() {
        let document = include_str!("../../docs/config.md");
        let expected = hold(&hold(document, "keys", &reference()), "presets", &presets());
        check("config.md", document, &expected);
    }

    #[test]
    fn the_examples_of_the_document_are_configs() {
        let document = include_str!("../../docs/config.md");
        let examples: Vec<&str> =
            document.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
        assert!(examples.len() >= 2);
        let env = [("HOME".to_owned(), "/home/ada/".to_owned())];
        for example in examples {
            crate::config::parse(example, std::path::Path::new("/etc/homing/homing.toml"), &env)
                .unwrap_or_else(|error| panic!("{error}\n{example}"));
        }
    }

    #[test]
    fn the_published_schema_is_that_of_the_code() {
        let expected = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
        check("homing.schema.json", include_str!("../../docs/homing.schema.json"), &expected);
    }
}
