//! # Purpose
//! The desired grants: the level beside the edges, and the tasks that belong to them.
//!
//! # Invariants kept here
//! - What expired is not listed, by this side's own clock.
//! - A page continues behind the last grant it showed, whatever was added or dropped meanwhile.
//!
//! # Not here
//! Delivery of the tasks: see [`super::task`].

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::AponoSimulator;
use super::answer::Answer;
use super::shape::Malformed;

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// The right of one user to some groups until an instant.
#[derive(Clone, Debug)]
pub struct Grant {
    /// For which integration.
    pub integration_id: String,
    /// The id of an earlier grant to extend or shorten it; `None` makes a new one.
    pub grant_id: Option<String>,
    /// Higher wins.
    pub revision: u64,
    /// Okta login or email.
    pub username: String,
    /// Okta group ids.
    pub resources: Vec<String>,
    /// `None` ends only by a revoke.
    pub expires_at: Option<Timestamp>,
    /// Whose request it was and why.
    pub request: Option<Value>,
}

impl Grant {
    /// A new, indefinite grant of revision 1.
    #[must_use]
    pub fn new(integration_id: &str, username: &str, resources: &[&str]) -> Self {
        Self {
            integration_id: integration_id.into(),
            grant_id: None,
            revision: 1,
            username: username.into(),
            resources: resources.iter().map(|&id| id.into()).collect(),
            expires_at: None,
            request: None,
        }
    }

    /// The same, until then.
    #[must_use]
    pub fn until(mut self, expires_at: Timestamp) -> Self {
        self.expires_at = Some(expires_at);
        self
    }

    fn params(&self, grant_id: &str) -> Value {
        let mut params = json!({
            "grant_id": grant_id,
            "revision": self.revision,
            "username": self.username,
            "resource_type": "okta-group",
            "resources": self.resources,
            "permission": "member",
            "custom_parameters": {},
            "expires_at": self.expires_at.map(|at| at.to_string()),
        });
        if let (Some(request), Some(fields)) = (&self.request, params.as_object_mut()) {
            fields.insert("request".into(), request.clone());
        }
        params
    }

    fn listed(&self, grant_id: &str) -> Value {
        let mut listed = self.params(grant_id);
        if let Some(fields) = listed.as_object_mut() {
            fields.remove("resource_type");
            fields.remove("custom_parameters");
        }
        listed
    }
}

/// What a grant was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The `grant-access` task.
    pub task_id: String,
    /// The grant, new or as given.
    pub grant_id: String,
}

#[derive(Debug, Default)]
pub(super) struct Grants {
    /// By integration, in the order in which they were first desired.
    desired: BTreeMap<String, BTreeMap<u64, Value>>,
    places: BTreeMap<String, (String, u64)>,
    /// The last word on each grant there ever was.
    given: BTreeMap<String, Grant>,
    next_place: u64,
    next_grant: u64,
}

impl Grants {
    /// Keeps a grant, under a new id if it has none, and lists it.
    fn give(&mut self, grant: Grant) -> String {
        let grant_id = grant.grant_id.clone().unwrap_or_else(|| {
            self.next_grant += 1;
            format!("grt_{:06}", self.next_grant)
        });
        self.desire(&grant.integration_id, grant.listed(&grant_id));
        self.given.insert(grant_id.clone(), grant);
        grant_id
    }

    fn desire(&mut self, integration_id: &str, listed: Value) {
        let id = listed.get("grant_id").and_then(Value::as_str).map(str::to_owned);
        let known =
            id.as_ref().and_then(|id| self.places.get(id)).filter(|(other, _)| other == integration_id);
        let place = known.map_or(self.next_place, |(_, place)| *place);
        self.next_place = self.next_place.max(place + 1);
        if let Some(id) = id {
            self.places.insert(id, (integration_id.into(), place));
        }
        self.desired.entry(integration_id.into()).or_default().insert(place, listed);
    }

    fn params(&self, grant_id: &str) -> Option<Value> {
        self.given.get(grant_id).map(|grant| grant.params(grant_id))
    }

    fn drop_desired(&mut self, grant_id: &str) {
        if let Some((integration_id, place)) = self.places.remove(grant_id)
            && let Some(grants) = self.desired.get_mut(&integration_id)
        {
            grants.remove(&place);
        }
    }

    /// The active ones behind `place`.
    fn active(
        &self,
        integration_id: &str,
        behind: Option<u64>,
        now: Timestamp,
    ) -> impl Iterator<Item = (u64, &Value)> {
        let from = behind.map_or(0, |place| place.saturating_add(1));
        self.desired
            .get(integration_id)
            .into_iter()
            .flat_map(move |grants| grants.range(from..))
            .filter(move |(_, grant)| is_active(grant, now))
            .map(|(place, grant)| (*place, grant))
    }
}

fn is_active(grant: &Value, now: Timestamp) -> bool {
    let expires_at: Option<Timestamp> =
        grant.get("expires_at").and_then(Value::as_str).and_then(|text| text.parse().ok());
    expires_at.is_none_or(|expires_at| expires_at > now)
}

impl AponoSimulator {
    /// Queues the `grant-access` task of a grant and lists it as desired. With the id of an earlier grant it
    /// replaces that one in the listing.
    pub fn grant(&self, grant: Grant) -> Granted {
        let granted = {
            let integration_id = grant.integration_id.clone();
            let mut plane = self.inner.plane();
            let grant_id = plane.grants.give(grant);
            let params = plane.grants.params(&grant_id).unwrap_or_default();
            let task_id = plane.tasks.enqueue("grant-access", &integration_id, params);
            Granted { task_id, grant_id }
        };
        self.inner.bump_work();
        granted
    }

    /// Queues the `revoke-access` task of a grant, with the params it was granted with, and drops it from the desired
    /// ones. For a grant that was never given the task carries the id alone, and is malformed.
    pub fn revoke(&self, grant_id: &str) -> String {
        let some_integration = self.inner.access().integrations.first().cloned().unwrap_or_default();
        let task_id = {
            let mut plane = self.inner.plane();
            plane.grants.drop_desired(grant_id);
            let given = plane.grants.given.get(grant_id);
            let integration_id = given.map_or(some_integration, |grant| grant.integration_id.clone());
            let params = plane.grants.params(grant_id).unwrap_or_else(|| json!({"grant_id": grant_id}));
            plane.tasks.enqueue("revoke-access", &integration_id, params)
        };
        self.inner.bump_work();
        task_id
    }

    /// The params of the last grant task of a grant, for a test that sends its tasks by hand.
    #[must_use]
    pub fn grant_params(&self, grant_id: &str) -> Option<Value> {
        self.inner.plane().grants.params(grant_id)
    }

    /// Lists a grant as desired without a task, as if the task had been lost. Returns the grant's id.
    pub fn desire_grant(&self, grant: Grant) -> String {
        let grant_id = self.inner.plane().grants.give(grant);
        self.inner.bump();
        grant_id
    }

    /// Drops a grant from the desired ones without a task, as if the revoke had been lost.
    pub fn drop_desired_grant(&self, grant_id: &str) {
        self.inner.plane().grants.drop_desired(grant_id);
        self.inner.bump();
    }

    /// Replaces the desired grants of an integration by any JSON.
    pub fn set_desired_grants(&self, integration_id: &str, grants: Vec<Value>) {
        {
            let mut plane = self.inner.plane();
            plane.grants.desired.remove(integration_id);
            plane.grants.places.retain(|_, (other, _)| other != integration_id);
            for grant in grants {
                plane.grants.desire(integration_id, grant);
            }
        }
        self.inner.bump();
    }

    /// The desired grants that are active now.
    #[must_use]
    pub fn desired_grants(&self, integration_id: &str) -> Vec<Value> {
        let now = self.inner.clock.now();
        let plane = self.inner.plane();
        plane.grants.active(integration_id, None, now).map(|(_, grant)| grant.clone()).collect()
    }
}

pub(super) fn list(
    apono: &AponoSimulator,
    integration_id: &str,
    parameters: &[(String, String)],
) -> Result<Answer, Malformed> {
    let mut limit = DEFAULT_LIMIT;
    let mut behind = None;
    let mut status = None;
    for (name, value) in parameters {
        match name.as_str() {
            "status" => status = Some(value.as_str()),
            "limit" => {
                limit =
                    value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit)).ok_or_else(|| {
                        Malformed(format!("limit: must be an integer from 1 to {MAX_LIMIT}"))
                    })?;
            }
            "page_token" => {
                behind = Some(
                    read_token(value)
                        .ok_or_else(|| Malformed("page_token: is not one of this listing".into()))?,
                );
            }
            other => return Err(Malformed(format!("{other}: is not a parameter of this listing"))),
        }
    }
    if status != Some("active") {
        return Err(Malformed("status: must be active".into()));
    }
    let now = apono.inner.clock.now();
    let plane = apono.inner.plane();
    let mut rest = plane.grants.active(integration_id, behind, now);
    let page: Vec<(u64, &Value)> = rest.by_ref().take(limit).collect();
    let next = rest.next().and_then(|_| page.last()).map(|(place, _)| write_token(*place));
    let items: Vec<&Value> = page.iter().map(|(_, grant)| *grant).collect();
    Ok(Answer::json(200, &json!({"items": items, "pagination": {"next_page_token": next}})))
}

fn write_token(place: u64) -> String {
    URL_SAFE_NO_PAD.encode(format!("behind:{place}"))
}

fn read_token(token: &str) -> Option<u64> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    std::str::from_utf8(&bytes).ok()?.strip_prefix("behind:")?.parse().ok()
}
