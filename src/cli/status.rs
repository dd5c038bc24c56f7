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
    lines.extend(fleet(&facts["fleet"])?);
    for organization in facts["organizations"].as_array().into_iter().flatten() {
        lines.extend(of_organization(organization, !facts["fleet"].is_null())?);
    }
    lines.extend(grants(&document["live_grants"], now)?);
    lines.extend(endings(&document["recent_endings"])?);
    Ok(lines)
}

fn of_organization(organization: &Value, is_shared: bool) -> Result<Vec<String>, serde_json::Error> {
    let id = word(&organization["integration_id"]);
    let mut lines = vec![
        format!("organization {id} ({})", word(&organization["organization_url"])),
        format!(
            "  {} memberships held by grants, {} removals due",
            organization["live_memberships"], organization["removals_due"]
        ),
    ];
    let owner = &organization["owner"];
    lines.extend(is_shared.then(|| format!("  {}", whose(owner))));
    let is_here = !is_shared || owner["is_this"] == Value::Bool(true);
    for bucket in organization["budget"].as_array().into_iter().flatten() {
        lines.push(format!("  budget of {}: {} of {} left", word(&bucket[0]), bucket[2], bucket[1]));
    }
    let last = &organization["last_directory_run"];
    if !last.is_null() {
        let when = if is_here { "" } else { " of this daemon, while it did them," };
        lines.push(format!(
            "  last directory run{when} {}: {}",
            word(&last["outcome"]),
            word(&last["message"])
        ));
    }
    let directory = &organization["directory"];
    if is_here && !directory.is_null() {
        let progress: Option<Progress> = serde_json::from_value(directory["progress"].clone())?;
        lines.extend(progress.map(|progress| format!("  {}", progress.sentence())));
        let failing: Failing = serde_json::from_value(directory["failing"].clone())?;
        lines.extend(failing_lines(&failing).into_iter().map(|line| format!("  {line}")));
    }
    Ok(lines)
}

/// Which of the daemons does what is one daemon's for an organization.
fn whose(owner: &Value) -> String {
    let is = |name: &str| owner[name] == Value::Bool(true);
    let host = owner["host"].as_str().unwrap_or("a host that is gone");
    let epoch = &owner["epoch"];
    match (owner.is_null(), is("is_this"), is("lives")) {
        (true, _, _) => "its directory and listings are done by NOBODY yet".to_owned(),
        (false, true, true) => format!("its directory and listings are done by this daemon (epoch {epoch})"),
        (false, true, false) => format!(
            "its directory and listings were done by this daemon (epoch {epoch}), which cannot know whether they are still"
        ),
        (false, false, true) => {
            format!("its directory and listings are done by the daemon on {host} (epoch {epoch})")
        }
        (false, false, false) => format!(
            "its directory and listings were done by the daemon on {host} (epoch {epoch}), which is GONE; NOBODY has taken over yet"
        ),
    }
}

/// The daemons that share the state.
fn fleet(fleet: &Value) -> Result<Vec<String>, serde_json::Error> {
    if fleet.is_null() {
        return Ok(Vec::new());
    }
    let away = if fleet["answers"] == Value::Bool(true) { "" } else { ", which DOES NOT ANSWER" };
    let mut lines = vec![format!(
        "daemons that share {}{away} ({} entries behind):",
        word(&fleet["database"]),
        fleet["entries_behind"]
    )];
    for daemon in fleet["daemons"].as_array().into_iter().flatten() {
        let silent: Duration = serde_json::from_value(daemon["silent"].clone())?;
        let state = match (daemon["id"] == fleet["this_daemon"], daemon["lives"] == Value::Bool(true)) {
            (true, _) => "this one".to_owned(),
            (false, true) => "there".to_owned(),
            (false, false) => format!("GONE, not heard for {} s", silent.as_secs()),
        };
        lines.push(format!(
            "  {} (version {}, {}): {state}",
            word(&daemon["host"]),
            word(&daemon["version"]),
            word(&daemon["id"])
        ));
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
    fn of_several_daemons_a_screen_says_whose_the_directory_is() {
        let lines = |owner: Value, is_shared: bool| {
            let organization = serde_json::json!({
                "integration_id": "i", "organization_url": "u", "live_memberships": 0, "removals_due": 0, "budget": [],
                "owner": owner, "last_directory_run": { "outcome": "completed", "message": "all is equal" },
                "directory": { "progress": null, "failing": { "total": 1, "listed": [] } },
            });
            of_organization(&organization, is_shared).unwrap()[2..].join("\n")
        };
        let owner = |is_this: bool, lives: bool| serde_json::json!({ "daemon": "d", "host": "h", "is_this": is_this, "lives": lives, "epoch": 3 });
        let here = "  last directory run completed: all is equal\n  \
                    1 object fails, and is tried again by each run:\n  \u{20} and 1 more (status --json)";
        let elsewhere = "  last directory run of this daemon, while it did them, completed: all is equal";
        assert_eq!(lines(Value::Null, false), here);
        let table = [
            (owner(true, true), "are done by this daemon (epoch 3)", here),
            (
                owner(true, false),
                "were done by this daemon (epoch 3), which cannot know whether they are still",
                here,
            ),
            (owner(false, true), "are done by the daemon on h (epoch 3)", elsewhere),
            (
                owner(false, false),
                "were done by the daemon on h (epoch 3), which is GONE; NOBODY has taken over yet",
                elsewhere,
            ),
            (Value::Null, "are done by NOBODY yet", elsewhere),
        ];
        for (owner, whose, run) in table {
            assert_eq!(lines(owner, true), format!("  its directory and listings {whose}\n{run}"));
        }
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
