//! # Purpose
//! Tests of the simulated org through its HTTP face, under a paused clock.
//!
//! # Invariants kept here
//! - Keys are generated when the tests run; none is stored.
//!
//! # Not here
//! Unit tests of single modules, which stand beside them.

mod access;
mod directory;
mod dpop;
mod limits;
mod lists;
mod logs;
mod management;
mod token;
mod wire;
mod writes;

use std::sync::OnceLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Method, Request, Response};
use jiff::Timestamp;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use rsa::pkcs1::EncodeRsaPrivateKey as _;
use rsa::traits::PublicKeyParts as _;
use serde_json::{Value, json};

use super::{Limits, OktaSimulator, Settings};
use crate::clock::SimClock;
use crate::net;

const CLIENT: &str = "0oaconnector1d7";
const ORIGIN: &str = "https://example.okta.com";
const NOW: i64 = 1_767_225_600;
const ALL_SCOPES: [&str; 5] =
    ["okta.users.read", "okta.groups.manage", "okta.roles.read", "okta.orgs.read", "okta.logs.read"];

/// A private key and its public half.
struct TestKey {
    private: EncodingKey,
    algorithm: Algorithm,
    jwk: Value,
}

impl TestKey {
    fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", segment(header), segment(claims));
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &self.private, self.algorithm).unwrap();
        format!("{signed}.{signature}")
    }
}

fn segment(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn new_rsa_key(kid: &str) -> TestKey {
    let private = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).unwrap();
    let number = |number: &rsa::BigUint| URL_SAFE_NO_PAD.encode(number.to_bytes_be());
    TestKey {
        private: EncodingKey::from_rsa_der(private.to_pkcs1_der().unwrap().as_bytes()),
        algorithm: Algorithm::RS256,
        jwk: json!({
            "kty": "RSA", "kid": kid, "use": "sig", "n": number(private.n()), "e": number(private.e()),
        }),
    }
}

fn new_ec_key() -> TestKey {
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    let private = EncodingKey::from_ec_der(pkcs8.as_ref());
    let jwk = serde_json::to_value(Jwk::from_encoding_key(&private, Algorithm::ES256).unwrap()).unwrap();
    let jwk = json!({ "kty": jwk["kty"], "crv": jwk["crv"], "x": jwk["x"], "y": jwk["y"] });
    TestKey { private, algorithm: Algorithm::ES256, jwk }
}

fn rsa_key() -> &'static TestKey {
    static KEY: OnceLock<TestKey> = OnceLock::new();
    KEY.get_or_init(|| new_rsa_key("first"))
}

fn other_rsa_key() -> &'static TestKey {
    static KEY: OnceLock<TestKey> = OnceLock::new();
    KEY.get_or_init(|| new_rsa_key("second"))
}

/// An org with one registered client, and ways to call it.
struct World {
    okta: OktaSimulator,
    serial: std::cell::Cell<u64>,
}

impl World {
    fn new() -> Self {
        Self::with(|settings| settings.limits = Limits::unlimited())
    }

    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings { origin: ORIGIN.into(), ..Settings::default() };
        change(&mut settings);
        let clock = SimClock::virtual_from(Timestamp::from_second(NOW).unwrap());
        let okta = OktaSimulator::new(settings, clock);
        okta.register_client(CLIENT, rsa_key().jwk.clone(), &ALL_SCOPES);
        Self { okta, serial: std::cell::Cell::new(0) }
    }

    fn now(&self) -> i64 {
        self.okta.clock().now().as_second()
    }

    fn serial(&self) -> u64 {
        self.serial.set(self.serial.get() + 1);
        self.serial.get()
    }

    /// Claims that Okta accepts.
    fn claims(&self) -> Value {
        json!({
            "iss": CLIENT, "sub": CLIENT, "aud": format!("{ORIGIN}/oauth2/v1/token"),
            "iat": self.now() - 5, "exp": self.now() + 300, "jti": format!("assertion-{}", self.serial()),
        })
    }

    fn form(assertion: &str, scope: &str) -> String {
        format!(
            "grant_type=client_credentials&scope={}&client_assertion_type=\
             urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion={assertion}",
            scope.replace(' ', "+")
        )
    }

    async fn send(&self, request: Request<Bytes>) -> Response<Bytes> {
        net::dispatch(self.okta.router(), request).await.unwrap()
    }

    async fn post_form(&self, form: String, headers: &[(&str, &str)]) -> Response<Bytes> {
        let mut request = Request::post("/oauth2/v1/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Bytes::from(form))
            .unwrap();
        for (name, value) in headers {
            request.headers_mut().append(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        self.send(request).await
    }

    /// Asks for a token with these claims, signed with the registered key.
    async fn ask(&self, claims: &Value) -> Response<Bytes> {
        let assertion = rsa_key().sign(&json!({ "alg": "RS256", "kid": "first" }), claims);
        self.post_form(Self::form(&assertion, &ALL_SCOPES.join(" ")), &[]).await
    }

    async fn token(&self) -> String {
        let response = self.ask(&self.claims()).await;
        assert_eq!(response.status(), 200, "{:?}", response.body());
        body(&response)["access_token"].as_str().unwrap().to_owned()
    }

    async fn call(&self, method: Method, target: &str, token: &str) -> Response<Bytes> {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("authorization", format!("Bearer {token}"))
            .header("content-length", "0")
            .body(Bytes::new())
            .unwrap();
        self.send(request).await
    }

    async fn get(&self, target: &str, token: &str) -> Response<Bytes> {
        self.call(Method::GET, target, token).await
    }

    /// Follows `next` to the end. Returns the pages' ids.
    async fn crawl(&self, target: &str, token: &str) -> Vec<Vec<String>> {
        let mut pages = Vec::new();
        let mut target = Some(target.to_owned());
        while let Some(this) = target {
            let response = self.get(&this, token).await;
            assert_eq!(response.status(), 200, "{this}: {:?}", response.body());
            pages.push(ids(&response));
            target = next(&response);
        }
        pages
    }
}

fn body(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).unwrap()
}

fn ids(response: &Response<Bytes>) -> Vec<String> {
    let body = body(response);
    body.as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

fn header<'r>(response: &'r Response<Bytes>, name: &str) -> &'r str {
    response.headers().get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
}

/// Path and query of the `next` link.
fn next(response: &Response<Bytes>) -> Option<String> {
    let links = response.headers().get_all("link").iter().map(|value| value.to_str().unwrap());
    let next = links.flat_map(|value| value.split(", ")).find(|link| link.ends_with("rel=\"next\""))?;
    let url = next.strip_prefix('<')?.split_once('>')?.0;
    url.strip_prefix(ORIGIN).map(str::to_owned)
}
