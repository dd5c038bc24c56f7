//! The fuzz targets' corpora as plain tests: every file as it is, cut, bent and mixed with its neighbours, always in the
//! same way. `cargo fuzz` goes on from there with the same checks.

#[path = "../../fuzz/src/checks/mod.rs"]
mod checks;
mod keys;
mod mutations;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use self::mutations::mutations;

const MANIFEST: &str = include_str!("../../fuzz/Cargo.toml");
const THIS_FILE: &str = include_str!("fuzz.rs");

#[test]
fn no_link_header_leads_elsewhere_or_ends_a_listing_early() {
    run("link_headers", 3000, checks::link_headers);
}

#[test]
fn no_rate_header_makes_anybody_wait_for_long() {
    run("rate_headers", 3000, checks::rate_headers);
}

#[test]
fn no_damaged_key_is_accepted_or_shown() {
    run("signing_key", 1500, checks::signing_key);
    keys::whole_and_damaged(checks::signing_key);
}

#[test]
fn no_body_of_oktas_is_taken_for_less_than_it_is() {
    run("okta_json", 700, checks::okta_json);
}

#[test]
fn no_body_of_a_scim_service_loses_a_resource_or_makes_a_wrong_patch() {
    run("scim_json", 1000, checks::scim_json);
}

#[test]
fn no_text_ends_the_quotes_of_a_filter() {
    run("scim_filter", 1000, checks::scim_filter);
}

#[test]
fn no_task_of_aponos_is_lost_or_half_understood() {
    run("task_envelope", 1500, checks::task_envelope);
}

#[test]
fn no_configuration_is_refused_without_a_place_or_shown_otherwise_than_it_is() {
    run("configuration", 800, checks::configuration);
}

#[test]
fn every_target_has_its_file_its_corpus_and_its_plain_test() {
    let named = MANIFEST.split("[[bin]]").skip(1).map(|part| {
        let value = part.lines().find_map(|line| line.strip_prefix("name = \"")).unwrap();
        value.trim_end_matches('"')
    });
    let named: Vec<_> = named.collect();
    assert!(named.len() >= 8, "{named:?}");
    for name in &named {
        let path = format!("fuzz_targets/{name}.rs");
        assert!(MANIFEST.contains(&format!("path = \"{path}\"")), "{name}");
        let text = fs::read_to_string(folder().join(path)).unwrap();
        assert!(text.contains(&format!("checks::{name}(data)")), "{name} checks something else");
        assert!(seeds(name).len() >= 10, "{name} has too few seeds");
        let plain = THIS_FILE.contains(&format!("run(\"{name}\", "))
            && THIS_FILE.contains(&format!("checks::{name})"));
        assert!(plain, "{name} has no plain test");
    }
    for kind in ["fuzz_targets", "corpus"] {
        for entry in fs::read_dir(folder().join(kind)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert!(named.contains(&name), "{} is nobody's", path.display());
        }
    }
}

/// Runs a check over its corpus and about as many mutations as `cases` says.
fn run(target: &str, cases: usize, check: fn(&[u8])) {
    let seeds = seeds(target);
    assert!(!seeds.is_empty(), "{target} has no corpus");
    let each = cases / seeds.len();
    for (index, (name, seed)) in seeds.iter().enumerate() {
        holds(check, seed, &format!("fuzz/corpus/{target}/{name}"));
        let neighbour = &seeds[(index + 1) % seeds.len()].1;
        for (what, bytes) in mutations(name, seed, neighbour, each) {
            holds(check, &bytes, &format!("fuzz/corpus/{target}/{name}, {what}"));
        }
    }
}

/// A failure names its input; the check has said what is wrong with it.
fn holds(check: impl Fn(&[u8]), bytes: &[u8], what: &str) {
    if catch_unwind(AssertUnwindSafe(|| check(bytes))).is_err() {
        let shown = &bytes[..bytes.len().min(600)];
        panic!("{what} ({} bytes): {}", bytes.len(), shown.escape_ascii());
    }
}

/// (name, content) in a fixed order.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = folder().join("corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let read = |path: &Path| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, fs::read(path).unwrap())
    };
    let mut seeds: Vec<_> = entries.map(|entry| read(&entry.unwrap().path())).collect();
    seeds.sort();
    seeds
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}
