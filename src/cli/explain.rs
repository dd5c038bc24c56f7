//! # Purpose
//! `explain GRANT`: what happened, line by line, with the ids under which Okta's System Log has it.
//!
//! # Invariants kept here
//! - The journal alone is the source: it can be told years later, and without Okta or Apono.
//!
//! # Not here
//! The words of the lines: `access::view`.

use clap::Args;

use super::desk::{Desk, DeskError, at_the_desk};
use super::grants::{describe, unknown};
use super::{Exit, say};
use crate::access::view::{Line, Story};
use crate::clock::SystemClock;
use crate::config::Sources;
use crate::domain::GrantId;

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// Apono's id of the grant
    grant: GrantId,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn explain(arguments: &ExplainArgs, sources: &Sources) -> Exit {
    at_the_desk(sources, async |desk| tell(&desk, arguments).await)
}

async fn tell(desk: &Desk, arguments: &ExplainArgs) -> Result<Exit, DeskError> {
    let Some(story) = desk.story(&arguments.grant).await? else {
        return Ok(unknown(&arguments.grant));
    };
    if arguments.json {
        // What is made of strings, numbers and instants can be written.
        say(&serde_json::to_string_pretty(&story).unwrap_or_default());
        return Ok(Exit::Done);
    }
    let Story { grant, lines } = story;
    say(&format!("{}\n", describe(&grant, SystemClock::shared().now())));
    for Line { at, what, okta_request_ids } in lines {
        say(&format!("{at}  {what}"));
        for id in okta_request_ids {
            say(&format!("    Okta request {id}"));
        }
    }
    Ok(Exit::Done)
}
