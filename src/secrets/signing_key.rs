//! # Purpose
//! A private key that signs JWTs, out of whatever form it is kept in.
//!
//! # Invariants kept here
//! - RSA of 2048 to 8192 bits, or an elliptic curve of NIST's that Okta accepts (P-256, P-384, P-521).
//! - The `rsa` crate reads and generates; signing is aws-lc-rs (docs/adr/0003).
//! - The memory of a key is wiped when the last owner drops it, and so is what it was read from.
//!
//! # Not here
//! Reading the forms: `jwk`, `pem`. The claims that are signed: `okta::assertion`, `okta::proof`.

mod ec;
mod error;
mod jwk;
mod members;
mod pem;
mod rsa_key;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::EcdsaKeyPair;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

pub(super) use members::Members;

pub use ec::{Curve, generate_ec};
pub use error::{KeyError, SignError};
pub use rsa_key::generate_rsa;

/// The signature algorithms that Okta accepts of a client (RFC 7518 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// ECDSA on P-521 with SHA-512.
    Es512,
}

impl SignatureAlgorithm {
    /// Those of RSA keys.
    const RSA: [Self; 3] = [Self::Rs256, Self::Rs384, Self::Rs512];

    /// As in a JWT's header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
        }
    }
}

/// A private key that signs client assertions and DPoP proofs.
#[derive(Clone)]
pub struct SigningKey {
    signer: Signer,
    algorithm: SignatureAlgorithm,
    kid: String,
    bits: usize,
    public: Value,
}

#[derive(Clone)]
enum Signer {
    /// RSA, by the JWT library.
    Library(EncodingKey, Algorithm),
    /// Without the JWT library, which does not know ES512 and would want a copy of the others.
    Curve(Arc<EcdsaKeyPair>),
}

crate::secrets::never_shown!(SigningKey, GeneratedKey, EncodingKey);
crate::secrets::never_printed!(Signer, Members<'static>);

/// The header of a JWT (RFC 7515 section 4.1).
#[derive(Serialize)]
struct Header<'a> {
    alg: &'static str,
    typ: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwk: Option<&'a Value>,
}

impl SigningKey {
    /// Reads a JWK (a key, or a set with one private key) or a PEM (PKCS#8, PKCS#1 or SEC 1).
    ///
    /// The key id is the JWK's own, else `configured_kid`, else the RFC 7638 thumbprint.
    pub fn parse(text: &str, configured_kid: Option<&str>) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.starts_with('{') {
            return jwk::read(Members::parse(text).ok_or(KeyError::Json)?, configured_kid);
        }
        if text.contains("-----BEGIN ") {
            return pem::read(text, configured_kid);
        }
        Err(KeyError::Unrecognized)
    }

    /// A compact JWT (RFC 7515 section 7.1) of these claims, with the key's id in its header.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, SignError> {
        self.sign_as(
            &Header { alg: self.algorithm.as_str(), typ: "JWT", kid: Some(&self.kid), jwk: None },
            claims,
        )
    }

    /// A compact JWT of this type, with the public half in its header, as a DPoP proof has it (RFC 9449 section 4.2).
    pub fn sign_showing_itself(&self, typ: &str, claims: &impl Serialize) -> Result<String, SignError> {
        self.sign_as(
            &Header { alg: self.algorithm.as_str(), typ, kid: None, jwk: Some(&self.public) },
            claims,
        )
    }

    fn sign_as(&self, header: &Header<'_>, claims: &impl Serialize) -> Result<String, SignError> {
        let header = serde_json::to_vec(header).map_err(SignError::Claims)?;
        let claims = serde_json::to_vec(claims).map_err(SignError::Claims)?;
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = match &self.signer {
            Signer::Library(key, algorithm) => {
                jsonwebtoken::crypto::sign(message.as_bytes(), key, *algorithm).map_err(SignError::Library)?
            }
            Signer::Curve(key) => {
                let signature =
                    key.sign(&SystemRandom::new(), message.as_bytes()).map_err(|_| SignError::Curve)?;
                URL_SAFE_NO_PAD.encode(signature)
            }
        };
        Ok(format!("{message}.{signature}"))
    }

    /// How it signs.
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// The key id that is sent with every assertion.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Size of the modulus, or of the curve's field.
    pub fn bits(&self) -> usize {
        self.bits
    }

    /// The public half, as it is registered in Okta.
    pub fn public_jwk(&self) -> &Value {
        &self.public
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .field("bits", &self.bits)
            .finish_non_exhaustive()
    }
}

/// A new key pair.
#[derive(Debug)]
pub struct GeneratedKey {
    /// The private JWK as JSON text.
    pub private_jwk: SecretString,
    /// The public JWK, to be registered in Okta.
    pub public_jwk: Value,
}

/// The private JWK: the public one, and these numbers. Written at once into its whole room, so that no copy is left.
fn with_private(public: &Value, numbers: &[(&str, Zeroizing<Vec<u8>>)]) -> SecretString {
    let public = public.to_string();
    let members: Vec<_> = numbers
        .iter()
        .map(|(name, number)| (*name, Zeroizing::new(URL_SAFE_NO_PAD.encode(number))))
        .collect();
    let added: usize = members.iter().map(|(name, text)| r#","":"""#.len() + name.len() + text.len()).sum();
    let mut text = String::with_capacity(public.len() + added);
    text.push_str(public.strip_suffix('}').unwrap_or(&public));
    for (name, number) in &members {
        for part in [",\"", *name, "\":\"", number.as_str(), "\""] {
            text.push_str(part);
        }
    }
    text.push('}');
    SecretString::from(text)
}

/// The key id: what the key itself says, else the configuration, else the thumbprint.
fn key_id(own: Option<&str>, configured: Option<&str>, thumbprint: &str) -> String {
    let named = own.filter(|kid| !kid.is_empty()).or(configured.filter(|kid| !kid.is_empty()));
    named.unwrap_or(thumbprint).to_owned()
}

/// RFC 7638: SHA-256 over the required members in lexicographic order, as JSON without blanks.
fn thumbprint(members: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(members))
}
