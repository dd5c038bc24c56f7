//! # Purpose
//! How a secret may stand in a text that somebody else has written: as it is, in JSON, in a URL, in base64.
//!
//! # Invariants kept here
//! - Each spelling is as secret as the secret.
//!
//! # Not here
//! Which texts are searched: `http::echo`, and `cli::support` for what leaves the host.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use secrecy::SecretString;
use serde_json::Value;

/// All of them, the longest first: what is inside another is taken out with it.
pub fn spellings(secret: &str) -> Vec<SecretString> {
    let json = Value::from(secret).to_string();
    let json = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(secret);
    let mut all = vec![
        secret.to_owned(),
        json.to_owned(),
        // Some servers write JSON so.
        json.replace('/', "\\/"),
        url::form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
        STANDARD.encode(secret),
        STANDARD_NO_PAD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
    ];
    all.sort_by_key(|spelling| std::cmp::Reverse(spelling.len()));
    all.dedup();
    all.into_iter().map(SecretString::from).collect()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_secret_is_known_however_it_is_written() {
        let secret = "placeholder/\"+%";
        let texts = [
            format!("token {secret} is wrong"),
            serde_json::json!({ "got": secret }).to_string(),
            serde_json::json!({ "got": secret }).to_string().replace('/', "\\/"),
            url::Url::parse_with_params("https://example.com", [("got", secret)]).unwrap().to_string(),
            STANDARD.encode(secret),
            URL_SAFE_NO_PAD.encode(secret),
        ];
        for text in texts {
            let is_known = spellings(secret).iter().any(|spelling| text.contains(spelling.expose_secret()));
            assert!(is_known, "{text}");
        }
        assert_eq!(spellings("placeholder").len(), 3, "as it is, and two lengths of base64");
    }
}
