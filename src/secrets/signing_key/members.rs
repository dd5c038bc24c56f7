//! # Purpose
//! JSON that holds a private key, read without leaving copies of the key behind.
//!
//! # Invariants kept here
//! - Values stay in the text that was read. A string that is asked for is copied once, into memory that is wiped.
//!
//! # Not here
//! Which members a key has: `jwk`. Which a credentials file has: `credentials`.

use std::collections::BTreeMap;

use secrecy::zeroize::Zeroizing;
use serde_json::value::RawValue;

/// The members of one object; of several with one name the last.
pub(in crate::secrets) struct Members<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Members<'a> {
    /// `None`: the text is no JSON object.
    pub(in crate::secrets) fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok().map(Self)
    }

    pub(in crate::secrets) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The value as it stands in the text.
    pub(in crate::secrets) fn raw(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(|value| value.get())
    }

    /// The value, where it is a string.
    pub(in crate::secrets) fn text(&self, name: &str) -> Option<Zeroizing<String>> {
        unquoted(self.raw(name)?)
    }

    /// The objects in the value, where it is an array; what else is in it is passed over.
    pub(super) fn objects(&self, name: &str) -> Option<Vec<Self>> {
        let items: Vec<&'a RawValue> = serde_json::from_str(self.raw(name)?).ok()?;
        Some(items.into_iter().filter_map(|item| Self::parse(item.get())).collect())
    }
}

/// What a string of JSON says (RFC 8259 section 7). serde would unescape it in a buffer that it does not wipe.
fn unquoted(raw: &str) -> Option<Zeroizing<String>> {
    let mut rest = raw.strip_prefix('"')?.strip_suffix('"')?;
    // No escape is shorter than what it says, so the copy never has to move to a larger place.
    let mut text = Zeroizing::new(String::with_capacity(rest.len()));
    while let Some((before, escape)) = rest.split_once('\\') {
        text.push_str(before);
        let (character, after) = escaped(escape)?;
        text.push(character);
        rest = after;
    }
    text.push_str(rest);
    Some(text)
}

/// The character after a backslash, and what comes after it.
fn escaped(text: &str) -> Option<(char, &str)> {
    let rest = text.get(1..)?;
    let character = match text.chars().next()? {
        same @ ('"' | '\\' | '/') => same,
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => return utf16(rest),
        _ => return None,
    };
    Some((character, rest))
}

/// One unit of UTF-16, or two that belong together.
fn utf16(text: &str) -> Option<(char, &str)> {
    let (first, rest) = unit(text)?;
    if let Some(character) = char::from_u32(u32::from(first)) {
        return Some((character, rest));
    }
    let (second, rest) = unit(rest.strip_prefix("\\u")?)?;
    let character = char::decode_utf16([first, second]).next()?.ok()?;
    Some((character, rest))
}

fn unit(text: &str) -> Option<(u16, &str)> {
    Some((u16::from_str_radix(text.get(..4)?, 16).ok()?, text.get(4..)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn text_of(members: &Members<'_>, name: &str) -> Option<String> {
        members.text(name).map(|text| text.as_str().to_owned())
    }

    /// With every character escaped, as some tools do.
    fn all_escaped(text: &str) -> String {
        text.encode_utf16().fold(String::new(), |escaped, unit| format!("{escaped}\\u{unit:04x}"))
    }

    proptest! {
        #[test]
        fn a_string_says_here_what_it_says_to_serde(text: String, other: String) {
            let object = json!({ "a": text, "b": [{ "c": other }, 1, "x"] }).to_string();
            let members = Members::parse(&object).unwrap();
            prop_assert_eq!(text_of(&members, "a"), Some(text.clone()));
            prop_assert_eq!(members.raw("a").map(str::to_owned), Some(json!(text).to_string()));
            let objects = members.objects("b").unwrap();
            prop_assert_eq!(objects.len(), 1);
            prop_assert_eq!(text_of(&objects[0], "c"), Some(other));
            let quoted = format!("{{\"a\":\"{}\"}}", all_escaped(&text));
            prop_assert_eq!(text_of(&Members::parse(&quoted).unwrap(), "a"), Some(text));
        }

        #[test]
        fn what_serde_refuses_is_refused(inside in r#"[\\"/bfnrtu0-9a-fA-Fx+d]{0,12}"#) {
            let object = format!("{{\"a\":\"{inside}\"}}");
            let by_serde: Option<Value> = serde_json::from_str(&object).ok();
            let here = Members::parse(&object).and_then(|members| members.text("a"));
            let text = by_serde.as_ref().and_then(|value| value["a"].as_str());
            prop_assert_eq!(here.as_ref().map(|text| text.as_str()), text);
        }
    }

    #[test]
    fn only_an_object_has_members_and_the_last_of_a_name_counts() {
        for text in ["", "[]", "\"x\"", "{", "{\"a\":1} x", "{\"a\":\"\\ud800\"}x"] {
            assert!(Members::parse(text).is_none(), "{text}");
        }
        let members = Members::parse(r#" { "a": 1, "a": "two", "b": {"c": 3} } "#).unwrap();
        assert_eq!(text_of(&members, "a").as_deref(), Some("two"));
        assert!(members.has("b") && members.text("b").is_none() && members.objects("b").is_none());
        assert_eq!(members.raw("b"), Some(r#"{"c": 3}"#));
        assert!(!members.has("c") && members.raw("c").is_none());
    }
}
