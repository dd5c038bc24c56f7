//! # Purpose
//! What is looked at, and what was found.
//!
//! # Invariants kept here
//! - A probe's id never changes its meaning: people and their alerts know it.
//!
//! # Not here
//! Looking.

use serde::Serialize;

use crate::catalogue::ErrorCode;

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// As it should be.
    Pass,
    /// Not looked at.
    Skip,
    /// It works, and a person should look.
    Warn,
    /// It does not work.
    Fail,
}

impl Verdict {
    /// In four letters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Skip => "SKIP",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        }
    }
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The probe's id.
    pub id: &'static str,
    /// Of what: a file, an address, an organization.
    pub target: String,
    /// How it is.
    pub verdict: Verdict,
    /// In a sentence.
    pub detail: String,
    /// What to do, where something is to be done.
    pub cure: Option<String>,
    /// The failure's code, where it has one.
    pub code: Option<ErrorCode>,
}

/// All findings, in the order in which they were made.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// See [`Finding`].
    pub findings: Vec<Finding>,
}

impl Report {
    /// The worst of all.
    pub fn worst(&self) -> Verdict {
        self.findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Pass)
    }

    pub(super) fn pass(&mut self, probe: Probe, target: &str, detail: impl Into<String>) {
        self.note(probe, target, Verdict::Pass, detail.into(), None, None);
    }

    pub(super) fn skip(&mut self, probe: Probe, target: &str, detail: impl Into<String>) {
        self.note(probe, target, Verdict::Skip, detail.into(), None, None);
    }

    /// What is not known, and what would have to be done to know it.
    pub(super) fn skip_until(&mut self, probe: Probe, target: &str, detail: impl Into<String>, cure: &str) {
        self.note(probe, target, Verdict::Skip, detail.into(), Some(cure.to_owned()), None);
    }

    pub(super) fn warn(&mut self, probe: Probe, target: &str, detail: impl Into<String>, cure: &str) {
        self.note(probe, target, Verdict::Warn, detail.into(), Some(cure.to_owned()), None);
    }

    /// The same, of what the catalogue knows as well.
    pub(super) fn warn_of(
        &mut self,
        probe: Probe,
        target: &str,
        detail: impl Into<String>,
        cure: &str,
        code: ErrorCode,
    ) {
        self.note(probe, target, Verdict::Warn, detail.into(), Some(cure.to_owned()), Some(code));
    }

    /// A failure of the catalogue, whose cure it is.
    pub(super) fn fail(&mut self, probe: Probe, target: &str, detail: impl Into<String>, code: ErrorCode) {
        self.note(probe, target, Verdict::Fail, detail.into(), Some(code.cure().to_owned()), Some(code));
    }

    fn note(
        &mut self,
        probe: Probe,
        target: &str,
        verdict: Verdict,
        detail: String,
        cure: Option<String>,
        code: Option<ErrorCode>,
    ) {
        self.findings.push(Finding {
            id: probe.id(),
            target: target.to_owned(),
            verdict,
            detail,
            cure,
            code,
        });
    }
}

macro_rules! probes {
    ($($(#[doc = $doc:literal])+ $name:ident = $id:literal,)+) => {
        /// What is looked at.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Probe { $($(#[doc = $doc])+ $name,)+ }

        impl Probe {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The stable id.
            pub fn id(self) -> &'static str {
                match self { $(Self::$name => $id,)+ }
            }

            /// What is looked at, in a sentence.
            pub fn about(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

probes! {
    /// The configuration can be read, and is valid.
    Configuration = "configuration",
    /// Connections can be made: the CA bundle, the client certificate and the proxy's credentials can be used.
    Https = "http.client",
    /// The folder of the state exists, and the connector's user can write there.
    StateFolder = "state.folder",
    /// What is written to the state's disk is synced to it, and the disk is a local one.
    StateSync = "state.sync",
    /// There is room for the journal's reserve and some more.
    StateSpace = "state.space",
    /// Nobody else can change or replace the state.
    StateAccess = "state.access",
    /// The folder of the audit trail can be written to.
    AuditFolder = "audit.folder",
    /// There is room for the audit trail, where it has a disk of its own.
    AuditSpace = "audit.space",
    /// Nobody else can change or replace the audit trail.
    AuditAccess = "audit.access",
    /// The database, where the state is in one, is reached and answers.
    DatabaseConnect = "database.connect",
    /// TLS to the database is used, and not opened on the way.
    DatabaseTls = "database.tls",
    /// The database takes the user and the password.
    DatabaseRole = "database.role",
    /// The database takes writes (it is no standby), and the role may do them.
    DatabaseWrite = "database.write",
    /// The database is PostgreSQL 15 or later.
    DatabaseVersion = "database.version",
    /// What is in the database is in a format that this version knows.
    DatabaseFormat = "database.format",
    /// This host's clock agrees with the database's.
    DatabaseClock = "database.clock",
    /// All daemons that share the state are of this version.
    DatabaseDaemons = "database.daemons",
    /// The connector token is there and is text.
    TokenFile = "secret.token",
    /// Nobody else can replace or read the connector token.
    TokenAccess = "secret.token.access",
    /// A new connector token will be seen.
    TokenMount = "secret.token.mount",
    /// The Okta credentials are there and whole.
    CredentialsFile = "secret.credentials",
    /// Nobody else can replace or read the Okta credentials.
    CredentialsAccess = "secret.credentials.access",
    /// New Okta credentials will be seen.
    CredentialsMount = "secret.credentials.mount",
    /// Nobody else can replace or read the other secrets: of the SCIM service, the proxy, the custom integration, the client certificate.
    OtherAccess = "secret.others.access",
    /// New ones will be seen, and new certificates.
    OtherMount = "secret.others.mount",
    /// The private key is one that Okta takes.
    Key = "secret.key",
    /// The organization's name is resolved.
    OktaName = "okta.name",
    /// The organization is reached.
    OktaConnect = "okta.connect",
    /// The proxy lets connections to the organization through.
    OktaProxy = "okta.proxy",
    /// TLS to the organization is not opened on the way.
    OktaTls = "okta.tls",
    /// The address is the organization's own.
    OktaAddress = "okta.address",
    /// This host's clock agrees with Okta's.
    OktaClock = "okta.clock",
    /// The client id is that of an active API Services application.
    OktaClient = "okta.client",
    /// The key is registered with the application, and saved.
    OktaKey = "okta.key",
    /// Proofs of possession go through.
    OktaProof = "okta.dpop",
    /// The application's network zone includes this host.
    OktaZone = "okta.zone",
    /// A token is granted.
    OktaToken = "okta.token",
    /// okta.users.read is granted.
    ScopeUsers = "okta.scope.users",
    /// okta.groups.manage is granted (okta.groups.read without access).
    ScopeGroups = "okta.scope.groups",
    /// None of the scopes is granted that reach beyond what the connector does.
    ScopeExcess = "okta.scope.excess",
    /// The administrator role shows users.
    RoleUsers = "okta.role.users",
    /// The administrator role shows groups.
    RoleGroups = "okta.role.groups",
    /// The administrator role allows changing members.
    RoleMembers = "okta.role.members",
    /// The role is not that of a super administrator.
    RoleExcess = "okta.role.excess",
    /// No group rule fills a group that grants are allowed in.
    RuleManaged = "okta.groups.rules",
    /// No group that grants are allowed in carries administrator roles.
    AdminGroups = "okta.groups.admin",
    /// The application's share of the rate limits is enough to finish a run.
    RateShare = "okta.rate.share",
    /// Others leave enough of the rate limits.
    RateOthers = "okta.rate.others",
    /// The System Log, where it is granted, can be read.
    SystemLog = "okta.log",
    /// Apono's name is resolved.
    AponoName = "apono.name",
    /// Apono is reached.
    AponoConnect = "apono.connect",
    /// The proxy lets connections to Apono through.
    AponoProxy = "apono.proxy",
    /// TLS to Apono is not opened on the way.
    AponoTls = "apono.tls",
    /// This host's clock agrees with Apono's.
    AponoClock = "apono.clock",
    /// Apono takes the connector token.
    AponoToken = "apono.token",
    /// Apono knows the integration.
    AponoIntegration = "apono.integration",
    /// The SCIM service answers.
    ScimAnswers = "scim.answers",
    /// The SCIM service takes the token.
    ScimToken = "scim.token",
    /// The SCIM service changes parts of an object (PATCH).
    ScimPatch = "scim.patch",
    /// The SCIM service finds by name (filter).
    ScimFilter = "scim.filter",
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_probe_has_an_id_of_its_own() {
        let ids: BTreeSet<_> = Probe::ALL.iter().map(|probe| probe.id()).collect();
        assert_eq!(ids.len(), Probe::ALL.len());
        assert!(ids.len() >= 30, "{}", ids.len());
    }
}
