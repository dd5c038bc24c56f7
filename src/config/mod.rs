//! # Purpose
//! The operator's configuration: file, then environment, then flags; checked as a whole.
//!
//! # Invariants kept here
//! - All problems are reported at once, each with its key, where it was set, and its cure.
//! - An unknown key is an error that names the nearest one; nothing is ignored silently.
//! - Secrets are files; no key holds one.
//!
//! # Not here
//! Reading the secrets: `app` does, and reports what is wrong with them in the same form.

mod load;
pub mod schema;
mod settings;
mod validate;

use std::fmt;

use crate::catalogue::ErrorCode;

pub use load::{DEFAULT_FILE, Effective, Loaded, Origin, Sources, duration, load};
pub use settings::{
    Access, Admin, Apono, AponoToken, Audit, CustomIntegration, Directory, Http, Log, LogFormat,
    Organization, Scim, Settings, State,
};
pub use validate::sqlite_file;

/// Something that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `okta[0].credentials_file`; empty for the configuration as a whole.
    pub key: String,
    /// The file, the environment variable or the flag that set it; empty when nothing did.
    pub place: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        if !self.place.is_empty() {
            write!(f, " ({})", self.place)?;
        }
        Ok(())
    }
}

/// The configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Every problem there is.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        let plural = if count == 1 { "" } else { "s" };
        write!(f, "the configuration has {count} problem{plural} [{}]", ErrorCode::ConfigInvalid)?;
        for problem in &self.problems {
            write!(f, "\n  - {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
