//! # Purpose
//! What a result may say: the closed list of codes, and how the parts of a result must agree.
//!
//! # Invariants kept here
//! - A code goes with one status and one kind of task; a summary that its resources contradict is refused.
//! - A removal does not end in failure.
//!
//! # Not here
//! Whether the result is accepted: see [`super::task`].

use std::collections::BTreeSet;

use serde_json::Value;

use super::shape::{Fields, Malformed};

const STATUSES: [&str; 3] = ["Success", "Failure", "Warning"];

/// What a code may be said of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Grant,
    Revoke,
    GrantOrRevoke,
    Task,
}

/// (code, of what, status).
const CODES: [(&str, Of, &str); 24] = [
    ("granted", Of::Grant, "Success"),
    ("already_member", Of::Grant, "Success"),
    ("revoked", Of::Revoke, "Success"),
    ("kept_standing", Of::Revoke, "Success"),
    ("kept_other_grant", Of::Revoke, "Success"),
    ("not_member", Of::Revoke, "Success"),
    ("gone", Of::Revoke, "Success"),
    ("superseded", Of::GrantOrRevoke, "Warning"),
    ("expired", Of::GrantOrRevoke, "Warning"),
    ("refused_policy", Of::Grant, "Failure"),
    ("refused_group_type", Of::Grant, "Failure"),
    ("refused_rule_managed", Of::Grant, "Failure"),
    ("refused_admin_group", Of::Grant, "Failure"),
    ("refused_degraded", Of::Grant, "Failure"),
    ("user_not_found", Of::Grant, "Failure"),
    ("user_ambiguous", Of::Grant, "Failure"),
    ("user_inactive", Of::Grant, "Failure"),
    ("group_not_found", Of::Grant, "Failure"),
    ("not_permitted", Of::Grant, "Failure"),
    ("unverified", Of::GrantOrRevoke, "Warning"),
    ("unavailable", Of::Task, "Failure"),
    ("unsupported_task", Of::Task, "Failure"),
    ("malformed_task", Of::Task, "Failure"),
    ("unknown_integration", Of::Task, "Failure"),
];

fn find(code: &str) -> Option<(Of, &'static str)> {
    CODES.iter().find(|(name, _, _)| *name == code).map(|(_, of, status)| (*of, *status))
}

/// Checks a result against its shape and, as far as it can be read, against its task. Returns the lease token.
pub(super) fn check<'a>(body: &'a Value, task: Option<&Value>) -> Result<&'a str, Malformed> {
    let result = Fields::of(body, "")?;
    result.only(&["lease_token", "status", "code", "message", "finished_at", "output", "resources"])?;
    let token = result.text("lease_token")?;
    let status = result.one_of("status", &STATUSES)?;
    let code = result.text("code")?;
    result.text("message")?;
    result.instant("finished_at")?;
    if result.optional("output").is_some() {
        result.object("output")?;
    }
    let resources = match result.optional("resources") {
        Some(_) => result.objects("resources")?,
        None => Vec::new(),
    };
    let event_type = task.and_then(|task| task.get("event_type")).and_then(Value::as_str);
    let outcomes = check_resources(&resources, event_type)?;
    check_summary(&result, status, code, &outcomes)?;
    if status == "Success" {
        check_output(&result, event_type)?;
    }
    if let Some(task) = task {
        check_coverage(&result, task, code, &resources)?;
    }
    Ok(token)
}

/// The (status, code) of each resource.
fn check_resources<'a>(
    resources: &[Fields<'a>],
    event_type: Option<&str>,
) -> Result<Vec<(&'a str, &'a str)>, Malformed> {
    let mut outcomes = Vec::new();
    for resource in resources {
        resource.only(&["source_id", "status", "code", "message", "okta_request_ids"])?;
        resource.text("source_id")?;
        let status = resource.one_of("status", &STATUSES)?;
        let code = resource.text("code")?;
        resource.string("message")?;
        if resource.optional("okta_request_ids").is_some() {
            resource.texts("okta_request_ids")?;
        }
        let Some((of, its_status)) = find(code) else {
            return Err(resource.wrong("code", &format!("{code:?} is not a code of a resource")));
        };
        let fits = match of {
            Of::Grant => event_type.is_none_or(|event| event == "grant-access"),
            Of::Revoke => event_type.is_none_or(|event| event == "revoke-access"),
            Of::GrantOrRevoke => {
                event_type.is_none_or(|event| event == "grant-access" || event == "revoke-access")
            }
            Of::Task => false,
        };
        if !fits {
            return Err(resource.wrong("code", &format!("{code:?} does not go with a resource of this task")));
        }
        if status != its_status {
            return Err(resource.wrong("status", &format!("{code:?} is a {its_status}")));
        }
        outcomes.push((status, code));
    }
    Ok(outcomes)
}

/// The task's own status and code must follow from those of its resources.
fn check_summary(
    result: &Fields<'_>,
    status: &str,
    code: &str,
    outcomes: &[(&str, &str)],
) -> Result<(), Malformed> {
    let Some((_, first)) = outcomes.first() else {
        let its_status = if code == "ok" { Some("Success") } else { find(code).map(|(_, status)| status) };
        return match its_status {
            None => Err(result.wrong("code", &format!("{code:?} is not a code of a task without resources"))),
            Some(its_status) if its_status == status => Ok(()),
            Some(its_status) => Err(result.wrong("status", &format!("{code:?} is a {its_status}"))),
        };
    };
    let all = |wanted: &str| outcomes.iter().all(|(status, _)| *status == wanted);
    let status_follows = if all("Success") {
        status == "Success"
    } else if all("Failure") {
        status == "Failure"
    } else if outcomes.iter().any(|(status, _)| *status == "Success") {
        status == "Warning"
    } else {
        // None succeeded and some are warnings: the contract can be read both ways.
        status != "Success"
    };
    if !status_follows {
        return Err(result.wrong("status", &format!("{status:?} does not follow from the resources")));
    }
    let common = outcomes.iter().all(|(_, other)| other == first);
    let code_follows = match code {
        "ok" => status == "Success",
        "partial" => !common && status != "Success",
        other => common && other == *first,
    };
    if code_follows {
        Ok(())
    } else {
        Err(result.wrong("code", &format!("{code:?} does not follow from the resources")))
    }
}

/// What was asked for is in the output.
fn check_output(result: &Fields<'_>, event_type: Option<&str>) -> Result<(), Malformed> {
    match event_type {
        Some("get-status") => {
            let output = result.object("output")?;
            output.only(&["status", "message"])?;
            output.one_of("status", &["ok", "error"])?;
        }
        Some("list-resources") => {
            let output = result.object("output")?;
            output.only(&["resources", "permissions"])?;
            for resource in output.objects("resources")? {
                resource.only(&["id", "name", "type", "metadata"])?;
                resource.text("id")?;
                resource.string("name")?;
                resource.text("type")?;
                resource.object("metadata")?;
            }
            for permission in output.objects("permissions")? {
                permission.only(&["id", "name"])?;
                permission.text("id")?;
                permission.text("name")?;
            }
        }
        Some(_) | None => {}
    }
    Ok(())
}

/// Every resource of the task is answered once, unless the task as a whole was refused.
fn check_coverage(
    result: &Fields<'_>,
    task: &Value,
    code: &str,
    resources: &[Fields<'_>],
) -> Result<(), Malformed> {
    let event_type = task.get("event_type").and_then(Value::as_str).unwrap_or_default();
    let asked = task.pointer("/params/resources").and_then(Value::as_array);
    let is_access = event_type == "grant-access" || event_type == "revoke-access";
    if !is_access {
        return match resources.first() {
            Some(_) => Err(result.wrong("resources", "this kind of task has none")),
            None => Ok(()),
        };
    }
    let Some(asked) = asked else { return Ok(()) };
    let asked: BTreeSet<&str> = asked.iter().filter_map(Value::as_str).collect();
    let mut answered = BTreeSet::new();
    for resource in resources {
        let id = resource.text("source_id")?;
        if !asked.contains(id) {
            return Err(resource.wrong("source_id", &format!("{id:?} is not a resource of the task")));
        }
        if !answered.insert(id) {
            return Err(resource.wrong("source_id", &format!("{id:?} is answered twice")));
        }
    }
    let whole = resources.is_empty() && code != "ok";
    if whole || answered == asked {
        Ok(())
    } else {
        Err(result.wrong("resources", "some resources of the task are not answered"))
    }
}
