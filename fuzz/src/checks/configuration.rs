//! # Purpose
//! The operator's configuration: any file, any environment, any flags.
//!
//! # Invariants kept here
//! - What is refused names a key, a place or the file, and says what is wrong.
//! - What is accepted is the same again when every value that `config show` has is set by a flag.
//!
//! # Not here
//! The secrets that it names: `keys`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use apono_connector::config::{ConfigError, Effective, Loaded, Sources, load, schema};
use serde_json::Value;
use tempfile::TempDir;

/// Stands alone on a line between the file and what is set beside it.
const BESIDE: &str = "\n--- beside\n";
/// Before a line that is a variable and no flag.
const VARIABLE: &str = "env ";

/// A file; after a line `--- beside`, a line each for flags (`key=value`) and variables (`env NAME=value`).
pub fn configuration(data: &[u8]) {
    let at = data.windows(BESIDE.len()).position(|window| window == BESIDE.as_bytes());
    let (file, beside) = at.map_or((data, &[][..]), |at| (&data[..at], &data[at + BESIDE.len()..]));
    let path = written("connector.toml", file);
    let sources = sources(&path, &String::from_utf8_lossy(beside));
    match load(&sources) {
        Ok(loaded) => {
            is_shown_whole(&loaded);
            is_the_same_again(&loaded, &sources.environment);
        }
        Err(error) => is_told(&error, &path),
    }
}

fn sources(path: &Path, beside: &str) -> Sources {
    let mut sources = Sources { file: Some(path.to_owned()), ..Sources::default() };
    for line in beside.lines() {
        let Some((name, value)) = line.split_once('=') else { continue };
        match name.strip_prefix(VARIABLE) {
            Some(name) => {
                sources.environment.insert(name.to_owned(), value.to_owned());
            }
            None => sources.flags.push(("--set".to_owned(), name.to_owned(), value.to_owned())),
        }
    }
    sources
}

fn is_shown_whole(loaded: &Loaded) {
    let organizations = loaded.settings.okta.len();
    assert!(organizations > 0);
    let of_organizations = schema::KEYS.iter().filter(|key| key.path.contains("[]")).count();
    let expected = schema::KEYS.len() - of_organizations + of_organizations * organizations;
    let keys: BTreeSet<_> = loaded.effective.iter().map(|one| one.key.as_str()).collect();
    assert_eq!((keys.len(), loaded.effective.len()), (expected, expected));
    assert!(loaded.warnings.iter().all(|warning| !warning.is_empty()));
}

fn is_the_same_again(loaded: &Loaded, environment: &BTreeMap<String, String>) {
    let of_their_own = ["APONO_TOKEN", "CONNECTOR_METADATA", "STATE_DIRECTORY"];
    let kept = environment.iter().filter(|(name, _)| of_their_own.contains(&name.as_str()));
    let mut again = Sources {
        file: Some(written("again.toml", b"")),
        environment: kept.map(|(name, value)| (name.clone(), value.clone())).collect(),
        flags: Vec::new(),
    };
    for Effective { key, value, .. } in &loaded.effective {
        if let Some(text) = value.as_ref().map(as_flag) {
            again.flags.push(("--set".to_owned(), key.clone(), text));
        }
    }
    match load(&again) {
        Ok(second) => {
            assert_eq!(format!("{:?}", second.settings), format!("{:?}", loaded.settings));
            assert_eq!(second.warnings, loaded.warnings);
        }
        Err(error) => {
            assert!(error.problems.is_empty(), "what is shown is not accepted: {error}\n{:?}", again.flags);
        }
    }
}

fn as_flag(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

fn is_told(error: &ConfigError, path: &Path) {
    assert!(!error.problems.is_empty(), "refused for nothing");
    let path = path.display().to_string();
    for problem in &error.problems {
        assert!(!problem.message.trim().is_empty(), "{problem:?}");
        let is_placed =
            !problem.key.is_empty() || !problem.place.is_empty() || problem.message.contains(&path);
        assert!(is_placed, "nobody knows where: {problem:?}");
        assert!(error.to_string().contains(&problem.to_string()));
    }
}

/// A file in a folder that is the same for all checks of a thread.
fn written(name: &str, data: &[u8]) -> PathBuf {
    thread_local! {
        static FOLDER: Option<TempDir> = TempDir::new().ok();
    }
    let path = FOLDER.with(|folder| folder.as_ref().map(|folder| folder.path().join(name)));
    let Some(path) = path else { unreachable!("no temporary folder") };
    let written = fs::write(&path, data);
    assert!(written.is_ok(), "{written:?}");
    path
}
