//! # Purpose
//! `status`: what the connector that runs on this host says of itself.
//!
//! # Invariants kept here
//! - `--json` is what the admin listener answers `/status` with; the text is made of the same.
//!
//! # Not here
//! Verdicts: `server::readiness`. The other end: `app::desk`.

use clap::Args;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::desk::{Client, DeskError, with_state};
use super::{Exit, complain, say, say_lines};
use crate::config::Sources;
use crate::directory::progress::Progress;
use crate::directory::store::{Failing, FailingObject};

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Prints JSON, as the admin listener does at /status
    #[arg(long)]
    json: bool,
}

/// Failing objects that are shown as text; JSON has more.
const FIRST: usize = 5;

pub(super) fn status(arguments: &StatusArgs, sources: &Sources) -> Exit {
    with_state(sources, async |state| {
        let Some(client) = Client::to_daemon(&state)? else {
            complain("the connector does not run");
            return Ok(Exit::Unavailable);
        };
        let document: Value = client.read(&["status"], &[]).await?;
        if arguments.json {
            say(&document.to_string());
        } else {
            say_lines(&text(&document).map_err(DeskError::Unreadable)?);
        }
        Ok(Exit::Done)
    })
}

fn text(document: &Value) -> Result<Vec<String>, serde_json::Error> {
    let facts = &document["facts"];
    let is_ready = document["ready"] == Value::Bool(true);
    let version = word(&facts["version"]);
    let mut lines =
        vec![format!("apono-connector {version} is {}", if is_ready { "ready" } else { "not ready" })];
    for check in document["checks"].as_array().into_iter().flatten() {
        let mark = if check["ok"] == Value::Bool(true) { "" } else { "not ok: " };
        lines.push(format!("{}: {mark}{}", word(&check["name"]), word(&check["message"])));
    }
    for organization in facts["organizations"].as_array().into_iter().flatten() {
        let id = word(&organization["integration_id"]);
        lines.push(format!("organization {id} ({})", word(&organization["organization_url"])));
        let last = &organization["last_directory_run"];
        if !last.is_null() {
            lines.push(format!(
                "  last directory run {}: {}",
                word(&last["outcome"]),
                word(&last["message"])
            ));
        }
        let directory = &organization["directory"];
        if directory.is_null() {
            continue;
        }
        let progress: Option<Progress> = serde_json::from_value(directory["progress"].clone())?;
        lines.extend(progress.map(|progress| format!("  {}", progress.sentence())));
        let failing: Failing = serde_json::from_value(directory["failing"].clone())?;
        lines.extend(failing_lines(&failing).into_iter().map(|line| format!("  {line}")));
    }
    Ok(lines)
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// How many objects fail, and the first of them.
pub(super) fn failing_lines(failing: &Failing) -> Vec<String> {
    let objects = match failing.total {
        0 => return Vec::new(),
        1 => "1 object fails, and is tried again by each run:".to_owned(),
        more => format!("{more} objects fail, and are tried again by each run:"),
    };
    let mut lines = vec![objects];
    for FailingObject { okta_id, operation, error, since, runs } in failing.listed.iter().take(FIRST) {
        let operation = operation.replace('_', " ");
        let since = since.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M UTC");
        let times = if *runs == 1 { "in one run".to_owned() } else { format!("in {runs} runs in a row") };
        lines.push(format!("  {okta_id} ({operation}), {times}, since {since}: {error}"));
    }
    let shown = failing.listed.len().min(FIRST) as u64;
    if failing.total > shown {
        lines.push(format!("  and {} more (status --json)", failing.total - shown));
    }
    lines
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn the_first_failing_objects_are_named_and_the_others_counted() {
        let object = |n: u64| FailingObject {
            okta_id: format!("00u{n}"),
            operation: "update_user".to_owned(),
            error: "cannot change by PATCH: no".to_owned(),
            since: Timestamp::UNIX_EPOCH,
            runs: n,
        };
        let lines = |total, listed| {
            failing_lines(&Failing { total, listed: (1..=listed).map(object).collect() }).join("\n")
        };
        assert_eq!(lines(0, 0), "");
        assert_eq!(
            lines(2, 2),
            "2 objects fail, and are tried again by each run:\n  \
             00u1 (update user), in one run, since 1970-01-01 00:00 UTC: cannot change by PATCH: no\n  \
             00u2 (update user), in 2 runs in a row, since 1970-01-01 00:00 UTC: cannot change by PATCH: no"
        );
        let many = lines(1234, 100);
        assert!(many.contains("00u5 ") && !many.contains("00u6"), "{many}");
        assert!(many.ends_with("\n  and 1229 more (status --json)"), "{many}");
    }
}
