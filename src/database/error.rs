//! # Purpose
//! What goes wrong with a database, sorted by what it asks for: patience, a person, or a look at this program.
//!
//! # Invariants kept here
//! - A message names the database and its servers, and never a password.
//! - Every error has a code of the catalogue.
//!
//! # Not here
//! What is done about it: whoever asked.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::error::SqlState;

use crate::catalogue::ErrorCode;
use crate::http::obstacle::obstacle;
use crate::secrets::{BundleError, SecretError};

/// A database did not do what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// It is not reached, does not answer in time, or cannot be written at the moment. It passes.
    #[error("{place} does not answer [{}]", ErrorCode::DatabaseAway)]
    Away {
        /// Which.
        place: Place,
        /// Why.
        #[source]
        source: Source,
    },
    /// It, or the way to it, has to be set right by a person.
    #[error("{place} refuses the connector [{code}]")]
    Refused {
        /// Which.
        place: Place,
        /// What stands in the way.
        code: ErrorCode,
        /// Why.
        #[source]
        source: Source,
    },
    /// A newer version has written it in a way that this one would misread.
    #[error(
        "{place} has format {found}, which is read by versions that know format {wanted}; this one knows {known}: upgrade it [{}]",
        ErrorCode::StateTooNew
    )]
    TooNew {
        /// Which.
        place: Place,
        /// The format that it has.
        found: i32,
        /// The format that a reader has to know.
        wanted: i32,
        /// The newest that this version knows.
        known: i32,
    },
    /// A statement fails by itself: a constraint, a conflict with another transaction, a table that is not as it should be.
    #[error("a statement fails at {place} [{}]", ErrorCode::DatabaseFails)]
    Statement {
        /// Which.
        place: Place,
        /// Why.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The password's file cannot be read.
    #[error("state.password_file: {0}")]
    Password(#[source] SecretError),
    /// The bundle of authorities cannot be used.
    #[error("http.ca_bundle_file: {0}")]
    Bundle(#[source] BundleError),
    /// TLS cannot start.
    #[error("TLS cannot start [{}]", ErrorCode::HttpsFails)]
    Tls(#[source] rustls::Error),
}

/// What is behind it.
pub type Source = Box<dyn Error + Send + Sync>;

/// Which database, for messages: `the database grants at db.example.com:5432`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place(Option<Arc<str>>);

impl Place {
    pub(super) fn new(name: &impl ToString) -> Self {
        Self(Some(name.to_string().into()))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(name) => write!(f, "the database {name}"),
            None => f.write_str("the database"),
        }
    }
}

/// Nothing came.
#[derive(Debug, thiserror::Error)]
pub(super) enum Silence {
    #[error("no connection came about within {0:?}")]
    Connecting(Duration),
    #[error("no answer came within {0:?}")]
    Answer(Duration),
    #[error("all {0} connections to it are in use")]
    Busy(usize),
}

impl DatabaseError {
    /// Whether it passes: later, the same may be done.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Away { .. })
    }

    /// What it is.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Away { .. } => ErrorCode::DatabaseAway,
            Self::Refused { code, .. } => *code,
            Self::TooNew { .. } => ErrorCode::StateTooNew,
            Self::Statement { .. } => ErrorCode::DatabaseFails,
            Self::Password(error) => error.code(),
            Self::Bundle(_) => ErrorCode::CaBundle,
            Self::Tls(_) => ErrorCode::HttpsFails,
        }
    }

    /// PostgreSQL's own code for it: five characters, such as `23505` (unique violation) or `40001` (serialization).
    pub fn sql_state(&self) -> Option<&SqlState> {
        let source: &(dyn Error + 'static) = match self {
            Self::Statement { source, .. } => source,
            Self::Away { source, .. } | Self::Refused { source, .. } => source.as_ref(),
            Self::TooNew { .. } | Self::Password(_) | Self::Bundle(_) | Self::Tls(_) => return None,
        };
        source.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::code)
    }

    /// Whether the password, or the user with it, is what is not taken.
    pub fn is_about_the_password(&self) -> bool {
        let state = self.sql_state();
        state == Some(&SqlState::INVALID_PASSWORD)
            || state == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
    }

    /// The same, with the database's name in it.
    #[must_use]
    pub(super) fn at(mut self, name: &Place) -> Self {
        match &mut self {
            Self::Away { place, .. }
            | Self::Refused { place, .. }
            | Self::TooNew { place, .. }
            | Self::Statement { place, .. } => *place = name.clone(),
            Self::Password(_) | Self::Bundle(_) | Self::Tls(_) => {}
        }
        self
    }

    pub(super) fn silent(place: &Place, silence: Silence) -> Self {
        Self::Away { place: place.clone(), source: Box::new(silence) }
    }

    /// What kept a connection from coming about.
    pub(super) fn of_connecting(place: &Place, error: tokio_postgres::Error) -> Self {
        let place = place.clone();
        let found = obstacle(&error);
        match (sorted(&error), found) {
            (_, Some(code)) if is_about_a_certificate(code) => {
                Self::Refused { place, code, source: Box::new(error) }
            }
            (Sort::Away, _) => Self::Away { place, source: Box::new(error) },
            (Sort::Refused | Sort::Statement, _) => {
                Self::Refused { place, code: ErrorCode::DatabaseRefuses, source: Box::new(error) }
            }
        }
    }
}

/// Of a statement; [`super::Database::run`] adds which database it was.
impl From<tokio_postgres::Error> for DatabaseError {
    fn from(error: tokio_postgres::Error) -> Self {
        let place = Place::default();
        match sorted(&error) {
            Sort::Away => Self::Away { place, source: Box::new(error) },
            Sort::Refused => {
                Self::Refused { place, code: ErrorCode::DatabaseRefuses, source: Box::new(error) }
            }
            Sort::Statement => Self::Statement { place, source: error },
        }
    }
}

fn is_about_a_certificate(code: ErrorCode) -> bool {
    [
        ErrorCode::UnknownIssuer,
        ErrorCode::CertificateTime,
        ErrorCode::CertificateName,
        ErrorCode::CertificateWanted,
    ]
    .contains(&code)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Away,
    Refused,
    Statement,
}

fn sorted(error: &tokio_postgres::Error) -> Sort {
    if let Some(state) = error.code() {
        return by_state(state.code());
    }
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<io::Error>().is_some() {
            return Sort::Away;
        }
        next = error.source();
    }
    if error.is_closed() { Sort::Away } else { Sort::Statement }
}

/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn by_state(state: &str) -> Sort {
    // Connections; resources (none is left, the disk is full); the server's own files.
    const AWAY_CLASSES: [&str; 3] = ["08", "53", "58"];
    // It cannot be written to any more (25006), a limit of the session (25P03, 57P05) or of a statement (57014), and a
    // server that stops, has crashed, starts, or has lost the database.
    const AWAY: [&str; 8] = ["25006", "25P03", "57P05", "57014", "57P01", "57P02", "57P03", "57P04"];
    // No such database; not this role's.
    const REFUSED: [&str; 2] = ["3D000", "42501"];
    let class = state.get(..2).unwrap_or_default();
    if AWAY_CLASSES.contains(&class) || AWAY.contains(&state) {
        Sort::Away
    } else if class == "28" || REFUSED.contains(&state) {
        Sort::Refused
    } else {
        Sort::Statement
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_sorted_by_what_they_ask_for() {
        for (state, sort) in [
            ("08006", Sort::Away),
            ("25006", Sort::Away),
            ("53300", Sort::Away),
            ("57P01", Sort::Away),
            ("57014", Sort::Away),
            ("58030", Sort::Away),
            ("28P01", Sort::Refused),
            ("28000", Sort::Refused),
            ("3D000", Sort::Refused),
            ("42501", Sort::Refused),
            ("23505", Sort::Statement),
            ("40001", Sort::Statement),
            ("55P03", Sort::Statement),
            ("42P01", Sort::Statement),
            ("", Sort::Statement),
        ] {
            assert_eq!(by_state(state), sort, "{state}");
        }
    }

    #[test]
    fn a_message_says_which_database() {
        let place = Place::new(&"grants at db.example.com:5432");
        let silent = DatabaseError::silent(&Place::default(), Silence::Busy(6)).at(&place);
        let expected = "the database grants at db.example.com:5432 does not answer [AOC-0713]";
        assert_eq!(silent.to_string(), expected);
        assert_eq!(silent.source().unwrap().to_string(), "all 6 connections to it are in use");
        assert!(silent.is_away() && silent.sql_state().is_none());
    }
}
