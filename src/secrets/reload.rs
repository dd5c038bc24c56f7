//! # Purpose
//! A secret that is read anew at each use, with the last good value behind it.
//!
//! # Invariants kept here
//! - A bad new file never replaces a good old value (invariant 14); the change for the worse is logged once.
//!
//! # Not here
//! Proving a new key against Okta before the old one is dropped.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::{info, warn};

use crate::telemetry::chain;

/// A value derived from a secret source. Clones share it.
pub struct Reloading<T> {
    what: &'static str,
    load: Box<dyn Fn() -> Result<T, BoxError> + Send + Sync>,
    last: Mutex<Last<T>>,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

struct Last<T> {
    good: Arc<T>,
    complaint: Option<String>,
}

impl<T> Reloading<T> {
    /// Reads it for the first time; `what` names it in logs.
    pub fn new<E>(
        what: &'static str,
        load: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let good = Arc::new(load()?);
        let load = Box::new(move || load().map_err(|error| Box::new(error) as BoxError));
        Ok(Self { what, load, last: Mutex::new(Last { good, complaint: None }) })
    }

    /// The value as the source has it now, or the last good one.
    pub fn current(&self) -> Arc<T> {
        let loaded = (self.load)();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match loaded {
            Ok(value) => {
                if last.complaint.take().is_some() {
                    info!(secret = self.what, "the {} can be read again", self.what);
                }
                last.good = Arc::new(value);
            }
            Err(error) => {
                let complaint = chain(error.as_ref()).to_string();
                if last.complaint.as_ref() != Some(&complaint) {
                    warn!(
                        secret = self.what,
                        error = complaint,
                        "keeping the last good {}: {complaint}",
                        self.what
                    );
                    last.complaint = Some(complaint);
                }
            }
        }
        Arc::clone(&last.good)
    }
}

impl<T> fmt::Debug for Reloading<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloading").field("what", &self.what).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;
    use crate::secrets::{MountedFile, SecretSource};

    #[test]
    fn a_bad_new_file_never_replaces_a_good_old_value() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "first").unwrap();
        let file = MountedFile::new(&path);
        let token = Reloading::new("token", move || file.read()).unwrap();
        assert_eq!(token.current().expose_secret(), "first");
        std::fs::write(&path, "").unwrap();
        assert_eq!(token.current().expose_secret(), "first");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(token.current().expose_secret(), "first");
        std::fs::write(&path, "second").unwrap();
        assert_eq!(token.current().expose_secret(), "second");
    }
}
