use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;
use serde_json::Value;

use super::ocsf::{LONGEST_LIST, LONGEST_TEXT};
use super::*;
use crate::domain::{ConnectorId, OktaUserId, RequestContext, Revision};

pub(super) fn connector() -> ConnectorId {
    ConnectorId::from("connector-1")
}

pub(super) fn instant(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + seconds).unwrap()
}

/// A record with everything in it.
pub(super) fn record(kind: Kind) -> AuditRecord {
    AuditRecord {
        kind,
        grant: "grant-1".into(),
        revision: Revision(3),
        integration: "integration-1".into(),
        username: "ada@example.com".to_owned(),
        user: Some(OktaUserId::from("00u1")),
        group: "00g1".into(),
        expires_at: Some(instant(3600)),
        request: RequestContext {
            id: Some("request-1".to_owned()),
            friendly_id: Some("AR-123".to_owned()),
            justification: Some("to \"look\"\nat the \u{7f}\u{1f} ünïcode \u{2028} 🗝".to_owned()),
            requester: Some("ada@example.com".to_owned()),
            approvers: vec!["grace@example.com".to_owned()],
        },
        code: Some("granted".into()),
        detail: Some("as it was asked".to_owned()),
        verified: Some(true),
        before: MemberState::NotStanding,
        after: MemberState::Member,
        okta_request_ids: vec!["Zx1".to_owned(), "Zx2".to_owned()],
    }
}

/// As little as a record can have.
pub(super) fn bare(kind: Kind) -> AuditRecord {
    AuditRecord {
        user: None,
        expires_at: None,
        request: RequestContext::default(),
        code: None,
        detail: None,
        verified: None,
        before: MemberState::Unknown,
        after: MemberState::Unknown,
        okta_request_ids: Vec::new(),
        ..record(kind)
    }
}

pub(super) fn batch(kinds: &[Kind], from: i64) -> Vec<(Timestamp, AuditRecord)> {
    (from..).zip(kinds).map(|(second, kind)| (instant(second), record(*kind))).collect()
}

pub(super) fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(super) fn kinds(path: &Path) -> Vec<String> {
    let kind = |line: Value| line["unmapped"]["kind"].as_str().unwrap().to_owned();
    lines(path).into_iter().map(kind).collect()
}

fn documents() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

fn schema() -> jsonschema::Validator {
    let text = fs::read_to_string(documents().join("audit.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&text).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
}

fn check(schema: &jsonschema::Validator, line: &Value) {
    let wrong: Vec<_> =
        schema.iter_errors(line).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(wrong.is_empty(), "{line:#}\n{}", wrong.join("\n"));
}

/// A trail with each kind of record, each kind of note, and rotated files.
async fn every_kind(folder: &Path) -> PathBuf {
    let path = folder.join("audit.jsonl");
    let trail = AuditTrail::open(&path, connector(), instant(0)).await.unwrap().rotating_at(150_000);
    for round in 0..7 {
        let records = Kind::ALL.iter().flat_map(|kind| [record(*kind), bare(*kind)]);
        let records = records.map(|record| (instant(round), record)).collect();
        trail.append(records).await.unwrap();
    }
    trail.close(instant(10)).await.unwrap();
    drop(trail);
    // A crash in a write, and a lost head.
    let mut text = fs::read(&path).unwrap();
    text.extend_from_slice(b"{\"seq\":");
    fs::write(&path, text).unwrap();
    fs::remove_file(folder.join("audit.jsonl.head")).unwrap();
    AuditTrail::open(&path, connector(), instant(11)).await.unwrap();
    path
}

#[tokio::test]
async fn every_kind_of_line_is_as_the_schema_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = every_kind(folder.path()).await;
    let schema = schema();
    let mut seen = BTreeSet::new();
    for file in files::Paths::new(&path).all().unwrap() {
        for line in lines(&file) {
            check(&schema, &line);
            seen.insert(line["metadata"]["event_code"].as_str().unwrap().to_owned());
        }
    }
    let notes = ["begun", "continued", "checkpoint", "recovered"];
    let all: BTreeSet<_> =
        Kind::ALL.iter().map(|kind| kind.as_str()).chain(notes).map(str::to_owned).collect();
    assert_eq!(seen, all);
    let found = verify(&path, 0).unwrap();
    let what: Vec<_> = found.findings.iter().map(|finding| &finding.what).collect();
    assert_eq!(what, [&What::HeadWasLost]);
    assert!(found.files > 1, "{found:?}");
}

#[test]
fn the_schema_refuses_what_is_not_ours() {
    let schema = schema();
    let good = Value::Object(ocsf::event(&record(Kind::Added), instant(0), 1, &connector()));
    let sealed = |mut value: Value| {
        value["seq"] = 1.into();
        value["prev"] = "0".repeat(64).into();
        value["hash"] = "a".repeat(64).into();
        value
    };
    check(&schema, &sealed(good.clone()));
    let wrong = |change: &dyn Fn(&mut Value)| {
        let mut line = sealed(good.clone());
        change(&mut line);
        assert!(!schema.is_valid(&line), "{line:#}");
    };
    wrong(&|line| line["activity_id"] = 4.into());
    wrong(&|line| line["class_uid"] = 3005.into());
    wrong(&|line| line["unmapped"]["kind"] = "else".into());
    wrong(&|line| line["hash"] = "A".repeat(64).into());
    wrong(&|line| line["more"] = 1.into());
    wrong(&|line| line["unmapped"]["more"] = 1.into());
    wrong(&|line| line["group"] = Value::Null);
}

#[test]
fn effects_are_ocsf_activities_and_nothing_else_is() {
    for kind in Kind::ALL {
        let event = ocsf::event(&record(*kind), instant(0), 7, &connector());
        let activity = match kind {
            Kind::Added => 3,
            Kind::Removed => 4,
            Kind::Requested
            | Kind::Revised
            | Kind::EndRequested
            | Kind::AdditionIntended
            | Kind::AdditionVerified
            | Kind::RemovalIntended
            | Kind::Released
            | Kind::Refused
            | Kind::StandingNoticed
            | Kind::MissingNoticed
            | Kind::AdditionNoticed => 99,
        };
        assert_eq!(event["activity_id"], activity);
        assert_eq!(event["type_uid"], 300_600 + activity);
        assert_eq!(event["metadata"]["sequence"], 7);
        assert_eq!(event["time_dt"], instant(0).to_string());
    }
}

#[test]
fn a_record_of_any_size_is_a_line_that_can_be_read() {
    let long = "\u{1}".repeat(2 * LONGEST_TEXT);
    let mut large = record(Kind::Refused);
    large.username.clone_from(&long);
    large.detail = Some(long.clone());
    large.request.justification = Some(long.clone());
    large.request.approvers = vec![long.clone(); 2 * LONGEST_LIST];
    large.okta_request_ids = vec![long; 2 * LONGEST_LIST];
    let event = ocsf::event(&large, instant(0), 1, &connector());
    let approvers = event["unmapped"]["request"]["approvers"].as_array().unwrap();
    assert_eq!(approvers.len(), LONGEST_LIST + 1);
    assert!(event["status_detail"].as_str().unwrap().ends_with('…'));
    let (line, _) = chain::seal(&Link::start(), event);
    assert!((line.len() as u64) < files::LONGEST_LINE, "{}", line.len());

    let waiting = ocsf::cut(large.clone());
    assert_eq!(
        ocsf::event(&waiting, instant(0), 1, &connector()),
        ocsf::event(&large, instant(0), 1, &connector())
    );
    assert_eq!(ocsf::cut(record(Kind::Refused)), record(Kind::Refused));
    let size = |record: &AuditRecord| serde_json::to_string(record).unwrap().len();
    assert!(size(&waiting) < size(&large) / 3, "{} of {}", size(&waiting), size(&large));
}

/// The script that `docs/audit.md` gives to auditors, run on what was written.
#[tokio::test]
async fn an_auditor_can_check_the_chain_without_this_program() {
    let folder = tempfile::tempdir().unwrap();
    let path = every_kind(folder.path()).await;
    let text = fs::read_to_string(documents().join("audit.md")).unwrap();
    let after = text.split_once("```python\n").unwrap().1;
    let script = folder.path().join("check.py");
    fs::write(&script, after.split_once("```").unwrap().0).unwrap();
    let mut files = files::Paths::new(&path).all().unwrap();
    files.sort_by_key(|file| lines(file)[0]["seq"].as_u64());
    assert!(files.len() > 1);
    let run = || {
        let output = Command::new("python3").arg(&script).args(&files).output().unwrap();
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (output.status.success(), text.concat())
    };
    let found = verify(&path, 0).unwrap();
    let (good, said) = run();
    assert!(good, "{said}");
    assert!(said.contains(&format!("{} {}", found.end.seq, found.end.hash)), "{said}");

    let changed = fs::read_to_string(&path).unwrap().replacen("grace@", "grice@", 1);
    fs::write(&path, changed).unwrap();
    let (good, said) = run();
    assert!(!good, "{said}");
}

/// A record that waits for the trail is kept in the same words.
#[test]
fn a_record_that_waits_is_what_it_was() {
    for kind in Kind::ALL {
        for record in [record(*kind), bare(*kind)] {
            let text = serde_json::to_string(&record).unwrap();
            assert!(text.contains(&format!("\"kind\":\"{}\"", kind.as_str())), "{text}");
            assert!(text.contains(&format!("\"before\":\"{}\"", record.before.as_str())), "{text}");
            let read: AuditRecord = serde_json::from_str(&text).unwrap();
            assert_eq!(read, record);
            let line = |record| ocsf::event(record, instant(0), 1, &connector());
            assert_eq!(line(&read), line(&record));
        }
    }
}

#[tokio::test]
async fn the_memory_fails_on_demand() {
    let memory = MemoryAudit::default();
    memory.append(batch(&[Kind::Added], 0)).await.unwrap();
    memory.break_writes(true);
    assert!(matches!(memory.append(batch(&[Kind::Removed], 1)).await, Err(AuditError::Write { .. })));
    assert!(memory.prove(instant(1)).await.is_err());
    memory.break_writes(false);
    memory.prove(instant(2)).await.unwrap();
    assert_eq!(memory.records(), batch(&[Kind::Added], 0));
}
