use std::sync::OnceLock;

use aws_lc_rs::encoding::{AsDer, EcPrivateKeyRfc5915Der};
use aws_lc_rs::signature::{ECDSA_P521_SHA512_FIXED, EcdsaKeyPair, UnparsedPublicKey, VerificationAlgorithm};
use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use jsonwebtoken::{DecodingKey, Validation, decode};
use proptest::prelude::*;
use rsa::pkcs1::{EncodeRsaPrivateKey, LineEnding};
use rsa::pkcs8::EncodePrivateKey;
use rsa::{BigUint, RsaPrivateKey};
use secrecy::ExposeSecret;
use serde_json::json;

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
    let number =
        |name: &str| BigUint::from_bytes_be(&URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap());
    RsaPrivateKey::from_components(number("n"), number("e"), number("d"), vec![number("p"), number("q")])
        .unwrap()
}

fn ec_jwk(curve: Curve) -> Value {
    serde_json::from_str(generate_ec(curve).unwrap().private_jwk.expose_secret()).unwrap()
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// As files, secret stores, editors and shells leave a PEM.
fn mangled(pem: &str) -> Vec<String> {
    vec![
        pem.to_owned(),
        pem.replace('\n', "\\n"),
        pem.replace('\n', "\\r\\n"),
        pem.replace('\n', "\r\n"),
        format!("  \r\n{}", pem.replace('\n', " \r\n\t")),
        pem.replace('\n', " "),
        format!("Bag Attributes\n    friendlyName: okta\n{pem}"),
        format!("{pem}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
    ]
}

/// With the library that the connector does not sign with in this way, or with the curve's own verifier.
fn is_signed_by(jwt: &str, public: &Value) -> bool {
    let alg = public["alg"].as_str().unwrap();
    if alg == "ES512" {
        let (message, signature) = jwt.rsplit_once('.').unwrap();
        let coordinate = |name: &str| URL_SAFE_NO_PAD.decode(public[name].as_str().unwrap()).unwrap();
        let point = [vec![4], coordinate("x"), coordinate("y")].concat();
        let rules: &'static dyn VerificationAlgorithm = &ECDSA_P521_SHA512_FIXED;
        let key = UnparsedPublicKey::new(rules, point);
        return key.verify(message.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).is_ok();
    }
    let mut rules = Validation::new(alg.parse().unwrap());
    (rules.validate_exp, rules.validate_aud) = (false, false);
    rules.required_spec_claims.clear();
    let key = serde_json::from_value::<Jwk>(public.clone()).unwrap();
    decode::<Value>(jwt, &DecodingKey::from_jwk(&key).unwrap(), &rules).is_ok()
}

fn header(jwt: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(jwt.split('.').next().unwrap()).unwrap()).unwrap()
}

#[test]
fn every_form_of_one_rsa_key_gives_the_same_public_half() {
    let jwk = jwk();
    let pkcs8 = rsa_key().to_pkcs8_pem(LineEnding::LF).unwrap().to_string();
    let pkcs1 = rsa_key().to_pkcs1_pem(LineEnding::LF).unwrap().to_string();
    let mut without_primes = jwk.clone();
    for member in ["p", "q"] {
        without_primes.as_object_mut().unwrap().remove(member);
    }
    let mut forms = vec![
        jwk.to_string(),
        serde_json::to_string_pretty(&jwk).unwrap(),
        json!({ "keys": [jwk.clone()] }).to_string(),
        json!({ "keys": [{ "kty": "RSA", "n": "AQ", "e": "AQAB" }, jwk.clone()] }).to_string(),
        without_primes.to_string(),
    ];
    forms.extend(mangled(&pkcs8));
    forms.extend(mangled(&pkcs1));
    for form in forms {
        let key = SigningKey::parse(&form, None).unwrap();
        assert_eq!(key.public_jwk()["n"], jwk["n"]);
        assert_eq!(key.kid(), jwk["kid"].as_str().unwrap(), "the thumbprint equals the generated kid");
        assert_eq!((key.bits(), key.algorithm()), (2048, SignatureAlgorithm::Rs256));
    }
}

#[test]
fn every_form_of_one_ec_key_gives_the_same_public_half() {
    for curve in Curve::ALL {
        let jwk = ec_jwk(curve);
        let member = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
        let pair = ec::from_numbers(curve, &member("d"), &member("x"), &member("y")).unwrap();
        let pkcs8 = pem("PRIVATE KEY", pair.to_pkcs8v1().unwrap().as_ref());
        let der: EcPrivateKeyRfc5915Der<'_> = pair.private_key().as_der().unwrap();
        let sec1 = pem("EC PRIVATE KEY", der.as_ref());
        let with_parameters =
            format!("-----BEGIN EC PARAMETERS-----\nBgUrgQQAIg==\n-----END EC PARAMETERS-----\n{sec1}");
        let mut forms = vec![jwk.to_string(), json!({ "keys": [jwk.clone()] }).to_string(), with_parameters];
        forms.extend(mangled(&pkcs8));
        forms.extend(mangled(&sec1));
        for form in forms {
            let key = SigningKey::parse(&form, None).unwrap();
            let mut expected = jwk.clone();
            expected.as_object_mut().unwrap().remove("d");
            assert_eq!(*key.public_jwk(), expected);
            assert_eq!(key.algorithm(), curve.algorithm());
        }
    }
}

/// The private number, or a coordinate, with zeros in front; some tools leave these out.
#[test]
fn leading_zeros_that_were_left_out_are_put_back() {
    let jwk = std::iter::repeat_with(|| ec_jwk(Curve::P521)).find(|jwk| {
        let bytes = URL_SAFE_NO_PAD.decode(jwk["x"].as_str().unwrap()).unwrap();
        bytes[0] == 0
    });
    let mut jwk = jwk.unwrap();
    let key = SigningKey::parse(&jwk.to_string(), None).unwrap();
    for name in ["d", "x", "y"] {
        let bytes = URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
        let first = bytes.iter().position(|byte| *byte != 0).unwrap();
        jwk[name] = json!(URL_SAFE_NO_PAD.encode(&bytes[first..]));
    }
    assert_eq!(SigningKey::parse(&jwk.to_string(), None).unwrap().public_jwk(), key.public_jwk());
}

#[test]
fn every_algorithm_signs_what_its_public_half_verifies() {
    let mut keys: Vec<_> = Curve::ALL.into_iter().map(ec_jwk).collect();
    for alg in ["RS256", "RS384", "RS512"] {
        let mut key = jwk();
        key["alg"] = json!(alg);
        keys.push(key);
    }
    let mut seen: Vec<String> = Vec::new();
    for jwk in keys {
        let key = SigningKey::parse(&jwk.to_string(), Some("configured")).unwrap();
        for jwt in
            [key.sign(&json!({ "a": 1 })).unwrap(), key.sign_showing_itself("dpop+jwt", &json!({})).unwrap()]
        {
            assert!(is_signed_by(&jwt, key.public_jwk()), "{}", jwk["alg"]);
            let (rest, last) = jwt.split_at(jwt.len() - 5);
            let other: String = last.chars().map(|letter| if letter == 'A' { 'B' } else { 'A' }).collect();
            assert!(!is_signed_by(&format!("{rest}{other}"), key.public_jwk()));
        }
        let jwt = key.sign(&json!({})).unwrap();
        assert_eq!(header(&jwt), json!({ "alg": jwk["alg"], "typ": "JWT", "kid": jwk["kid"] }));
        let proof = key.sign_showing_itself("dpop+jwt", &json!({})).unwrap();
        assert_eq!(header(&proof), json!({ "alg": jwk["alg"], "typ": "dpop+jwt", "jwk": key.public_jwk() }));
        seen.push(key.algorithm().as_str().to_owned());
    }
    seen.sort_unstable();
    assert_eq!(seen, ["ES256", "ES384", "ES512", "RS256", "RS384", "RS512"]);
}

/// By another implementation.
#[test]
fn the_thumbprint_is_rfc_7638s() {
    for jwk in [jwk(), ec_jwk(Curve::P256), ec_jwk(Curve::P384)] {
        let mut nameless = jwk.clone();
        nameless.as_object_mut().unwrap().remove("kid");
        let key = SigningKey::parse(&nameless.to_string(), None).unwrap();
        let other = serde_json::from_value::<Jwk>(nameless).unwrap();
        assert_eq!(key.kid(), other.thumbprint(ThumbprintHash::SHA256).unwrap());
    }
}

#[test]
fn the_key_id_is_the_jwks_then_the_configured_one() {
    for key in [jwk(), ec_jwk(Curve::P521)] {
        let mut named = key;
        named["kid"] = json!("its-own");
        assert_eq!(SigningKey::parse(&named.to_string(), Some("configured")).unwrap().kid(), "its-own");
        named.as_object_mut().unwrap().remove("kid");
        assert_eq!(SigningKey::parse(&named.to_string(), Some("configured")).unwrap().kid(), "configured");
    }
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
    for curve in Curve::ALL {
        for member in ["d", "x", "y", "crv"] {
            for damaged in damage {
                let mut key = ec_jwk(curve);
                let text = damaged(key[member].as_str().unwrap());
                if key[member] != text {
                    key[member] = json!(text);
                    assert!(SigningKey::parse(&key.to_string(), None).is_err(), "{member}");
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn no_text_makes_a_key_panic(text in "\\PC{0,200}", label in "(RSA |EC |)PRIVATE KEY", body in "[A-Za-z0-9+/=]{0,300}") {
        let _ = SigningKey::parse(&text, None);
        let _ = SigningKey::parse(&format!("-----BEGIN {label}-----{body}-----END {label}-----"), None);
    }

    #[test]
    fn a_damaged_der_is_refused_or_harmless(at in 0_usize..100, byte in any::<u8>(), curve in 0_usize..3) {
        let pair = EcdsaKeyPair::generate([
            &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            &aws_lc_rs::signature::ECDSA_P384_SHA384_FIXED_SIGNING,
            &aws_lc_rs::signature::ECDSA_P521_SHA512_FIXED_SIGNING,
        ][curve]).unwrap();
        let mut der = pair.to_pkcs8v1().unwrap().as_ref().to_vec();
        let at = at % der.len();
        der[at] ^= byte;
        if let Ok(key) = SigningKey::parse(&pem("PRIVATE KEY", &der), None) {
            let is_whole = is_signed_by(&key.sign(&json!({})).unwrap(), key.public_jwk());
            prop_assert!(is_whole);
        }
    }
}

#[test]
fn what_is_wrong_is_said_with_its_cure() {
    let text = |key: GeneratedKey| key.private_jwk.expose_secret().to_owned();
    let without = |mut key: Value, members: &[&str]| {
        key.as_object_mut().unwrap().retain(|name, _| !members.contains(&name.as_str()));
        key.to_string()
    };
    let with = |mut key: Value, member: &str, value: &str| {
        key[member] = json!(value);
        key.to_string()
    };
    let pem = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----");
    let ed25519 = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n-----END PRIVATE KEY-----";
    let legacy = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----";
    let cases = [
        ("hello".to_owned(), "neither a JWK nor a PEM"),
        ("{\"kty\":".to_owned(), "does not parse"),
        (without(jwk(), &["d", "p", "q"]), "only the public half"),
        (without(ec_jwk(Curve::P256), &["d"]), "only the public half"),
        (without(ec_jwk(Curve::P256), &["x"]), "member \"x\" is missing"),
        (with(jwk(), "alg", "PS256"), "made for \"alg\": \"PS256\"; Okta accepts RS256"),
        (with(jwk(), "use", "enc"), "made for \"use\": \"enc\""),
        (with(ec_jwk(Curve::P256), "alg", "ES384"), "made for \"alg\": \"ES384\""),
        (with(ec_jwk(Curve::P256), "crv", "secp256k1"), "an EC key on another curve; Okta accepts"),
        (
            with(ec_jwk(Curve::P384), "d", ec_jwk(Curve::P384)["d"].as_str().unwrap()),
            "do not form a P-384 key",
        ),
        (pem("PUBLIC KEY"), "only the public half"),
        (pem("CERTIFICATE"), "only the public half"),
        (pem("ENCRYPTED PRIVATE KEY"), "is encrypted; store it without"),
        (legacy.to_owned(), "is encrypted; store it without"),
        (pem("OPENSSH PRIVATE KEY"), "OpenSSH's own form; store it as PEM"),
        (pem("DSA PRIVATE KEY"), "a DSA key; Okta accepts"),
        (ed25519.to_owned(), "a key of another kind; Okta accepts"),
        (pem("EC PRIVATE KEY"), "says EC PRIVATE KEY but does not decode"),
        (pem("PRIVATE KEY"), "says PRIVATE KEY but does not decode"),
        (pem("RSA PRIVATE KEY"), "says RSA PRIVATE KEY but does not decode"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE".to_owned(), "says PRIVATE KEY but does not decode"),
        (json!({ "keys": [jwk(), jwk()] }).to_string(), "holds 2 private keys"),
        (json!({ "kty": "OKP", "d": "AA" }).to_string(), "an Ed25519 or X25519 key; Okta accepts"),
        (json!({ "kty": "oct", "k": "AA" }).to_string(), "a shared secret; Okta accepts"),
        (text(generate_rsa(1024).unwrap()), "has 1024 bits; Okta accepts 2048"),
    ];
    for (text, expected) in cases {
        let error = SigningKey::parse(&text, None).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let long = json!({ "kty": "RSA", "n": "_".repeat(1400), "e": "AQAB", "d": "AQAB" });
    let error = SigningKey::parse(&long.to_string(), None).unwrap_err().to_string();
    assert!(error.contains("has 8400 bits; more than 8192"), "{error}");
}

#[test]
fn debug_prints_no_key_material() {
    for (jwk, bits) in [(jwk(), 2048), (ec_jwk(Curve::P521), 521)] {
        let key = SigningKey::parse(&jwk.to_string(), None).unwrap();
        let printed = format!("{key:?}");
        assert!(!printed.contains(jwk["d"].as_str().unwrap()));
        assert!(printed.contains(&format!("bits: {bits}")), "{printed}");
    }
}
