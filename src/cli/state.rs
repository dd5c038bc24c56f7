//! # Purpose
//! `state migrate`: from one file to a database that a fleet shares, and back.
//!
//! # Invariants kept here
//! - What is copied and where to is said before; what is to be done next, after.
//! - No configuration is changed: a person does that, once the copy is whole.
//!
//! # Not here
//! The copying: `access::journal`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::runtime::wait_for;
use super::{Exit, complain, say_lines};
use crate::access::journal::{Place, Transferred, transfer};
use crate::app::owner;
use crate::catalogue::ErrorCode;
use crate::clock::SystemClock;
use crate::config::{Settings, Sources, load, sqlite_file};
use crate::database::{Database, DatabaseError, is_postgres};
use crate::runtime::whoami;
use crate::telemetry::chain;

#[derive(Debug, Subcommand)]
pub(super) enum StateCommand {
    /// Copies the state from a file to a database or back, while no connector runs on either
    Migrate(MigrateArgs),
}

#[derive(Debug, Args)]
pub(super) struct MigrateArgs {
    /// Where the state is: `sqlite:/path/state.db` or `postgres://user@host/database`
    #[arg(long, value_name = "URL")]
    from: String,
    /// Where it is to be, in the same form; resumed where an earlier copy stopped
    #[arg(long, value_name = "URL")]
    to: String,
    /// The password for the database of --from [default: what `state.password_file` names]
    #[arg(long, value_name = "FILE")]
    from_password_file: Option<PathBuf>,
    /// The password for the database of --to [default: what `state.password_file` names]
    #[arg(long, value_name = "FILE")]
    to_password_file: Option<PathBuf>,
    /// How many entries are copied at once
    #[arg(long, hide = true, default_value_t = 500, value_parser = clap::value_parser!(i64).range(1..10_000))]
    page: i64,
}

pub(super) fn state(command: &StateCommand, sources: &Sources) -> Exit {
    match command {
        StateCommand::Migrate(arguments) => migrate(arguments, sources),
    }
}

fn migrate(arguments: &MigrateArgs, sources: &Sources) -> Exit {
    if is_postgres(&arguments.from) == is_postgres(&arguments.to) {
        complain(&format!(
            "one of --from and --to is sqlite:/path/state.db, and the other postgres://user@host/database [{}]",
            ErrorCode::CommandLine
        ));
        return Exit::Usage;
    }
    let from = place("--from", &arguments.from, arguments.from_password_file.as_ref(), sources);
    let to = place("--to", &arguments.to, arguments.to_password_file.as_ref(), sources);
    let ((settings, from), (_, to)) = match (from, to) {
        (Ok(from), Ok(to)) => (from, to),
        (Err(exit), _) | (_, Err(exit)) => return exit,
    };
    let whoami = whoami(SystemClock::shared().now());
    let ours = owner(&settings);
    let copying = transfer(from, to, &ours, &whoami, arguments.page);
    match wait_for(copying) {
        Ok(Ok(done)) => {
            say_lines(&told(&done, arguments));
            Exit::Done
        }
        Ok(Err(error)) => {
            complain(&chain(&error).to_string());
            Exit::from(&error)
        }
        Err(exit) => exit,
    }
}

fn told(done: &Transferred, arguments: &MigrateArgs) -> Vec<String> {
    let Transferred { entries, before, open_grants } = done;
    vec![
        format!(
            "{entries} entries are there, {before} of them from before; {open_grants} grants are open. They were read back and are the same."
        ),
        "Not copied, because it is each host's own: the directory's store, which is made anew by the next directory run, and the audit trail."
            .to_owned(),
        format!(
            "Next: set state.url to {:?}{}, and start the connector. {:?} was left as it is; start nothing on it any more.",
            arguments.to,
            if is_postgres(&arguments.to) { " and state.password_file to its password's file" } else { "" },
            arguments.from
        ),
    ]
}

/// What an address means, with everything else as it is configured.
fn place(
    flag: &str,
    url: &str,
    password_file: Option<&PathBuf>,
    sources: &Sources,
) -> Result<(Settings, Place), Exit> {
    let mut sources = sources.clone();
    if is_postgres(url) {
        let mut set = |key: &str, value: String| sources.flags.push((flag.to_owned(), key.to_owned(), value));
        set("state.url", url.to_owned());
        if let Some(file) = password_file {
            set("state.password_file", file.display().to_string());
        }
    }
    let settings = match load(&sources) {
        Ok(loaded) => loaded.settings,
        Err(error) => {
            complain(&error.to_string());
            return Err(Exit::Config);
        }
    };
    let place = match (sqlite_file(url), &settings.state.database) {
        (Some(file), _) => Place::File(file),
        (None, Some(database)) if is_postgres(url) => {
            Place::Database(Database::new(database).map_err(|error| unusable(&error))?)
        }
        (None, _) => {
            complain(&format!(
                "{flag} is neither sqlite:/path/state.db, nor postgres://user@host/database [{}]",
                ErrorCode::CommandLine
            ));
            return Err(Exit::Usage);
        }
    };
    Ok((settings, place))
}

fn unusable(error: &DatabaseError) -> Exit {
    complain(&chain(error).to_string());
    Exit::Config
}
