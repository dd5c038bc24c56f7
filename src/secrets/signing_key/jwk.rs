//! # Purpose
//! Private keys as JWKs (RFC 7517, RFC 7518 sections 6.2 and 6.3).
//!
//! # Invariants kept here
//! - A set may hold other keys beside the one private one.
//!
//! # Not here
//! What the numbers must fulfil: `rsa_key`, `ec`.

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use rsa::BigUint;
use secrecy::zeroize::Zeroizing;
use serde_json::{Map, Value};

use super::{Curve, KeyError, SignatureAlgorithm, SigningKey, ec, rsa_key};

pub(super) fn read(value: &Value, configured_kid: Option<&str>) -> Result<SigningKey, KeyError> {
    let jwk = Jwk(private_member(value)?);
    match jwk.text("kty") {
        Some("RSA") => read_rsa(&jwk, configured_kid),
        Some("EC") => read_ec(&jwk, configured_kid),
        Some("OKP") => Err(KeyError::WrongKind { kind: "an Ed25519 or X25519 key" }),
        Some("oct") => Err(KeyError::WrongKind { kind: "a shared secret" }),
        Some(_) | None => Err(KeyError::Unrecognized),
    }
}

struct Jwk<'a>(&'a Map<String, Value>);

impl Jwk<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    fn bytes(&self, member: &'static str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let encoded = self.text(member).ok_or(KeyError::JwkMember { member })?;
        // RFC 7518 wants base64url without padding; some tools pad.
        let bytes = URL_SAFE_NO_PAD.decode(encoded).or_else(|_| URL_SAFE.decode(encoded));
        bytes.map(Zeroizing::new).map_err(|_| KeyError::JwkMember { member })
    }

    fn number(&self, member: &'static str) -> Result<BigUint, KeyError> {
        self.bytes(member).map(|bytes| BigUint::from_bytes_be(&bytes))
    }

    /// Of exactly this length; RFC 7518 wants leading zeros, and some tools leave them out.
    fn padded(&self, member: &'static str, length: usize) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let bytes = self.bytes(member)?;
        let missing = length.checked_sub(bytes.len()).ok_or(KeyError::JwkMember { member })?;
        let mut padded = Zeroizing::new(vec![0; length]);
        padded[missing..].copy_from_slice(&bytes);
        Ok(padded)
    }

    /// The one of `possible` that the key is made for, or the first.
    fn algorithm(&self, possible: &[SignatureAlgorithm]) -> Result<SignatureAlgorithm, KeyError> {
        if let Some(other) = self.text("use").filter(|word| !word.is_empty() && *word != "sig") {
            return Err(KeyError::WrongUse { found: format!("\"use\": \"{}\"", shown(other)) });
        }
        let Some(wanted) = self.text("alg").filter(|word| !word.is_empty()) else {
            return possible.first().copied().ok_or(KeyError::Unrecognized);
        };
        let found = possible.iter().copied().find(|algorithm| algorithm.as_str() == wanted);
        found.ok_or_else(|| KeyError::WrongUse { found: format!("\"alg\": \"{}\"", shown(wanted)) })
    }
}

/// A word of the JWK for an error. A longer one is none, and could be a part of the key that was put in its place.
fn shown(word: &str) -> &str {
    const LONGEST: usize = 16;
    if word.len() <= LONGEST { word } else { "…" }
}

fn read_rsa(jwk: &Jwk<'_>, configured_kid: Option<&str>) -> Result<SigningKey, KeyError> {
    if jwk.text("d").is_none() {
        return Err(KeyError::PublicOnly);
    }
    let algorithm = jwk.algorithm(&SignatureAlgorithm::RSA)?;
    let primes = if jwk.text("p").is_some() && jwk.text("q").is_some() {
        vec![jwk.number("p")?, jwk.number("q")?]
    } else {
        Vec::new()
    };
    let numbers = rsa_key::Numbers { n: jwk.number("n")?, e: jwk.number("e")?, d: jwk.number("d")?, primes };
    let key = rsa_key::from_numbers(numbers)?;
    rsa_key::signing_key(&key, algorithm, jwk.text("kid"), configured_kid)
}

fn read_ec(jwk: &Jwk<'_>, configured_kid: Option<&str>) -> Result<SigningKey, KeyError> {
    let curve = match jwk.text("crv") {
        Some(name) => Curve::ALL.into_iter().find(|curve| curve.as_str() == name),
        None => return Err(KeyError::JwkMember { member: "crv" }),
    };
    let curve = curve.ok_or(KeyError::WrongKind { kind: "an EC key on another curve" })?;
    if jwk.text("d").is_none() {
        return Err(KeyError::PublicOnly);
    }
    jwk.algorithm(&[curve.algorithm()])?;
    let member = |name| jwk.padded(name, curve.bytes());
    let pair = ec::from_numbers(curve, &member("d")?, &member("x")?, &member("y")?)?;
    ec::signing_key(curve, pair, jwk.text("kid"), configured_kid)
}

/// The one private key of a JWK or of a JWK set.
fn private_member(value: &Value) -> Result<&Map<String, Value>, KeyError> {
    let object = value.as_object().ok_or(KeyError::Unrecognized)?;
    let Some(keys) = object.get("keys").and_then(Value::as_array) else {
        return Ok(object);
    };
    let mut private: Vec<_> =
        keys.iter().filter_map(Value::as_object).filter(|key| key.contains_key("d")).collect();
    match (private.len(), private.pop()) {
        (1, Some(key)) => Ok(key),
        (0, _) => Err(KeyError::PublicOnly),
        (count, _) => Err(KeyError::SeveralKeys { count }),
    }
}
