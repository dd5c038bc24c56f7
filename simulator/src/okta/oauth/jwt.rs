//! # Purpose
//! Compact JWTs: taken apart, and their signatures verified for real.
//!
//! # Invariants kept here
//! - A signature counts only when algorithm, key type and curve fit together.
//!
//! # Not here
//! Judging claims.

use aws_lc_rs::signature::{ECDSA_P521_SHA512_FIXED, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde_json::{Map, Value};

/// What Okta accepts in assertions and proofs.
pub(super) const ALGORITHMS: [&str; 6] = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512"];

/// A JWT taken apart, not yet trusted.
#[derive(Debug)]
pub(super) struct Jwt<'a> {
    pub(super) header: Map<String, Value>,
    pub(super) claims: Map<String, Value>,
    signed: &'a str,
    signature: &'a str,
}

impl<'a> Jwt<'a> {
    /// Takes `header.claims.signature` apart.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        Some(Self { header: object(header)?, claims: object(claims)?, signed, signature })
    }

    /// A member of the header that is a string.
    pub(super) fn header_text(&self, name: &str) -> Option<&str> {
        self.header.get(name).and_then(Value::as_str)
    }

    /// A claim that is a string.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.claims.get(name).and_then(Value::as_str)
    }

    /// A claim that is a whole number of seconds.
    pub(super) fn seconds(&self, name: &str) -> Option<i64> {
        self.claims.get(name).and_then(Value::as_i64)
    }

    /// Whether the algorithm is one that Okta knows.
    pub(super) fn has_known_algorithm(&self) -> bool {
        self.header_text("alg").is_some_and(|alg| ALGORITHMS.contains(&alg))
    }

    /// Whether the private half of this public key made the signature.
    pub(super) fn is_signed_by(&self, public_jwk: &Value) -> bool {
        let member = |name: &str| public_jwk.get(name).and_then(Value::as_str).unwrap_or_default();
        let Some(name) = self.header_text("alg") else { return false };
        let fits = match name {
            "RS256" | "RS384" | "RS512" => member("kty") == "RSA",
            "ES256" => member("kty") == "EC" && member("crv") == "P-256",
            "ES384" => member("kty") == "EC" && member("crv") == "P-384",
            "ES512" if member("kty") == "EC" && member("crv") == "P-521" => {
                return self.is_signed_on_p521([member("x"), member("y")]).unwrap_or(false);
            }
            _ => false,
        };
        let (true, Ok(algorithm)) = (fits, name.parse::<Algorithm>()) else { return false };
        let Ok(jwk) = serde_json::from_value::<Jwk>(public_jwk.clone()) else { return false };
        let Ok(key) = DecodingKey::from_jwk(&jwk) else { return false };
        crypto::verify(self.signature, self.signed.as_bytes(), &key, algorithm).unwrap_or(false)
    }

    /// The JWT library does not know this curve.
    fn is_signed_on_p521(&self, coordinates: [&str; 2]) -> Option<bool> {
        let mut point = vec![4];
        for coordinate in coordinates {
            point.extend(URL_SAFE_NO_PAD.decode(coordinate).ok()?);
        }
        let key = UnparsedPublicKey::new(&ECDSA_P521_SHA512_FIXED, point);
        let signature = URL_SAFE_NO_PAD.decode(self.signature).ok()?;
        Some(key.verify(self.signed.as_bytes(), &signature).is_ok())
    }
}

/// The RFC 7638 thumbprint of a public key.
pub(super) fn thumbprint(public_jwk: &Value) -> Option<String> {
    let jwk = serde_json::from_value::<Jwk>(public_jwk.clone()).ok()?;
    jwk.thumbprint(ThumbprintHash::SHA256).ok()
}

fn object(segment: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(segment).ok()?).ok()
}
