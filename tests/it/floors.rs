//! Who may use whom, held as a test and not as a habit.
//!
//! Reads every file under `src`, finds each path that leads into another of the crate's
//! modules, however it is written (`use crate::{a, b}`, `crate::a::f()`, `super::super::a`,
//! `homing::a` in the binary), and compares with `FLOORS`. `docs/architecture.md` shows
//! the same table to people.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Each module with those it may use. `model` is open to all; `main` is the binary.
const FLOORS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("engine", &[]),
    ("protocol", &[]),
    ("config", &[]),
    ("sqlite", &[]),
    ("store", &["sqlite"]),
    ("ipc", &["sqlite"]),
    ("remote", &["protocol", "config", "sqlite"]),
    ("hub", &["protocol", "config", "sqlite"]),
    ("agent", &["engine", "protocol", "config", "sqlite", "store", "ipc", "remote"]),
    ("simulate", ALL),
    ("cli", ALL),
    ("main", ALL),
];

const ALL: &[&str] =
    &["engine", "protocol", "config", "sqlite", "store", "ipc", "remote", "hub", "agent", "simulate", "cli"];

/// What the two pure floors never touch: files, networks, clocks, threads, logs.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "std::env",
    "std::io",
    "SystemTime",
    "Instant",
    "tokio",
    "tracing",
    "rusqlite",
    "reqwest",
    "axum",
    "async",
    "println",
    "eprintln",
];
const PURE: &[&str] = &["model", "engine"];

#[test]
fn every_module_keeps_to_its_floor() {
    let mut strays = Vec::new();
    for (file, module, code) in sources() {
        let Some((_, allowed)) = FLOORS.iter().find(|(name, _)| *name == module) else {
            strays.push(format!("{file}: `{module}` has no floor; give it one in FLOORS and in docs/architecture.md"));
            continue;
        };
        for used in modules_used(&code, &path_of(&file)) {
            let free = used == module || used == "model" || allowed.contains(&used.as_str());
            if !free && FLOORS.iter().any(|(name, _)| *name == used) {
                strays.push(format!("{file}: `{module}` may not use `{used}`"));
            }
        }
    }
    assert!(strays.is_empty(), "\n{}", strays.join("\n"));
}

#[test]
fn the_pure_floors_have_no_clock_no_files_and_no_network() {
    let mut strays = Vec::new();
    for (file, module, code) in sources().into_iter().filter(|(_, module, _)| PURE.contains(&module.as_str())) {
        let words: Vec<&str> = IMPURE.iter().copied().filter(|word| mentions(&code, word)).collect();
        strays.extend(words.iter().map(|word| format!("{file}: `{module}` uses `{word}`")));
    }
    assert!(strays.is_empty(), "\n{}", strays.join("\n"));
}

#[test]
fn every_way_of_writing_a_path_is_seen() {
    for (code, file, expected) in [
        ("use crate::hub::Hub;", "store/outbox", "hub"),
        ("use crate::{\n    model::Key,\n    hub::{self, Hub},\n};", "store/outbox", "hub model"),
        ("pub(crate) use crate::hub as far;", "store/mod", "hub"),
        ("fn f() { crate::hub::start(); }", "store/mod", "hub"),
        ("use super::super::hub;", "store/outbox", "hub"),
        ("use super::outbox;", "store/log", "store"),
        ("use super::super::{model, ipc::client};", "store/outbox", "ipc model"),
        ("use super::super::super::hub;", "remote/homing/live", "hub"),
        ("mod tests { use super::*; use super::super::log; }", "store/outbox", "store"),
        ("use homing::hub::serve;", "main", "hub"),
        ("use super::hub;", "cli", "hub"),
        ("// use crate::hub::Hub;\n/* crate::ipc */ /// [`crate::cli`]", "store/mod", ""),
        ("let text = \"crate::hub\"; let raw = r#\"crate::\"ipc\"#;", "store/mod", ""),
        ("let quote = '\"'; use crate::hub; let other = '\"';", "store/mod", "hub"),
        ("fn f<'a>(x: &'a str) { crate::hub::g(x) }", "store/mod", "hub"),
    ] {
        let used = modules_used(&bare(code), &path_of(&format!("src/{file}.rs")));
        assert_eq!(used.into_iter().collect::<Vec<_>>().join(" "), expected, "{code}");
    }
    assert!(mentions("let now = Instant::now();", "Instant") && !mentions("let instantly = 1;", "Instant"));
}

/// Every file under `src`: its path, its top module, its code without comments and texts.
fn sources() -> Vec<(String, String, String)> {
    let mut files = Vec::new();
    collect(&root().join("src"), &mut files);
    assert!(files.len() > 30, "the sources are not where they are looked for");
    let sources = files.into_iter().filter_map(|path| {
        let file = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
        let module = path_of(&file).into_iter().next().unwrap_or_else(|| "lib".to_owned());
        // `lib.rs` names every module and uses none.
        (module != "lib").then(|| (file, module, bare(&std::fs::read_to_string(&path).unwrap())))
    });
    sources.collect()
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => collect(&path, files),
            false if path.extension().is_some_and(|kind| kind == "rs") => files.push(path),
            false => {}
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The module path of a file: `src/store/outbox.rs` is `[store, outbox]`.
fn path_of(file: &str) -> Vec<String> {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    let mut parts: Vec<String> = path.split('/').map(str::to_owned).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib")) {
        parts.pop();
    }
    parts
}

/// The top modules that `code` names, seen from the module at `here`.
fn modules_used(code: &str, here: &[String]) -> BTreeSet<String> {
    let tokens = tokens(code);
    let mut used = BTreeSet::new();
    // Inline modules (`mod tests {`) are one deeper: `super` there is the file itself.
    let mut inline: Vec<i32> = Vec::new();
    let mut depth = 0;
    let mut at = 0;
    while at < tokens.len() {
        let follows = tokens.get(at + 1).is_some_and(|next| next == "::");
        match tokens[at].as_str() {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                inline.retain(|opened| *opened <= depth);
            }
            "mod" if tokens.get(at + 2).is_some_and(|next| next == "{") => inline.push(depth + 1),
            "crate" | "homing" if follows => {
                // In the library `homing` is a kind of remote, in the binary the library.
                let rooted = tokens[at] == "crate" || here == ["main"];
                if rooted && (at == 0 || tokens[at - 1] != "::") {
                    used.extend(heads(&tokens[at + 2..]));
                }
            }
            "super" if follows && (at == 0 || tokens[at - 1] != "::") => {
                let mut climbed = 1;
                while tokens.get(at + 2 * climbed).is_some_and(|token| token == "super") {
                    climbed += 1;
                }
                match (here.len() + inline.len()).checked_sub(climbed) {
                    Some(0) => used.extend(heads(&tokens[at + 2 * climbed..])),
                    _ => used.extend(here.first().cloned()),
                }
                at += 2 * climbed - 1;
            }
            _ => {}
        }
        at += 1;
    }
    used
}

/// The first names after `crate::`: one, or those of a `{ … }` group.
fn heads(tokens: &[String]) -> Vec<String> {
    if tokens.first().is_none_or(|token| token != "{") {
        return tokens.first().cloned().into_iter().collect();
    }
    let mut depth = 0;
    let mut names = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            name if depth == 1 && matches!(tokens[at - 1].as_str(), "{" | ",") => names.push(name.to_owned()),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

/// Names, `::`, and single marks.
fn tokens(code: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let name = |mark: char| mark.is_alphanumeric() || mark == '_';
        let length = match first {
            mark if name(mark) => rest.find(|mark| !name(mark)).unwrap_or(rest.len()),
            ':' if rest.starts_with("::") => 2,
            mark => mark.len_utf8(),
        };
        if !first.is_whitespace() {
            tokens.push(rest[..length].to_owned());
        }
        rest = &rest[length..];
    }
    tokens
}

fn mentions(code: &str, path: &str) -> bool {
    let wanted = tokens(path);
    tokens(code).windows(wanted.len()).any(|window| window == wanted)
}

/// The code with comments, texts and characters taken out.
fn bare(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let skipped = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => text_end(rest),
            'r' if !out.ends_with(|mark: char| mark.is_alphanumeric() || mark == '_') => raw_end(rest).unwrap_or(0),
            '\'' => character_end(rest).unwrap_or(0),
            _ => 0,
        };
        if skipped == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            out.push(' ');
            rest = &rest[skipped..];
        }
    }
    out
}

fn text_end(code: &str) -> usize {
    let mut escaped = false;
    for (at, mark) in code.char_indices().skip(1) {
        match mark {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// `r"…"` and `r#"…"#`.
fn raw_end(code: &str) -> Option<usize> {
    let hashes = code[1..].bytes().take_while(|byte| *byte == b'#').count();
    let content = code[1 + hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    Some(content.find(&close).map_or(code.len(), |at| 2 + hashes + at + close.len()))
}

/// `'x'` and `'\n'`; a lifetime is none.
fn character_end(code: &str) -> Option<usize> {
    let mut marks = code.char_indices().skip(1);
    let (_, first) = marks.next()?;
    if first == '\\' {
        marks.next()?;
        return marks.find(|(_, mark)| *mark == '\'').map(|(at, _)| at + 1);
    }
    marks.next().filter(|(_, mark)| *mark == '\'').map(|(at, _)| at + 1)
}
