//! # Purpose
//! Keys on elliptic curves: checked, generated, made into something that signs.
//!
//! # Invariants kept here
//! - The private number belongs to the public point; aws-lc-rs checks it.
//!
//! # Not here
//! Signing.

use std::sync::Arc;

use aws_lc_rs::encoding::{AsBigEndian, EcPrivateKeyBin};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::zeroize::Zeroizing;
use serde_json::{Value, json};

use super::{
    GeneratedKey, KeyError, SignatureAlgorithm, Signer, SigningKey, key_id, thumbprint, with_private,
};

/// The curves that Okta accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// secp256r1, ES256.
    P256,
    /// secp384r1, ES384.
    P384,
    /// secp521r1, ES512.
    P521,
}

impl Curve {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::P256, Self::P384, Self::P521];

    /// As in a JWK's `crv`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
        }
    }

    /// How its keys sign.
    pub fn algorithm(self) -> SignatureAlgorithm {
        match self {
            Self::P256 => SignatureAlgorithm::Es256,
            Self::P384 => SignatureAlgorithm::Es384,
            Self::P521 => SignatureAlgorithm::Es512,
        }
    }

    fn bits(self) -> usize {
        match self {
            Self::P256 => 256,
            Self::P384 => 384,
            Self::P521 => 521,
        }
    }

    /// Length of a coordinate and of the private number.
    pub(super) fn bytes(self) -> usize {
        self.bits().div_ceil(8)
    }

    fn signing(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Self::P256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
            Self::P384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
            Self::P521 => &ECDSA_P521_SHA512_FIXED_SIGNING,
        }
    }

    fn no_key(self) -> KeyError {
        KeyError::Numbers {
            kind: match self {
                Self::P256 => "a P-256",
                Self::P384 => "a P-384",
                Self::P521 => "a P-521",
            },
        }
    }
}

/// A key out of the numbers of a JWK, each padded to [`Curve::bytes`].
pub(super) fn from_numbers(curve: Curve, d: &[u8], x: &[u8], y: &[u8]) -> Result<EcdsaKeyPair, KeyError> {
    let point = [&[4], x, y].concat();
    EcdsaKeyPair::from_private_key_and_public_key(curve.signing(), d, &point).map_err(|_| curve.no_key())
}

/// A key out of PKCS#8 or SEC 1, whose curve stands in it.
pub(super) fn from_der(der: &[u8]) -> Option<(Curve, EcdsaKeyPair)> {
    Curve::ALL.into_iter().find_map(|curve| {
        EcdsaKeyPair::from_private_key_der(curve.signing(), der).ok().map(|pair| (curve, pair))
    })
}

/// A key that signs.
pub(super) fn signing_key(
    curve: Curve,
    pair: EcdsaKeyPair,
    own_kid: Option<&str>,
    configured_kid: Option<&str>,
) -> Result<SigningKey, KeyError> {
    let mut public = public_jwk(curve, &pair).ok_or_else(|| curve.no_key())?;
    let own_thumbprint = public["kid"].as_str().unwrap_or_default();
    let kid = key_id(own_kid, configured_kid, own_thumbprint);
    public["kid"] = json!(kid);
    let signer = Signer::Curve(Arc::new(pair));
    Ok(SigningKey { signer, algorithm: curve.algorithm(), kid, bits: curve.bits(), public })
}

/// Generates a key pair as JWKs whose `kid` is the thumbprint.
pub fn generate_ec(curve: Curve) -> Result<GeneratedKey, KeyError> {
    let pair = EcdsaKeyPair::generate(curve.signing()).map_err(|_| KeyError::Generate)?;
    let number: EcPrivateKeyBin<'_> = pair.private_key().as_be_bytes().map_err(|_| KeyError::Generate)?;
    let public_jwk = public_jwk(curve, &pair).ok_or(KeyError::Generate)?;
    let number = Zeroizing::new(number.as_ref().to_vec());
    Ok(GeneratedKey { private_jwk: with_private(&public_jwk, &[("d", number)]), public_jwk })
}

/// With the thumbprint as its `kid`.
fn public_jwk(curve: Curve, pair: &EcdsaKeyPair) -> Option<Value> {
    let coordinates = pair.public_key().as_ref().strip_prefix(&[4])?;
    let (x, y) = coordinates.split_at_checked(curve.bytes())?;
    let (x, y, crv) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y), curve.as_str());
    let kid = thumbprint(&format!(r#"{{"crv":"{crv}","kty":"EC","x":"{x}","y":"{y}"}}"#));
    let alg = curve.algorithm().as_str();
    Some(json!({ "kty": "EC", "use": "sig", "alg": alg, "kid": kid, "crv": crv, "x": x, "y": y }))
}
