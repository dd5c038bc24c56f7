//! # Purpose
//! Private keys and credentials, as they stand in a mounted file.
//!
//! # Invariants kept here
//! - What is refused is refused without a word of what it held.
//! - What is accepted signs what its public half verifies, and shows nothing private.
//!
//! # Not here
//! Whole keys: `tests/it/fuzz.rs` makes them and hands them in; none is kept in a file.

use std::fs;
use std::path::PathBuf;

use apono_connector::secrets::{
    Credentials, CredentialsError, CredentialsSource, MountedFile, SignatureAlgorithm, SigningKey,
};
use apono_connector::telemetry::chain;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{DecodingKey, Validation, decode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::text::quoted_secret;

/// A key, or credentials that hold one.
pub fn signing_key(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        match SigningKey::parse(text, None) {
            Ok(key) => accepted(text, &key),
            Err(error) => {
                tells_nothing(text, &error.to_string(), &format!("{error:?}"));
                assert!(!error.code().to_string().is_empty());
            }
        }
        if let Ok(named) = SigningKey::parse(text, Some("configured")) {
            assert_eq!(named.public_jwk()["kid"], named.kid());
        }
    }
    mounted(data);
}

/// The same bytes as Apono's secret, and as a key file.
fn mounted(data: &[u8]) {
    let path = written(data);
    let text = String::from_utf8_lossy(data);
    let file = MountedFile::new(&path);
    let sources = [
        CredentialsSource::Secret { file: file.clone(), key_id: None },
        CredentialsSource::KeyFile { client_id: "0oaexample".to_owned(), file, key_id: None },
    ];
    for source in sources {
        match source.load() {
            Ok(credentials) => {
                let Credentials { client_id, key } = &credentials;
                assert!(!client_id.trim().is_empty());
                has_no_private_half(key);
            }
            Err(error) => named(&text, &path, &error),
        }
    }
}

fn named(text: &str, path: &std::path::Path, error: &CredentialsError) {
    let shown = chain(error).to_string();
    assert!(shown.contains(&path.display().to_string()), "the file is not named: {shown}");
    tells_nothing(text, &shown.replace(&path.display().to_string(), ""), "");
}

fn tells_nothing(text: &str, shown: &str, debugged: &str) {
    for said in [shown, debugged] {
        let quoted = quoted_secret(said, text);
        assert!(quoted.is_none(), "an error quotes what it read, {quoted:?}: {said}");
    }
    assert!(!shown.is_empty() && shown.len() < 1000, "{shown}");
}

fn accepted(text: &str, key: &SigningKey) {
    has_no_private_half(key);
    let public = key.public_jwk();
    assert_eq!(public["alg"], key.algorithm().as_str());
    assert_eq!(public["kid"], key.kid());
    assert!((256..=8192).contains(&key.bits()), "{}", key.bits());
    if !text.contains("\"kid\"") && !text.contains('\\') {
        assert_eq!(key.kid(), thumbprint(public));
    }
    let again = SigningKey::parse(text, None);
    assert!(again.is_ok_and(|again| again.public_jwk() == public), "read twice, it is two keys");
    assert!(SigningKey::parse(&public.to_string(), None).is_err(), "the public half alone is accepted");
    let jwt = key.sign(&json!({ "sub": "0oaexample" }));
    assert!(jwt.is_ok(), "an accepted key does not sign");
    let Ok(jwt) = jwt else { return };
    assert_eq!(jwt.split('.').count(), 3);
    // The library does not know ES512.
    if key.algorithm() != SignatureAlgorithm::Es512 {
        assert!(verifies(&jwt, public), "what it signs its public half does not verify");
    }
}

fn has_no_private_half(key: &SigningKey) {
    let public = key.public_jwk();
    for member in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        assert!(public.get(member).is_none(), "{member} is published");
    }
    let known = format!("{}{}", key.kid(), key.algorithm().as_str());
    assert!(format!("{key:?}").len() < known.len() * 10 + 200, "too much is printed");
}

/// RFC 7638.
fn thumbprint(public: &Value) -> String {
    let of = |name: &str| public[name].as_str().unwrap_or_default();
    let members = match of("kty") {
        "EC" => format!(r#"{{"crv":"{}","kty":"EC","x":"{}","y":"{}"}}"#, of("crv"), of("x"), of("y")),
        _ => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, of("e"), of("n")),
    };
    URL_SAFE_NO_PAD.encode(Sha256::digest(members))
}

fn verifies(jwt: &str, public: &Value) -> bool {
    let Ok(algorithm) = public["alg"].as_str().unwrap_or_default().parse() else { return false };
    let mut rules = Validation::new(algorithm);
    (rules.validate_exp, rules.validate_aud) = (false, false);
    rules.required_spec_claims.clear();
    let key = serde_json::from_value::<Jwk>(public.clone()).ok();
    let key = key.and_then(|key| DecodingKey::from_jwk(&key).ok());
    key.is_some_and(|key| decode::<Value>(jwt, &key, &rules).is_ok())
}

/// A file that holds `data`, the same for all checks of a thread.
fn written(data: &[u8]) -> PathBuf {
    thread_local! {
        static FOLDER: Option<TempDir> = TempDir::new().ok();
    }
    let path = FOLDER.with(|folder| folder.as_ref().map(|folder| folder.path().join("okta.json")));
    let Some(path) = path else { unreachable!("no temporary folder") };
    let written = fs::write(&path, data);
    assert!(written.is_ok(), "{written:?}");
    path
}
