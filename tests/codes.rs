//! Nothing that goes wrong reaches a person without a code of the catalogue.
//!
//! What is written here is read from the source; what the log of a whole connector says is held against the same rule in
//! `tests/it/world.rs`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use apono_connector::telemetry::log::fields::{EVENTS, NOTICES};

/// Errors that say no code, because whatever shows them does.
const SHOWN_WITH_A_CODE: &[(&str, &str)] = &[
    // What is wrong with the configuration: `ConfigError` says that it is.
    ("database/url.rs", "UrlError"),
    ("http/address.rs", "AddressError"),
    ("http/url.rs", "BaseError"),
    ("access/hours.rs", "HoursError"),
    ("scim/attributes.rs", "PathError"),
    ("directory/mapping.rs", "MappingError"),
    // Why an attribute of one user is left out; the warning has the code.
    ("directory/mapping.rs", "Unfit"),
    // `DatabaseError::Away` holds it.
    ("database/error.rs", "Silence"),
    // The log knows no catalogue; whoever sets it up does.
    ("telemetry/log/mod.rs", "LogError"),
    // The warning has the code, and the result has it as its own.
    ("apono/task.rs", "MalformedTask"),
    // What it holds says it.
    ("http/exchange.rs", "AuthorizeError"),
    // A finding in the audit trail; the command says the code once, below all of them.
    ("audit/verify.rs", "What"),
    // `LedgerError`, `TransferError` and the commands hold them.
    ("access/book.rs", "IllegalRecord"),
    ("access/machine.rs", "IllegalEvent"),
    ("access/tasks.rs", "IllegalTaskEvent"),
    // `JournalError` and `OpenError` hold them.
    ("access/journal/sqlite.rs", "Closed"),
    ("access/journal/sqlite/damage.rs", "Damage"),
    ("access/journal/sqlite/damage.rs", "Flaw"),
    ("access/journal/sqlite/rows.rs", "RowError"),
    ("access/journal/postgres/claims.rs", "Away"),
    // `PageError` holds it.
    ("okta/page.rs", "LinkError"),
    // It has `code()`, and whoever names the file says it.
    ("secrets/signing_key/error.rs", "KeyError"),
    ("secrets/signing_key/error.rs", "SignError"),
    // `RunError` and `ApplyError` hold them.
    ("directory/evidence.rs", "Disproof"),
    ("directory/provider.rs", "ProviderError"),
    ("directory/snapshot.rs", "SnapshotError"),
    // The supervisor says that a task has died.
    ("access/leasing.rs", "AnswerDied"),
    ("access/published.rs", "CallDied"),
    ("access/reconciler.rs", "StepDied"),
];

/// Of the others, what is never shown or is the words of an error that has its code.
const VARIANTS_WITHOUT: &[(&str, &str)] = &[
    // The loop ends with it and says nothing.
    ("access/desired.rs", "Stopped"),
    // Each client makes its own error of an answer, and reads it.
    ("http/exchange.rs", "Answered"),
    ("http/exchange.rs", "Unauthorized"),
    // The failure that they hold says it in its text.
    ("setup/proof.rs", "Look"),
    ("setup/proof.rs", "Untried"),
    // `RunError::Evidence` says it.
    ("directory/evidence.rs", "Disproved"),
    // The words of the connector's parts, which have theirs.
    ("cli/sync.rs", "Refused"),
];

#[test]
fn every_error_says_its_code_or_holds_one_that_does() {
    let mut errors = Vec::new();
    for (path, text) in sources() {
        errors.extend(error_texts(&path, &text));
    }
    let is_exempt = |file: &str, name: &str| SHOWN_WITH_A_CODE.contains(&(file, name));
    // These say theirs by hand.
    let mut coded = BTreeSet::from(["ConfigError", "Answer"]);
    coded.extend(
        errors.iter().filter(|error| !is_exempt(&error.file, &error.name)).map(|error| error.name.as_str()),
    );
    let mut wrong = Vec::new();
    for ErrorText { file, name, attribute, rest } in &errors {
        let holds = held_type(attribute, rest).is_some_and(|held| coded.contains(held));
        let variant = first_word(rest);
        if !says_a_code(attribute)
            && !holds
            && !is_exempt(file, name)
            && !VARIANTS_WITHOUT.contains(&(file.as_str(), variant))
        {
            wrong.push(format!("{file}: {name}, {variant}: {attribute}"));
        }
    }
    assert!(errors.len() > 250, "{} texts of errors were found", errors.len());
    assert!(wrong.is_empty(), "they name no code of the catalogue:\n{}", wrong.join("\n"));
    for (file, name) in SHOWN_WITH_A_CODE {
        let is_there = errors.iter().any(|error| error.file == *file && error.name == *name);
        assert!(is_there, "{file} has no {name}: take it out of the list");
    }
}

#[test]
fn every_warning_and_every_error_of_the_log_has_a_code_or_tells_of_no_failure() {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (path, text) in sources() {
        for call in calls(&text, &["warn!(", "error!("]) {
            count += 1;
            let is_notice = NOTICES.iter().any(|name| call.contains(&format!("event = \"{name}\"")));
            if !says_a_code(call) && !shows_an_error(call) && !is_notice {
                wrong.push(format!("{path}: {}", in_one_line(call)));
            }
        }
    }
    assert!(count > 60, "{count} calls were found");
    assert!(wrong.is_empty(), "they name no code of the catalogue:\n{}", wrong.join("\n"));
    for name in NOTICES {
        assert!(EVENTS.iter().any(|event| event.name == *name), "{name} is no event");
    }
}

/// What commands say on standard error where nothing has gone wrong.
const SAID_ASIDE: &[&str] = &[
    "no such grants",
    "the connector goes on removing what is left of it",
    "nothing of this was checked",
    "match &stopped.kept",
    "&note",
    "it was not tried at Okta",
];

#[test]
fn every_complaint_of_a_command_has_a_code() {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (path, text) in sources() {
        if !path.starts_with("cli/") {
            continue;
        }
        for call in calls(&text, &["complain("]) {
            count += 1;
            let shows = [
                "chain(",
                "error.to_string()",
                "&error)",
                "wrong.to_string()",
                "shortfall.to_string()",
                "Shortfall::",
                "warning: {warning}\"",
                "told_with(",
            ];
            let is_aside =
                SAID_ASIDE.iter().any(|aside| call.contains(aside)) || call.starts_with("text: &str");
            if !says_a_code(call) && !shows.iter().any(|error| call.contains(error)) && !is_aside {
                wrong.push(format!("{path}: {}", in_one_line(call)));
            }
        }
    }
    assert!(count > 20, "{count} calls were found");
    assert!(wrong.is_empty(), "they name no code of the catalogue:\n{}", wrong.join("\n"));
}

/// A text of an error: the attribute, and what stands between it and the next.
struct ErrorText {
    file: String,
    name: String,
    attribute: String,
    rest: String,
}

fn error_texts(file: &str, text: &str) -> Vec<ErrorText> {
    const ATTRIBUTE: &str = "#[error(";
    let mut found = Vec::new();
    for (at, _) in text.match_indices(ATTRIBUTE) {
        let attribute = to_the_end(&text[at + ATTRIBUTE.len()..]);
        let after = &text[at + ATTRIBUTE.len() + attribute.len() + ")]".len()..];
        let until = after.find(ATTRIBUTE).into_iter().chain(after.find("\n}")).min().unwrap_or(after.len());
        let rest: Vec<_> =
            after[..until].lines().map(str::trim).filter(|line| !line.starts_with("///")).collect();
        let derive = text[..at].rfind("thiserror::Error").unwrap_or_else(|| panic!("{file}: no derive"));
        let item = text[derive..].split("enum ").flat_map(|part| part.split("struct ")).nth(1).unwrap();
        found.push(ErrorText {
            file: file.to_owned(),
            name: identifier(item).to_owned(),
            attribute: attribute.to_owned(),
            rest: rest.join(" ").trim().to_owned(),
        });
    }
    found
}

/// Whether a text names a code of the catalogue, or of a result to Apono.
fn says_a_code(text: &str) -> bool {
    ["ErrorCode::", "{code}", ".code()", "(malformed_task)"].iter().any(|code| text.contains(code))
}

/// Whether an event carries an error with its causes. One that is written without them may be of any kind.
fn shows_an_error(call: &str) -> bool {
    let carries =
        ["error = %chain(", "error = %causes(", "error = reason", "error = text", "error = message"];
    let said = ["error = complaint", " error,", "\"{}\", chain("];
    call.starts_with("error,") || carries.iter().chain(&said).any(|error| call.contains(error))
}

/// The error that is shown in this one's place, or behind it.
fn held_type<'a>(attribute: &str, rest: &'a str) -> Option<&'a str> {
    let marked = rest.split_once("#[source]").or_else(|| rest.split_once("#[from]")).map(|(_, after)| after);
    let is_passed_on = attribute.trim() == "transparent" || attribute.trim() == "\"{0}\"";
    let held = marked.or_else(|| rest.split_once('(').map(|(_, after)| after).filter(|_| is_passed_on))?;
    let held = held.split([')', ',']).next().unwrap_or_default();
    // `source: Box<Answer>`, `Arc<TokenError>`, `crate::okta::OktaError`.
    let name = held.rsplit([':', '<', ' ']).next().unwrap_or_default();
    Some(name.trim_end_matches('>'))
}

/// What stands in the parentheses of each call of these.
fn calls<'a>(text: &'a str, names: &[&str]) -> Vec<&'a str> {
    let mut found = Vec::new();
    for name in names {
        for (at, _) in text.match_indices(name) {
            let line = text[..at].rsplit('\n').next().unwrap_or_default();
            let is_another = line.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '.');
            if !line.contains("//") && !is_another {
                found.push(to_the_end(&text[at + name.len()..]));
            }
        }
    }
    found
}

/// Up to the parenthesis that closes what was opened before.
fn to_the_end(text: &str) -> &str {
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' if !quoted && depth == 0 => return &text[..at],
            ')' | ']' | '}' if !quoted => depth -= 1,
            _ => {}
        }
    }
    text
}

fn first_word(text: &str) -> &str {
    let declared = text.trim_start_matches("pub struct ").trim_start_matches("struct ");
    identifier(declared)
}

fn identifier(text: &str) -> &str {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default()
}

fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// (path below `src`, text before its tests) of every source file.
fn sources() -> Vec<(String, String)> {
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&source, &mut files);
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let below = path.strip_prefix(&source).unwrap().to_str().unwrap().to_owned();
            (below, text.split("#[cfg(test)]").next().unwrap_or_default().to_owned())
        })
        .filter(|(path, _)| !path.ends_with("tests.rs") && !path.contains("/tests/"))
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
