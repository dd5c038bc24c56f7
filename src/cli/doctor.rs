//! # Purpose
//! `doctor`: says of everything that the connector needs whether it is as it should be.
//!
//! # Invariants kept here
//! - The exit code is that of the worst finding.
//! - What cannot be looked at for a wrong configuration is a finding too, in both forms of the output.
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
use crate::app::doctor::{
    Finding, Report, ThisHost, Verdict, examine, examine_without_connections, of_configuration,
};
use crate::app::{Outside, StartError};
use crate::catalogue::ErrorCode;
use crate::config::{Settings, Sources, load};
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
    let report = match load(sources) {
        Ok(loaded) => match look(&loaded.settings) {
            Ok(report) => report,
            Err(exit) => return exit,
        },
        Err(error) => of_configuration(&error),
    };
    show(&report, arguments, wants_color(sources, io::stdout().is_terminal()));
    exit_of(&report)
}

fn look(settings: &Settings) -> Result<Report, Exit> {
    match Outside::real_for_doctor(settings) {
        Ok(outside) => wait_for(examine(settings, &outside, Arc::new(ThisHost))),
        Err(StartError::Https(error)) => {
            wait_for(examine_without_connections(settings, &error, Arc::new(ThisHost)))
        }
        Err(error) => {
            complain(&chain(&error).to_string());
            Err(Exit::from(&error))
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(verdict: Verdict, code: Option<ErrorCode>) -> Finding {
        Finding { id: "x", target: String::new(), verdict, detail: String::new(), cure: None, code }
    }

    fn ended(findings: &[(Verdict, Option<ErrorCode>)]) -> Exit {
        let findings = findings.iter().map(|(verdict, code)| finding(*verdict, *code)).collect();
        exit_of(&Report { findings })
    }

    #[test]
    fn the_exit_code_is_that_of_the_worst() {
        let (pass, skip) = ((Verdict::Pass, None), (Verdict::Skip, None));
        let (warn, coded) = ((Verdict::Warn, None), (Verdict::Warn, Some(ErrorCode::OktaThrottled)));
        let fail = |code| (Verdict::Fail, Some(code));
        assert_eq!(ended(&[pass, pass]), Exit::Done);
        assert_eq!(ended(&[skip, skip]), Exit::Done);
        assert_eq!(ended(&[pass, skip, pass]), Exit::Done);
        assert_eq!(ended(&[pass, warn, skip]), Exit::Differs);
        assert_eq!(ended(&[coded, pass]), Exit::Differs, "a warning with a code is one all the same");
        assert_eq!(ended(&[coded, fail(ErrorCode::DiskFull), warn]), Exit::Io, "its own, not the warning's");
        assert_eq!(ended(&[fail(ErrorCode::RoleMissing), fail(ErrorCode::DiskFull)]), Exit::NotPermitted);
        assert_eq!(ended(&[(Verdict::Fail, None)]), Exit::Unavailable);
    }

    #[test]
    fn a_failure_ends_by_what_it_is_about() {
        for (code, exit) in [
            (ErrorCode::ConfigInvalid, Exit::Config),
            (ErrorCode::CaBundle, Exit::Config),
            (ErrorCode::NameNotResolved, Exit::Unavailable),
            (ErrorCode::KeyNotRegistered, Exit::NotPermitted),
            (ErrorCode::NoPermission, Exit::NotPermitted),
            (ErrorCode::ConnectorTokenRefused, Exit::Unavailable),
            (ErrorCode::ScimTokenRefused, Exit::Unavailable),
            (ErrorCode::StateUnusable, Exit::Io),
            (ErrorCode::DatabaseAway, Exit::Unavailable),
            (ErrorCode::DatabaseTooOld, Exit::Unavailable),
            (ErrorCode::DatabaseRefuses, Exit::Config),
            (ErrorCode::RoleMissing, Exit::NotPermitted),
        ] {
            assert_eq!(ended(&[(Verdict::Fail, Some(code))]), exit, "{code}");
        }
    }
}
