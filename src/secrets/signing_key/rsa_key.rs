//! # Purpose
//! RSA keys: checked, generated, made into something that signs.
//!
//! # Invariants kept here
//! - No number that the library would panic about, or go on for ever with, gets to it.
//! - The private numbers are wiped, but for what the library's arithmetic leaves (docs/security-model.md).
//!
//! # Not here
//! Signing.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use rsa::pkcs1::EncodeRsaPrivateKey;
use rsa::traits::{PrivateKeyParts, PublicKeyParts};
use rsa::{BigUint, RsaPrivateKey};
use secrecy::zeroize::Zeroizing;
use serde_json::json;

use super::{
    GeneratedKey, KeyError, SignatureAlgorithm, Signer, SigningKey, key_id, thumbprint, with_private,
};

/// Okta refuses shorter keys.
const LEAST_BITS: usize = 2048;
/// aws-lc-rs signs with no longer ones.
const MOST_BITS: usize = 8192;

const NO_KEY: KeyError = KeyError::Numbers { kind: "an RSA" };

/// The numbers of a JWK; `primes` are two or none.
pub(super) struct Numbers {
    pub(super) n: Zeroizing<BigUint>,
    pub(super) e: Zeroizing<BigUint>,
    pub(super) d: Zeroizing<BigUint>,
    pub(super) primes: Vec<Zeroizing<BigUint>>,
}

crate::secrets::never_printed!(Numbers);

/// The number of these bytes, the most significant one first.
pub(super) fn number(mut bytes: Zeroizing<Vec<u8>>) -> Zeroizing<BigUint> {
    // `from_bytes_be` would do this in a copy of its own, which it does not wipe.
    bytes.reverse();
    Zeroizing::new(BigUint::from_bytes_le(&bytes))
}

/// A key out of its numbers.
pub(super) fn from_numbers(numbers: Numbers) -> Result<RsaPrivateKey, KeyError> {
    let Numbers { mut n, mut e, mut d, primes } = numbers;
    let zero = BigUint::from(0_u8);
    for (member, value, most) in [("n", &*n, None), ("e", &*e, Some(&*n)), ("d", &*d, Some(&*n))] {
        if *value == zero || most.is_some_and(|most| value >= most) {
            return Err(KeyError::JwkMember { member });
        }
    }
    check_size(n.bits())?;
    let [n, e, d] = [&mut n, &mut e, &mut d].map(|number| std::mem::take(&mut **number));
    let primes = primes.into_iter().map(|mut prime| std::mem::take(&mut *prime)).collect();
    let mut key = RsaPrivateKey::from_components(n, e, d, primes).map_err(|_| NO_KEY)?;
    key.validate().map_err(|_| NO_KEY)?;
    key.precompute().map_err(|_| NO_KEY)?;
    Ok(key)
}

/// A key that signs.
pub(super) fn signing_key(
    key: &RsaPrivateKey,
    algorithm: SignatureAlgorithm,
    own_kid: Option<&str>,
    configured_kid: Option<&str>,
) -> Result<SigningKey, KeyError> {
    let bits = key.n().bits();
    check_size(bits)?;
    let der = key.to_pkcs1_der().map_err(|_| NO_KEY)?;
    let (n, e) = (encode(key.n()), encode(key.e()));
    let kid = key_id(own_kid, configured_kid, &key_thumbprint(&n, &e));
    let public = json!({ "kty": "RSA", "use": "sig", "alg": algorithm.as_str(), "kid": kid, "n": n, "e": e });
    let library = match algorithm {
        SignatureAlgorithm::Rs384 => Algorithm::RS384,
        SignatureAlgorithm::Rs512 => Algorithm::RS512,
        SignatureAlgorithm::Rs256
        | SignatureAlgorithm::Es256
        | SignatureAlgorithm::Es384
        | SignatureAlgorithm::Es512 => Algorithm::RS256,
    };
    let signer = Signer::Library(EncodingKey::from_rsa_der(der.as_bytes()), library);
    Ok(SigningKey { signer, algorithm, kid, bits, public })
}

/// Generates an RSA key pair as JWKs whose `kid` is the thumbprint. Takes up to seconds: keep it off the runtime's
/// threads.
pub fn generate_rsa(bits: usize) -> Result<GeneratedKey, KeyError> {
    let mut rng = rsa::rand_core::OsRng;
    let key = RsaPrivateKey::new(&mut rng, bits).map_err(|_| KeyError::Generate)?;
    let (n, e) = (encode(key.n()), encode(key.e()));
    let kid = key_thumbprint(&n, &e);
    let public_jwk = json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": n, "e": e });
    let numbers = [key.d()].into_iter().chain(key.primes());
    let numbers = numbers.map(|number| Zeroizing::new(number.to_bytes_be()));
    let private: Vec<_> = ["d", "p", "q"].into_iter().zip(numbers).collect();
    Ok(GeneratedKey { private_jwk: with_private(&public_jwk, &private), public_jwk })
}

fn check_size(bits: usize) -> Result<(), KeyError> {
    match bits {
        ..LEAST_BITS => Err(KeyError::TooShort { bits }),
        LEAST_BITS..=MOST_BITS => Ok(()),
        _ => Err(KeyError::TooLong { bits }),
    }
}

fn encode(number: &BigUint) -> String {
    URL_SAFE_NO_PAD.encode(number.to_bytes_be())
}

fn key_thumbprint(n: &str, e: &str) -> String {
    thumbprint(&format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#))
}
