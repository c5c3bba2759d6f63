//! `homing init`: looks at a database and writes a config for it.
//!
//! The database is only read: nothing is made, changed or left beside it. What cannot
//! sync, and what will need care, is said before anything is attached. The config is the
//! one thing that is written, and never over another without `--force`.

mod open;
mod report;
mod survey;
mod template;
mod triggers;

pub use open::read_only;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;

#[derive(clap::Args)]
pub struct Args {
    /// The app's database file.
    #[arg(value_name = "APP.db")]
    database: PathBuf,
    /// Where it is to be kept in step with.
    #[arg(long, value_name = "URL", value_parser = hub_url)]
    hub: String,
    /// A file that holds the token for the hub.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Where the config goes; - prints it.
    #[arg(long, value_name = "FILE", default_value = "homing.toml")]
    output: PathBuf,
    /// Write over a config that is there.
    #[arg(long)]
    force: bool,
}

pub fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let (database, mut db) = open::read_only(&args.database)?;
    let survey = survey::survey(&mut db).map_err(|error| open::failure(&database, &error))?;
    let name = replica_name(&database);
    let plan = template::Plan {
        name: &name,
        database: utf8(&database)?,
        hub: &args.hub,
        token_file: args.token_file.as_deref().map(absolute).transpose()?,
    };
    let config = template::render(&plan, &survey);
    let prints = args.output == Path::new("-");
    if !prints {
        write(&args.output, &config, args.force)?;
    }
    let written = (!prints).then_some(args.output.as_path());
    if context.json {
        context.print(&report::document(&plan, &survey, &config, written))?;
    } else {
        let text = report::render(&plan, &survey, written, &context.paint, context.width);
        if prints {
            context.say(&text);
            context.print(&config)?;
        } else {
            context.print(&text)?;
        }
    }
    Ok(Exit::Done)
}

fn hub_url(typed: &str) -> Result<String, String> {
    let host = typed.strip_prefix("https://").or_else(|| typed.strip_prefix("http://"));
    match host {
        Some(host) if !host.is_empty() && !host.starts_with('/') => Ok(typed.to_owned()),
        _ => Err("expected http:// or https:// and a host".to_owned()),
    }
}

/// The file's name in lower case, with nothing in it that TOML would have quoted.
fn replica_name(database: &Path) -> String {
    let stem = database.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
    let name: String = stem.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect();
    let name = name.trim_matches('_');
    if name.is_empty() { "app".to_owned() } else { name.to_owned() }
}

fn absolute(path: &Path) -> Result<String, Failure> {
    let path = std::path::absolute(path).map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("cannot tell where {} is: {error}", path.display()),
            "name it by its whole path",
        )
    })?;
    utf8(&path).map(str::to_owned)
}

fn utf8(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| {
        Failure::new(
            Exit::Failed,
            format!("the path {} is not UTF-8, and a config cannot hold it", path.display()),
            "rename it, or reach it through a link with another name",
        )
    })
}

/// Whole or not at all: a config that is there stays until the new one is complete.
fn write(output: &Path, config: &str, force: bool) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        let exit = match error.kind() {
            io::ErrorKind::PermissionDenied => Exit::NoPermission,
            _ => Exit::Failed,
        };
        Failure::new(exit, format!("cannot write {}: {error}", output.display()), "name another file with --output")
            .kept("the database was only read")
    };
    if !force {
        let mut file = File::create_new(output).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Failure::new(
                Exit::Failed,
                format!("{} is there already", output.display()),
                "say --force to write over it, or name another file with --output",
            )
            .kept("it was left as it is"),
            _ => failed(error),
        })?;
        return file.write_all(config.as_bytes()).map_err(failed);
    }
    let mut beside = output.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    std::fs::write(&beside, config).and_then(|()| std::fs::rename(&beside, output)).map_err(|error| {
        let _ = std::fs::remove_file(&beside);
        failed(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_named_after_its_file() {
        for (path, name) in [
            ("/a/Notes.db", "notes"),
            ("/a/my app (2).sqlite3", "my_app__2"),
            ("/a/日本.db", "app"),
            ("/a/x.y.db", "x_y"),
        ] {
            assert_eq!(replica_name(Path::new(path)), name);
        }
    }

    #[test]
    fn a_hub_is_an_http_url() {
        assert!(hub_url("https://hub.example.org").is_ok());
        assert!(hub_url("http://127.0.0.1:8080/x").is_ok());
        for wrong in ["hub.example.org", "ftp://x", "https://", "https:///x", ""] {
            assert!(hub_url(wrong).is_err(), "{wrong}");
        }
    }
}
