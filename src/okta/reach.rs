//! # Purpose
//! Finds out whether an organization answers at all.
//!
//! # Invariants kept here
//! - What is asked is public and changes nothing; the answer's meaning does not matter.
//!
//! # Not here
//! When it is asked: `app::reach`.

use std::time::Duration;

use http::Method;

use super::bucket;
use crate::http::retry::{Patience, Repeatable};
use crate::http::url::Base;
use crate::http::{Call, Exchange, Lane, Request};

/// Asks one organization.
#[derive(Clone, Debug)]
pub struct Reach {
    base: Base,
    exchange: Exchange,
}

/// Longer than an answer takes that would be of any use.
const LIMIT: Duration = Duration::from_secs(4);

impl Reach {
    pub(super) fn new(base: Base, exchange: Exchange) -> Self {
        Self { base, exchange }
    }

    /// `https://host[:port]`.
    pub fn origin(&self) -> String {
        self.base.origin()
    }

    /// Asks for what every organization tells anybody
    /// (<https://developer.okta.com/docs/api/openapi/okta-management/management/tag/OrgSettingMetadata/>); the network
    /// remembers whether it answered.
    pub async fn ask(&self) {
        let call = Call {
            name: "reach",
            bucket: bucket::WELL_KNOWN,
            lane: Lane::Verification,
            repeatable: Repeatable::Always,
            patience: Patience::NONE,
            timeout: LIMIT,
        };
        let url = self.base.url(&[".well-known", "okta-organization"], &[]);
        // What it says is of no interest, only whether it says something.
        let _ = self.exchange.call(&call, || Request::new(Method::GET, url.clone())).await;
    }
}
