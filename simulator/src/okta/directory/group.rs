//! # Purpose
//! One group: what is stored, and the JSON that Okta would send.
//!
//! # Invariants kept here
//! - `type` decides whether members can be written; only `OKTA_GROUP` can.
//!
//! # Not here
//! Members.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::super::filter::Attribute;
use super::super::ids::{Ids, Kind};
use super::super::json::Object;
use super::super::settings::Settings;

/// What is stored of a group. Instants are milliseconds since the epoch.
#[derive(Clone, Debug)]
pub(in super::super) struct Group {
    pub(super) profile: Map<String, Value>,
    /// The wire's own word, so that a type nobody knows can be shown, too.
    pub(super) kind: String,
    pub(super) admin_privilege: bool,
    /// Every user is a member, without a stored membership.
    pub(super) everyone: bool,
    pub(super) created: i64,
    pub(super) last_updated: i64,
    pub(super) last_membership_updated: i64,
    pub(super) deleted: bool,
}

impl Group {
    pub(in super::super) fn is_writable(&self) -> bool {
        self.kind == "OKTA_GROUP"
    }

    pub(in super::super) fn admin_privilege(&self) -> bool {
        self.admin_privilege
    }

    pub(in super::super) fn name(&self) -> &str {
        self.profile.get("name").and_then(Value::as_str).unwrap_or_default()
    }

    /// The value that a filter compares.
    pub(in super::super) fn attribute(&self, id: &str, path: &str) -> Attribute<'_> {
        match path {
            "id" => Attribute::Text(Cow::Owned(id.to_owned())),
            "type" => Attribute::Text(Cow::Borrowed(&self.kind)),
            "created" => Attribute::Instant(self.created),
            "lastUpdated" => Attribute::Instant(self.last_updated),
            "lastMembershipUpdated" => Attribute::Instant(self.last_membership_updated),
            _ => path
                .strip_prefix("profile.")
                .and_then(|name| self.profile.get(name))
                .map_or(Attribute::Absent, |value| Attribute::Json(value.clone())),
        }
    }

    /// Writes the group as the API shows it; `users` are counted when statistics are asked for.
    pub(in super::super) fn write(
        &self,
        out: &mut Vec<u8>,
        settings: &Settings,
        id: &str,
        users: Option<usize>,
    ) {
        let origin = &settings.origin;
        let mut group = Object::open(out);
        group.text("id", id);
        group.instant("created", Some(self.created));
        group.instant("lastUpdated", Some(self.last_updated));
        group.instant("lastMembershipUpdated", Some(self.last_membership_updated));
        let class =
            if self.kind == "APP_GROUP" { "okta:windows_security_principal" } else { "okta:user_group" };
        group.value("objectClass", &[class]);
        group.text("type", &self.kind);
        group.value("profile", &self.profile);
        let mut links = json!({
            "logo": [
                { "name": "medium", "href": format!("{origin}/img/logos/groups/odyssey/okta-medium.png"), "type": "image/png" },
                { "name": "large", "href": format!("{origin}/img/logos/groups/odyssey/okta-large.png"), "type": "image/png" },
            ],
            "users": { "href": format!("{origin}/api/v1/groups/{id}/users") },
            "apps": { "href": format!("{origin}/api/v1/groups/{id}/apps") },
        });
        if self.kind == "APP_GROUP" {
            links["source"] = json!({ "href": format!("{origin}/api/v1/apps/0oa1gjh63g214q0Hq0g4") });
        }
        group.value("_links", &links);
        if let Some(users) = users {
            let mut stats = json!({ "usersCount": users, "appsCount": 0, "groupPushMappingsCount": 0 });
            stats[settings.admin_stats_member.as_str()] = self.admin_privilege.into();
            group.value("_embedded", &json!({ "stats": stats }));
        }
        group.close();
    }
}

/// A rule that puts users into groups.
#[derive(Clone, Debug)]
pub(in super::super) struct Rule {
    pub(super) name: String,
    pub(super) status: String,
    /// Group numbers.
    pub(super) targets: Vec<u32>,
    /// User numbers that the rule leaves alone, in the order in which they were excluded.
    pub(super) exclusions: Vec<u32>,
    pub(super) created: i64,
    pub(super) last_updated: i64,
}

/// How many users a rule can leave alone.
pub(super) const MAX_EXCLUSIONS: usize = 100;

impl Rule {
    pub(in super::super) fn name(&self) -> &str {
        &self.name
    }

    /// Group numbers it puts users into.
    pub(in super::super) fn targets(&self) -> &[u32] {
        &self.targets
    }

    /// Writes the rule as the API shows it.
    pub(in super::super) fn write(&self, out: &mut Vec<u8>, ids: Ids, id: &str, names: Option<&Value>) {
        let exclude: Vec<String> = self.exclusions.iter().map(|user| ids.id(Kind::User, *user)).collect();
        let targets: Vec<String> = self.targets.iter().map(|group| ids.id(Kind::Group, *group)).collect();
        let mut rule = Object::open(out);
        rule.text("type", "group_rule");
        rule.text("id", id);
        rule.text("status", &self.status);
        rule.text("name", &self.name);
        rule.instant("created", Some(self.created));
        rule.instant("lastUpdated", Some(self.last_updated));
        rule.value(
            "conditions",
            &json!({
                "people": { "users": { "exclude": exclude }, "groups": { "exclude": [] } },
                "expression": { "value": "user.department==\"Engineering\"", "type": "urn:okta:expression:1.0" },
            }),
        );
        rule.value("actions", &json!({ "assignUserToGroups": { "groupIds": targets } }));
        if let Some(names) = names {
            rule.value("_embedded", &json!({ "groupIdToGroupNameMap": names }));
        }
        rule.close();
    }
}
