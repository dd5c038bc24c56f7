//! # Purpose
//! One request for an access token, with its assertion and its proof.
//!
//! # Invariants kept here
//! - Each attempt carries an assertion of its own: Okta burns its `jti` with each request, even a failing one.
//! - An organization that does not take proofs is asked without for a day, which is told, and one that demands them with
//!   (`okta[].dpop = "auto"`).
//!
//! # Not here
//! When to ask, and with which key: `tokens`.
//!
//! Sources: RFC 6749 section 4.4, RFC 7523, RFC 9449 section 5;
//! <https://developer.okta.com/docs/guides/implement-oauth-for-okta-serviceapp/main/>

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method};
use jiff::Timestamp;
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::Error as _;
use tracing::warn;

use super::Settings;
use super::assertion::Claims;
use super::bucket;
use super::errors::{Answer, classify};
use super::proof::Proofs;
use super::refusal::{TokenError, refused};
use super::wire::object;
use crate::http::bearer::Scheme;
use crate::http::classify::http_date;
use crate::http::retry::{Patience, Repeatable};
use crate::http::{Call, Exchange, Lane, Request, Response, Verdict};
use crate::secrets::Credentials;
use crate::telemetry::chain;

/// A token, as it came.
pub(super) struct Minted {
    pub(super) value: SecretString,
    pub(super) scheme: Scheme,
    pub(super) life: Duration,
    /// The scopes that were asked for and are not granted.
    pub(super) missing_scopes: Vec<&'static str>,
    pub(super) optional_scopes: Vec<&'static str>,
}

/// Asks one organization for tokens.
pub(super) struct TokenRequests {
    settings: Settings,
    exchange: Exchange,
    proofs: Arc<Proofs>,
}

impl TokenRequests {
    pub(super) fn new(settings: Settings, exchange: Exchange, proofs: Arc<Proofs>) -> Self {
        let authorize = Some(Arc::clone(&proofs) as _);
        let exchange = Exchange { authorize, classify: classify_token_answer, ..exchange };
        Self { settings, exchange, proofs }
    }

    /// Asks with `optional` scopes beside those that are needed.
    pub(super) async fn ask(
        &self,
        credentials: &Credentials,
        optional: &[&'static str],
    ) -> Result<Minted, TokenError> {
        let with_proofs = self.proofs.are_sent();
        let error = match self.ask_once(credentials, optional).await {
            Err(error) if error.is_about_the_proof() && self.proofs.send(!with_proofs) => error,
            first => return first,
        };
        let second = self.ask_once(credentials, optional).await;
        if second.as_ref().is_err_and(TokenError::is_about_the_proof) {
            self.proofs.send(with_proofs);
            return Err(error);
        }
        if with_proofs {
            let complaint = chain(&error).to_string();
            warn!(
                integration.id = self.settings.integration,
                code = %error.code(),
                error = complaint,
                "tokens are asked for without a proof of possession for a day: {complaint}"
            );
        }
        second
    }

    async fn ask_once(
        &self,
        credentials: &Credentials,
        optional: &[&'static str],
    ) -> Result<Minted, TokenError> {
        let organization = self.settings.organization.origin();
        let url = self.settings.organization.url(&["oauth2", "v1", "token"], &[]);
        let scope = [&self.settings.scopes, optional].concat().join(" ");
        let form = || -> Result<(Bytes, SecretString), TokenError> {
            let claims = Claims::new(
                &credentials.client_id,
                url.as_str(),
                self.exchange.peers_now(),
                self.exchange.entropy.uuid(),
            );
            let assertion = credentials.key.sign(&claims).map_err(TokenError::Sign)?;
            let form = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("grant_type", "client_credentials")
                .append_pair("scope", &scope)
                .append_pair(
                    "client_assertion_type",
                    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                )
                .append_pair("client_assertion", &assertion)
                .finish();
            Ok((Bytes::from(form), SecretString::from(assertion)))
        };
        // Signing can only fail for a reason that holds for every attempt; found out before the first.
        form()?;
        let call = Call {
            name: "token",
            bucket: bucket::TOKEN,
            lane: Lane::Removal,
            repeatable: Repeatable::Always,
            patience: Patience::SHORT,
            timeout: self.settings.timeout,
        };
        let build = || {
            let mut request = Request::new(Method::POST, url.clone());
            request.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
            request
                .headers
                .insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
            if let Ok((form, assertion)) = form() {
                (request.body, request.secret_in_body) = (form, Some(assertion));
            }
            request
        };
        match self.exchange.call(&call, build).await {
            Ok(response) => self
                .read(&response, optional)
                .map_err(|source| TokenError::Unreadable { organization, source }),
            Err(error) => Err(match error.response() {
                Some(response) => self.refusal(response),
                None => TokenError::Unreachable { organization, source: error },
            }),
        }
    }

    fn read(&self, response: &Response, optional: &[&'static str]) -> Result<Minted, serde_json::Error> {
        let body = Body::read(&response.body)?;
        let lacking = missing(optional, body.scope.as_deref());
        Ok(Minted {
            missing_scopes: missing(&self.settings.scopes, body.scope.as_deref()),
            optional_scopes: optional.iter().copied().filter(|scope| !lacking.contains(scope)).collect(),
            value: SecretString::from(body.access_token),
            scheme: body.token_type,
            life: Duration::from_secs(body.expires_in),
        })
    }

    fn refusal(&self, response: &Response) -> TokenError {
        let answer = Answer::read(response);
        let skew = response
            .header("date")
            .and_then(http_date)
            .map(|date| self.exchange.clock.now().as_second() - date.as_second());
        refused(answer, &self.settings, skew)
    }
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    token_type: Scheme,
    access_token: String,
    expires_in: u64,
    scope: Option<String>,
}

impl Body {
    /// What serde says of a value in the wrong place quotes it, and it may be the token.
    fn read(body: &[u8]) -> Result<Self, serde_json::Error> {
        object(body).map_err(|error| {
            if error.is_data() {
                let message = "it is no object with access_token, expires_in and a token_type that is known";
                serde_json::Error::custom(message)
            } else {
                error
            }
        })
    }
}

/// There are no other credentials to try: a 401 is a refusal here.
fn classify_token_answer(response: &Response, now: Timestamp) -> Verdict {
    match classify(response, now) {
        Verdict::Unauthenticated => Verdict::Refused,
        verdict @ (Verdict::Done
        | Verdict::Refused
        | Verdict::Challenged
        | Verdict::Throttled { .. }
        | Verdict::Transient { .. }) => verdict,
    }
}

/// The scopes that were asked for and are not in the answer (RFC 6749: an absent `scope` means all of them).
fn missing(asked: &[&'static str], granted: Option<&str>) -> Vec<&'static str> {
    let Some(granted) = granted else {
        return Vec::new();
    };
    let granted: Vec<_> = granted.split_whitespace().collect();
    asked.iter().copied().filter(|scope| !granted.contains(scope)).collect()
}
