//! # Purpose
//! `explain GRANT`: what happened, line by line, with the ids under which Okta's System Log has it. `explain CODE`: what
//! an error means and what to do about it.
//!
//! # Invariants kept here
//! - The journal alone is the source of a grant's story: it can be told years later, and without Okta or Apono.
//! - A code is explained without configuration, state or network.
//!
//! # Not here
//! The words: `access::view`, `catalogue`.

use clap::Args;
use serde_json::json;

use super::desk::{Desk, DeskError, at_the_desk};
use super::grants::{describe, unknown};
use super::{Exit, complain, say};
use crate::access::view::{Line, Story};
use crate::catalogue::{self, Entry, ErrorCode};
use crate::clock::SystemClock;
use crate::config::Sources;
use crate::domain::GrantId;

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// A code out of a message (AOC-0302) or of a result (`refused_policy`), or Apono's id of a grant
    #[arg(value_name = "CODE|GRANT")]
    what: String,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn explain(arguments: &ExplainArgs, sources: &Sources) -> Exit {
    if let Some(code) = ErrorCode::of_result(&arguments.what) {
        return explain_code(arguments, code);
    }
    if catalogue::looks_like_a_code(&arguments.what) {
        return match arguments.what.parse::<ErrorCode>() {
            Ok(code) => explain_code(arguments, code),
            Err(error) => {
                complain(&error.to_string());
                Exit::Usage
            }
        };
    }
    at_the_desk(sources, async |desk| tell(&desk, arguments).await)
}

fn explain_code(arguments: &ExplainArgs, code: ErrorCode) -> Exit {
    let Some(Entry { code, title, cause, cure, page, again, said }) = code.entry() else {
        return Exit::Bug;
    };
    if arguments.json {
        let said: Vec<_> = said.iter().map(ToString::to_string).collect();
        say(&json!({
            "code": code.to_string(), "title": title, "cause": cause, "cure": cure, "page": page,
            "again": again.as_str(), "said": said,
        })
        .to_string());
        return Exit::Done;
    }
    say(&format!("{code}  {title}\n"));
    say(&format!("Why     {cause}"));
    say(&format!("Cure    {cure}"));
    if let Some(page) = page {
        say(&format!("Where   {page}"));
    }
    say(&format!("Again?  {}", again.as_str()));
    for said in *said {
        say(&format!("Said    {said}"));
    }
    Exit::Done
}

async fn tell(desk: &Desk, arguments: &ExplainArgs) -> Result<Exit, DeskError> {
    let grant = GrantId::from(arguments.what.clone());
    let Some(story) = desk.story(&grant).await? else {
        return Ok(unknown(&grant));
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
