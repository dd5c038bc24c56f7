//! # Purpose
//! Okta's JSON, read tolerantly.
//!
//! # Invariants kept here
//! - Of every object only the `id` must be there. Unknown fields, unknown values, nulls and, in what is only a hint,
//!   values of another type are survived.
//! - What is no object is never read as one.
//!
//! # Not here
//! Paging and errors.
//!
//! Source: Okta management OpenAPI 2026.06.3.

use jiff::Timestamp;
use serde::de::{DeserializeOwned, Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::domain::{Group, GroupKind, OktaGroupId, OktaUserId, User, UserStatus};

/// A user of a listing or by itself.
#[derive(Deserialize)]
pub(super) struct UserBody {
    id: OktaUserId,
    #[serde(default, deserialize_with = "hint")]
    status: Option<UserStatus>,
    #[serde(default, deserialize_with = "null_is_empty")]
    profile: Map<String, Value>,
}

impl From<UserBody> for User {
    fn from(body: UserBody) -> Self {
        Self {
            id: body.id,
            status: body.status.unwrap_or_else(|| UserStatus::Other(String::new())),
            profile: body.profile,
        }
    }
}

/// A user of whom only the id is wanted; the rest is skipped without being stored.
#[derive(Deserialize)]
pub(super) struct UserId {
    pub(super) id: OktaUserId,
}

/// A group of a listing or by itself.
#[derive(Deserialize)]
pub(super) struct GroupBody {
    id: OktaGroupId,
    #[serde(rename = "type", default, deserialize_with = "hint")]
    kind: Option<String>,
    profile: Option<GroupProfile>,
    #[serde(rename = "lastMembershipUpdated", default, deserialize_with = "hint")]
    last_membership_updated: Option<String>,
    #[serde(rename = "_embedded")]
    embedded: Option<Embedded>,
}

#[derive(Deserialize)]
struct GroupProfile {
    name: Option<String>,
}

#[derive(Deserialize)]
struct Embedded {
    stats: Option<Stats>,
}

/// Okta has spelled the last member in three ways.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    #[serde(alias = "hasAdminPrivlege", alias = "hasAdminPrivileges")]
    has_admin_privilege: Option<bool>,
    #[serde(default, deserialize_with = "hint")]
    users_count: Option<u64>,
}

impl From<GroupBody> for Group {
    fn from(body: GroupBody) -> Self {
        let stats = body.embedded.and_then(|embedded| embedded.stats);
        Self {
            id: body.id,
            kind: GroupKind::from(body.kind.as_deref().unwrap_or_default()),
            name: body.profile.and_then(|profile| profile.name).unwrap_or_default(),
            has_admin_privilege: stats.as_ref().and_then(|stats| stats.has_admin_privilege),
            members_changed_at: body.last_membership_updated.and_then(|text| text.parse().ok()),
            members: stats.and_then(|stats| stats.users_count),
        }
    }
}

/// A group rule, as far as it says which groups it feeds.
#[derive(Deserialize)]
pub(super) struct RuleBody {
    status: Option<String>,
    actions: Option<RuleActions>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuleActions {
    assign_user_to_groups: Option<RuleTargets>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuleTargets {
    #[serde(default, deserialize_with = "null_is_empty")]
    group_ids: Vec<OktaGroupId>,
}

impl RuleBody {
    /// The groups that the rule fills. Only a rule that says it is off fills none.
    pub(super) fn targets(self) -> Vec<OktaGroupId> {
        if matches!(self.status.as_deref(), Some("INACTIVE" | "INVALID")) {
            return Vec::new();
        }
        self.actions
            .and_then(|actions| actions.assign_user_to_groups)
            .map(|targets| targets.group_ids)
            .unwrap_or_default()
    }
}

/// An administrator role that somebody has. One that does not say which it is says nothing.
#[derive(Deserialize)]
pub(super) struct RoleBody {
    #[serde(rename = "type")]
    pub(super) kind: String,
}

/// An event of the System Log. One without `uuid` or `published` cannot be put in its place.
#[derive(Deserialize)]
pub(super) struct LogBody {
    pub(super) uuid: String,
    pub(super) published: Timestamp,
    pub(super) actor: Option<LogActor>,
    pub(super) transaction: Option<LogTransaction>,
    #[serde(default, deserialize_with = "null_is_empty")]
    target: Vec<LogTarget>,
}

#[derive(Deserialize)]
pub(super) struct LogActor {
    pub(super) id: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct LogTransaction {
    pub(super) id: Option<String>,
}

#[derive(Deserialize)]
struct LogTarget {
    id: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

impl LogBody {
    /// The id of the first target of a kind, wherever it stands.
    pub(super) fn target(&self, kind: &str) -> Option<&str> {
        let of_kind = self.target.iter().find(|target| target.kind.as_deref() == Some(kind));
        of_kind.and_then(|target| target.id.as_deref())
    }
}

/// A JSON object. serde takes a list for one too, its elements for the members in the order of their declaration.
pub(super) fn object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, serde_json::Error> {
    if json.trim_ascii_start().starts_with(b"{") {
        return serde_json::from_slice(json);
    }
    serde_json::from_slice::<IgnoredAny>(json)?;
    Err(serde_json::Error::custom("it is not an object"))
}

/// Nothing, where it is not what it should be: what is only a hint makes no object unreadable.
fn hint<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let raw = <&RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).unwrap_or_default())
}

fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    let value = Option::deserialize(deserializer)?;
    Ok(value.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::super::page::read_items;
    use super::*;

    #[test]
    fn a_user_needs_nothing_but_an_id() {
        for text in [
            r#"{"id":"00u1"}"#,
            r#"{"id":"00u1","status":null,"profile":null,"new":{"x":[1]}}"#,
            r#"{"id":"00u1","status":"HIBERNATING","profile":{}}"#,
        ] {
            let user = User::from(serde_json::from_str::<UserBody>(text).unwrap());
            assert_eq!(user.id.as_str(), "00u1");
            assert_eq!(user.status.active(), None);
        }
        assert!(serde_json::from_str::<UserBody>(r#"{"status":"ACTIVE"}"#).is_err());
    }

    #[test]
    fn a_list_is_no_object() {
        for text in [r#"["00u1"]"#, r#" ["00u1",null,null]"#, "[]", "\"00u1\"", "null", "", "<html>"] {
            assert!(object::<UserBody>(text.as_bytes()).is_err(), "{text}");
        }
        assert!(object::<UserBody>(br#" {"id":"00u1"}"#).is_ok());
    }

    #[test]
    fn the_admin_hint_is_read_in_all_of_its_spellings() {
        for spelling in ["hasAdminPrivilege", "hasAdminPrivlege", "hasAdminPrivileges"] {
            let text = format!(
                r#"{{"id":"00g1","type":"OKTA_GROUP","_embedded":{{"stats":{{"{spelling}":true}}}}}}"#
            );
            let group = Group::from(serde_json::from_str::<GroupBody>(&text).unwrap());
            assert_eq!(group.has_admin_privilege, Some(true), "{spelling}");
        }
        let bare = Group::from(serde_json::from_str::<GroupBody>(r#"{"id":"00g1"}"#).unwrap());
        assert_eq!(bare.kind, GroupKind::Other(String::new()));
        assert_eq!(bare.has_admin_privilege, None);
    }

    #[test]
    fn a_hint_of_another_type_makes_no_group_unreadable() {
        let text = r#"{"id":"00g1","type":["OKTA_GROUP"],"lastMembershipUpdated":7,"objectClass":null,
            "profile":{"name":"Domain Users","objectSid":{"x":[null]}},"_embedded":{"stats":{"usersCount":"many"}}}"#;
        let group = Group::from(serde_json::from_str::<GroupBody>(text).unwrap());
        assert_eq!((group.id.as_str(), group.name.as_str()), ("00g1", "Domain Users"));
        assert!(group.kind.is_unknown());
        assert_eq!((group.members_changed_at, group.members), (None, None));
        // Whether a group gives administrators' rights is more than a hint.
        let text = r#"{"id":"00g1","_embedded":{"stats":{"hasAdminPrivilege":"yes"}}}"#;
        assert!(serde_json::from_str::<GroupBody>(text).is_err());
    }

    fn any_json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            any::<bool>().prop_map(|truth| truth.to_string()),
            any::<f64>().prop_map(|number| Value::from(number).to_string()),
            any::<u64>().prop_map(|number| number.to_string()),
            any::<String>().prop_map(|text| Value::from(text).to_string()),
            select(&[
                "1e999",
                "-123456789012345678901234567890",
                r#""\ud800""#,
                r#""\u0000\u202e<b>""#,
                r#"{"id":"00u1"}"#,
                r#"{"a":1,"a":[]}"#,
            ])
            .prop_map(str::to_owned),
            Just(format!("{}{}", "[".repeat(200), "]".repeat(200))),
        ];
        leaf.prop_recursive(4, 24, 5, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..5).prop_map(|all| format!("[{}]", all.join(","))),
                vec((any::<String>(), inner), 0..5).prop_map(|all| {
                    let member = |(name, value): (String, String)| format!("{}:{value}", Value::from(name));
                    format!("{{{}}}", all.into_iter().map(member).collect::<Vec<_>>().join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_json_in_a_profile_breaks_a_page_or_costs_another_user(
            field in prop_oneof![select(&["login", "email", "firstName", "id", "a"]).prop_map(str::to_owned), any::<String>()],
            value in any_json(),
        ) {
            let user = |id: &str, more: &str| {
                format!(r#"{{"id":"{id}","status":"ACTIVE","profile":{{"login":"{id}@example.com"{more}}}}}"#)
            };
            let more = format!(",{}:{value}", Value::from(field));
            let page = format!("[{},{},{}]", user("00u1", ""), user("00u2", &more), user("00u3", ""));
            let elements: Vec<&RawValue> = serde_json::from_slice(page.as_bytes()).unwrap();
            let read = |text: &str| serde_json::from_str::<UserBody>(text).map(User::from);
            let (items, skipped) = read_items(&elements, read);
            let ids: Vec<_> = items.iter().map(|user| user.id.as_str()).collect();
            let spared: Vec<_> = skipped.iter().map(|one| one.id.as_deref()).collect();
            let whole = ids == ["00u1", "00u2", "00u3"] && spared.is_empty();
            let one_is_spared = ids == ["00u1", "00u3"] && spared == [Some("00u2")];
            prop_assert!(whole || one_is_spared, "{ids:?} {spared:?}");
        }
    }

    #[test]
    fn only_a_rule_that_is_off_feeds_no_group() {
        let rule = |status: &str| {
            let text = format!(
                r#"{{"id":"0pr1","status":{status},"actions":{{"assignUserToGroups":{{"groupIds":["00g1"]}}}}}}"#
            );
            serde_json::from_str::<RuleBody>(&text).unwrap().targets().len()
        };
        assert_eq!(rule("\"ACTIVE\""), 1);
        assert_eq!(rule("null"), 1);
        assert_eq!(rule("\"BEWILDERED\""), 1);
        assert_eq!(rule("\"INACTIVE\""), 0);
    }
}
