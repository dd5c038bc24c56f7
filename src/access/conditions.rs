//! # Purpose
//! What has to be well for a grant to begin.
//!
//! # Invariants kept here
//! - Pure. Whatever is wrong stops grants and never a removal (invariant 12): only what begins or adds asks here.
//!
//! # Not here
//! Finding out: `watch`. The policy's own rules: `policy`.

use std::path::PathBuf;

use jiff::Timestamp;

use crate::apono::Code;
use crate::catalogue::ErrorCode;

/// What is so at one instant. A value, so that decisions on it are pure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// The wall clock.
    pub now: Timestamp,
    /// What keeps grants from beginning.
    pub obstacle: Option<Obstacle>,
}

/// What keeps grants from beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The operator has put the kill switch's file in place.
    KillSwitch {
        /// The file.
        file: PathBuf,
    },
    /// The journal cannot be written.
    Journal,
    /// The audit trail cannot be written.
    AuditTrail,
    /// This host's clock and Okta's differ too much.
    Clock {
        /// Ours less Okta's.
        ahead_seconds: i64,
    },
}

/// More than this between our clock and Okta's, and no grant begins: its end would be as wrong.
pub(super) const MOST_SKEW_SECONDS: u64 = 60;

impl Conditions {
    /// Nothing is in the way.
    pub fn good(now: Timestamp) -> Self {
        Self { now, obstacle: None }
    }
}

impl Obstacle {
    /// The code that is reported.
    pub fn code(&self) -> Code {
        match self {
            Self::KillSwitch { .. } => Code::RefusedPolicy,
            Self::Journal | Self::AuditTrail | Self::Clock { .. } => Code::RefusedDegraded,
        }
    }

    /// Whether the operator wants it so.
    pub fn is_wanted(&self) -> bool {
        match self {
            Self::KillSwitch { .. } => true,
            Self::Journal | Self::AuditTrail | Self::Clock { .. } => false,
        }
    }

    /// What it is.
    fn error(&self) -> ErrorCode {
        match self {
            Self::KillSwitch { .. } => ErrorCode::ResultRefusedPolicy,
            Self::Journal => ErrorCode::JournalFails,
            Self::AuditTrail => ErrorCode::AuditFails,
            Self::Clock { .. } => ErrorCode::WrongClock,
        }
    }

    /// One sentence for a person, with the cure and the code.
    pub fn message(&self) -> String {
        let sentence = match self {
            Self::KillSwitch { file } => format!(
                "the connector's operator has switched grants off ({} exists; kill_switch_file)",
                file.display()
            ),
            Self::Journal => {
                "the connector's journal cannot be written, so no grant begins; see its log and its disk"
                    .to_owned()
            }
            Self::AuditTrail => {
                "the connector's audit trail cannot be written, so no grant begins; see its log and its disk"
                    .to_owned()
            }
            Self::Clock { ahead_seconds } => {
                let (seconds, word) =
                    (ahead_seconds.unsigned_abs(), if *ahead_seconds < 0 { "behind" } else { "ahead of" });
                format!(
                    "the clock of the connector's host is {seconds} s {word} Okta's, so no grant begins; set it right (NTP)"
                )
            }
        };
        format!("{sentence} [{}]", self.error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_obstacle_names_itself_and_its_cure() {
        let table = [
            (
                Obstacle::KillSwitch { file: "/etc/stop".into() },
                Code::RefusedPolicy,
                "/etc/stop exists",
                "AOC-1001",
            ),
            (Obstacle::Journal, Code::RefusedDegraded, "see its log and its disk", "AOC-0706"),
            (Obstacle::AuditTrail, Code::RefusedDegraded, "audit trail", "AOC-0708"),
            (Obstacle::Clock { ahead_seconds: -90 }, Code::RefusedDegraded, "90 s behind Okta's", "AOC-0220"),
            (
                Obstacle::Clock { ahead_seconds: 90 },
                Code::RefusedDegraded,
                "90 s ahead of Okta's",
                "AOC-0220",
            ),
        ];
        for (obstacle, code, text, error) in table {
            assert_eq!(obstacle.code(), code);
            assert!(obstacle.message().contains(text), "{}", obstacle.message());
            assert!(obstacle.message().ends_with(&format!("[{error}]")), "{}", obstacle.message());
        }
    }
}
