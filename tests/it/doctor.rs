//! Each probe of `doctor` is turned by the fault that it is for, and by no other.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use apono_connector::app::Outside;
use apono_connector::app::doctor::{Host, Probe, Report, ThisHost, Verdict, examine};
use apono_connector::catalogue::ErrorCode;
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
    /// A host and what keeps us from it.
    cut_off: Option<(&'static str, ErrorCode)>,
    host: Ill,
}

/// This host, with what it is told to have.
#[derive(Clone, Debug, Default)]
struct Ill {
    cannot_write_to: Option<PathBuf>,
    remote: bool,
    full: bool,
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
        if self.full { Ok(1 << 20) } else { ThisHost.room(folder) }
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
        std::fs::create_dir(world.folder.path().join("trail")).unwrap();
        let mut patient = Self { world, more: String::new(), group, cut_off: None, host: Ill::default() };
        let folder = patient.world.folder.path().display().to_string();
        patient.world.settings = patient.world.settings.replace(
            "[state]",
            &format!("[okta.access.policy]\ndeny_groups = [\"admins\", \"filled\"]\n[okta.scim]\ntoken_file = \"{folder}/scim\"\n[state]"),
        );
        patient.more = format!("[audit]\nfile = \"{folder}/trail/audit.jsonl\"\n");
        patient
    }

    async fn examine(&self) -> Report {
        let settings = self.world.loaded(&self.more);
        let outside = Outside {
            transport: Arc::new(CutOff { network: self.world.network(), from: self.cut_off }),
            clock: Arc::clone(&self.world.clock),
            entropy: SeededEntropy::shared(7),
            journal: None,
            log: None,
            audit: None,
        };
        examine(&settings, &outside, Arc::new(self.host.clone())).await
    }

    fn client_with(&self, scopes: &[&str]) {
        self.world.okta.set_granted_scopes(CLIENT, scopes);
    }
}

fn verdicts(report: &Report) -> BTreeMap<&'static str, Verdict> {
    let verdicts: BTreeMap<_, _> =
        report.findings.iter().map(|finding| (finding.id, finding.verdict)).collect();
    assert_eq!(verdicts.len(), report.findings.len(), "each once: {report:?}");
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
    (Probe::StateFolder, Verdict::Fail, |p| p.host.cannot_write_to = Some(p.world.folder.path().to_owned())),
    (Probe::StateSync, Verdict::Warn, |p| p.host.remote = true),
    (Probe::StateSpace, Verdict::Fail, |p| p.host.full = true),
    (Probe::AuditFolder, Verdict::Fail, |p| {
        p.host.cannot_write_to = Some(p.world.folder.path().join("trail"));
    }),
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
    (Probe::RateOthers, Verdict::Warn, |p| {
        p.world.okta.spend(Bucket::Users, 200);
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
    (Probe::ScimFilter, Verdict::Warn, |p| says_of_itself(p, "filter")),
];

/// Those are turned where there is one: `tests/fleet`.
fn is_of_a_database(probe: Probe) -> bool {
    probe.id().starts_with("database.")
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
    for probe in Probe::ALL.iter().filter(|probe| !is_of_a_database(**probe)) {
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
        assert_eq!(finding.code.is_some(), *verdict == Verdict::Fail, "{finding:?}");
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
