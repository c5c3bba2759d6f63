//! The rules of the house that a machine can check: what every file begins with, what
//! no file says, and that the documents point at things that are there.

use std::path::{Path, PathBuf};

#[test]
fn every_source_file_says_first_what_it_is() {
    let silent: Vec<String> = files()
        .into_iter()
        .filter(|file| file.extension().is_some_and(|kind| kind == "rs"))
        .filter(|file| !text(file).starts_with("//! "))
        .map(|file| name(&file))
        .collect();
    assert!(silent.is_empty(), "without a `//!` comment at the top: {silent:?}");
}

#[test]
fn no_file_names_the_machine_it_was_written_on() {
    // Put together here, so that this file does not name them either.
    let places = [["/ho", "me/"], ["/ro", "ot/"], ["/wo", "rk/"], ["/Us", "ers/"], ["C:\\Us", "ers"]];
    let forbidden: Vec<String> = places.iter().map(|parts| parts.concat()).collect();
    // The invented person of the examples.
    let example = format!("{}ada/", forbidden[0]);
    let mut found = Vec::new();
    for file in files() {
        let content = text(&file).replace(&example, "");
        let words = forbidden.iter().filter(|word| content.contains(word.as_str()));
        found.extend(words.map(|word| format!("{}: {word}", name(&file))));
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn nothing_is_left_as_a_note_to_oneself() {
    let notes: Vec<String> = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"]].iter().map(|parts| parts.concat()).collect();
    let mut found = Vec::new();
    for file in files() {
        let content = text(&file);
        let words =
            content.split(|mark: char| !mark.is_alphanumeric()).filter(|word| notes.iter().any(|note| note == word));
        found.extend(words.map(|word| format!("{}: {word}", name(&file))));
    }
    assert!(found.is_empty(), "an open end belongs into a decision or an issue:\n{}", found.join("\n"));
}

/// Whoever is told that something failed is told what to do next, too.
#[test]
fn every_error_has_a_hint() {
    let mut bare = Vec::new();
    let is_source = |file: &PathBuf| name(file).starts_with("src/") && !name(file).ends_with("tests.rs");
    for file in files().into_iter().filter(is_source) {
        let whole = text(&file);
        let content = whole.split("#[cfg(test)]").next().unwrap_or_default();
        for start in ["Failure::new(", "Fault::new(", "CallError::new("] {
            for (at, _) in content.match_indices(start) {
                let made = arguments(&content[at + start.len()..]);
                // One says nothing at all: its reader has gone.
                let silent = made.trim_start().starts_with("Exit::Done,");
                if made.trim_end().trim_end_matches(',').ends_with(" \"\"") && !silent {
                    bare.push(format!("{}: {start}{made})", name(&file)));
                }
            }
        }
    }
    assert!(bare.is_empty(), "errors that do not say what to do next:\n{}", bare.join("\n"));
}

/// What stands between a parenthesis that was just opened and the one that closes it.
fn arguments(text: &str) -> &str {
    let (mut depth, mut quoted, mut escaped) = (1, false, false);
    for (at, mark) in text.char_indices() {
        match mark {
            _ if std::mem::take(&mut escaped) => {}
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[..at];
        }
    }
    text
}

#[test]
fn documents_link_only_to_what_is_there() {
    let mut broken = Vec::new();
    for file in files().into_iter().filter(|file| file.extension().is_some_and(|kind| kind == "md")) {
        for target in links(&text(&file)) {
            let path = target.split('#').next().unwrap_or_default();
            let outside = ["http:", "https:", "mailto:"].iter().any(|scheme| target.starts_with(scheme));
            if !outside && !path.is_empty() && !file.parent().unwrap().join(path).exists() {
                broken.push(format!("{}: {target}", name(&file)));
            }
        }
    }
    assert!(broken.is_empty(), "links to nowhere:\n{}", broken.join("\n"));
}

#[test]
fn every_decision_is_in_the_list_of_decisions() {
    let dir = root().join("docs/decisions");
    let listed = links(&text(&dir.join("README.md")));
    let pages = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let lost: Vec<String> = pages.filter(|page| page != "README.md" && !listed.contains(page)).collect();
    assert!(lost.is_empty(), "not in docs/decisions/README.md: {lost:?}");
}

#[test]
fn every_promise_is_shown_by_tests_that_there_are() {
    let page = text(&root().join("docs/promises.md"));
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    let mut named = 0;
    let mut lost = Vec::new();
    for name in rows.flat_map(|row| row.split('`').skip(1).step_by(2)).filter(|name| name.contains("::")) {
        let (place, test) = name.rsplit_once("::").unwrap();
        let files = match place.starts_with("src/") {
            true => vec![root().join(place)],
            false => ["", "backends/"].map(|dir| root().join(format!("tests/it/{dir}{place}.rs"))).to_vec(),
        };
        let there = files.iter().filter(|file| file.exists()).any(|file| {
            let code = text(file);
            code.split("#[test]").skip(1).any(|after| after.trim_start().starts_with(&format!("fn {test}(")))
        });
        named += 1;
        if !there {
            lost.push(name);
        }
    }
    assert!(named > 50, "the page names {named} tests");
    assert!(lost.is_empty(), "docs/promises.md names tests that there are not: {lost:#?}");
}

#[test]
fn every_module_is_on_the_map() {
    let map = text(&root().join("docs/architecture.md"));
    let modules = std::fs::read_dir(root().join("src")).unwrap().map(|entry| entry.unwrap().file_name());
    let modules = modules.map(|name| name.into_string().unwrap().trim_end_matches(".rs").to_owned());
    let lost: Vec<String> = modules.filter(|module| !map.contains(&format!("`src/{module}"))).collect();
    assert!(lost.is_empty(), "not in the map of src in docs/architecture.md: {lost:?}");
}

#[test]
fn links_are_found_as_they_are_written() {
    let page = "see [a](x.md), [b](y/z.md#part) and ![c](d.png)\n```\n[not](a-link)\n```\n`[nor](this)`";
    assert_eq!(links(page), ["x.md", "y/z.md#part", "d.png"]);
}

/// The targets of a Markdown text's inline links, code left out.
fn links(page: &str) -> Vec<String> {
    let mut targets = Vec::new();
    let mut fenced = false;
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        let prose: String = line.split('`').step_by(2).collect();
        for after in prose.split("](").skip(if fenced { usize::MAX } else { 1 }) {
            targets.extend(after.split(')').next().map(|target| target.trim().to_owned()));
        }
    }
    targets
}

/// Every text file of the project: neither built, nor git's own.
fn files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    collect(&root(), &mut files);
    assert!(files.len() > 40, "the project's files are not where they are looked for");
    files
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    const LEFT_OUT: [&str; 3] = ["target", ".git", "Cargo.lock"];
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let left_out = path.file_name().is_some_and(|name| LEFT_OUT.iter().any(|left| name == *left));
        match path.is_dir() {
            _ if left_out => {}
            true => collect(&path, files),
            false if std::fs::read_to_string(&path).is_ok() => files.push(path),
            false => {}
        }
    }
}

fn text(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn name(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).display().to_string()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
