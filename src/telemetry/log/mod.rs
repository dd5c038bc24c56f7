//! # Purpose
//! Writes events for the place where they are read: a terminal, a collector, the journal.
//!
//! # Invariants kept here
//! - Logs go to standard error, or to the journal; a command's own output (plans, JSON) has standard output to itself.
//! - The message is readable alone; fields have dotted names and repeat the message's facts for machines.
//! - What is said again and again is counted instead of written, and the count is written.
//!
//! # Not here
//! Levels' meaning and the field dictionary: `docs/logging.md`.

pub mod fields;
mod forms;
mod journal;
mod levels;
mod record;
mod repeats;

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

pub use journal::message_id;
pub use levels::{LEVELS, LONGEST, Levels, Raised, TARGETS};

use crate::clock::SharedClock;
use journal::Journal;
use record::Record;
use repeats::Repeats;

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

/// The log cannot be as it is wanted.
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
    /// No level to raise to.
    #[error("{level:?} is not a level; choose one of error, warn, info, debug, trace")]
    UnknownLevel {
        /// What was asked for.
        level: String,
    },
    /// Nothing that can be raised.
    #[error("{target:?} is no part of the connector that tells anything; choose one of {}", TARGETS.join(", "))]
    UnknownTarget {
        /// What was asked for.
        target: String,
    },
    /// Too long, or no time at all.
    #[error("a level can be raised for a second up to {} hours", LONGEST.as_secs() / 3600)]
    Period,
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

/// Checks `log.level` without installing it.
pub fn check_level(level: &str) -> Result<(), LogError> {
    levels::parse_level(level).map(drop)
}

/// An event that happens at `at`, as `log.format = "json"` writes it.
pub fn json_line(event: &Event<'_>, at: Timestamp) -> String {
    forms::json(&Record::of(event, at))
}

/// How many events were written, and how many held back.
#[derive(Debug, Default)]
pub struct Counts {
    written: [AtomicU64; 5],
    held_back: AtomicU64,
}

impl Counts {
    /// Lines by level, as [`LEVELS`] names them.
    pub fn written(&self) -> [(&'static str, u64); 5] {
        std::array::from_fn(|n| (LEVELS[n], self.written[n].load(Ordering::Relaxed)))
    }

    /// Lines that were not written because the same had just been.
    pub fn held_back(&self) -> u64 {
        self.held_back.load(Ordering::Relaxed)
    }

    fn count(&self, level: Level) {
        let place = match level {
            Level::ERROR => 0,
            Level::WARN => 1,
            Level::INFO => 2,
            Level::DEBUG => 3,
            Level::TRACE => 4,
        };
        self.written[place].fetch_add(1, Ordering::Relaxed);
    }
}

/// The log of this process, once it is installed. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Log {
    writer: Arc<Writer>,
    filter: reload::Handle<EnvFilter, Registry>,
    levels: Arc<Mutex<Levels>>,
}

/// How often what is due is looked for.
pub const TICK: Duration = Duration::from_secs(1);

/// Installs the process's subscriber.
pub fn install(format: Format, level: &str, ansi: bool, clock: SharedClock) -> Result<Log, LogError> {
    let levels = Levels { configured: level.to_owned(), raised: None };
    let sink = match format {
        Format::Pretty => Sink::Pretty { ansi },
        Format::Json => Sink::Json,
        Format::Logfmt => Sink::Logfmt,
        Format::Journald => Sink::Journal(Journal::connect().map_err(LogError::Journald)?),
    };
    let writer = Arc::new(Writer { sink, clock, state: Mutex::default(), counts: Arc::default() });
    let (filter, handle) = reload::Layer::new(levels.filter()?);
    let layer = Writing(Arc::clone(&writer)).with_filter(filter);
    tracing_subscriber::registry().with(layer).try_init().map_err(LogError::Twice)?;
    Ok(Log { writer, filter: handle, levels: Arc::new(Mutex::new(levels)) })
}

impl Log {
    /// From now on this is `log.level`; what was raised stays raised.
    pub fn configure(&self, level: &str) -> Result<(), LogError> {
        self.change(|levels| level.clone_into(&mut levels.configured))
    }

    /// Raises (or lowers) the level for a while.
    pub fn raise(&self, level: &str, target: Option<&str>, period: Duration) -> Result<Raised, LogError> {
        levels::check(level, target, period)?;
        let now = self.writer.clock.now();
        let raised = Raised {
            level: level.to_owned(),
            target: target.map(str::to_owned),
            until: now.saturating_add(period).unwrap_or(now),
        };
        self.change(|levels| levels.raised = Some(raised.clone()))?;
        Ok(raised)
    }

    /// Back to the configured level; whether another was in force.
    pub fn reset(&self) -> Result<bool, LogError> {
        let was_raised = self.levels().raised.is_some();
        self.change(|levels| levels.raised = None)?;
        Ok(was_raised)
    }

    /// Which events are written.
    pub fn levels(&self) -> Levels {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Does what time brings: writes the counts of what was held back, and ends a raised level. What has ended now.
    pub fn tick(&self) -> Result<Option<Raised>, LogError> {
        self.writer.write_due();
        let over = self.levels().raised.filter(|raised| raised.until <= self.writer.clock.now());
        if over.is_some() {
            self.reset()?;
        }
        Ok(over)
    }

    /// Writes the counts of everything that is held back: the log ends.
    pub fn flush(&self) {
        let rest = self.writer.with(|state| state.repeats.rest());
        self.writer.write_all(rest);
    }

    /// The last lines, as JSON, the oldest first.
    pub fn recent(&self) -> Vec<String> {
        self.writer.with(|state| state.recent.iter().cloned().collect())
    }

    /// Whether lines go to the journal.
    pub fn is_the_journal(&self) -> bool {
        matches!(self.writer.sink, Sink::Journal(_))
    }

    /// How much was written.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.writer.counts)
    }

    fn change(&self, change: impl FnOnce(&mut Levels)) -> Result<(), LogError> {
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new = levels.clone();
        change(&mut new);
        self.filter.reload(new.filter()?).map_err(LogError::Gone)?;
        *levels = new;
        Ok(())
    }
}

#[derive(Debug)]
enum Sink {
    Pretty { ansi: bool },
    Json,
    Logfmt,
    Journal(Journal),
}

/// What is kept of the last lines, in bytes.
const RECENT: usize = 256 * 1024;

#[derive(Debug)]
struct Writer {
    sink: Sink,
    clock: SharedClock,
    state: Mutex<State>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct State {
    repeats: Repeats,
    recent: VecDeque<String>,
    recent_bytes: usize,
}

impl Writer {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn take(&self, event: &Event<'_>) {
        let record = Record::of(event, self.clock.now());
        let elapsed = self.clock.elapsed();
        let (mut due, admitted) = self.with(|state| {
            let due = state.repeats.due(elapsed);
            (due, state.repeats.admit(record, elapsed))
        });
        if admitted.is_none() {
            self.counts.held_back.fetch_add(1, Ordering::Relaxed);
        }
        due.extend(admitted);
        self.write_all(due);
    }

    fn write_due(&self) {
        let elapsed = self.clock.elapsed();
        let due = self.with(|state| state.repeats.due(elapsed));
        self.write_all(due);
    }

    fn write_all(&self, records: Vec<Record>) {
        for record in records {
            self.counts.count(record.level);
            let line = forms::json(&record);
            self.write(&record, &line);
            self.with(|state| state.keep(line));
        }
    }

    fn write(&self, record: &Record, json: &str) {
        let mut line = match &self.sink {
            Sink::Pretty { ansi } => forms::pretty(record, *ansi),
            Sink::Json => json.to_owned(),
            Sink::Logfmt => forms::logfmt(record),
            Sink::Journal(journal) => match journal.send(record) {
                Ok(()) => return,
                // Under systemd, standard error leads to the journal as well.
                Err(_) => forms::logfmt(record),
            },
        };
        line.push('\n');
        // Nothing can be done about a standard error that is closed.
        let _ = io::stderr().lock().write_all(line.as_bytes());
    }
}

impl State {
    fn keep(&mut self, line: String) {
        self.recent_bytes += line.len();
        self.recent.push_back(line);
        while self.recent_bytes > RECENT {
            let Some(oldest) = self.recent.pop_front() else { break };
            self.recent_bytes -= oldest.len();
        }
    }
}

/// The subscriber's end of the [`Writer`].
struct Writing(Arc<Writer>);

impl<S: Subscriber> Layer<S> for Writing {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.0.take(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_within_bounds() {
        let mut state = State::default();
        for n in 0..1000 {
            state.keep(format!("{n:01000}"));
        }
        assert!(state.recent.iter().map(String::len).sum::<usize>() <= RECENT);
        assert_eq!(state.recent.back(), Some(&format!("{:01000}", 999)));
        assert_eq!(state.recent_bytes, state.recent.len() * 1000);
    }
}
