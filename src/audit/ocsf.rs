//! # Purpose
//! Records in the words of the Open Cybersecurity Schema Framework, which log systems understand.
//!
//! The numbers are those of OCSF 1.8.0, read in its repository (<https://github.com/ocsf/ocsf-schema>,
//! `events/iam/group_management.json` and the base event): class 3006 *Group Management* of category 3, activity 3
//! *Add User*, 4 *Remove User*, 99 *Other*; class 0 *Base Event* for what the trail tells of itself. 1.9.0 keeps them and
//! deprecates `user` for a list of users; that is not followed while log systems know `user`.
//!
//! # Invariants kept here
//! - Activities 3 and 4 are effects, each once: whoever counts them counts memberships that were really given and taken.
//! - What OCSF has no place for is in `unmapped`, under the project's own words.
//! - Texts of others are cut at [`LONGEST_TEXT`] characters, with an ellipsis that shows it.
//!
//! # Not here
//! `seq`, `prev` and `hash`: `chain`.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::note::{Checkpoint, HeadFlaw, LogLevel, Note, Torn};
use super::record::{AuditRecord, Kind};
use crate::domain::{ConnectorId, RequestContext};

/// Longer texts are cut: what others write must not make a line of any length.
pub const LONGEST_TEXT: usize = 4096;
/// More approvers, or ids of requests, are not listed; an ellipsis stands for them.
pub const LONGEST_LIST: usize = 50;

const VERSION: &str = "1.8.0";
const PRODUCT: &str = "apono-connector";

/// The event of a record: line `seq` of the trail of `connector`, for what happened at `at`.
pub fn event(record: &AuditRecord, at: Timestamp, seq: u64, connector: &ConnectorId) -> Map<String, Value> {
    let (activity_id, activity) = activity(record.kind);
    let status = status(record.kind);
    let request = &record.request;
    let value = json!({
        "activity_id": activity_id,
        "activity_name": activity,
        "actor": { "app_name": PRODUCT, "app_uid": text(connector.as_str()) },
        "category_name": "Identity & Access Management",
        "category_uid": 3,
        "class_name": "Group Management",
        "class_uid": 3006,
        "group": { "uid": text(record.group.as_str()) },
        "message": message(record),
        "metadata": metadata(record.kind.as_str(), seq, Some(record.grant.as_str())),
        "severity": "Informational",
        "severity_id": 1,
        "status": status.map(|(_, name)| name),
        "status_code": record.code,
        "status_detail": record.detail.as_deref().map(text),
        "status_id": status.map(|(id, _)| id),
        "time": at.as_millisecond(),
        "time_dt": at.to_string(),
        "type_name": format!("Group Management: {}", if activity_id == OTHER { "Other" } else { activity }),
        "type_uid": 300_600 + activity_id,
        "unmapped": {
            "grant": {
                "expires_at": record.expires_at.map(|expiry| expiry.to_string()),
                "id": text(record.grant.as_str()),
                "revision": record.revision.0,
            },
            "integration": text(record.integration.as_str()),
            "kind": record.kind.as_str(),
            "membership": { "after": record.after.as_str(), "before": record.before.as_str() },
            "okta_request_ids": list(&record.okta_request_ids),
            "request": {
                "approvers": list(&request.approvers),
                "friendly_id": request.friendly_id.as_deref().map(text),
                "id": request.id.as_deref().map(text),
                "justification": request.justification.as_deref().map(text),
                "requester": request.requester.as_deref().map(text),
            },
            "verified": record.verified,
        },
        "user": { "name": text(&record.username), "uid": record.user.as_ref().map(|user| text(user.as_str())) },
    });
    without_nothing(value)
}

/// The record with as much of what others wrote as a line has: for one that waits, and makes the same line later.
pub fn cut(record: AuditRecord) -> AuditRecord {
    let optional = |long: Option<String>| long.as_deref().map(text);
    let RequestContext { id, friendly_id, justification, requester, approvers } = record.request;
    AuditRecord {
        username: text(&record.username),
        request: RequestContext {
            id: optional(id),
            friendly_id: optional(friendly_id),
            justification: optional(justification),
            requester: optional(requester),
            approvers: list(&approvers),
        },
        detail: optional(record.detail),
        okta_request_ids: list(&record.okta_request_ids),
        ..record
    }
}

/// The event of a note: line `seq`, at `at`.
pub(super) fn note_event(
    note: &Note,
    at: Timestamp,
    seq: u64,
    connector: &ConnectorId,
) -> Map<String, Value> {
    let value = json!({
        "activity_id": OTHER,
        "activity_name": "Other",
        "actor": { "app_name": PRODUCT, "app_uid": text(connector.as_str()) },
        "category_name": "Uncategorized",
        "category_uid": 0,
        "class_name": "Base Event",
        "class_uid": 0,
        "message": note_message(note),
        "metadata": metadata(note.kind(), seq, None),
        "severity": "Informational",
        "severity_id": 1,
        "time": at.as_millisecond(),
        "time_dt": at.to_string(),
        "type_name": "Base Event: Other",
        "type_uid": OTHER,
        "unmapped": note_facts(note),
    });
    without_nothing(value)
}

const OTHER: u32 = 99;

/// OCSF's activity. Only effects have one of their own there.
fn activity(kind: Kind) -> (u32, &'static str) {
    match kind {
        Kind::Added => (3, "Add User"),
        Kind::Removed => (4, "Remove User"),
        Kind::Requested => (OTHER, "Access Requested"),
        Kind::Revised => (OTHER, "Access Revised"),
        Kind::EndRequested => (OTHER, "End Requested"),
        Kind::AdditionIntended => (OTHER, "Add User Intended"),
        Kind::AdditionVerified => (OTHER, "Add User Verified"),
        Kind::RemovalIntended => (OTHER, "Remove User Intended"),
        Kind::Released => (OTHER, "Access Released"),
        Kind::Refused => (OTHER, "Access Refused"),
        Kind::StandingNoticed => (OTHER, "Standing Membership Noticed"),
        Kind::MissingNoticed => (OTHER, "Missing Membership Noticed"),
        Kind::AdditionNoticed => (OTHER, "Other Addition Noticed"),
    }
}

/// What has not happened yet has no status.
fn status(kind: Kind) -> Option<(u32, &'static str)> {
    match kind {
        Kind::Requested
        | Kind::Revised
        | Kind::EndRequested
        | Kind::AdditionIntended
        | Kind::RemovalIntended => None,
        Kind::Added
        | Kind::AdditionVerified
        | Kind::Removed
        | Kind::Released
        | Kind::StandingNoticed
        | Kind::MissingNoticed
        | Kind::AdditionNoticed => Some((1, "Success")),
        Kind::Refused => Some((2, "Failure")),
    }
}

/// One sentence for a person.
fn message(record: &AuditRecord) -> String {
    let user = text(record.user.as_ref().map_or(record.username.as_str(), |user| user.as_str()));
    let (group, grant) = (text(record.group.as_str()), text(record.grant.as_str()));
    match record.kind {
        Kind::Requested => format!("Apono asks for {user} in group {group}: grant {grant}"),
        Kind::Revised => format!("the terms of grant {grant} for {user} in group {group} have changed"),
        Kind::EndRequested => format!("grant {grant} of {user} in group {group} is over"),
        Kind::AdditionIntended => format!("{user} will be added to group {group} for grant {grant}"),
        Kind::Added => format!("{user} was added to group {group} for grant {grant}"),
        Kind::AdditionVerified => format!("Okta shows {user} in group {group} for grant {grant}"),
        Kind::RemovalIntended => format!("{user} will be removed from group {group}: grant {grant} is over"),
        Kind::Removed => format!("{user} was removed from group {group}: grant {grant} is over"),
        Kind::Released => format!("grant {grant} lets go of {user} in group {group} without a removal"),
        Kind::Refused => format!("grant {grant} is refused for {user} in group {group}"),
        Kind::MissingNoticed => {
            format!(
                "{user} is not in group {group} any more, though grant {grant} lives: somebody else has removed it"
            )
        }
        Kind::AdditionNoticed => {
            format!("somebody else has added {user} to group {group} while grant {grant} lives")
        }
        Kind::StandingNoticed => {
            format!(
                "{user} is in group {group} by another right than grant {grant}; that membership will be kept"
            )
        }
    }
}

fn note_message(note: &Note) -> String {
    match note {
        Note::Begun => "the audit trail begins".to_owned(),
        Note::Continued { end, .. } => format!("the audit trail goes on after line {}", end.seq),
        Note::Checkpoint { end, .. } => format!("the audit trail has {} lines before this one", end.seq),
        Note::Recovered { torn, head } => {
            let bytes: u64 = torn.iter().map(|torn| torn.bytes).sum();
            let torn = (bytes > 0).then(|| format!("{bytes} bytes of an unfinished write were moved aside"));
            let head = head.as_ref().map(|flaw| match flaw {
                HeadFlaw::Missing => "the record of the trail's end was missing".to_owned(),
                HeadFlaw::Unreadable => "the record of the trail's end could not be understood".to_owned(),
                HeadFlaw::Ahead { found, known } => format!("lines {} to {known} are missing", found + 1),
            });
            torn.into_iter().chain(head).collect::<Vec<_>>().join("; ")
        }
        Note::LogLevel(LogLevel { raised: Some(raised), by }) => {
            let what = raised.target.as_deref().map_or_else(String::new, |target| format!(" of {target}"));
            format!("{by} sets the level of the log{what} to {} until {}", raised.level, raised.until)
        }
        Note::LogLevel(LogLevel { raised: None, by }) => {
            format!("the level of the log is as it is configured again: {by}")
        }
    }
}

fn note_facts(note: &Note) -> Value {
    match note {
        Note::Begun => json!({ "kind": note.kind() }),
        Note::Continued { previous, end } => json!({
            "kind": note.kind(),
            "previous": { "file": previous, "hash": end.hash, "seq": end.seq },
        }),
        Note::Checkpoint { why, end } => json!({
            "count": end.seq,
            "hash": end.hash,
            "kind": note.kind(),
            "why": match why {
                Checkpoint::Regular => "regular",
                Checkpoint::Rotation => "rotation",
                Checkpoint::Close => "close",
            },
        }),
        Note::Recovered { torn, head } => json!({
            "head": head.as_ref().map(|flaw| match flaw {
                HeadFlaw::Missing => json!({ "flaw": "missing" }),
                HeadFlaw::Unreadable => json!({ "flaw": "unreadable" }),
                HeadFlaw::Ahead { found, known } => json!({ "flaw": "ahead", "found": found, "known": known }),
            }),
            "kind": note.kind(),
            "torn": torn.iter().map(torn_facts).collect::<Vec<_>>(),
        }),
        Note::LogLevel(LogLevel { raised, by }) => json!({
            "by": text(by),
            "kind": note.kind(),
            "raised": raised.as_ref().map(|raised| {
                json!({ "level": raised.level, "target": raised.target, "until": raised.until.to_string() })
            }),
        }),
    }
}

fn torn_facts(torn: &Torn) -> Value {
    json!({ "bytes": torn.bytes, "file": torn.file, "sha256": torn.sha256 })
}

fn metadata(code: &str, seq: u64, correlation: Option<&str>) -> Value {
    json!({
        "correlation_uid": correlation.map(text),
        "event_code": code,
        "log_name": "audit",
        "product": { "name": PRODUCT, "vendor_name": PRODUCT, "version": env!("CARGO_PKG_VERSION") },
        "profiles": ["datetime"],
        "sequence": seq,
        "version": VERSION,
    })
}

fn text(text: &str) -> String {
    match text.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn list(texts: &[String]) -> Vec<String> {
    let cut = (texts.len() > LONGEST_LIST).then(|| "…".to_owned());
    texts.iter().take(LONGEST_LIST).map(|one| text(one)).chain(cut).collect()
}

/// What is not known is left out rather than shown as null.
fn without_nothing(value: Value) -> Map<String, Value> {
    let Value::Object(members) = value else {
        return Map::new();
    };
    let kept = members.into_iter().filter_map(|(name, value)| {
        let value = match value {
            Value::Object(_) => Value::Object(without_nothing(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => value,
        };
        let is_nothing = match &value {
            Value::Null => true,
            Value::Object(members) => members.is_empty(),
            Value::Array(elements) => elements.is_empty(),
            Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        };
        (!is_nothing).then_some((name, value))
    });
    kept.collect()
}
