//! # Purpose
//! Puts the organization's table into a configuration file.
//!
//! # Invariants kept here
//! - Pure. What is in the file stays as it is, comments included; a table of this organization is never changed.
//!
//! # Not here
//! What the keys mean: `config`.

use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, TomlError, value};

use crate::catalogue::ErrorCode;
use crate::http::url::Base;

/// The keys of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrganizationTable {
    /// Apono's id of the integration.
    pub integration_id: String,
    /// The organization's address.
    pub organization_url: String,
    /// Where client id and private key are.
    pub credentials_file: String,
    /// Whether grants are carried out.
    pub access: bool,
}

/// What a new file says of Apono, as far as that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AponoKeys {
    /// `apono.url`.
    pub url: Option<String>,
    /// `apono.connector_id`.
    pub connector_id: Option<String>,
    /// `apono.token_file`.
    pub token_file: Option<String>,
}

/// What became of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Added {
    /// Its new text.
    Text(String),
    /// It has a table of this organization, which is left as it is.
    IsThere,
}

/// The file cannot take the table.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// No TOML.
    #[error("the configuration file is not TOML [{code}]", code = ErrorCode::ConfigInvalid)]
    Syntax(#[source] TomlError),
    /// Written another way.
    #[error(
        "the configuration file has `okta` as something else than [[okta]] tables; put the table into it by hand [{code}]",
        code = ErrorCode::ConfigInvalid
    )]
    Shape,
}

impl TableError {
    /// What it is.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Syntax(_) | Self::Shape => ErrorCode::ConfigInvalid,
        }
    }
}

impl OrganizationTable {
    /// As text, to be pasted.
    pub fn text(&self) -> String {
        let mut document = DocumentMut::new();
        let mut tables = ArrayOfTables::new();
        tables.push(self.table());
        document.insert("okta", Item::ArrayOfTables(tables));
        document.to_string()
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.insert("integration_id", value(&self.integration_id));
        table.insert("organization_url", value(&self.organization_url));
        table.insert("credentials_file", value(&self.credentials_file));
        if !self.access {
            let mut access = Table::new();
            access.insert("enabled", value(false));
            table.insert("access", Item::Table(access));
        }
        table
    }
}

/// The text of a new file.
pub fn new_file(apono: &AponoKeys, table: &OrganizationTable) -> String {
    let key = |name: &str, known: &Option<String>, example: &str, what: &str| match known {
        Some(known) => format!("{name} = {}\n", toml_edit::Value::from(known.as_str())),
        None => format!("# {name} = {example:?}   # {what}\n"),
    };
    let mut text = String::from("# Every key: apono-connector config schema\n[apono]\n");
    if apono.url.is_some() {
        text.push_str(&key("url", &apono.url, "", ""));
    }
    text.push_str(&key(
        "connector_id",
        &apono.connector_id,
        "okta-connector",
        "required, or APONO_CONNECTOR_ID",
    ));
    let token = "/run/secrets/apono/token";
    text.push_str(&key("token_file", &apono.token_file, token, "required, or APONO_TOKEN_FILE"));
    format!("{text}\n{}", table.text())
}

/// Adds the table to the text of a file.
pub fn add(text: &str, table: &OrganizationTable) -> Result<Added, TableError> {
    let mut document: DocumentMut = text.parse().map_err(TableError::Syntax)?;
    let tables = document.entry("okta").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    let tables = tables.as_array_of_tables_mut().ok_or(TableError::Shape)?;
    let origin = |url: &str| Base::parse(url).map_or_else(|_| url.to_owned(), |base| base.origin());
    let wanted = origin(&table.organization_url);
    let is_there = tables.iter().any(|other| {
        other.get("organization_url").and_then(Item::as_str).is_some_and(|url| origin(url) == wanted)
    });
    if is_there {
        return Ok(Added::IsThere);
    }
    let mut new = table.table();
    new.decor_mut().set_prefix("\n");
    tables.push(new);
    Ok(Added::Text(document.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> OrganizationTable {
        OrganizationTable {
            integration_id: "int-1".into(),
            organization_url: "https://example.okta.com".into(),
            credentials_file: "/etc/x \"y\".json".into(),
            access: false,
        }
    }

    #[test]
    fn a_table_is_added_behind_the_others_and_nothing_else_changes() {
        let before = "# mine\n[apono]\nurl = 'x' # theirs\n[[okta]]\norganization_url = \"other.okta.com\"\n[okta.scim]\nbase_url = \"y\"\n[log]\nlevel = \"info\"\n";
        let Added::Text(after) = add(before, &table()).unwrap() else { panic!("it was not there") };
        for line in before.lines() {
            assert!(after.contains(line), "{line} is lost:\n{after}");
        }
        let read: DocumentMut = after.parse().unwrap();
        let tables = read["okta"].as_array_of_tables().unwrap();
        assert_eq!(tables.len(), 2);
        assert_eq!(tables.get(1).unwrap()["credentials_file"].as_str(), Some("/etc/x \"y\".json"));
        assert_eq!(tables.get(1).unwrap()["access"]["enabled"].as_bool(), Some(false));
        assert_eq!(read["log"]["level"].as_str(), Some("info"));
        assert_eq!(add(&after, &table()).unwrap(), Added::IsThere);
    }

    #[test]
    fn an_organization_is_known_however_its_address_is_written() {
        for url in ["example.okta.com", "https://EXAMPLE.okta.com/"] {
            let text = format!("[[okta]]\norganization_url = \"{url}\"\n");
            assert_eq!(add(&text, &table()).unwrap(), Added::IsThere, "{url}");
        }
        assert!(matches!(add("okta = []", &table()), Err(TableError::Shape)));
        assert!(matches!(add("= x", &table()), Err(TableError::Syntax(_))));
    }

    #[test]
    fn a_new_file_says_what_is_known_and_shows_what_is_missing() {
        let known = AponoKeys { connector_id: Some("c\"1".into()), ..AponoKeys::default() };
        let text = new_file(&known, &table());
        let read: DocumentMut = text.parse().unwrap();
        assert_eq!(read["apono"]["connector_id"].as_str(), Some("c\"1"));
        assert!(text.contains("# token_file = \"/run/secrets/apono/token\""), "{text}");
        assert_eq!(read["okta"].as_array_of_tables().unwrap().len(), 1);
    }
}
