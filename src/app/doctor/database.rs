//! # Purpose
//! The database that daemons share: the way to it, the role, what is in it, and who else uses it.
//!
//! # Invariants kept here
//! - Nothing is written, and no fleet is joined: what may be written is asked of the server's own tables of rights.
//! - One fault is one failure: what cannot be known after it is skipped.
//!
//! # Not here
//! What is done when it fails: `access::journal`.

use std::error::Error;
use std::io;
use std::time::Duration;

use jiff::Timestamp;
use tokio_postgres::Client;

use super::probe::{Probe, Report};
use crate::app::Outside;
use crate::catalogue::ErrorCode;
use crate::clock::SharedClock;
use crate::config::Settings;
use crate::database::{Database, DatabaseError, DatabaseSettings};
use crate::telemetry::chain;

/// In the order in which they depend on each other.
const ALL: [Probe; 8] = [
    Probe::DatabaseConnect,
    Probe::DatabaseTls,
    Probe::DatabaseRole,
    Probe::DatabaseWrite,
    Probe::DatabaseVersion,
    Probe::DatabaseFormat,
    Probe::DatabaseClock,
    Probe::DatabaseDaemons,
];
/// For one look, from the first packet on.
const LIMIT: Duration = Duration::from_secs(15);
/// `server_version_num` of the oldest that is tried.
const OLDEST: i32 = 150_000;
/// What the connector counts by the database's clock are seconds of silence; what people compare are logs.
const MOST_SKEW: i64 = 5;

/// What the server says.
#[derive(Clone, Debug)]
struct Facts {
    version: (i32, String),
    /// Before it was asked, its own time, and after.
    clock: (Timestamp, Timestamp, Timestamp),
    /// What the role may not do, if anything.
    lacks: Option<String>,
    /// Versions of the daemons that live.
    daemons: Vec<String>,
}

const VERSION: &str = "SELECT current_setting('server_version_num')::int, current_setting('server_version')";
const CLOCK: &str = "SELECT clock_timestamp()";
const MAY_CREATE: &str = "SELECT has_database_privilege(current_database(), 'CREATE')";
const MAY_USE: &str = "SELECT has_schema_privilege('apono_connector', 'USAGE')";
const MAY_NOT_WRITE: &str = "
    SELECT c.relname::text FROM pg_class c
    WHERE c.relnamespace = to_regnamespace('apono_connector') AND c.relname <> 'formats' AND NOT CASE c.relkind
        WHEN 'r' THEN has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
            AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE')
        WHEN 'S' THEN has_sequence_privilege(c.oid, 'USAGE')
        ELSE true END
    ORDER BY 1";
const EXISTS: &str = "SELECT to_regnamespace('apono_connector') IS NOT NULL";
const DAEMONS: &str =
    "SELECT DISTINCT version FROM apono_connector.daemons WHERE alive_until > clock_timestamp() ORDER BY 1";

pub(super) async fn examine(settings: &Settings, outside: &Outside, report: &mut Report) {
    let Some(database) = &settings.state.database else {
        for probe in ALL {
            report.skip(probe, "state.url", "the state is in a file of this host");
        }
        return;
    };
    let target = database.url.to_string();
    match look(database, outside).await {
        Ok(facts) => {
            report.pass(Probe::DatabaseConnect, &target, "it answers");
            tls(database, &target, report);
            report.pass(Probe::DatabaseRole, &target, format!("it takes the user {}", database.url.user()));
            judge(&facts.0, &target, report);
            format(facts.1, &target, report);
        }
        Err(error) => fail(database, &error, &target, report),
    }
    in_order(report);
}

/// What it says, and which format it has.
async fn look(
    settings: &DatabaseSettings,
    outside: &Outside,
) -> Result<(Facts, Result<i32, DatabaseError>), DatabaseError> {
    let database = Database::new(settings)?;
    let clock = &outside.clock;
    let facts = database.run(LIMIT, async |client| ask(client, clock).await).await?;
    let format = match &facts.lacks {
        None => database.format(LIMIT).await,
        Some(_) => Ok(0),
    };
    Ok((facts, format))
}

async fn ask(client: &mut Client, clock: &SharedClock) -> Result<Facts, DatabaseError> {
    let version = client.query_one(VERSION, &[]).await?;
    let before = clock.now();
    let theirs: Timestamp = client.query_one(CLOCK, &[]).await?.try_get(0)?;
    let clock = (before, theirs, clock.now());
    let is = async |sql: &str| Ok::<bool, DatabaseError>(client.query_one(sql, &[]).await?.try_get(0)?);
    let lacks = if !is(EXISTS).await? {
        (!is(MAY_CREATE).await?).then(|| "CREATE on the database".to_owned())
    } else if !is(MAY_USE).await? {
        Some("USAGE on the schema apono_connector".to_owned())
    } else {
        let found = client.query(MAY_NOT_WRITE, &[]).await?;
        let names: Vec<String> = found.iter().map(|row| row.get(0)).collect();
        (!names.is_empty()).then(|| {
            format!("SELECT, INSERT, UPDATE and DELETE (USAGE on sequences) on {}", names.join(", "))
        })
    };
    let knows_daemons = "SELECT to_regclass('apono_connector.daemons') IS NOT NULL";
    let daemons = if lacks.is_none() && is(knows_daemons).await? {
        client.query(DAEMONS, &[]).await?.iter().map(|row| row.get(0)).collect()
    } else {
        Vec::new()
    };
    Ok(Facts { version: (version.try_get(0)?, version.try_get(1)?), clock, lacks, daemons })
}

fn tls(database: &DatabaseSettings, target: &str, report: &mut Report) {
    if database.url.is_plain() {
        report.warn_of(
            Probe::DatabaseTls,
            target,
            "sslmode=disable: everybody on the way reads and can change what is written there",
            "Switch TLS on at the server (`ssl = on`), and leave sslmode out of state.url.",
            ErrorCode::ConfigDoubtful,
        );
    } else if database.url.uses_tls() {
        report.pass(Probe::DatabaseTls, target, "its certificate is that of an authority that is trusted");
    } else {
        report.pass(Probe::DatabaseTls, target, "it is on this host, and no network is crossed");
    }
}

fn judge(facts: &Facts, target: &str, report: &mut Report) {
    match &facts.lacks {
        None => report.pass(Probe::DatabaseWrite, target, "it takes writes, and the role may do them"),
        Some(what) => report.fail(
            Probe::DatabaseWrite,
            target,
            format!("the role has no {what}"),
            ErrorCode::DatabaseRefuses,
        ),
    }
    let (number, version) = &facts.version;
    if *number < OLDEST {
        let detail = format!("it is PostgreSQL {version}; {} is the oldest that is used", OLDEST / 10_000);
        report.fail(Probe::DatabaseVersion, target, detail, ErrorCode::DatabaseTooOld);
    } else {
        report.pass(Probe::DatabaseVersion, target, format!("it is PostgreSQL {version}"));
    }
    let (before, theirs, after) = facts.clock;
    let skew = if theirs < before {
        before.as_second() - theirs.as_second()
    } else {
        (after.as_second() - theirs.as_second()).min(0)
    };
    let detail =
        format!("this host's clock is {} s {}", skew.abs(), if skew < 0 { "behind" } else { "ahead" });
    if skew.abs() <= MOST_SKEW {
        report.pass(Probe::DatabaseClock, target, detail);
    } else {
        let cure = "Let both hosts follow a time server (chrony, systemd-timesyncd).";
        report.warn_of(Probe::DatabaseClock, target, detail, cure, ErrorCode::WrongClock);
    }
    let ours = env!("CARGO_PKG_VERSION");
    let others: Vec<_> = facts.daemons.iter().filter(|version| *version != ours).cloned().collect();
    if others.is_empty() {
        report.pass(
            Probe::DatabaseDaemons,
            target,
            format!("all that live are of version {ours}, as this one"),
        );
    } else {
        report.warn(
            Probe::DatabaseDaemons,
            target,
            format!("this one is of version {ours}, and others live of version {}", others.join(", ")),
            "Bring all daemons to one version; for the time of an upgrade, one after the other, this is as it should be.",
        );
    }
}

fn format(found: Result<i32, DatabaseError>, target: &str, report: &mut Report) {
    match found {
        Ok(0) => report.pass(Probe::DatabaseFormat, target, "no tables yet; the first start makes them"),
        Ok(found) => report.pass(Probe::DatabaseFormat, target, format!("it has format {found}")),
        Err(error) => report.fail(Probe::DatabaseFormat, target, chain(&error).to_string(), error.code()),
    }
}

/// The probe that an error is about; those before it passed, those after it are not known.
fn fail(database: &DatabaseSettings, error: &DatabaseError, target: &str, report: &mut Report) {
    let about = match error {
        DatabaseError::Away { .. } if is_about_writes(error) => Probe::DatabaseWrite,
        DatabaseError::Away { .. } => Probe::DatabaseConnect,
        DatabaseError::Refused { code, .. }
            if *code != ErrorCode::DatabaseRefuses || error.sql_state().is_none() =>
        {
            Probe::DatabaseTls
        }
        DatabaseError::Refused { .. } | DatabaseError::Password(_) => Probe::DatabaseRole,
        DatabaseError::TooNew { .. } => Probe::DatabaseFormat,
        DatabaseError::Statement { .. } => Probe::DatabaseWrite,
        DatabaseError::Bundle { .. } | DatabaseError::Tls(_) => Probe::DatabaseTls,
    };
    // Without the password or the authorities nothing was asked at all.
    let was_asked = matches!(error, DatabaseError::Away { .. } | DatabaseError::Refused { .. });
    let mut is_before = true;
    for probe in ALL {
        if probe == about {
            is_before = false;
            report.fail(probe, target, chain(error).to_string(), error.code());
        } else if is_before && was_asked {
            if probe == Probe::DatabaseTls {
                tls(database, target, report);
            } else {
                report.pass(probe, target, "as far as it was tried");
            }
        } else {
            report.skip(probe, target, "not known while something else about the database fails");
        }
    }
}

/// A server that was reached and takes no writes: a standby, or one that was made read-only.
fn is_about_writes(error: &DatabaseError) -> bool {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<io::Error>().is_some_and(|it| it.kind() == io::ErrorKind::PermissionDenied) {
            return true;
        }
        next = error.source();
    }
    error.sql_state().is_some_and(|state| state.code() == "25006")
}

fn in_order(report: &mut Report) {
    let place = |id: &str| ALL.iter().position(|probe| probe.id() == id);
    if let Some(first) = report.findings.iter().position(|finding| place(finding.id).is_some()) {
        report.findings[first..].sort_by_key(|finding| place(finding.id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::doctor::Verdict;

    fn facts() -> Facts {
        let at = |second| Timestamp::from_second(second).unwrap();
        Facts {
            version: (150_004, "15.4".to_owned()),
            clock: (at(100), at(100), at(101)),
            lacks: None,
            daemons: vec![env!("CARGO_PKG_VERSION").to_owned()],
        }
    }

    fn wrong(change: impl FnOnce(&mut Facts)) -> Vec<(&'static str, Verdict)> {
        let (mut facts, mut report) = (facts(), Report::default());
        change(&mut facts);
        judge(&facts, "x", &mut report);
        assert_eq!(report.findings.len(), 4);
        let wrong = report.findings.iter().filter(|finding| finding.verdict != Verdict::Pass);
        wrong.map(|finding| (finding.id, finding.verdict)).collect()
    }

    #[test]
    fn what_the_server_says_turns_one_probe_each() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(wrong(|_| {}), []);
        let old = |facts: &mut Facts| facts.version = (140_020, "14.20".to_owned());
        assert_eq!(wrong(old), [("database.version", Verdict::Fail)]);
        for (theirs, after) in [(94, 101), (107, 101)] {
            let skewed = |facts: &mut Facts| facts.clock = (at(100), at(theirs), at(after));
            assert_eq!(wrong(skewed), [("database.clock", Verdict::Warn)]);
        }
        assert_eq!(wrong(|facts| facts.clock = (at(100), at(109), at(110))), [], "it took its time");
        let other = |facts: &mut Facts| facts.daemons.push("0.0.1".to_owned());
        assert_eq!(wrong(other), [("database.daemons", Verdict::Warn)]);
        assert_eq!(
            wrong(|facts| facts.lacks = Some("CREATE".to_owned())),
            [("database.write", Verdict::Fail)]
        );
    }
}
