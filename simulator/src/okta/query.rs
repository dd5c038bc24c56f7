//! # Purpose
//! Query strings and form bodies, read and written.
//!
//! # Invariants kept here
//! - `+` and `%20` both mean a space; a broken escape is kept as it stands.
//!
//! # Not here
//! The meaning of any parameter.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Names and values in the order they were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=b&c=d`.
    pub(super) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decoded(&name.replace('+', " ")), percent_decoded(&value.replace('+', " ")))
        });
        Self(pairs.collect())
    }

    /// The first value of that name, if it is not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// The same parameters with `name` set to `value`.
    pub(super) fn with(&self, name: &str, value: &str) -> Self {
        let mut pairs = self.0.clone();
        match pairs.iter_mut().find(|(key, _)| key == name) {
            Some(pair) => pair.1 = value.into(),
            None => pairs.push((name.into(), value.into())),
        }
        Self(pairs)
    }

    /// The same parameters but for those with these names.
    pub(super) fn without(&self, names: &[&str]) -> Self {
        Self(self.0.iter().filter(|(key, _)| !names.contains(&key.as_str())).cloned().collect())
    }

    /// Encoded again, without a question mark.
    pub(super) fn encoded(&self) -> String {
        let pairs: Vec<String> = self
            .0
            .iter()
            .map(|(name, value)| format!("{}={}", percent_encoded(name), percent_encoded(value)))
            .collect();
        pairs.join("&")
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Undoes percent-encoding.
pub(super) fn percent_decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn percent_encoded(text: &str) -> String {
    utf8_percent_encode(text, KEPT).to_string()
}

#[cfg(test)]
mod tests {
    use super::Query;

    #[test]
    fn okta_query_reads_both_spellings_of_a_space_and_writes_one() {
        let query = Query::parse("filter=status+eq%20%22ACTIVE%22&limit=2&after=");
        assert_eq!(query.get("filter"), Some("status eq \"ACTIVE\""));
        assert_eq!(query.get("after"), None);
        assert_eq!(
            query.with("after", "a b").encoded(),
            "filter=status%20eq%20%22ACTIVE%22&limit=2&after=a%20b"
        );
    }
}
