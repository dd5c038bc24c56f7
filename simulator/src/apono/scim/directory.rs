//! # Purpose
//! The users and groups of one integration, found by id, by name and by `externalId`.
//!
//! # Invariants kept here
//! - The order of resources is that of their creation; a page never costs more than its length (after a deletion, one
//!   pass over the ids more).
//! - A resource is kept as the text that is sent: a million users are a million strings, not trees.
//! - Members are sets of numbers, known from both sides, so that a deleted user leaves every group.
//!
//! # Not here
//! What a resource must look like: see [`super::resource`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::Kind;
use super::path::field;

/// The resources of one kind.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: BTreeMap<u64, Row>,
    order: Vec<u64>,
    /// `order` names resources that are gone.
    stale: bool,
    by_name: Index,
    by_external: Index,
}

#[derive(Debug)]
struct Row {
    /// The JSON object as it is sent, without `members`.
    text: Box<str>,
    name: Arc<str>,
    external: Option<Arc<str>>,
    version: u64,
}

/// Numbers by key, ordered by both.
#[derive(Debug, Default)]
struct Index(BTreeSet<(Arc<str>, u64)>);

impl Index {
    fn find(&self, key: &str) -> Vec<u64> {
        let key: Arc<str> = key.into();
        self.0.range((Arc::clone(&key), 0)..=(key, u64::MAX)).map(|(_, number)| *number).collect()
    }
}

impl Table {
    /// The name that is unique among users, in lower case; for groups the display name.
    pub(super) fn named(&self, name: &str) -> Vec<u64> {
        self.by_name.find(&name.to_lowercase())
    }

    pub(super) fn external(&self, external_id: &str) -> Vec<u64> {
        self.by_external.find(external_id)
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        self.rows.contains_key(&number)
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn version(&self, number: u64) -> u64 {
        self.rows.get(&number).map_or(0, |row| row.version)
    }

    /// All numbers in the order of creation.
    pub(super) fn order(&mut self) -> &[u64] {
        if self.stale {
            self.order.retain(|number| self.rows.contains_key(number));
            self.stale = false;
        }
        &self.order
    }

    fn text(&self, number: u64) -> Option<&str> {
        self.rows.get(&number).map(|row| row.text.as_ref())
    }

    fn put(&mut self, number: u64, kind: Kind, body: &Value) {
        let fields = body.as_object();
        let string = |name: &str| fields.and_then(|fields| field(fields, name)).and_then(Value::as_str);
        let name: Arc<str> = string(kind.name_attribute()).unwrap_or_default().to_lowercase().into();
        let external: Option<Arc<str>> = string("externalId").map(Into::into);
        let version = self.version(number) + 1;
        if self.contains(number) {
            self.unindex(number);
        } else {
            self.order.push(number);
        }
        self.by_name.0.insert((Arc::clone(&name), number));
        if let Some(external) = &external {
            self.by_external.0.insert((Arc::clone(external), number));
        }
        self.rows.insert(number, Row { text: body.to_string().into(), name, external, version });
    }

    fn unindex(&mut self, number: u64) {
        let Some(row) = self.rows.get(&number) else { return };
        self.by_name.0.remove(&(Arc::clone(&row.name), number));
        if let Some(external) = &row.external {
            self.by_external.0.remove(&(Arc::clone(external), number));
        }
    }

    fn remove(&mut self, number: u64) -> bool {
        self.unindex(number);
        let was_there = self.rows.remove(&number).is_some();
        self.stale |= was_there;
        was_there
    }
}

/// One integration's directory.
#[derive(Debug)]
pub(super) struct Directory {
    integration_id: String,
    issued: u64,
    users: Table,
    groups: Table,
    members: BTreeMap<u64, BTreeSet<u64>>,
    member_of: BTreeMap<u64, BTreeSet<u64>>,
}

impl Directory {
    pub(super) fn new(integration_id: &str) -> Self {
        Self {
            integration_id: integration_id.into(),
            issued: 0,
            users: Table::default(),
            groups: Table::default(),
            members: BTreeMap::new(),
            member_of: BTreeMap::new(),
        }
    }

    pub(super) fn table(&self, kind: Kind) -> &Table {
        match kind {
            Kind::User => &self.users,
            Kind::Group => &self.groups,
        }
    }

    pub(super) fn table_mut(&mut self, kind: Kind) -> &mut Table {
        match kind {
            Kind::User => &mut self.users,
            Kind::Group => &mut self.groups,
        }
    }

    /// The number behind an id of this kind, if there is such a resource.
    pub(super) fn number(&self, kind: Kind, id: &str) -> Option<u64> {
        let number = id.strip_prefix(kind.id_prefix())?.parse().ok()?;
        (self.table(kind).contains(number) && kind.id(number) == id).then_some(number)
    }

    /// The number behind the id of whatever may be a member.
    pub(super) fn member_number(&self, id: &str) -> Option<u64> {
        self.number(Kind::User, id).or_else(|| self.number(Kind::Group, id))
    }

    fn kind_of(&self, number: u64) -> Kind {
        if self.users.contains(number) { Kind::User } else { Kind::Group }
    }

    pub(super) fn location(&self, kind: Kind, number: u64) -> String {
        format!("/scim/v2/{}/{}/{}", self.integration_id, kind.plural(), kind.id(number))
    }

    /// Stores a new resource: adds `id` and `meta`.
    pub(super) fn create(
        &mut self,
        kind: Kind,
        mut body: Map<String, Value>,
        now: &str,
        with_version: bool,
    ) -> u64 {
        self.issued += 1;
        let number = self.issued;
        self.stamp(kind, number, &mut body, now, now, with_version);
        self.table_mut(kind).put(number, kind, &Value::Object(body));
        number
    }

    /// Replaces what is stored, but for `id` and `meta.created`.
    pub(super) fn update(
        &mut self,
        kind: Kind,
        number: u64,
        mut body: Map<String, Value>,
        now: &str,
        with_version: bool,
    ) {
        let before = self.head(kind, number);
        let created =
            before.as_ref().and_then(|before| before.pointer("/meta/created")).and_then(Value::as_str);
        self.stamp(kind, number, &mut body, created.unwrap_or(now), now, with_version);
        self.table_mut(kind).put(number, kind, &Value::Object(body));
    }

    fn stamp(
        &self,
        kind: Kind,
        number: u64,
        body: &mut Map<String, Value>,
        created: &str,
        modified: &str,
        with_version: bool,
    ) {
        let mut meta = json!({
            "resourceType": kind.name(),
            "created": created,
            "lastModified": modified,
            "location": self.location(kind, number),
        });
        if let (true, Some(meta)) = (with_version, meta.as_object_mut()) {
            meta.insert("version".into(), etag(self.table(kind).version(number) + 1).into());
        }
        body.insert("id".into(), kind.id(number).into());
        body.insert("meta".into(), meta);
    }

    pub(super) fn remove(&mut self, kind: Kind, number: u64) -> bool {
        for group in self.member_of.remove(&number).unwrap_or_default() {
            if let Some(members) = self.members.get_mut(&group) {
                members.remove(&number);
            }
        }
        for member in self.members.remove(&number).unwrap_or_default() {
            self.forget_membership(member, number);
        }
        self.table_mut(kind).remove(number)
    }

    fn forget_membership(&mut self, member: u64, group: u64) {
        if let Some(groups) = self.member_of.get_mut(&member) {
            groups.remove(&group);
            if groups.is_empty() {
                self.member_of.remove(&member);
            }
        }
    }

    pub(super) fn members(&self, group: u64) -> Option<&BTreeSet<u64>> {
        self.members.get(&group)
    }

    pub(super) fn groups_of(&self, member: u64) -> Vec<u64> {
        self.member_of.get(&member).into_iter().flatten().copied().collect()
    }

    /// True if it was not a member before.
    pub(super) fn add_member(&mut self, group: u64, member: u64) -> bool {
        self.member_of.entry(member).or_default().insert(group);
        self.members.entry(group).or_default().insert(member)
    }

    /// True if it was a member before.
    pub(super) fn remove_member(&mut self, group: u64, member: u64) -> bool {
        self.forget_membership(member, group);
        self.members.get_mut(&group).is_some_and(|members| members.remove(&member))
    }

    /// Makes these the members; true if that changed anything.
    pub(super) fn set_members(&mut self, group: u64, members: &BTreeSet<u64>) -> bool {
        let before = self.members.get(&group).cloned().unwrap_or_default();
        for gone in before.difference(members) {
            self.remove_member(group, *gone);
        }
        for new in members.difference(&before) {
            self.add_member(group, *new);
        }
        before != *members
    }

    /// A member as a filter sees it.
    pub(super) fn member(&self, number: u64) -> Value {
        let kind = self.kind_of(number);
        json!({"value": kind.id(number), "type": kind.name()})
    }

    /// What is stored of a resource, without members.
    pub(super) fn head(&self, kind: Kind, number: u64) -> Option<Value> {
        self.table(kind).text(number).and_then(|text| serde_json::from_str(text).ok())
    }

    /// The whole resource.
    pub(super) fn value(&self, kind: Kind, number: u64) -> Option<Value> {
        self.json(kind, number, true, true).and_then(|text| serde_json::from_str(&text).ok())
    }

    /// The resource as it is sent.
    pub(super) fn json(
        &self,
        kind: Kind,
        number: u64,
        with_members: bool,
        with_types: bool,
    ) -> Option<String> {
        let mut text = String::from(self.table(kind).text(number)?);
        if kind == Kind::Group && with_members {
            text.pop();
            text.push_str(",\"members\":[");
            for (index, member) in self.members.get(&number).into_iter().flatten().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                // Ids are letters and digits: nothing in them needs escaping.
                let kind = self.kind_of(*member);
                text.push_str("{\"value\":\"");
                text.push_str(&kind.id(*member));
                if with_types {
                    text.push_str("\",\"type\":\"");
                    text.push_str(kind.name());
                }
                text.push_str("\"}");
            }
            text.push_str("]}");
        }
        Some(text)
    }
}

pub(super) fn etag(version: u64) -> String {
    format!("W/\"{version}\"")
}
