//! Plans against a model of an organization that does what the steps say.

use proptest::collection::btree_set;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::json;

use super::*;
use crate::setup::found::{Assignment, RegisteredKey, ResourceSet, Role};
use crate::setup::step::Names;

fn jwk(n: &str) -> Value {
    json!({ "kty": "RSA", "kid": format!("kid-{n}"), "n": n, "e": "AQAB" })
}

fn wishes() -> Wishes {
    Wishes {
        label: "Apono Connector".into(),
        client_id: None,
        origin: "https://example.okta.com".into(),
        access: true,
        groups: BTreeSet::new(),
        public_jwk: jwk("ours"),
    }
}

fn key(n: &str, active: bool) -> RegisteredKey {
    let jwk = jwk(n);
    RegisteredKey {
        id: format!("pks-{n}"),
        kid: jwk["kid"].as_str().map(ToOwned::to_owned),
        active,
        material: material(&jwk),
    }
}

fn app() -> Application {
    Application {
        id: "0oa1".into(),
        client_id: "0oa1".into(),
        label: "Apono Connector".into(),
        active: true,
        unfit: None,
        keys: Vec::new(),
        scopes: BTreeSet::new(),
        assignments: Vec::new(),
    }
}

/// Does to the model what Okta would do.
fn apply(found: &mut Found, step: &Step) {
    let names = Names::of(found, |thing| format!("{thing:?}"));
    let call = step.call(&names);
    assert!(call.path.iter().all(|part| !part.is_empty()), "{call}");
    match step {
        Step::CreateApplication { label, jwk } => {
            assert!(found.applications.is_empty());
            let keys = vec![RegisteredKey { material: material(jwk), ..key("ours", true) }];
            found.applications.push(Application { label: label.clone(), keys, ..app() });
        }
        Step::RegisterKey { jwk } => {
            let keys = &mut found.applications[0].keys;
            assert!(!keys.iter().any(|key| key.material == material(jwk)), "registered twice");
            keys.push(key("ours", true));
        }
        Step::GrantScope { scope, .. } => assert!(found.applications[0].scopes.insert(scope.clone())),
        Step::CreateRole { permissions, .. } => {
            assert!(found.role.is_none());
            let permissions = permissions.iter().cloned().collect();
            found.role = Some(Role { id: "cr0new".into(), permissions });
        }
        Step::AddPermission { permission } => {
            assert!(found.role.as_mut().unwrap().permissions.insert(permission.clone()));
        }
        Step::CreateResourceSet { resources, .. } => {
            assert!(found.resource_set.is_none());
            let resources = resources.iter().map(|url| Resource::read(url)).collect();
            found.resource_set = Some(ResourceSet { id: "iamnew".into(), resources });
        }
        Step::AddResources { resources } => {
            let set = found.resource_set.as_mut().unwrap();
            set.resources.extend(resources.iter().map(|url| Resource::read(url)));
        }
        Step::AssignRole => {
            let body = call.body.unwrap();
            found.applications[0].assignments.push(Assignment {
                kind: "CUSTOM".into(),
                label: "ours".into(),
                role: body["role"].as_str().map(ToOwned::to_owned),
                resource_set: body["resource-set"].as_str().map(ToOwned::to_owned),
            });
        }
        Step::DeactivateKey { .. } | Step::DeleteKey { .. } | Step::RevokeToken => {
            panic!("a plan takes nothing away: {step:?}")
        }
    }
}

fn found() -> impl Strategy<Value = Found> {
    let scopes = ["okta.users.read", "okta.groups.manage", "okta.groups.read", "okta.apps.manage"];
    let permissions = [
        "okta.users.read",
        "okta.groups.read",
        "okta.groups.members.manage",
        "okta.users.groupMembership.manage",
        "okta.users.manage",
    ];
    let texts = |all: &[&'static str]| {
        subsequence(all.to_vec(), 0..=all.len())
            .prop_map(|some| some.into_iter().map(ToOwned::to_owned).collect::<BTreeSet<String>>())
    };
    let resource = select(vec![
        Resource::AllUsers,
        Resource::AllGroups,
        Resource::Group("00g1".into()),
        Resource::Group("00g2".into()),
        Resource::Other("orn:okta:idp:00o1:apps".into()),
    ]);
    let keys = subsequence(vec!["ours", "another"], 0..=2);
    let assignments = subsequence(
        vec![
            ("ORG_ADMIN", None, None),
            ("CUSTOM", Some("cr01"), Some("iam1")),
            ("CUSTOM", Some("cr02"), Some("iam1")),
        ],
        0..=3,
    );
    let application =
        (keys, texts(&scopes), assignments).prop_map(|(keys, scopes, assignments)| Application {
            keys: keys.into_iter().map(|n| key(n, true)).collect(),
            scopes,
            assignments: assignments
                .into_iter()
                .map(|(kind, role, set)| Assignment {
                    kind: kind.into(),
                    label: kind.into(),
                    role: role.map(Into::into),
                    resource_set: set.map(Into::into),
                })
                .collect(),
            ..app()
        });
    (
        proptest::option::of(application),
        proptest::option::of(texts(&permissions)),
        proptest::option::of(btree_set(resource, 0..4)),
    )
        .prop_map(|(application, permissions, resources)| Found {
            applications: application.into_iter().collect(),
            role: permissions.map(|permissions| Role { id: "cr01".into(), permissions }),
            resource_set: resources.map(|resources| ResourceSet { id: "iam1".into(), resources }),
        })
}

fn any_wishes() -> impl Strategy<Value = Wishes> {
    let groups = subsequence(vec!["00g1", "00g2", "00g3"], 0..=3);
    (any::<bool>(), groups).prop_map(|(access, groups)| Wishes {
        access,
        groups: groups.into_iter().map(ToOwned::to_owned).collect(),
        ..wishes()
    })
}

proptest! {
    #[test]
    fn a_plan_that_was_carried_out_leaves_nothing_to_do(mut found in found(), wishes in any_wishes()) {
        let first = plan(&found, &wishes).unwrap();
        for step in &first.steps {
            apply(&mut found, step);
        }
        let second = plan(&found, &wishes).unwrap();
        prop_assert_eq!(second.steps, Vec::new());
        let application = &found.applications[0];
        for scope in wishes.scopes() {
            prop_assert!(application.scopes.contains(scope));
        }
        let (role, set) = (found.role.as_ref().unwrap(), found.resource_set.as_ref().unwrap());
        for permission in wishes.permissions() {
            prop_assert!(role.permissions.contains(permission));
        }
        for resource in wishes.resources() {
            prop_assert!(set.reaches(&resource));
        }
    }

    #[test]
    fn a_plan_that_broke_off_anywhere_is_completed(
        mut found in found(), wishes in any_wishes(), done in 0_usize..9,
    ) {
        let first = plan(&found, &wishes).unwrap();
        for step in first.steps.iter().take(done) {
            apply(&mut found, step);
        }
        let rest = plan(&found, &wishes).unwrap();
        let expected: Vec<_> = first.steps.iter().skip(done).cloned().collect();
        prop_assert_eq!(rest.steps, expected);
    }

    /// From nothing the connector gets what it needs and no more.
    #[test]
    fn what_is_made_from_nothing_is_no_more_than_needed(wishes in any_wishes()) {
        let mut found = Found::default();
        let first = plan(&found, &wishes).unwrap();
        for step in &first.steps {
            apply(&mut found, step);
        }
        let second = plan(&found, &wishes).unwrap();
        prop_assert_eq!(second.warnings, Vec::new());
        let scopes: BTreeSet<_> = wishes.scopes().into_iter().map(ToOwned::to_owned).collect();
        prop_assert_eq!(&found.applications[0].scopes, &scopes);
        prop_assert_eq!(found.applications[0].assignments.len(), 1);
        prop_assert_eq!(found.resource_set.unwrap().resources, wishes.resources());
    }
}

#[test]
fn more_rights_than_needed_are_told_and_left() {
    let mut found = Found::default();
    for step in plan(&found, &wishes()).unwrap().steps {
        apply(&mut found, &step);
    }
    found.applications[0].scopes.insert("okta.apps.manage".into());
    found.applications[0].scopes.insert("okta.logs.read".into());
    found.applications[0].keys.push(key("another", true));
    found.applications[0].keys.push(key("retired", false));
    found.applications[0].assignments.push(Assignment {
        kind: "ORG_ADMIN".into(),
        label: "Organization Administrator".into(),
        role: None,
        resource_set: None,
    });
    found.role.as_mut().unwrap().permissions.insert("okta.users.manage".into());
    found.resource_set.as_mut().unwrap().resources.insert(Resource::Other("orn:apps".into()));
    let plan = plan(&found, &wishes()).unwrap();
    assert_eq!(plan.steps, Vec::new());
    let told: Vec<_> = plan.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 5, "{told:?}");
    for (part, told) in
        ["kid-another", "okta.apps.manage", "okta.users.manage", "orn:apps", "Organization Administrator"]
            .iter()
            .zip(&told)
    {
        assert!(told.contains(part), "{told}");
    }
    assert!(!told.concat().contains("okta.logs.read") && !told.concat().contains("retired"), "{told:?}");
}

#[test]
fn what_stands_in_the_way_is_said() {
    let with = |change: fn(&mut Application)| {
        let mut application = Application { keys: vec![key("ours", true)], ..app() };
        change(&mut application);
        Found { applications: vec![application], ..Found::default() }
    };
    let known = Wishes { client_id: Some("0oa9".into()), ..wishes() };
    let cases = [
        (Found::default(), known, "for this one with --credentials-file; else correct --organization-url"),
        (
            Found { applications: vec![app(), app()], ..Found::default() },
            wishes(),
            "several applications have the label",
        ),
        (with(|app| app.unfit = Some("a SAML_2_0 application".into())), wishes(), "which is a SAML_2_0"),
        (with(|app| app.active = false), wishes(), "is deactivated; activate it"),
        (with(|app| app.keys[0].active = false), wishes(), "key rotate"),
        (with(|app| app.keys[0].material = "other".into()), wishes(), "another key with the key id kid-ours"),
        (
            with(|app| app.keys[0] = RegisteredKey { kid: None, ..key("theirs", true) }),
            wishes(),
            "a key without a key id (pks-theirs)",
        ),
    ];
    for (found, wishes, expected) in cases {
        let obstacle = plan(&found, &wishes).unwrap_err().to_string();
        assert!(obstacle.contains(expected), "{obstacle}");
    }
}

/// The texts in `name = …` of the Terraform module, as they are with or without `access`.
fn terraform(name: &str, access: bool) -> BTreeSet<String> {
    let module = include_str!("../../../deploy/terraform/main.tf");
    let from = module.split_once(&format!("\n  {name} ")).unwrap().1;
    let value = from.split_once("\n\n").unwrap().0;
    let (mut text, mut rest) = (String::new(), value);
    while let Some((before, choice)) = rest.split_once("var.access ?") {
        let (with, after) = choice.split_once(" : ").unwrap();
        let (without, after) = after.split_once('\n').unwrap();
        text.extend([before, if access { with } else { without }]);
        rest = after;
    }
    text.push_str(rest);
    text.split('"').skip(1).step_by(2).map(ToOwned::to_owned).collect()
}

#[test]
fn the_terraform_module_gives_the_same_scopes_and_permissions() {
    for access in [true, false] {
        let wishes = Wishes { access, ..wishes() };
        let texts = |all: Vec<&str>| all.into_iter().map(ToOwned::to_owned).collect::<BTreeSet<_>>();
        assert_eq!(terraform("scopes", access), texts(wishes.scopes().to_vec()), "{access}");
        assert_eq!(terraform("permissions", access), texts(wishes.permissions()), "{access}");
    }
}
