//! # Purpose
//! `support-bundle`: one file with what a person who helps needs to know.
//!
//! # Invariants kept here
//! - No secret: keys hold paths, and no file that a secret is in is copied.
//! - A part that cannot be had is named with its reason; the rest is written all the same.
//! - The file can be read by its owner alone, and replaces none that is there.
//!
//! # Not here
//! Sending it: a person does, after a look.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::config::shown;
use super::desk::{Client, Desk, DeskError};
use super::runtime::wait_for;
use super::{Exit, complain, say};
use crate::access::view::Filter;
use crate::app::Outside;
use crate::app::doctor::{ThisHost, examine};
use crate::audit::verify;
use crate::catalogue::ErrorCode;
use crate::clock::SystemClock;
use crate::config::{Loaded, Sources, load};
use crate::telemetry::chain;

#[derive(Debug, Args)]
pub(super) struct SupportArgs {
    /// The file to write: a compressed archive (.tar.gz)
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// What was found, by name of file, and what was not.
#[derive(Default)]
struct Bundle {
    parts: Vec<(&'static str, String)>,
    missing: Vec<String>,
}

const ABOUT: &str = "\
What apono-connector knows about itself on this host, for a person who helps.

No secret is in here: the configuration names files, and what is in those files was not copied.
Names are: of this host's folders, of the organization, of groups, and of users who have grants or whose data a SCIM
service refused. Look through it before you hand it on.
";

pub(super) fn support_bundle(arguments: &SupportArgs, sources: &Sources) -> Exit {
    let file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&arguments.out) {
        Ok(file) => file,
        Err(error) => {
            let is_there = error.kind() == io::ErrorKind::AlreadyExists;
            let code = if is_there { ErrorCode::FileInTheWay } else { ErrorCode::FileNotWritten };
            complain(&format!("{} cannot be written: {error} [{code}]", arguments.out.display()));
            return Exit::Io;
        }
    };
    let mut bundle = Bundle::default();
    bundle.put("about.txt", ABOUT.to_owned());
    bundle.put("host.txt", host());
    match load(sources) {
        Ok(loaded) => bundle.configured(loaded),
        Err(error) => bundle.put("configuration-error.txt", error.to_string()),
    }
    bundle.put("missing.txt", bundle.missing.join("\n"));
    match bundle.write(file) {
        Ok(()) => {
            let names: Vec<_> = bundle.parts.iter().map(|(name, _)| *name).collect();
            say(&format!("{}: {}", arguments.out.display(), names.join(", ")));
            Exit::Done
        }
        Err(error) => {
            // Half of it would be in the way of the next.
            let _ = std::fs::remove_file(&arguments.out);
            let code = ErrorCode::FileNotWritten;
            complain(&format!("{} cannot be written: {error} [{code}]", arguments.out.display()));
            Exit::Io
        }
    }
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
                }
                Ok(None) => self.miss("status.json, metrics.txt", "the connector does not run"),
                Err(error) => self.miss("status.json, metrics.txt", &chain(&error).to_string()),
            }
            self.put_or_miss("grants.json", grants(&settings.state).await);
            match Outside::real(&settings) {
                Ok(outside) => {
                    let report = examine(&settings, &outside, Arc::new(ThisHost)).await;
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

/// The first page of the open grants.
async fn grants(state: &crate::config::State) -> Result<String, DeskError> {
    let desk = Desk::find(&state.file, state.socket())?;
    let listing = desk.list(&Filter::default()).await?;
    serde_json::to_value(listing).map(|listing| pretty(&listing)).map_err(DeskError::Unreadable)
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
