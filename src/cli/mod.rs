//! # Purpose
//! The command line: one file a command.
//!
//! # Invariants kept here
//! - Standard output belongs to the command's result; everything else goes to standard error.
//! - Exit codes are listed in [`Exit`].
//! - The environment is read here, once.
//!
//! # Not here
//! What the commands do to the world: `app`.

mod audit;
mod bars;
mod catalog;
mod config;
#[cfg(feature = "demo")]
mod demo;
mod desk;
mod doctor;
mod exit;
mod explain;
mod grants;
mod import;
mod key;
mod logging;
mod man;
mod okta;
mod reload;
mod rotate;
mod run;
mod runtime;
mod state;
mod status;
mod support;
mod sync;
mod terminal;
mod trouble;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

pub use exit::Exit;

use crate::catalogue::ErrorCode;
use crate::config::Sources;
use crate::runtime::keep_memory_private;

/// On-premises agent between Okta and Apono.
#[derive(Debug, Parser)]
#[command(
    name = "apono-connector",
    version,
    about,
    disable_help_subcommand = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What every command understands.
#[derive(Clone, Debug, Args)]
struct Common {
    /// Configuration file [default: /etc/apono-connector/connector.toml, or what `APONO_CONNECTOR_CONFIG` names]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Sets one key of the configuration, before environment and file (repeatable)
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// error, warn, info, debug, trace, or a filter
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
    /// auto, pretty, json, logfmt, journald
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows the whole product against simulated Okta and Apono on this machine
    #[cfg(feature = "demo")]
    Demo(demo::DemoArgs),
    /// Runs the connector until SIGTERM or SIGINT
    Run,
    /// Makes the connection to an Okta organization
    #[command(subcommand)]
    Okta(okta::OktaCommand),
    /// Makes, shows, tries and rotates private keys
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Looks at the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Looks at the audit trail
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Looks at grants, and ends them
    #[command(subcommand)]
    Grants(grants::GrantsCommand),
    /// Shows what a directory run would do, carries out exactly that, or approves what is held back
    Sync(sync::SyncArgs),
    /// Moves the state between a file and a database
    #[command(subcommand)]
    State(state::StateCommand),
    /// Shows what the connector that runs here says of itself
    Status(status::StatusArgs),
    /// Looks at everything the connector needs, from the disk to the rights in Okta, and changes nothing
    Doctor(doctor::DoctorArgs),
    /// Writes what a person who helps needs to know into one file: no secrets, and nothing is sent
    SupportBundle(support::SupportArgs),
    /// Tells what an error code means and what to do, or the story of a grant with Okta's request ids
    Explain(explain::ExplainArgs),
    /// Changes what the log of the connector that runs here tells, for a while
    #[command(subcommand)]
    LogLevel(logging::LogLevelCommand),
    /// Prints what `journalctl -x` shows beside the log's lines
    Catalog,
    /// Prints the manual page
    Man(man::ManArgs),
    /// Prints completions for a shell
    Completions(man::CompletionsArgs),
}

/// The process's arguments and environment in, its exit code out.
pub fn main() -> ExitCode {
    if let Err(error) = keep_memory_private() {
        complain(&format!(
            "this process's memory may be read by others of its user: {error} [{}]",
            ErrorCode::MemoryReadable
        ));
    }
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    let environment = std::env::vars_os().filter_map(text_pair).collect();
    run_with(std::env::args_os(), environment).into()
}

fn run_with(arguments: impl Iterator<Item = OsString>, environment: BTreeMap<String, String>) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let asked_for = !error.use_stderr();
            // A closed pipe is the reader's wish.
            let _ = error.print();
            if asked_for {
                return Exit::Done;
            }
            complain(&format!("the command line is wrong [{}]", ErrorCode::CommandLine));
            return Exit::Usage;
        }
    };
    let sources = match cli.common.sources(environment) {
        Ok(sources) => sources,
        Err(wrong) => {
            complain(&format!("--set {wrong} is not KEY=VALUE [{}]", ErrorCode::CommandLine));
            return Exit::Usage;
        }
    };
    match cli.command {
        #[cfg(feature = "demo")]
        Command::Demo(arguments) => demo::demo(&arguments, &sources),
        Command::Run => run::run(&sources),
        Command::Okta(command) => okta::okta(&command, &sources),
        Command::Key(command) => key::key(&command, &sources),
        Command::Config(command) => config::config(&command, &sources),
        Command::Audit(command) => audit::audit(&command, &sources),
        Command::Grants(command) => grants::grants(&command, &sources),
        Command::Sync(arguments) => sync::sync(&arguments, &sources),
        Command::State(command) => state::state(&command, &sources),
        Command::Status(arguments) => status::status(&arguments, &sources),
        Command::Doctor(arguments) => doctor::doctor(&arguments, &sources),
        Command::Explain(arguments) => explain::explain(&arguments, &sources),
        Command::SupportBundle(arguments) => support::support_bundle(&arguments, &sources),
        Command::LogLevel(command) => logging::log_level(&command, &sources),
        Command::Catalog => catalog::catalog(),
        Command::Man(arguments) => man::man(&arguments),
        Command::Completions(arguments) => man::completions(&arguments),
    }
}

impl Common {
    fn sources(self, environment: BTreeMap<String, String>) -> Result<Sources, String> {
        let mut flags = Vec::new();
        for pair in self.set {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(pair);
            };
            flags.push(("--set".to_owned(), key.trim().to_owned(), value.to_owned()));
        }
        let named =
            [("--log-level", "log.level", self.log_level), ("--log-format", "log.format", self.log_format)];
        for (flag, key, value) in named {
            flags.extend(value.map(|value| (flag.to_owned(), key.to_owned(), value)));
        }
        Ok(Sources { file: self.config, environment, flags })
    }
}

fn text_pair((name, value): (OsString, OsString)) -> Option<(String, String)> {
    Some((name.into_string().ok()?, value.into_string().ok()?))
}

/// A line on standard error, for what comes before or beside the log.
fn complain(text: &str) {
    // Nothing can be done about a standard error that is closed.
    let _ = writeln!(io::stderr().lock(), "apono-connector: {text}");
}

/// A result on standard output; a closed pipe is the reader's wish.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

/// Several lines of a result.
fn say_lines(lines: &[String]) {
    for line in lines {
        say(line);
    }
}

/// Whether colors are wanted on standard error.
fn color(sources: &Sources) -> bool {
    wants_color(sources, io::stderr().is_terminal())
}

/// Whether colors are wanted on what may be a terminal (<https://no-color.org>).
fn wants_color(sources: &Sources, is_terminal: bool) -> bool {
    let set = |name: &str| sources.environment.get(name).is_some_and(|value| !value.is_empty());
    if set("NO_COLOR") {
        return false;
    }
    set("CLICOLOR_FORCE") || is_terminal
}
