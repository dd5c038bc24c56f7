//! # Purpose
//! Rules of `[state]`: a file of this host, or a database that daemons share.
//!
//! # Invariants kept here
//! - Pure. No password gets into a message: a URL that may hold one is not quoted.
//! - The state outlives a crash, and this host's own files have a folder in either case.
//!
//! # Not here
//! What a database's URL looks like: `database::url`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::Reader;
use crate::config::settings::State;
use crate::database::{DatabaseSettings, DatabaseUrl, is_postgres};

const URL: &str = "state.url";
const PASSWORD: &str = "state.password_file";
const DIRECTORY: &str = "state.directory";
/// Where packages and images have it.
const DEFAULT_DIRECTORY: &str = "/var/lib/apono-connector";
/// A server that can be reached takes a connection in far less, and the next one is to be tried.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// The file that `sqlite:/path` names. Both `sqlite:/path` and `sqlite:///path` are common.
pub fn sqlite_file(url: &str) -> Option<PathBuf> {
    let path = url.strip_prefix("sqlite:")?;
    let names_one = !path.trim_start_matches('/').is_empty() && !path.contains(":memory:");
    names_one.then(|| PathBuf::from(path.strip_prefix("//").unwrap_or(path)))
}

impl Reader<'_> {
    pub(super) fn state(&mut self, environment: &BTreeMap<String, String>) -> Option<State> {
        let url = self.text(URL).unwrap_or_default();
        if is_postgres(&url) { self.database(&url, environment) } else { self.sqlite(&url) }
    }

    fn sqlite(&mut self, url: &str) -> Option<State> {
        for (key, cure) in [
            (PASSWORD, "the state is in SQLite, which has no password; leave this out"),
            (DIRECTORY, "the state is in SQLite, and this host's files are beside it; leave this out"),
        ] {
            if self.text(key).is_some() {
                self.problem(key, cure.to_owned());
            }
        }
        match url.strip_prefix("sqlite:") {
            // SQLite's name for a database that a crash forgets.
            Some(path) if path.contains(":memory:") => {
                let message = "the state must be in a file: what is in memory is forgotten in a crash, and with it whose access must end";
                self.problem(URL, message.to_owned());
                None
            }
            Some(_) | None => {
                if let Some(file) = sqlite_file(url) {
                    return Some(State { file, database: None });
                }
                let forms = "sqlite:/path/state.db, nor postgres://user@host/database";
                // With a misspelt scheme, it may be a database's, password and all.
                let message = if url.contains('@') {
                    format!("this is neither {forms}")
                } else {
                    format!("{url:?} is neither {forms}")
                };
                self.problem(URL, message);
                None
            }
        }
    }

    fn database(&mut self, url: &str, environment: &BTreeMap<String, String>) -> Option<State> {
        let url = DatabaseUrl::parse(url).map_err(|error| self.problem(URL, error.to_string())).ok();
        if url.as_ref().is_some_and(DatabaseUrl::is_plain) {
            self.warnings.push(format!(
                "{URL}: sslmode=disable lets everybody on the way to the database read and change what is kept there"
            ));
        }
        let directory = self.state_directory(environment);
        let settings = DatabaseSettings {
            url: url?,
            password_file: self.file(PASSWORD),
            ca_bundle: self.file("http.ca_bundle_file"),
            connect_timeout: self.duration("http.connect_timeout").min(CONNECT_LIMIT),
        };
        Some(State { file: directory?.join("state.db"), database: Some(settings) })
    }

    fn state_directory(&mut self, environment: &BTreeMap<String, String>) -> Option<PathBuf> {
        // systemd: several are joined by colons; the first is the unit's main one.
        let of_systemd = environment.get("STATE_DIRECTORY").and_then(|folders| folders.split(':').next());
        let of_systemd = of_systemd.filter(|folder| !folder.is_empty());
        let folder = self.text(DIRECTORY);
        let folder = folder.as_deref().or(of_systemd).unwrap_or(DEFAULT_DIRECTORY);
        if !folder.starts_with('/') {
            self.problem(DIRECTORY, format!("{folder:?} is no absolute path, such as {DEFAULT_DIRECTORY}"));
            return None;
        }
        Some(PathBuf::from(folder))
    }
}
