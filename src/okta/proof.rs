//! # Purpose
//! Proofs of possession (DPoP, RFC 9449): a token that was stolen is of no use without the key that it is bound to.
//!
//! # Invariants kept here
//! - The proof key is made in memory, is never written anywhere, and is not the key that signs assertions.
//! - Each request carries a proof of its own, also when it is sent again: Okta accepts each once.
//! - The last nonce of an answer goes into the next proof, so that a renewed nonce costs one request.
//! - Going without is for [`WITHOUT`], is told, and then proofs are tried again.
//!
//! # Not here
//! When a token is asked for: `tokens`.
//!
//! Sources: RFC 9449; <https://developer.okta.com/docs/guides/dpop/oktaresourceserver/main/>;
//! docs/adr/0014-proof-of-possession-first.md

use std::fmt;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use sha2::{Digest, Sha256};
use url::Url;
use uuid::Uuid;

use crate::catalogue::ErrorCode;
use crate::http::{Authorize, AuthorizeError, Class, Exchange, Request, Response};
use crate::secrets::{Curve, KeyError, SignError, SigningKey, generate_ec};

/// `okta[].dpop`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dpop {
    /// With proofs, and without where Okta does not take them.
    #[default]
    Auto,
    /// Always with proofs.
    On,
    /// Never.
    Off,
}

impl Dpop {
    /// The word in the configuration, `None` for another.
    pub fn of(word: &str) -> Option<Self> {
        match word {
            "auto" => Some(Self::Auto),
            "on" => Some(Self::On),
            "off" => Some(Self::Off),
            _ => None,
        }
    }
}

/// After Okta has not taken a proof, it is asked without for so long: what was in the way may be gone.
const WITHOUT: Duration = Duration::from_hours(24);
/// `iat` lies this far back, for a clock that is slightly ahead of Okta's.
const BACKDATED: Duration = Duration::from_secs(5);
const PROOF: HeaderName = HeaderName::from_static("dpop");
const NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// RFC 9449 section 4.2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Claims {
    jti: String,
    htm: String,
    htu: String,
    /// Seconds since the epoch.
    iat: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
    /// Of the access token, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    ath: Option<String>,
}

impl Claims {
    fn new(method: &Method, url: &Url, now: Timestamp, jti: Uuid) -> Self {
        let mut target = url.clone();
        target.set_query(None);
        target.set_fragment(None);
        Self {
            jti: jti.to_string(),
            htm: method.as_str().to_owned(),
            htu: target.into(),
            iat: now.as_second() - i64::try_from(BACKDATED.as_secs()).unwrap_or(0),
            nonce: None,
            ath: None,
        }
    }
}

/// The proof key of one organization, and the nonces that Okta gave out for it.
pub(super) struct Proofs {
    mode: Dpop,
    /// Knows Okta's clock; sends nothing.
    exchange: Exchange,
    key: OnceLock<SigningKey>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Okta did not take a proof, and may take requests without. Until then, on the monotonic clock.
    without_until: Option<Duration>,
    /// RFC 9449 section 9 keeps the token endpoint's nonce apart from the API's.
    for_tokens: Option<String>,
    for_calls: Option<String>,
}

/// No proof could be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProofError {
    /// No key.
    #[error("no key for proofs of possession can be made [{code}]", code = ErrorCode::KeyFails)]
    Key(#[source] KeyError),
    /// The key does not sign.
    #[error("the proof of possession cannot be signed [{code}]", code = ErrorCode::KeyFails)]
    Sign(#[source] SignError),
    /// What was signed is no header: the nonce, say.
    #[error("the proof of possession does not fit into a header [{code}]", code = ErrorCode::KeyFails)]
    Header(#[source] http::header::InvalidHeaderValue),
}

impl Proofs {
    pub(super) fn new(mode: Dpop, exchange: Exchange) -> Self {
        Self { mode, exchange, key: OnceLock::new(), state: Mutex::default() }
    }

    /// Whether requests for tokens carry a proof.
    pub(super) fn are_sent(&self) -> bool {
        match self.mode {
            Dpop::On => true,
            Dpop::Off => false,
            Dpop::Auto => {
                let until = self.lock().without_until;
                until.is_none_or(|until| until <= self.exchange.clock.elapsed())
            }
        }
    }

    /// From now on requests for tokens carry proofs, or carry none for [`WITHOUT`]. Nothing happens where that is not for
    /// us to choose; whether it is.
    pub(super) fn send(&self, with_proofs: bool) -> bool {
        if self.mode != Dpop::Auto {
            return false;
        }
        self.lock().without_until = (!with_proofs).then(|| self.exchange.clock.elapsed() + WITHOUT);
        true
    }

    /// Puts a proof for this very request on it; for a call of the API, bound to `token`.
    pub(super) fn prove(
        &self,
        request: &mut Request,
        token: Option<&SecretString>,
    ) -> Result<(), ProofError> {
        let jti = self.exchange.entropy.uuid();
        let mut claims = Claims::new(&request.method, &request.url, self.exchange.peers_now(), jti);
        {
            let state = self.lock();
            claims.nonce = if token.is_some() { state.for_calls.clone() } else { state.for_tokens.clone() };
        }
        claims.ath = token.map(|token| URL_SAFE_NO_PAD.encode(Sha256::digest(token.expose_secret())));
        let proof = self.key()?.sign_showing_itself("dpop+jwt", &claims).map_err(ProofError::Sign)?;
        let mut proof = HeaderValue::try_from(proof).map_err(ProofError::Header)?;
        proof.set_sensitive(true);
        request.headers.insert(PROOF, proof);
        Ok(())
    }

    /// Takes in the nonce of an answer.
    pub(super) fn learn(&self, response: &Response, is_call: bool) {
        let Some(nonce) = response.header(NONCE.as_str()).map(str::trim).filter(|nonce| !nonce.is_empty())
        else {
            return;
        };
        let mut state = self.lock();
        let kept = if is_call { &mut state.for_calls } else { &mut state.for_tokens };
        if kept.as_deref() != Some(nonce) {
            *kept = Some(nonce.to_owned());
        }
    }

    /// Made at the first use: an organization without DPoP needs none.
    fn key(&self) -> Result<&SigningKey, ProofError> {
        if let Some(key) = self.key.get() {
            return Ok(key);
        }
        let pair = generate_ec(Curve::P256).map_err(ProofError::Key)?;
        let key = SigningKey::parse(pair.private_jwk.expose_secret(), None).map_err(ProofError::Key)?;
        Ok(self.key.get_or_init(|| key))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of requests for tokens.
impl Authorize for Proofs {
    fn authorize<'a>(&'a self, request: &'a mut Request) -> BoxFuture<'a, Result<(), AuthorizeError>> {
        Box::pin(async move {
            if self.are_sent() {
                self.prove(request, None)?;
            }
            Ok(())
        })
    }

    fn rejected(&self, _: &Request) {
        // Whether a refusal is about the proof, the token's keeper reads from Okta's text.
    }

    fn answered(&self, _: &Request, response: &Response) {
        self.learn(response, false);
    }
}

impl From<ProofError> for AuthorizeError {
    fn from(error: ProofError) -> Self {
        Self { code: ErrorCode::KeyFails, class: Class::Misconfigured, source: Box::new(error) }
    }
}

impl fmt::Debug for Proofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proofs").field("mode", &self.mode).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_names_the_method_and_the_address_without_its_query() {
        let url = Url::parse("https://example.okta.com:8443/api/v1/users?limit=200&after=x#y").unwrap();
        let now: Timestamp = "2026-01-01T00:00:05Z".parse().unwrap();
        let claims = Claims::new(&Method::GET, &url, now, Uuid::from_u128(1));
        let expected = serde_json::json!({
            "jti": Uuid::from_u128(1).to_string(), "htm": "GET",
            "htu": "https://example.okta.com:8443/api/v1/users", "iat": now.as_second() - 5,
        });
        assert_eq!(serde_json::to_value(&claims).unwrap(), expected);
    }
}
