//! What must hold at the end of a history, whatever happened in it. Every breach is told; none ends the telling.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use apono_connector::access::journal::Record;
use apono_connector::access::machine::Event;
use apono_connector::clock;
use jiff::Timestamp;
use serde_json::Value;
use simulator::okta::WriteEffect;

use crate::stage::{Happening, Stage};
use crate::world::World;

/// A membership: group and user.
pub type Pair = (String, String);

/// What Apono asked for, and what was there without it.
#[derive(Clone, Debug, Default)]
pub struct Promised {
    /// Memberships that no grant gave.
    pub standing: BTreeSet<Pair>,
    /// Every task, and the codes that may answer it.
    pub tasks: BTreeMap<String, Vec<&'static str>>,
    /// What each task about access gives.
    pub lives: Vec<Life>,
}

/// One membership that a task gives, once it is answered so.
#[derive(Clone, Debug)]
pub struct Life {
    pub grant: String,
    pub task: String,
    pub group: String,
    pub user: String,
    pub until: Timestamp,
}

/// How long after its end, or after the connector is back, a membership may last at most.
const LATEST: Duration = Duration::from_mins(2);

/// The breaches of the invariants, in words. `back` is when the last connector was started.
pub fn breaches(world: &World, stage: &Stage, promised: &Promised, back: Timestamp) -> Vec<String> {
    let mut breaches = Vec::new();
    at_the_end(world, promised, &mut breaches);
    for (task, codes) in &promised.tasks {
        one_result(world, task, codes, &mut breaches);
    }
    breaches.extend(second_answers(world));
    too_early(world, promised, &mut breaches);
    too_late(world, promised, back, &mut breaches);
    without_a_duty(&stage.happened(), &mut breaches);
    for happening in stage.happened() {
        if let Happening::Remove { group, user } = happening
            && promised.standing.contains(&(group.clone(), user.clone()))
        {
            breaches.push(format!("Okta was asked to remove {user} from {group}, where it stood before"));
        }
    }
    breaches.extend(world.apono.violations().into_iter().map(|it| format!("the contract was broken: {it}")));
    breaches.extend(world.take_errors().into_iter().map(|it| format!("an error event: {it}")));
    breaches
}

/// Nothing is left that only a grant gave, and all the rest is there.
pub fn at_the_end(world: &World, promised: &Promised, breaches: &mut Vec<String>) {
    let there = world.okta.memberships();
    for (group, user) in there.difference(&promised.standing) {
        breaches.push(format!("{user} is left in {group}, by a grant that is over"));
    }
    for (group, user) in promised.standing.difference(&there) {
        breaches.push(format!("{user} is no longer in {group}, where it stood before"));
    }
}

fn one_result(world: &World, task: &str, codes: &[&str], breaches: &mut Vec<String>) {
    let Some(result) = world.apono.result(task) else {
        breaches.push(format!("{task} has no result"));
        return;
    };
    let code = result["code"].as_str().unwrap_or_default();
    if !codes.contains(&code) {
        breaches.push(format!("{task} is answered {code}, not one of {codes:?}: {result}"));
    }
}

/// Tasks that were answered in two ways. (The same answer may be sent often, and under a later lease.)
pub fn second_answers(world: &World) -> Vec<String> {
    let mut answers: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for exchange in world.apono.exchanges() {
        let Some(mut answer) = exchange.request_body.filter(|_| exchange.operation == "put_result") else {
            continue;
        };
        if let Some(fields) = answer.as_object_mut() {
            fields.remove("lease_token");
        }
        let answers = answers.entry(exchange.path).or_default();
        if !answers.contains(&answer) {
            answers.push(answer);
        }
    }
    let twice = answers.into_iter().filter(|(_, answers)| answers.len() > 1);
    twice
        .map(|(task, answers)| format!("{task} was answered in {} ways: {answers:?}", answers.len()))
        .collect()
}

/// Nobody loses before its end what a task was answered to have given.
pub fn too_early(world: &World, promised: &Promised, breaches: &mut Vec<String>) {
    let removals: Vec<_> = world
        .okta
        .membership_writes()
        .into_iter()
        .filter(|write| write.effect == WriteEffect::Removed)
        .collect();
    for life in &promised.lives {
        let Some(since) = world.apono.result(&life.task).and_then(|result| given(&result, &life.group))
        else {
            continue;
        };
        for removal in &removals {
            let is_it = removal.group == life.group && removal.user == life.user;
            if is_it && since <= removal.at && removal.at < life.until {
                breaches.push(format!(
                    "{} gave {} until {}, and it was taken at {}",
                    life.task, life.group, life.until, removal.at
                ));
            }
        }
    }
}

/// When a result says that access to the group was given, if it does.
fn given(result: &Value, group: &str) -> Option<Timestamp> {
    let resources = result["resources"].as_array()?;
    let is_given = |resource: &&Value| {
        resource["source_id"] == group
            && ["granted", "unverified"].iter().any(|code| resource["code"] == **code)
    };
    resources.iter().find(is_given)?;
    result["finished_at"].as_str()?.parse().ok()
}

/// What ends, ends soon, or soon after the connector is back.
fn too_late(world: &World, promised: &Promised, back: Timestamp, breaches: &mut Vec<String>) {
    let mut ends: BTreeMap<Pair, Timestamp> = BTreeMap::new();
    for life in &promised.lives {
        let end = ends.entry((life.group.clone(), life.user.clone())).or_insert(life.until);
        *end = (*end).max(life.until);
    }
    for write in world.okta.membership_writes() {
        let end = ends.get(&(write.group.clone(), write.user.clone()));
        let latest = end.map(|end| clock::after((*end).max(back), LATEST));
        if write.effect == WriteEffect::Removed && latest.is_some_and(|latest| write.at > latest) {
            breaches.push(format!("{} left {} only at {}", write.user, write.group, write.at));
        }
    }
}

/// Every addition was sent under a durable intent whose duty was not over.
pub fn without_a_duty(happened: &[Happening], breaches: &mut Vec<String>) {
    let mut users = BTreeMap::new();
    let mut duties: BTreeSet<(String, String)> = BTreeSet::new();
    for happening in happened {
        match happening {
            Happening::Recorded(record) => note_duty(record, &mut users, &mut duties),
            Happening::Remove { .. } => {}
            Happening::Add { group, user } => {
                let is_owed = duties.iter().any(|(grant, of)| of == group && users.get(grant) == Some(user));
                if !is_owed {
                    breaches.push(format!(
                        "{user} was added to {group} before the duty to remove it was on disk"
                    ));
                }
            }
        }
    }
}

fn note_duty(record: &Record, users: &mut BTreeMap<String, String>, duties: &mut BTreeSet<(String, String)>) {
    let Record::Grant { id, event } = record else { return };
    match event {
        Event::UserResolved { user } => {
            users.insert(id.to_string(), user.to_string());
        }
        Event::GrantIntended { group } => {
            duties.insert((id.to_string(), group.to_string()));
        }
        Event::Ended { group, .. } | Event::Refused { group, .. } => {
            duties.remove(&(id.to_string(), group.to_string()));
        }
        Event::Accepted { .. }
        | Event::Revised { .. }
        | Event::StandingFound { .. }
        | Event::Granted { .. }
        | Event::EndRequested { .. }
        | Event::RevokeIntended { .. } => {}
    }
}
