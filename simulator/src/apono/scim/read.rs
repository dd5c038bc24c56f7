//! # Purpose
//! Reading: one resource, a page of resources, and which of their attributes.
//!
//! # Invariants kept here
//! - The order is that of creation, so that pages do not overlap while nothing is deleted.
//! - A filter that an index can answer does not look at every resource.
//!
//! # Not here
//! What a filter means: see [`super::filter`].

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::filter::{Comparison, Filter};
use super::path::{AttrPath, LIST, field};
use super::{Context, Failure, Kind, sent, with_string_booleans};
use crate::apono::answer::Answer;

/// Which attributes a caller wants.
#[derive(Debug, Default)]
pub(super) struct Projection {
    only: Option<Vec<AttrPath>>,
    without: Vec<AttrPath>,
}

/// What a caller asks of a listing.
#[derive(Debug, Default)]
struct Asked {
    start: usize,
    count: Option<usize>,
    filter: Option<Filter>,
    projection: Projection,
}

impl Projection {
    fn is_everything(&self) -> bool {
        self.only.is_none() && self.without.is_empty()
    }

    /// Whether the members have to be put together at all.
    fn needs_members(&self) -> bool {
        let whole = |path: &AttrPath| path.is_core("members") && path.sub.is_none();
        self.only.as_ref().is_none_or(|only| only.iter().any(|path| path.is_core("members")))
            && !self.without.iter().any(whole)
    }

    fn apply(&self, resource: &Value) -> Value {
        let Some(object) = resource.as_object() else { return Value::Null };
        let mut shown = match &self.only {
            None => object.clone(),
            Some(paths) => {
                let mut shown = Map::new();
                for path in paths {
                    pick(object, path, &mut shown);
                }
                shown
            }
        };
        for path in &self.without {
            drop_path(&mut shown, path);
        }
        for always in ["schemas", "id"] {
            if let Some(value) = object.get(always) {
                shown.insert(always.into(), value.clone());
            }
        }
        Value::Object(shown)
    }
}

fn pick(object: &Map<String, Value>, path: &AttrPath, into: &mut Map<String, Value>) {
    let (from, into) = match &path.extension {
        None => (object, into),
        Some(urn) => {
            let Some(Value::Object(from)) = field(object, urn) else { return };
            let inner = into.entry(urn.as_str()).or_insert_with(|| json!({}));
            let Some(inner) = inner.as_object_mut() else { return };
            (from, inner)
        }
    };
    let Some(attribute) = path.attribute.as_deref() else {
        into.extend(from.clone());
        return;
    };
    let Some(value) = field(from, attribute) else { return };
    let part = match path.sub.as_deref() {
        None => value.clone(),
        Some(sub) => part_of(value, sub),
    };
    into.insert(attribute.into(), part);
}

fn part_of(value: &Value, sub: &str) -> Value {
    match value {
        Value::Array(list) => list.iter().map(|one| part_of(one, sub)).collect(),
        Value::Object(object) => {
            let part = field(object, sub).map(|part| (sub.to_owned(), part.clone()));
            Value::Object(part.into_iter().collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn drop_path(shown: &mut Map<String, Value>, path: &AttrPath) {
    let container = match &path.extension {
        None => Some(shown),
        Some(urn) if path.attribute.is_none() => {
            shown.remove(urn);
            None
        }
        Some(urn) => shown.get_mut(urn).and_then(Value::as_object_mut),
    };
    let (Some(container), Some(attribute)) = (container, path.attribute.as_deref()) else { return };
    let Some(sub) = path.sub.as_deref() else {
        container.remove(attribute);
        return;
    };
    match container.get_mut(attribute) {
        Some(Value::Object(object)) => {
            object.remove(sub);
        }
        Some(Value::Array(list)) => {
            for object in list.iter_mut().filter_map(Value::as_object_mut) {
                object.remove(sub);
            }
        }
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | None => {}
    }
}

impl Context<'_> {
    pub(super) fn get(&mut self, kind: Kind, id: &str) -> Result<Answer, Failure> {
        let number = self.number(kind, id)?;
        let asked = self.asked(&["attributes", "excludedAttributes"])?;
        let shown = self.shown(kind, number, &asked.projection);
        Ok(self.versioned(sent(200, shown), kind, number))
    }

    pub(super) fn list(&mut self, kind: Kind) -> Result<Answer, Failure> {
        let asked = self.asked(&["filter", "startIndex", "count", "attributes", "excludedAttributes"])?;
        let most = self.settings.max_results;
        let count = asked.count.map_or(most, |count| count.min(most));
        let start = if self.settings.ignores_start_index { 1 } else { asked.start.max(1) };
        let filter = asked.filter.filter(|_| !self.settings.ignores_filter);
        let (total, page) = match &filter {
            None => {
                let order = self.directory.table_mut(kind).order();
                (order.len(), page(order, start, count))
            }
            Some(filter) => {
                let found = self.matching(kind, filter);
                (found.len(), page(&found, start, count))
            }
        };
        let total = total + usize::from(self.settings.drifting_totals && start > 1);
        let number = |number: usize| {
            if self.settings.string_numbers { Value::from(number.to_string()) } else { Value::from(number) }
        };
        let mut body = json!({
            "schemas": [LIST],
            "totalResults": number(total),
            "startIndex": number(start),
            "itemsPerPage": number(page.len()),
        })
        .to_string();
        // Resources are texts already: they are put in place rather than parsed and written again.
        body.pop();
        body.push_str(",\"Resources\":[");
        for (index, number) in page.into_iter().enumerate() {
            if index > 0 {
                body.push(',');
            }
            if self.settings.lists_without_members {
                let without = Projection { only: None, without: paths("", "members")? };
                body.push_str(&self.shown(kind, number, &without));
            } else {
                body.push_str(&self.shown(kind, number, &asked.projection));
            }
        }
        body.push_str("]}");
        Ok(sent(200, body))
    }

    /// A resource as this caller gets to see it.
    pub(super) fn shown(&self, kind: Kind, number: u64, projection: &Projection) -> String {
        let with_members = !self.settings.hides_members && projection.needs_members();
        let with_types = !self.settings.omits_member_type;
        let text = self.directory.json(kind, number, with_members, with_types).unwrap_or_default();
        if projection.is_everything() && !self.settings.string_booleans {
            return text;
        }
        let mut value = serde_json::from_str(&text).unwrap_or_default();
        if !projection.is_everything() {
            value = projection.apply(&value);
        }
        if self.settings.string_booleans {
            with_string_booleans(&mut value);
        }
        value.to_string()
    }

    fn asked(&self, allowed: &[&str]) -> Result<Asked, Failure> {
        let mut asked = Asked { start: 1, ..Asked::default() };
        for (name, value) in self.call.parameters() {
            if !allowed.contains(&name.as_str()) {
                return Err(Failure::value(&format!("{name}: is not a parameter of this request")));
            }
            match name.as_str() {
                "startIndex" => asked.start = number(&name, &value)?,
                "count" => asked.count = Some(number(&name, &value)?),
                "filter" if !self.settings.filter && !self.settings.ignores_filter => {
                    return Err(Failure::filter("filter: is not supported"));
                }
                "filter" => {
                    let filter = Filter::parse(&value)
                        .map_err(|what| Failure::filter(&format!("filter: {value:?}: {what}")))?;
                    asked.filter = Some(filter);
                }
                "attributes" => asked.projection.only = Some(paths(&name, &value)?),
                _ => asked.projection.without = paths(&name, &value)?,
            }
        }
        Ok(asked)
    }

    fn matching(&mut self, kind: Kind, filter: &Filter) -> Vec<u64> {
        let candidates = self.candidates(kind, filter);
        let order = match candidates {
            Some(candidates) => candidates.into_iter().collect(),
            None => self.directory.table_mut(kind).order().to_vec(),
        };
        let with_members = filter.mentions("members");
        order
            .into_iter()
            .filter(|number| {
                let text = self.directory.json(kind, *number, with_members, true).unwrap_or_default();
                serde_json::from_str(&text).is_ok_and(|resource: Value| filter.matches(&resource))
            })
            .collect()
    }

    /// A superset of what matches, if an index can name one.
    fn candidates(&self, kind: Kind, filter: &Filter) -> Option<BTreeSet<u64>> {
        match filter {
            Filter::And(left, right) => match (self.candidates(kind, left), self.candidates(kind, right)) {
                (Some(left), Some(right)) => Some(if left.len() < right.len() { left } else { right }),
                (left, right) => left.or(right),
            },
            Filter::Or(left, right) => {
                let mut both = self.candidates(kind, left)?;
                both.extend(self.candidates(kind, right)?);
                Some(both)
            }
            Filter::Compare { path, by: Comparison::Equal, value: Value::String(text) } => {
                let table = self.directory.table(kind);
                let found = if path.is_core("id") {
                    self.directory.number(kind, text).into_iter().collect()
                } else if path.is_core("externalId") {
                    table.external(text)
                } else if path.is_core(kind.name_attribute()) {
                    table.named(text)
                } else if kind == Kind::Group && path.is_core("members") {
                    let member = self.directory.member_number(text);
                    member.map(|member| self.directory.groups_of(member)).unwrap_or_default()
                } else {
                    return None;
                };
                Some(found.into_iter().collect())
            }
            Filter::Within { path, inner } if kind == Kind::Group && path.is_core("members") => {
                let Filter::Compare { path, by: Comparison::Equal, value: Value::String(id) } =
                    inner.as_ref()
                else {
                    return None;
                };
                let member = path.is_core("value").then(|| self.directory.member_number(id))?;
                Some(
                    member
                        .map(|member| self.directory.groups_of(member))
                        .unwrap_or_default()
                        .into_iter()
                        .collect(),
                )
            }
            Filter::Compare { .. } | Filter::Not(_) | Filter::Present(_) | Filter::Within { .. } => None,
        }
    }
}

fn page(numbers: &[u64], start: usize, count: usize) -> Vec<u64> {
    numbers.iter().skip(start - 1).take(count).copied().collect()
}

/// A number of a query; what is below zero counts as zero.
fn number(name: &str, value: &str) -> Result<usize, Failure> {
    let number: i64 = value.parse().map_err(|_| Failure::value(&format!("{name}: must be an integer")))?;
    Ok(usize::try_from(number).unwrap_or(0))
}

fn paths(name: &str, value: &str) -> Result<Vec<AttrPath>, Failure> {
    value
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(|text| {
            AttrPath::parse(text)
                .ok_or_else(|| Failure::value(&format!("{name}: {text:?} is not an attribute")))
        })
        .collect()
}
