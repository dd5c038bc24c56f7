//! # Purpose
//! `support-bundle`: one file with what a person who helps needs to know.
//!
//! # Invariants kept here
//! - No secret: keys hold paths, and no file that a secret is in is copied. Before anything is written, every part is
//!   searched for every secret of this configuration, and one that has any is left out.
//! - People, and what Okta calls them and their groups, have pseudonyms.
//! - A part that cannot be had is named with its reason; the rest is written all the same.
//! - The file can be read by its owner alone, and replaces none that is there.
//!
//! # Not here
//! Sending it: a person does, after a look.

mod pseudonyms;
mod scan;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::config::shown;
use super::desk::{Client, Desk, DeskError, not_here};
use super::runtime::wait_for;
use super::{Exit, complain, say, say_lines};
use crate::access::view::{Filter, Listing};
use crate::app::doctor::{ThisHost, examine, examine_without_connections};
use crate::app::{Outside, StartError};
use crate::audit::verify;
use crate::catalogue::ErrorCode;
use crate::clock::SystemClock;
use crate::config::{AponoToken, Loaded, Settings, Sources, State, load};
use crate::entropy::SystemEntropy;
use crate::telemetry::chain;
use pseudonyms::Pseudonyms;
use scan::Needles;

#[derive(Debug, Args)]
pub(super) struct SupportArgs {
    /// The file to write: a compressed archive (.tar.gz)
    #[arg(long, value_name = "FILE", required_unless_present = "dry_run")]
    out: Option<PathBuf>,
    /// Says what would be in it, and writes nothing
    #[arg(long, conflicts_with = "out")]
    dry_run: bool,
}

/// What was found, by name of file, and what was not.
#[derive(Default)]
struct Bundle {
    parts: Vec<(&'static str, String)>,
    missing: Vec<String>,
    /// Of people, that have no form by which they could be told.
    names: Vec<String>,
}

const ABOUT: &str = "\
What apono-connector knows about itself on this host, for a person who helps.

No secret is in here: the configuration names files, what is in those files was not copied, and every part was searched
for it. Users, groups and applications of Okta have pseudonyms, the same in every part and others in the next bundle.
The names of this host's folders and of the organization are as they are. manifest.json lists the parts and what was
replaced. Look through it before you hand it on.
";

pub(super) fn support_bundle(arguments: &SupportArgs, sources: &Sources) -> Exit {
    let file = match arguments.out.as_deref().map(create).transpose() {
        Ok(file) => file,
        Err(exit) => return exit,
    };
    let mut bundle = Bundle::default();
    bundle.put("about.txt", ABOUT.to_owned());
    bundle.put("host.txt", host());
    let needles = match load(sources) {
        Ok(loaded) => {
            let needles = needles(&loaded.settings);
            bundle.configured(loaded);
            needles
        }
        Err(error) => {
            bundle.put("configuration-error.txt", error.to_string());
            Needles::default()
        }
    };
    let mut held_back = bundle.finish(&needles);
    let (Some(path), Some(file)) = (&arguments.out, file) else {
        say_lines(&bundle.listing());
        return ended(&mut held_back);
    };
    match bundle.write(file) {
        Ok(()) => {
            let names: Vec<_> = bundle.parts.iter().map(|(name, _)| *name).collect();
            say(&format!("{}: {}", path.display(), names.join(", ")));
            ended(&mut held_back)
        }
        Err(error) => {
            // Half of it would be in the way of the next.
            let _ = std::fs::remove_file(path);
            let code = ErrorCode::FileNotWritten;
            complain(&format!("{} cannot be written: {error} [{code}]", path.display()));
            Exit::Io
        }
    }
}

/// A new file that is its owner's alone.
fn create(path: &Path) -> Result<File, Exit> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
        let is_there = error.kind() == io::ErrorKind::AlreadyExists;
        let code = if is_there { ErrorCode::FileInTheWay } else { ErrorCode::FileNotWritten };
        complain(&format!("{} cannot be written: {error} [{code}]", path.display()));
        Exit::Io
    })
}

/// A part with a secret in it is a defect of this program, and was left out.
fn ended(held_back: &mut Vec<&'static str>) -> Exit {
    if held_back.is_empty() {
        return Exit::Done;
    }
    held_back.sort_unstable();
    complain(&format!(
        "{} had a secret in it and was left out; report this [{}]",
        held_back.join(", "),
        ErrorCode::SecretHeldBack
    ));
    Exit::Bug
}

/// What must not be in it. A file that cannot be read holds nothing that could have been copied.
fn needles(settings: &Settings) -> Needles {
    let mut needles = Needles::default();
    for file in settings.secret_files() {
        if let Ok(content) = std::fs::read_to_string(file.path()) {
            needles.add(&content);
        }
    }
    if let AponoToken::Value(value) = &settings.apono.token {
        needles.add(value.expose_secret());
    }
    needles
}

impl Bundle {
    fn put(&mut self, name: &'static str, content: String) {
        self.parts.push((name, content));
    }

    fn put_or_miss<E: std::error::Error + 'static>(
        &mut self,
        name: &'static str,
        content: Result<String, E>,
    ) {
        match content {
            Ok(content) => self.put(name, content),
            Err(error) => self.miss(name, &chain(&error).to_string()),
        }
    }

    /// Puts pseudonyms, leaves out whatever has a secret in it, and says what was done. What was left out.
    fn finish(&mut self, needles: &Needles) -> Vec<&'static str> {
        let mut names = Pseudonyms::new(SystemEntropy::shared().bytes(), std::mem::take(&mut self.names));
        for (_, content) in &mut self.parts {
            *content = names.put_into(content);
        }
        self.missing = self.missing.iter().map(|line| names.put_into(line)).collect();
        let (fine, found): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.parts).into_iter().partition(|(_, content)| !needles.found_in(content));
        self.parts = fine;
        let held_back: Vec<_> = found.into_iter().map(|(name, _)| name).collect();
        for name in &held_back {
            self.missing.push(format!("{name}: had a secret in it"));
        }
        self.put("missing.txt", self.missing.join("\n"));
        let parts = self.parts.iter().map(|(name, content)| {
            json!({ "name": name, "bytes": content.len(), "sha256": format!("{:x}", Sha256::digest(content)) })
        });
        let manifest = json!({
            "parts": parts.collect::<Vec<_>>(),
            "pseudonyms": names.replaced(),
            "held_back": held_back,
            "missing": self.missing,
        });
        self.put("manifest.json", pretty(&manifest));
        held_back
    }

    /// Each part and its size.
    fn listing(&self) -> Vec<String> {
        let parts = self.parts.iter().map(|(name, content)| format!("{name}: {} bytes", content.len()));
        parts.chain(self.missing.iter().map(|line| format!("not in it: {line}"))).collect()
    }

    fn miss(&mut self, name: &'static str, why: &str) {
        self.missing.push(format!("{name}: {why}"));
    }

    fn configured(&mut self, loaded: Loaded) {
        let warnings = loaded.warnings.iter().map(|warning| format!("# warning: {warning}"));
        let lines: Vec<_> = warnings.chain(shown(&loaded)).collect();
        self.put("configuration.txt", lines.join("\n"));
        let settings = loaded.settings;
        let trail = verify(&settings.audit.file, 0).map(|report| super::audit::told(&report));
        self.put_or_miss("audit.txt", trail);
        let asked = wait_for(async {
            match Client::to_daemon(&settings.state) {
                Ok(Some(client)) => {
                    self.put_or_miss(
                        "status.json",
                        client.read(&["status"], &[]).await.map(|status: Value| pretty(&status)),
                    );
                    self.put_or_miss("metrics.txt", client.text(&["metrics"]).await);
                    let recent = client.read(&["log", "recent"], &[]).await;
                    self.put_or_miss("log.jsonl", recent.map(|recent: Value| log_lines(&recent)));
                }
                Ok(None) => self.miss(LIVE, &chain(&not_here(&settings.state).await).to_string()),
                Err(error) => self.miss(LIVE, &chain(&error).to_string()),
            }
            match grants(&settings.state).await {
                Ok(listing) => {
                    self.names.extend(listing.items.iter().map(|grant| grant.username.clone()));
                    self.put("journal.json", pretty(&summary(&listing)));
                    let grants = serde_json::to_value(listing).map(|listing| pretty(&listing));
                    self.put_or_miss("grants.json", grants);
                }
                Err(error) => self.miss("journal.json, grants.json", &chain(&error).to_string()),
            }
            match Outside::real_for_doctor(&settings) {
                Ok(outside) => {
                    let report = examine(&settings, &outside, Arc::new(ThisHost)).await;
                    self.put("doctor.json", pretty(&json!({ "findings": report.findings })));
                }
                Err(StartError::Https(error)) => {
                    let report = examine_without_connections(&settings, &error, Arc::new(ThisHost)).await;
                    self.put("doctor.json", pretty(&json!({ "findings": report.findings })));
                }
                Err(error) => self.miss("doctor.json", &chain(&error).to_string()),
            }
        });
        if asked.is_err() {
            self.miss("status.json and the rest", "the runtime cannot start");
        }
    }

    fn write(&self, file: File) -> io::Result<()> {
        let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
        let now = SystemClock::shared().now().as_second();
        for (name, content) in &self.parts {
            let mut header = tar::Header::new_gnu();
            header.set_size(u64::try_from(content.len()).map_err(io::Error::other)?);
            header.set_mode(0o600);
            header.set_mtime(u64::try_from(now).unwrap_or(0));
            archive.append_data(
                &mut header,
                format!("apono-connector-support/{name}"),
                content.as_bytes(),
            )?;
        }
        let mut file = archive.into_inner()?.finish()?;
        file.flush()?;
        file.sync_all()
    }
}

/// What only a connector that runs can tell.
const LIVE: &str = "status.json, metrics.txt, log.jsonl";

/// The first page of the open grants.
async fn grants(state: &State) -> Result<Listing, DeskError> {
    Desk::find(state).await?.list(&Filter::default()).await
}

/// How many open grants there are of which kind.
fn summary(listing: &Listing) -> Value {
    let mut states: BTreeMap<&str, u64> = BTreeMap::new();
    for group in listing.items.iter().flat_map(|grant| &grant.groups) {
        *states.entry(group.state.as_str()).or_default() += 1;
    }
    json!({
        "open_grants": listing.items.len(),
        "more_are_open": listing.next.is_some(),
        "over": listing.items.iter().filter(|grant| grant.over.is_some()).count(),
        "memberships_by_state": states,
        "owe_a_removal": listing.items.iter().flat_map(|grant| &grant.groups).filter(|group| group.owes_removal).count(),
    })
}

fn log_lines(recent: &Value) -> String {
    let lines = recent["lines"].as_array().into_iter().flatten().filter_map(Value::as_str);
    lines.collect::<Vec<_>>().join("\n")
}

fn pretty(value: &Value) -> String {
    format!("{value:#}")
}

/// This program and what it runs on.
fn host() -> String {
    let mut text =
        format!("apono-connector {}\nnow: {}\n", env!("CARGO_PKG_VERSION"), SystemClock::shared().now());
    // Each is missing on some system, and none is needed.
    for path in
        ["/proc/version", "/etc/os-release", "/proc/uptime", "/proc/loadavg", "/sys/fs/cgroup/memory.max"]
    {
        if let Ok(content) = std::fs::read_to_string(path) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{path}:\n{}", content.trim_end());
        }
    }
    text
}
