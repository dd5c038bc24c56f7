//! # Purpose
//! What tests and the demo may see of the directories, and do to them behind the connector's back.
//!
//! # Invariants kept here
//! - What is done here is not counted as a read or a write of the connector.
//!
//! # Not here
//! The protocol.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Directory, Kind, ScimSettings};
use crate::apono::AponoSimulator;

impl AponoSimulator {
    /// Changes what the SCIM provider can do and how it misbehaves. The token of the new settings is not looked at:
    /// see [`AponoSimulator::set_scim_token`].
    pub fn set_scim(&self, settings: ScimSettings) {
        self.inner.scim().settings = settings;
        self.inner.bump();
    }

    /// The users in the order of their creation.
    #[must_use]
    pub fn scim_users(&self, integration_id: &str) -> Vec<Value> {
        self.all(integration_id, Kind::User)
    }

    /// The groups in the order of their creation, with their members.
    #[must_use]
    pub fn scim_groups(&self, integration_id: &str) -> Vec<Value> {
        self.all(integration_id, Kind::Group)
    }

    /// How many users and groups there are, without a look at each.
    #[must_use]
    pub fn scim_size(&self, integration_id: &str) -> (usize, usize) {
        let scim = self.inner.scim();
        scim.directories.get(integration_id).map_or((0, 0), |directory| {
            (directory.table(Kind::User).len(), directory.table(Kind::Group).len())
        })
    }

    /// How many POST, PUT, PATCH and DELETE were accepted.
    #[must_use]
    pub fn scim_writes(&self) -> u64 {
        self.inner.scim().writes
    }

    /// How many GET were answered.
    #[must_use]
    pub fn scim_reads(&self) -> u64 {
        self.inner.scim().reads
    }

    /// Adds a user that the connector did not make. Nothing is checked; `schemas` are added if missing. Returns its id.
    pub fn add_scim_user(&self, integration_id: &str, user: Value) -> String {
        self.add(integration_id, Kind::User, user)
    }

    /// Adds a group that the connector did not make; members by id. Nothing is checked. Returns its id.
    pub fn add_scim_group(&self, integration_id: &str, group: Value) -> String {
        self.add(integration_id, Kind::Group, group)
    }

    /// Merges attributes into a user or group, as somebody at the provider would change them; null removes one.
    /// `members` replaces the members. True if there is such a resource.
    pub fn merge_scim(&self, integration_id: &str, id: &str, attributes: Value) -> bool {
        let now = self.inner.clock.now().to_string();
        let merged = {
            let mut scim = self.inner.scim();
            let (directory, settings) = scim.directory(integration_id);
            let found = [Kind::User, Kind::Group]
                .into_iter()
                .find_map(|kind| directory.number(kind, id).map(|number| (kind, number)));
            found.is_some_and(|(kind, number)| {
                let mut body = object(directory.head(kind, number).unwrap_or_default());
                for (name, value) in object(attributes) {
                    if value.is_null() {
                        body.remove(&name);
                    } else {
                        body.insert(name, value);
                    }
                }
                if let Some(members) = body.remove("members") {
                    directory.set_members(number, &known_members(directory, &members));
                }
                directory.update(kind, number, body, &now, settings.etag);
                true
            })
        };
        self.inner.bump();
        merged
    }

    /// Deletes a user or group, as somebody at the provider would. True if there was one.
    pub fn remove_scim(&self, integration_id: &str, id: &str) -> bool {
        let removed = {
            let mut scim = self.inner.scim();
            let (directory, _) = scim.directory(integration_id);
            [Kind::User, Kind::Group]
                .into_iter()
                .any(|kind| directory.number(kind, id).is_some_and(|number| directory.remove(kind, number)))
        };
        self.inner.bump();
        removed
    }

    fn all(&self, integration_id: &str, kind: Kind) -> Vec<Value> {
        let mut scim = self.inner.scim();
        let (directory, _) = scim.directory(integration_id);
        let order = directory.table_mut(kind).order().to_vec();
        order.into_iter().filter_map(|number| directory.value(kind, number)).collect()
    }

    fn add(&self, integration_id: &str, kind: Kind, resource: Value) -> String {
        let now = self.inner.clock.now().to_string();
        let id = {
            let mut scim = self.inner.scim();
            let (directory, settings) = scim.directory(integration_id);
            let mut body = object(resource);
            body.entry("schemas").or_insert_with(|| json!([kind.schema()]));
            let members = body.remove("members").map(|members| known_members(directory, &members));
            let number = directory.create(kind, body, &now, settings.etag);
            directory.set_members(number, &members.unwrap_or_default());
            kind.id(number)
        };
        self.inner.bump();
        id
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

/// The members that exist, of a list of ids or of `{"value": id}`.
fn known_members(directory: &Directory, members: &Value) -> BTreeSet<u64> {
    let list = members.as_array().map_or(&[][..], Vec::as_slice);
    list.iter()
        .filter_map(|member| member.as_str().or_else(|| member.get("value").and_then(Value::as_str)))
        .filter_map(|id| directory.member_number(id))
        .collect()
}
