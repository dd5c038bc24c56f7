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
use http::header::{ACCEPT, CONTENT_TYPE, IF_MATCH};
use http::{HeaderValue, Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::abilities::{ASSUMED_PAGE, Abilities, Quirk};
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
    abilities: Abilities,
}

/// Users or groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `/Users`.
    User,
    /// `/Groups`.
    Group,
}

/// A resource of the provider's.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// The provider's id.
    pub id: ScimId,
    /// Ours, if the provider has kept it.
    pub external_id: Option<String>,
    /// Which version of it this is, where the provider says.
    pub version: Option<String>,
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

/// What goes with a request.
#[derive(Clone, Copy, Default)]
struct Sent<'a> {
    body: Option<&'a Value>,
    version: Option<&'a str>,
}

/// More on a page than this is not asked for.
const LARGEST_PAGE: u32 = 1000;

impl Provider {
    /// Sends nothing yet.
    pub fn new(base: Base, exchange: Exchange, timeout: Duration) -> Self {
        Self { base, exchange, timeout, abilities: Abilities::default() }
    }

    /// What the provider can do. One that does not say is taken to follow the RFC.
    pub async fn abilities(&self) -> Result<Abilities, ScimError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Body {
            patch: Option<Feature>,
            filter: Option<Feature>,
            etag: Option<Feature>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Feature {
            #[serde(default, deserialize_with = "truth")]
            supported: Option<bool>,
            #[serde(default, deserialize_with = "optional_number")]
            max_results: Option<u64>,
        }
        let call = self.call("scim_config", Repeatable::Always);
        let body: Body = match self
            .send(&call, &Method::GET, &["ServiceProviderConfig"], &[], Sent::default())
            .await
        {
            Ok(response) => parse(&call, "a ServiceProviderConfig", &response)?,
            Err(error)
                if matches!(error.status(), Some(StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED)) =>
            {
                return Ok(self.abilities.clone());
            }
            Err(error) => return Err(error),
        };
        for (feature, quirk) in [(&body.patch, Quirk::NoPatch), (&body.filter, Quirk::NoFilter)] {
            if feature.as_ref().and_then(|feature| feature.supported) == Some(false) {
                self.abilities.found(quirk);
            }
        }
        if let Some(versions) = body.etag.as_ref().and_then(|feature| feature.supported) {
            self.abilities.says_of_versions(versions);
        }
        let most = body.filter.and_then(|filter| filter.max_results).filter(|most| *most > 0);
        let page = most.map_or(ASSUMED_PAGE, |most| u32::try_from(most).unwrap_or(LARGEST_PAGE));
        Ok(self.abilities.clone().with_pages_of(page.min(LARGEST_PAGE)))
    }

    /// A page of all resources of a kind, from `start` (the first is 1).
    pub async fn list(&self, kind: Kind, start: u64, count: u32) -> Result<ListPage, ScimError> {
        let (start, count) = (start.to_string(), count.to_string());
        self.query(kind, &[("startIndex", &start), ("count", &count)]).await
    }

    /// The resources whose `attribute` is `value`; `None` from a service that cannot tell.
    pub async fn find(
        &self,
        kind: Kind,
        attribute: &str,
        value: &str,
    ) -> Result<Option<Vec<Resource>>, ScimError> {
        if self.abilities.has(Quirk::NoFilter) {
            return Ok(None);
        }
        let filter = format!("{attribute} eq {}", Value::from(value));
        let answer = self.query(kind, &[("filter", &filter)]).await;
        let ListPage { mut resources, .. } = match answer {
            Err(error) if error.is_of_form() => return Ok(None),
            answer => answer?,
        };
        let before = resources.len();
        resources.retain(|resource| resource.is_called(attribute, value));
        if resources.len() < before {
            // It has answered with everything.
            self.abilities.found(Quirk::NoFilter);
            return Ok(if resources.is_empty() { None } else { Some(resources) });
        }
        Ok(Some(resources))
    }

    /// One resource; `None` when there is none.
    pub async fn get(&self, kind: Kind, id: &ScimId) -> Result<Option<Resource>, ScimError> {
        let call = self.call(kind.name("scim_get_user", "scim_get_group"), Repeatable::Always);
        match self.send(&call, &Method::GET, &[kind.path(), id.as_str()], &[], Sent::default()).await {
            Ok(response) => {
                Ok(Some(self.resource(&call, &response, parse(&call, "a resource", &response)?)?))
            }
            Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates a resource. `None` from a service that does not say what has become of it.
    pub async fn create(&self, kind: Kind, body: &Value) -> Result<Option<Resource>, ScimError> {
        let call = self.call(kind.name("scim_create_user", "scim_create_group"), Repeatable::UnlessArrived);
        let sent = Sent { body: Some(body), version: None };
        let response = self.send(&call, &Method::POST, &[kind.path()], &[], sent).await?;
        match self.echo(&call, &response) {
            Some(created) if created.is_whole(kind) => return Ok(Some(created)),
            Some(created) => return self.get(kind, &created.id).await,
            None => {}
        }
        let located = response.header("location").and_then(|location| location.rsplit('/').next());
        match located.filter(|id| names_one(id)) {
            Some(id) => self.get(kind, &ScimId::from(id)).await,
            None => Ok(None),
        }
    }

    /// Replaces a resource, if it still has this version; what it is then, where the service says.
    pub async fn replace(
        &self,
        kind: Kind,
        id: &ScimId,
        body: &Value,
        version: Option<&str>,
    ) -> Result<Option<Resource>, ScimError> {
        let call = self.call(kind.name("scim_replace_user", "scim_replace_group"), Repeatable::Always);
        self.write(&call, &Method::PUT, kind, id, Sent { body: Some(body), version }).await
    }

    /// Changes a resource, if it still has this version; what it is then, where the service says.
    pub async fn patch(
        &self,
        kind: Kind,
        id: &ScimId,
        message: &Value,
        version: Option<&str>,
    ) -> Result<Option<Resource>, ScimError> {
        let call = self.call(kind.name("scim_patch_user", "scim_patch_group"), Repeatable::Always);
        let answer = self.write(&call, &Method::PATCH, kind, id, Sent { body: Some(message), version }).await;
        if let Err(error) = &answer
            && error.status() == Some(StatusCode::METHOD_NOT_ALLOWED)
        {
            self.abilities.found(Quirk::NoPatch);
        }
        answer
    }

    async fn write(
        &self,
        call: &Call,
        method: &Method,
        kind: Kind,
        id: &ScimId,
        sent: Sent<'_>,
    ) -> Result<Option<Resource>, ScimError> {
        let response = self.send(call, method, &[kind.path(), id.as_str()], &[], sent).await?;
        Ok(self.echo(call, &response).filter(|resource| resource.id == *id && resource.is_whole(kind)))
    }

    /// Deletes a resource; one that is gone already is deleted.
    pub async fn delete(&self, kind: Kind, id: &ScimId) -> Result<(), ScimError> {
        let call = self.call(kind.name("scim_delete_user", "scim_delete_group"), Repeatable::Always);
        match self.send(&call, &Method::DELETE, &[kind.path(), id.as_str()], &[], Sent::default()).await {
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
        let response = self.send(&call, &Method::GET, &[kind.path()], query, Sent::default()).await?;
        let body: Body = parse(&call, "a list response", &response)?;
        let resources = body
            .resources
            .into_iter()
            .map(|members| self.listed(&call, members))
            .collect::<Result<_, _>>()?;
        Ok(ListPage { total: body.total_results, resources })
    }

    /// What a write was answered with, where that is a resource.
    fn echo(&self, call: &Call, response: &Response) -> Option<Resource> {
        let members = serde_json::from_slice(&response.body).ok()?;
        self.resource(call, response, members).ok()
    }

    fn resource(
        &self,
        call: &Call,
        response: &Response,
        members: Map<String, Value>,
    ) -> Result<Resource, ScimError> {
        let mut resource = self.listed(call, members)?;
        // Web frameworks put an ETag on everything: it is a version only where the service says that it has such.
        if self.abilities.versions() == Some(true)
            && let Some(header) = response.header("etag")
        {
            resource.version = Some(header.to_owned());
        }
        Ok(resource)
    }

    fn listed(&self, call: &Call, members: Map<String, Value>) -> Result<Resource, ScimError> {
        let mut resource = listed(call, members)?;
        if self.abilities.versions() == Some(false) {
            resource.version = None;
        }
        Ok(resource)
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
        Sent { body, version }: Sent<'_>,
    ) -> Result<Response, ScimError> {
        let url = self.base.url(path, query);
        let bytes = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let version = version.and_then(|version| HeaderValue::from_str(version).ok());
        let build = || {
            let mut request = Request::new(method.clone(), url.clone());
            request
                .headers
                .insert(ACCEPT, HeaderValue::from_static("application/scim+json, application/json"));
            if !bytes.is_empty() {
                request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/scim+json"));
            }
            if let Some(version) = &version {
                request.headers.insert(IF_MATCH, version.clone());
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
    // By way of a map: serde takes a list for an object too.
    let object = serde_json::from_slice::<Map<String, Value>>(&response.body);
    object.and_then(|object| serde_json::from_value(Value::Object(object))).map_err(|source| {
        ScimError::Unreadable { call: call.name, expected, status: response.status, source }
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

/// A number that may be missing, or as text.
fn optional_number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let value = Option::<Value>::deserialize(deserializer)?;
    Ok(value.and_then(|value| value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())))
}

/// A boolean that may be missing, or as text.
fn truth<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    let value = Option::<Value>::deserialize(deserializer)?;
    Ok(value.and_then(|value| value.as_bool().or_else(|| value.as_str()?.to_lowercase().parse().ok())))
}

fn listed(call: &Call, members: Map<String, Value>) -> Result<Resource, ScimError> {
    let text = |value: Option<&Value>| value.and_then(plain_text).filter(|text| !text.is_empty());
    let id = text(members.get("id")).filter(|id| names_one(id)).ok_or(ScimError::NoId { call: call.name })?;
    let version = text(members.get("meta").and_then(|meta| meta.get("version")));
    Ok(Resource { id: ScimId::from(id), external_id: text(members.get("externalId")), version, members })
}

/// Whether an id can be one segment of a path. Dots alone cannot be, however they are encoded: they would make of one
/// resource the whole list, also where one is deleted. Tabs and line ends are passed over in URLs, also between dots.
fn names_one(id: &str) -> bool {
    !matches!(id, "" | "." | "..") && !id.contains(['\t', '\n', '\r'])
}

/// Text, or a number as text: some services number their resources.
fn plain_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

impl Resource {
    /// Whether it shows more than its id.
    fn is_whole(&self, kind: Kind) -> bool {
        self.members.contains_key(kind.name("userName", "displayName"))
    }

    /// Whether an attribute has this value. Names fold case; Okta's ids do not.
    pub fn is_called(&self, attribute: &str, value: &str) -> bool {
        let shown = self.members.get(attribute).and_then(Value::as_str).unwrap_or_default();
        shown == value || (attribute != "externalId" && shown.to_lowercase() == value.to_lowercase())
    }

    /// The ids of a group's members; `None` where it shows none.
    pub fn member_ids(&self) -> Option<Vec<String>> {
        let members = self.members.get("members")?.as_array()?;
        let ids: Vec<_> = members.iter().filter_map(|member| plain_text(member.get("value")?)).collect();
        Some(ids).filter(|ids| !ids.is_empty())
    }
}
