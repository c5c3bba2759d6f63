//! What is published about the types: `clients/typescript/types.d.ts`, made from the
//! OpenRPC document. `HOMING_WRITE_DOCS=1 cargo test ipc::published` writes it anew.

use serde_json::Value as Json;

use super::discover;

#[test]
fn the_types_of_the_typescript_client_are_those_of_the_agent() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/typescript/types.d.ts");
    let made = types();
    if std::env::var_os("HOMING_WRITE_DOCS").is_some() {
        std::fs::write(path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(kept == made, "{path} is out of date: run `HOMING_WRITE_DOCS=1 cargo test ipc::published`");
}

fn types() -> String {
    let document = discover::document();
    let mut out = String::from(
        "// What the agent answers, made from its own types. Answers may grow: ignore what you do not know.\n",
    );
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        out += &format!("\n{}", comment(schema, ""));
        match schema["properties"].as_object() {
            Some(_) => out += &format!("export interface {name} {}\n", members(schema, "")),
            None => out += &format!("export type {name} = {};\n", written(schema, "")),
        }
    }
    out
}

fn members(schema: &Json, indent: &str) -> String {
    let inner = format!("{indent}  ");
    let mut out = String::from("{\n");
    for (name, member) in schema["properties"].as_object().unwrap() {
        out += &format!("{}{inner}{name}: {};\n", comment(member, &inner), written(member, &inner));
    }
    out + indent + "}"
}

fn comment(schema: &Json, indent: &str) -> String {
    let Some(text) = schema["description"].as_str() else { return String::new() };
    format!("{indent}/** {} */\n", text.replace('\n', " "))
}

/// A schema as TypeScript writes it.
fn written(schema: &Json, indent: &str) -> String {
    if let Some(path) = schema["$ref"].as_str() {
        return path.rsplit('/').next().unwrap().to_owned();
    }
    if let Some(constant) = schema.get("const") {
        return constant.to_string();
    }
    for several in ["enum", "oneOf", "anyOf"] {
        if let Some(list) = schema[several].as_array() {
            let each = list.iter().map(|one| if several == "enum" { one.to_string() } else { written(one, indent) });
            return each.collect::<Vec<_>>().join(" | ");
        }
    }
    if let Some(list) = schema["type"].as_array() {
        let each = list.iter().map(|one| {
            let mut single = schema.clone();
            single["type"] = one.clone();
            written(&single, indent)
        });
        return each.collect::<Vec<_>>().join(" | ");
    }
    match schema["type"].as_str() {
        Some("string") => "string".to_owned(),
        Some("integer" | "number") => "number".to_owned(),
        Some("boolean") => "boolean".to_owned(),
        Some("null") => "null".to_owned(),
        Some("array") => match schema["prefixItems"].as_array() {
            Some(items) => {
                let each: Vec<String> = items.iter().map(|item| written(item, indent)).collect();
                format!("[{}]", each.join(", "))
            }
            None => match written(&schema["items"], indent) {
                item if item.contains([' ', '|']) => format!("({item})[]"),
                item => format!("{item}[]"),
            },
        },
        Some("object") => match schema.get("additionalProperties") {
            Some(values) => format!("Record<string, {}>", written(values, indent)),
            None => members(schema, indent),
        },
        _ => "unknown".to_owned(),
    }
}
