//! # Purpose
//! `grants list`, `grants show`, `grants revoke`.
//!
//! # Invariants kept here
//! - Standard output is the answer alone; where it comes from goes to standard error.
//! - `revoke` returns 0 only when nothing of the grant is left.
//!
//! # Not here
//! Where answers come from: `desk`. A grant's story: `explain`.

use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::desk::{Desk, DeskError, at_the_desk, at_the_ruins};
use super::{Exit, complain, say};
use crate::access::view::{self, Filter, GrantView, Story};
use crate::catalogue::ErrorCode;
use crate::clock::{self, SystemClock};
use crate::config::Sources;
use crate::domain::{GrantId, IntegrationId, OktaGroupId};

#[derive(Debug, Subcommand)]
pub(super) enum GrantsCommand {
    /// Lists the grants that live, or still have something to be taken away
    List(ListArgs),
    /// Shows one grant, live or over
    Show {
        /// Apono's id of the grant
        grant: GrantId,
        /// JSON instead of text
        #[arg(long)]
        json: bool,
    },
    /// Ends a grant now and for good, and waits until nothing of it is left
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Of this organization only
    #[arg(long, value_name = "ID")]
    integration: Option<IntegrationId>,
    /// Of this user only: the login or email that Apono uses, or Okta's id
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// For this Okta group only, by id
    #[arg(long, value_name = "ID")]
    group: Option<OktaGroupId>,
    /// Only what is over and still owes a removal
    #[arg(long)]
    due: bool,
    /// One JSON object a line instead of text
    #[arg(long)]
    json: bool,
    /// From a damaged journal: whatever can be read of it, unchecked, with the connector stopped
    #[arg(long)]
    salvage: bool,
}

#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    /// Apono's id of the grant
    grant: GrantId,
    /// Why; it is written into the audit trail with your user id
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// How many seconds to wait until nothing of it is left; 0 does not wait
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,
}

pub(super) fn grants(command: &GrantsCommand, sources: &Sources) -> Exit {
    match command {
        GrantsCommand::List(arguments) if arguments.salvage => {
            at_the_ruins(sources, async |desk| list(&desk, arguments).await)
        }
        GrantsCommand::List(arguments) => at_the_desk(sources, async |desk| list(&desk, arguments).await),
        GrantsCommand::Show { grant, json } => {
            at_the_desk(sources, async |desk| show(&desk, grant, *json).await)
        }
        GrantsCommand::Revoke(arguments) => at_the_desk(sources, async |desk| revoke(&desk, arguments).await),
    }
}

async fn list(desk: &Desk, arguments: &ListArgs) -> Result<Exit, DeskError> {
    let mut filter = arguments.filter();
    let now = SystemClock::shared().now();
    let mut any = false;
    loop {
        let listing = desk.list(&filter).await?;
        for grant in &listing.items {
            if !any && !arguments.json {
                say(&row(["GRANT", "USER", "GROUP", "STATE", "ENDS", "REQUEST"]));
            }
            any = true;
            print(grant, arguments.json, now);
        }
        match listing.next {
            None => break,
            next => filter.after = next,
        }
    }
    if !any {
        complain("no such grants");
    }
    Ok(Exit::Done)
}

async fn show(desk: &Desk, id: &GrantId, json: bool) -> Result<Exit, DeskError> {
    let Some(Story { grant, .. }) = desk.story(id).await? else {
        return Ok(unknown(id));
    };
    if json {
        say_json(&grant);
    } else {
        say(&describe(&grant, SystemClock::shared().now()));
    }
    Ok(Exit::Done)
}

async fn revoke(desk: &Desk, arguments: &RevokeArgs) -> Result<Exit, DeskError> {
    let id = &arguments.grant;
    if !desk.end(id, &arguments.reason).await? {
        return Ok(unknown(id));
    }
    let clock = SystemClock::shared();
    let limit = clock.elapsed() + Duration::from_secs(arguments.wait);
    loop {
        let Some(Story { grant, .. }) = desk.story(id).await? else {
            return Ok(unknown(id));
        };
        let is_left = grant.groups.iter().any(|group| group.owes_removal || group.next.is_some());
        if !is_left || clock.elapsed() >= limit {
            say(&describe(&grant, clock.now()));
            if !is_left {
                return Ok(Exit::Done);
            }
            complain(&format!("grant {id} is over; the connector goes on removing what is left of it"));
            return Ok(if arguments.wait == 0 { Exit::Done } else { Exit::TryLater });
        }
        clock::sleep(Duration::from_millis(200)).await;
    }
}

impl ListArgs {
    fn filter(&self) -> Filter {
        let Self { integration, user, group, due, .. } = self;
        Filter {
            integration: integration.clone(),
            user: user.clone(),
            group: group.clone(),
            due: *due,
            after: None,
        }
    }
}

pub(super) fn unknown(id: &GrantId) -> Exit {
    complain(&format!("no grant {id} was ever heard of here [{}]", ErrorCode::GrantUnknown));
    Exit::Usage
}

fn print(grant: &GrantView, json: bool, now: Timestamp) {
    if json {
        say_json(grant);
        return;
    }
    let request =
        grant.request.as_ref().and_then(|request| request.friendly_id.clone().or(request.id.clone()));
    let request = request.unwrap_or_else(|| "-".to_owned());
    for group in &grant.groups {
        say(&row([
            grant.grant_id.as_str(),
            &grant.username,
            group.group_id.as_str(),
            &group.state,
            &ends(grant, now),
            &request,
        ]));
    }
}

fn say_json(grant: &GrantView) {
    // What is made of strings, numbers and instants can be written.
    say(&serde_json::to_string(grant).unwrap_or_default());
}

fn row(cells: [&str; 6]) -> String {
    let [grant, user, group, state, ends, request] = cells;
    format!("{grant:<24} {user:<32} {group:<22} {state:<24} {ends:<20} {request}")
}

/// When it ends, as a person counts.
fn ends(grant: &GrantView, now: Timestamp) -> String {
    match (&grant.over, grant.expires_at) {
        (Some(over), _) => format!("over for {}", lasting(over.due, now)),
        (None, None) => "when revoked".to_owned(),
        (None, Some(at)) if at <= now => format!("overdue by {}", lasting(at, now)),
        (None, Some(at)) => format!("in {}", lasting(now, at)),
    }
}

fn lasting(from: Timestamp, until: Timestamp) -> String {
    let seconds = clock::until(from, until).as_secs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, _) => format!("{minutes} min"),
        (..48, _) => format!("{hours} h {minutes} min"),
        _ => format!("{} d {} h", hours / 24, hours % 24),
    }
}

pub(super) fn describe(grant: &GrantView, now: Timestamp) -> String {
    let mut lines = vec![
        format!("grant {}, revision {}", grant.grant_id, grant.revision),
        format!(
            "user: {}{}",
            grant.username,
            grant.user_id.as_ref().map_or_else(String::new, |id| format!(" ({id})"))
        ),
        format!("integration: {}", grant.integration_id),
    ];
    if let Some(request) = &grant.request {
        let named = [
            ("request", request.friendly_id.as_ref().or(request.id.as_ref())),
            ("asked for by", request.requester.as_ref()),
            ("because", request.justification.as_ref()),
        ];
        lines.extend(named.into_iter().filter_map(|(name, value)| Some(format!("{name}: {}", value?))));
        if !request.approvers.is_empty() {
            lines.push(format!("approved by: {}", request.approvers.join(", ")));
        }
    }
    let expires = grant.expires_at.map_or_else(|| "never by itself".to_owned(), |at| at.to_string());
    lines.push(format!("expires: {expires}"));
    lines.push(match &grant.over {
        None => format!("ends: {}", ends(grant, now)),
        Some(over) => format!("over since {}: {}", over.due, view::reason(over.reason)),
    });
    for group in &grant.groups {
        let next = group.next.as_ref().map_or_else(String::new, |next| format!("; next: {next}"));
        lines.push(format!("group {}: {}{next}", group.group_id, group.state));
    }
    lines.join("\n")
}
