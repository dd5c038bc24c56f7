//! # Purpose
//! Turns the text of a private key into something that signs, and says exactly what is wrong when it cannot.
//!
//! # Invariants kept here
//! - RSA of at least 2048 bits, the least Okta accepts.
//! - The `rsa` crate reads and generates; signing is aws-lc-rs (docs/adr/0003).
//!
//! # Not here
//! The claims that are signed: `okta::assertion`.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use jsonwebtoken::EncodingKey;
use rsa::pkcs1::{DecodeRsaPrivateKey, EncodeRsaPrivateKey};
use rsa::pkcs8::DecodePrivateKey;
use rsa::traits::{PrivateKeyParts, PublicKeyParts};
use rsa::{BigUint, RsaPrivateKey};
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// Okta refuses shorter keys.
const LEAST_BITS: usize = 2048;

/// A private key that signs client assertions with RS256.
#[derive(Clone)]
pub struct SigningKey {
    key: EncodingKey,
    kid: String,
    bits: usize,
    public: Value,
}

impl SigningKey {
    /// Reads a JWK (a key, or a set with one private key) or a PEM (PKCS#8 or PKCS#1).
    ///
    /// The key id is the JWK's own, else `configured_kid`, else the RFC 7638 thumbprint.
    pub fn parse(text: &str, configured_kid: Option<&str>) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.starts_with('{') {
            let value: Value = serde_json::from_str(text).map_err(KeyError::Json)?;
            return Self::from_jwk(&value, configured_kid);
        }
        if text.contains("-----BEGIN ") {
            return Self::from_rsa(&read_pem(text)?, None, configured_kid);
        }
        Err(KeyError::Unrecognized)
    }

    /// Reads a JWK as JSON (RFC 7517, RFC 7518 section 6.3.2).
    pub fn from_jwk(value: &Value, configured_kid: Option<&str>) -> Result<Self, KeyError> {
        let jwk = private_member(value)?;
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        match text("kty") {
            Some("RSA") => {}
            Some("EC") => return Err(KeyError::WrongKind { kind: "an EC key" }),
            Some("OKP") => return Err(KeyError::WrongKind { kind: "an Ed25519 or X25519 key" }),
            Some("oct") => return Err(KeyError::WrongKind { kind: "a shared secret" }),
            Some(_) | None => return Err(KeyError::Unrecognized),
        }
        let number = |name: &'static str| -> Result<BigUint, KeyError> {
            let encoded = text(name).ok_or(KeyError::JwkMember { member: name })?;
            // RFC 7518 wants base64url without padding; some tools pad.
            let bytes = URL_SAFE_NO_PAD
                .decode(encoded)
                .or_else(|_| URL_SAFE.decode(encoded))
                .map_err(|_| KeyError::JwkMember { member: name })?;
            Ok(BigUint::from_bytes_be(&bytes))
        };
        if text("d").is_none() {
            return Err(KeyError::PublicOnly);
        }
        let primes = if text("p").is_some() && text("q").is_some() {
            vec![number("p")?, number("q")?]
        } else {
            Vec::new()
        };
        let (n, e, d) = (number("n")?, number("e")?, number("d")?);
        // What the library takes for granted, and panics without.
        let zero = BigUint::from(0_u8);
        for (member, value, most) in [("n", &n, None), ("e", &e, Some(&n)), ("d", &d, Some(&n))] {
            if *value == zero || most.is_some_and(|most| value >= most) {
                return Err(KeyError::JwkMember { member });
            }
        }
        if n.bits() < LEAST_BITS {
            return Err(KeyError::TooShort { bits: n.bits() });
        }
        let mut key = RsaPrivateKey::from_components(n, e, d, primes).map_err(KeyError::Rsa)?;
        key.validate().map_err(KeyError::Rsa)?;
        key.precompute().map_err(KeyError::Rsa)?;
        Self::from_rsa(&key, text("kid"), configured_kid)
    }

    fn from_rsa(
        key: &RsaPrivateKey,
        own_kid: Option<&str>,
        configured_kid: Option<&str>,
    ) -> Result<Self, KeyError> {
        let bits = key.n().bits();
        if bits < LEAST_BITS {
            return Err(KeyError::TooShort { bits });
        }
        let der = key.to_pkcs1_der().map_err(KeyError::Pkcs1)?;
        let (n, e) = (encode(key.n()), encode(key.e()));
        let kid = own_kid
            .or(configured_kid)
            .filter(|kid| !kid.is_empty())
            .map_or_else(|| thumbprint(&n, &e), ToOwned::to_owned);
        let public = json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": n, "e": e });
        Ok(Self { key: EncodingKey::from_rsa_der(der.as_bytes()), kid, bits, public })
    }

    /// For `jsonwebtoken::encode`.
    pub fn encoding_key(&self) -> &EncodingKey {
        &self.key
    }

    /// The key id that is sent with every assertion.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Size of the modulus.
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
        f.debug_struct("SigningKey").field("kid", &self.kid).field("bits", &self.bits).finish_non_exhaustive()
    }
}

/// A private key is not usable.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not a key at all.
    #[error(
        "it holds neither a JWK nor a PEM private key; copy the private key that Okta showed when the key was generated"
    )]
    Unrecognized,
    /// Looked like JSON.
    #[error("it starts like JSON but does not parse; copy the private key again, whole")]
    Json(#[source] serde_json::Error),
    /// A member is missing or not base64url.
    #[error("the JWK's member \"{member}\" is missing or not base64url; copy the private key again, whole")]
    JwkMember {
        /// Which.
        member: &'static str,
    },
    /// The wrong half.
    #[error(
        "it holds only the public half; the private key is needed (a JWK with \"d\", or a PEM that says PRIVATE KEY)"
    )]
    PublicOnly,
    /// Locked.
    #[error(
        "the private key is encrypted; store it without a pass phrase (openssl pkey -in OLD -out NEW) and let the mount protect it"
    )]
    Encrypted,
    /// Not RSA.
    #[error(
        "it holds {kind}; an RSA private key of at least 2048 bits is needed (in Okta: Client Credentials, Public key / Private key, Generate new key)"
    )]
    WrongKind {
        /// What was found.
        kind: &'static str,
    },
    /// Too weak.
    #[error("the RSA key has {bits} bits; Okta accepts 2048 and more, so generate a new key")]
    TooShort {
        /// What was found.
        bits: usize,
    },
    /// PKCS#8 that does not decode.
    #[error("the PEM says PRIVATE KEY but does not decode as an RSA key; copy the private key again, whole")]
    Pkcs8(#[source] rsa::pkcs8::Error),
    /// PKCS#1 that does not decode.
    #[error("the PEM says RSA PRIVATE KEY but does not decode; copy the private key again, whole")]
    Pkcs1(#[source] rsa::pkcs1::Error),
    /// Numbers that are no key.
    #[error("the numbers in it do not form an RSA key; copy the private key again, whole")]
    Rsa(#[source] rsa::Error),
    /// A set with several.
    #[error("the JWK set holds {count} private keys; keep the one to sign with")]
    SeveralKeys {
        /// How many.
        count: usize,
    },
}

/// A new key pair.
#[derive(Debug)]
pub struct GeneratedKey {
    /// The private JWK as JSON text.
    pub private_jwk: SecretString,
    /// The public JWK, to be registered in Okta.
    pub public_jwk: Value,
}

/// Generates an RSA key pair as JWKs whose `kid` is the thumbprint. Takes up to seconds: keep it off the runtime's
/// threads.
pub fn generate_rsa(bits: usize) -> Result<GeneratedKey, KeyError> {
    let mut rng = rsa::rand_core::OsRng;
    let key = RsaPrivateKey::new(&mut rng, bits).map_err(KeyError::Rsa)?;
    let (n, e) = (encode(key.n()), encode(key.e()));
    let kid = thumbprint(&n, &e);
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

fn read_pem(text: &str) -> Result<RsaPrivateKey, KeyError> {
    // Secret stores keep a PEM on one line with the two characters `\n`; editors add blanks and carriage returns.
    let unescaped = text.replace("\\n", "\n");
    let pem: String =
        unescaped.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
    if pem.contains("BEGIN ENCRYPTED PRIVATE KEY") || pem.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(KeyError::Encrypted);
    }
    if pem.contains("BEGIN EC PRIVATE KEY") {
        return Err(KeyError::WrongKind { kind: "an EC key" });
    }
    if pem.contains("BEGIN RSA PRIVATE KEY") {
        return RsaPrivateKey::from_pkcs1_pem(&pem).map_err(KeyError::Pkcs1);
    }
    if pem.contains("BEGIN PRIVATE KEY") {
        return RsaPrivateKey::from_pkcs8_pem(&pem).map_err(|error| {
            if matches!(error, rsa::pkcs8::Error::PublicKey(rsa::pkcs8::spki::Error::OidUnknown { .. })) {
                KeyError::WrongKind { kind: "a key of another kind than RSA" }
            } else {
                KeyError::Pkcs8(error)
            }
        });
    }
    if pem.contains("PUBLIC KEY") || pem.contains("BEGIN CERTIFICATE") {
        return Err(KeyError::PublicOnly);
    }
    Err(KeyError::Unrecognized)
}

fn encode(number: &BigUint) -> String {
    URL_SAFE_NO_PAD.encode(number.to_bytes_be())
}

/// RFC 7638: SHA-256 over the required members in lexicographic order.
fn thumbprint(n: &str, e: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#)))
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use rsa::pkcs1::LineEnding;
    use rsa::pkcs8::EncodePrivateKey;
    use secrecy::ExposeSecret;

    use super::*;

    fn jwk() -> Value {
        static KEY: OnceLock<Value> = OnceLock::new();
        KEY.get_or_init(|| {
            let key = generate_rsa(2048).unwrap();
            serde_json::from_str(key.private_jwk.expose_secret()).unwrap()
        })
        .clone()
    }

    fn rsa_key() -> RsaPrivateKey {
        let jwk = jwk();
        let number = |name: &str| {
            BigUint::from_bytes_be(&URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap())
        };
        RsaPrivateKey::from_components(number("n"), number("e"), number("d"), vec![number("p"), number("q")])
            .unwrap()
    }

    #[test]
    fn every_form_of_one_key_gives_the_same_public_half() {
        let jwk = jwk();
        let pkcs8 = rsa_key().to_pkcs8_pem(LineEnding::LF).unwrap().to_string();
        let pkcs1 = rsa_key().to_pkcs1_pem(LineEnding::CRLF).unwrap().to_string();
        let mut without_primes = jwk.clone();
        for member in ["p", "q"] {
            without_primes.as_object_mut().unwrap().remove(member);
        }
        let forms = [
            jwk.to_string(),
            serde_json::to_string_pretty(&jwk).unwrap(),
            json!({ "keys": [jwk.clone()] }).to_string(),
            without_primes.to_string(),
            pkcs8.clone(),
            pkcs8.replace('\n', "\\n"),
            format!("  \r\n{}", pkcs8.replace('\n', " \r\n")),
            pkcs1,
        ];
        for form in forms {
            let key = SigningKey::parse(&form, None).unwrap();
            assert_eq!(key.public_jwk()["n"], jwk["n"]);
            assert_eq!(key.kid(), jwk["kid"].as_str().unwrap(), "the thumbprint equals the generated kid");
            assert_eq!(key.bits(), 2048);
        }
    }

    #[test]
    fn the_key_id_is_the_jwks_then_the_configured_one() {
        let mut named = jwk();
        named["kid"] = json!("its-own");
        assert_eq!(SigningKey::parse(&named.to_string(), Some("configured")).unwrap().kid(), "its-own");
        named.as_object_mut().unwrap().remove("kid");
        assert_eq!(SigningKey::parse(&named.to_string(), Some("configured")).unwrap().kid(), "configured");
    }

    /// A panic here would end the process when a bad file is mounted over a good one (invariant 14).
    #[test]
    fn a_damaged_jwk_is_refused_without_a_panic() {
        let damage: [fn(&str) -> String; 6] = [
            |text| text[..text.len() - 1].to_owned(),
            |text| text[..text.len() / 2].to_owned(),
            |text| format!("AB{}", &text[2..]),
            |_| String::new(),
            |_| "AQ".to_owned(),
            |text| format!("{text}{text}"),
        ];
        for member in ["n", "e", "d", "p", "q"] {
            for damaged in damage {
                for primes in [true, false] {
                    let mut key = jwk();
                    key[member] = json!(damaged(key[member].as_str().unwrap()));
                    let key = key.as_object_mut().unwrap();
                    if !primes {
                        key.retain(|name, _| name != "p" && name != "q");
                    }
                    let is_whole = !primes && ["p", "q"].contains(&member);
                    let text = Value::from(key.clone()).to_string();
                    assert_eq!(SigningKey::parse(&text, None).is_ok(), is_whole, "{member} {primes}");
                }
            }
        }
        for (n, e, d) in [("AA", "AA", "AA"), ("AQ", "AQ", "AQ"), ("", "", ""), ("_____w", "AQAB", "AQAB")] {
            let text = json!({ "kty": "RSA", "n": n, "e": e, "d": d }).to_string();
            assert!(SigningKey::parse(&text, None).is_err());
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_cure() {
        let short = {
            let key = generate_rsa(1024).unwrap();
            key.private_jwk.expose_secret().to_owned()
        };
        let mut public = jwk();
        for member in ["d", "p", "q"] {
            public.as_object_mut().unwrap().remove(member);
        }
        let pem = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----");
        let cases = [
            ("hello".to_owned(), "neither a JWK nor a PEM"),
            ("{\"kty\":".to_owned(), "does not parse"),
            (public.to_string(), "only the public half"),
            (pem("PUBLIC KEY"), "only the public half"),
            (pem("CERTIFICATE"), "only the public half"),
            (pem("ENCRYPTED PRIVATE KEY"), "is encrypted; store it without"),
            (pem("EC PRIVATE KEY"), "an EC key; an RSA private key"),
            (pem("PRIVATE KEY"), "does not decode"),
            (pem("RSA PRIVATE KEY"), "does not decode"),
            (json!({"kty":"EC","crv":"P-256","d":"AA"}).to_string(), "an EC key; an RSA private key"),
            (json!({"keys":[jwk(), jwk()]}).to_string(), "holds 2 private keys"),
            (short, "has 1024 bits"),
        ];
        for (text, expected) in cases {
            let error = SigningKey::parse(&text, None).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn debug_prints_no_key_material() {
        let key = SigningKey::from_jwk(&jwk(), None).unwrap();
        let printed = format!("{key:?}");
        assert!(!printed.contains(jwk()["d"].as_str().unwrap()));
        assert!(printed.contains("bits: 2048"), "{printed}");
    }
}
