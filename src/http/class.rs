//! # Purpose
//! The one question that every error answers: would trying again help?
//!
//! # Invariants kept here
//! - Three answers, matched exhaustively; an error without an answer does not compile.
//!
//! # Not here
//! How often and when to try again: `retry`, and the reconcilers' periods.

use std::fmt;

/// Whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It can, by itself: a time-out, an outage, a limit.
    Transient,
    /// It cannot, with the same input.
    Permanent,
    /// It can once a person has mended something: a key, a scope, a clock. Tried again slowly, and not ready until then.
    Misconfigured,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Transient => "transient",
            Self::Permanent => "permanent",
            Self::Misconfigured => "misconfigured",
        })
    }
}
