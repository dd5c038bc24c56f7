//! Keys that are made here, whole and damaged. No key is kept in a file.

use apono_connector::secrets::{Curve, GeneratedKey, generate_ec, generate_rsa};
use aws_lc_rs::encoding::{AsDer, EcPrivateKeyRfc5915Der};
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rsa::pkcs1::EncodeRsaPrivateKey;
use rsa::pkcs8::EncodePrivateKey;
use rsa::{BigUint, RsaPrivateKey};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::holds;
use super::mutations::mutations;

/// Every form of a key as it is, and damaged in its text and, where it is a PEM, in its DER.
pub fn whole_and_damaged(check: fn(&[u8])) {
    let rsa = jwk(&generate_rsa(2048).unwrap());
    let curves: Vec<_> = Curve::ALL.into_iter().map(|curve| jwk(&generate_ec(curve).unwrap())).collect();
    let mut texts: Vec<_> = [&rsa].into_iter().chain(&curves).map(Value::to_string).collect();
    texts.push(json!({ "keys": [curves[0], { "kty": "RSA", "n": "AQ", "e": "AQAB" }] }).to_string());
    texts.push(json!({ "keys": [curves[0], rsa] }).to_string());
    texts.push(json!({ "client_id": "0oaexample", "private_key": curves[0] }).to_string());
    for member in ["alg", "use", "kid", "crv", "x"] {
        // The private number where a word should be.
        let mut odd = curves[1].clone();
        odd[member] = odd["d"].clone();
        texts.push(odd.to_string());
    }
    for (index, text) in texts.iter().enumerate() {
        holds(check, text.as_bytes(), &format!("JWK {index}"));
        // RSA takes its time.
        let count = if text.len() > 1000 { 15 } else { 60 };
        for (what, bytes) in mutations("jwk", text.as_bytes(), b"\"}", count) {
            holds(check, &bytes, &format!("JWK {index}, {what}"));
        }
    }
    for (label, der) in ders(&rsa) {
        holds(check, pem(label, &der).as_bytes(), label);
        for (what, der) in mutations(label, &der, &[], 40) {
            holds(check, pem(label, &der).as_bytes(), &format!("{label}, its DER: {what}"));
        }
        let text = pem(label, &der);
        for (what, bytes) in mutations(label, text.as_bytes(), b"-----END", 40) {
            holds(check, &bytes, &format!("{label}, its text: {what}"));
        }
    }
}

fn ders(rsa: &Value) -> Vec<(&'static str, Vec<u8>)> {
    let number =
        |name: &str| BigUint::from_bytes_be(&URL_SAFE_NO_PAD.decode(rsa[name].as_str().unwrap()).unwrap());
    let primes = vec![number("p"), number("q")];
    let rsa = RsaPrivateKey::from_components(number("n"), number("e"), number("d"), primes).unwrap();
    let ec = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let sec1: EcPrivateKeyRfc5915Der<'_> = ec.private_key().as_der().unwrap();
    vec![
        ("RSA PRIVATE KEY", rsa.to_pkcs1_der().unwrap().as_bytes().to_vec()),
        ("PRIVATE KEY", rsa.to_pkcs8_der().unwrap().as_bytes().to_vec()),
        ("PRIVATE KEY", ec.to_pkcs8v1().unwrap().as_ref().to_vec()),
        ("EC PRIVATE KEY", sec1.as_ref().to_vec()),
    ]
}

fn jwk(key: &GeneratedKey) -> Value {
    serde_json::from_str(key.private_jwk.expose_secret()).unwrap()
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}
