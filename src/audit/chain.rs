//! # Purpose
//! How a line is bound to the one before it.
//!
//! # Invariants kept here
//! - A line is `{"seq":N,"prev":"P",…,"hash":"H"}` and a newline: `seq` and `prev` first, `hash` last, without spaces
//!   around them. N counts from 1 without a gap; P is the hash of line N-1, 64 zeros for the first line; H is the
//!   SHA-256, in lowercase hexadecimal, of the very bytes of the line without `,"hash":"H"` and without the newline.
//! - The bytes themselves are hashed, so there is no canonical form of JSON to agree on, and no byte outside the reach
//!   of the hash.
//!
//! # Not here
//! What stands between `prev` and `hash`: `ocsf`.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// The end of a chain, or of a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The number of the last line; 0 before the first.
    pub seq: u64,
    /// Its hash, 64 digits of lowercase hexadecimal.
    pub hash: String,
}

impl Link {
    /// Before the first line.
    pub(super) fn start() -> Self {
        Self { seq: 0, hash: "0".repeat(DIGITS) }
    }
}

/// What a line says of its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) prev: String,
    pub(super) link: Link,
}

const DIGITS: usize = 64;
/// No trail is longer; a number beyond it is damage.
pub(super) const LAST: u64 = 1 << 62;
const HASH_BEGIN: &[u8] = br#","hash":""#;
const END: &[u8] = br#""}"#;
const TAIL: usize = HASH_BEGIN.len() + DIGITS + END.len();

/// The line after `end` with these members, its newline, and the end of the chain with it.
pub(super) fn seal(end: &Link, members: Map<String, Value>) -> (String, Link) {
    let seq = end.seq + 1;
    let members = Value::Object(members).to_string();
    // A writer to a string cannot fail.
    let mut line = String::with_capacity(members.len() + 2 * DIGITS + 48);
    let _ = write!(line, r#"{{"seq":{seq},"prev":"{}",{}"#, end.hash, &members[1..]);
    let hash = hex(&Sha256::digest(&line));
    line.pop();
    let _ = writeln!(line, r#","hash":"{hash}"}}"#);
    (line, Link { seq, hash })
}

/// What a line, without its newline, says of its place; `None` when it has not the form of one. Nothing is checked.
pub(super) fn claim(line: &[u8]) -> Option<Claim> {
    let rest = line.strip_prefix(br#"{"seq":"#)?;
    let digits = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    let (number, rest) = rest.split_at(digits);
    let rest = rest.strip_prefix(br#","prev":""#)?;
    let (prev, rest) = rest.split_at_checked(DIGITS)?;
    rest.strip_prefix(br#"","#)?;
    let tail = rest.get(rest.len().checked_sub(TAIL)?..)?;
    let hash = tail.strip_prefix(HASH_BEGIN)?.strip_suffix(END)?;
    if number.first() == Some(&b'0') {
        return None;
    }
    let seq = std::str::from_utf8(number).ok()?.parse().ok().filter(|seq| *seq <= LAST)?;
    Some(Claim { prev: digest(prev)?, link: Link { seq, hash: digest(hash)? } })
}

/// Whether the bytes of a line that has the form of one are those that were hashed.
pub(super) fn is_untouched(line: &[u8], claim: &Claim) -> bool {
    let mut hasher = Sha256::new();
    hasher.update(&line[..line.len().saturating_sub(TAIL)]);
    hasher.update(b"}");
    hex(&hasher.finalize()) == claim.link.hash
}

/// Bytes in lowercase hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn digest(digits: &[u8]) -> Option<String> {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    digits.iter().all(is_digit).then(|| String::from_utf8(digits.to_vec()).ok())?
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn members(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_line_is_json_and_carries_its_place() {
        let (first, end) = seal(&Link::start(), members(&json!({ "b": "\"hash\":\"x\"}", "a": "\n" })));
        let (second, last) = seal(&end, members(&json!({ "a": 1 })));
        assert!(first.starts_with(&format!(r#"{{"seq":1,"prev":"{}","a":"#, "0".repeat(64))), "{first}");
        let parsed: Value = serde_json::from_str(&second).unwrap();
        assert_eq!(parsed, json!({ "seq": 2, "prev": end.hash, "a": 1, "hash": last.hash }));
        let line = second.trim_end().as_bytes();
        let claimed = claim(line).unwrap();
        assert_eq!(claimed, Claim { prev: end.hash, link: last });
        assert!(is_untouched(line, &claimed));
    }

    #[test]
    fn no_byte_of_a_line_can_be_changed() {
        let (line, _) = seal(&Link::start(), members(&json!({ "a": "text" })));
        let line = line.trim_end().as_bytes();
        for at in 0..line.len() {
            for flip in 1..=u8::MAX {
                let mut changed = line.to_vec();
                changed[at] ^= flip;
                let passes = claim(&changed).is_some_and(|claim| is_untouched(&changed, &claim));
                assert!(!passes, "byte {at} became {:?}", changed[at] as char);
            }
        }
    }
}
