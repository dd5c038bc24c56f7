//! # Purpose
//! Looks whether a secret of this configuration is in a text, before the text leaves the host.
//!
//! # Invariants kept here
//! - What is looked for is what is in the secret files now: the whole of each, each private member of a key in JSON, and
//!   each line of a key in PEM; as it is, and as it stands in JSON, in a URL, and in base64.
//! - The needles are wiped when the search is over.
//!
//! # Not here
//! Which files hold secrets: `config::Settings::secret_files`.

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::secrets::spellings;

/// What is looked for.
#[derive(Default)]
pub(super) struct Needles(Vec<SecretString>);

/// Shorter texts are words that may stand anywhere.
const SHORTEST: usize = 8;
/// Members of a key, or of a file with one, that are public (RFC 7517, and Apono's secret).
const PUBLIC: [&str; 12] =
    ["kty", "kid", "use", "alg", "key_ops", "n", "e", "crv", "x", "y", "client_id", "x5t"];

impl Needles {
    /// Those of one secret file.
    pub(super) fn add(&mut self, content: &str) {
        let content = content.trim();
        self.whole(content);
        match serde_json::from_str::<Value>(content) {
            Ok(value) => self.members(&value),
            Err(_) => self.lines(content),
        }
    }

    /// Whether one of them is in `text`.
    pub(super) fn found_in(&self, text: &str) -> bool {
        self.0.iter().any(|needle| text.contains(needle.expose_secret()))
    }

    fn members(&mut self, value: &Value) {
        match value {
            Value::String(text) => {
                self.whole(text);
                // A key in PEM, or one in JSON once more.
                match serde_json::from_str::<Value>(text) {
                    Ok(inner @ (Value::Object(_) | Value::Array(_))) => self.members(&inner),
                    Ok(_) | Err(_) => self.lines(&text.replace("\\n", "\n")),
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.members(item)),
            Value::Object(members) => {
                let private = members.iter().filter(|(name, _)| !PUBLIC.contains(&name.as_str()));
                private.for_each(|(_, value)| self.members(value));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn lines(&mut self, text: &str) {
        const SHORTEST_OF_A_KEY: usize = 40;
        for line in text.lines().map(str::trim) {
            if line.len() >= SHORTEST_OF_A_KEY && !line.starts_with("-----") {
                self.whole(line);
            }
        }
    }

    fn whole(&mut self, text: &str) {
        if text.len() < SHORTEST {
            return;
        }
        self.0.extend(spellings(text));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn a_secret_is_found_in_every_form_and_what_is_public_is_not() {
        let mut needles = Needles::default();
        needles.add("placeholder \"token\"\n");
        let key =
            json!({ "kty": "RSA", "kid": "the-public-kid", "n": "public-modulus", "d": "private-exponent" });
        needles.add(&json!({ "client_id": "0oa-the-client", "private_key": key.to_string() }).to_string());
        let line = "cGxhY2Vob2xkZXIgZm9yIGEgbGluZSBvZiBhIGtleSBpbiBQRU0h";
        needles.add(&format!("-----BEGIN PRIVATE KEY-----\n{line}\n-----END PRIVATE KEY-----"));
        for found in [
            "said placeholder \"token\" to me".to_owned(),
            json!({ "said": "placeholder \"token\"" }).to_string(),
            "a=placeholder+%22token%22".to_owned(),
            STANDARD.encode("placeholder \"token\""),
            "x private-exponent y".to_owned(),
            format!("key: {line}"),
        ] {
            assert!(needles.found_in(&found), "{found}");
        }
        for fine in ["the-public-kid", "public-modulus", "0oa-the-client", "placeholder", "PRIVATE KEY"] {
            assert!(!needles.found_in(fine), "{fine}");
        }
    }
}
