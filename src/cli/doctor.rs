//! # Purpose
//! `doctor`: says of everything that the connector needs whether it is as it should be.
//!
//! # Invariants kept here
//! - The exit code is that of the worst finding.
//!
//! # Not here
//! Looking: `app::doctor`.

use std::io::{self, IsTerminal};
use std::sync::Arc;

use clap::Args;
use owo_colors::OwoColorize;
use serde_json::json;

use super::runtime::wait_for;
use super::{Exit, complain, say, wants_color};
use crate::app::Outside;
use crate::app::doctor::{Finding, Report, ThisHost, Verdict, examine};
use crate::catalogue::ErrorCode;
use crate::config::{Sources, load};
use crate::telemetry::chain;

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Only what is not as it should be
    #[arg(long)]
    quiet: bool,
}

pub(super) fn doctor(arguments: &DoctorArgs, sources: &Sources) -> Exit {
    let settings = match load(sources) {
        Ok(loaded) => loaded.settings,
        Err(error) => {
            complain(&error.to_string());
            return Exit::Config;
        }
    };
    let outside = match Outside::real(&settings) {
        Ok(outside) => outside,
        Err(error) => {
            complain(&chain(&error).to_string());
            return Exit::from(&error);
        }
    };
    let report = match wait_for(examine(&settings, &outside, Arc::new(ThisHost))) {
        Ok(report) => report,
        Err(exit) => return exit,
    };
    show(&report, arguments, wants_color(sources, io::stdout().is_terminal()));
    exit_of(&report)
}

fn show(report: &Report, arguments: &DoctorArgs, color: bool) {
    let worst = report.worst();
    let is_shown = |finding: &&Finding| !arguments.quiet || finding.verdict > Verdict::Skip;
    if arguments.json {
        let findings: Vec<_> = report.findings.iter().filter(is_shown).collect();
        say(&json!({ "worst": worst, "findings": findings }).to_string());
        return;
    }
    for Finding { id, target, verdict, detail, cure, code } in report.findings.iter().filter(is_shown) {
        say(&format!("{}  {id:<26} {target}", painted(*verdict, color)));
        say(&format!("      {detail}"));
        if let Some(cure) = cure {
            let code = code.map(|code| format!(" [{code}]")).unwrap_or_default();
            say(&format!("      → {cure}{code}"));
        }
    }
    let count = |verdict| report.findings.iter().filter(|finding| finding.verdict == verdict).count();
    say(&format!(
        "\n{} passed, {} with a warning, {} failed, {} skipped",
        count(Verdict::Pass),
        count(Verdict::Warn),
        count(Verdict::Fail),
        count(Verdict::Skip)
    ));
}

fn painted(verdict: Verdict, color: bool) -> String {
    let word = verdict.as_str();
    match (color, verdict) {
        (false, _) => word.to_owned(),
        (true, Verdict::Pass) => word.green().to_string(),
        (true, Verdict::Skip) => word.dimmed().to_string(),
        (true, Verdict::Warn) => word.yellow().to_string(),
        (true, Verdict::Fail) => word.red().bold().to_string(),
    }
}

/// 0 when all is well or skipped, 2 for warnings, else by what has failed first.
fn exit_of(report: &Report) -> Exit {
    match report.worst() {
        Verdict::Pass | Verdict::Skip => Exit::Done,
        Verdict::Warn => Exit::Differs,
        Verdict::Fail => {
            let failed = report.findings.iter().find(|finding| finding.verdict == Verdict::Fail);
            failed.and_then(|finding| finding.code).map_or(Exit::Unavailable, exit_for)
        }
    }
}

/// By the hundreds of the catalogue; a database is a peer.
fn exit_for(code: ErrorCode) -> Exit {
    if [ErrorCode::DatabaseAway, ErrorCode::DatabaseTooOld].contains(&code) {
        return Exit::Unavailable;
    }
    if code == ErrorCode::DatabaseRefuses {
        return Exit::Config;
    }
    match code.number() / 100 {
        1 => Exit::Config,
        3 | 4 | 8 => Exit::NotPermitted,
        7 => Exit::Io,
        _ => Exit::Unavailable,
    }
}
