//! # Purpose
//! Groups: listed, looked up, by user; group rules; admin roles of a group.
//!
//! # Invariants kept here
//! - Groups of every type are shown; it is for the caller to see which can be written.
//!
//! # Not here
//! Members of a group (`members`).

use axum::response::Response;
use serde_json::{Map, Value, json};

use super::super::OktaSimulator;
use super::super::answer::{Refusal, json_response};
use super::super::directory::{Directory, Group};
use super::super::exchange::Exchange;
use super::super::filter::{Dialect, Filter};
use super::super::ids::Kind;
use super::super::json::write_array;
use super::super::management::rights::Reach;
use super::super::settings::Settings;
use super::listing::{Listing, Page};

/// With `q` there is one page of at most this many.
const MOST_BY_NAME: usize = 300;

/// Groups that the caller's role does not reach are not shown.
pub(super) fn list(listing: &Listing<'_>, reach: &Reach) -> Result<Response, Refusal> {
    let sizes = listing.settings().page_sizes;
    let prefix = listing.parameter("q").map(str::to_lowercase);
    let limit = match prefix {
        Some(_) => listing.limit(MOST_BY_NAME, MOST_BY_NAME)?,
        None => listing.limit_from(1, sizes.groups)?,
    };
    if limit > sizes.groups_max {
        return Err(Refusal::validation("limit", "limit: is larger than the largest page"));
    }
    let expression = match (listing.parameter("filter"), listing.parameter("search")) {
        (Some(text), _) => Some(Filter::parse(text, Dialect::GroupFilter)),
        (None, Some(text)) => Some(Filter::parse(text, Dialect::GroupSearch)),
        (None, None) => None,
    };
    let expression = expression.transpose().map_err(|_| Refusal::search())?;
    let directory = listing.okta.directory();
    let matches = |index: u32| {
        directory.group(index).is_some_and(|group| {
            let has_prefix = |prefix: &String| group.name().to_lowercase().starts_with(prefix);
            let id = directory.group_id(index);
            expression
                .as_ref()
                .is_none_or(|expression| expression.matches(&|path: &str| group.attribute(&id, path)))
                && prefix.as_ref().is_none_or(has_prefix)
                && reach.includes(&id)
        })
    };
    let mut page = listing.pick(directory.group_numbers(), limit, matches)?;
    if prefix.is_some() {
        page.next = None;
    }
    Ok(respond(listing, &directory, &page, limit))
}

pub(super) fn of_user(listing: &Listing<'_>, user: &str) -> Result<Response, Refusal> {
    let limit = listing.settings().page_sizes.groups_of_user;
    let after = listing.after()?;
    let directory = listing.okta.directory();
    let user = directory.user_number_by_name(user).ok_or_else(|| Refusal::not_found(user, "User"))?;
    let page = Page::of(directory.visible_groups(user, after, limit + 1), limit);
    Ok(respond(listing, &directory, &page, limit))
}

pub(super) fn get(okta: &OktaSimulator, exchange: &Exchange, group: &str) -> Result<Response, Refusal> {
    let directory = okta.directory();
    let index = directory.group_number(group).ok_or_else(|| Refusal::not_found(group, "UserGroup"))?;
    let mut body = Vec::new();
    write(&mut body, &directory, &exchange.settings, index, wants_stats(exchange.query.get("expand")));
    Ok(json_response(200, body))
}

/// The roles that a group gives its members: one, if it is an admin group.
pub(super) fn roles(okta: &OktaSimulator, exchange: &Exchange, group: &str) -> Result<Response, Refusal> {
    let directory = okta.directory();
    let index = directory.group_number(group).ok_or_else(|| Refusal::not_found(group, "UserGroup"))?;
    let is_admin = directory.group(index).is_some_and(Group::admin_privilege);
    let role = json!({
        "id": "grp1a2b3c4D5e6F7g1d7",
        "label": "Help Desk Administrator",
        "type": "HELP_DESK_ADMIN",
        "status": "ACTIVE",
        "created": "2024-01-15T09:00:00.000Z",
        "lastUpdated": "2024-01-15T09:00:00.000Z",
        "assignmentType": "GROUP",
        "_links": { "assignee": { "href": format!("{}/api/v1/groups/{group}", exchange.settings.origin) } },
    });
    let roles = if is_admin { json!([role]) } else { json!([]) };
    Ok(json_response(200, roles.to_string()))
}

pub(super) fn rules(listing: &Listing<'_>) -> Result<Response, Refusal> {
    let sizes = listing.settings().page_sizes;
    let limit = listing.limit(sizes.rules, sizes.rules_max)?;
    let from = listing.after()?.map_or(0, |after| after.saturating_add(1));
    let keyword = listing.parameter("search").unwrap_or_default().to_lowercase();
    let with_names = listing.parameter("expand") == Some("groupIdToGroupNameMap");
    let directory = listing.okta.directory();
    let matching = directory
        .rules()
        .filter(|(number, rule)| *number >= from && rule.name().to_lowercase().contains(&keyword))
        .take(limit + 1);
    let page = Page::of(matching.map(|(number, _)| number).collect(), limit);
    let shown = directory.rules().filter(|(number, _)| page.numbers.contains(number));
    let mut body = Vec::new();
    write_array(&mut body, shown, |out, (number, rule)| {
        let names = with_names.then(|| target_names(&directory, rule.targets()));
        rule.write(out, directory.ids(), &directory.ids().id(Kind::Rule, number), names.as_ref());
    });
    Ok(listing.respond(body, page.numbers.len(), limit, page.next.as_ref()))
}

fn target_names(directory: &Directory, targets: &[u32]) -> Value {
    let names: Map<String, Value> = targets
        .iter()
        .filter_map(|index| Some((directory.group_id(*index), directory.group(*index)?.name().into())))
        .collect();
    Value::Object(names)
}

fn respond(listing: &Listing<'_>, directory: &Directory, page: &Page, limit: usize) -> Response {
    let stats = wants_stats(listing.parameter("expand"));
    let mut body = Vec::with_capacity(page.numbers.len() * 800);
    write_array(&mut body, &page.numbers, |out, index| {
        write(out, directory, listing.settings(), *index, stats);
    });
    listing.respond(body, page.numbers.len(), limit, page.next.as_ref())
}

fn write(out: &mut Vec<u8>, directory: &Directory, settings: &Settings, index: u32, stats: bool) {
    if let Some(group) = directory.group(index) {
        let users = stats.then(|| directory.visible_count(index));
        group.write(out, settings, &directory.group_id(index), users);
    }
}

fn wants_stats(expand: Option<&str>) -> bool {
    expand.is_some_and(|expand| expand.split(',').any(|part| part.trim() == "stats"))
}
