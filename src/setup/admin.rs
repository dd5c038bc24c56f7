//! # Purpose
//! The administrator's calls: looks at what is there, and carries out single steps.
//!
//! # Invariants kept here
//! - The administrator's token goes into one header, marked sensitive, and nowhere else.
//! - What creates something is not sent again once it may have arrived.
//! - A listing is read to its end or not at all.
//!
//! # Not here
//! Which steps: `plan`. What a refusal means: `refusal`.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::TIMEOUT;
use super::found::{Application, Assignment, Found, RegisteredKey, Resource, ResourceSet, Role, material};
use super::refusal::{AdminError, cure};
use super::step::{ApiCall, Names, Step};
use crate::http::retry::{Patience, Repeatable};
use crate::http::url::Base;
use crate::http::{Authorize, AuthorizeError, Call, Exchange, Lane, Request, Response};
use crate::okta::errors::classify;
use crate::okta::page::next_cursor;
use crate::okta::{OktaError, Surroundings};

/// No listing that is read here has so many pages.
const MOST_PAGES: usize = 100;

/// Calls with an administrator's token.
#[derive(Clone, Debug)]
pub struct Admin {
    base: Base,
    exchange: Exchange,
}

/// `SSWS …`, as Okta calls its API tokens.
struct ApiToken(HeaderValue);

impl std::fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiToken").finish_non_exhaustive()
    }
}

impl Authorize for ApiToken {
    fn authorize<'a>(&'a self, request: &'a mut Request) -> BoxFuture<'a, Result<(), AuthorizeError>> {
        request.headers.insert(AUTHORIZATION, self.0.clone());
        Box::pin(std::future::ready(Ok(())))
    }

    fn rejected(&self, _: &Request) {
        // There is no other.
    }

    fn answered(&self, _: &Request, _: &Response) {}
}

/// A group, as it was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedGroup {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

impl Admin {
    /// Calls to `base` with `token`; sends nothing yet.
    pub fn new(base: Base, token: &SecretString, surroundings: &Surroundings) -> Result<Self, AdminError> {
        let header = HeaderValue::try_from(format!("SSWS {}", token.expose_secret()));
        let mut header = header.map_err(|_| AdminError::Token)?;
        header.set_sensitive(true);
        let exchange = Exchange {
            peer: "okta",
            transport: Arc::clone(&surroundings.transport),
            clock: Arc::clone(&surroundings.clock),
            entropy: Arc::clone(&surroundings.entropy),
            metrics: Arc::clone(&surroundings.metrics),
            budget: None,
            authorize: Some(Arc::new(ApiToken(header))),
            classify,
        };
        Ok(Self { base, exchange })
    }

    /// Whose token it is.
    pub async fn whoami(&self) -> Result<String, AdminError> {
        let call = get(&["api", "v1", "users", "me"]);
        let user = self.json("whoami", &call, &[]).await?;
        let login = user.pointer("/profile/login").and_then(Value::as_str);
        login.map(ToOwned::to_owned).ok_or_else(|| self.lacks(&call, "profile.login"))
    }

    /// Whether there are users and groups at all. A connector that sees none of them lacks its role.
    pub async fn shows(&self) -> Result<(bool, bool), AdminError> {
        let mut seen = [false; 2];
        for (seen, (name, kind)) in seen.iter_mut().zip([("list_users", "users"), ("list_groups", "groups")])
        {
            let call = get(&["api", "v1", kind]);
            let page = self.json(name, &call, &[("limit", "1")]).await?;
            *seen = !page.as_array().ok_or_else(|| self.lacks(&call, "list"))?.is_empty();
        }
        let [users, groups] = seen;
        Ok((users, groups))
    }

    /// The group of this id or exact name.
    pub async fn group(&self, name_or_id: &str) -> Result<NamedGroup, AdminError> {
        let name = |group: &Value| {
            let name = group.pointer("/profile/name").and_then(Value::as_str);
            name.unwrap_or_default().to_owned()
        };
        if name_or_id.starts_with("00g") && name_or_id.len() == 20 {
            let call = get(&["api", "v1", "groups", name_or_id]);
            match self.json("get_group", &call, &[]).await {
                Ok(group) => return Ok(NamedGroup { id: name_or_id.to_owned(), name: name(&group) }),
                Err(AdminError::Call { source, .. }) if source.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        let groups = self.list("list_groups", &["api", "v1", "groups"], &[("q", name_or_id)], None).await?;
        let mut ids: Vec<_> =
            groups.iter().filter(|group| name(group) == name_or_id).map(|group| text(group, "id")).collect();
        match (ids.len(), ids.pop()) {
            (1, Some(id)) => Ok(NamedGroup { id, name: name_or_id.to_owned() }),
            (_, None) => Err(AdminError::NoGroup(name_or_id.to_owned())),
            (_, Some(last)) => {
                ids.push(last);
                Err(AdminError::SeveralGroups { name: name_or_id.to_owned(), ids })
            }
        }
    }

    /// Everything that a plan is made from.
    pub async fn look(&self, label: &str, client_id: Option<&str>) -> Result<Found, AdminError> {
        let apps: Vec<Value> = if let Some(client) = client_id {
            self.application(client).await?.into_iter().collect()
        } else {
            let query = [("q", label), ("limit", "200")];
            let apps = self.list("list_apps", &["api", "v1", "apps"], &query, None).await?;
            apps.into_iter().filter(|app| text(app, "label") == label).collect()
        };
        let mut applications = Vec::new();
        for app in apps {
            applications.push(self.in_full(&app).await?);
        }
        Ok(Found {
            applications,
            role: self.role(label).await?,
            resource_set: self.resource_set(label).await?,
        })
    }

    /// The keys of an application.
    pub async fn keys(&self, application: &str) -> Result<Vec<RegisteredKey>, AdminError> {
        let path = ["api", "v1", "apps", application, "credentials", "jwks"];
        let keys = self.list("list_app_keys", &path, &[], Some("/jwks/keys")).await?;
        Ok(keys
            .iter()
            .map(|key| RegisteredKey {
                id: text(key, "id"),
                kid: key.get("kid").and_then(Value::as_str).map(ToOwned::to_owned),
                active: text(key, "status") != "INACTIVE",
                material: material(key),
            })
            .collect())
    }

    /// Carries out one step and takes in the id of what it made.
    pub async fn perform(&self, step: &Step, names: &mut Names) -> Result<(), AdminError> {
        let call = step.call(names);
        let response = match self.send(name(step), &call, &[]).await {
            Err(AdminError::Call { source, .. }) if is_gone(step, &source) => return Ok(()),
            sent => sent?,
        };
        let Some(thing) = step.makes() else { return Ok(()) };
        let made: Value = self.read(name(step), &call, &response)?;
        let id = made.get("id").and_then(Value::as_str).ok_or_else(|| self.lacks(&call, "id"))?;
        names.set(thing, id.to_owned());
        Ok(())
    }

    async fn application(&self, id: &str) -> Result<Option<Value>, AdminError> {
        match self.json("get_app", &get(&["api", "v1", "apps", id]), &[]).await {
            Ok(app) => Ok(Some(app)),
            Err(AdminError::Call { source, .. }) if source.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn in_full(&self, app: &Value) -> Result<Application, AdminError> {
        let id = text(app, "id");
        let unfit = unfit(app);
        let client_id = app.pointer("/credentials/oauthClient/client_id").and_then(Value::as_str);
        let client_id = client_id.unwrap_or(&id).to_owned();
        let mut application = Application {
            id: id.clone(),
            client_id: client_id.clone(),
            label: text(app, "label"),
            active: text(app, "status") == "ACTIVE",
            unfit,
            keys: Vec::new(),
            scopes: BTreeSet::new(),
            assignments: Vec::new(),
        };
        if application.unfit.is_some() {
            return Ok(application);
        }
        application.keys = self.keys(&id).await?;
        let grants = self.list("list_app_grants", &["api", "v1", "apps", &id, "grants"], &[], None).await?;
        let active = grants.iter().filter(|grant| text(grant, "status") != "REVOKED");
        application.scopes = active.map(|grant| text(grant, "scopeId")).collect();
        let path = ["oauth2", "v1", "clients", &client_id, "roles"];
        let roles = self.list("list_client_roles", &path, &[], None).await?;
        application.assignments = roles
            .iter()
            .map(|role| Assignment {
                kind: text(role, "type"),
                label: text(role, "label"),
                role: role.get("role").and_then(Value::as_str).map(ToOwned::to_owned),
                resource_set: role.get("resource-set").and_then(Value::as_str).map(ToOwned::to_owned),
            })
            .collect();
        Ok(application)
    }

    async fn role(&self, label: &str) -> Result<Option<Role>, AdminError> {
        let roles = self.list("list_roles", &["api", "v1", "iam", "roles"], &[], Some("/roles")).await?;
        let Some(role) = roles.iter().find(|role| text(role, "label") == label) else { return Ok(None) };
        let id = text(role, "id");
        let path = ["api", "v1", "iam", "roles", &id, "permissions"];
        let permissions = self.list("list_role_permissions", &path, &[], Some("/permissions")).await?;
        let permissions = permissions.iter().map(|permission| text(permission, "label")).collect();
        Ok(Some(Role { id, permissions }))
    }

    async fn resource_set(&self, label: &str) -> Result<Option<ResourceSet>, AdminError> {
        let path = ["api", "v1", "iam", "resource-sets"];
        let sets = self.list("list_resource_sets", &path, &[], Some("/resource-sets")).await?;
        let Some(set) = sets.iter().find(|set| text(set, "label") == label) else { return Ok(None) };
        let id = text(set, "id");
        let path = ["api", "v1", "iam", "resource-sets", &id, "resources"];
        let resources = self.list("list_resources", &path, &[], Some("/resources")).await?;
        Ok(Some(ResourceSet { id, resources: resources.iter().map(resource).collect() }))
    }

    /// All pages of a listing. `inside` is where the elements are in a body that is no array.
    async fn list(
        &self,
        name: &'static str,
        path: &[&str],
        query: &[(&str, &str)],
        inside: Option<&str>,
    ) -> Result<Vec<Value>, AdminError> {
        let call = get(path);
        let first = self.base.url(path, query);
        let mut url = first.clone();
        let mut all = Vec::new();
        for _ in 0..MOST_PAGES {
            let response = self.send_to(name, &call, url.clone()).await?;
            let page: Value = self.read(name, &call, &response)?;
            let items = match (page.as_array(), inside) {
                (Some(items), _) => Some(items),
                (None, Some(inside)) => page.pointer(inside).and_then(Value::as_array),
                (None, None) => None,
            };
            all.extend(items.ok_or_else(|| self.lacks(&call, "list"))?.iter().cloned());
            let endless = || AdminError::Endless { call: call.to_string() };
            let by_header =
                next_cursor(&response.headers, &self.base, &first, false).map_err(|_| endless())?;
            let by_body = page.pointer("/_links/next/href").and_then(Value::as_str);
            let next = match (by_header, by_body) {
                (Some(cursor), _) => cursor.url().clone(),
                (None, Some(link)) => self.base.reattach(link, first.path()).ok_or_else(endless)?,
                (None, None) => return Ok(all),
            };
            if next == url {
                return Err(endless());
            }
            url = next;
        }
        Err(AdminError::Endless { call: call.to_string() })
    }

    async fn json(
        &self,
        name: &'static str,
        call: &ApiCall,
        query: &[(&str, &str)],
    ) -> Result<Value, AdminError> {
        let response = self.send(name, call, query).await?;
        self.read(name, call, &response)
    }

    fn read(&self, name: &'static str, call: &ApiCall, response: &Response) -> Result<Value, AdminError> {
        serde_json::from_slice(&response.body).map_err(|source| {
            let source = OktaError::Unreadable {
                call: name,
                expected: "JSON",
                status: response.status,
                request_id: response.header("x-okta-request-id").map(ToOwned::to_owned),
                source,
            };
            self.failed(call, source)
        })
    }

    async fn send(
        &self,
        name: &'static str,
        call: &ApiCall,
        query: &[(&str, &str)],
    ) -> Result<Response, AdminError> {
        let path: Vec<_> = call.path.iter().map(String::as_str).collect();
        self.send_to(name, call, self.base.url(&path, query)).await
    }

    async fn send_to(
        &self,
        name: &'static str,
        call: &ApiCall,
        url: url::Url,
    ) -> Result<Response, AdminError> {
        let repeatable = match call.method {
            Method::POST | Method::PATCH => Repeatable::UnlessArrived,
            _ => Repeatable::Always,
        };
        let how = Call {
            name,
            bucket: "/api/v1",
            lane: Lane::Verification,
            repeatable,
            patience: Patience::SHORT,
            timeout: TIMEOUT,
        };
        let body = call.body.as_ref().map(Value::to_string);
        let build = || {
            let mut request = Request::new(call.method.clone(), url.clone());
            request.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
            if let Some(body) = &body {
                request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                request.body = Bytes::from(body.clone());
            }
            request
        };
        let sent = self.exchange.call(&how, build).await;
        sent.map_err(|error| self.failed(call, OktaError::from_exchange(name, error)))
    }

    fn failed(&self, call: &ApiCall, source: OktaError) -> AdminError {
        let cure = cure(&source, &self.base.origin());
        AdminError::Call { call: call.to_string(), cure, source: Box::new(source) }
    }

    fn lacks(&self, call: &ApiCall, member: &'static str) -> AdminError {
        AdminError::Lacks { call: call.to_string(), member, organization: self.base.origin() }
    }
}

fn get(path: &[&str]) -> ApiCall {
    let path = path.iter().map(|part| (*part).to_owned()).collect();
    ApiCall { method: Method::GET, path, body: None }
}

fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// What the application is, where it is no service application that proves itself by a key.
fn unfit(app: &Value) -> Option<String> {
    let at = |pointer: &str| app.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let mode = at("/signOnMode");
    if mode != "OPENID_CONNECT" {
        return Some(format!("a {mode} application"));
    }
    let kind = at("/settings/oauthClient/application_type");
    if kind != "service" {
        return Some(format!("an OpenID Connect application of the type {kind}"));
    }
    let method = at("/credentials/oauthClient/token_endpoint_auth_method");
    (method != "private_key_jwt").then(|| {
        format!("a service application that proves itself by {method}; choose Public key / Private key under its Client Credentials to use it")
    })
}

/// A resource is named by its `orn`, or by the one link that is not its own.
fn resource(value: &Value) -> Resource {
    let links = value.get("_links").and_then(Value::as_object);
    let link = links
        .into_iter()
        .flatten()
        .filter(|(name, _)| name.as_str() != "self")
        .find_map(|(_, link)| link.get("href").and_then(Value::as_str));
    let orn = value.get("orn").and_then(Value::as_str);
    let read = |text: Option<&str>| text.map(Resource::read);
    match (read(orn), read(link)) {
        (Some(Resource::Other(_)) | None, Some(linked)) => linked,
        (Some(named), _) => named,
        (None, None) => Resource::Other(text(value, "id")),
    }
}

/// Whether what the step ends is gone already, as it is when the answer to a first try was lost.
fn is_gone(step: &Step, error: &OktaError) -> bool {
    match step {
        Step::DeleteKey { .. } => error.is_not_found(),
        Step::RevokeToken => error.answer().is_some_and(|answer| answer.is("E0000011")),
        Step::CreateApplication { .. }
        | Step::RegisterKey { .. }
        | Step::GrantScope { .. }
        | Step::CreateRole { .. }
        | Step::AddPermission { .. }
        | Step::CreateResourceSet { .. }
        | Step::AddResources { .. }
        | Step::AssignRole
        | Step::DeactivateKey { .. } => false,
    }
}

fn name(step: &Step) -> &'static str {
    match step {
        Step::CreateApplication { .. } => "create_app",
        Step::RegisterKey { .. } => "add_app_key",
        Step::GrantScope { .. } => "grant_app_scope",
        Step::CreateRole { .. } => "create_role",
        Step::AddPermission { .. } => "add_role_permission",
        Step::CreateResourceSet { .. } => "create_resource_set",
        Step::AddResources { .. } => "add_resources",
        Step::AssignRole => "assign_client_role",
        Step::DeactivateKey { .. } => "deactivate_app_key",
        Step::DeleteKey { .. } => "delete_app_key",
        Step::RevokeToken => "revoke_api_token",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_resource_is_told_by_its_name_or_by_its_link() {
        let url = |path: &str| json!({ "href": format!("https://example.okta.com/api/v1/{path}") });
        for (told, expected) in [
            (json!({ "orn": "orn:okta:directory:00o1:users" }), Resource::AllUsers),
            (json!({ "_links": { "groups": url("groups/00g1") } }), Resource::Group("00g1".into())),
            (
                json!({ "orn": "orn:okta:idp:00o1:x", "_links": { "self": url("iam/x"), "groups": url("groups") } }),
                Resource::AllGroups,
            ),
            (json!({ "orn": "orn:okta:idp:00o1:apps" }), Resource::Other("orn:okta:idp:00o1:apps".into())),
            (json!({ "id": "ire1" }), Resource::Other("ire1".into())),
        ] {
            assert_eq!(resource(&told), expected, "{told}");
        }
    }

    #[test]
    fn only_a_service_application_with_keys_can_be_the_connectors() {
        let app = |mode: &str, kind: &str, method: &str| {
            json!({
                "signOnMode": mode,
                "credentials": { "oauthClient": { "token_endpoint_auth_method": method } },
                "settings": { "oauthClient": { "application_type": kind } },
            })
        };
        assert_eq!(unfit(&app("OPENID_CONNECT", "service", "private_key_jwt")), None);
        for (app, word) in [
            (app("SAML_2_0", "", ""), "SAML_2_0"),
            (app("OPENID_CONNECT", "web", "private_key_jwt"), "web"),
            (app("OPENID_CONNECT", "service", "client_secret_basic"), "client_secret_basic"),
        ] {
            assert!(unfit(&app).is_some_and(|what| what.contains(word)));
        }
    }
}
