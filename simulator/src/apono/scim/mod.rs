//! # Purpose
//! A SCIM 2.0 service provider (RFC 7643, RFC 7644) for each integration: users with the enterprise extension, and
//! groups with members.
//!
//! # Invariants kept here
//! - A refused request changes nothing; an accepted one is counted as a read or a write.
//! - Errors have SCIM's own shape and name the attribute.
//!
//! # Not here
//! Bulk, sorting, `/.search` and `/Me`: the provider says that it has none.

mod directory;
mod discovery;
mod filter;
mod members;
mod patch;
mod path;
mod read;
mod resource;
mod world;
mod write;

use std::collections::BTreeMap;

use http::header::CONTENT_TYPE;
use serde_json::{Map, Value, json};

use self::directory::{Directory, etag};
use self::path::{ERROR, GROUP, USER};
use super::AponoSimulator;
use super::answer::Answer;
use super::door::{Call, media_type};
use super::settings::ScimSettings;

const MEDIA_TYPE: &str = "application/scim+json";

/// The two kinds of resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    User,
    Group,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::User => "User",
            Self::Group => "Group",
        }
    }

    fn plural(self) -> &'static str {
        match self {
            Self::User => "Users",
            Self::Group => "Groups",
        }
    }

    fn schema(self) -> &'static str {
        match self {
            Self::User => USER,
            Self::Group => GROUP,
        }
    }

    /// The attribute that people know a resource by.
    fn name_attribute(self) -> &'static str {
        match self {
            Self::User => "userName",
            Self::Group => "displayName",
        }
    }

    fn id_prefix(self) -> &'static str {
        match self {
            Self::User => "scu_",
            Self::Group => "scg_",
        }
    }

    fn id(self, number: u64) -> String {
        format!("{}{number:08}", self.id_prefix())
    }
}

/// One of SCIM's operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    ProviderConfig,
    ResourceTypes(Option<String>),
    Schemas(Option<String>),
    List(Kind),
    Create(Kind),
    Get(Kind, String),
    Replace(Kind, String),
    Patch(Kind, String),
    Delete(Kind, String),
}

impl Action {
    /// The operation of a method at a path below the integration.
    pub(super) fn of(method: &str, segments: &[&str]) -> Found {
        let kind = match segments.first() {
            Some(&"Users") => Some(Kind::User),
            Some(&"Groups") => Some(Kind::Group),
            Some(_) | None => None,
        };
        let id = segments.get(1).map(|&id| id.to_owned());
        let action = match (segments, kind, method) {
            (["ServiceProviderConfig"], _, "GET") => Self::ProviderConfig,
            (["ResourceTypes"] | ["ResourceTypes", _], _, "GET") => Self::ResourceTypes(id),
            (["Schemas"] | ["Schemas", _], _, "GET") => Self::Schemas(id),
            ([_], Some(kind), "GET") => Self::List(kind),
            ([_], Some(kind), "POST") => Self::Create(kind),
            ([_, id], Some(kind), "GET") => Self::Get(kind, (*id).into()),
            ([_, id], Some(kind), "PUT") => Self::Replace(kind, (*id).into()),
            ([_, id], Some(kind), "PATCH") => Self::Patch(kind, (*id).into()),
            ([_, id], Some(kind), "DELETE") => Self::Delete(kind, (*id).into()),
            (
                ["ServiceProviderConfig" | "ResourceTypes" | "Schemas"] | ["ResourceTypes" | "Schemas", _],
                _,
                _,
            )
            | ([_] | [_, _], Some(_), _) => return Found::WrongMethod,
            _ => return Found::Nothing,
        };
        Found::Action(action)
    }

    pub(super) fn operation(&self) -> &'static str {
        match self {
            Self::ProviderConfig => "scim_config",
            Self::ResourceTypes(_) => "scim_resource_types",
            Self::Schemas(_) => "scim_schemas",
            Self::List(Kind::User) => "scim_list_users",
            Self::List(Kind::Group) => "scim_list_groups",
            Self::Create(Kind::User) => "scim_create_user",
            Self::Create(Kind::Group) => "scim_create_group",
            Self::Get(Kind::User, _) => "scim_get_user",
            Self::Get(Kind::Group, _) => "scim_get_group",
            Self::Replace(Kind::User, _) => "scim_replace_user",
            Self::Replace(Kind::Group, _) => "scim_replace_group",
            Self::Patch(Kind::User, _) => "scim_patch_user",
            Self::Patch(Kind::Group, _) => "scim_patch_group",
            Self::Delete(Kind::User, _) => "scim_delete_user",
            Self::Delete(Kind::Group, _) => "scim_delete_group",
        }
    }

    fn is_write(&self) -> bool {
        match self {
            Self::Create(_) | Self::Replace(..) | Self::Patch(..) | Self::Delete(..) => true,
            Self::ProviderConfig
            | Self::ResourceTypes(_)
            | Self::Schemas(_)
            | Self::List(_)
            | Self::Get(..) => false,
        }
    }
}

/// What is at a path.
pub(super) enum Found {
    Action(Action),
    WrongMethod,
    Nothing,
}

/// Why a request is refused.
#[derive(Debug)]
pub(super) struct Failure {
    status: u16,
    scim_type: Option<&'static str>,
    detail: String,
    /// Whether the request breaks the contract, rather than meeting a state it could not know.
    blames: bool,
}

impl Failure {
    fn new(status: u16, scim_type: Option<&'static str>, detail: &str, blames: bool) -> Self {
        Self { status, scim_type, detail: detail.into(), blames }
    }

    fn syntax(detail: &str) -> Self {
        Self::new(400, Some("invalidSyntax"), detail, true)
    }

    fn value(detail: &str) -> Self {
        Self::new(400, Some("invalidValue"), detail, true)
    }

    fn path(detail: &str) -> Self {
        Self::new(400, Some("invalidPath"), detail, true)
    }

    fn mutability(detail: &str) -> Self {
        Self::new(400, Some("mutability"), detail, true)
    }

    fn filter(detail: &str) -> Self {
        Self::new(400, Some("invalidFilter"), detail, true)
    }

    fn no_target(detail: &str) -> Self {
        Self::new(400, Some("noTarget"), detail, false)
    }

    fn uniqueness(detail: &str) -> Self {
        Self::new(409, Some("uniqueness"), detail, false)
    }

    fn too_many_members(settings: &ScimSettings, most: usize) -> Self {
        let detail = format!("members: more than {most} in one request");
        if settings.too_many_is_400 {
            Self::new(400, Some("tooMany"), &detail, false)
        } else {
            Self::new(413, None, &detail, false)
        }
    }

    fn not_found(detail: &str) -> Self {
        Self::new(404, None, detail, false)
    }

    fn without_blame(mut self) -> Self {
        self.blames = false;
        self
    }

    fn into_answer(self, settings: &ScimSettings) -> Answer {
        let mut body = json!({"schemas": [ERROR], "status": self.status.to_string(), "detail": self.detail});
        let silent = self.status == 409 && settings.conflict_without_scim_type;
        if let (Some(scim_type), Some(fields), false) = (self.scim_type, body.as_object_mut(), silent) {
            fields.insert("scimType".into(), scim_type.into());
        }
        let answer = Answer::text(self.status, MEDIA_TYPE, body.to_string());
        if self.blames { answer.blaming(&self.detail) } else { answer }
    }
}

/// Every integration's directory.
#[derive(Debug)]
pub(super) struct Scim {
    settings: ScimSettings,
    directories: BTreeMap<String, Directory>,
    writes: u64,
    reads: u64,
}

impl Scim {
    pub(super) fn new(settings: ScimSettings) -> Self {
        Self { settings, directories: BTreeMap::new(), writes: 0, reads: 0 }
    }

    fn directory(&mut self, integration_id: &str) -> (&mut Directory, &ScimSettings) {
        let directory =
            self.directories.entry(integration_id.into()).or_insert_with(|| Directory::new(integration_id));
        (directory, &self.settings)
    }
}

/// A request for one directory.
struct Context<'a> {
    directory: &'a mut Directory,
    settings: &'a ScimSettings,
    call: &'a Call,
    now: String,
}

pub(super) fn answer(apono: &AponoSimulator, integration_id: &str, action: &Action, call: &Call) -> Answer {
    let admitted = apono.admits(call, true);
    let known = apono.knows_integration(integration_id);
    let now = apono.inner.clock.now().to_string();
    let mut scim = apono.inner.scim();
    if !admitted {
        return Failure::new(401, None, "the bearer token is not accepted", false)
            .into_answer(&scim.settings);
    }
    if !known {
        return Failure::not_found("there is no such integration").into_answer(&scim.settings);
    }
    let (directory, settings) = scim.directory(integration_id);
    let mut context = Context { directory, settings, call, now };
    match context.act(action) {
        Ok(answer) => {
            if action.is_write() {
                scim.writes += 1;
            } else {
                scim.reads += 1;
            }
            answer
        }
        Err(failure) => failure.into_answer(&scim.settings),
    }
}

impl Context<'_> {
    fn act(&mut self, action: &Action) -> Result<Answer, Failure> {
        match action {
            Action::ProviderConfig => Ok(sent(200, discovery::provider_config(self.settings).to_string())),
            Action::ResourceTypes(id) => described(&discovery::resource_types(), id.as_deref()),
            Action::Schemas(id) => described(&discovery::schemas(), id.as_deref()),
            Action::List(kind) => self.list(*kind),
            Action::Get(kind, id) => self.get(*kind, id),
            Action::Create(kind) => self.create(*kind),
            Action::Replace(kind, id) => self.replace(*kind, id),
            Action::Patch(kind, id) => self.patch(*kind, id),
            Action::Delete(kind, id) => self.delete(*kind, id),
        }
    }

    fn number(&self, kind: Kind, id: &str) -> Result<u64, Failure> {
        self.directory
            .number(kind, id)
            .ok_or_else(|| Failure::not_found(&format!("there is no {} {id:?}", kind.name())))
    }

    fn json(&self) -> Result<Value, Failure> {
        let given = self.call.header(&CONTENT_TYPE).map(media_type).unwrap_or_default();
        if given != MEDIA_TYPE && given != "application/json" {
            let detail = format!("content-type: {given:?} is neither {MEDIA_TYPE} nor application/json");
            return Err(Failure::new(415, None, &detail, true));
        }
        serde_json::from_slice(&self.call.body)
            .map_err(|error| Failure::syntax(&format!("the body is not JSON: {error}")))
    }

    /// A resource with the header of its version.
    fn versioned(&self, answer: Answer, kind: Kind, number: u64) -> Answer {
        if self.settings.etag {
            answer.with_header("etag", etag(self.directory.table(kind).version(number)))
        } else {
            answer
        }
    }
}

fn sent(status: u16, body: String) -> Answer {
    Answer::text(status, MEDIA_TYPE, body)
}

/// A listing of descriptions, or one of them.
fn described(all: &[Value], id: Option<&str>) -> Result<Answer, Failure> {
    let Some(id) = id else {
        let count = all.len();
        let list = json!({
            "schemas": [path::LIST], "totalResults": count, "startIndex": 1, "itemsPerPage": count, "Resources": all,
        });
        return Ok(sent(200, list.to_string()));
    };
    all.iter()
        .find(|one| one.get("id").and_then(Value::as_str) == Some(id))
        .map(|one| sent(200, one.to_string()))
        .ok_or_else(|| Failure::not_found(&format!("there is no description of {id:?}")))
}

/// The habit of some providers to send booleans as words.
fn with_string_booleans(value: &mut Value) {
    match value {
        Value::Bool(flag) => *value = Value::from(if *flag { "True" } else { "False" }),
        Value::Array(list) => list.iter_mut().for_each(with_string_booleans),
        Value::Object(object) => Map::values_mut(object).for_each(with_string_booleans),
        Value::Null | Value::Number(_) | Value::String(_) => {}
    }
}
