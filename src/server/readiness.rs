//! # Purpose
//! Decides from plain facts whether the connector is live and ready, and says why not.
//!
//! # Invariants kept here
//! - Pure. An outage of a peer does not make the connector unready once it has worked; a fault that a person must mend
//!   does.
//!
//! # Not here
//! HTTP.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::directory::DirectoryRun;
use crate::directory::progress::Progress;
use crate::directory::store::Failing;

/// What is so now.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// This program's version.
    pub version: &'static str,
    /// The operator's name for this connector.
    pub connector_id: String,
    /// When the process started.
    pub started_at: Timestamp,
    /// Whether the journal took the last record.
    pub journal_writable: bool,
    /// How long ago that was found out.
    pub journal_checked: Duration,
    /// How often the audit trail did not take what it was told.
    pub audit_failures: u64,
    /// How long ago the slowest loop looked at its work.
    pub slowest_loop: Duration,
    /// Apono.
    pub apono: PeerFact,
    /// The last try to reach it.
    pub apono_reached: Option<Reached>,
    /// Results on disk that Apono has not accepted.
    pub results_pending: usize,
    /// One entry an organization.
    pub organizations: Vec<OrganizationFacts>,
    /// The daemons that share the state; nothing where it is this one's alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetFacts>,
}

/// What is so among the daemons that share a state.
#[derive(Clone, Debug, Serialize)]
pub struct FleetFacts {
    /// The database, without a password.
    pub database: String,
    /// Whether it answered when this daemon said last that it lives.
    pub answers: bool,
    /// How long ago this daemon was heard last.
    pub heard: Duration,
    /// Entries of the journal that this daemon did not know yet then.
    pub entries_behind: u64,
    /// The last entry that this daemon knows of.
    pub entries_known: i64,
    /// This daemon, by one run of its process.
    pub this_daemon: String,
    /// All daemons that were heard within a day.
    pub daemons: Vec<DaemonFacts>,
}

/// One daemon of several.
#[derive(Clone, Debug, Serialize)]
pub struct DaemonFacts {
    /// By one run of its process.
    pub id: String,
    /// Its host's name.
    pub host: String,
    /// Its version.
    pub version: String,
    /// When its process began.
    pub started_at: Timestamp,
    /// For how long it was not heard.
    pub silent: Duration,
    /// Whether it counts as there; what one that does not had is the others'.
    pub lives: bool,
}

/// Whose an organization is, among several daemons.
#[derive(Clone, Debug, Serialize)]
pub struct OwnerFacts {
    /// The daemon, by one run of its process.
    pub daemon: String,
    /// Its host's name, where it was heard within a day.
    pub host: Option<String>,
    /// Whether that is this daemon.
    pub is_this: bool,
    /// Whether it counts as there. One that does not owns nothing any more, even if nobody has taken over yet.
    pub lives: bool,
    /// Counts the changes of owner.
    pub epoch: i64,
}

/// What is so in one organization.
#[derive(Clone, Debug, Serialize)]
pub struct OrganizationFacts {
    /// Apono's id.
    pub integration_id: String,
    /// Okta's address.
    pub organization_url: String,
    /// The token.
    pub token: TokenFact,
    /// When it expires.
    pub token_expires_at: Option<Timestamp>,
    /// The last try to reach Okta.
    pub reached: Option<Reached>,
    /// Okta's clock less this host's.
    pub clock_skew_seconds: Option<i64>,
    /// Memberships that grants hold.
    pub live_memberships: usize,
    /// Removals that are due and not proven done.
    pub removals_due: usize,
    /// Why a removal waits for a person, if one does.
    pub removal_stuck: Option<String>,
    /// Why no grant begins, if one could not.
    pub grants_stopped: Option<Stopped>,
    /// (bucket, limit, left) of each rate limit bucket that was used.
    pub budget: Vec<(&'static str, u32, u32)>,
    /// The last directory run.
    pub last_directory_run: Option<DirectoryRun>,
    /// Its directory, where that is reconciled.
    pub directory: Option<DirectoryFacts>,
    /// Which of several daemons runs its directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<OwnerFacts>,
}

impl OrganizationFacts {
    /// Whether another daemon runs its directory.
    pub(super) fn is_anothers(&self) -> bool {
        self.owner.as_ref().is_some_and(|owner| !owner.is_this)
    }
}

/// What is so with one organization's directory.
#[derive(Clone, Debug, Serialize)]
pub struct DirectoryFacts {
    /// How far the run is that goes on, if one does.
    pub progress: Option<Progress>,
    /// The objects that an operation failed for when it was tried last.
    pub failing: Failing,
}

/// The last try to reach a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Reached {
    /// Whether there was an answer, of whatever kind.
    pub answered: bool,
    /// How long ago.
    pub age: Duration,
}

/// Why no grant begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stopped {
    /// One sentence.
    pub message: String,
    /// Whether the operator wants it so.
    pub wanted: bool,
}

/// How it stands with a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum TokenFact {
    /// None was asked for yet.
    Unknown,
    /// There is one.
    Held,
    /// There is one, and Okta did not grant these scopes.
    ScopesMissing {
        /// Which.
        scopes: Vec<&'static str>,
    },
    /// There is none because Okta cannot be reached.
    Unreachable {
        /// Why.
        reason: String,
        /// Whether there was one before.
        worked_before: bool,
    },
    /// There is none because Okta refuses.
    Refused {
        /// Why, and what to do.
        reason: String,
    },
}

/// How it stands with a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum PeerFact {
    /// Not asked yet.
    Unknown,
    /// Answers.
    Connected,
    /// Does not answer; that passes.
    Unreachable {
        /// Why.
        reason: String,
    },
    /// Refuses us; a person must mend something.
    Refused {
        /// Why.
        reason: String,
    },
}

/// The verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Whether every check that counts holds.
    pub ready: bool,
    /// All of them.
    pub checks: Vec<Check>,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// `journal`, `apono`, `token of 069cf551-…`.
    pub name: String,
    /// Whether it holds.
    pub ok: bool,
    /// One sentence.
    pub message: String,
    /// How long ago that was so, where it was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
    /// The age at which it no longer counts, and the check fails by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_seconds: Option<u64>,
}

/// The journal is looked at every half minute, and each second while it fails; one that was not for this long hangs.
const JOURNAL_LOOK: Duration = Duration::from_mins(2);

/// A loop that has not looked at its work for this long is stuck.
pub(super) const STUCK: Duration = Duration::from_secs(30);

/// Whether the process makes progress.
pub fn is_live(facts: &Facts) -> bool {
    facts.slowest_loop < STUCK
}

/// The same in one line: what holds, or the first thing that does not.
pub fn one_line(facts: &Facts) -> String {
    let Readiness { checks, .. } = readiness(facts);
    if let Some(check) = checks.iter().find(|check| !check.ok) {
        return format!("not ready: {}: {}", check.name, check.message);
    }
    let live: usize = facts.organizations.iter().map(|one| one.live_memberships).sum();
    let due: usize = facts.organizations.iter().map(|one| one.removals_due).sum();
    let apono = match &facts.apono {
        PeerFact::Unknown => "Apono not asked yet",
        PeerFact::Connected => "connected to Apono",
        PeerFact::Unreachable { .. } => "Apono unreachable",
        PeerFact::Refused { .. } => "refused by Apono",
    };
    format!("ready; {apono}; {live} memberships held by grants, {due} removals due")
}

/// Whether the connector can end grants.
pub fn readiness(facts: &Facts) -> Readiness {
    let check = |name: &str, ok: bool, message: String| Check {
        name: name.to_owned(),
        ok,
        message,
        age_seconds: None,
        expires_seconds: None,
    };
    let mut checks = vec![
        journal(facts),
        Check {
            age_seconds: Some(facts.slowest_loop.as_secs()),
            expires_seconds: Some(STUCK.as_secs()),
            ..check(
                "loops",
                is_live(facts),
                format!("the slowest loop looked {} s ago", facts.slowest_loop.as_secs()),
            )
        },
        network(facts),
        match &facts.apono {
            PeerFact::Unknown => check("apono", true, "not asked yet".to_owned()),
            PeerFact::Connected => check("apono", true, "connected".to_owned()),
            PeerFact::Unreachable { reason } => {
                check("apono", true, format!("{reason}; grants end on time without it"))
            }
            PeerFact::Refused { reason } => check("apono", false, reason.clone()),
        },
    ];
    for organization in &facts.organizations {
        let name = format!("token of {}", organization.integration_id);
        checks.push(match &organization.token {
            TokenFact::Unknown => check(&name, false, "none was asked for yet".to_owned()),
            TokenFact::Held => check(&name, true, "held".to_owned()),
            TokenFact::ScopesMissing { scopes } => check(
                &name,
                false,
                format!(
                    "Okta did not grant {}; grant it to the application (Okta API Scopes tab)",
                    scopes.join(", ")
                ),
            ),
            TokenFact::Unreachable { reason, worked_before } => check(&name, *worked_before, reason.clone()),
            TokenFact::Refused { reason } => check(&name, false, reason.clone()),
        });
        // Where another daemon runs the directory, this one's last run is of long ago.
        let run = organization.last_directory_run.as_ref().filter(|_| !organization.is_anothers());
        if let Some(run) = run.filter(|run| run.needs_a_person) {
            checks.push(check(
                &format!("directory of {}", organization.integration_id),
                false,
                run.message.clone(),
            ));
        }
        if let Some(stopped) = &organization.grants_stopped {
            let name = format!("grants of {}", organization.integration_id);
            checks.push(check(&name, stopped.wanted, stopped.message.clone()));
        }
        if let Some(reason) = &organization.removal_stuck {
            checks.push(check(
                &format!("removals of {}", organization.integration_id),
                false,
                reason.clone(),
            ));
        }
    }
    Readiness { ready: checks.iter().all(|check| check.ok), checks }
}

fn journal(facts: &Facts) -> Check {
    let is_fresh = facts.journal_checked < JOURNAL_LOOK;
    let message = if !facts.journal_writable {
        match facts.fleet.as_ref().map(|fleet| fleet.answers) {
            None => "the last record could not be written; see the log and the disk",
            Some(false) => "the fleet's database does not answer; what is known ends on time",
            Some(true) => "the last record could not be written; see the log and the fleet's database",
        }
    } else if !is_fresh {
        "the disk does not answer; see its driver, or the network that it is on"
    } else {
        "writable"
    };
    Check {
        name: "journal".to_owned(),
        ok: facts.journal_writable && is_fresh,
        message: message.to_owned(),
        age_seconds: Some(facts.journal_checked.as_secs()),
        expires_seconds: Some(JOURNAL_LOOK.as_secs()),
    }
}

/// One peer that does not answer is that peer's matter. Where nobody does, this host is cut off, and no grant can be ended
/// from here.
fn network(facts: &Facts) -> Check {
    let all = facts.organizations.iter().map(|one| one.reached).chain([facts.apono_reached]);
    let lost = |one: &Option<Reached>| one.is_some_and(|one| !one.answered);
    let is_cut_off = !facts.organizations.is_empty() && all.clone().all(|one| lost(&one));
    let message = if is_cut_off {
        "nobody answers, neither Okta nor Apono: this host is cut off; see its network, proxy and name resolution"
    } else if all.clone().any(|one| lost(&one)) {
        "not everybody answers"
    } else {
        "nobody is known not to answer"
    };
    let age = all.flatten().map(|one| one.age.as_secs()).min();
    Check {
        name: "network".to_owned(),
        ok: !is_cut_off,
        message: message.to_owned(),
        age_seconds: age,
        expires_seconds: None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::directory::Outcome;

    pub(in crate::server) fn facts(token: TokenFact, apono: PeerFact) -> Facts {
        Facts {
            version: "0.1.0",
            connector_id: "c".to_owned(),
            started_at: Timestamp::UNIX_EPOCH,
            journal_writable: true,
            journal_checked: Duration::from_secs(20),
            audit_failures: 0,
            slowest_loop: Duration::from_secs(1),
            apono,
            apono_reached: None,
            results_pending: 0,
            fleet: None,
            organizations: vec![OrganizationFacts {
                owner: None,
                integration_id: "int".to_owned(),
                organization_url: "https://example.okta.com".to_owned(),
                token,
                token_expires_at: None,
                reached: None,
                clock_skew_seconds: None,
                live_memberships: 0,
                removals_due: 0,
                removal_stuck: None,
                grants_stopped: None,
                budget: Vec::new(),
                last_directory_run: None,
                directory: None,
            }],
        }
    }

    #[test]
    fn outages_do_not_make_unready_what_a_person_must_mend_does() {
        let reason = || "r".to_owned();
        let unreachable = |worked_before| TokenFact::Unreachable { reason: reason(), worked_before };
        let table = [
            (TokenFact::Held, PeerFact::Connected, true),
            (TokenFact::Held, PeerFact::Unreachable { reason: reason() }, true),
            (TokenFact::Held, PeerFact::Refused { reason: reason() }, false),
            (unreachable(true), PeerFact::Connected, true),
            (unreachable(false), PeerFact::Connected, false),
            (TokenFact::Unknown, PeerFact::Connected, false),
            (TokenFact::Refused { reason: reason() }, PeerFact::Connected, false),
            (TokenFact::ScopesMissing { scopes: vec!["okta.groups.manage"] }, PeerFact::Connected, false),
        ];
        for (token, apono, ready) in table {
            let facts = facts(token, apono);
            assert_eq!(readiness(&facts).ready, ready, "{facts:?}");
        }
        let mut stuck = facts(TokenFact::Held, PeerFact::Connected);
        stuck.organizations[0].removal_stuck = Some(reason());
        assert!(!readiness(&stuck).ready, "a removal that Okta refuses is the worst that can be");
        let mut broken = facts(TokenFact::Held, PeerFact::Connected);
        broken.journal_writable = false;
        assert!(!readiness(&broken).ready);
        assert!(is_live(&broken));
        let mut hanging = facts(TokenFact::Held, PeerFact::Connected);
        hanging.journal_checked = JOURNAL_LOOK;
        assert!(!readiness(&hanging).ready, "a check that is too old fails by itself");
        broken.slowest_loop = STUCK;
        assert!(!is_live(&broken));
    }

    /// Two daemons, of which `is_this` says whether the organization is this one's.
    pub(in crate::server) fn facts_of_two(is_this: bool) -> Facts {
        let mut facts = facts(TokenFact::Held, PeerFact::Connected);
        let daemon = |id: &str| DaemonFacts {
            id: id.to_owned(),
            host: format!("host-{id}"),
            version: "0.1.0".to_owned(),
            started_at: Timestamp::UNIX_EPOCH,
            silent: Duration::ZERO,
            lives: true,
        };
        facts.fleet = Some(FleetFacts {
            database: "db".to_owned(),
            answers: true,
            heard: Duration::ZERO,
            entries_behind: 0,
            entries_known: 7,
            this_daemon: "a".to_owned(),
            daemons: vec![daemon("a"), daemon("b")],
        });
        let owner = if is_this { "a" } else { "b" }.to_owned();
        let host = Some(format!("host-{owner}"));
        facts.organizations[0].owner =
            Some(OwnerFacts { daemon: owner, host, is_this, lives: true, epoch: 7 });
        facts
    }

    #[test]
    fn a_journal_that_cannot_be_written_is_said_to_be_where_it_is() {
        let mut alone = facts(TokenFact::Held, PeerFact::Connected);
        let mut shared = facts_of_two(true);
        (alone.journal_writable, shared.journal_writable) = (false, false);
        assert!(one_line(&alone).contains("the disk"), "{}", one_line(&alone));
        assert!(one_line(&shared).contains("see the log and the fleet's database"), "{}", one_line(&shared));
        shared.fleet.as_mut().unwrap().answers = false;
        assert!(one_line(&shared).contains("the fleet's database does not answer"), "{}", one_line(&shared));
    }

    #[test]
    fn what_was_missing_for_a_former_owners_run_does_not_make_it_unready() {
        for is_this in [true, false] {
            let mut facts = facts_of_two(is_this);
            facts.organizations[0].last_directory_run = Some(DirectoryRun {
                started_at: Timestamp::UNIX_EPOCH,
                seconds: 1.0,
                outcome: Outcome::Incomplete,
                reach: None,
                resumed: false,
                message: "a role is missing".to_owned(),
                needs_a_person: true,
                okta: None,
                planned: None,
                applied: None,
            });
            assert_eq!(readiness(&facts).ready, !is_this);
        }
    }

    #[test]
    fn only_where_nobody_answers_is_the_connector_cut_off() {
        let reached = |answered| Some(Reached { answered, age: Duration::from_secs(3) });
        let table = [
            (None, None, true),
            (reached(false), None, true),
            (None, reached(false), true),
            (reached(true), reached(false), true),
            (reached(false), reached(true), true),
            (reached(false), reached(false), false),
        ];
        for (apono, okta, ready) in table {
            let mut facts = facts(TokenFact::Held, PeerFact::Connected);
            (facts.apono_reached, facts.organizations[0].reached) = (apono, okta);
            assert_eq!(readiness(&facts).ready, ready, "{apono:?} {okta:?}");
        }
    }
}
