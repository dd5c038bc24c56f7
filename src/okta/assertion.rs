//! # Purpose
//! The client assertion by which the connector proves who it is (RFC 7523, `private_key_jwt`).
//!
//! # Invariants kept here
//! - Every assertion has its own `jti`: Okta burns it with each request, even a failing one.
//! - Five minutes of life: Okta refuses an hour and more by its own clock.
//! - `aud` is exactly the URL that is called, and `kid` is always sent.
//!
//! # Not here
//! Sending it: `okta::tokens`.
//!
//! Source: <https://developer.okta.com/docs/guides/implement-oauth-for-okta-serviceapp/main/>

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

/// How long an assertion is valid.
const LIFETIME: Duration = Duration::from_mins(5);
/// `iat` lies this far back, for a clock that is slightly ahead of Okta's.
const BACKDATED: Duration = Duration::from_secs(5);

/// The claims of one assertion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claims {
    /// Client id.
    pub iss: String,
    /// Client id.
    pub sub: String,
    /// The token URL.
    pub aud: String,
    /// Seconds since the epoch.
    pub iat: i64,
    /// Seconds since the epoch.
    pub exp: i64,
    /// Unique.
    pub jti: String,
}

impl Claims {
    /// The claims for one request to `token_url`.
    pub fn new(client_id: &str, token_url: &str, now: Timestamp, jti: Uuid) -> Self {
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        Self {
            iss: client_id.to_owned(),
            sub: client_id.to_owned(),
            aud: token_url.to_owned(),
            iat: now.as_second() - seconds(BACKDATED),
            exp: now.as_second() + seconds(LIFETIME),
            jti: jti.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
    use secrecy::ExposeSecret;
    use serde_json::Value;

    use super::*;
    use crate::secrets::{SigningKey, generate_rsa};

    #[test]
    fn an_assertion_says_who_to_whom_and_for_how_long() {
        let generated = generate_rsa(2048).unwrap();
        let key = SigningKey::parse(generated.private_jwk.expose_secret(), None).unwrap();
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let url = "https://example.okta.com/oauth2/v1/token";
        let claims = Claims::new("0oaexample", url, now, Uuid::from_u128(1));
        let jwt = key.sign(&claims).unwrap();

        let public = serde_json::from_value(generated.public_jwk.clone()).unwrap();
        let mut rules = Validation::new(Algorithm::RS256);
        rules.set_audience(&[url]);
        rules.validate_exp = false;
        let token = decode::<Value>(&jwt, &DecodingKey::from_jwk(&public).unwrap(), &rules).unwrap();
        assert_eq!(token.header.kid.as_deref(), generated.public_jwk["kid"].as_str());
        assert_eq!(token.claims["iss"], "0oaexample");
        assert_eq!(token.claims["sub"], "0oaexample");
        assert_eq!(token.claims["exp"].as_i64().unwrap() - now.as_second(), 300);
        assert!(token.claims["iat"].as_i64().unwrap() < now.as_second());
        assert!(token.claims["nbf"].is_null(), "it would be too early for a clock that is behind");
        assert_eq!(token.claims["jti"], Uuid::from_u128(1).to_string());
    }
}
