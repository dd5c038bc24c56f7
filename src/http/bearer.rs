//! # Purpose
//! Bearer tokens on requests.
//!
//! # Invariants kept here
//! - The header is marked sensitive, so that no debug output of a library prints it.
//!
//! # Not here
//! Getting an OAuth token: `okta::tokens`.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::HeaderValue;
use http::header::{AUTHORIZATION, InvalidHeaderValue};
use secrecy::{ExposeSecret, SecretString};

use super::{Authorize, AuthorizeError, Class, Request};
use crate::secrets::Reloading;

/// `Bearer …`.
pub fn bearer(token: &SecretString) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Authorizes with a token from a file, which is read for every request: a rotated file is used at once.
#[derive(Debug)]
pub struct MountedToken(pub Arc<Reloading<SecretString>>);

impl Authorize for MountedToken {
    fn authorize<'a>(&'a self, request: &'a mut Request) -> BoxFuture<'a, Result<(), AuthorizeError>> {
        Box::pin(async move {
            let value = bearer(&self.0.current())
                .map_err(|source| AuthorizeError { class: Class::Misconfigured, source: Box::new(source) })?;
            request.headers.insert(AUTHORIZATION, value);
            Ok(())
        })
    }

    fn rejected(&self, _: &Request) {
        // The next request reads the file anyway.
    }
}
