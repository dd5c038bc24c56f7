//! # Purpose
//! Requests to one organization's API. Private to `okta`: the public handles decide who may do what.
//!
//! # Invariants kept here
//! - `PUT` and `DELETE` carry `Content-Length: 0`; Okta answers 411 to a `PUT` without it.
//!
//! # Not here
//! What the bodies mean: `wire`.

use std::time::Duration;

use http::header::{ACCEPT, CONTENT_LENGTH};
use http::{HeaderValue, Method};
use jiff::Timestamp;
use serde::Deserialize;
use url::Url;

use super::errors::OktaError;
use super::wire::object;
use crate::http::retry::{Patience, Repeatable};
use crate::http::url::Base;
use crate::http::{Call, Exchange, Lane, Request, Response};

#[derive(Debug)]
pub(super) struct Client {
    base: Base,
    exchange: Exchange,
    timeout: Duration,
}

impl Client {
    pub(super) fn new(base: Base, exchange: Exchange, timeout: Duration) -> Self {
        Self { base, exchange, timeout }
    }

    pub(super) fn base(&self) -> &Base {
        &self.base
    }

    /// Okta's clock, or our own until it is known.
    pub(super) fn now(&self) -> Timestamp {
        self.exchange.peers_now()
    }

    pub(super) fn call(&self, name: &'static str, bucket: &'static str, lane: Lane) -> Call {
        let patience = match lane {
            Lane::Directory => Patience::LISTING,
            Lane::Removal | Lane::Grant | Lane::Verification => Patience::SHORT,
        };
        Call { name, bucket, lane, repeatable: Repeatable::Always, patience, timeout: self.timeout }
    }

    pub(super) async fn get(&self, call: &Call, url: &Url) -> Result<Response, OktaError> {
        self.send(call, &Method::GET, url).await
    }

    pub(super) async fn put(&self, call: &Call, url: &Url) -> Result<Response, OktaError> {
        self.send(call, &Method::PUT, url).await
    }

    pub(super) async fn delete(&self, call: &Call, url: &Url) -> Result<Response, OktaError> {
        self.send(call, &Method::DELETE, url).await
    }

    async fn send(&self, call: &Call, method: &Method, url: &Url) -> Result<Response, OktaError> {
        let build = || {
            let mut request = Request::new(method.clone(), url.clone());
            request.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
            if method != Method::GET {
                request.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            }
            request
        };
        self.exchange.call(call, build).await.map_err(|error| OktaError::from_exchange(call.name, error))
    }
}

/// The JSON body of a successful answer.
pub(super) fn body<'a, T: Deserialize<'a>>(
    call: &'static str,
    expected: &'static str,
    response: &'a Response,
) -> Result<T, OktaError> {
    serde_json::from_slice(&response.body).map_err(|source| unreadable(call, expected, response, source))
}

/// The same where it is an object.
pub(super) fn object_body<'a, T: Deserialize<'a>>(
    call: &'static str,
    expected: &'static str,
    response: &'a Response,
) -> Result<T, OktaError> {
    object(&response.body).map_err(|source| unreadable(call, expected, response, source))
}

pub(super) fn unreadable(
    call: &'static str,
    expected: &'static str,
    response: &Response,
    source: serde_json::Error,
) -> OktaError {
    let request_id = response.header("x-okta-request-id").map(ToOwned::to_owned);
    OktaError::Unreadable { call, expected, status: response.status, request_id, source }
}
