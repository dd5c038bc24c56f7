//! What must hold at the end of a history, whatever happened in it. Every breach is told; none ends the telling.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use apono_connector::audit::{AuditRecord, Kind};
use apono_connector::clock;
use jiff::Timestamp;
use serde_json::Value;
use simulator::apono::AponoSimulator;
use simulator::okta::{OktaSimulator, WriteEffect};

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

/// Nothing is left that only a grant gave, and all the rest is there.
pub fn at_the_end(okta: &OktaSimulator, promised: &Promised, breaches: &mut Vec<String>) {
    let there = okta.memberships();
    for (group, user) in there.difference(&promised.standing) {
        breaches.push(format!("{user} is left in {group}, by a grant that is over"));
    }
    for (group, user) in promised.standing.difference(&there) {
        breaches.push(format!("{user} is no longer in {group}, where it stood before"));
    }
}

/// The task is answered, with one of these codes; any will do where none is named.
pub fn one_result(apono: &AponoSimulator, task: &str, codes: &[&str], breaches: &mut Vec<String>) {
    let Some(result) = apono.result(task) else {
        breaches.push(format!("{task} has no result"));
        return;
    };
    let code = result["code"].as_str().unwrap_or_default();
    if !codes.is_empty() && !codes.contains(&code) {
        breaches.push(format!("{task} is answered {code}, not one of {codes:?}: {result}"));
    }
}

/// Tasks that were answered in two ways. (The same answer may be sent often, and under a later lease.) A connector that
/// cannot record anything says so without a record of it, so this answer alone may be followed by another.
pub fn second_answers(apono: &AponoSimulator) -> Vec<String> {
    let mut answers: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for exchange in apono.exchanges() {
        let Some(mut answer) = exchange.request_body.filter(|_| exchange.operation == "put_result") else {
            continue;
        };
        if answer["code"] == "refused_degraded" {
            continue;
        }
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
pub fn too_early(
    okta: &OktaSimulator,
    apono: &AponoSimulator,
    promised: &Promised,
    breaches: &mut Vec<String>,
) {
    let removals: Vec<_> =
        okta.membership_writes().into_iter().filter(|write| write.effect == WriteEffect::Removed).collect();
    for life in &promised.lives {
        let Some(since) = apono.result(&life.task).and_then(|result| given(&result, &life.group)) else {
            continue;
        };
        for removal in &removals {
            let is_it = removal.group == life.group && removal.user == life.user;
            // In the same instant another grant's end may have come first.
            if is_it && since < removal.at && removal.at < life.until {
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

/// What ends, ends soon, or soon after the connector is back: at most `latest` later.
pub fn too_late(
    okta: &OktaSimulator,
    promised: &Promised,
    back: Timestamp,
    latest: Duration,
    breaches: &mut Vec<String>,
) {
    let mut ends: BTreeMap<Pair, Timestamp> = BTreeMap::new();
    for life in &promised.lives {
        let end = ends.entry((life.group.clone(), life.user.clone())).or_insert(life.until);
        *end = (*end).max(life.until);
    }
    for write in okta.membership_writes() {
        let end = ends.get(&(write.group.clone(), write.user.clone()));
        let last = end.map(|end| clock::after((*end).max(back), latest));
        if write.effect == WriteEffect::Removed && last.is_some_and(|last| write.at > last) {
            breaches.push(format!("{} left {} only at {}", write.user, write.group, write.at));
        }
    }
}

/// Whoever reads the audit trail alone finds an end of every addition that it tells of.
pub fn told_without_an_end(trail: &[(Timestamp, AuditRecord)], breaches: &mut Vec<String>) {
    let mut begun = BTreeSet::new();
    for (_, record) in trail {
        let claim = (&record.grant, &record.group);
        match record.kind {
            Kind::AdditionIntended | Kind::Added | Kind::AdditionVerified => {
                begun.insert(claim);
            }
            Kind::Removed | Kind::Released => {
                begun.remove(&claim);
            }
            // Without a code it tells of a revision that was refused, and the grant goes on.
            Kind::Refused if record.code.is_some() => {
                begun.remove(&claim);
            }
            Kind::Refused
            | Kind::Requested
            | Kind::Revised
            | Kind::EndRequested
            | Kind::RemovalIntended
            | Kind::StandingNoticed
            | Kind::MissingNoticed
            | Kind::AdditionNoticed => {}
        }
    }
    for (grant, group) in begun {
        breaches.push(format!("the audit trail tells no end of {grant} in {group}"));
    }
}
