//! # Purpose
//! `status`: what the connector that runs on this host says of itself.
//!
//! # Invariants kept here
//! - `--json` is what the admin listener answers `/status` with; the text is made of the same.
//!
//! # Not here
//! Verdicts: `server::readiness`. The other end: `app::desk`.

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::desk::{Client, DeskError, not_here, with_state};
use super::{Exit, say, say_lines};
use crate::access::recent::Ended;
use crate::access::view::GrantView;
use crate::clock;
use crate::config::Sources;
use crate::directory::progress::Progress;
use crate::directory::store::{Failing, FailingObject};

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Prints JSON, as the admin listener does at /status
    #[arg(long)]
    json: bool,
    /// Shows it anew every two seconds, until Ctrl-C
    #[arg(long)]
    watch: bool,
}

/// Failing objects, grants and endings that are shown as text; JSON has more.
const FIRST: usize = 5;
const EVERY: Duration = Duration::from_secs(2);
/// The cursor to the corner, and everything behind it away (ECMA-48).
const ANEW: &str = "\x1b[H\x1b[J";

pub(super) fn status(arguments: &StatusArgs, sources: &Sources) -> Exit {
    with_state(sources, async |state| {
        loop {
            let Some(client) = Client::to_daemon(&state)? else {
                return Err(not_here(&state).await);
            };
            let document: Value = client.read(&["status"], &[]).await?;
            let lines = if arguments.json {
                vec![document.to_string()]
            } else {
                text(&document).map_err(DeskError::Unreadable)?
            };
            if arguments.watch && !arguments.json && io::stdout().is_terminal() {
                say(&format!("{ANEW}{}", lines.join("\n")));
            } else {
                say_lines(&lines);
            }
            if !arguments.watch {
                return Ok(Exit::Done);
            }
            clock::sleep(EVERY).await;
        }
    })
}

fn text(document: &Value) -> Result<Vec<String>, serde_json::Error> {
    let facts = &document["facts"];
    let is_ready = document["ready"] == Value::Bool(true);
    let now: Option<Timestamp> = serde_json::from_value(document["now"].clone())?;
    let started: Option<Timestamp> = serde_json::from_value(facts["started_at"].clone())?;
    let mut lines = vec![format!(
        "apono-connector {} ({}) is {}{}",
        word(&facts["version"]),
        word(&facts["connector_id"]),
        if is_ready { "ready" } else { "not ready" },
        now.zip(started)
            .map_or_else(String::new, |(now, started)| format!(", running for {}", between(started, now)))
    )];
    for check in document["checks"].as_array().into_iter().flatten() {
        let mark = if check["ok"] == Value::Bool(true) { "" } else { "not ok: " };
        lines.push(format!("{}: {mark}{}", word(&check["name"]), word(&check["message"])));
    }
    lines.push(storage(&document["storage"]));
    for organization in facts["organizations"].as_array().into_iter().flatten() {
        lines.extend(of_organization(organization)?);
    }
    lines.extend(grants(&document["live_grants"], now)?);
    lines.extend(endings(&document["recent_endings"])?);
    Ok(lines)
}

fn of_organization(organization: &Value) -> Result<Vec<String>, serde_json::Error> {
    let id = word(&organization["integration_id"]);
    let mut lines = vec![
        format!("organization {id} ({})", word(&organization["organization_url"])),
        format!(
            "  {} memberships held by grants, {} removals due",
            organization["live_memberships"], organization["removals_due"]
        ),
    ];
    for bucket in organization["budget"].as_array().into_iter().flatten() {
        lines.push(format!("  budget of {}: {} of {} left", word(&bucket[0]), bucket[2], bucket[1]));
    }
    let last = &organization["last_directory_run"];
    if !last.is_null() {
        lines.push(format!("  last directory run {}: {}", word(&last["outcome"]), word(&last["message"])));
    }
    let directory = &organization["directory"];
    if !directory.is_null() {
        let progress: Option<Progress> = serde_json::from_value(directory["progress"].clone())?;
        lines.extend(progress.map(|progress| format!("  {}", progress.sentence())));
        let failing: Failing = serde_json::from_value(directory["failing"].clone())?;
        lines.extend(failing_lines(&failing).into_iter().map(|line| format!("  {line}")));
    }
    Ok(lines)
}

/// What is on disk and in memory.
fn storage(storage: &Value) -> String {
    let size = |name: &str| storage[name].as_u64().map_or_else(|| "unknown".to_owned(), mebibytes);
    let memory =
        storage["process"]["resident_bytes"].as_u64().map_or_else(|| "unknown".to_owned(), mebibytes);
    format!(
        "journal {}, audit trail {}, {} free, memory {memory}",
        size("state_bytes"),
        size("audit_bytes"),
        size("free_bytes")
    )
}

fn mebibytes(bytes: u64) -> String {
    const KIB: u64 = 1024;
    match bytes / KIB / KIB {
        0 => format!("{} KiB", bytes / KIB),
        mebibytes @ 1..10_240 => format!("{mebibytes} MiB"),
        mebibytes => format!("{} GiB", mebibytes / KIB),
    }
}

/// The live grants that end soonest.
fn grants(live: &Value, now: Option<Timestamp>) -> Result<Vec<String>, serde_json::Error> {
    let live: Vec<GrantView> = serde_json::from_value(live.clone())?;
    let mut lines = Vec::new();
    if !live.is_empty() {
        lines.push("grants that end soonest:".to_owned());
    }
    for grant in live.iter().take(FIRST) {
        let ends = match (&grant.over, grant.expires_at, now) {
            (Some(over), _, Some(now)) => format!("OVERDUE by {}", between(over.due, now)),
            (None, Some(expires), Some(now)) => format!("ends in {}", between(now, expires)),
            _ => "no end of its own".to_owned(),
        };
        let groups: Vec<_> =
            grant.groups.iter().map(|group| format!("{} ({})", group.group_id, group.state)).collect();
        lines.push(format!("  {} {}: {}, {ends}", grant.grant_id, grant.username, groups.join(", ")));
    }
    if live.len() > FIRST {
        lines.push("  and more (grants list)".to_owned());
    }
    Ok(lines)
}

/// The memberships that ended last, with what Okta's System Log knows them by.
fn endings(recent: &Value) -> Result<Vec<String>, serde_json::Error> {
    let recent: Vec<Ended> = serde_json::from_value(recent.clone())?;
    let mut lines = Vec::new();
    if !recent.is_empty() {
        lines.push("ended last:".to_owned());
    }
    for Ended { at, grant_id, group_id, how, late_seconds, okta_request_ids, .. } in recent.iter().take(FIRST)
    {
        let at = at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S UTC");
        let late = late_seconds.map_or_else(String::new, |late| format!(", {late:.1} s after its time"));
        let proof = if okta_request_ids.is_empty() {
            String::new()
        } else {
            format!(" (Okta: {})", okta_request_ids.join(", "))
        };
        lines.push(format!("  {at} {grant_id}, group {group_id}: {how}{late}{proof}"));
    }
    Ok(lines)
}

/// `2 d 3 h`, `4 min 5 s`.
fn between(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.duration_since(from).as_secs().max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (1.., ..) => format!("{days} d {hours} h"),
        (_, 1.., _) => format!("{hours} h {minutes} min"),
        (_, _, 1..) => format!("{minutes} min {} s", seconds % 60),
        _ => format!("{seconds} s"),
    }
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

    #[test]
    fn a_screen_shows_what_ends_and_what_has_ended() {
        let document = serde_json::json!({
            "ready": true, "checks": [], "now": "2026-01-01T10:00:00Z",
            "facts": { "version": "1", "connector_id": "c", "started_at": "2026-01-01T08:58:00Z", "organizations": [] },
            "storage": { "state_bytes": 4096, "audit_bytes": null, "free_bytes": 53_687_091_200_u64,
                "process": { "resident_bytes": 12_582_912, "open_files": 9 } },
            "live_grants": [
                { "grant_id": "g1", "revision": 1, "integration_id": "i", "username": "ada", "user_id": null,
                  "expires_at": "2026-01-01T09:59:00Z", "over": { "reason": "expired", "due": "2026-01-01T09:59:00Z" },
                  "request": null, "groups": [{ "group_id": "00g1", "state": "added", "owes_removal": true, "next": null }] },
                { "grant_id": "g2", "revision": 1, "integration_id": "i", "username": "bob", "user_id": null,
                  "expires_at": "2026-01-01T10:05:30Z", "over": null, "request": null, "groups": [] },
            ],
            "recent_endings": [{ "at": "2026-01-01T09:00:00Z", "integration_id": "i", "grant_id": "g0", "group_id": "00g1",
                "user_id": null, "how": "revoked", "late_seconds": 0.31, "okta_request_ids": ["r1"] }],
        });
        assert_eq!(
            text(&document).unwrap().join("\n"),
            "apono-connector 1 (c) is ready, running for 1 h 2 min\n\
             journal 4 KiB, audit trail unknown, 50 GiB free, memory 12 MiB\n\
             grants that end soonest:\n  g1 ada: 00g1 (added), OVERDUE by 1 min 0 s\n  g2 bob: , ends in 5 min 30 s\n\
             ended last:\n  2026-01-01 09:00:00 UTC g0, group 00g1: revoked, 0.3 s after its time (Okta: r1)"
        );
    }
}
