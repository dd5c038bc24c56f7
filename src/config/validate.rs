//! # Purpose
//! Rules between keys, and the step from values to the program's types.
//!
//! # Invariants kept here
//! - Pure. Every problem is found, not only the first.
//! - A key that this version cannot honor is refused, not ignored.
//!
//! # Not here
//! Whether single values are of their kind: `load`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value, json};

use super::load::{duration, pointer};
use super::settings::{
    Access, Admin, Apono, AponoToken, Audit, Directory, Log, LogFormat, Organization, Scim, Settings,
};
use super::{Problem, schema};
use crate::access::hours::{Hours, HoursError};
use crate::access::policy::{Globs, Policy, RuleManaged};
use crate::directory::breaker::Limits;
use crate::directory::mapping::Mapping;
use crate::directory::plan::NameChange;
use crate::directory::selection::{Selection, Users};
use crate::domain::{ConnectorId, IntegrationId};
use crate::http::url::Base;
use crate::okta::Dpop;
use crate::secrets::{CredentialsSource, MountedFile};
use crate::telemetry::chain;
use crate::telemetry::log::{Format, check_level};

/// What comes from the environment alone.
pub(super) struct Extra {
    /// `APONO_TOKEN`.
    pub(super) token: Option<SecretString>,
    /// `CONNECTOR_METADATA`.
    pub(super) metadata: Option<String>,
    /// All of it: the proxy's variables are the host's, not ours.
    pub(super) environment: BTreeMap<String, String>,
}

/// Checks the tree; its values are of their kinds already.
pub(super) fn validate(
    tree: &Value,
    extra: &Extra,
    place: &dyn Fn(&str) -> String,
) -> Result<(Settings, Vec<String>), Vec<Problem>> {
    let mut reader = Reader { tree, place, problems: Vec::new(), warnings: Vec::new() };
    let apono = reader.apono(extra.token.clone());
    let metadata = reader.metadata(extra.metadata.as_deref());
    let organizations = tree.get("okta").and_then(Value::as_array).map_or(0, Vec::len);
    if organizations == 0 {
        reader.problem("okta", "there is no organization; write a table [[okta]]".to_owned());
    }
    let url = apono.as_ref().map(|apono| apono.url.clone());
    let okta: Vec<_> =
        (0..organizations).filter_map(|index| reader.organization(index, url.as_ref())).collect();
    reader.unique("integration_id", organizations);
    reader.unique("organization_url", organizations);
    let custom_integration = reader.custom_integration(organizations);
    let state = reader.state(&extra.environment);
    let audit = reader.audit();
    let token = reader.file("admin.token_file");
    let admin = reader.listen("admin.listen").map(|listen| Admin { listen, token });
    let log = reader.log();
    let http = reader.http(url.as_ref(), &extra.environment);
    let Reader { problems, warnings, .. } = reader;
    match (apono, state, audit, admin, log, metadata) {
        (Some(apono), Some(state), Some(audit), Some(admin), Some(log), Some(metadata))
            if problems.is_empty() =>
        {
            let settings =
                Settings { apono, okta, custom_integration, state, audit, admin, log, http, metadata };
            Ok((settings, warnings))
        }
        _ => Err(problems),
    }
}

struct Reader<'a> {
    tree: &'a Value,
    place: &'a dyn Fn(&str) -> String,
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

impl Reader<'_> {
    fn apono(&mut self, token: Option<SecretString>) -> Option<Apono> {
        let url = self.base("apono.url");
        let connector_id = self.required("apono.connector_id");
        let token = match (self.file("apono.token_file"), token) {
            (Some(file), given) => {
                if given.is_some() {
                    self.warnings.push("APONO_TOKEN is set too; apono.token_file is used".to_owned());
                }
                Some(AponoToken::File(file))
            }
            (None, Some(token)) => {
                self.warnings.push(
                    "APONO_TOKEN puts the token into the process environment, and it cannot be rotated without a restart; write it to a file and set APONO_TOKEN_FILE".to_owned(),
                );
                Some(AponoToken::Value(token))
            }
            (None, None) => {
                self.problem(
                    "apono.token_file",
                    "this is required: the file that holds the connector token".to_owned(),
                );
                None
            }
        };
        Some(Apono {
            url: url?,
            connector_id: ConnectorId::from(connector_id?),
            token: token?,
            grants_interval: self.duration("apono.grants_interval"),
        })
    }

    fn metadata(&mut self, text: Option<&str>) -> Option<Value> {
        let Some(text) = text.filter(|text| !text.trim().is_empty()) else {
            return Some(json!({}));
        };
        match serde_json::from_str::<Value>(text) {
            Ok(value) if value.is_object() => Some(json!({ "cloud_provider_metadata": value })),
            Ok(_) | Err(_) => {
                self.problems.push(Problem {
                    key: String::new(),
                    place: "environment CONNECTOR_METADATA".to_owned(),
                    message:
                        "CONNECTOR_METADATA is not a JSON object; write {\"region\": \"…\"} or leave it out"
                            .to_owned(),
                });
                None
            }
        }
    }

    fn organization(&mut self, index: usize, apono: Option<&Base>) -> Option<Organization> {
        let at = |name: &str| format!("okta[{index}].{name}");
        let integration_id = self.required(&at("integration_id"));
        let url = self.required(&at("organization_url")).and_then(|_| self.base(&at("organization_url")));
        if let Some(host) = url.as_ref().map(Base::host).filter(|host| host.contains("-admin.okta")) {
            let message = format!("{host} is the console's address; use the one without -admin");
            self.problem(&at("organization_url"), message);
        }
        let credentials = self.credentials(index);
        // A word that is none has been told by its kind.
        let dpop = self.text(&at("dpop")).and_then(|word| Dpop::of(&word)).unwrap_or_default();
        let rate_limit_share = self.value(&at("rate_limit_share")).as_f64().unwrap_or(0.8);
        let directory = if self.is_true(&at("directory.enabled")) {
            Some(self.directory(index, integration_id.as_deref(), apono)?)
        } else {
            None
        };
        let access = if self.is_true(&at("access.enabled")) { Some(self.access(index)?) } else { None };
        if directory.is_none() && access.is_none() {
            self.problem(
                &at("access.enabled"),
                "directory and access are both switched off; there is nothing to do for this organization"
                    .to_owned(),
            );
        }
        let (credentials, credentials_key) = credentials?;
        Some(Organization {
            integration_id: IntegrationId::from(integration_id?),
            url: url?,
            credentials,
            credentials_key,
            dpop,
            rate_limit_share,
            directory,
            access,
        })
    }

    fn credentials(&mut self, index: usize) -> Option<(CredentialsSource, String)> {
        let at = |name: &str| format!("okta[{index}].{name}");
        let secret = self.file(&at("credentials_file"));
        let key_file = self.file(&at("private_key_file"));
        let client_id = self.text(&at("client_id"));
        let key_id = self.text(&at("key_id"));
        match (secret, key_file, client_id) {
            (Some(file), None, None) => {
                Some((CredentialsSource::Secret { file, key_id }, at("credentials_file")))
            }
            (None, Some(file), Some(client_id)) => {
                Some((CredentialsSource::KeyFile { client_id, file, key_id }, at("private_key_file")))
            }
            (Some(_), _, _) => {
                self.problem(
                    &at("credentials_file"),
                    "give either credentials_file, or client_id and private_key_file, not both".to_owned(),
                );
                None
            }
            (None, Some(_), None) => {
                self.problem(&at("client_id"), "private_key_file needs client_id beside it".to_owned());
                None
            }
            (None, None, Some(_)) => {
                self.problem(
                    &at("private_key_file"),
                    "client_id needs private_key_file beside it".to_owned(),
                );
                None
            }
            (None, None, None) => {
                self.problem(&at("credentials_file"), "this is required: the file with client_id and private_key (or give client_id and private_key_file)".to_owned());
                None
            }
        }
    }

    fn directory(
        &mut self,
        index: usize,
        integration: Option<&str>,
        apono: Option<&Base>,
    ) -> Option<Directory> {
        let at = |name: &str| format!("okta[{index}].{name}");
        let groups = self.list(&at("directory.groups"));
        let users = match self.value(&at("directory.users")).as_str() {
            Some("all") => Users::All,
            Some(_) | None => Users::Members,
        };
        let selection = match Selection::new(&groups, users) {
            Ok(selection) => Some(selection),
            Err(error) => {
                self.problem(&at("directory.groups"), format!("one of the globs is wrong: {error}"));
                None
            }
        };
        let base = if self.text(&at("scim.base_url")).is_some() {
            self.base(&at("scim.base_url"))
        } else {
            let below = |base: &Base, id: &str| Base::parse(base.url(&["scim", "v2", id], &[]).as_str()).ok();
            apono.zip(integration).and_then(|(base, id)| below(base, id))
        };
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        let breaker = Limits {
            max_share: self.value(&at("directory.breaker.max_share")).as_f64().unwrap_or(0.1),
            max_count: number(&self.value(&at("directory.breaker.max_count"))),
            floor: number(&self.value(&at("directory.breaker.floor"))),
        };
        let (interval, token) = (self.duration(&at("directory.interval")), self.file(&at("scim.token_file")));
        let user_name_change = match self.value(&at("scim.user_name_change")).as_str() {
            Some("recreate") => NameChange::Recreate,
            Some(_) | None => NameChange::Update,
        };
        let scim = Scim { base: base?, token, user_name_change };
        let full_interval = self.duration(&at("directory.full_interval"));
        let mapping = self.mapping(&at("directory.attributes"));
        Some(Directory { selection: selection?, interval, full_interval, mapping: mapping?, breaker, scim })
    }

    fn mapping(&mut self, key: &str) -> Option<Mapping> {
        let changes = self.value(key);
        let changes = changes.as_object().into_iter().flatten();
        let changes =
            changes.map(|(attribute, path)| (attribute.as_str(), path.as_str().unwrap_or_default()));
        match Mapping::changed(changes) {
            Ok(mapping) => Some(mapping),
            Err(error) => {
                self.problem(key, chain(&error).to_string());
                None
            }
        }
    }

    fn access(&mut self, index: usize) -> Option<Access> {
        let at = |name: &str| format!("okta[{index}].access.{name}");
        let allow_groups = self.globs(&at("policy.allow_groups"));
        let deny_groups = self.globs(&at("policy.deny_groups"));
        let number = |value: &Value| value.as_u64().and_then(|number| usize::try_from(number).ok());
        let policy = Policy {
            enabled: true,
            allow_groups: allow_groups?,
            deny_groups: deny_groups?,
            max_duration: self.duration(&at("policy.max_duration")),
            max_live_grants: number(&self.value(&at("policy.max_live_grants"))).unwrap_or(5000),
            allow_admin_groups: self.is_true(&at("policy.allow_admin_groups")),
            business_hours: self.business_hours(&at("policy"))?,
            rule_managed: match self.value(&at("policy.rule_managed")).as_str() {
                Some("leave") => RuleManaged::Leave,
                Some("remove") => RuleManaged::Remove,
                Some(_) | None => RuleManaged::Wait,
            },
        };
        let kill_switch = self.text(&at("policy.kill_switch_file")).map(PathBuf::from);
        Some(Access {
            kill_switch,
            parallelism: number(&self.value(&at("parallelism"))).unwrap_or(8),
            look_interval: self.duration(&at("look_interval")),
            policy,
        })
    }

    fn business_hours(&mut self, at: &str) -> Option<Hours> {
        let (spans, zone) = (format!("{at}.business_hours"), format!("{at}.time_zone"));
        let texts = self.list(&spans);
        match Hours::parse(&texts, &self.text(&zone).unwrap_or_default()) {
            Ok(hours) => Some(hours),
            Err(error) => {
                let key = match &error {
                    HoursError::Span(_) => spans,
                    HoursError::Zone(_) => zone,
                };
                self.problem(&key, error.to_string());
                None
            }
        }
    }

    /// An organization that stood here twice would be given twice its share of the rate limits.
    fn unique(&mut self, name: &str, organizations: usize) {
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        for index in 0..organizations {
            let key = format!("okta[{index}].{name}");
            let Some(text) = self.text(&key) else { continue };
            let same = Base::parse(&text).map_or(text.clone(), |base| base.origin());
            if let Some(first) = seen.get(&same) {
                let message = format!("{text} stands at {first} already; each organization has one table");
                self.problem(&key, message);
            } else {
                seen.insert(same, key);
            }
        }
    }

    fn audit(&mut self) -> Option<Audit> {
        let file = PathBuf::from(self.text("audit.file").unwrap_or_default());
        if file.file_name().is_none() {
            self.problem(
                "audit.file",
                "this must name a file, such as /var/lib/apono-connector/audit.jsonl".to_owned(),
            );
            return None;
        }
        Some(Audit { file })
    }

    fn log(&mut self) -> Option<Log> {
        let level = self.text("log.level").unwrap_or_default();
        if let Err(error) = check_level(&level) {
            self.problem("log.level", error.to_string());
            return None;
        }
        let format = match self.value("log.format").as_str() {
            Some("pretty") => LogFormat::Fixed(Format::Pretty),
            Some("json") => LogFormat::Fixed(Format::Json),
            Some("logfmt") => LogFormat::Fixed(Format::Logfmt),
            Some("journald") => LogFormat::Fixed(Format::Journald),
            Some(_) | None => LogFormat::Auto,
        };
        Some(Log { level, format })
    }

    /// The value at a concrete path, or its default.
    fn value(&self, path: &str) -> Value {
        let set = self.tree.pointer(&format!("/{}", pointer(path).join("/"))).cloned();
        let default = || schema::find(path).and_then(|key| serde_json::from_str(key.default?).ok());
        set.or_else(default).unwrap_or(Value::Null)
    }

    fn text(&self, path: &str) -> Option<String> {
        self.value(path).as_str().map(|text| text.trim().to_owned())
    }

    fn required(&mut self, path: &str) -> Option<String> {
        let text = self.text(path);
        if text.is_none() {
            let doc = schema::find(path).map_or("", |key| key.doc).trim_end_matches(" Required.");
            self.problem(path, format!("this is required: {doc}"));
        }
        text
    }

    fn list(&self, path: &str) -> Vec<String> {
        let value = self.value(path);
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(ToOwned::to_owned).collect()
    }

    fn globs(&mut self, path: &str) -> Option<Globs> {
        match Globs::new(&self.list(path)) {
            Ok(globs) => Some(globs),
            Err(error) => {
                self.problem(path, format!("one of the globs is wrong: {error}"));
                None
            }
        }
    }

    fn file(&self, path: &str) -> Option<MountedFile> {
        self.text(path).map(MountedFile::new)
    }

    fn base(&mut self, path: &str) -> Option<Base> {
        match Base::parse(&self.text(path)?) {
            Ok(base) => Some(base),
            Err(error) => {
                self.problem(path, error.to_string());
                None
            }
        }
    }

    fn duration(&self, path: &str) -> Duration {
        self.text(path).as_deref().and_then(duration).unwrap_or(Duration::from_mins(1))
    }

    fn listen(&mut self, path: &str) -> Option<std::net::SocketAddr> {
        self.text(path)?.parse().ok()
    }

    fn is_true(&self, path: &str) -> bool {
        self.value(path) == Value::Bool(true)
    }

    fn problem(&mut self, key: &str, message: String) {
        let set = self.tree.pointer(&format!("/{}", pointer(key).join("/"))).is_some();
        let place = if set { (self.place)(key) } else { String::new() };
        self.problems.push(Problem { key: key.to_owned(), place, message });
    }
}

mod custom;
mod network;
mod state;

pub use state::sqlite_file;
#[cfg(test)]
mod tests;
