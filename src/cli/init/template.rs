//! The config that `init` writes: what must be there, and the rest as comments.

use super::survey::Survey;
use crate::cli::words;
use crate::model::text::printable;

pub struct Plan<'a> {
    pub name: &'a str,
    pub database: &'a str,
    pub hub: &'a str,
    pub token_file: Option<String>,
}

pub fn render(plan: &Plan, survey: &Survey) -> String {
    let name = plan.name;
    let token = match &plan.token_file {
        Some(file) => format!("token_file = {}", quoted(file)),
        None => "# token_file = \"/path/to/token\"     # or token_command, or token_env".to_owned(),
    };
    let mut out = format!(
        "# Homing's config, written by `homing init`. Check it with `homing validate`.\n\
         \n\
         [replica.{name}]\n\
         database = {}\n\
         # preset = \"production\"               # or development, offline-heavy\n",
        quoted(plan.database),
    );
    if !survey.refused.is_empty() {
        out.push_str("# These cannot sync:\n");
        for (table, why) in &survey.refused {
            out.push_str(&format!("#   {}: {}\n", printable(table), printable(why)));
        }
    }
    out.push_str(&format!(
        "# exclude = [\"a table that stays here\"]\n\
         \n\
         [replica.{name}.remote]\n\
         kind = \"homing\"\n\
         url = {}\n\
         {token}\n\
         \n\
         # [replica.{name}.schedule]\n\
         # every = \"5m\"                        # beside debounce, reconnect and live hints\n\
         # debounce = \"3s\"\n",
        quoted(plan.hub),
    ));
    if !survey.tables.is_empty() {
        out.push_str("\n# Every table with a primary key syncs, parents first:\n");
    }
    for one in &survey.tables {
        let key = printable(&one.table.key.join(", "));
        let rows = words::count(one.rows, "row");
        out.push_str(&format!("#   {} ({key}), {rows}\n", printable(&one.table.name)));
    }
    if let Some(one) = survey.tables.first() {
        out.push_str(&format!(
            "# A section of its own overrides a table's defaults:\n\
             # [replica.{name}.tables.{}]\n\
             # strategy = \"latest_timestamp\"       # or server_wins\n\
             # priority = \"normal\"                 # critical, high, normal, low, background\n",
            table_key(&one.table.name),
        ));
    }
    out
}

/// A TOML string. JSON's escapes are TOML's, but for DEL.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("BUG: a string is always JSON").replace('\u{7f}', "\\u007f")
}

/// A table's name as a TOML key.
fn table_key(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "_-".contains(letter));
    if bare { name.to_owned() } else { quoted(name) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::init::survey::survey;

    fn parsed(config: &str) -> toml::Table {
        config.parse().unwrap_or_else(|error| panic!("{error}\n{config}"))
    }

    fn sample() -> String {
        let mut db = rusqlite::Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE \"od]d \"\"na\nme\"(id TEXT PRIMARY KEY); CREATE TABLE bare(x);").unwrap();
        let plan = Plan {
            name: "notes",
            database: "/home/ada/\"q\"\\ö\u{7f}\n.db",
            hub: "https://hub.example.org",
            token_file: Some("/home/ada/token".into()),
        };
        render(&plan, &survey(&mut db).unwrap())
    }

    #[test]
    fn what_is_written_is_toml_whatever_the_names() {
        let config = parsed(&sample());
        let notes = &config["replica"]["notes"];
        assert_eq!(notes["database"].as_str(), Some("/home/ada/\"q\"\\ö\u{7f}\n.db"));
        assert_eq!(notes["remote"]["url"].as_str(), Some("https://hub.example.org"));
        assert_eq!(notes["remote"]["token_file"].as_str(), Some("/home/ada/token"));
    }

    /// What is offered as a comment works when its `# ` is taken away.
    #[test]
    fn the_settings_in_comments_are_toml_too() {
        let uncommented: Vec<String> = sample()
            .lines()
            .filter(|line| !line.starts_with("#   ") && !line.ends_with(':') && !line.contains('`'))
            .map(|line| line.trim_start_matches("# ").to_owned())
            .collect();
        let config = parsed(&uncommented.join("\n"));
        let notes = &config["replica"]["notes"];
        assert_eq!(notes["schedule"]["every"].as_str(), Some("5m"));
        assert_eq!(notes["tables"]["od]d \"na\nme"]["priority"].as_str(), Some("normal"));
    }
}
