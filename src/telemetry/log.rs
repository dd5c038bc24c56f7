//! # Purpose
//! Formats events for the place where they are read: a terminal, a collector, the journal.
//!
//! # Invariants kept here
//! - Logs go to standard error; a command's own output (plans, JSON) has standard output to itself.
//! - The message is readable alone; fields have dotted names and repeat the message's facts for machines.
//!
//! # Not here
//! Levels' meaning and the field dictionary: `docs/ARCHITECTURE.md`.

use std::fmt;
use std::io;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

/// How a line looks. `log.format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For a person at a terminal.
    Pretty,
    /// One JSON object a line.
    Json,
    /// `key=value` pairs.
    Logfmt,
    /// Native fields of the systemd journal.
    Journald,
}

/// Logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `log.level` does not parse.
    #[error(
        "log.level {level:?} is not a level (error, warn, info, debug, trace) or a filter such as info,apono_connector::okta=debug"
    )]
    Level {
        /// What was configured.
        level: String,
        /// The parser's complaint.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// The journal's socket is not there.
    #[error("log.format is journald, but the journal cannot be reached; choose json")]
    Journald(#[source] io::Error),
    /// The subscriber is not there any more.
    #[error("the level of the log cannot be changed")]
    Gone(#[source] reload::Error),
    /// Something else has set a subscriber.
    #[error("logging was set up twice")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// Checks a filter without installing it.
pub fn parse_level(level: &str) -> Result<EnvFilter, LogError> {
    // A directive for the crate alone keeps the libraries at warnings, where their details would drown ours.
    let directives =
        if level.contains(['=', ',']) { level.to_owned() } else { format!("warn,apono_connector={level}") };
    EnvFilter::builder()
        .parse(directives)
        .map_err(|source| LogError::Level { level: level.to_owned(), source })
}

/// Changes the level of a subscriber that is installed.
#[derive(Clone, Debug)]
pub struct Switch(reload::Handle<EnvFilter, Registry>);

impl Switch {
    /// From now on this level, or this filter.
    pub fn set(&self, level: &str) -> Result<(), LogError> {
        self.0.reload(parse_level(level)?).map_err(LogError::Gone)
    }
}

/// Installs the process's subscriber.
pub fn install(format: Format, level: &str, ansi: bool) -> Result<Switch, LogError> {
    let (filter, switch) = reload::Layer::new(parse_level(level)?);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match format {
        Format::Pretty => tracing_subscriber::fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(ansi)
            .with_target(false)
            .boxed(),
        Format::Json => tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_writer(io::stderr)
            .boxed(),
        Format::Logfmt => {
            tracing_subscriber::fmt::layer().event_format(Logfmt).with_writer(io::stderr).boxed()
        }
        Format::Journald => tracing_journald::layer()
            .map_err(LogError::Journald)?
            .with_field_prefix(None)
            .with_syslog_identifier("apono-connector".to_owned())
            .boxed(),
    };
    tracing_subscriber::registry().with(layer.with_filter(filter)).try_init().map_err(LogError::Twice)?;
    Ok(Switch(switch))
}

/// `ts=… level=… target=… msg="…" key=value`.
struct Logfmt;

impl<S, N> FormatEvent<S, N> for Logfmt
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        writer.write_str("ts=")?;
        SystemTime.format_time(&mut writer)?;
        write!(
            writer,
            " level={} target={}",
            metadata.level().as_str().to_ascii_lowercase(),
            metadata.target()
        )?;
        let mut visitor = LogfmtFields { writer: writer.by_ref(), result: Ok(()) };
        event.record(&mut visitor);
        visitor.result?;
        writeln!(writer)
    }
}

struct LogfmtFields<'a> {
    writer: Writer<'a>,
    result: fmt::Result,
}

impl LogfmtFields<'_> {
    fn pair(&mut self, field: &Field, value: &str) {
        if self.result.is_ok() {
            let name = if field.name() == "message" { "msg" } else { field.name() };
            self.result = write_pair(&mut self.writer, name, value);
        }
    }
}

impl Visit for LogfmtFields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.pair(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.pair(field, &format!("{value:?}"));
    }
}

fn write_pair(writer: &mut impl fmt::Write, name: &str, value: &str) -> fmt::Result {
    let plain =
        !value.is_empty() && value.chars().all(|c| c > ' ' && !matches!(c, '"' | '=' | '\\' | '\u{7f}'));
    if plain { write!(writer, " {name}={value}") } else { write!(writer, " {name}={value:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logfmt_quotes_only_what_needs_it() {
        let mut line = String::new();
        write_pair(&mut line, "okta.op", "add_member").unwrap();
        write_pair(&mut line, "msg", "said \"no\"\n").unwrap();
        write_pair(&mut line, "empty", "").unwrap();
        assert_eq!(line, r#" okta.op=add_member msg="said \"no\"\n" empty="""#);
    }

    #[test]
    fn a_wrong_level_names_what_would_be_right() {
        let error = parse_level("apono=louder").unwrap_err();
        assert!(error.to_string().contains("error, warn, info"), "{error}");
        assert!(parse_level("debug").is_ok());
    }
}
