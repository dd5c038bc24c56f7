//! # Purpose
//! Words for steps: what is going to be done, and how a person does it by hand.
//!
//! # Invariants kept here
//! - Pure. The calls that are printed are those of the steps themselves.
//! - No secret: the administrator's token is read from a file where a call is made by hand.
//!
//! # Not here
//! Which steps: `plan`.

use std::fmt::Write;

use serde_json::{Value, json};

use super::plan::Wishes;
use super::step::{Names, Step, Thing};

/// One step in words.
pub fn sentence(step: &Step) -> String {
    match step {
        Step::CreateApplication { label, .. } => {
            format!("create the API Services application {label:?} with this host's public key")
        }
        Step::RegisterKey { jwk } => {
            let kid = jwk.get("kid").and_then(Value::as_str).unwrap_or_default();
            format!("register the public key {kid} at the application")
        }
        Step::GrantScope { scope, .. } => format!("grant the scope {scope} to the application"),
        Step::CreateRole { label, permissions } => {
            format!("create the admin role {label:?} with {}", permissions.join(", "))
        }
        Step::AddPermission { permission } => format!("add {permission} to the admin role"),
        Step::CreateResourceSet { label, resources } => {
            format!("create the resource set {label:?} with {}", resources.join(", "))
        }
        Step::AddResources { resources } => format!("add {} to the resource set", resources.join(", ")),
        Step::AssignRole => "assign the role to the application, for the resource set".to_owned(),
        Step::DeactivateKey { key } => format!("deactivate the old key ({key})"),
        Step::DeleteKey { key } => format!("delete the old key ({key})"),
        Step::RevokeToken => "revoke the administrator's token".to_owned(),
    }
}

/// What stands for an id that is not known yet.
pub fn unknown(thing: Thing) -> String {
    match thing {
        Thing::Application => "{id of the application}",
        Thing::Role => "{id of the role}",
        Thing::ResourceSet => "{id of the resource set}",
    }
    .to_owned()
}

/// Every call with its URL and body, in words and as it would be made.
pub fn calls(steps: &[Step], names: &Names, origin: &str) -> String {
    let mut text = String::new();
    for (index, step) in steps.iter().enumerate() {
        let call = step.call(names);
        let url = format!("{origin}/{}", call.path.join("/"));
        // A writer to a string cannot fail.
        let _ = writeln!(text, "{}. {}\n   {} {url}", index + 1, sentence(step), call.method);
        if let Some(body) = &call.body {
            for line in format!("{body:#}").lines() {
                let _ = writeln!(text, "   {line}");
            }
        }
    }
    text
}

/// The table of the configuration in one word list: numbered steps, without their calls.
pub fn list(steps: &[Step]) -> String {
    let lines = steps.iter().enumerate();
    lines.fold(String::new(), |mut text, (index, step)| {
        let _ = writeln!(text, "  {}. {}", index + 1, sentence(step));
        text
    })
}

/// A shell script that makes the calls. It reads the administrator's token from `okta-admin.header`.
pub fn curl(steps: &[Step], origin: &str) -> String {
    let variable = |thing: Thing| match thing {
        Thing::Application => "APPLICATION",
        Thing::Role => "ROLE",
        Thing::ResourceSet => "RESOURCE_SET",
    };
    let marked = |thing: Thing| format!("@{}@", variable(thing));
    let names = Names {
        application: marked(Thing::Application),
        role: marked(Thing::Role),
        resource_set: marked(Thing::ResourceSet),
    };
    let expanded = |text: &str| {
        let mut text = text.replace('\\', "\\\\").replace('$', "\\$").replace('`', "\\`");
        for thing in [Thing::Application, Thing::Role, Thing::ResourceSet] {
            text = text.replace(&marked(thing), &format!("${{{}}}", variable(thing)));
        }
        text
    };
    let mut text = String::from(
        "#!/bin/sh\n# Needs curl and jq, and okta-admin.header: a file of mode 0600 with the one line\n\
         #   Authorization: SSWS <API token of a Super Administrator>\nset -eu\n",
    );
    let _ = writeln!(text, "ORGANIZATION='{}'", origin.replace('\'', "'\\''"));
    text.push_str(
        "okta() { curl --silent --show-error --fail-with-body --header @okta-admin.header \\\n  \
         --header 'Accept: application/json' --header 'Content-Type: application/json' \"$@\"; }\n\
         refused() { printf '%s\\n' \"$ANSWER\" >&2; exit 1; }\n",
    );
    for step in steps {
        let call = step.call(&names);
        let url = format!("${{ORGANIZATION}}/{}", expanded(&call.path.join("/")));
        let _ = writeln!(text, "\n# {}", sentence(step));
        let request = format!("ANSWER=$(okta --request {} \"{url}\"", call.method);
        let request = match &call.body {
            Some(body) => {
                format!("{request} --data-binary @- <<JSON\n{}\nJSON\n)", expanded(&format!("{body:#}")))
            }
            None => format!("{request})"),
        };
        let _ = writeln!(text, "{request} || refused");
        if let Some(thing) = step.makes() {
            let _ = writeln!(text, "{}=$(printf '%s' \"$ANSWER\" | jq -er .id)", variable(thing));
        }
    }
    let _ = writeln!(text, "\necho \"client id: ${{APPLICATION}}\"");
    text
}

/// What to click in the admin console.
pub fn console(wishes: &Wishes) -> String {
    let [users, groups] = wishes.scopes();
    let label = &wishes.label;
    let permissions = wishes.permissions();
    let permission = |name: &str| match name {
        "okta.users.read" => "User permissions: View users and their details",
        "okta.groups.read" => "Group permissions: View groups and their details",
        "okta.users.groupMembership.manage" => "User permissions: Edit users' group membership",
        _ => "Group permissions: Manage group membership",
    };
    let permissions: Vec<_> =
        permissions.iter().map(|name| format!("   - {} ({name})", permission(name))).collect();
    let reach = if wishes.groups.is_empty() {
        "   - Groups: all groups".to_owned()
    } else {
        let ids: Vec<_> = wishes.groups.iter().map(String::as_str).collect();
        format!("   - Groups: {}", ids.join(", "))
    };
    format!(
        "In the Admin Console of {origin}, as a Super Administrator:

1. Applications, Applications, Create App Integration: choose API Services, name it
   {label}
   and save.
2. On its General tab, Client Credentials, Edit: choose Public key / Private key, Add key, paste this public key,
   and save. Leave everything else as it is.

{jwk:#}

3. On its Okta API Scopes tab grant, and nothing else:
   - {users}
   - {groups}
4. Security, Administrators, Roles, Create new role: name it {label} and choose
{permissions}
5. Security, Administrators, Resources, Create new resource set: name it {label} and add
   - Users: all users
{reach}
6. On the application's Admin roles tab, Edit assignments: choose the role {label} and the resource set
   {label}, and save.
7. Copy the Client ID from the General tab.
",
        origin = wishes.origin,
        jwk = wishes.public_jwk,
        permissions = permissions.join("\n"),
    )
}

/// The files of `deploy/terraform`, as one.
pub fn terraform() -> String {
    let files = [
        include_str!("../../deploy/terraform/versions.tf"),
        include_str!("../../deploy/terraform/variables.tf"),
        include_str!("../../deploy/terraform/main.tf"),
        include_str!("../../deploy/terraform/outputs.tf"),
    ];
    files.join("\n")
}

/// The values of its variables, as `terraform.tfvars.json` has them.
pub fn terraform_variables(wishes: &Wishes) -> Value {
    json!({
        "organization_url": wishes.origin,
        "public_jwk": wishes.public_jwk.to_string(),
        "app_label": wishes.label,
        "access": wishes.access,
        "group_ids": wishes.groups,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::setup::found::Found;
    use crate::setup::plan::plan;

    fn wishes(label: &str, access: bool) -> Wishes {
        Wishes {
            label: label.into(),
            client_id: None,
            origin: "https://example.okta.com".into(),
            access,
            groups: BTreeSet::new(),
            public_jwk: json!({ "kty": "RSA", "kid": "kid-1", "n": "abc", "e": "AQAB" }),
        }
    }

    #[test]
    fn each_way_of_saying_it_says_all_of_it_and_asks_for_no_token_on_a_command_line() {
        let wishes = wishes("Apono Connector", true);
        let steps = plan(&Found::default(), &wishes).unwrap().steps;
        let names = Names::of(&Found::default(), unknown);
        let calls = calls(&steps, &names, &wishes.origin);
        let curl = curl(&steps, &wishes.origin);
        for text in [&calls, &curl, &console(&wishes)] {
            for needed in [
                "okta.users.read",
                "okta.groups.manage",
                "okta.groups.members.manage",
                "okta.users.groupMembership.manage",
                "kid-1",
                "Apono Connector",
            ] {
                assert!(text.contains(needed), "{needed} is not in\n{text}");
            }
        }
        assert!(
            calls.contains("POST https://example.okta.com/oauth2/v1/clients/{id of the application}/roles")
        );
        assert!(
            curl.contains("\"role\": \"${ROLE}\"") && curl.contains("--header @okta-admin.header"),
            "{curl}"
        );
        let variables = terraform_variables(&wishes);
        for name in ["organization_url", "public_jwk", "app_label", "access", "group_ids"] {
            assert!(terraform().contains(&format!("variable \"{name}\"")) && !variables[name].is_null());
        }
    }

    #[test]
    fn without_access_nothing_is_said_that_changes_members() {
        let wishes = wishes("Apono Connector", false);
        let steps = plan(&Found::default(), &wishes).unwrap().steps;
        for text in [curl(&steps, &wishes.origin), console(&wishes)] {
            assert!(!text.contains("manage"), "{text}");
        }
    }

    /// The script as a shell reads it, with a `curl` that only writes down what it was asked.
    #[test]
    fn a_shell_runs_the_script_whatever_the_label_is() {
        let folder = tempfile::tempdir().unwrap();
        let label = "A $(touch owned) `touch owned` 'b' \"c\" \\d ${HOME}";
        let steps = plan(&Found::default(), &wishes(label, true)).unwrap().steps;
        let script = folder.path().join("setup.sh");
        std::fs::write(&script, curl(&steps, "https://example.okta.com")).unwrap();
        let tool = |name: &str, text: &str| {
            use std::os::unix::fs::PermissionsExt;
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        tool(
            "curl",
            "#!/bin/sh\necho \"$@\" >> calls\ncase \"$*\" in *--data-binary*) cat >> bodies;; esac\n",
        );
        tool("jq", "#!/bin/sh\ncat > /dev/null\necho 0oa1\n");
        let run = || {
            std::process::Command::new("/bin/sh")
                .arg(&script)
                .current_dir(folder.path())
                .env_clear()
                .env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()))
                .output()
                .unwrap()
        };
        let output = run();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "client id: 0oa1\n");
        assert!(!folder.path().join("owned").exists(), "the label was run");
        let calls = std::fs::read_to_string(folder.path().join("calls")).unwrap();
        assert_eq!(calls.lines().count(), steps.len());
        assert!(calls.contains("https://example.okta.com/api/v1/apps/0oa1/grants"), "{calls}");
        // One that is refused ends it.
        tool(
            "curl",
            "#!/bin/sh\necho \"$@\" >> calls\ncase \"$*\" in *iam/roles*) echo E0000006; exit 22;; esac\n",
        );
        std::fs::remove_file(folder.path().join("calls")).unwrap();
        let refused = run();
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert_eq!(String::from_utf8_lossy(&refused.stderr), "E0000006\n");
        let made = std::fs::read_to_string(folder.path().join("calls")).unwrap();
        assert!(made.contains("/grants") && !made.contains("resource-sets"), "{made}");
        let bodies = std::fs::read_to_string(folder.path().join("bodies")).unwrap();
        let bodies: Vec<Value> =
            serde_json::Deserializer::from_str(&bodies).into_iter().map(Result::unwrap).collect();
        assert_eq!(bodies[0]["label"], label);
        assert_eq!(bodies.last().unwrap()["resource-set"], "0oa1");
    }
}
