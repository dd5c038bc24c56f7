//! Each probe of `doctor` is turned by the fault that it is for, and by no other.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use apono_connector::app::doctor::{
    Finding, Host, Probe, Report, ThisHost, Verdict, examine, examine_without_connections, of_configuration,
};
use apono_connector::app::{Outside, StartError};
use apono_connector::catalogue::ErrorCode;
use apono_connector::config::{Sources, load};
use apono_connector::entropy::SeededEntropy;
use apono_connector::http::{Request, Response, Transport, TransportError};
use apono_connector::secrets::generate_rsa;
use futures_util::future::BoxFuture;
use secrecy::ExposeSecret;
use serde_json::json;
use simulator::fault::Fault;
use simulator::okta::{Bucket, DpopRule, Limits, NewGroup, NewUser};

use crate::world::{CLIENT, INTEGRATION, World, key};

const SCOPES: [&str; 3] = ["okta.users.read", "okta.groups.manage", "okta.logs.read"];

/// The world as it should be, and what is to go wrong in it.
struct Patient {
    world: World,
    /// The start of `[[okta]]` is where it stands.
    more: String,
    group: String,
    admins: String,
    /// A host and what keeps us from it.
    cut_off: Option<(&'static str, ErrorCode)>,
    /// Whose certificate is that of an authority in the CA bundle.
    inspected: Option<&'static str>,
    host: Ill,
    /// Each look draws other ids: Okta sees a `jti` once.
    looks: AtomicU64,
}

/// This host, with what it is told to have.
#[derive(Clone, Debug, Default)]
struct Ill {
    cannot_write_to: Option<PathBuf>,
    remote: bool,
    full: Option<PathBuf>,
    one_disk: bool,
    mounted: Option<PathBuf>,
}

impl Host for Ill {
    fn write_and_sync(&self, folder: &Path) -> io::Result<()> {
        if self.cannot_write_to.as_deref() == Some(folder) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        ThisHost.write_and_sync(folder)
    }

    fn remote(&self, folder: &Path) -> Option<&'static str> {
        if self.remote { Some("NFS") } else { ThisHost.remote(folder) }
    }

    fn room(&self, folder: &Path) -> io::Result<u64> {
        if self.full.as_deref() == Some(folder) { Ok(1 << 20) } else { ThisHost.room(folder) }
    }

    fn is_one_disk(&self, _: &Path, _: &Path) -> io::Result<bool> {
        Ok(self.one_disk)
    }

    fn mounts(&self) -> Option<String> {
        let file =
            self.mounted.as_ref().map(|path| std::fs::canonicalize(path).unwrap().display().to_string());
        Some(format!(
            "36 35 98:0 / / rw - ext4 x rw\n37 36 0:5 /x {} rw - tmpfs x rw\n",
            file.unwrap_or_default()
        ))
    }
}

#[derive(Debug)]
struct CutOff {
    network: Arc<dyn Transport>,
    from: Option<(&'static str, ErrorCode)>,
}

impl Transport for CutOff {
    fn send(&self, request: Request, limit: Duration) -> BoxFuture<'_, Result<Response, TransportError>> {
        let host = request.url.host_str().unwrap().to_owned();
        match self.from {
            // The SCIM service is at the same host, and is not what is tried.
            Some((from, code)) if host == from && !request.url.path().starts_with("/scim/") => {
                let source = "as the test wants it".into();
                Box::pin(async move { Err(TransportError::Connect { host, code, source }) })
            }
            Some(_) | None => self.network.send(request, limit),
        }
    }
}

impl Patient {
    fn new() -> Self {
        let mut world = World::quiet();
        world.set_dpop("auto");
        world.okta.register_client(CLIENT, key().1, &SCOPES);
        world.okta.add_user(NewUser::active("ada@example.com", "Ada", "Lovelace"));
        let group = world.okta.add_group(NewGroup::named("oncall"));
        // Out of the policy's reach, and there to tell a super administrator by.
        let admins = world.okta.add_group(NewGroup::named("admins"));
        world.okta.set_admin_privilege(&admins, true);
        let filled = world.okta.add_group(NewGroup::named("filled"));
        world.okta.add_group_rule("fills", &[&filled], "ACTIVE");
        world.apono.set_scim_token(Some("placeholder-scim"));
        std::fs::write(world.folder.path().join("scim"), "placeholder-scim").unwrap();
        for file in [world.secret(), world.token(), world.folder.path().join("scim")] {
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        for folder in ["state", "trail"] {
            std::fs::create_dir(world.folder.path().join(folder)).unwrap();
        }
        let mut patient = Self {
            world,
            more: String::new(),
            group,
            admins,
            cut_off: None,
            inspected: None,
            host: Ill::default(),
            looks: AtomicU64::new(7),
        };
        let folder = patient.world.folder.path().display().to_string();
        patient.world.settings = patient.world.settings.replace(
            "[state]",
            &format!("[okta.access.policy]\ndeny_groups = [\"admins\", \"filled\"]\n[okta.scim]\ntoken_file = \"{folder}/scim\"\n[state]"),
        );
        patient.world.settings = patient
            .world
            .settings
            .replace(&format!("{folder}/state.db"), &format!("{folder}/state/state.db"));
        patient.more = format!("[audit]\nfile = \"{folder}/trail/audit.jsonl\"\n");
        patient
    }

    async fn examine(&self) -> Report {
        let settings = self.world.loaded(&self.more);
        let host = Arc::new(self.host.clone());
        // The network of a test is of no bundle, so the real one is made beside it.
        if let Err(error) = Outside::real(&settings) {
            let StartError::Https(error) = error else { panic!("{error}") };
            return examine_without_connections(&settings, &error, host).await;
        }
        let outside = Outside {
            transport: Arc::new(CutOff { network: self.world.network(), from: self.cut_off }),
            without_bundle: self.inspected.map(|from| {
                let network = self.world.network();
                Arc::new(CutOff { network, from: Some((from, ErrorCode::UnknownIssuer)) })
                    as Arc<dyn Transport>
            }),
            clock: Arc::clone(&self.world.clock),
            entropy: SeededEntropy::shared(self.looks.fetch_add(1, Ordering::Relaxed)),
            journal: None,
            log: None,
            audit: None,
        };
        examine(&settings, &outside, host).await
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.world.folder.path().join(name)
    }

    /// Another share of the limits.
    fn with_share(&mut self, share: &str) {
        let organization = "organization_url = ";
        let with_share = format!("rate_limit_share = {share}\n{organization}");
        self.world.settings = self.world.settings.replace(organization, &with_share);
    }

    /// Nothing tells any more what an administrator is.
    fn without_admin_group(&self) {
        self.world.okta.set_admin_privilege(&self.admins, false);
    }

    fn client_with(&self, scopes: &[&str]) {
        self.world.okta.set_granted_scopes(CLIENT, scopes);
    }
}

fn verdicts(report: &Report) -> BTreeMap<&'static str, Verdict> {
    let mut verdicts = BTreeMap::new();
    let mut targets = BTreeSet::new();
    for finding in &report.findings {
        assert!(targets.insert((finding.id, &finding.target)), "each once: {report:?}");
        let worst = verdicts.entry(finding.id).or_insert(finding.verdict);
        *worst = finding.verdict.max(*worst);
    }
    verdicts
}

#[tokio::test(start_paused = true)]
async fn all_is_well_where_nothing_is_wrong_and_nothing_is_changed() {
    let patient = Patient::new();
    let before = patient.world.okta.memberships();
    let found = verdicts(&patient.examine().await);
    let right = |probe: &Probe| if is_of_a_database(*probe) { Verdict::Skip } else { Verdict::Pass };
    let all: BTreeMap<_, _> = Probe::ALL.iter().map(|probe| (probe.id(), right(probe))).collect();
    assert_eq!(found, all);
    assert_eq!(patient.world.okta.memberships(), before);
    let changing = patient.world.apono.exchanges().into_iter().filter(|exchange| exchange.method != "GET");
    let changing: Vec<_> = changing.map(|exchange| (exchange.operation, exchange.status)).collect();
    assert_eq!(changing, [("scim_patch_user".to_owned(), 404)], "a PATCH for a user that nobody is");
}

type Fall = fn(&mut Patient);

/// A probe, what it is to say, and what makes it say so.
const FAULTS: &[(Probe, Verdict, Fall)] = &[
    (Probe::Https, Verdict::Fail, |p| {
        std::fs::write(p.folder("ca.pem"), "not a certificate").unwrap();
        p.more = format!("{}[http]\nca_bundle_file = \"{}\"\n", p.more, p.folder("ca.pem").display());
    }),
    (Probe::StateFolder, Verdict::Fail, |p| p.host.cannot_write_to = Some(p.folder("state"))),
    (Probe::StateSync, Verdict::Warn, |p| p.host.remote = true),
    (Probe::StateSpace, Verdict::Fail, |p| p.host.full = Some(p.folder("state"))),
    (Probe::StateAccess, Verdict::Warn, |p| open_folder(&p.folder("state"))),
    (Probe::AuditFolder, Verdict::Fail, |p| p.host.cannot_write_to = Some(p.folder("trail"))),
    (Probe::AuditSpace, Verdict::Fail, |p| p.host.full = Some(p.folder("trail"))),
    (Probe::AuditAccess, Verdict::Warn, |p| open_folder(&p.folder("trail"))),
    (Probe::TokenFile, Verdict::Fail, |p| std::fs::write(p.world.token(), " \n").unwrap()),
    (Probe::TokenAccess, Verdict::Warn, |p| open_to_all(&p.world.token())),
    (Probe::TokenMount, Verdict::Warn, |p| p.host.mounted = Some(p.world.token())),
    (Probe::CredentialsFile, Verdict::Fail, |p| std::fs::write(p.world.secret(), "{}").unwrap()),
    (Probe::CredentialsAccess, Verdict::Warn, |p| open_to_all(&p.world.secret())),
    (Probe::CredentialsMount, Verdict::Warn, |p| p.host.mounted = Some(p.world.secret())),
    (Probe::OtherAccess, Verdict::Warn, |p| open_to_all(&p.world.folder.path().join("scim"))),
    (Probe::OtherMount, Verdict::Warn, |p| p.host.mounted = Some(p.world.folder.path().join("scim"))),
    (Probe::Key, Verdict::Fail, |p| {
        p.world.mount_key(generate_rsa(1024).unwrap().private_jwk.expose_secret());
    }),
    (Probe::OktaName, Verdict::Fail, |p| p.cut_off = Some(("example.okta.com", ErrorCode::NameNotResolved))),
    (Probe::OktaConnect, Verdict::Fail, |p| {
        p.cut_off = Some(("example.okta.com", ErrorCode::HostUnreachable));
    }),
    (Probe::OktaProxy, Verdict::Fail, |p| p.cut_off = Some(("example.okta.com", ErrorCode::ProxyFails))),
    (Probe::OktaTls, Verdict::Fail, |p| p.cut_off = Some(("example.okta.com", ErrorCode::UnknownIssuer))),
    (Probe::OktaTls, Verdict::Warn, |p| p.inspected = Some("example.okta.com")),
    (Probe::OktaAddress, Verdict::Fail, |p| {
        p.world.okta.configure(|settings| settings.origin = "https://real.okta.com".into());
    }),
    (Probe::OktaClock, Verdict::Fail, |p| {
        let wrong = Fault::SetHeader("date".into(), "Thu, 01 Jan 2026 00:10:00 GMT".into());
        p.world.okta.faults().once("well_known", wrong);
    }),
    (Probe::OktaClient, Verdict::Fail, |p| p.world.okta.deactivate_client(CLIENT)),
    (Probe::OktaKey, Verdict::Fail, |p| {
        p.world.okta.deactivate_key(CLIENT, key().1["kid"].as_str().unwrap());
    }),
    (Probe::OktaProof, Verdict::Fail, |p| {
        p.world.set_dpop("off");
        p.world.okta.configure(|settings| settings.dpop = DpopRule::Required);
    }),
    (Probe::OktaZone, Verdict::Fail, |p| {
        p.world.okta.configure(|settings| settings.outside_network_zone = true);
    }),
    (Probe::OktaToken, Verdict::Fail, |p| {
        let body = json!({ "error": "something_new", "error_description": "?" }).to_string();
        p.world.okta.faults().always("token", Fault::Answer { status: 400, headers: Vec::new(), body });
    }),
    (Probe::ScopeUsers, Verdict::Fail, |p| p.client_with(&["okta.groups.manage"])),
    (Probe::ScopeGroups, Verdict::Fail, |p| p.client_with(&["okta.users.read"])),
    (Probe::ScopeExcess, Verdict::Warn, |p| {
        p.client_with(&["okta.users.read", "okta.groups.manage", "okta.logs.read", "okta.apps.manage"]);
    }),
    (Probe::RoleUsers, Verdict::Fail, |p| {
        p.world.okta.faults().once("list_users", Fault::ReplaceBody("[]".into()));
    }),
    (Probe::RoleGroups, Verdict::Fail, |p| {
        p.world.okta.faults().once("list_groups", Fault::ReplaceBody("[]".into()));
    }),
    (Probe::RoleMembers, Verdict::Fail, |p| {
        let body = json!({ "errorCode": "E0000006", "errorSummary": "no" }).to_string();
        p.world.okta.faults().once("add_member", Fault::Answer { status: 403, headers: Vec::new(), body });
    }),
    (Probe::RoleExcess, Verdict::Warn, |p| p.world.okta.set_super_admin(CLIENT, true)),
    (Probe::RoleExcess, Verdict::Warn, |p| {
        p.without_admin_group();
        p.client_with(&[&SCOPES[..], &["okta.roles.read"]].concat());
        p.world.okta.set_super_admin(CLIENT, true);
    }),
    (Probe::RuleManaged, Verdict::Warn, |p| {
        let group = p.world.okta.add_group(NewGroup::named("also-filled"));
        p.world.okta.add_group_rule("fills-too", &[&group], "ACTIVE");
    }),
    (Probe::AdminGroups, Verdict::Warn, |p| {
        let group = p.world.okta.add_group(NewGroup::named("also-admins"));
        p.world.okta.set_admin_privilege(&group, true);
    }),
    (Probe::RateShare, Verdict::Warn, |p| {
        p.world.okta.configure(|settings| settings.limits = Limits::per_minute(40));
    }),
    (Probe::RateShare, Verdict::Warn, |p| p.with_share("0.1")),
    (Probe::RateOthers, Verdict::Warn, |p| {
        p.world.okta.spend(Bucket::Users, 200);
    }),
    (Probe::RateOthers, Verdict::Warn, |p| {
        let limits = Limits::workforce_app().with_budget(Bucket::Logs, 10).with_budget(Bucket::Token, 50);
        p.world.okta.configure(|settings| settings.limits = limits);
        p.world.okta.spend(Bucket::Token, 40);
    }),
    (Probe::SystemLog, Verdict::Fail, |p| {
        let body = json!({ "errorCode": "E0000006", "errorSummary": "no" }).to_string();
        p.world.okta.faults().once("list_logs", Fault::Answer { status: 403, headers: Vec::new(), body });
    }),
    (Probe::AponoName, Verdict::Fail, |p| p.cut_off = Some(("api.apono.io", ErrorCode::NameNotResolved))),
    (Probe::AponoConnect, Verdict::Fail, |p| {
        p.cut_off = Some(("api.apono.io", ErrorCode::ConnectionRefused));
    }),
    (Probe::AponoProxy, Verdict::Fail, |p| p.cut_off = Some(("api.apono.io", ErrorCode::ProxyFails))),
    (Probe::AponoTls, Verdict::Fail, |p| p.cut_off = Some(("api.apono.io", ErrorCode::CertificateTime))),
    (Probe::AponoTls, Verdict::Warn, |p| p.inspected = Some("api.apono.io")),
    (Probe::AponoClock, Verdict::Fail, |p| {
        let wrong = Fault::SetHeader("date".into(), "Thu, 01 Jan 2026 00:10:00 GMT".into());
        p.world.apono.faults().once("list_grants", wrong);
    }),
    (Probe::AponoToken, Verdict::Fail, |p| p.world.apono.set_tokens(&["placeholder-other"])),
    (Probe::AponoIntegration, Verdict::Fail, |p| {
        p.world.apono.faults().after("list_grants", 1, 1, Fault::status(404));
    }),
    (Probe::ScimAnswers, Verdict::Fail, |p| {
        p.world.apono.faults().always("scim_list_users", Fault::status(500));
    }),
    (Probe::ScimToken, Verdict::Fail, |p| p.world.apono.set_scim_token(Some("placeholder-other"))),
    (Probe::ScimPatch, Verdict::Warn, |p| says_of_itself(p, "patch")),
    (Probe::ScimPatch, Verdict::Warn, |p| {
        p.world.apono.faults().always("scim_patch_user", Fault::status(501));
    }),
    (Probe::ScimPatch, Verdict::Warn, |p| {
        p.world.apono.faults().always("scim_patch_user", Fault::status(204));
    }),
    (Probe::ScimPatch, Verdict::Warn, |p| {
        p.world.apono.faults().always("scim_patch_user", Fault::status(404));
    }),
    (Probe::ScimFilter, Verdict::Warn, |p| says_of_itself(p, "filter")),
    (Probe::ScimFilter, Verdict::Warn, |p| {
        p.world.apono.faults().after("scim_list_users", 1, 1, Fault::status(400));
    }),
    (Probe::ScimFilter, Verdict::Warn, |p| {
        let everybody = json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
            "totalResults": 1,
            "Resources": [{ "id": "1", "userName": "ada@example.com" }],
        });
        p.world.apono.faults().after("scim_list_users", 1, 1, Fault::ReplaceBody(everybody.to_string()));
    }),
];

/// Those are turned where there is one: `tests/fleet`.
fn is_of_a_database(probe: Probe) -> bool {
    probe.id().starts_with("database.")
}

fn open_folder(folder: &Path) {
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).unwrap();
}

fn open_to_all(file: &Path) {
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap();
}

fn says_of_itself(patient: &mut Patient, lacks: &str) {
    let mut body =
        json!({ "patch": { "supported": true }, "filter": { "supported": true, "maxResults": 100 } });
    body[lacks]["supported"] = json!(false);
    patient.world.apono.faults().once("scim_config", Fault::ReplaceBody(body.to_string()));
}

#[tokio::test(start_paused = true)]
async fn each_fault_turns_its_probe_and_no_other() {
    // A configuration that cannot be read leaves nothing to look at: a test of its own.
    let elsewhere = |probe: &Probe| is_of_a_database(*probe) || *probe == Probe::Configuration;
    for probe in Probe::ALL.iter().filter(|probe| !elsewhere(probe)) {
        assert!(FAULTS.iter().any(|(of, ..)| of == probe), "{}", probe.id());
    }
    for (probe, verdict, fall) in FAULTS {
        let mut patient = Patient::new();
        fall(&mut patient);
        let report = patient.examine().await;
        let mut found = verdicts(&report);
        let finding = report.findings.iter().find(|finding| finding.id == probe.id()).unwrap();
        assert_eq!(finding.verdict, *verdict, "{}: {}", probe.id(), finding.detail);
        assert!(finding.cure.as_ref().is_some_and(|cure| !cure.is_empty()), "{finding:?}");
        assert!(finding.code.is_some() || *verdict == Verdict::Warn, "{finding:?}");
        found.remove(probe.id());
        let others: Vec<_> = found.iter().filter(|(_, verdict)| **verdict > Verdict::Skip).collect();
        assert_eq!(others, Vec::new(), "{}", probe.id());
        let missing = Probe::ALL.len() - 1 - found.len();
        assert_eq!(missing, 0, "{}: every probe says something", probe.id());
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_with_the_integration_unknown_or_off_says_so() {
    let mut patient = Patient::new();
    patient.world.settings =
        patient.world.settings.replace("[okta.scim]", "[okta.directory]\nenabled = false\n[okta.scim]");
    let report = patient.examine().await;
    let scim: Vec<_> = report.findings.iter().filter(|finding| finding.id.starts_with("scim.")).collect();
    assert!(
        scim.iter().all(|finding| finding.verdict == Verdict::Skip && finding.target == INTEGRATION),
        "{scim:?}"
    );
    assert_eq!(report.worst(), Verdict::Skip);
    assert!(!patient.group.is_empty());
}

impl Patient {
    async fn finding(&self, probe: Probe) -> Finding {
        let report = self.examine().await;
        report.findings.into_iter().find(|finding| finding.id == probe.id()).unwrap()
    }

    /// That this probe says so, with this in its text, and that nothing else is wrong.
    async fn says(&self, probe: Probe, verdict: Verdict, expected: &str) -> Finding {
        let report = self.examine().await;
        let finding = report.findings.iter().find(|finding| finding.id == probe.id()).unwrap();
        assert!(finding.verdict == verdict && finding.detail.contains(expected), "{expected}: {finding:?}");
        let others = report.findings.iter().filter(|other| other.id != probe.id());
        let others: Vec<_> = others.filter(|other| other.verdict > Verdict::Skip).collect();
        assert!(others.is_empty(), "{others:?}");
        finding.clone()
    }
}

/// What makes a key unusable.
type Spoil<'a> = Box<dyn Fn(&Patient) + 'a>;

#[tokio::test(start_paused = true)]
async fn each_refusal_of_the_key_is_told_with_a_code_of_its_own() {
    let of_another = || -> serde_json::Value {
        serde_json::from_str(generate_rsa(2048).unwrap().private_jwk.expose_secret()).unwrap()
    };
    let mut renamed = of_another();
    renamed["kid"] = key().1["kid"].clone();
    let cases: [(ErrorCode, Spoil<'_>); 4] = [
        (ErrorCode::KeyNotRegistered, Box::new(|p| p.world.mount_key(&of_another().to_string()))),
        (ErrorCode::WrongKey, Box::new(|p| p.world.mount_key(&renamed.to_string()))),
        // The first Save showed it; without the second the application has none.
        (
            ErrorCode::NoKeyRegistered,
            Box::new(|p| {
                p.world.okta.deactivate_key(CLIENT, key().1["kid"].as_str().unwrap());
            }),
        ),
        // The same where the application had another before.
        (
            ErrorCode::KeyNotRegistered,
            Box::new(|p| {
                let former = generate_rsa(2048).unwrap().public_jwk;
                p.world.okta.register_client(CLIENT, former, &SCOPES);
                p.world.okta.deactivate_key(CLIENT, key().1["kid"].as_str().unwrap());
            }),
        ),
    ];
    for (code, fall) in cases {
        let patient = Patient::new();
        fall(&patient);
        let finding = patient.says(Probe::OktaKey, Verdict::Fail, "").await;
        assert_eq!(finding.code, Some(code), "{finding:?}");
        assert_eq!(finding.cure.as_deref(), Some(code.cure()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_scope_too_many_is_found_whatever_else_okta_does_not_know() {
    let too_many = [&SCOPES[..], &["okta.apps.manage", "okta.apps.read"]].concat();
    let patient = Patient::new();
    patient.world.okta.configure(|settings| settings.unknown_scopes = vec!["okta.devices.read"]);
    patient.says(Probe::ScopeExcess, Verdict::Pass, "none is granted").await;
    patient.client_with(&too_many);
    let finding = patient.says(Probe::ScopeExcess, Verdict::Warn, "").await;
    assert!(finding.detail.ends_with("okta.apps.manage, okta.apps.read"), "{finding:?}");

    let patient = Patient::new();
    patient.world.okta.configure(|settings| settings.tells_scopes = false);
    patient.says(Probe::ScopeExcess, Verdict::Pass, "none is granted").await;
    patient.client_with(&too_many);
    let finding = patient.says(Probe::ScopeExcess, Verdict::Warn, "").await;
    assert!(finding.detail.ends_with("okta.apps.manage, okta.apps.read"), "{finding:?}");
}

#[tokio::test(start_paused = true)]
async fn without_an_answer_no_scope_is_said_to_be_missing_or_too_much() {
    for (already, unknown) in [(1, vec![]), (3, vec!["okta.devices.read"])] {
        let mut patient = Patient::new();
        patient.world.set_dpop("off");
        patient.world.okta.configure(|settings| settings.unknown_scopes = unknown.clone());
        patient.world.okta.faults().after("token", already, usize::MAX, Fault::status(503));
        patient.says(Probe::ScopeExcess, Verdict::Skip, "not known").await;
        assert!(patient.world.okta.faults().fired("token") > 0, "the fault was there");
    }
}

#[tokio::test(start_paused = true)]
async fn of_groups_that_were_not_read_nothing_is_said() {
    let blank = |patient: &Patient| patient.world.okta.configure(|settings| settings.blank_pages = 20);
    let cut = |patient: &Patient| {
        // The first listing is asked for one group only; the first page of the second is whole.
        let lost = Fault::SetHeader("link".into(), "<https://elsewhere.example.com/>; rel=\"next\"".into());
        patient.world.okta.faults().after("list_groups", 2, 1, lost);
    };
    for fall in [&blank as &dyn Fn(&Patient), &cut] {
        let patient = Patient::new();
        for n in 0..250 {
            patient.world.okta.add_group(NewGroup::named(&format!("group-{n}")));
        }
        let late = patient.world.okta.add_group(NewGroup::named("late"));
        let found = verdicts(&patient.examine().await);
        let of = |found: &BTreeMap<&str, Verdict>, probe: Probe| found[probe.id()];
        assert_eq!(of(&found, Probe::AdminGroups), Verdict::Pass, "all were read");
        fall(&patient);
        let finding = patient.says(Probe::AdminGroups, Verdict::Skip, "the first 200 groups").await;
        assert!(finding.detail.contains("was not read"), "{finding:?}");

        fall(&patient);
        let finding = patient.finding(Probe::RuleManaged).await;
        assert_eq!(finding.verdict, Verdict::Pass, "what rules fill was read: {finding:?}");
        patient.world.okta.add_group_rule("fills-too", &[&late], "ACTIVE");
        fall(&patient);
        let finding = patient.finding(Probe::RuleManaged).await;
        assert_eq!(finding.verdict, Verdict::Skip, "{finding:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn groups_of_which_okta_does_not_tell_their_roles_are_not_passed() {
    let patient = Patient::new();
    patient.world.okta.configure(|settings| settings.admin_stats_member = "somethingNew".into());
    patient.says(Probe::AdminGroups, Verdict::Skip, "does not say").await;
}

#[tokio::test(start_paused = true)]
async fn limits_that_are_small_and_used_up_are_told_as_others_and_not_as_our_own() {
    let patient = Patient::new();
    patient.world.okta.configure(|settings| settings.limits = Limits::integrator_app());
    let of = |report: &Report, probe: Probe| {
        report.findings.iter().find(|finding| finding.id == probe.id()).unwrap().clone()
    };
    let report = patient.examine().await;
    let finding = of(&report, Probe::RateOthers);
    assert_eq!(finding.verdict, Verdict::Pass, "what was asked here is nobody else's: {finding:?}");
    let finding = of(&report, Probe::RateShare);
    assert!(finding.verdict == Verdict::Warn && finding.detail.contains("leaves 40"), "{finding:?}");

    let patient = Patient::new();
    patient.world.okta.configure(|settings| settings.limits = Limits::integrator_app());
    assert_eq!(patient.world.okta.spend(Bucket::Groups, 50), 0);
    let finding = of(&patient.examine().await, Probe::RateOthers);
    assert!(finding.verdict == Verdict::Warn && finding.detail.contains("/api/v1/groups"), "{finding:?}");
    assert_eq!(finding.code, Some(ErrorCode::OktaThrottled));
}

#[tokio::test(start_paused = true)]
async fn where_nothing_tells_a_super_administrator_that_is_said_with_what_to_do() {
    let patient = Patient::new();
    patient.without_admin_group();
    patient.world.okta.set_super_admin(CLIENT, true);
    let finding = patient.says(Probe::RoleExcess, Verdict::Skip, "okta.roles.read is not granted").await;
    assert!(finding.cure.is_some_and(|cure| cure.contains("okta.roles.read")));

    let patient = Patient::new();
    patient.without_admin_group();
    patient.client_with(&[&SCOPES[..], &["okta.roles.read"]].concat());
    patient.says(Probe::RoleExcess, Verdict::Skip, "does not show the application's roles").await;
    let custom = json!([{ "id": "irb1", "type": "CUSTOM", "label": "Connector" }]).to_string();
    let headers = vec![("content-type".into(), "application/json".into())];
    let answer = Fault::Answer { status: 200, headers, body: custom };
    patient.world.okta.faults().always("list_client_roles", answer);
    patient.says(Probe::RoleExcess, Verdict::Pass, "CUSTOM").await;
    assert_eq!(patient.world.okta.faults().fired("list_client_roles"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_custom_domain_of_the_organizations_is_its_own_address() {
    let mut patient = Patient::new();
    patient.world.set_dpop("off");
    patient.world.okta.configure(|settings| {
        settings.origin = "https://real.okta.com".into();
        settings.custom_domain = Some("https://example.okta.com".into());
    });
    patient.says(Probe::OktaAddress, Verdict::Pass, "").await;
    patient
        .world
        .okta
        .configure(|settings| settings.custom_domain = Some("https://other.example.com".into()));
    patient.says(Probe::OktaAddress, Verdict::Fail, "https://real.okta.com").await;
}

#[tokio::test(start_paused = true)]
async fn one_full_disk_is_told_once() {
    let mut patient = Patient::new();
    patient.host.one_disk = true;
    patient.host.full = Some(patient.folder("state"));
    patient.says(Probe::StateSpace, Verdict::Fail, "1 MiB").await;
    assert_eq!(patient.finding(Probe::AuditSpace).await.verdict, Verdict::Skip);
}

#[test]
fn a_wrong_configuration_is_a_failure_for_each_of_its_problems() {
    let world = World::quiet();
    let file = world.folder.path().join("connector.toml");
    let wrong = world.settings.replace("example.okta.com", "example-admin.okta.com");
    std::fs::write(&file, format!("{wrong}[log]\nlevle = \"info\"\n")).unwrap();
    let report = of_configuration(&load(&Sources { file: Some(file), ..Sources::default() }).unwrap_err());
    let told: Vec<_> =
        report.findings.iter().map(|it| (it.id, it.target.as_str(), it.verdict, it.code)).collect();
    let failed = |target| (Probe::Configuration.id(), target, Verdict::Fail, Some(ErrorCode::ConfigInvalid));
    assert_eq!(told, [failed("log.levle"), failed("okta[0].organization_url")]);
    let detail = &report.findings[1].detail;
    assert!(detail.contains("use the one without -admin"), "{detail}");
    assert!(report.findings.iter().all(|finding| finding.cure.is_some()));
}
