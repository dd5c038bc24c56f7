//! # Purpose
//! Answers the tasks that are not about access: `get-status`, `list-resources`, `sync-directory`.
//!
//! # Invariants kept here
//! - Only groups that a grant could work on are offered as resources.
//!
//! # Not here
//! Taking tasks on and sending answers: `access`.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};

use super::directory::Asker;
use super::facts::FactSource;
use crate::access::leasing::Questions;
use crate::access::policy::Policy;
use crate::apono::{Code, TaskResult, Work};
use crate::catalogue::ErrorCode;
use crate::clock::SharedClock;
use crate::config;
use crate::directory::Outcome;
use crate::domain::{Group, IntegrationId};
use crate::http::Lane;
use crate::okta::{self, Memberships, OktaError, PageError};
use crate::telemetry::chain;

/// Answers for all organizations.
pub(super) struct Answers {
    clock: SharedClock,
    organizations: BTreeMap<IntegrationId, Answering>,
    directories: BTreeMap<IntegrationId, Asker>,
    facts: OnceLock<Arc<FactSource>>,
}

struct Answering {
    memberships: Memberships,
    policy: Option<Policy>,
}

/// What is looked at of a run, which another daemon may have made.
#[derive(Debug, Deserialize)]
struct Told {
    outcome: Outcome,
    message: String,
    applied: Option<Done>,
}

#[derive(Debug, Deserialize)]
struct Done {
    done: u64,
}

/// Why groups could not be listed.
#[derive(Debug, thiserror::Error)]
enum ListError {
    #[error("cannot list the groups")]
    Groups(#[source] PageError),
    #[error("cannot list the group rules")]
    Rules(#[source] OktaError),
    #[error("the listing of groups does not end [{}]", ErrorCode::ListingIncomplete)]
    Endless,
}

/// More pages of groups than this are a mistake of the listing.
const MOST_PAGES: usize = 1000;

impl Answers {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self { clock, organizations: BTreeMap::new(), directories: BTreeMap::new(), facts: OnceLock::new() }
    }

    pub(super) fn add(&mut self, settings: &config::Organization, organization: &okta::Organization) {
        let policy = settings.access.as_ref().map(|access| access.policy.clone());
        let answering = Answering { memberships: organization.memberships.clone(), policy };
        self.organizations.insert(settings.integration_id.clone(), answering);
    }

    pub(super) fn directory(&mut self, integration: IntegrationId, asker: Asker) {
        self.directories.insert(integration, asker);
    }

    pub(super) fn directories(&self) -> BTreeMap<IntegrationId, Asker> {
        self.directories.clone()
    }

    /// Facts need the organizations, and the organizations need answers: they come last.
    pub(super) fn facts(&self, facts: Arc<FactSource>) {
        let _ = self.facts.set(facts);
    }

    fn status(&self, integration: &IntegrationId) -> TaskResult {
        let status = self.facts.get().and_then(|facts| facts.status(integration));
        let (good, message) = status.unwrap_or((false, "the connector is starting".to_owned()));
        let output = json!({ "status": if good { "ok" } else { "error" }, "message": message });
        self.result(Code::Ok, message, output)
    }

    async fn resources(&self, integration: &IntegrationId) -> TaskResult {
        let Some(answering) = self.organizations.get(integration) else {
            return self.result(Code::UnknownIntegration, "no such integration".to_owned(), json!({}));
        };
        match grantable(answering).await {
            Ok(groups) => {
                let message = format!("{} groups can be granted", groups.len());
                let resources: Vec<Value> = groups.iter().map(resource).collect();
                let permissions = json!([{ "id": "member", "name": "Member" }]);
                self.result(Code::Ok, message, json!({ "resources": resources, "permissions": permissions }))
            }
            Err(error) => self.result(Code::Unavailable, chain(&error).to_string(), json!({})),
        }
    }

    async fn sync(&self, integration: &IntegrationId) -> TaskResult {
        let Some(asker) = self.directories.get(integration) else {
            let message =
                "the directory is switched off for this organization (okta.directory.enabled)".to_owned();
            return self.result(Code::UnsupportedTask, message, json!({}));
        };
        let run = match asker.run_anywhere().await {
            Ok(run) => run,
            Err(error) => return self.result(Code::Unavailable, chain(&error).to_string(), json!({})),
        };
        let Ok(told) = Told::deserialize(&run) else {
            let message = "the directory was run by a daemon of a version that this one does not understand";
            return self.result(Code::Unavailable, message.to_owned(), run);
        };
        let did_something = told.applied.is_some_and(|applied| applied.done > 0);
        let code = match told.outcome {
            // The run was made; what it held back or could not do is in its summary.
            Outcome::Completed | Outcome::Held => Code::Ok,
            Outcome::Partial if did_something => Code::Ok,
            Outcome::Partial | Outcome::Incomplete => Code::Unavailable,
        };
        self.result(code, told.message, run)
    }

    fn result(&self, code: Code, message: String, output: Value) -> TaskResult {
        TaskResult::whole(code, message, output, self.clock.now())
    }
}

impl Questions for Answers {
    fn answer<'a>(&'a self, integration: &'a IntegrationId, work: &'a Work) -> BoxFuture<'a, TaskResult> {
        match work {
            Work::GetStatus => std::future::ready(self.status(integration)).boxed(),
            Work::ListResources => self.resources(integration).boxed(),
            Work::SyncDirectory => self.sync(integration).boxed(),
            Work::GrantAccess(_) | Work::RevokeAccess(_) | Work::Unsupported(_) => {
                let message = "not a question".to_owned();
                std::future::ready(self.result(Code::UnsupportedTask, message, json!({}))).boxed()
            }
        }
    }
}

/// The groups that the policy would let a grant open.
async fn grantable(answering: &Answering) -> Result<Vec<Group>, ListError> {
    let Some(policy) = &answering.policy else {
        return Ok(Vec::new());
    };
    let fed = answering.memberships.rule_fed_groups(Lane::Directory).await.map_err(ListError::Rules)?;
    let mut groups = Vec::new();
    let mut cursor = None;
    for _ in 0..MOST_PAGES {
        let page = answering.memberships.grantable_groups(cursor.as_ref(), Lane::Directory).await;
        let page = page.map_err(ListError::Groups)?;
        let allowed = |group: &Group| policy.review_group(group, fed.contains(&group.id)).is_ok();
        groups.extend(page.items.into_iter().filter(allowed));
        match page.next {
            None => return Ok(groups),
            next => cursor = next,
        }
    }
    Err(ListError::Endless)
}

fn resource(group: &Group) -> Value {
    json!({ "id": group.id, "name": group.name, "type": "okta-group", "metadata": {} })
}
