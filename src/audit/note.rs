//! # Purpose
//! What the trail tells about itself.
//!
//! # Invariants kept here
//! - Whatever interrupts the trail is told in the trail.
//!
//! # Not here
//! When each is due: `trail`.

use jiff::Timestamp;

use super::chain::Link;

/// A line about the trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// The first line of all.
    Begun,
    /// The first line of each further file.
    Continued {
        /// The file before it, as it was called then; none when that is not known.
        previous: Option<String>,
        /// The last line of that file.
        end: Link,
    },
    /// A fixed point, for whoever keeps a few lines elsewhere.
    Checkpoint {
        /// Why now.
        why: Checkpoint,
        /// The line before it, whose seq is the number of lines so far.
        end: Link,
    },
    /// What the last process left was not whole.
    Recovered {
        /// Bytes that are no record, and where they are now.
        torn: Vec<Torn>,
        /// What was wrong with the head.
        head: Option<HeadFlaw>,
    },
    /// An operator of this host has changed what the log tells.
    LogLevel(LogLevel),
}

/// What the log tells from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLevel {
    /// The level, for a while; none where it is as configured again.
    pub raised: Option<RaisedLevel>,
    /// Who: a user of this host by its number, or the time that is over.
    pub by: String,
}

/// A level for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaisedLevel {
    /// `debug`.
    pub level: String,
    /// The part of the connector; none for all of it.
    pub target: Option<String>,
    /// Until when.
    pub until: Timestamp,
}

/// Why a checkpoint is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checkpoint {
    /// Enough lines have passed.
    Regular,
    /// The file ends here.
    Rotation,
    /// The process ends here.
    Close,
}

/// Bytes that a crash left at the end of the file, moved aside whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Torn {
    /// The file beside the trail that has them now.
    pub(super) file: String,
    /// How many.
    pub(super) bytes: u64,
    /// Their SHA-256, in hexadecimal.
    pub(super) sha256: String,
}

/// A head that does not fit the trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HeadFlaw {
    /// There is a trail, and no head.
    Missing,
    /// It is not one of ours.
    Unreadable,
    /// It knows of lines that the trail does not have.
    Ahead {
        /// The last line that is there; 0 when there is none.
        found: u64,
        /// The last line that was there.
        known: u64,
    },
}

impl Note {
    /// The word in the file.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Continued { .. } => "continued",
            Self::Checkpoint { .. } => "checkpoint",
            Self::Recovered { .. } => "recovered",
            Self::LogLevel(_) => "log_level",
        }
    }
}
