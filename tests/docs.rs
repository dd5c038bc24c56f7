//! What the documents say is what the program does.
//!
//! `UPDATE_DOCS=1 cargo test --test docs` rewrites the generated parts.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]
#![expect(clippy::disallowed_methods, reason = "a switch for whoever regenerates the documents")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use apono_connector::apono::Code;
use apono_connector::app::doctor::Probe;
use apono_connector::catalogue::{Again, Entry, ErrorCode, Said, entries};
use apono_connector::cli::Exit;
use apono_connector::config::schema::{KEYS, Kind};
use apono_connector::config::{Sources, load};
use apono_connector::directory::mapping::DEFAULT;
use apono_connector::scim::Quirk;
use apono_connector::telemetry::log::fields::{self, COMMON, EVENTS, FIELDS, Field, Named};
use serde_json::{Value, json};

#[test]
fn the_readme_lists_every_configuration_key() {
    let mut table = String::from("| key | default | meaning |\n| --- | --- | --- |\n");
    for key in KEYS {
        let environment = key.env.map(|name| format!(" (`{name}`)")).unwrap_or_default();
        let default = key.default.map_or_else(String::new, |default| format!("`{default}`"));
        let choices = match key.kind {
            Kind::Choice(choices) => format!(" One of {}.", choices.join(", ")),
            Kind::Text
            | Kind::File
            | Kind::List
            | Kind::Map
            | Kind::Bool
            | Kind::Integer { .. }
            | Kind::Share
            | Kind::Duration
            | Kind::Listen
            | Kind::Endpoint => String::new(),
        };
        writeln!(table, "| `{}`{environment} | {default} | {}{choices} |", key.path, key.doc).unwrap();
    }
    check_part("README.md", "configuration", &table);
}

#[test]
fn the_readme_lists_every_exit_code() {
    let mut table = String::from("| code | means |\n| --- | --- |\n");
    for exit in Exit::ALL {
        writeln!(table, "| {} | {} |", exit.code(), exit.meaning()).unwrap();
    }
    check_part("README.md", "exit codes", &table);
}

#[test]
fn the_architecture_lists_every_result_code() {
    let mut table = String::from("| code | status | can asking again help? |\n| --- | --- | --- |\n");
    for code in Code::ALL {
        let again = if code.retry_helps() { "yes" } else { "no" };
        writeln!(table, "| `{}` | {} | {again} |", code.as_str(), code.status().as_str()).unwrap();
    }
    check_part("docs/ARCHITECTURE.md", "codes", &table);
}

/// The contract's list is closed, and so is the connector's.
#[test]
fn every_result_code_of_the_contract_has_its_entry() {
    let text = fs::read_to_string(root().join("docs/connector-api.yaml")).unwrap();
    let contract: Value = serde_yaml_ng::from_str(&text).unwrap();
    let mut in_the_contract = BTreeSet::new();
    codes_of(
        &contract,
        &contract["components"]["schemas"]["ResultRequest"]["properties"]["code"],
        &mut in_the_contract,
    );
    let known: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str().to_owned()).collect();
    assert_eq!(in_the_contract, known);
    for code in Code::ALL {
        let entry = ErrorCode::of_result(code.as_str()).and_then(ErrorCode::entry);
        let entry = entry.unwrap_or_else(|| panic!("{} has no entry", code.as_str()));
        let helps = entry.again == Again::WhenAskedAgain;
        assert_eq!(helps, code.retry_helps(), "{}: {}", code.as_str(), entry.code);
    }
    for said in entries().flat_map(|entry| entry.said) {
        if let Said::Result(code) = said {
            assert!(known.contains(*code), "{code} is no code of a result");
        }
    }
}

/// The words that a schema allows, through its references.
fn codes_of(contract: &Value, schema: &Value, found: &mut BTreeSet<String>) {
    found.extend(
        schema["enum"].as_array().into_iter().flatten().filter_map(|word| Some(word.as_str()?.to_owned())),
    );
    for part in schema["anyOf"].as_array().into_iter().flatten() {
        codes_of(contract, part, found);
    }
    if let Some(path) = schema["$ref"].as_str() {
        codes_of(contract, contract.pointer(path.trim_start_matches('#')).unwrap(), found);
    }
}

#[test]
fn the_document_about_errors_lists_every_code() {
    let mut text = String::new();
    for entry in entries() {
        let Entry { code, title, cause, cure, page, again, said } = entry;
        writeln!(text, "### {code} {title}\n\n{cause}\n\n**Cure.** {cure}\n").unwrap();
        if let Some(page) = page {
            writeln!(text, "**Where.** {page}\n").unwrap();
        }
        writeln!(text, "**Does trying again help?** {}\n", again.as_str()).unwrap();
        if !said.is_empty() {
            let said: Vec<_> = said.iter().map(ToString::to_string).collect();
            writeln!(text, "**Said as** {}\n", said.join("; ")).unwrap();
        }
    }
    check_part("docs/errors.md", "errors", &text);
}

#[test]
fn the_document_about_logs_lists_every_field_and_every_event() {
    let mut table = String::from("| field | holds | meaning |\n| --- | --- | --- |\n");
    for Field { name, kind, meaning } in COMMON.iter().chain(FIELDS) {
        writeln!(table, "| `{name}` | {} | {meaning} |", kind.as_str()).unwrap();
    }
    check_part("docs/logging.md", "fields", &table);
    let mut table =
        String::from("| event | what has happened | what it asks of you |\n| --- | --- | --- |\n");
    for Named { name, meaning, then } in EVENTS {
        writeln!(table, "| `{name}` | {meaning} | {then} |").unwrap();
    }
    check_part("docs/logging.md", "events", &table);
}

#[test]
fn the_schema_of_the_log_is_the_dictionary() {
    let property = |field: &Field| {
        let mut property = json!({ "type": field.kind.as_str(), "description": field.meaning });
        match field.name {
            "timestamp" => {
                property["pattern"] = json!("^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{6}Z$");
            }
            "level" => property["enum"] = json!(["ERROR", "WARN", "INFO", "DEBUG", "TRACE"]),
            "code" => property["pattern"] = json!("^AOC-\\d{4}$"),
            "event" => property["enum"] = json!(EVENTS.iter().map(|event| event.name).collect::<Vec<_>>()),
            _ if field.kind == fields::Kind::Count => property["minimum"] = json!(0),
            _ => {}
        }
        (field.name.to_owned(), property)
    };
    let required: Vec<_> = COMMON.iter().map(|field| field.name).collect();
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of the log with log.format = \"json\"",
        "description": "Libraries speak at warnings and above, with fields of their own.",
        "type": "object",
        "required": required,
        "if": { "properties": { "target": { "pattern": "^apono_connector(::|$)" } } },
        "then": {
            "properties": COMMON.iter().chain(FIELDS).map(property).collect::<serde_json::Map<_, _>>(),
            "additionalProperties": false,
        },
        "else": { "properties": COMMON.iter().map(property).collect::<serde_json::Map<_, _>>() },
    });
    check_file("docs/log.schema.json", &format!("{schema:#}\n"));
}

#[test]
fn the_document_about_doctor_lists_every_probe() {
    let mut table = String::from("| probe | as it should be |\n| --- | --- |\n");
    for probe in Probe::ALL {
        writeln!(table, "| `{}` | {} |", probe.id(), probe.about()).unwrap();
    }
    check_part("docs/doctor.md", "probes", &table);
}

#[test]
fn the_document_about_the_directory_shows_the_default_mapping() {
    let mut table = String::from("| Okta | SCIM |\n| --- | --- |\n");
    for (attribute, path) in DEFAULT {
        writeln!(table, "| `{attribute}` | `{path}` |").unwrap();
    }
    check_part("docs/directory.md", "mapping", &table);
}

#[test]
fn the_document_about_scim_lists_every_quirk() {
    let mut table = String::from("| quirk | how it is noticed | what follows |\n| --- | --- | --- |\n");
    for quirk in Quirk::ALL {
        writeln!(table, "| `{}` | {} | {} |", quirk.as_str(), quirk.noticed(), quirk.then()).unwrap();
    }
    check_part("docs/scim.md", "quirks", &table);
}

#[test]
fn the_example_configuration_is_valid_and_shows_the_defaults() {
    let path = root().join("config/connector.toml");
    let example = Sources { file: Some(path.clone()), ..Sources::default() };
    let shown = load(&example).unwrap_or_else(|error| panic!("{error}"));
    // With every comment that is a key switched on, nothing changes.
    let text = fs::read_to_string(path).unwrap();
    let full: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(key) if key.contains(" = ") && !key.contains('{') => format!("{key}\n"),
            Some(_) | None => format!("{line}\n"),
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let full_path = folder.path().join("connector.toml");
    fs::write(&full_path, full).unwrap();
    let all = load(&Sources { file: Some(full_path), ..Sources::default() })
        .unwrap_or_else(|error| panic!("{error}"));
    let values = |loaded: apono_connector::config::Loaded| -> BTreeMap<_, _> {
        loaded.effective.into_iter().map(|one| (one.key, one.value)).collect()
    };
    assert_eq!(values(shown), values(all));
}

#[test]
fn every_test_that_the_documents_name_exists() {
    let mut sources = String::new();
    for folder in ["src", "tests", "simulator"] {
        read_all(&root().join(folder), &mut sources);
    }
    for (file, part, least) in [
        ("docs/ARCHITECTURE.md", "invariants", 20),
        ("docs/field-failures.md", "failures", 60),
        ("docs/fleet.md", "failures", 8),
        ("docs/security-model.md", "threats", 15),
    ] {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let part = part_of(&text, part).unwrap_or_else(|| panic!("{file} has no part {part}"));
        let quoted = part.split('`').skip(1).step_by(2);
        let mut named = 0;
        for name in quoted.filter(|name| name.contains('_') && !name.contains('.')) {
            let function = name.rsplit("::").next().unwrap();
            assert!(sources.contains(&format!("fn {function}(")), "{file}: there is no test {name}");
            named += 1;
        }
        assert!(named > least, "{file}: {named}");
    }
}

#[test]
fn every_failure_in_the_field_has_a_source_and_a_test() {
    let text = fs::read_to_string(root().join("docs/field-failures.md")).unwrap();
    let part = part_of(&text, "failures").unwrap_or_else(|| panic!("no part failures"));
    let rows = part.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| **"));
    for row in rows.skip(2) {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").collect();
        let [failure, kept_away, proof] = cells.as_slice() else {
            panic!("not three cells: {row}");
        };
        assert!(failure.contains("](https://") && !kept_away.trim().is_empty(), "{row}");
        assert!(proof.trim().starts_with('`'), "no test: {row}");
    }
}

fn check_part(file: &str, name: &str, wanted: &str) {
    let path = root().join(file);
    let text = fs::read_to_string(&path).unwrap();
    let found = part_of(&text, name).unwrap_or_else(|| panic!("{file} has no part {name}"));
    if found.trim() == wanted.trim() {
        return;
    }
    assert!(
        std::env::var_os("UPDATE_DOCS").is_some(),
        "{file} is not up to date; run UPDATE_DOCS=1 cargo test --test docs"
    );
    let begin = format!("<!-- {name}: begin -->");
    let (before, after) = text.split_once(&begin).unwrap();
    fs::write(path, format!("{before}{begin}\n{wanted}{}", &after[found.len()..])).unwrap();
}

fn check_file(file: &str, wanted: &str) {
    let path = root().join(file);
    if fs::read_to_string(&path).unwrap_or_default() == wanted {
        return;
    }
    assert!(
        std::env::var_os("UPDATE_DOCS").is_some(),
        "{file} is not up to date; run UPDATE_DOCS=1 cargo test --test docs"
    );
    fs::write(path, wanted).unwrap();
}

fn part_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let after = text.split_once(&format!("<!-- {name}: begin -->"))?.1;
    Some(after.split_once(&format!("<!-- {name}: end -->"))?.0)
}

fn read_all(path: &std::path::Path, into: &mut String) {
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
