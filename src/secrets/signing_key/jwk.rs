//! # Purpose
//! Private keys as JWKs (RFC 7517, RFC 7518 sections 6.2 and 6.3).
//!
//! # Invariants kept here
//! - A set may hold other keys beside the one private one.
//! - What is decoded of the private numbers is wiped, whatever becomes of the key.
//!
//! # Not here
//! What the numbers must fulfil: `rsa_key`, `ec`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rsa::BigUint;
use secrecy::zeroize::Zeroizing;

use super::members::Members;
use super::{Curve, KeyError, SignatureAlgorithm, SigningKey, ec, rsa_key};

pub(super) fn read(members: Members<'_>, configured_kid: Option<&str>) -> Result<SigningKey, KeyError> {
    let jwk = Jwk(private_member(members)?);
    match jwk.word("kty").as_deref() {
        Some("RSA") => read_rsa(&jwk, configured_kid),
        Some("EC") => read_ec(&jwk, configured_kid),
        Some("OKP") => Err(KeyError::WrongKind { kind: "an Ed25519 or X25519 key" }),
        Some("oct") => Err(KeyError::WrongKind { kind: "a shared secret" }),
        Some(_) | None => Err(KeyError::Unrecognized),
    }
}

struct Jwk<'a>(Members<'a>);

crate::secrets::never_printed!(Jwk<'static>);

impl Jwk<'_> {
    /// A member that is public.
    fn word(&self, name: &str) -> Option<String> {
        self.0.text(name).map(|text| text.as_str().to_owned())
    }

    /// Whether the member is a string.
    fn has_text(&self, name: &str) -> bool {
        self.0.text(name).is_some()
    }

    fn bytes(&self, member: &'static str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let encoded = self.0.text(member).ok_or(KeyError::JwkMember { member })?;
        // RFC 7518 wants base64url without padding; some tools pad.
        let encoded = encoded.trim_end_matches('=');
        let mut bytes = Zeroizing::new(Vec::with_capacity(base64::decoded_len_estimate(encoded.len())));
        let decoded = URL_SAFE_NO_PAD.decode_vec(encoded, &mut bytes);
        decoded.map(|()| bytes).map_err(|_| KeyError::JwkMember { member })
    }

    fn number(&self, member: &'static str) -> Result<Zeroizing<BigUint>, KeyError> {
        self.bytes(member).map(rsa_key::number)
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
        if let Some(other) = self.word("use").filter(|word| !word.is_empty() && word != "sig") {
            return Err(KeyError::WrongUse { found: format!("\"use\": \"{}\"", shown(&other)) });
        }
        let Some(wanted) = self.word("alg").filter(|word| !word.is_empty()) else {
            return possible.first().copied().ok_or(KeyError::Unrecognized);
        };
        let found = possible.iter().copied().find(|algorithm| algorithm.as_str() == wanted);
        found.ok_or_else(|| KeyError::WrongUse { found: format!("\"alg\": \"{}\"", shown(&wanted)) })
    }
}

/// A word of the JWK for an error. A longer one is none, and could be a part of the key that was put in its place.
fn shown(word: &str) -> &str {
    const LONGEST: usize = 16;
    if word.len() <= LONGEST { word } else { "…" }
}

fn read_rsa(jwk: &Jwk<'_>, configured_kid: Option<&str>) -> Result<SigningKey, KeyError> {
    if !jwk.has_text("d") {
        return Err(KeyError::PublicOnly);
    }
    let algorithm = jwk.algorithm(&SignatureAlgorithm::RSA)?;
    let primes = if jwk.has_text("p") && jwk.has_text("q") {
        vec![jwk.number("p")?, jwk.number("q")?]
    } else {
        Vec::new()
    };
    let numbers = rsa_key::Numbers { n: jwk.number("n")?, e: jwk.number("e")?, d: jwk.number("d")?, primes };
    let key = rsa_key::from_numbers(numbers)?;
    rsa_key::signing_key(&key, algorithm, jwk.word("kid").as_deref(), configured_kid)
}

fn read_ec(jwk: &Jwk<'_>, configured_kid: Option<&str>) -> Result<SigningKey, KeyError> {
    let curve = match jwk.word("crv") {
        Some(name) => Curve::ALL.into_iter().find(|curve| curve.as_str() == name),
        None => return Err(KeyError::JwkMember { member: "crv" }),
    };
    let curve = curve.ok_or(KeyError::WrongKind { kind: "an EC key on another curve" })?;
    if !jwk.has_text("d") {
        return Err(KeyError::PublicOnly);
    }
    jwk.algorithm(&[curve.algorithm()])?;
    let member = |name| jwk.padded(name, curve.bytes());
    let pair = ec::from_numbers(curve, &member("d")?, &member("x")?, &member("y")?)?;
    ec::signing_key(curve, pair, jwk.word("kid").as_deref(), configured_kid)
}

/// The one private key of a JWK or of a JWK set.
fn private_member(members: Members<'_>) -> Result<Members<'_>, KeyError> {
    let Some(keys) = members.objects("keys") else {
        return Ok(members);
    };
    let mut private: Vec<_> = keys.into_iter().filter(|key| key.has("d")).collect();
    match (private.len(), private.pop()) {
        (1, Some(key)) => Ok(key),
        (0, _) => Err(KeyError::PublicOnly),
        (count, _) => Err(KeyError::SeveralKeys { count }),
    }
}
