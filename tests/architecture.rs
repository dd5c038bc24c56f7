//! Dependencies point one way. The table here *is* the map in `docs/ARCHITECTURE.md`; an arrow against it fails.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use apono_connector::telemetry::log::fields::{EVENTS, FIELDS};

/// Which modules of the crate a module may name.
const ALLOWED: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("clock", &[]),
    ("entropy", &[]),
    ("telemetry", &["clock"]),
    ("catalogue", &[]),
    ("secrets", &["catalogue", "clock", "telemetry"]),
    ("http", &["catalogue", "clock", "entropy", "secrets", "telemetry"]),
    ("database", &["catalogue", "clock", "http", "secrets", "telemetry"]),
    ("okta", &["catalogue", "http", "domain", "clock", "entropy", "secrets", "telemetry"]),
    ("setup", &["catalogue", "okta", "http", "domain", "clock", "entropy", "secrets", "telemetry"]),
    ("apono", &["catalogue", "http", "domain", "clock", "secrets", "telemetry"]),
    ("scim", &["catalogue", "http", "domain"]),
    ("audit", &["catalogue", "domain", "telemetry"]),
    ("fleet", &["clock", "database", "domain", "http", "telemetry"]),
    (
        "access",
        &["catalogue", "fleet", "okta", "apono", "audit", "database", "http", "domain", "clock", "telemetry"],
    ),
    ("directory", &["catalogue", "database", "okta", "scim", "http", "domain", "clock", "telemetry"]),
    ("runtime", &["catalogue", "clock", "telemetry"]),
    ("server", &["directory", "http", "secrets", "telemetry"]),
    (
        "config",
        &["catalogue", "access", "database", "directory", "okta", "http", "domain", "secrets", "telemetry"],
    ),
    (
        "app",
        &[
            "access",
            "catalogue",
            "audit",
            "database",
            "fleet",
            "directory",
            "server",
            "okta",
            "apono",
            "scim",
            "http",
            "config",
            "runtime",
            "domain",
            "clock",
            "entropy",
            "secrets",
            "telemetry",
        ],
    ),
    (
        "cli",
        &[
            "app",
            "catalogue",
            "database",
            "setup",
            "directory",
            "config",
            "access",
            "audit",
            "runtime",
            "domain",
            "telemetry",
            "clock",
            "entropy",
            "http",
            "secrets",
        ],
    ),
    ("main", &["cli"]),
];

#[test]
fn dependencies_point_one_way() {
    let allowed: BTreeMap<_, BTreeSet<_>> =
        ALLOWED.iter().map(|(module, others)| (*module, others.iter().copied().collect())).collect();
    let mut wrong = Vec::new();
    for (module, path, text) in sources() {
        let Some(may) = allowed.get(module.as_str()) else {
            panic!("{module} is not in the table");
        };
        let root = if module == "main" { "apono_connector::" } else { "crate::" };
        for named in named_modules(&text, root) {
            let known = allowed.contains_key(named.as_str());
            if known && named != module && !may.contains(named.as_str()) {
                wrong.push(format!("{} names {named}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "against the table:\n{}", wrong.join("\n"));
}

#[test]
fn the_table_has_no_circle_and_access_and_directory_do_not_know_each_other() {
    let table: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    for (module, _) in ALLOWED {
        assert!(!reaches(&table, module, module), "{module} depends on itself");
    }
    assert!(!reaches(&table, "access", "directory"));
    assert!(!reaches(&table, "directory", "access"));
}

fn reaches(table: &BTreeMap<&str, &[&str]>, from: &str, to: &str) -> bool {
    table[from].iter().any(|next| *next == to || reaches(table, next, to))
}

/// Pure modules: values in, values out.
#[test]
fn pure_modules_have_no_async_and_no_clock() {
    let pure = [
        "src/domain",
        "src/catalogue",
        "src/http/address.rs",
        "src/http/classify.rs",
        "src/http/echo.rs",
        "src/http/obstacle.rs",
        "src/http/peer_clock.rs",
        "src/http/proxy.rs",
        "src/http/retry.rs",
        "src/http/url.rs",
        "src/http/budget/claim.rs",
        "src/http/budget/headers.rs",
        "src/http/budget/ledger.rs",
        "src/fleet/lot.rs",
        "src/http/budget/slices.rs",
        "src/okta/page.rs",
        "src/okta/assertion.rs",
        "src/scim/attributes.rs",
        "src/scim/patch.rs",
        "src/access/additions.rs",
        "src/access/machine.rs",
        "src/access/book.rs",
        "src/access/calls.rs",
        "src/access/conditions.rs",
        "src/access/deadlines.rs",
        "src/access/hours.rs",
        "src/access/schedule.rs",
        "src/access/policy.rs",
        "src/access/intake.rs",
        "src/access/tasks.rs",
        "src/access/gate.rs",
        "src/access/overlay.rs",
        "src/access/view.rs",
        "src/access/audited.rs",
        "src/access/untold.rs",
        "src/audit/record.rs",
        "src/audit/note.rs",
        "src/audit/ocsf.rs",
        "src/audit/chain.rs",
        "src/directory/plan.rs",
        "src/directory/plan",
        "src/directory/breaker.rs",
        "src/directory/mapping.rs",
        "src/directory/progress.rs",
        "src/directory/selection.rs",
        "src/setup/found.rs",
        "src/setup/plan.rs",
        "src/setup/step.rs",
        "src/setup/refusal.rs",
        "src/setup/say.rs",
        "src/setup/table.rs",
        "src/server/readiness.rs",
        "src/server/history.rs",
        "src/telemetry/log/forms.rs",
        "src/telemetry/log/levels.rs",
        "src/telemetry/log/repeats.rs",
        "src/telemetry/metrics/classic.rs",
        "src/cli/support/pseudonyms.rs",
        "src/cli/support/scan.rs",
        "src/config/validate.rs",
        "src/config/validate/custom.rs",
        "src/config/validate/state.rs",
        "src/database/url.rs",
    ];
    for name in pure {
        for path in rust_files(&root().join(name)) {
            let text = without_tests(&fs::read_to_string(&path).unwrap());
            for banned in ["async fn", ".await", "SharedClock", ".now()", ".elapsed()", "tokio::"] {
                assert!(!text.contains(banned), "{} is pure, but has {banned:?}", path.display());
            }
        }
    }
}

/// The directory side cannot change Okta: the type it is given has no method that writes.
#[test]
fn the_directory_holds_only_the_read_handle() {
    for path in rust_files(&root().join("src/directory")) {
        let text = fs::read_to_string(&path).unwrap();
        for line in text.lines().filter(|line| line.contains("okta::")) {
            for handle in ["Memberships", "Organization"] {
                assert!(!line.contains(handle), "{}: {line}", path.display());
            }
        }
    }
    let handle = fs::read_to_string(root().join("src/okta/directory.rs")).unwrap();
    for write in [".put(", ".delete(", "Method::PUT", "Method::DELETE", "Method::POST"] {
        assert!(!handle.contains(write), "the read handle has {write}");
    }
}

#[test]
fn every_module_opens_with_its_three_headings() {
    for (_, path, text) in sources() {
        let is_tests =
            path.ends_with("tests.rs") || path.ends_with("contract.rs") || path.ends_with("main.rs");
        let is_root = path.ends_with("src/lib.rs");
        if is_tests || is_root {
            continue;
        }
        for heading in ["//! # Purpose", "//! # Invariants kept here", "//! # Not here"] {
            assert!(text.contains(heading), "{} has no {heading:?}", path.display());
        }
    }
}

/// A field that is not in the dictionary would be one that nobody can look up.
#[test]
fn every_field_and_event_of_the_log_is_in_its_dictionary_and_written_somewhere() {
    let (mut fields, mut events) = (BTreeSet::new(), BTreeSet::new());
    for (_, path, text) in sources() {
        if path.ends_with("telemetry/log/fields.rs") {
            continue;
        }
        for argument in event_arguments(&without_tests(&text)) {
            let (name, value) = match argument.split_once(" = ") {
                Some((name, value)) => (name, value),
                None => (argument.trim_start_matches(['%', '?']), ""),
            };
            fields.insert(name.to_owned());
            if name == "event" {
                events.insert(value.trim_matches('"').to_owned());
            }
        }
    }
    // These come with every line that has them.
    fields.extend(["code", "repeats"].map(str::to_owned));
    let listed: BTreeSet<_> = FIELDS.iter().map(|field| field.name.to_owned()).collect();
    assert_eq!(fields, listed, "left: what the source writes; right: what the dictionary lists");
    let listed: BTreeSet<_> = EVENTS.iter().map(|event| event.name.to_owned()).collect();
    assert_eq!(events, listed, "left: what the source writes; right: what the dictionary lists");
}

/// What stands before the message in each call of a macro of `tracing`.
fn event_arguments(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for name in ["error!(", "warn!(", "info!(", "debug!(", "trace!("] {
        for (at, _) in text.match_indices(name) {
            // Not the end of another macro's name, and not a comment.
            let line = text[..at].rsplit('\n').next().unwrap_or_default();
            if line.contains("//") || line.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                continue;
            }
            found.extend(arguments(&text[at + name.len()..]));
        }
    }
    found
}

/// The arguments up to the first that is a text, or the end of the call.
fn arguments(text: &str) -> Vec<String> {
    let (mut arguments, mut argument, mut depth, mut quoted) = (Vec::new(), String::new(), 0, false);
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '"' if depth == 0 && argument.trim().is_empty() && !quoted => return arguments,
            '\\' if quoted => {
                argument.push(c);
                argument.extend(characters.next());
                continue;
            }
            '"' => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' | ']' | '}' if !quoted && depth == 0 => break,
            ')' | ']' | '}' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                arguments.push(std::mem::take(&mut argument).trim().to_owned());
                continue;
            }
            _ => {}
        }
        argument.push(c);
    }
    let last = argument.trim();
    if !last.is_empty() {
        arguments.push(last.to_owned());
    }
    arguments
}

/// What no test can count: a label whose values nobody has thought of. A word of the source is one of finitely many.
#[test]
fn a_label_is_a_word_of_the_source_or_an_organization() {
    let mut labels = 0;
    for (_, path, text) in sources() {
        assert!(!text.contains("leak("), "{}: words of the source are not made at run time", path.display());
        for derived in text.split("EncodeLabelSet)]\n").skip(1) {
            let body = derived.split_once("{\n").and_then(|(_, rest)| rest.split_once("\n}")).unwrap().0;
            for line in body.lines().map(str::trim).filter(|line| !line.starts_with("///")) {
                let is_bounded = line.ends_with(": &'static str,") || line == "pub integration: String,";
                assert!(is_bounded, "{}: {line}", path.display());
                labels += 1;
            }
        }
    }
    assert!(labels > 20, "{labels}");
}

/// What the compiler is told of some of them by `never_shown!`, for all of them, private or not.
#[test]
fn what_holds_a_secret_is_neither_displayed_nor_serialized() {
    /// Types that keep what they hold to themselves.
    const CLOSED: [&str; 13] = [
        "SecretString",
        "SecretBox",
        "SecretValue",
        "SigningKey",
        "Signer",
        "EncodingKey",
        "Credentials",
        "GeneratedKey",
        "AponoToken",
        "ExpectedToken",
        "MountedToken",
        "Minted",
        "Proxies",
    ];
    /// Types, and members, that would print it.
    const OPEN: [&str; 7] = [
        "Members<",
        "Zeroizing<",
        "BigUint",
        "EcdsaKeyPair",
        "RawValue",
        "access_token: String",
        "environment: BTreeMap<String, String>",
    ];
    let mut guarded = 0;
    for (_, path, text) in sources() {
        let text = without_tests(&text);
        for Definition { name, derives, body } in definitions(&text) {
            let words: BTreeSet<_> = body.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
            let is_open = OPEN.iter().any(|part| body.contains(part));
            if !is_open && !CLOSED.iter().any(|word| words.contains(word)) {
                continue;
            }
            guarded += 1;
            let at = format!("{name} in {}", path.display());
            assert!(!derives.contains("Serialize"), "{at} is serialized");
            for shown in ["fmt::Display for", "Display for", "Serialize for"] {
                let shows = |rest: &str| identifier(rest.trim_start()) == name;
                assert!(!text.split(shown).skip(1).any(shows), "{at} has an implementation of {shown} it");
            }
            assert!(!(is_open && derives.contains("Debug")), "{at} would print the secret");
        }
    }
    assert!(guarded > 25, "{guarded}");
}

struct Definition<'a> {
    name: String,
    derives: String,
    body: &'a str,
}

/// Every structure and enumeration, with what it derives.
fn definitions(text: &str) -> Vec<Definition<'_>> {
    let mut found = Vec::new();
    for word in ["struct ", "enum "] {
        for (at, _) in text.match_indices(word) {
            let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
            let before = text[line..at].trim();
            if !before.is_empty() && !before.starts_with("pub") {
                continue;
            }
            let rest = &text[at + word.len()..];
            // A tuple's ends with the line, or with its bracket; the others' with the first bracket at their own depth.
            let indent = &text[line..line + text[line..].len() - text[line..].trim_start().len()];
            let first = rest.lines().next().unwrap_or_default();
            let closed = if first.ends_with('{') { format!("\n{indent}}}") } else { ";".to_owned() };
            let body = rest.split(&closed).next().unwrap_or_default();
            let body: &str = body.strip_prefix(&identifier(rest)).unwrap_or(body);
            let attributes = text[..line].lines().rev().map(str::trim);
            let attributes = attributes.take_while(|line| line.starts_with("#[") || line.starts_with("///"));
            let derives = attributes.filter(|line| line.starts_with("#[derive")).collect();
            found.push(Definition { name: identifier(rest), derives, body });
        }
    }
    found
}

#[test]
fn no_file_grows_past_what_one_can_hold_in_the_head() {
    for (_, path, text) in sources() {
        let lines = without_tests(&text).lines().count();
        assert!(lines <= 600, "{} has {lines} lines; find the seam", path.display());
    }
}

/// (top-level module, path, text) of every source file.
fn sources() -> Vec<(String, PathBuf, String)> {
    let source = root().join("src");
    rust_files(&source)
        .into_iter()
        .filter(|path| !path.ends_with("lib.rs"))
        .map(|path| {
            let below = path.strip_prefix(&source).unwrap();
            let first = below.components().next().unwrap().as_os_str().to_str().unwrap();
            let module = first.trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).unwrap();
            (module, path, text)
        })
        .collect()
}

/// The modules behind `crate::…`, also in grouped imports.
fn named_modules(text: &str, root: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for (at, _) in text.match_indices(root) {
        let rest = &text[at + root.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let inside = &group[..group.find('}').unwrap_or(group.len())];
            named.extend(inside.split(',').map(|part| identifier(part.trim())));
        } else {
            named.insert(identifier(rest));
        }
    }
    named
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

/// The text before a file's own tests.
fn without_tests(text: &str) -> String {
    text.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
}

fn rust_files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() || path.extension().is_some_and(|extension| extension == "rs") {
            files.extend(rust_files(&path));
        }
    }
    files.sort();
    files
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
