//! # Purpose
//! How it is said that a journal is not what was written, and what a person can do then.
//!
//! # Invariants kept here
//! - Damage is told with the file, with what it concerns, and with a cure; it is never passed over.
//!
//! # Not here
//! Finding it: `rows`, `schema`, `mark`.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// A journal that is not what was written. The file is left as it is.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0} is damaged: {flaw}. It is left as it is, and nothing is done with it. Keep a copy of it and of all files beside it whose names begin with its own; then put all of these back from a backup, or let `apono-connector grants list --salvage` show which memberships it may owe, remove those in Okta, and move all of these files away",
    path.display()
)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// What is wrong. Part of the sentence above.
    pub flaw: Flaw,
}

/// What is wrong with a journal.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    /// A row of `subjects`.
    #[error("what it says about {subject} does not fit its checksum")]
    Subject {
        /// Which, as far as it can be read.
        subject: String,
    },
    /// A row of `entries`, or one too few or too many.
    #[error(
        "an entry of {subject} is missing or does not fit its checksum (after {sound} of {expected} that are sound)"
    )]
    Entries {
        /// Whose.
        subject: String,
        /// How many were sound.
        sound: u64,
        /// How many there are by the subject's row.
        expected: u64,
    },
    /// Rows are lost, or there are too many.
    #[error("its rows do not add up to its totals; some are missing or were changed")]
    Totals,
    /// A row of `owner`.
    #[error("the row that says to whom it belongs does not fit its checksum")]
    Owner,
    /// It is older than what was confirmed.
    #[error(
        "it ends with commit {found}, but commit {confirmed} was confirmed; it, or the -wal file beside it, is missing, older or changed, or the disk lost what it had confirmed"
    )]
    Behind {
        /// Its last commit.
        found: u64,
        /// The last one that the file with `.mark` at its end knows of.
        confirmed: u64,
    },
    /// It is empty or away, but there was something.
    #[error("it is empty or missing, but its other files are there and say that it was not")]
    Gone,
    /// It has tables, but not ours.
    #[error("its tables or its format number are not the journal's")]
    Tables,
    /// SQLite found it.
    #[error("SQLite cannot make sense of it ({0})")]
    Pages(rusqlite::Error),
}

impl Flaw {
    /// Of the journal at `path`.
    pub(super) fn of(self, path: &Path) -> Damage {
        Damage { path: path.to_owned(), flaw: self }
    }

    /// Whether SQLite's error tells of damage, rather than of a disk that fails.
    pub(super) fn is_told_by(error: &rusqlite::Error) -> bool {
        if let rusqlite::Error::SqliteFailure(failure, _) = error {
            return matches!(failure.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase);
        }
        // Tables that are not ours, a column of another type, or text that is none.
        matches!(
            error,
            rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::Utf8Error(..)
                | rusqlite::Error::SqlInputError { .. }
        )
    }
}
