//! Each probe of `doctor` about a database is turned by the fault that it is for, and by no other. What no server can be made
//! to say (an old version, a wrong clock) is tried beside the probe.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use apono_connector::app::Outside;
use apono_connector::app::doctor::{Probe, Report, ThisHost, Verdict, examine};
use apono_connector::catalogue::ErrorCode;
use apono_connector::config::{Sources, load};
use apono_connector::database::Database;
use tokio::net::TcpListener;

use super::postgres::{Base, Cluster, shared};
use super::world::World;

struct Patient {
    world: World,
    url: String,
    ca: Option<PathBuf>,
}

impl Patient {
    fn new(base: &Base) -> Self {
        let world = World::new();
        fs::create_dir(world.path("state")).unwrap();
        Self { world, url: base.url.clone(), ca: base.authority.clone() }
    }

    async fn examine(&self, base: &Base) -> Report {
        let (before, after) = {
            let text = self.world.configuration("");
            let (before, after) = text.split_once("[state]").unwrap();
            (before.to_owned(), after.split_once("[audit]").unwrap().1.to_owned())
        };
        let bundle = self
            .ca
            .as_ref()
            .map_or(String::new(), |ca| format!("[http]\nca_bundle_file = \"{}\"\n", ca.display()));
        let state = format!(
            "[state]\nurl = \"{}\"\npassword_file = \"{}\"\ndirectory = \"{}\"\n",
            self.url,
            base.password_file.display(),
            self.world.path("state").display()
        );
        self.world.write_configuration(&format!("{before}{state}{bundle}[audit]{after}"));
        let file = Some(self.world.path("connector.toml"));
        let settings = load(&Sources { file, ..Sources::default() }).unwrap().settings;
        let outside = Outside::real(&settings).unwrap();
        examine(&settings, &outside, Arc::new(ThisHost)).await
    }
}

fn verdicts(report: &Report) -> BTreeMap<&'static str, Verdict> {
    report.findings.iter().map(|finding| (finding.id, finding.verdict)).collect()
}

/// That `report` is as that of the healthy but for this probe, and what could not be known after it.
fn turned(report: &Report, healthy: &Report, probe: Probe, verdict: Verdict, code: Option<ErrorCode>) {
    let finding = report.findings.iter().find(|finding| finding.id == probe.id()).unwrap();
    assert_eq!((finding.verdict, finding.code), (verdict, code), "{finding:?}");
    assert!(finding.cure.as_ref().is_some_and(|cure| !cure.is_empty()), "{finding:?}");
    assert!(!format!("{report:?}").contains("placeholder-fleet"), "a password");
    let (found, before) = (verdicts(report), verdicts(healthy));
    assert_eq!(found.len(), Probe::ALL.len(), "every probe says something");
    for (id, verdict) in found {
        let may_be_skipped = id.starts_with("database.") && verdict == Verdict::Skip;
        assert!(id == probe.id() || may_be_skipped || verdict == before[id], "{id}: {report:?}");
    }
}

#[tokio::test]
async fn each_fault_of_a_database_turns_its_probe_and_no_other() {
    let cluster = shared();
    let base = cluster.new_database().await;
    let admin = cluster.admin(&base.name).await;
    let mut patient = Patient::new(&base);
    let healthy = patient.examine(&base).await;
    for finding in &healthy.findings {
        let is_right = match finding.id {
            "state.sync" => finding.verdict == Verdict::Skip,
            id if id.starts_with("database.") => finding.verdict == Verdict::Pass,
            _ => true,
        };
        assert!(is_right, "{finding:?}");
    }
    let nothing = "SELECT to_regnamespace('apono_connector') IS NULL";
    assert!(admin.query_one(nothing, &[]).await.unwrap().get::<_, bool>(0), "it has changed nothing");
    let check = |report: &Report, probe, verdict, code| turned(report, &healthy, probe, verdict, code);

    // Nobody listens there.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    patient.url = base.url.replace(&cluster.port().to_string(), &free.to_string());
    let report = patient.examine(&base).await;
    check(&report, Probe::DatabaseConnect, Verdict::Fail, Some(ErrorCode::DatabaseAway));
    // A server without TLS, and one that is used without.
    patient.url = format!("{}?sslmode=require", base.url);
    let report = patient.examine(&base).await;
    check(&report, Probe::DatabaseTls, Verdict::Fail, Some(ErrorCode::DatabaseRefuses));
    // Loopback by a name that does not say so.
    patient.url = format!("{}?sslmode=disable", base.url.replace("127.0.0.1", "127.1"));
    let report = patient.examine(&base).await;
    check(&report, Probe::DatabaseTls, Verdict::Warn, Some(ErrorCode::ConfigDoubtful));
    patient.url.clone_from(&base.url);

    let password = fs::read_to_string(&base.password_file).unwrap();
    base.mount_password("another");
    let report = patient.examine(&base).await;
    check(&report, Probe::DatabaseRole, Verdict::Fail, Some(ErrorCode::DatabaseRefuses));
    fs::remove_file(&base.password_file).unwrap();
    let report = patient.examine(&base).await;
    let healthy_without = |report: &Report| {
        // The file is looked at for itself, too.
        let mut report = report.clone();
        report.findings.retain(|finding| !finding.id.starts_with("secret.others"));
        report
            .findings
            .extend(healthy.findings.iter().filter(|one| one.id.starts_with("secret.others")).cloned());
        report
    };
    check(&healthy_without(&report), Probe::DatabaseRole, Verdict::Fail, Some(ErrorCode::SecretMissing));
    base.mount_password(&password);

    // It may create nothing; it may not write to what was prepared; the server is read-only.
    for statement in [
        format!("ALTER DATABASE {} OWNER TO keeper", base.name),
        format!("REVOKE CREATE ON DATABASE {} FROM {}", base.name, base.name),
    ] {
        admin.batch_execute(&statement).await.unwrap();
    }
    let report = patient.examine(&base).await;
    check(&report, Probe::DatabaseWrite, Verdict::Fail, Some(ErrorCode::DatabaseRefuses));
    admin.batch_execute(&format!("ALTER DATABASE {} OWNER TO {}", base.name, base.name)).await.unwrap();
    Database::new(&base.settings()).unwrap().migrate().await.unwrap();
    for (fault, cure) in [
        ("ALTER TABLE apono_connector.duties OWNER TO keeper", "ALTER TABLE apono_connector.duties OWNER TO"),
        ("ALTER SCHEMA apono_connector OWNER TO keeper", "ALTER SCHEMA apono_connector OWNER TO"),
    ] {
        admin.batch_execute(fault).await.unwrap();
        let report = patient.examine(&base).await;
        check(&report, Probe::DatabaseWrite, Verdict::Fail, Some(ErrorCode::DatabaseRefuses));
        admin.batch_execute(&format!("{cure} {}", base.name)).await.unwrap();
    }
    let read_only = format!("ALTER DATABASE {} SET default_transaction_read_only = on", base.name);
    admin.batch_execute(&read_only).await.unwrap();
    let report = patient.examine(&base).await;
    check(&report, Probe::DatabaseWrite, Verdict::Fail, Some(ErrorCode::DatabaseAway));
    let writable = format!("ALTER DATABASE {} RESET default_transaction_read_only", base.name);
    admin.batch_execute(&writable).await.unwrap();

    let newer = "INSERT INTO apono_connector.formats (format, oldest_reader) VALUES (99, 99)";
    admin.batch_execute(newer).await.unwrap();
    let report = patient.examine(&base).await;
    check(&report, Probe::DatabaseFormat, Verdict::Fail, Some(ErrorCode::StateTooNew));
    admin.batch_execute("DELETE FROM apono_connector.formats WHERE format = 99").await.unwrap();

    let other = "INSERT INTO apono_connector.daemons VALUES ('d-1', 'host-a', '0.0.1', now(), now(), now() + interval '1 h')";
    admin.batch_execute(other).await.unwrap();
    let report = patient.examine(&base).await;
    check(&report, Probe::DatabaseDaemons, Verdict::Warn, None);
    admin.batch_execute("DELETE FROM apono_connector.daemons").await.unwrap();
    assert_eq!(verdicts(&patient.examine(&base).await), verdicts(&healthy));
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_told_as_that() {
    let cluster = Cluster::start_with_tls("localhost");
    let base = cluster.new_database().await;
    let mut patient = Patient::new(&base);
    patient.url = format!("{}?sslmode=verify-full", base.url.replace("127.0.0.1", "localhost"));
    let healthy = patient.examine(&base).await;
    let tls = healthy.findings.iter().find(|finding| finding.id == Probe::DatabaseTls.id()).unwrap();
    assert_eq!(tls.verdict, Verdict::Pass, "{tls:?}");
    patient.url = format!("{}?sslmode=verify-full", base.url);
    let report = patient.examine(&base).await;
    turned(&report, &healthy, Probe::DatabaseTls, Verdict::Fail, Some(ErrorCode::CertificateName));
    patient.url = format!("{}?sslmode=verify-full", base.url.replace("127.0.0.1", "localhost"));
    // The other probe is about the file, which is there no more.
    patient.ca = None;
    let report = patient.examine(&base).await;
    turned(&report, &healthy, Probe::DatabaseTls, Verdict::Fail, Some(ErrorCode::UnknownIssuer));
}
