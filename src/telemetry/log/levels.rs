//! # Purpose
//! Which events are written: the configured level, and one that an operator has raised for a while.
//!
//! # Invariants kept here
//! - Pure. A raised level ends by itself.
//! - Only this program's own modules can be raised: what libraries tell at that level may hold what is secret.
//!
//! # Not here
//! Time, and the subscriber: the module above.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

use super::LogError;

/// What can be raised by itself.
pub const TARGETS: [&str; 12] = [
    "access",
    "apono",
    "app",
    "audit",
    "cli",
    "database",
    "directory",
    "fleet",
    "http",
    "okta",
    "runtime",
    "secrets",
];

/// The levels, from the gravest on.
pub const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// The longest time that a level can be raised for.
pub const LONGEST: Duration = Duration::from_hours(24);

/// A level for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raised {
    /// One of [`LEVELS`].
    pub level: String,
    /// One of [`TARGETS`]; everything, if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Until when.
    pub until: Timestamp,
}

/// Which events are written now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Levels {
    /// `log.level`.
    pub configured: String,
    /// What was raised, if something is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raised: Option<Raised>,
}

impl Levels {
    /// The filter that this comes to.
    pub(super) fn filter(&self) -> Result<EnvFilter, LogError> {
        let mut directives = directives(&self.configured);
        if let Some(Raised { level, target, .. }) = &self.raised {
            let path = target.as_ref().map_or_else(String::new, |target| format!("::{target}"));
            directives = format!("{directives},apono_connector{path}={level}");
        }
        parse(&self.configured, &directives)
    }
}

/// Whether this may be raised.
pub(super) fn check(level: &str, target: Option<&str>, period: Duration) -> Result<(), LogError> {
    if !LEVELS.contains(&level) {
        return Err(LogError::UnknownLevel { level: level.to_owned() });
    }
    if let Some(target) = target.filter(|target| !TARGETS.contains(target)) {
        return Err(LogError::UnknownTarget { target: target.to_owned() });
    }
    if period.is_zero() || period > LONGEST {
        return Err(LogError::Period);
    }
    Ok(())
}

/// A filter, by `log.level`.
pub(super) fn parse_level(level: &str) -> Result<EnvFilter, LogError> {
    parse(level, &directives(level))
}

fn parse(level: &str, directives: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::builder()
        .parse(directives)
        .map_err(|source| LogError::Level { level: level.to_owned(), source })
}

/// A level alone is this program's; the libraries stay at warnings, where their details would drown ours.
fn directives(level: &str) -> String {
    if level.contains(['=', ',']) { level.to_owned() } else { format!("warn,apono_connector={level}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_level_names_what_would_be_right() {
        let error = parse_level("apono=louder").unwrap_err();
        assert!(error.to_string().contains("error, warn, info"), "{error}");
        assert!(parse_level("debug").is_ok());
    }

    #[test]
    fn a_raised_level_stands_beside_the_configured_one() {
        let raised = |target: Option<&str>| {
            let target = target.map(str::to_owned);
            Some(Raised { level: "trace".to_owned(), target, until: Timestamp::UNIX_EPOCH })
        };
        let filter = |raised| Levels { configured: "info".to_owned(), raised }.filter().unwrap().to_string();
        let sorted = |text: String| {
            let mut parts: Vec<_> = text.split(',').map(str::to_owned).collect();
            parts.sort();
            parts.join(",")
        };
        assert_eq!(sorted(filter(None)), "apono_connector=info,warn");
        assert_eq!(sorted(filter(raised(None))), "apono_connector=trace,warn");
        assert_eq!(
            sorted(filter(raised(Some("okta")))),
            "apono_connector::okta=trace,apono_connector=info,warn"
        );
    }

    #[test]
    fn only_our_own_modules_and_for_a_day_at_most() {
        let hour = Duration::from_hours(1);
        assert!(check("debug", Some("okta"), hour).is_ok() && check("trace", None, LONGEST).is_ok());
        for (level, target, period) in
            [("louder", None, hour), ("debug", Some("hyper"), hour), ("debug", None, LONGEST * 2)]
        {
            assert!(check(level, target, period).is_err(), "{level} {target:?}");
        }
        assert!(check("debug", None, Duration::ZERO).is_err());
    }

    /// A module that is added can be raised; one that is gone is no longer offered.
    #[test]
    fn every_target_is_a_module_that_tells_something() {
        let tells = |folder: &std::path::Path| {
            let mut folders = vec![folder.to_owned()];
            while let Some(folder) = folders.pop() {
                for entry in std::fs::read_dir(&folder).unwrap() {
                    let path = entry.unwrap().path();
                    if path.is_dir() {
                        folders.push(path);
                    } else if std::fs::read_to_string(&path).unwrap().contains("use tracing::") {
                        return true;
                    }
                }
            }
            false
        };
        let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut modules = Vec::new();
        for entry in std::fs::read_dir(&source).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if entry.path().is_dir() && name != "telemetry" && tells(&entry.path()) {
                modules.push(name);
            }
        }
        modules.sort();
        assert_eq!(modules, TARGETS);
    }
}
