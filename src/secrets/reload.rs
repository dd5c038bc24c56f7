//! # Purpose
//! A secret that follows its files, with the last good value behind it.
//!
//! # Invariants kept here
//! - A bad new file never replaces a good old value (invariant 14); the change for the worse is logged once.
//! - Whether the file has changed is looked up at every use; it is read only when it has. One that is bad and has not
//!   changed is read again now and then, for what its version does not show: a folder that may be read at last.
//!
//! # Not here
//! Proving a new key against Okta before the old one is dropped.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::{info, warn};

use super::{MountedFile, Version};
use crate::clock::Stopwatch;
use crate::telemetry::chain;

/// A value that is derived from a secret.
pub struct Reloading<T> {
    what: &'static str,
    files: Vec<MountedFile>,
    load: Box<dyn Fn() -> Result<T, BoxError> + Send + Sync>,
    last: Mutex<Last<T>>,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A bad file that has not changed is read again after this.
const READ_AGAIN: Duration = Duration::from_secs(10);

struct Last<T> {
    good: Arc<T>,
    /// Of what was read last, good or bad.
    versions: Vec<Option<Version>>,
    complaint: Option<Complaint>,
}

struct Complaint {
    text: String,
    /// Since the file was read last.
    read: Stopwatch,
}

impl<T> Last<T> {
    /// Whether these are the files that were read, and reading them again could not bring anything else.
    fn stands(&self, versions: &[Option<Version>]) -> bool {
        self.versions == versions
            && self.complaint.as_ref().is_none_or(|complaint| complaint.read.elapsed() < READ_AGAIN)
    }
}

impl<T> Reloading<T> {
    /// Reads it for the first time; `what` names it in logs, `files` are what `load` reads (none: it cannot change).
    pub fn new<E>(
        what: &'static str,
        files: impl IntoIterator<Item = MountedFile>,
        load: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let files: Vec<_> = files.into_iter().collect();
        // The version before the content: a change in between is then noticed at the next use.
        let versions = files.iter().map(MountedFile::version).collect();
        let good = Arc::new(load()?);
        let load = Box::new(move || load().map_err(|error| Box::new(error) as BoxError));
        Ok(Self { what, files, load, last: Mutex::new(Last { good, versions, complaint: None }) })
    }

    /// The value as the file has it now, or the last good one.
    pub fn current(&self) -> Arc<T> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let versions: Vec<_> = self.files.iter().map(MountedFile::version).collect();
        if self.files.is_empty() || last.stands(&versions) {
            return Arc::clone(&last.good);
        }
        match (self.load)() {
            Ok(value) => {
                info!(
                    event = "secret_renewed",
                    secret = self.what,
                    "the {} has changed and is read anew",
                    self.what
                );
                count(self.what, |reloads| reloads.taken += 1);
                *last = Last { good: Arc::new(value), versions, complaint: None };
            }
            Err(error) => {
                let text = chain(error.as_ref()).to_string();
                if last.complaint.as_ref().is_none_or(|former| former.text != text) {
                    count(self.what, |reloads| reloads.refused += 1);
                    warn!(
                        event = "secret_refused",
                        secret = self.what,
                        error = text,
                        "keeping the last good {}: {text}",
                        self.what
                    );
                }
                last.versions = versions;
                last.complaint = Some(Complaint { text, read: Stopwatch::started() });
            }
        }
        Arc::clone(&last.good)
    }
}

/// How often a changed secret of one kind was taken, and refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reloads {
    /// A new one was taken.
    pub taken: u64,
    /// A new one could not be used.
    pub refused: u64,
}

/// Of this process, by kind: the kinds are words of this program, so their number is bounded. They outlive a
/// configuration, as counts should.
static RELOADS: Mutex<BTreeMap<&'static str, Reloads>> = Mutex::new(BTreeMap::new());

/// What has become of changed secrets since the process started, by kind.
pub fn reloads() -> Vec<(&'static str, Reloads)> {
    let reloads = RELOADS.lock().unwrap_or_else(PoisonError::into_inner);
    reloads.iter().map(|(what, reloads)| (*what, *reloads)).collect()
}

fn count(what: &'static str, change: impl FnOnce(&mut Reloads)) {
    change(RELOADS.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default());
}

impl<T> fmt::Debug for Reloading<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloading").field("what", &self.what).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use secrecy::ExposeSecret;

    use super::*;
    use crate::secrets::SecretSource;

    #[test]
    fn a_bad_new_file_never_replaces_a_good_old_value() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "first").unwrap();
        let file = MountedFile::new(&path);
        let token = Reloading::new("token", Some(file.clone()), move || file.read()).unwrap();
        assert_eq!(token.current().expose_secret(), "first");
        std::fs::write(&path, "").unwrap();
        assert_eq!(token.current().expose_secret(), "first");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(token.current().expose_secret(), "first");
        std::fs::write(&path, "second").unwrap();
        assert_eq!(token.current().expose_secret(), "second");
    }

    #[test]
    fn a_swapped_link_is_noticed_as_kubernetes_swaps_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (version, text) in [("v1", "first"), ("v2", "other")] {
            std::fs::create_dir(at(version)).unwrap();
            std::fs::write(at(version).join("token"), text).unwrap();
        }
        std::os::unix::fs::symlink("v1", at("..data")).unwrap();
        std::os::unix::fs::symlink("..data/token", at("token")).unwrap();
        let file = MountedFile::new(at("token"));
        let token = Reloading::new("token", Some(file.clone()), move || file.read()).unwrap();
        assert_eq!(token.current().expose_secret(), "first");
        std::os::unix::fs::symlink("v2", at("..new")).unwrap();
        std::fs::rename(at("..new"), at("..data")).unwrap();
        assert_eq!(token.current().expose_secret(), "other");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_bad_and_has_not_changed_is_read_again_only_now_and_then() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "first").unwrap();
        let reads = Arc::new(AtomicUsize::new(0));
        // What the version of the file does not show.
        let is_open = Arc::new(AtomicBool::new(true));
        let (counted, may) = (Arc::clone(&reads), Arc::clone(&is_open));
        let file = MountedFile::new(&path);
        let token = Reloading::new("token", Some(file.clone()), move || {
            counted.fetch_add(1, Ordering::Relaxed);
            if may.load(Ordering::Relaxed) { file.read() } else { MountedFile::new("/nowhere").read() }
        })
        .unwrap();
        let use_often = || {
            let used = (0..10).map(|_| token.current().expose_secret().to_owned()).collect::<BTreeSet<_>>();
            (used.into_iter().collect::<Vec<_>>().join(" "), reads.load(Ordering::Relaxed))
        };
        is_open.store(false, Ordering::Relaxed);
        std::fs::write(&path, "the second").unwrap();
        assert_eq!(use_often(), ("first".to_owned(), 2), "once");
        tokio::time::advance(READ_AGAIN / 2).await;
        assert_eq!(use_often(), ("first".to_owned(), 2), "not yet");
        tokio::time::advance(READ_AGAIN / 2).await;
        assert_eq!(use_often(), ("first".to_owned(), 3), "again, and bad still");
        std::fs::write(&path, "another third").unwrap();
        assert_eq!(use_often(), ("first".to_owned(), 4), "at once, since it has changed");
        is_open.store(true, Ordering::Relaxed);
        tokio::time::advance(READ_AGAIN).await;
        assert_eq!(use_often(), ("another third".to_owned(), 5));
        tokio::time::advance(READ_AGAIN).await;
        assert_eq!(use_often(), ("another third".to_owned(), 5), "what is good is not read again");
    }

    #[test]
    fn what_has_not_changed_is_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "first").unwrap();
        let reads = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&reads);
        let file = MountedFile::new(&path);
        let token = Reloading::new("token", Some(file.clone()), move || {
            counted.fetch_add(1, Ordering::Relaxed);
            file.read()
        })
        .unwrap();
        for _ in 0..10 {
            token.current();
        }
        assert_eq!(reads.load(Ordering::Relaxed), 1);
    }
}
