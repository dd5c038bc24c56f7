//! # Purpose
//! Where the log of this process goes, and `log-level`: what it tells, for a while.
//!
//! # Invariants kept here
//! - `auto` asks nobody: the journal where systemd has led standard error there, colors at a terminal, else JSON.
//!
//! # Not here
//! Levels and lines: `telemetry::log`. The daemon's end of `log-level`: `app::desk`.

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tracing::error;

use super::desk::{Client, not_here, with_state};
use super::{Exit, color, complain, say};
use crate::clock::SystemClock;
use crate::config::{self, ConfigError, LogFormat, Sources, duration};
use crate::telemetry::log::{self, Format, Levels, Log, LogError};

/// Installs the log as it is configured.
pub(super) fn install(settings: &config::Log, sources: &Sources) -> Result<Log, LogError> {
    let install = |format| log::install(format, &settings.level, color(sources), SystemClock::shared());
    match settings.format {
        LogFormat::Fixed(format) => install(format),
        LogFormat::Auto if io::stderr().is_terminal() => install(Format::Pretty),
        // A journal that cannot be reached is no reason not to run.
        LogFormat::Auto if leads_to_the_journal(sources) => match install(Format::Journald) {
            Err(LogError::Journald(_)) => install(Format::Json),
            installed => installed,
        },
        LogFormat::Auto => install(Format::Json),
    }
}

/// A configuration that cannot be run with says nothing of the log. Where standard error leads to the journal, what is
/// wrong goes there as an error with its code, to be found and explained; else it is a line for a person.
pub(super) fn last_words(wrong: &ConfigError, sources: &Sources) {
    let journal = || log::install(Format::Journald, "info", false, SystemClock::shared());
    if leads_to_the_journal(sources) && journal().is_ok() {
        error!(exit = Exit::Config.code(), "{wrong}");
    } else {
        complain(&wrong.to_string());
    }
}

/// Whether standard error is the stream that systemd has made for this service: `JOURNAL_STREAM` names its device and
/// inode (`systemd.exec(5)`); a child that has led it elsewhere has another one.
fn leads_to_the_journal(sources: &Sources) -> bool {
    let Some(named) = sources.environment.get("JOURNAL_STREAM") else { return false };
    let Ok(stat) = rustix::fs::fstat(io::stderr()) else { return false };
    *named == format!("{}:{}", stat.st_dev, stat.st_ino)
}

#[derive(Debug, Subcommand)]
pub(super) enum LogLevelCommand {
    /// Shows what the log of the connector that runs here tells
    Show,
    /// Sets the level, for a while; it goes back by itself
    Set(SetArgs),
    /// Goes back to the configured level now
    Reset,
}

#[derive(Debug, Args)]
pub(super) struct SetArgs {
    /// error, warn, info, debug or trace
    #[arg(value_parser = log::LEVELS)]
    level: String,
    /// For how long (30s, 15m, 2h), at most 24h
    #[arg(long = "for", value_name = "TIME", default_value = "15m", value_parser = period)]
    period: Duration,
    /// Only this part of the connector
    #[arg(long, value_name = "PART", value_parser = log::TARGETS)]
    target: Option<String>,
}

/// A time as the configuration writes it.
fn period(text: &str) -> Result<Duration, String> {
    let period = duration(text).ok_or("write it as 30s, 15m or 2h")?;
    if period.as_secs() == 0 || period > log::LONGEST {
        return Err(format!("at least 1s and at most {}h", log::LONGEST.as_secs() / 3600));
    }
    Ok(period)
}

const LEVEL: [&str; 2] = ["log", "level"];

pub(super) fn log_level(command: &LogLevelCommand, sources: &Sources) -> Exit {
    with_state(sources, async |state| {
        let Some(client) = Client::to_daemon(&state)? else {
            return Err(not_here(&state).await);
        };
        let levels: Levels = match command {
            LogLevelCommand::Show => client.read(&LEVEL, &[]).await?,
            LogLevelCommand::Reset => client.delete(&LEVEL).await?,
            LogLevelCommand::Set(SetArgs { level, period, target }) => {
                let wanted: Value = json!({ "level": level, "target": target, "seconds": period.as_secs() });
                client.put(&LEVEL, &wanted).await?
            }
        };
        say(&format!("configured: {}", levels.configured));
        match levels.raised {
            None => say("nothing is set for a while"),
            Some(raised) => say(&format!(
                "{}: {} until {}",
                raised.target.as_deref().unwrap_or("everything"),
                raised.level,
                raised.until
            )),
        }
        Ok(Exit::Done)
    })
}
