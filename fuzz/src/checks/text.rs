//! # Purpose
//! What the checks ask about texts.
//!
//! # Invariants kept here
//! - Nothing of the connector is used: these are second opinions.
//!
//! # Not here
//! What follows from the answers.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

/// So many characters of base64 in a row are taken for a part of a secret.
const RUN: usize = 24;

/// A part of `input` that could be a secret and stands in `shown` too.
pub(super) fn quoted_secret<'a>(shown: &'a str, input: &str) -> Option<&'a str> {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte);
    let runs = shown.as_bytes().windows(RUN).enumerate().filter(|(_, run)| run.iter().all(is_base64));
    runs.filter_map(|(at, _)| shown.get(at..at + RUN)).find(|run| input.contains(run))
}

/// The elements of a JSON array, as they are written.
pub(super) fn elements(json: &[u8]) -> Option<Vec<&RawValue>> {
    serde_json::from_slice(json).ok()
}

/// JSON, with whatever is no letter in it made into one: readers pass over such where they look for nothing. `Null` where
/// it is none.
pub(super) fn value(json: &[u8]) -> Value {
    serde_json::from_str(&String::from_utf8_lossy(json)).unwrap_or_default()
}

/// A member of a JSON object that is text. Read in the same way.
pub(super) fn member(json: &[u8], name: &str) -> Option<String> {
    let json = String::from_utf8_lossy(json);
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(&json).ok()?;
    serde_json::from_str(members.get(name)?.get()).ok()
}

/// Whether a URL can name this in one segment of its path. Dots alone lead elsewhere, and tabs and line ends are passed
/// over (<https://url.spec.whatwg.org/#path-state>).
pub(super) fn is_a_segment(text: &str) -> bool {
    !matches!(text, "" | "." | "..") && !text.contains(['\t', '\n', '\r'])
}

/// What a percent-encoded segment stands for.
pub(super) fn decoded(segment: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}
