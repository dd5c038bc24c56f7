//! # Purpose
//! The calls to a SCIM service provider.
//!
//! # Invariants kept here
//! - A creation whose answer was lost is not sent again; the next run finds what it made.
//!
//! # Not here
//! Deciding what to write: `directory::plan`.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::errors::ScimError;
use crate::domain::ScimId;
use crate::http::retry::{Patience, Repeatable};
use crate::http::url::Base;
use crate::http::{Call, Exchange, Lane, Request, Response};

/// A service provider.
#[derive(Clone, Debug)]
pub struct Provider {
    base: Base,
    exchange: Exchange,
    timeout: Duration,
}

/// Users or groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `/Users`.
    User,
    /// `/Groups`.
    Group,
}

/// What the provider can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProviderConfig {
    /// PATCH.
    pub patch: bool,
    /// Filters in listings.
    pub filter: bool,
    /// The most resources it puts on a page.
    pub max_results: u32,
}

/// A resource of the provider's.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// The provider's id.
    pub id: ScimId,
    /// Ours, if the provider has kept it.
    pub external_id: Option<String>,
    /// Everything.
    pub members: Map<String, Value>,
}

/// A page of a listing.
#[derive(Clone, Debug, PartialEq)]
pub struct ListPage {
    /// How many the provider counts in all.
    pub total: u64,
    /// These.
    pub resources: Vec<Resource>,
}

/// Where a provider that says nothing about itself is taken to be.
const ASSUMED: ProviderConfig = ProviderConfig { patch: true, filter: true, max_results: 100 };
/// More on a page than this is not asked for.
const LARGEST_PAGE: u32 = 200;

impl Provider {
    /// Sends nothing yet.
    pub fn new(base: Base, exchange: Exchange, timeout: Duration) -> Self {
        Self { base, exchange, timeout }
    }

    /// What the provider can do. One that does not say is taken to follow the RFC.
    pub async fn config(&self) -> Result<ProviderConfig, ScimError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Body {
            patch: Option<Feature>,
            filter: Option<Feature>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Feature {
            supported: Option<bool>,
            max_results: Option<u32>,
        }
        let call = self.call("scim_config", Repeatable::Always);
        let body: Body = match self.send(&call, &Method::GET, &["ServiceProviderConfig"], &[], None).await {
            Ok(response) => parse(&call, "a ServiceProviderConfig", &response)?,
            Err(error)
                if matches!(error.status(), Some(StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED)) =>
            {
                return Ok(ASSUMED);
            }
            Err(error) => return Err(error),
        };
        let supports = |feature: &Option<Feature>, assumed| {
            feature.as_ref().and_then(|feature| feature.supported).unwrap_or(assumed)
        };
        let max_results =
            body.filter.as_ref().and_then(|filter| filter.max_results).unwrap_or(ASSUMED.max_results);
        Ok(ProviderConfig {
            patch: supports(&body.patch, ASSUMED.patch),
            filter: supports(&body.filter, ASSUMED.filter),
            max_results: max_results.clamp(1, LARGEST_PAGE),
        })
    }

    /// A page of all resources of a kind, from `start` (the first is 1).
    pub async fn list(&self, kind: Kind, start: u64, count: u32) -> Result<ListPage, ScimError> {
        let (start, count) = (start.to_string(), count.to_string());
        self.query(kind, &[("startIndex", &start), ("count", &count)]).await
    }

    /// The resources whose `attribute` is `value`.
    pub async fn find(&self, kind: Kind, attribute: &str, value: &str) -> Result<Vec<Resource>, ScimError> {
        let filter = format!("{attribute} eq {}", Value::from(value));
        Ok(self.query(kind, &[("filter", &filter)]).await?.resources)
    }

    /// One resource; `None` when there is none.
    pub async fn get(&self, kind: Kind, id: &ScimId) -> Result<Option<Resource>, ScimError> {
        let call = self.call(kind.name("scim_get_user", "scim_get_group"), Repeatable::Always);
        match self.send(&call, &Method::GET, &[kind.path(), id.as_str()], &[], None).await {
            Ok(response) => Ok(Some(resource(&call, parse(&call, "a resource", &response)?)?)),
            Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates a resource.
    pub async fn create(&self, kind: Kind, body: &Value) -> Result<Resource, ScimError> {
        let call = self.call(kind.name("scim_create_user", "scim_create_group"), Repeatable::UnlessArrived);
        let response = self.send(&call, &Method::POST, &[kind.path()], &[], Some(body)).await?;
        resource(&call, parse(&call, "a resource", &response)?)
    }

    /// Replaces a resource.
    pub async fn replace(&self, kind: Kind, id: &ScimId, body: &Value) -> Result<(), ScimError> {
        let call = self.call(kind.name("scim_replace_user", "scim_replace_group"), Repeatable::Always);
        self.send(&call, &Method::PUT, &[kind.path(), id.as_str()], &[], Some(body)).await?;
        Ok(())
    }

    /// Changes a resource.
    pub async fn patch(&self, kind: Kind, id: &ScimId, message: &Value) -> Result<(), ScimError> {
        let call = self.call(kind.name("scim_patch_user", "scim_patch_group"), Repeatable::Always);
        self.send(&call, &Method::PATCH, &[kind.path(), id.as_str()], &[], Some(message)).await?;
        Ok(())
    }

    /// Deletes a resource; one that is gone already is deleted.
    pub async fn delete(&self, kind: Kind, id: &ScimId) -> Result<(), ScimError> {
        let call = self.call(kind.name("scim_delete_user", "scim_delete_group"), Repeatable::Always);
        match self.send(&call, &Method::DELETE, &[kind.path(), id.as_str()], &[], None).await {
            Ok(_) => Ok(()),
            Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn query(&self, kind: Kind, query: &[(&str, &str)]) -> Result<ListPage, ScimError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Body {
            #[serde(deserialize_with = "number")]
            total_results: u64,
            // Providers leave the list out when it is empty, and some write it in lower case.
            #[serde(rename = "Resources", alias = "resources", default)]
            resources: Vec<Map<String, Value>>,
        }
        let call = self.call(kind.name("scim_list_users", "scim_list_groups"), Repeatable::Always);
        let response = self.send(&call, &Method::GET, &[kind.path()], query, None).await?;
        let body: Body = parse(&call, "a list response", &response)?;
        let resources =
            body.resources.into_iter().map(|members| resource(&call, members)).collect::<Result<_, _>>()?;
        Ok(ListPage { total: body.total_results, resources })
    }

    fn call(&self, name: &'static str, repeatable: Repeatable) -> Call {
        let patience = Patience::LISTING;
        Call { name, bucket: "", lane: Lane::Directory, repeatable, patience, timeout: self.timeout }
    }

    async fn send(
        &self,
        call: &Call,
        method: &Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Response, ScimError> {
        let url = self.base.url(path, query);
        let bytes = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let build = || {
            let mut request = Request::new(method.clone(), url.clone());
            request
                .headers
                .insert(ACCEPT, HeaderValue::from_static("application/scim+json, application/json"));
            if !bytes.is_empty() {
                request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/scim+json"));
            }
            request.body = bytes.clone();
            request
        };
        self.exchange.call(call, build).await.map_err(|error| ScimError::from_exchange(call.name, error))
    }
}

impl Kind {
    fn path(self) -> &'static str {
        self.name("Users", "Groups")
    }

    fn name(self, user: &'static str, group: &'static str) -> &'static str {
        match self {
            Self::User => user,
            Self::Group => group,
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(
    call: &Call,
    expected: &'static str,
    response: &Response,
) -> Result<T, ScimError> {
    serde_json::from_slice(&response.body).map_err(|source| ScimError::Unreadable {
        call: call.name,
        expected,
        status: response.status,
        source,
    })
}

/// A number; some services write it as text.
fn number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Plain(u64),
        Text(String),
    }
    match Number::deserialize(deserializer)? {
        Number::Plain(number) => Ok(number),
        Number::Text(text) => text.trim().parse().map_err(serde::de::Error::custom),
    }
}

fn resource(call: &Call, members: Map<String, Value>) -> Result<Resource, ScimError> {
    let text = |name: &str| members.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let id = text("id").ok_or(ScimError::NoId { call: call.name })?;
    Ok(Resource { id: ScimId::from(id), external_id: text("externalId").map(ToOwned::to_owned), members })
}
