//! # Purpose
//! One event as every form of the log shows it.
//!
//! # Invariants kept here
//! - The code that a message or its error names (`[AOC-0123]`) is a field too, whoever wrote the event.
//! - No text is longer than [`LONGEST`] bytes: what a peer says must not make a line of any length.
//!
//! # Not here
//! How a line looks: `forms`, `journal`.

use std::fmt;

use jiff::Timestamp;
use serde_json::Value;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// The longest text of a message or a field, in bytes; a datagram to the journal has room for many.
pub(super) const LONGEST: usize = 8 * 1024;

/// One event.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// When.
    pub(super) at: Timestamp,
    /// How grave.
    pub(super) level: Level,
    /// The module.
    pub(super) target: &'static str,
    /// The sentence.
    pub(super) message: String,
    /// What the sentence says, for machines, in the order of the source.
    pub(super) fields: Vec<(&'static str, Value)>,
    /// The code of the failure, where it is one.
    pub(super) code: Option<String>,
    /// The place in the source: the same event has the same.
    pub(super) site: Identifier,
    /// How often the same was not written since it was written last.
    pub(super) repeats: u64,
}

impl Record {
    /// The event, which happens at `at`.
    pub(super) fn of(event: &Event<'_>, at: Timestamp) -> Self {
        let metadata = event.metadata();
        let mut found = Found::default();
        event.record(&mut found);
        let Found { message, fields } = found;
        let text = |wanted: &str| {
            fields.iter().find(|(name, _)| *name == wanted).and_then(|(_, value)| value.as_str())
        };
        let code = text("code").or_else(|| code_in(&message)).or_else(|| text("error").and_then(code_in));
        let code = code.map(str::to_owned);
        Self {
            at,
            level: *metadata.level(),
            target: metadata.target(),
            message,
            fields: fields.into_iter().filter(|(name, _)| *name != "code").collect(),
            code,
            site: metadata.callsite(),
            repeats: 0,
        }
    }

    /// What the event is, for whoever counts or explains its kind: `event`, where it names one.
    pub(super) fn event(&self) -> Option<&str> {
        self.fields.iter().find(|(name, _)| *name == "event").and_then(|(_, value)| value.as_str())
    }
}

/// The first code of the catalogue that a text names: `[AOC-0123]`, `[AOC-0123, request r]`.
fn code_in(text: &str) -> Option<&str> {
    const OPEN: &str = "[AOC-";
    const DIGITS: usize = 4;
    let mut rest = text;
    while let Some(at) = rest.find(OPEN) {
        let (code, after) =
            rest.get(at + 1..).and_then(|code| code.split_at_checked(OPEN.len() - 1 + DIGITS))?;
        if after.starts_with([']', ',']) && code.bytes().rev().take(DIGITS).all(|byte| byte.is_ascii_digit())
        {
            return Some(code);
        }
        rest = after;
    }
    None
}

#[derive(Default)]
struct Found {
    message: String,
    fields: Vec<(&'static str, Value)>,
}

impl Found {
    fn text(&mut self, field: &Field, text: String) {
        let text = cut(text);
        if field.name() == "message" {
            self.message = text;
        } else {
            self.fields.push((field.name(), Value::String(text)));
        }
    }
}

impl Visit for Found {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format!("{value:?}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.fields.push((field.name(), value.into()));
    }
}

fn cut(mut text: String) -> String {
    if text.len() > LONGEST {
        const MORE: &str = "…";
        let mut end = LONGEST - MORE.len();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str(MORE);
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::callsite::DefaultCallsite;
    use tracing::{Callsite, Metadata, metadata, warn};
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    use super::*;

    static SITE: DefaultCallsite = DefaultCallsite::new(&METADATA);
    static METADATA: Metadata<'static> = metadata! {
        name: "test", target: "test", level: Level::WARN, fields: &["message"], callsite: &SITE,
        kind: metadata::Kind::EVENT
    };

    /// A warning with this message and nothing else.
    pub(in crate::telemetry::log) fn record(message: &str) -> Record {
        Record {
            at: Timestamp::UNIX_EPOCH,
            level: Level::WARN,
            target: "test",
            message: message.to_owned(),
            fields: Vec::new(),
            code: None,
            site: SITE.metadata().callsite(),
            repeats: 0,
        }
    }

    #[test]
    fn the_first_code_of_a_message_is_found() {
        assert_eq!(code_in("a: b [AOC-0123]: c [AOC-0456]"), Some("AOC-0123"));
        assert_eq!(code_in("a [AOC-12] b [AOC-0456]"), Some("AOC-0456"));
        assert_eq!(code_in("a: Okta answered 503 [AOC-0406, request r]"), Some("AOC-0406"));
        for none in ["", "AOC-0123", "[AOC-", "[AOC-012", "[AOC-012x]", "[AOC-01234]"] {
            assert_eq!(code_in(none), None, "{none}");
        }
    }

    #[derive(Clone, Default)]
    struct Codes(Arc<Mutex<Vec<Option<String>>>>);

    impl<S: tracing::Subscriber> Layer<S> for Codes {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(Record::of(event, Timestamp::UNIX_EPOCH).code);
        }
    }

    #[test]
    fn a_code_is_found_where_it_stands() {
        let codes = Codes::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(codes.clone()), || {
            warn!("said [AOC-0123]");
            warn!(error = "it [AOC-0123]", "not said");
            warn!(error = "it [AOC-0456]", "said [AOC-0123]");
            warn!(code = "AOC-0123", error = "it [AOC-0456]", "said [AOC-0789]");
            warn!(reason = "it [AOC-0456]", "not said");
        });
        let found = codes.0.lock().unwrap().clone();
        let expected = Some("AOC-0123".to_owned());
        assert_eq!(found, [expected.clone(), expected.clone(), expected.clone(), expected, None]);
    }

    #[test]
    fn a_long_text_is_cut_between_letters() {
        let short = "ä".repeat(LONGEST / 2);
        assert_eq!(cut(short.clone()), short);
        let long = cut(format!("x{short}"));
        assert!(long.len() <= LONGEST && long.ends_with("ä…"));
    }
}
