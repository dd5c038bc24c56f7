//! # Purpose
//! Writing: create, replace, patch, delete.
//!
//! # Invariants kept here
//! - Everything is checked before anything is stored: a request happens as a whole or not at all.
//! - No two users have the same `userName`, whatever its case.
//!
//! # Not here
//! What a single PATCH operation does: see [`super::patch`] and [`super::members`].

use std::collections::BTreeSet;

use http::header::IF_MATCH;
use serde_json::{Map, Value};

use super::directory::etag;
use super::members::{self, Membership};
use super::read::Projection;
use super::{Context, Failure, Kind, patch, resource, sent};
use crate::apono::answer::Answer;

impl Context<'_> {
    pub(super) fn create(&mut self, kind: Kind) -> Result<Answer, Failure> {
        let (body, members) = self.accepted(kind)?;
        self.unique(kind, &body, None)?;
        let number = self.directory.create(kind, body, &self.now, self.settings.etag);
        for member in members {
            self.directory.add_member(number, member);
        }
        let location = self.directory.location(kind, number);
        let created =
            sent(201, self.shown(kind, number, &Projection::default())).with_header("location", location);
        Ok(self.versioned(created, kind, number))
    }

    pub(super) fn replace(&mut self, kind: Kind, id: &str) -> Result<Answer, Failure> {
        let number = self.number(kind, id)?;
        if !self.settings.put {
            return Err(Failure::new(501, None, "PUT is not supported", false));
        }
        self.unchanged_since(kind, number)?;
        let (body, members) = self.accepted(kind)?;
        self.unique(kind, &body, Some(number))?;
        self.same_user_name(kind, number, &body)?;
        self.directory.update(kind, number, body, &self.now, self.settings.etag);
        if kind == Kind::Group {
            let members = if self.settings.put_drops_members { BTreeSet::new() } else { members };
            self.directory.set_members(number, &members);
        }
        let replaced = sent(200, self.shown(kind, number, &Projection::default()));
        Ok(self.versioned(replaced, kind, number))
    }

    pub(super) fn patch(&mut self, kind: Kind, id: &str) -> Result<Answer, Failure> {
        let number = self.number(kind, id)?;
        if !self.settings.patch {
            return Err(Failure::new(501, None, "PATCH is not supported", false));
        }
        self.unchanged_since(kind, number)?;
        let changes = patch::parse(&self.json()?)?;
        let named = |change: &patch::Change| change.is_named && !patch::is_about_members(change);
        if self.settings.refuses_paths && changes.iter().any(named) {
            return Err(Failure::path("path: is not supported").without_blame());
        }
        if self.settings.ignores_patch {
            return Ok(Answer::empty(204));
        }
        let before = match self.directory.head(kind, number) {
            Some(Value::Object(before)) => before,
            Some(_) | None => Map::new(),
        };
        let mut after = before.clone();
        let mut membership = Membership::default();
        for change in &changes {
            if kind == Kind::Group && patch::is_about_members(change) {
                membership.take(self.directory, number, change, self.settings)?;
            } else {
                patch::apply(&mut after, change)?;
            }
        }
        patch::tidy(&mut after);
        self.forget(kind, &mut after);
        resource::check(kind, &after)?;
        self.same_user_name(kind, number, &after)?;
        self.unique(kind, &after, Some(number))?;
        let members_changed = membership.apply(self.directory, number);
        if members_changed || after != before {
            self.directory.update(kind, number, after, &self.now, self.settings.etag);
        }
        let echoes = match kind {
            Kind::User => self.settings.user_patch_echo,
            Kind::Group => self.settings.group_patch_echo,
        };
        let patched = if echoes {
            sent(200, self.shown(kind, number, &Projection::default()))
        } else {
            Answer::empty(204)
        };
        Ok(self.versioned(patched, kind, number))
    }

    pub(super) fn delete(&mut self, kind: Kind, id: &str) -> Result<Answer, Failure> {
        let number = self.number(kind, id)?;
        self.unchanged_since(kind, number)?;
        self.directory.remove(kind, number);
        Ok(Answer::empty(204))
    }

    /// What a POST or PUT asks to store, and the members apart from it.
    fn accepted(&self, kind: Kind) -> Result<(Map<String, Value>, BTreeSet<u64>), Failure> {
        let mut body = resource::accept(kind, &self.json()?)?;
        let mut found = BTreeSet::new();
        if let (Kind::Group, Some(named)) = (kind, body.remove("members")) {
            let count = named.as_array().map_or(1, Vec::len);
            if let Some(most) = self.settings.max_members_per_write.filter(|most| count > *most) {
                return Err(Failure::too_many_members(self.settings, most));
            }
            found = members::numbers(self.directory, &named)?;
        }
        self.forget(kind, &mut body);
        Ok((body, found))
    }

    fn forget(&self, kind: Kind, body: &mut Map<String, Value>) {
        if kind == Kind::User {
            body.retain(|name, _| !self.settings.drops.contains(&name.as_str()));
        }
        if self.settings.forgets_external_id {
            body.remove("externalId");
        }
    }

    fn same_user_name(&self, kind: Kind, number: u64, body: &Map<String, Value>) -> Result<(), Failure> {
        let before = self.directory.head(kind, number).unwrap_or_default();
        let name = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_lowercase);
        let changes = name(before.get("userName")) != name(body.get("userName"));
        if self.settings.fixed_user_names && changes {
            return Err(Failure::mutability("userName: cannot be changed").without_blame());
        }
        Ok(())
    }

    fn unique(&self, kind: Kind, body: &Map<String, Value>, own: Option<u64>) -> Result<(), Failure> {
        let table = self.directory.table(kind);
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        let taken = |found: Vec<u64>| found.into_iter().any(|number| Some(number) != own);
        let name = kind.name_attribute();
        let names_are_unique = match kind {
            Kind::User => true,
            Kind::Group => self.settings.unique_group_names,
        };
        if let Some(value) = text(name).filter(|_| names_are_unique)
            && taken(table.named(value))
        {
            return Err(Failure::uniqueness(&format!("{name}: {value:?} is taken")));
        }
        if let Some(value) = text("externalId").filter(|_| self.settings.unique_external_ids)
            && taken(table.external(value))
        {
            return Err(Failure::uniqueness(&format!("externalId: {value:?} is taken")));
        }
        Ok(())
    }

    /// Holds a writer to the version it has seen.
    fn unchanged_since(&self, kind: Kind, number: u64) -> Result<(), Failure> {
        let Some(seen) = self.call.header(&IF_MATCH).filter(|_| self.settings.etag) else { return Ok(()) };
        let current = etag(self.directory.table(kind).version(number));
        if seen == "*" || seen.split(',').any(|version| version.trim() == current) {
            Ok(())
        } else {
            Err(Failure::new(412, None, "the resource has changed since", false))
        }
    }
}
