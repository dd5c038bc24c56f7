//! # Purpose
//! Private keys as PEM (RFC 7468), as files, secret stores and editors leave it.
//!
//! # Invariants kept here
//! - White space never matters, nor what stands around the key: certificates, curve parameters, comments.
//! - What is made of the text on the way to the key has its whole room from the beginning and is wiped.
//!
//! # Not here
//! What the numbers must fulfil: `rsa_key`, `ec`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rsa::pkcs1;
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
    let text = on_lines(text);
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

/// Secret stores keep a PEM on one line with the two characters `\n`.
fn on_lines(text: &str) -> Zeroizing<String> {
    let mut lines = Zeroizing::new(String::with_capacity(text.len()));
    for (n, line) in text.split("\\n").enumerate() {
        if n > 0 {
            lines.push('\n');
        }
        lines.extend(line.split("\\r"));
    }
    lines
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
    let mut encoded = Zeroizing::new(String::with_capacity(body.len()));
    encoded.extend(body.split_whitespace());
    let wrong = KeyError::Pem { label };
    let mut der = Zeroizing::new(Vec::with_capacity(base64::decoded_len_estimate(encoded.len())));
    if STANDARD.decode_vec(encoded.as_bytes(), &mut der).is_err() {
        return Err(wrong);
    }
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
        Kind::Rsa(der) => {
            let key = rsa_numbers(&der).ok_or(wrong).and_then(rsa_key::from_numbers)?;
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

crate::secrets::never_printed!(Kind);

/// RFC 8017 appendix A.1.2. The library's own way from here to a key leaves copies of the numbers.
fn rsa_numbers(der: &[u8]) -> Option<rsa_key::Numbers> {
    let key = pkcs1::RsaPrivateKey::try_from(der).ok()?;
    let number = |of: pkcs1::UintRef<'_>| rsa_key::number(Zeroizing::new(of.as_bytes().to_vec()));
    (key.version() == pkcs1::Version::TwoPrime).then(|| rsa_key::Numbers {
        n: number(key.modulus),
        e: number(key.public_exponent),
        d: number(key.private_exponent),
        primes: vec![number(key.prime1), number(key.prime2)],
    })
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
