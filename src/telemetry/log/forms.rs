//! # Purpose
//! A line for a terminal, for a collector of JSON, and for one of `key=value` pairs.
//!
//! # Invariants kept here
//! - Pure. One record is one line, whatever its texts hold; at a terminal, a text's own lines are indented, so that none
//!   can be taken for a record.
//! - JSON has the members that `docs/log.schema.json` describes, and no member twice.
//!
//! # Not here
//! The journal's form: `journal`.

use std::fmt::{self, Write};

use serde::{Serialize, Serializer};
use serde_json::Value;
use tracing::Level;

use super::record::Record;

/// One JSON object.
pub(super) fn json(record: &Record) -> String {
    // Texts and numbers can always be written.
    serde_json::to_string(record).unwrap_or_default()
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let common = [
            ("timestamp", Value::from(timestamp(self))),
            ("level", Value::from(self.level.as_str())),
            ("target", Value::from(self.target)),
            ("message", Value::from(self.message.as_str())),
        ];
        let fields = self.fields.iter().cloned();
        serializer.collect_map(common.into_iter().chain(extras(self)).chain(fields))
    }
}

/// `ts=… level=… target=… msg="…" key=value`.
pub(super) fn logfmt(record: &Record) -> String {
    let level = record.level.as_str().to_ascii_lowercase();
    let mut line = format!("ts={} level={level} target={}", timestamp(record), record.target);
    // Writing to a String cannot fail.
    let _ = write_pair(&mut line, "msg", &record.message);
    for (name, value) in extras(record).into_iter().chain(record.fields.iter().cloned()) {
        let _ = write_pair(&mut line, name, &plain(&value));
    }
    line
}

/// Time, level, sentence; the fields behind it in a fainter color.
pub(super) fn pretty(record: &Record, ansi: bool) -> String {
    let (color, faint, end) = if ansi { (color(record.level), "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
    let mut line = format!(
        "{faint}{}{end} {color}{:>5}{end} {}",
        timestamp(record),
        record.level.as_str(),
        visible(&record.message)
    );
    let fields = extras(record).into_iter().chain(record.fields.iter().cloned());
    let mut pairs = String::new();
    for (name, value) in fields {
        let _ = write_pair(&mut pairs, name, &plain(&value));
    }
    if !pairs.is_empty() {
        let _ = write!(line, "{faint}{pairs}{end}");
    }
    line
}

/// What is told beside the event's own fields.
pub(super) fn extras(record: &Record) -> Vec<(&'static str, Value)> {
    let code = record.code.as_deref().map(|code| ("code", Value::from(code)));
    let repeats = (record.repeats > 0).then(|| ("repeats", Value::from(record.repeats)));
    code.into_iter().chain(repeats).collect()
}

/// A value without the quotes of JSON.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn timestamp(record: &Record) -> String {
    record.at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

fn color(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    }
}

/// Lines indented; other control characters, which could move a cursor, as escapes.
fn visible(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut visible, c| {
        if c == '\n' {
            visible.push_str("\n    ");
        } else if c.is_control() {
            visible.extend(c.escape_default());
        } else {
            visible.push(c);
        }
        visible
    })
}

fn write_pair(writer: &mut impl Write, name: &str, value: &str) -> fmt::Result {
    let plain =
        !value.is_empty() && value.chars().all(|c| c > ' ' && !matches!(c, '"' | '=' | '\\' | '\u{7f}'));
    if plain { write!(writer, " {name}={value}") } else { write!(writer, " {name}={value:?}") }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::telemetry::log::record::tests::record;

    fn example() -> Record {
        let at = Timestamp::from_microsecond(1_764_000_000_123_456).unwrap();
        Record {
            at,
            code: Some("AOC-0123".to_owned()),
            fields: vec![("okta.op", json!("add_member")), ("wait_seconds", json!(3))],
            repeats: 2,
            ..record("said \"no\"\n [AOC-0123]")
        }
    }

    #[test]
    fn every_form_is_one_line_with_the_same_facts() {
        assert_eq!(
            json(&example()),
            r#"{"timestamp":"2025-11-24T16:00:00.123456Z","level":"WARN","target":"test","message":"said \"no\"\n [AOC-0123]","code":"AOC-0123","repeats":2,"okta.op":"add_member","wait_seconds":3}"#
        );
        assert_eq!(
            logfmt(&example()),
            r#"ts=2025-11-24T16:00:00.123456Z level=warn target=test msg="said \"no\"\n [AOC-0123]" code=AOC-0123 repeats=2 okta.op=add_member wait_seconds=3"#
        );
        assert_eq!(
            pretty(&example(), false),
            r#"2025-11-24T16:00:00.123456Z  WARN said "no"\n     [AOC-0123] code=AOC-0123 repeats=2 okta.op=add_member wait_seconds=3"#
                .replace("\\n", "\n")
        );
    }

    #[test]
    fn logfmt_quotes_only_what_needs_it() {
        let mut line = String::new();
        write_pair(&mut line, "okta.op", "add_member").unwrap();
        write_pair(&mut line, "msg", "said \"no\"\n").unwrap();
        write_pair(&mut line, "empty", "").unwrap();
        assert_eq!(line, r#" okta.op=add_member msg="said \"no\"\n" empty="""#);
    }

    #[test]
    fn nothing_but_our_own_colors_reaches_a_terminal() {
        let line = pretty(&Record { fields: vec![("a", json!("\x1b[2J"))], ..record("\x1b]0;x\x07") }, true);
        assert!(!line.contains("\x1b]") && !line.contains("\x1b[2J"), "{line:?}");
    }
}
