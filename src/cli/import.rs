//! # Purpose
//! `config import`: makes a configuration out of what installs Apono's own connector: the values file of its chart, or its
//! environment.
//!
//! # Invariants kept here
//! - A token is never printed; it goes into a file of its owner's alone, or stays where it is.
//! - What cannot be taken over is named, and why.
//!
//! # Not here
//! What Apono has not published: its chart's other values. They are named as unknown.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};

use super::{Exit, complain, say};
use crate::catalogue::ErrorCode;

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// A values file of Apono's chart (YAML), or lines of NAME=VALUE as for a container's environment
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Writes the connector token that is in it into this new file, readable by its owner alone
    #[arg(long, value_name = "FILE")]
    token_out: Option<PathBuf>,
}

pub(super) fn import(arguments: &ImportArgs) -> Exit {
    let text = match fs::read_to_string(&arguments.file) {
        Ok(text) => text,
        Err(error) => {
            complain(&format!(
                "{} cannot be read: {error} [{}]",
                arguments.file.display(),
                ErrorCode::FileUnreadable
            ));
            return Exit::Io;
        }
    };
    let found = match Found::read(&text) {
        Ok(found) => found,
        Err(problem) => {
            complain(&format!(
                "{}: {problem}; give the chart's values file, or lines of NAME=VALUE [{}]",
                arguments.file.display(),
                ErrorCode::FileUnreadable
            ));
            return Exit::Config;
        }
    };
    if let (Some(path), Some(token)) = (&arguments.token_out, &found.token)
        && let Err(error) = write_token(path, token)
    {
        complain(&format!("{} cannot be written: {error} [{}]", path.display(), ErrorCode::FileNotWritten));
        return Exit::Io;
    }
    say(found.toml(arguments.token_out.as_deref()).trim_end());
    for note in found.notes(arguments.token_out.as_deref()) {
        complain(&note);
    }
    Exit::Done
}

fn write_token(path: &Path, token: &SecretString) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(token.expose_secret().as_bytes())?;
    file.sync_all()
}

/// What was found.
#[derive(Default)]
struct Found {
    url: Option<String>,
    connector_id: Option<String>,
    token: Option<SecretString>,
    parallelism: Option<i64>,
    /// Named and left behind: what, and why.
    left: Vec<(String, &'static str)>,
}

const OF_THE_CHART: &str = "the chart helm/apono-connector has it under the same name";
const OF_THE_ENVIRONMENT: &str = "it is read from the environment under the same name";
const NOT_NEEDED: &str = "this connector has no use for it";
const UNKNOWN: &str = "Apono has not published what it is";

impl Found {
    fn read(text: &str) -> Result<Self, String> {
        let is_environment =
            text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        if is_environment.clone().next().is_some() && is_environment.clone().all(is_assignment) {
            let mut found = Self::default();
            for (name, value) in is_environment.filter_map(|line| line.split_once('=')) {
                found.variable(name.trim().trim_start_matches("export ").trim(), unquoted(value))?;
            }
            return Ok(found);
        }
        let values: Value = serde_yaml_ng::from_str(text).map_err(|error| {
            // The message may quote the file, and a token is in it.
            error.location().map_or_else(
                || "it is not YAML".to_owned(),
                |at| format!("it is not YAML (line {}, column {})", at.line(), at.column()),
            )
        })?;
        let Value::Object(values) = values else {
            return Err("it holds no values".to_owned());
        };
        let mut found = Self::default();
        for (name, value) in &values {
            found.value(name, value)?;
        }
        Ok(found)
    }

    fn value(&mut self, name: &str, value: &Value) -> Result<(), String> {
        match (name, value) {
            ("apono", Value::Object(apono)) => {
                for (name, value) in apono {
                    match name.as_str() {
                        "token" => self.token = text(value).map(SecretString::from),
                        "connectorId" => self.connector_id = text(value),
                        "url" => self.url = text(value),
                        other => self.left.push((format!("apono.{other}"), UNKNOWN)),
                    }
                }
            }
            ("image" | "serviceAccount" | "resources", _) => self.left.push((name.to_owned(), OF_THE_CHART)),
            ("env" | "extraEnv", Value::Object(variables)) => {
                for (name, value) in variables {
                    self.variable(name, &text(value).unwrap_or_default())?;
                }
            }
            (other, _) => self.left.push((other.to_owned(), UNKNOWN)),
        }
        Ok(())
    }

    fn variable(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "APONO_TOKEN" => self.token = Some(SecretString::from(value)).filter(|_| !value.is_empty()),
            "APONO_CONNECTOR_ID" => self.connector_id = Some(value.to_owned()),
            "APONO_URL" => self.url = Some(value.to_owned()),
            "APONO_ACTIONS_PARALLELISM" if value.is_empty() => {}
            "APONO_ACTIONS_PARALLELISM" => {
                self.parallelism = Some(value.parse().map_err(|_| format!("{name} is not a number"))?);
            }
            "CONNECTOR_METADATA" => self.left.push((name.to_owned(), OF_THE_ENVIRONMENT)),
            "APONO_ACTIONS_QUEUE_SIZE" | "TEMPLATES_PATH" | "APONO_WEBSOCKET_SSL" => {
                self.left.push((name.to_owned(), NOT_NEEDED));
            }
            _ => self.left.push((name.to_owned(), UNKNOWN)),
        }
        Ok(())
    }

    /// The configuration, with what only an operator knows to be filled in.
    fn toml(&self, token: Option<&Path>) -> String {
        let mut apono = Table::new();
        if let Some(url) = &self.url {
            apono["url"] = value(url);
        }
        apono["connector_id"] =
            value(self.connector_id.as_deref().unwrap_or("FILL IN: this connector's name at Apono"));
        let file =
            token.map_or_else(|| "/run/secrets/apono/token".to_owned(), |path| path.display().to_string());
        apono["token_file"] = value(file);
        let mut okta = Table::new();
        okta["integration_id"] = value("FILL IN: the id of the integration at Apono");
        okta["organization_url"] = value("https://FILL-IN.okta.com");
        okta["credentials_file"] = value("/run/secrets/okta/credentials.json");
        if let Some(parallelism) = self.parallelism {
            let mut access = Table::new();
            access["parallelism"] = value(parallelism);
            okta["access"] = Item::Table(access);
        }
        let mut organizations = ArrayOfTables::new();
        organizations.push(okta);
        let mut document = DocumentMut::new();
        document["apono"] = Item::Table(apono);
        document["okta"] = Item::ArrayOfTables(organizations);
        document.to_string()
    }

    fn notes(&self, token: Option<&Path>) -> Vec<String> {
        let mut notes = Vec::new();
        match (&self.token, token) {
            (Some(_), None) => notes.push(
                "the connector token is in this file: --token-out FILE writes it to where apono.token_file can read it"
                    .to_owned(),
            ),
            (None, _) => notes.push("there is no connector token in this file; apono.token_file needs one".to_owned()),
            (Some(_), Some(_)) => {}
        }
        notes.extend(self.left.iter().map(|(name, why)| format!("{name} is not taken over: {why}")));
        notes.push("next: fill in what says so, or let `apono-connector okta setup` do it, then `apono-connector doctor`".to_owned());
        notes
    }
}

/// `NAME=VALUE`, perhaps after `export`.
fn is_assignment(line: &str) -> bool {
    let line = line.strip_prefix("export ").unwrap_or(line);
    line.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
    })
}

fn unquoted(value: &str) -> &str {
    let value = value.trim();
    let inner = |quote: char| value.strip_prefix(quote).and_then(|value| value.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}

/// A value that is no nothing; YAML takes some names for numbers.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: &str = "apono:\n  token: placeholder-token\n  connectorId: prod-okta\n  url: api.apono.io\n\
                          image: { registry: registry.example, name: x, tag: v1 }\nresources: {}\nnodeSelector: {}\n";

    #[test]
    fn a_values_file_becomes_a_configuration_and_its_token_is_not_shown() {
        let found = Found::read(VALUES).unwrap();
        let toml = found.toml(None);
        assert_eq!(
            toml,
            "[apono]\nurl = \"api.apono.io\"\nconnector_id = \"prod-okta\"\ntoken_file = \"/run/secrets/apono/token\"\n\n\
             [[okta]]\nintegration_id = \"FILL IN: the id of the integration at Apono\"\n\
             organization_url = \"https://FILL-IN.okta.com\"\ncredentials_file = \"/run/secrets/okta/credentials.json\"\n"
        );
        let notes = found.notes(None).join("\n");
        assert!(!toml.contains("placeholder") && !notes.contains("placeholder"));
        for said in [
            "--token-out",
            "image is not taken over: the chart",
            "nodeSelector is not taken over: Apono has not",
        ] {
            assert!(notes.contains(said), "{notes}");
        }
        assert_eq!(found.token.unwrap().expose_secret(), "placeholder-token");
    }

    #[test]
    fn an_environment_becomes_the_same() {
        let text = "# of the container\nexport APONO_TOKEN='placeholder-token'\nAPONO_CONNECTOR_ID=\"prod-okta\"\n\
                    APONO_ACTIONS_PARALLELISM=4\nTEMPLATES_PATH=/app/x\nCONNECTOR_METADATA={\"region\":\"x\"}\n";
        let found = Found::read(text).unwrap();
        let toml = found.toml(Some(Path::new("/etc/t")));
        assert!(
            toml.contains("token_file = \"/etc/t\"") && toml.contains("[okta.access]\nparallelism = 4"),
            "{toml}"
        );
        let notes = found.notes(Some(Path::new("/etc/t"))).join("\n");
        assert!(
            notes.contains("TEMPLATES_PATH is not taken over: this connector")
                && !notes.contains("--token-out")
        );
        assert!(Found::read("APONO_ACTIONS_PARALLELISM=many").is_err());
    }

    #[test]
    fn what_is_neither_is_refused_without_a_word_of_it() {
        for text in [
            "[apono]\nplaceholder-token = 1",
            "- placeholder-token",
            "apono: [placeholder-token",
            "",
            "\u{0}",
        ] {
            let problem = Found::read(text).err().unwrap_or_else(|| panic!("{text:?} was taken"));
            assert!(!problem.contains("placeholder"), "{problem}");
        }
    }

    #[test]
    fn a_token_goes_into_a_new_file_of_its_owner() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let token = SecretString::from("placeholder-token");
        write_token(&path, &token).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(write_token(&path, &token).is_err(), "what is there is not written over");
    }
}
