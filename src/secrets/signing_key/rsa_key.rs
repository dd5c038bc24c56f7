//! # Purpose
//! RSA keys: checked, generated, made into something that signs.
//!
//! # Invariants kept here
//! - No number that the library would panic about, or go on for ever with, gets to it.
//!
//! # Not here
//! Signing.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use rsa::pkcs1::EncodeRsaPrivateKey;
use rsa::traits::{PrivateKeyParts, PublicKeyParts};
use rsa::{BigUint, RsaPrivateKey};
use secrecy::SecretString;
use serde_json::json;

use super::{GeneratedKey, KeyError, SignatureAlgorithm, Signer, SigningKey, key_id, thumbprint};

/// Okta refuses shorter keys.
const LEAST_BITS: usize = 2048;
/// aws-lc-rs signs with no longer ones.
const MOST_BITS: usize = 8192;

const NO_KEY: KeyError = KeyError::Numbers { kind: "an RSA" };

/// The numbers of a JWK; `primes` are two or none.
pub(super) struct Numbers {
    pub(super) n: BigUint,
    pub(super) e: BigUint,
    pub(super) d: BigUint,
    pub(super) primes: Vec<BigUint>,
}

/// A key out of its numbers.
pub(super) fn from_numbers(numbers: Numbers) -> Result<RsaPrivateKey, KeyError> {
    let Numbers { n, e, d, primes } = numbers;
    let zero = BigUint::from(0_u8);
    for (member, value, most) in [("n", &n, None), ("e", &e, Some(&n)), ("d", &d, Some(&n))] {
        if *value == zero || most.is_some_and(|most| value >= most) {
            return Err(KeyError::JwkMember { member });
        }
    }
    check_size(n.bits())?;
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
    let mut primes = key.primes().iter().map(encode);
    let private = json!({
        "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": n, "e": e,
        "d": encode(key.d()), "p": primes.next(), "q": primes.next(),
    });
    Ok(GeneratedKey {
        private_jwk: SecretString::from(private.to_string()),
        public_jwk: json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": n, "e": e }),
    })
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
