//! # Purpose
//! What `okta setup` leaves for the connector: the configuration, and the command to run.
//!
//! # Invariants kept here
//! - A file that exists is touched only where that was asked for, and never a table of this organization in it.
//!
//! # Not here
//! The text of the table: `setup::table`.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;

use super::Setup;
use crate::catalogue::ErrorCode;
use crate::cli::terminal::note;
use crate::cli::trouble::{Trouble, absolute};
use crate::cli::{Exit, say};
use crate::setup::Surroundings;
use crate::setup::files::{self, PUBLIC};
use crate::setup::table::{Added, AponoKeys, OrganizationTable, add, new_file};

impl Setup<'_> {
    /// Before anything is done: what the configuration needs is known, or can be asked for.
    pub(super) fn check_configuration(&self) -> Result<(), Trouble> {
        let quiet = self.args.dry_run || self.args.print.is_some();
        if quiet || self.args.integration_id.is_some() || self.terminal.is_interactive() || !self.writes() {
            return Ok(());
        }
        let text = "--integration-id is missing: the configuration needs Apono's id of the integration";
        Err(Trouble::usage(text))
    }

    /// Whether the configuration file is written.
    fn writes(&self) -> bool {
        self.args.write_config || (self.sources.file.is_some() && !self.sources.path().exists())
    }

    pub(super) fn write_configuration(&self, surroundings: &Surroundings) -> Result<(), Trouble> {
        let path = absolute(&self.sources.path());
        let mut table = OrganizationTable {
            integration_id: self.args.integration_id.clone().unwrap_or_else(|| "…".to_owned()),
            organization_url: self.base.origin(),
            credentials_file: self.credentials_file.display().to_string(),
            access: !self.args.without_access,
        };
        let text = match fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) if self.writes() => {
                let text = format!("{} cannot be read: {error}", path.display());
                return Err(Trouble::new(Exit::Io, ErrorCode::FileUnreadable, text));
            }
            Err(_) => None,
        };
        let is_there = match &text {
            Some(text) => matches!(add(text, &table), Ok(Added::IsThere)),
            None => false,
        };
        if is_there {
            note(&format!(
                "{} has a table of {} already; it is left as it is",
                path.display(),
                self.base.origin()
            ));
            return Ok(());
        }
        if !self.writes() {
            note(&format!("put this into {}:", path.display()));
            say(table.text().trim());
            return Ok(());
        }
        if self.args.integration_id.is_none() {
            table.integration_id =
                self.terminal.line("Apono's id of this organization's integration", "--integration-id")?;
        }
        let new = match &text {
            None => new_file(&self.apono_keys(), &table),
            Some(text) => match add(text, &table)? {
                Added::Text(text) => text,
                Added::IsThere => return Ok(()),
            },
        };
        let entropy = surroundings.entropy.as_ref();
        if text.is_none() {
            files::create(&path, &new, PUBLIC, entropy)?;
        } else {
            let mode = fs::metadata(&path).map_or(PUBLIC, |metadata| metadata.permissions().mode() & 0o777);
            files::replace(&path, &new, mode, entropy)?;
        }
        note(&format!("done: the organization is in {}", path.display()));
        Ok(())
    }

    /// What is said of Apono on this command line or in the environment.
    fn apono_keys(&self) -> AponoKeys {
        let known = |key: &str, variable: &str| {
            let mut flags = self.sources.flags.iter().filter(|(_, name, _)| name == key);
            let by_flag = flags.next_back().map(|(_, _, value)| value.clone());
            let by_environment = self.sources.environment.get(variable).filter(|value| !value.is_empty());
            by_flag.or_else(|| by_environment.cloned())
        };
        AponoKeys {
            url: known("apono.url", "APONO_URL"),
            connector_id: known("apono.connector_id", "APONO_CONNECTOR_ID"),
            token_file: known("apono.token_file", "APONO_TOKEN_FILE"),
        }
    }

    pub(super) fn next_command(&self) {
        let config = self.sources.file.as_ref();
        let config = config.map(|path| format!(" --config {}", absolute(path).display())).unwrap_or_default();
        say(&format!("next: apono-connector run{config}"));
    }
}
