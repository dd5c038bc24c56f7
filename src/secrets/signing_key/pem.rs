//! # Purpose
//! Private keys as PEM (RFC 7468), as files, secret stores and editors leave it.
//!
//! # Invariants kept here
//! - White space never matters, nor what stands around the key: certificates, curve parameters, comments.
//!
//! # Not here
//! What the numbers must fulfil: `rsa_key`, `ec`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rsa::RsaPrivateKey;
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs8::{ObjectIdentifier, PrivateKeyInfo};
use secrecy::zeroize::Zeroizing;

use super::{KeyError, SignatureAlgorithm, SigningKey, ec, rsa_key};

/// RFC 8017 appendix A.1.
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// RFC 5480 section 2.1.1.
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const PKCS1: &str = "RSA PRIVATE KEY";
const PKCS8: &str = "PRIVATE KEY";
const SEC1: &str = "EC PRIVATE KEY";
const ENCRYPTED_PKCS8: &str = "ENCRYPTED PRIVATE KEY";
const OPENSSH: &str = "OPENSSH PRIVATE KEY";
const DSA: &str = "DSA PRIVATE KEY";

pub(super) fn read(text: &str, configured_kid: Option<&str>) -> Result<SigningKey, KeyError> {
    // Secret stores keep a PEM on one line with the two characters `\n`.
    let text = Zeroizing::new(text.replace("\\r", "").replace("\\n", "\n"));
    for label in [PKCS8, PKCS1, SEC1, ENCRYPTED_PKCS8, OPENSSH, DSA] {
        if let Some(body) = body(&text, label)? {
            return read_one(label, body, configured_kid);
        }
    }
    if text.contains("PUBLIC KEY") || text.contains("BEGIN CERTIFICATE") {
        return Err(KeyError::PublicOnly);
    }
    Err(KeyError::Unrecognized)
}

fn read_one(label: &'static str, body: &str, configured_kid: Option<&str>) -> Result<SigningKey, KeyError> {
    // RFC 1421's headers stand before the body.
    if label == ENCRYPTED_PKCS8 || body.contains("ENCRYPTED") {
        return Err(KeyError::Encrypted);
    }
    match label {
        OPENSSH => return Err(KeyError::OpenSsh),
        DSA => return Err(KeyError::WrongKind { kind: "a DSA key" }),
        _ => {}
    }
    let encoded = Zeroizing::new(body.split_whitespace().collect::<String>());
    let wrong = KeyError::Pem { label };
    let Ok(der) = STANDARD.decode(encoded.as_bytes()).map(Zeroizing::new) else {
        return Err(wrong);
    };
    let kind = if label == PKCS8 {
        let Ok(info) = PrivateKeyInfo::try_from(der.as_slice()) else {
            return Err(wrong);
        };
        match info.algorithm.oid {
            RSA => Kind::Rsa(Zeroizing::new(info.private_key.to_vec())),
            EC => Kind::Ec,
            _ => return Err(KeyError::WrongKind { kind: "a key of another kind" }),
        }
    } else if label == PKCS1 {
        Kind::Rsa(der.clone())
    } else {
        Kind::Ec
    };
    match kind {
        Kind::Rsa(pkcs1) => {
            let Ok(key) = RsaPrivateKey::from_pkcs1_der(&pkcs1) else {
                return Err(wrong);
            };
            rsa_key::signing_key(&key, SignatureAlgorithm::Rs256, None, configured_kid)
        }
        Kind::Ec => {
            let (curve, pair) = ec::from_der(&der).ok_or(wrong)?;
            ec::signing_key(curve, pair, None, configured_kid)
        }
    }
}

enum Kind {
    Rsa(Zeroizing<Vec<u8>>),
    Ec,
}

/// What stands between the lines that name `label`.
fn body<'a>(text: &'a str, label: &'static str) -> Result<Option<&'a str>, KeyError> {
    let Some((_, after)) = text.split_once(&format!("-----BEGIN {label}-----")) else {
        return Ok(None);
    };
    match after.split_once(&format!("-----END {label}-----")) {
        Some((body, _)) => Ok(Some(body)),
        None => Err(KeyError::Pem { label }),
    }
}
