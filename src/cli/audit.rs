//! # Purpose
//! `audit verify`: whether the audit trail is whole.
//!
//! # Invariants kept here
//! - 0 only for a trail in which nothing is edited, missing, repeated or cut off; 2 for one that is not; 74 for one that
//!   cannot be read, and says nothing about it.
//! - Nothing is written, so that it can be run beside the daemon and on a copy.
//!
//! # Not here
//! How it is found out: `audit::verify`.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::{Exit, complain, say};
use crate::audit::{Report, verify};
use crate::catalogue::ErrorCode;
use crate::config::{Sources, load};
use crate::telemetry::chain;

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Checks that no record was edited, dropped, reordered, repeated or cut off, over all rotated files
    Verify {
        /// The trail [default: the configured `audit.file`]
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// The last record that was taken away on purpose, with whole files
        #[arg(long, value_name = "SEQ", default_value_t = 0)]
        after: u64,
    },
}

pub(super) fn audit(command: &AuditCommand, sources: &Sources) -> Exit {
    match command {
        AuditCommand::Verify { file: Some(file), after } => check(file, *after),
        AuditCommand::Verify { file: None, after } => match load(sources) {
            Ok(loaded) => check(&loaded.settings.audit.file, *after),
            Err(error) => {
                complain(&error.to_string());
                Exit::Config
            }
        },
    }
}

fn check(file: &Path, after: u64) -> Exit {
    match verify(file, after) {
        Ok(report) if report.is_whole() => {
            say(&summary(&report));
            Exit::Done
        }
        Ok(report) => {
            say(&told(&report));
            complain(&format!(
                "the audit trail {} is broken; keep its files as they are [{}]",
                file.display(),
                ErrorCode::AuditTrailBroken
            ));
            Exit::Differs
        }
        Err(error) => {
            complain(&chain(&error).to_string());
            Exit::Io
        }
    }
}

/// What a check has found, as text.
pub(super) fn told(report: &Report) -> String {
    if report.is_whole() {
        return summary(report);
    }
    let mut lines: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
    if report.more > 0 {
        lines.push(format!("and {} more", report.more));
    }
    lines.join("\n")
}

fn summary(report: &Report) -> String {
    let unknown = || "(none)".to_owned();
    let mut text = format!(
        "the audit trail is whole\nrecords: {} in {} file{}\nfirst: {}\nlast: {}\nhead: {} {}",
        report.lines,
        report.files,
        if report.files == 1 { "" } else { "s" },
        report.first.clone().unwrap_or_else(unknown),
        report.last.clone().unwrap_or_else(unknown),
        report.end.seq,
        report.end.hash,
    );
    // A writer to a string cannot fail.
    if !report.recovered.is_empty() {
        let lines: Vec<_> = report.recovered.iter().map(u64::to_string).collect();
        let _ = write!(text, "\nnote: an interruption is told of in record {}", lines.join(", "));
    }
    if report.head_lags > 0 {
        let _ = write!(text, "\nnote: the last {} are not in the head yet", report.head_lags);
    }
    if report.torn > 0 {
        let _ = write!(text, "\nnote: {} bytes of an unfinished write are at the end", report.torn);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::super::run_with;
    use super::*;
    use crate::audit::AuditTrail;

    fn run(arguments: &[&str]) -> Exit {
        let all = ["apono-connector", "audit", "verify"].iter().chain(arguments);
        run_with(all.map(Into::into), BTreeMap::new())
    }

    #[tokio::test]
    async fn a_broken_trail_is_told_from_one_that_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let file = path.to_str().unwrap();
        assert_eq!(run(&["--file", file]), Exit::Io);
        let at = "2026-01-01T00:00:00Z".parse().unwrap();
        AuditTrail::open(&path, "connector-1".into(), at).await.unwrap();
        assert_eq!(run(&["--file", file]), Exit::Done);
        assert_eq!(run(&["--file", file, "--after", "1"]), Exit::Differs);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("connector-1", "connector-2")).unwrap();
        assert_eq!(run(&["--file", file]), Exit::Differs);
        assert_eq!(run(&["--file", file, "--after", "x"]), Exit::Usage);
        let report = verify(&path, 0).unwrap();
        assert!(report.findings[0].to_string().ends_with(
            "audit.jsonl, line 1, seq 1: the record was edited: its hash does not fit its content"
        ));
    }

    #[tokio::test]
    async fn the_summary_counts_and_names_the_head() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let at = "2026-01-01T00:00:00Z".parse().unwrap();
        AuditTrail::open(&path, "connector-1".into(), at).await.unwrap();
        let report = verify(&path, 0).unwrap();
        let expected = format!(
            "the audit trail is whole\nrecords: 1 in 1 file\nfirst: 2026-01-01T00:00:00Z\nlast: 2026-01-01T00:00:00Z\n\
             head: 1 {}",
            report.end.hash
        );
        assert_eq!(summary(&report), expected);
    }
}
