//! # Purpose
//! Speaks to the journal of systemd in its own protocol: one datagram an event, a field for each fact
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).
//!
//! # Invariants kept here
//! - An event that has a code, or names what it is, carries the `MESSAGE_ID` under which `apono-connector catalog` explains
//!   it to `journalctl -x`. An id never changes.
//! - Field names are what `journalctl` accepts: capital letters, digits, underscores.
//!
//! # Not here
//! The catalogue's texts: `cli::catalog`.

use std::io;
use std::os::unix::net::UnixDatagram;

use sha2::{Digest, Sha256};
use tracing::Level;

use super::forms::{extras, plain};
use super::record::Record;

const SOCKET: &str = "/run/systemd/journal/socket";

/// The way to the journal.
#[derive(Debug)]
pub(super) struct Journal(UnixDatagram);

impl Journal {
    /// Finds the journal.
    pub(super) fn connect() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        // A log must not hold up the work: what the journal has no room for goes to standard error.
        socket.set_nonblocking(true)?;
        // The journal passes over an empty datagram.
        socket.send_to(&[], SOCKET)?;
        Ok(Self(socket))
    }

    /// Hands the event over.
    pub(super) fn send(&self, record: &Record) -> io::Result<()> {
        // By name each time, so that a journal that was begun anew is found.
        self.0.send_to(&datagram(record), SOCKET).map(drop)
    }
}

/// The id of a kind of event in the journal, 32 digits of hexadecimal; `name` is its code or its name.
pub fn message_id(name: &str) -> String {
    let digest = Sha256::digest(format!("apono-connector message {name}"));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    // The form of a random UUID, which is what `sd-id128(3)` wants.
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    format!("{:032x}", u128::from_be_bytes(bytes))
}

fn datagram(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    put(&mut bytes, "MESSAGE", &record.message);
    put(&mut bytes, "PRIORITY", priority(record.level));
    put(&mut bytes, "SYSLOG_IDENTIFIER", "apono-connector");
    put(&mut bytes, "TARGET", record.target);
    if let Some(name) = record.code.as_deref().or_else(|| record.event()) {
        put(&mut bytes, "MESSAGE_ID", &message_id(name));
    }
    for (name, value) in extras(record).into_iter().chain(record.fields.iter().cloned()) {
        put(&mut bytes, &field(name), &plain(&value));
    }
    bytes
}

/// As syslog counts: information is what runs as it should, a notice would be more.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    }
}

/// `okta.request_id` is `OKTA_REQUEST_ID`.
fn field(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

/// Any text is allowed in the form with a length.
fn put(bytes: &mut Vec<u8>, name: &str, value: &str) {
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(b'\n');
    bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
    bytes.extend_from_slice(value.as_bytes());
    bytes.push(b'\n');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::telemetry::log::record::tests::record;

    fn fields(mut bytes: &[u8]) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let name = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let (length, rest) = bytes[end + 1..].split_at(8);
            let length = usize::try_from(u64::from_le_bytes(length.try_into().unwrap())).unwrap();
            fields.push((name, String::from_utf8(rest[..length].to_vec()).unwrap()));
            assert_eq!(rest[length], b'\n');
            bytes = &rest[length + 1..];
        }
        fields
    }

    #[test]
    fn an_event_is_a_field_for_each_fact() {
        let said = Record {
            code: Some("AOC-0123".to_owned()),
            fields: vec![("grant.id", json!("g\n1")), ("okta.request_id", json!("r")), ("event", json!("e"))],
            ..record("two\nlines")
        };
        let pairs = fields(&datagram(&said));
        let expected = [
            ("MESSAGE", "two\nlines"),
            ("PRIORITY", "4"),
            ("SYSLOG_IDENTIFIER", "apono-connector"),
            ("TARGET", "test"),
            ("MESSAGE_ID", &message_id("AOC-0123")),
            ("CODE", "AOC-0123"),
            ("GRANT_ID", "g\n1"),
            ("OKTA_REQUEST_ID", "r"),
            ("EVENT", "e"),
        ];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    /// Whoever installed a catalogue of an older version would be shown nothing any more.
    #[test]
    fn an_id_never_changes() {
        assert_eq!(message_id("AOC-0123").len(), 32);
        assert_eq!(message_id("AOC-0123"), "faeef14c201e436bbd19feaeefb168bc");
    }
}
