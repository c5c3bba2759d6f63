//! An example or two for each command, at the end of its `--help` and of its man page.
//!
//! One list, so that a test can try each line against the commands as they are.

use clap::Command;

/// The command, and lines that a person might type.
pub const EXAMPLES: &[(&str, &[&str])] = &[
    ("agent", &["homing agent --config homing.toml"]),
    (
        "hub",
        &[
            "homing hub --data hub-data",
            "homing hub --data hub-data --listen 0.0.0.0:4747 --tls-cert hub.pem --tls-key hub.key",
        ],
    ),
    (
        "hub token",
        &[
            "homing hub token --data hub-data --account ada",
            "homing hub token --data hub-data --account ada --scope family --ttl 1h",
        ],
    ),
    ("hub revoke", &["homing hub revoke --data hub-data --account ada"]),
    ("hub backup", &["homing hub backup --data hub-data copy-of-today"]),
    ("init", &["homing init notes.db --hub https://hub.example.org --token-file token --output homing.toml"]),
    ("attach", &["homing attach notes"]),
    ("detach", &["homing detach notes"]),
    ("status", &["homing status", "homing status --watch", "homing status notes --json"]),
    ("sync", &["homing sync", "homing sync notes --wait --timeout 10s"]),
    ("pause", &["homing pause notes"]),
    ("resume", &["homing resume notes"]),
    ("queue", &["homing queue list"]),
    ("queue list", &["homing queue list notes --table tasks"]),
    ("queue show", &["homing queue show notes tasks 7"]),
    ("queue retry", &["homing queue retry notes --all", "homing queue retry notes tasks 7"]),
    ("queue discard", &["homing queue discard notes tasks 7"]),
    ("conflicts", &["homing conflicts list --open"]),
    ("conflicts list", &["homing conflicts list notes --open"]),
    ("conflicts show", &["homing conflicts show 3"]),
    ("conflicts resolve", &["homing conflicts resolve 3 --take local", "homing conflicts resolve 3 --set title=Both"]),
    ("conflicts undo", &["homing conflicts undo 3"]),
    ("history", &["homing history notes --limit 100"]),
    ("explain", &["homing explain notes tasks 7"]),
    ("plan", &["homing plan notes"]),
    ("verify", &["homing verify notes", "homing verify notes --repair"]),
    ("top", &["homing top", "homing top --once"]),
    ("metrics", &["homing metrics > /var/lib/node_exporter/homing.prom"]),
    ("telemetry", &["homing telemetry"]),
    ("telemetry show", &["homing telemetry show"]),
    ("telemetry on", &["homing telemetry on"]),
    ("telemetry off", &["homing telemetry off"]),
    ("doctor", &["homing doctor", "homing doctor --all --offline"]),
    ("service", &["homing service install"]),
    (
        "service install",
        &[
            "homing service install",
            "sudo homing service install --system --account ada",
            "homing service install --dry-run",
        ],
    ),
    ("service uninstall", &["homing service uninstall"]),
    ("service status", &["homing service status"]),
    ("validate", &["homing validate --config homing.toml"]),
    ("test", &["homing test --config homing.toml", "homing test --cases rules.cases.toml"]),
    (
        "conformance",
        &[
            "homing conformance https://sync.example.org --config homing.toml --token-file scratch-token",
            "homing conformance https://hub.example.org --token-file scratch-token --other-token-file other-token",
        ],
    ),
    ("demo", &["homing demo --keep demo-files"]),
    ("simulate", &["homing simulate --seeds 1000", "homing simulate --seed 42"]),
    ("completions", &["homing completions bash > ~/.local/share/bash-completion/completions/homing"]),
    ("man", &["homing man | man -l -", "homing man queue list | man -l -", "homing man --output man1"]),
];

/// The command line with an example under each command.
pub fn put_under(command: Command) -> Command {
    EXAMPLES.iter().fold(command, |command, (path, lines)| {
        let names: Vec<&str> = path.split(' ').collect();
        let shown: Vec<String> = lines.iter().map(|line| format!("  {line}")).collect();
        under(command, &names, format!("Examples:\n{}", shown.join("\n")))
    })
}

fn under(command: Command, path: &[&str], text: String) -> Command {
    match path.split_first() {
        None => command.after_help(text),
        Some((first, rest)) => command.mut_subcommand(*first, |inner| under(inner, rest, text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command;

    #[test]
    fn every_command_has_an_example_that_is_a_command() {
        for (path, lines) in EXAMPLES {
            for line in *lines {
                let typed = line.split([' ']).skip_while(|word| *word == "sudo");
                let typed: Vec<&str> = typed.take_while(|word| !matches!(*word, "|" | ">")).collect();
                let parsed = command().try_get_matches_from(&typed);
                assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
                assert!(typed[1..].starts_with(&path.split(' ').collect::<Vec<_>>()), "{line} is no {path}");
            }
        }
        let mut silent = Vec::new();
        look(&command(), "", &mut silent);
        assert!(silent.is_empty(), "without an example: {silent:?}");
    }

    fn look(command: &Command, path: &str, silent: &mut Vec<String>) {
        for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
            let path = format!("{path} {}", inner.get_name());
            if inner.get_after_help().is_none_or(|text| !text.to_string().starts_with("Examples:\n")) {
                silent.push(path.trim().to_owned());
            }
            look(inner, &path, silent);
        }
    }
}
