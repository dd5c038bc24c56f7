//! # Purpose
//! `catalog`: what `journalctl -x` shows beside the log's lines, for /usr/lib/systemd/catalog.
//!
//! # Invariants kept here
//! - Every code and every named event has an entry, under the id that the log gives it.
//!
//! # Not here
//! The ids: `telemetry::log`. The texts: `catalogue`, `telemetry::log::fields`.

use std::fmt::Write as _;

use super::{Exit, say};
use crate::catalogue::{Entry, entries};
use crate::telemetry::log::fields::{EVENTS, Named};
use crate::telemetry::log::message_id;

pub(super) fn catalog() -> Exit {
    say(text().trim_end());
    Exit::Done
}

/// The file, in the form that `journalctl --update-catalog` reads
/// (<https://systemd.io/CATALOG/>).
fn text() -> String {
    let mut text =
        String::from("# Of apono-connector, for journalctl -x. Made by: apono-connector catalog\n");
    for Entry { code, title, cause, cure, page, again, .. } in entries() {
        let page = page.map_or_else(String::new, |page| format!("Where: {page}\n\n"));
        put(
            &mut text,
            &code.to_string(),
            &format!("{title} ({code})"),
            &format!("{cause}\n\nCure: {cure}\n\n{page}Does trying again help? {}", again.as_str()),
        );
    }
    for Named { name, meaning, then } in EVENTS {
        let then = if then.is_empty() { String::new() } else { format!("\n\n{then}") };
        put(&mut text, name, meaning.trim_end_matches('.'), &format!("{meaning}{then}"));
    }
    text
}

fn put(text: &mut String, name: &str, subject: &str, body: &str) {
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "\n-- {}\nSubject: {subject}\nDefined-By: apono-connector\nDocumentation: man:apono-connector(1)\n\n{body}\n",
        message_id(name)
    );
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_and_event_has_an_entry_of_its_own() {
        let text = text();
        let ids: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
        assert_eq!(ids.len(), entries().count() + EVENTS.len());
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
        // A line that begins so would begin another entry.
        assert_eq!(text.lines().filter(|line| line.starts_with("--")).count(), ids.len());
    }
}
