//! # Purpose
//! Every configuration key, once: what it holds, its default, its environment name, what it means.
//!
//! # Invariants kept here
//! - Loading, checking, `config show`, `config schema` and the README's table all read this table.
//!
//! # Not here
//! Rules between keys: `validate`.

use serde_json::{Map, Value, json};

/// One key. `[]` stands for the index of an organization.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// `okta[].directory.interval`.
    pub path: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// As it would be written in the file; `None` where there is none.
    pub default: Option<&'static str>,
    /// A name of its own in the environment, beside the general one.
    pub env: Option<&'static str>,
    /// One sentence.
    pub doc: &'static str,
}

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A path of a file.
    File,
    /// A list of texts.
    List,
    /// A table of texts, under names of the operator's own.
    Map,
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Integer {
        /// The least.
        least: i64,
        /// The most.
        most: i64,
    },
    /// Between 0 and 1, 0 excluded.
    Share,
    /// `90s`, `15m`, `24h`.
    Duration,
    /// One of these.
    Choice(&'static [&'static str]),
    /// `address:port`.
    Listen,
    /// `address:port`, or `unix:/path`.
    Endpoint,
}

const fn key(path: &'static str, kind: Kind, default: Option<&'static str>, doc: &'static str) -> Key {
    Key { path, kind, default, env: None, doc }
}

const fn named(
    path: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    env: &'static str,
    doc: &'static str,
) -> Key {
    Key { path, kind, default, env: Some(env), doc }
}

/// Every key, in the order of the documentation.
pub const KEYS: &[Key] = &[
    named(
        "apono.url",
        Kind::Text,
        Some("\"api.apono.io\""),
        "APONO_URL",
        "Apono's address: a host, or a URL.",
    ),
    named(
        "apono.connector_id",
        Kind::Text,
        None,
        "APONO_CONNECTOR_ID",
        "This connector's name at Apono. Required.",
    ),
    named(
        "apono.token_file",
        Kind::File,
        None,
        "APONO_TOKEN_FILE",
        "File with the connector token. Required.",
    ),
    key(
        "apono.client_certificate_file",
        Kind::File,
        None,
        "PEM certificate to show to Apono, where a gateway asks for one; followed when it is replaced.",
    ),
    key("apono.client_key_file", Kind::File, None, "Its private key, PEM."),
    key("apono.grants_interval", Kind::Duration, Some("\"5m\""), "How often the desired grants are read."),
    key(
        "okta[].integration_id",
        Kind::Text,
        None,
        "Apono's id of this organization's integration. Required.",
    ),
    key(
        "okta[].organization_url",
        Kind::Text,
        None,
        "The organization's address, https://example.okta.com. Required.",
    ),
    key(
        "okta[].credentials_file",
        Kind::File,
        None,
        "Apono's secret: JSON with client_id and private_key (JWK or PEM).",
    ),
    key(
        "okta[].client_id",
        Kind::Text,
        None,
        "Client id, with private_key_file instead of credentials_file.",
    ),
    key("okta[].private_key_file", Kind::File, None, "Private key alone, as JWK or PEM."),
    key(
        "okta[].key_id",
        Kind::Text,
        None,
        "Key id for a key that does not carry its own; else the RFC 7638 thumbprint.",
    ),
    key(
        "okta[].dpop",
        Kind::Choice(&["auto", "on", "off"]),
        Some("\"auto\""),
        "Proof of possession (RFC 9449).",
    ),
    key(
        "okta[].rate_limit_share",
        Kind::Share,
        Some("0.8"),
        "Share of the rate limits that Okta's headers show.",
    ),
    key("okta[].directory.enabled", Kind::Bool, Some("true"), "Push users and groups to Apono."),
    key(
        "okta[].directory.groups",
        Kind::List,
        Some("[]"),
        "Groups to sync: names, globs or ids. Empty: every OKTA_GROUP and APP_GROUP.",
    ),
    key(
        "okta[].directory.users",
        Kind::Choice(&["members", "all"]),
        Some("\"members\""),
        "Whose users: of the selected groups, or all.",
    ),
    key("okta[].directory.interval", Kind::Duration, Some("\"15m\""), "Between two runs."),
    key(
        "okta[].directory.full_interval",
        Kind::Duration,
        Some("\"24h\""),
        "Between two runs that read everything anew.",
    ),
    key(
        "okta[].directory.attributes",
        Kind::Map,
        Some("{}"),
        "Okta profile attribute = SCIM attribute, beside the default mapping or in place of it; \"\" leaves one out.",
    ),
    key(
        "okta[].directory.breaker.max_share",
        Kind::Share,
        Some("0.10"),
        "The largest share that one run may take away, of each kind.",
    ),
    key(
        "okta[].directory.breaker.max_count",
        Kind::Integer { least: 0, most: 1_000_000_000 },
        Some("500"),
        "The largest number that one run may take away, of each kind.",
    ),
    key(
        "okta[].directory.breaker.floor",
        Kind::Integer { least: 0, most: 1_000_000_000 },
        Some("10"),
        "Below this number the share is not applied.",
    ),
    key(
        "okta[].scim.base_url",
        Kind::Text,
        None,
        "SCIM 2.0 service provider. Default: {apono.url}/scim/v2/{integration_id}.",
    ),
    key(
        "okta[].scim.token_file",
        Kind::File,
        None,
        "File with its bearer token. Default: the connector token.",
    ),
    key(
        "okta[].scim.user_name_change",
        Kind::Choice(&["update", "recreate"]),
        Some("\"update\""),
        "What a changed login does at the provider.",
    ),
    key("okta[].access.enabled", Kind::Bool, Some("true"), "Execute grants."),
    named(
        "okta[].access.parallelism",
        Kind::Integer { least: 1, most: 64 },
        Some("8"),
        "APONO_ACTIONS_PARALLELISM",
        "Grants worked on at once. Removals have places of their own.",
    ),
    key(
        "okta[].access.look_interval",
        Kind::Duration,
        Some("\"15m\""),
        "How often it is looked whether others have changed what live grants count on (one user a second at most).",
    ),
    key(
        "okta[].access.policy.allow_groups",
        Kind::List,
        Some("[\"*\"]"),
        "Groups that may be granted: names, globs or ids.",
    ),
    key(
        "okta[].access.policy.deny_groups",
        Kind::List,
        Some("[]"),
        "Groups that may not, even if allowed above.",
    ),
    key(
        "okta[].access.policy.max_duration",
        Kind::Duration,
        Some("\"12h\""),
        "The longest that a grant may last.",
    ),
    key(
        "okta[].access.policy.max_live_grants",
        Kind::Integer { least: 0, most: 100_000 },
        Some("5000"),
        "The most grants that may be live at once.",
    ),
    key(
        "okta[].access.policy.allow_admin_groups",
        Kind::Bool,
        Some("false"),
        "Whether groups with administrator roles may be granted.",
    ),
    key(
        "okta[].access.policy.business_hours",
        Kind::List,
        Some("[]"),
        "When grants may begin, such as \"mon-fri 08:00-18:00\"; empty means always.",
    ),
    key(
        "okta[].access.policy.time_zone",
        Kind::Text,
        Some("\"UTC\""),
        "The time zone of business_hours, such as \"Europe/Berlin\".",
    ),
    key(
        "okta[].access.policy.kill_switch_file",
        Kind::Text,
        None,
        "While this file exists, every live grant is ended and none begins.",
    ),
    key(
        "okta[].access.policy.rule_managed",
        Kind::Choice(&["wait", "leave", "remove"]),
        Some("\"wait\""),
        "A grant ends in a group that a rule has come to fill: wait for a person, leave it to the rule, or remove all the same.",
    ),
    key(
        "custom_integration.enabled",
        Kind::Bool,
        Some("false"),
        "Listen for Apono's published custom-integration calls.",
    ),
    key(
        "custom_integration.listen",
        Kind::Endpoint,
        Some("\"127.0.0.1:8081\""),
        "Where: a loopback address with a port, or unix:/path.",
    ),
    key(
        "custom_integration.token_file",
        Kind::File,
        None,
        "File with the bearer token that callers must show. Required where enabled.",
    ),
    key("custom_integration.integration_id", Kind::Text, None, "For which organization; optional with one."),
    key(
        "state.url",
        Kind::Text,
        Some("\"sqlite:/var/lib/apono-connector/state.db\""),
        "Where grants and results are kept: a file of this host, or postgres://user@host/database.",
    ),
    key(
        "state.password_file",
        Kind::File,
        None,
        "File with the database password (PostgreSQL); followed when it is replaced.",
    ),
    key(
        "state.directory",
        Kind::Text,
        None,
        "Folder for this host's own files when the state is in PostgreSQL. Default: $STATE_DIRECTORY, else /var/lib/apono-connector.",
    ),
    key("audit.file", Kind::File, Some("\"/var/lib/apono-connector/audit.jsonl\""), "The audit trail."),
    key("admin.listen", Kind::Listen, Some("\"127.0.0.1:8080\""), "Health, metrics and status."),
    key(
        "admin.token_file",
        Kind::File,
        None,
        "File with the token that shows the status to other hosts; health and metrics are open without it.",
    ),
    key("log.level", Kind::Text, Some("\"info\""), "error, warn, info, debug, trace, or a filter."),
    key(
        "log.format",
        Kind::Choice(&["auto", "pretty", "json", "logfmt", "journald"]),
        Some("\"auto\""),
        "auto: the journal under systemd, pretty on a terminal, else JSON.",
    ),
    key(
        "http.ca_bundle_file",
        Kind::File,
        None,
        "PEM certificates to trust beside the system's and Mozilla's; followed when it is replaced.",
    ),
    key(
        "http.proxy_credentials_file",
        Kind::File,
        None,
        "user:password for the proxy that HTTPS_PROXY names; followed when it is replaced.",
    ),
    key("http.connect_timeout", Kind::Duration, Some("\"10s\""), "Limit for connecting."),
    key("http.request_timeout", Kind::Duration, Some("\"30s\""), "Limit for one request."),
];

/// The key of a concrete path (`okta[0].dpop`).
pub fn find(path: &str) -> Option<&'static Key> {
    let general = generalize(path);
    KEYS.iter().find(|key| key.path == general)
}

/// `okta[3].dpop` → `okta[].dpop`.
pub fn generalize(path: &str) -> String {
    let mut general = String::with_capacity(path.len());
    let mut in_index = false;
    for c in path.chars() {
        match c {
            '[' => {
                in_index = true;
                general.push('[');
            }
            ']' => {
                in_index = false;
                general.push(']');
            }
            _ if in_index => {}
            _ => general.push(c),
        }
    }
    general
}

/// Whether some key is below this path.
pub fn is_table(path: &str) -> bool {
    let general = generalize(path);
    KEYS.iter().any(|key| {
        key.path.strip_prefix(&general).is_some_and(|rest| rest.starts_with('.') || rest.starts_with("[]"))
    })
}

/// The known path that is most like `path`, if any is like it at all.
pub fn nearest(path: &str) -> Option<String> {
    let general = generalize(path);
    let tables = KEYS.iter().flat_map(|key| {
        let dots =
            key.path.match_indices('.').map(|(at, _)| key.path[..at].trim_end_matches("[]").to_owned());
        dots.chain(std::iter::once(key.path.to_owned())).collect::<Vec<_>>()
    });
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let likeness = |known: &String| {
        // The same name in another table is as likely a slip as a misspelt name in the right one.
        strsim::jaro_winkler(known, &general).max(strsim::jaro_winkler(&last(known), &last(&general)) * 0.97)
    };
    let best = tables.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(&best) > 0.8).then_some(best)
}

/// A JSON Schema (2020-12) of the file.
pub fn json_schema() -> Value {
    let mut root = object();
    for key in KEYS {
        let mut table = &mut root;
        let mut parts = key.path.split('.').peekable();
        while let Some(part) = parts.next() {
            let name = part.trim_end_matches("[]");
            let properties = table.entry("properties").or_insert_with(|| json!({}));
            let Some(properties) = properties.as_object_mut() else { break };
            if parts.peek().is_none() {
                properties.insert(name.to_owned(), leaf(key));
                break;
            }
            let entry = properties.entry(name).or_insert_with(|| {
                if part.ends_with("[]") {
                    json!({ "type": "array", "items": object() })
                } else {
                    Value::Object(object())
                }
            });
            let next = if part.ends_with("[]") { entry.get_mut("items") } else { Some(entry) };
            let Some(next) = next.and_then(Value::as_object_mut) else { break };
            table = next;
        }
    }
    root.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    root.insert("title".to_owned(), json!("apono-connector configuration"));
    Value::Object(root)
}

fn object() -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("type".to_owned(), json!("object"));
    object.insert("additionalProperties".to_owned(), json!(false));
    object
}

fn leaf(key: &Key) -> Value {
    let mut leaf = match key.kind {
        Kind::Text | Kind::File | Kind::Listen | Kind::Endpoint => json!({ "type": "string" }),
        Kind::List => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Map => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Integer { least, most } => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Kind::Share => json!({ "type": "number", "exclusiveMinimum": 0, "maximum": 1 }),
        Kind::Duration => json!({ "type": "string", "pattern": "^[0-9]" }),
        Kind::Choice(choices) => json!({ "enum": choices }),
    };
    leaf["description"] = json!(key.doc);
    if let Some(default) = key.default {
        leaf["default"] = serde_json::from_str(default).unwrap_or_else(|_| json!(default));
    }
    leaf
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_named() {
        for (wrong, right) in [
            ("apono.conector_id", Some("apono.connector_id")),
            ("okta[0].organisation_url", Some("okta[].organization_url")),
            ("okta[0].directory.grups", Some("okta[].directory.groups")),
            ("okta[1].max_duration", Some("okta[].access.policy.max_duration")),
            ("logging", Some("log")),
            ("zzz", None),
        ] {
            assert_eq!(nearest(wrong).as_deref(), right, "{wrong}");
        }
    }

    #[test]
    fn every_default_is_of_its_kind() {
        for key in KEYS {
            if let Some(default) = key.default {
                let value: Value = serde_json::from_str(default).unwrap_or_else(|_| panic!("{}", key.path));
                assert_eq!(super::super::load::check_kind(&value, key.kind), Ok(()), "{}", key.path);
            }
        }
    }

    #[test]
    fn the_schema_knows_every_key() {
        let schema = json_schema();
        let dpop = &schema["properties"]["okta"]["items"]["properties"]["dpop"];
        assert_eq!(dpop["enum"], json!(["auto", "on", "off"]));
        assert_eq!(schema["properties"]["state"]["additionalProperties"], json!(false));
    }
}
