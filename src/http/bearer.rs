//! # Purpose
//! Bearer tokens on requests.
//!
//! # Invariants kept here
//! - The header is marked sensitive, so that no debug output of a library prints it.
//! - A token that is shown to us is compared in a time that tells nothing of where it differs.
//!
//! # Not here
//! Getting an OAuth token: `okta::tokens`. Sending one from a file: `mounted_token`.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, InvalidHeaderValue};
use http::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};

use crate::secrets::Reloading;

/// How a token is shown (`token_type`, RFC 6749 section 7.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// Whoever has it may use it (RFC 6750).
    #[default]
    Bearer,
    /// Only with a proof of the key that it is bound to (RFC 9449).
    Dpop,
}

impl Scheme {
    /// The `Authorization` header with this token.
    pub fn header(self, token: &SecretString) -> Result<HeaderValue, InvalidHeaderValue> {
        let scheme = match self {
            Self::Bearer => "Bearer",
            Self::Dpop => "DPoP",
        };
        let mut value = HeaderValue::try_from(format!("{scheme} {}", token.expose_secret()))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl<'de> Deserialize<'de> for Scheme {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        match word.to_ascii_lowercase().as_str() {
            "bearer" => Ok(Self::Bearer),
            "dpop" => Ok(Self::Dpop),
            _ => Err(D::Error::custom(format!("token_type {word:?} is neither Bearer nor DPoP"))),
        }
    }
}

/// The token in a file that callers of ours have to show.
#[derive(Debug)]
pub struct ExpectedToken(pub Arc<Reloading<SecretString>>);

impl ExpectedToken {
    /// Whether a caller who sent `headers` shows this token.
    pub fn admits(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return false;
        };
        let Some((scheme, shown)) = value.to_str().ok().and_then(|value| value.split_once(' ')) else {
            return false;
        };
        let token = self.0.current();
        scheme.eq_ignore_ascii_case("bearer") && is_same(shown.trim(), token.expose_secret())
    }

    /// The same, or whoever shows it as the password of a browser's `Basic` authentication (RFC 7617), of any user.
    pub fn admits_any(&self, headers: &HeaderMap) -> bool {
        self.admits(headers)
            || basic_password(headers).is_some_and(|shown| is_same(&shown, self.0.current().expose_secret()))
    }
}

fn basic_password(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, shown) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(shown.trim()).ok()?).ok()?;
    pair.split_once(':').map(|(_, password)| password.to_owned())
}

/// Compares digests: their length says nothing of the texts', and each byte is looked at.
fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (Sha256::digest(one), Sha256::digest(other));
    one.iter().zip(other.iter()).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::{MountedFile, SecretSource};

    #[test]
    fn only_the_whole_token_is_let_in() {
        let folder = tempfile::tempdir().unwrap();
        let file = MountedFile::new(folder.path().join("token"));
        std::fs::write(file.path(), "right-token\n").unwrap();
        let read = file.clone();
        let token = ExpectedToken(Arc::new(
            Reloading::new("token", Some(file.clone()), move || read.read()).unwrap(),
        ));
        let shown = |value: &str| HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
        for right in ["Bearer right-token", "bearer right-token", "BEARER  right-token"] {
            assert!(token.admits(&shown(right)), "{right}");
        }
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "right-token",
            "Basic right-token",
            "Bearer right-toke",
            "Bearer right-token2",
        ] {
            assert!(!token.admits(&shown(wrong)), "{wrong:?}");
        }
        assert!(!token.admits(&HeaderMap::new()));
        let mut twice = shown("Bearer right-token");
        twice.append(AUTHORIZATION, "Bearer right-token".parse().unwrap());
        assert!(!token.admits(&twice), "which of the two was meant?");

        std::fs::write(file.path(), "another-token").unwrap();
        assert!(!token.admits(&shown("Bearer right-token")));
        assert!(token.admits(&shown("Bearer another-token")));
    }
}
