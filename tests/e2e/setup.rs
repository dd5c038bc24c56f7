//! From nothing to a connection.

use std::fs;
use std::io::{Read, Write};
use std::process::Stdio;
use std::time::Duration;

use futures_util::future::join_all;
use nix::pty::openpty;
use nix::sys::termios::{LocalFlags, tcgetattr};
use serde_json::Value;
use simulator::fault::Fault;
use simulator::okta::faults::error;
use simulator::okta::{AdminRole, NewGroup};

use crate::fresh::{CHANGES, Fresh, err, json_file, mode, out};
use crate::world::{INTEGRATION, read};

#[tokio::test]
async fn two_commands_lead_from_nothing_to_the_first_grant() {
    let mut fresh = Fresh::new();
    let made = fresh.setup(&["--revoke-admin-token"]).await;
    assert_eq!(made.status.code(), Some(0), "{}", err(&made));
    let (credentials, config) = ("okta-credentials.json", "connector.toml");
    assert_eq!(fresh.files(), [config, credentials]);
    let credentials = fresh.world.path("fresh").join(credentials);
    assert_eq!(mode(&credentials), 0o600);
    assert!(err(&made).contains("it sees users and groups"), "{}", err(&made));
    assert!(!fresh.world.okta.is_admin_token(&fresh.token), "the token was to be revoked");
    let next = out(&made);
    let next = next.lines().last().unwrap();
    assert_eq!(next, format!("next: apono-connector run --config {}", fresh.text("fresh/connector.toml")));

    let connector = fresh.start(next);
    let granted = fresh.world.grant(&fresh.group, Duration::from_mins(5));
    let result = fresh.world.result(&granted.task_id).await;
    assert_eq!(result["code"], "granted", "{result}\n{}", connector.text());
    assert!(fresh.world.okta.is_member(&fresh.group, &fresh.user));
    assert!(!connector.text().contains(&fresh.token));
    assert!(connector.stop().await.success());
    assert!(!read(&fresh.world.path("state/audit.jsonl")).contains(&fresh.token));
    fresh.world.check_contract();
}

#[tokio::test]
async fn whatever_breaks_the_next_run_completes_it_and_the_one_after_changes_nothing() {
    let from_nothing =
        |name: &&str| !name.ends_with("_app_key") && !["add_role_permission", "add_resources"].contains(name);
    let changes = CHANGES.iter().copied().filter(from_nothing);
    let refused = changes.clone().chain(["list_apps", "token"]).map(|broken| (broken, false));
    for (broken, is_lost) in refused.chain(changes.map(|broken| (broken, true))) {
        let fresh = Fresh::new();
        // The second time, so that what is done several times is cut in its middle.
        let skip = usize::from(broken == "grant_app_scope");
        let (times, fault) = if is_lost {
            (1, Fault::DisconnectAfterEffect)
        } else {
            (40, error(403, "E0000006", "You do not have permission"))
        };
        fresh.world.okta.faults().after(broken, skip, times, fault);
        let failed = fresh.setup(&[]).await;
        assert_ne!(failed.status.code(), Some(0), "{broken}");
        assert!(!fresh.world.path("fresh/okta-credentials.json").exists(), "{broken}");
        fresh.world.okta.faults().clear();
        let pending = fresh.world.path("fresh/okta-credentials.json.pending");
        let key = pending.exists().then(|| json_file(&pending));

        let completed = fresh.setup(&[]).await;
        assert_eq!(completed.status.code(), Some(0), "{broken}: {}", err(&completed));
        let credentials = json_file(&fresh.world.path("fresh/okta-credentials.json"));
        if let Some(key) = key {
            assert_eq!(credentials["private_key"], key, "{broken}: the key that was registered is the one");
        }
        assert_eq!(fresh.files(), ["connector.toml", "okta-credentials.json"]);
        if is_lost {
            assert_eq!(fresh.world.okta.faults().fired(broken), 1);
            assert_eq!(fresh.changes(), 6, "{broken}: what was done is not done again");
        }
        for (operation, calls) in [("add_app_key", 0), ("add_role_permission", 0), ("add_resources", 0)] {
            assert_eq!(fresh.world.okta.call_count(operation), calls, "{broken}");
        }

        let (changes, config) = (fresh.changes(), read(&fresh.world.path("fresh/connector.toml")));
        let again = fresh.setup(&[]).await;
        assert_eq!(again.status.code(), Some(0), "{broken}: {}", err(&again));
        assert!(err(&again).contains("everything is there already"), "{}", err(&again));
        assert!(err(&again).contains("has a table of"), "{}", err(&again));
        assert!(!err(&again).contains("warning"), "{}", err(&again));
        assert_eq!(fresh.changes(), changes, "{broken}");
        assert_eq!(read(&fresh.world.path("fresh/connector.toml")), config);
        assert_eq!(json_file(&fresh.world.path("fresh/okta-credentials.json")), credentials);
        let dry = fresh.setup(&["--dry-run"]).await;
        assert_eq!((dry.status.code(), out(&dry).trim()), (Some(0), "nothing would be changed"));
    }
}

/// An answer of success, and nothing was done.
fn pretended(status: u16) -> Fault {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Fault::Answer { status, headers, body: "{}".to_owned() }
}

/// Whatever keeps the connection from being complete, the token that completes it is kept.
#[tokio::test]
async fn while_the_connection_is_not_complete_the_token_is_kept_and_the_exit_says_so() {
    let refused = || error(403, "E0000006", "You do not have permission");
    // The administrator looks once; then the connector does.
    let cases = [
        ("grant_app_scope", 1, 1, pretended(201), "okta.groups.manage is not granted", "AOC-0320"),
        ("assign_client_role", 0, 1, pretended(200), "neither users nor groups", "AOC-0801"),
        ("list_users", 1, 40, refused(), "cannot look at users and groups", "AOC-0402"),
        ("create_role", 0, 0, refused(), "members of the group", "AOC-0402"),
    ];
    join_all(cases.into_iter().map(async |(broken, skip, times, fault, said, code)| {
        let fresh = Fresh::new();
        if times == 0 {
            // Of the two permissions by which members are changed, one does not come.
            let narrow = fresh.setup(&["--without-access"]).await;
            assert_eq!(narrow.status.code(), Some(0), "{}", err(&narrow));
            fresh.world.okta.faults().after("add_role_permission", 1, 1, pretended(204));
        } else {
            fresh.world.okta.faults().after(broken, skip, times, fault);
        }
        let short = fresh.setup(&["--revoke-admin-token"]).await;
        assert_eq!(short.status.code(), Some(77), "{said}: {}", err(&short));
        for said in [said, code, "the administrator's token was not revoked"] {
            assert!(err(&short).contains(said), "{said} is not in\n{}", err(&short));
        }
        assert!(fresh.world.okta.is_admin_token(&fresh.token), "{said}");
        assert!(!out(&short).contains("next:"), "{}", out(&short));
        fresh.world.okta.faults().clear();
        let completed = fresh.setup(&["--revoke-admin-token"]).await;
        assert_eq!(completed.status.code(), Some(0), "{said}: {}", err(&completed));
        assert!(!fresh.world.okta.is_admin_token(&fresh.token), "{said}");
        for operation in ["create_app", "create_role", "create_resource_set"] {
            assert_eq!(fresh.world.okta.call_count(operation), 1, "{said}: {operation}");
        }
    }))
    .await;
}

#[tokio::test]
async fn a_role_that_is_not_in_force_at_once_is_waited_for() {
    let fresh = Fresh::new();
    fresh.world.okta.configure(|settings| settings.role_lag = Duration::from_secs(2));
    let made = fresh.setup(&["--revoke-admin-token"]).await;
    assert_eq!(made.status.code(), Some(0), "{}", err(&made));
    assert!(!err(&made).contains("AOC-") && err(&made).contains("may change members"), "{}", err(&made));
    // The administrator's look, one that showed nothing, and the one that did.
    assert!(fresh.world.okta.call_count("list_users") > 2);
    assert!(!fresh.world.okta.is_admin_token(&fresh.token));
    assert_eq!(fresh.world.okta.membership_count(), 0, "nobody was made a member");
}

#[tokio::test]
async fn an_organization_in_which_there_is_nobody_is_told_and_is_no_failure() {
    let fresh = Fresh::new();
    fresh.world.okta.delete_user(&fresh.user);
    fresh.world.okta.delete_group(&fresh.group);
    let made = fresh.setup(&["--revoke-admin-token"]).await;
    assert_eq!(made.status.code(), Some(0), "{}", err(&made));
    assert!(err(&made).contains("warning: a token was fetched, but it sees neither"), "{}", err(&made));
    assert!(!fresh.world.okta.is_admin_token(&fresh.token));
}

/// What is made several times is found again although it does not fit on a page.
#[tokio::test]
async fn what_is_there_is_found_beyond_the_first_page() {
    let fresh = Fresh::new();
    fresh.world.okta.configure(|settings| settings.page_sizes.management = 1);
    for other in ["A", "B"] {
        let file = fresh.text(&format!("{other}.json"));
        let made = fresh.setup(&["--app-label", other, "--credentials-file", &file]).await;
        assert_eq!(made.status.code(), Some(0), "{}", err(&made));
    }
    let made = fresh.setup(&[]).await;
    assert_eq!(made.status.code(), Some(0), "{}", err(&made));
    let changes = fresh.changes();
    assert_eq!(changes, 18, "three times the same six");
    let again = fresh.setup(&[]).await;
    assert_eq!(again.status.code(), Some(0), "{}", err(&again));
    assert!(err(&again).contains("everything is there already"), "{}", err(&again));
    assert_eq!(fresh.changes(), changes);
}

#[tokio::test]
async fn an_answer_that_is_lost_while_more_is_given_or_the_token_ends_is_made_up_for() {
    for broken in ["add_role_permission", "add_resources"] {
        let fresh = Fresh::new();
        let narrow = fresh.setup(&["--without-access", "--group", "oncall"]).await;
        assert_eq!(narrow.status.code(), Some(0), "{}", err(&narrow));
        fresh.world.okta.faults().once(broken, Fault::DisconnectAfterEffect);
        let failed = fresh.setup(&[]).await;
        assert_eq!(failed.status.code(), Some(69), "{broken}: {}", err(&failed));
        let completed = fresh.setup(&[]).await;
        assert_eq!(completed.status.code(), Some(0), "{broken}: {}", err(&completed));
        for (operation, calls) in [("add_role_permission", 2), ("add_resources", 1)] {
            assert_eq!(fresh.world.okta.call_count(operation), calls, "{broken}: {operation}");
        }
    }
    let fresh = Fresh::new();
    fresh.world.okta.faults().once("revoke_api_token", Fault::DisconnectAfterEffect);
    let made = fresh.setup(&["--revoke-admin-token"]).await;
    assert_eq!(made.status.code(), Some(0), "{}", err(&made));
    assert_eq!(fresh.world.okta.faults().fired("revoke_api_token"), 1);
    assert!(!fresh.world.okta.is_admin_token(&fresh.token));
}

/// The calls that a dry run has printed, as method and path.
fn printed(text: &str, origin: &str) -> Vec<(String, String)> {
    let calls = text.lines().filter_map(|line| {
        let (method, url) = line.trim_start().split_once(' ')?;
        Some((method.to_owned(), url.strip_prefix(origin)?.to_owned()))
    });
    calls.collect()
}

/// The calls by which an administrator has changed something. The connector's own ask for tokens, and for what it may do.
fn made(fresh: &Fresh) -> Vec<(String, String)> {
    let calls = fresh.world.okta.calls().into_iter();
    let calls =
        calls.filter(|call| call.method != "GET" && !["token", "add_member"].contains(&call.operation));
    calls.map(|call| (call.method, call.path)).collect()
}

/// Whether both name the same, where the one does not know yet what ids there will be.
fn is_same(printed: &str, made: &str) -> bool {
    let unknown = |part: &str| part.starts_with("{id of ");
    let (printed, made): (Vec<_>, Vec<_>) = (printed.split('/').collect(), made.split('/').collect());
    printed.len() == made.len() && printed.iter().zip(&made).all(|(one, other)| one == other || unknown(one))
}

#[tokio::test]
async fn a_dry_run_shows_every_call_that_a_real_run_makes_and_changes_nothing() {
    let mut fresh = Fresh::new();
    let asked = ["--group", "oncall", "--revoke-admin-token"];
    let dry = fresh.setup(&[&["--dry-run"], &asked[..]].concat()).await;
    assert_eq!(dry.status.code(), Some(2), "{}", err(&dry));
    let (text, url) = (out(&dry), fresh.world.okta_server.url());
    for shown in [
        format!("{url}/api/v1/groups/{}", fresh.group),
        "okta.groups.members.manage".to_owned(),
        "okta.users.groupMembership.manage".to_owned(),
        "private_key_jwt".to_owned(),
    ] {
        assert!(text.contains(&shown), "{shown} is not in\n{text}");
    }
    assert_eq!(made(&fresh), Vec::new());
    assert!(fresh.world.okta.is_admin_token(&fresh.token));
    assert_eq!(fresh.files(), Vec::<String>::new());

    let real = fresh.setup(&asked).await;
    assert_eq!(real.status.code(), Some(0), "{}", err(&real));
    let (shown, done) = (printed(&text, &url), made(&fresh));
    assert_eq!(shown.len(), done.len(), "{shown:?}\n{done:?}");
    for (shown, done) in shown.iter().zip(&done) {
        assert!(shown.0 == done.0 && is_same(&shown.1, &done.1), "{shown:?} was shown, {done:?} was done");
    }

    // Where all is there already, the token's end is what is left.
    fresh.give_token(AdminRole::SuperAdmin);
    let dry = fresh.setup(&["--dry-run", "--group", "oncall"]).await;
    assert_eq!((dry.status.code(), out(&dry).trim()), (Some(0), "nothing would be changed"));
    let dry = fresh.setup(&[&["--dry-run"], &asked[..]].concat()).await;
    assert_eq!(dry.status.code(), Some(2), "{}", err(&dry));
    let last = [("DELETE".to_owned(), "/api/v1/api-tokens/current".to_owned())];
    assert_eq!(printed(&out(&dry), &url), last);
    assert!(fresh.world.okta.is_admin_token(&fresh.token));
    let real = fresh.setup(&asked).await;
    assert_eq!(real.status.code(), Some(0), "{}", err(&real));
    assert_eq!(made(&fresh)[done.len()..], last);
}

#[tokio::test]
async fn rights_reach_no_further_than_was_asked_and_more_is_told() {
    let fresh = Fresh::new();
    let payroll = fresh.world.okta.add_group(NewGroup::named("payroll"));
    let made = fresh.setup(&["--without-access", "--group", "oncall"]).await;
    assert_eq!(made.status.code(), Some(0), "{}", err(&made));
    assert!(read(&fresh.world.path("fresh/connector.toml")).contains("enabled = false"));
    let credentials = fresh.text("fresh/okta-credentials.json");
    let verified = fresh.key(&["verify", &credentials, "--organization-url", "URL"]).await;
    assert_eq!(verified.status.code(), Some(77));
    assert!(err(&verified).contains("okta.groups.manage is not granted"), "{}", err(&verified));
    let verified =
        fresh.key(&["verify", &credentials, "--organization-url", "URL", "--without-access"]).await;
    assert_eq!(verified.status.code(), Some(0), "{}", err(&verified));

    // Later it is to do more: what is missing is added, nothing is made twice.
    let more = fresh.setup(&["--group", "oncall", "--group", &payroll]).await;
    assert_eq!(more.status.code(), Some(0), "{}", err(&more));
    for (operation, calls) in [
        ("create_app", 1),
        ("create_role", 1),
        ("create_resource_set", 1),
        ("grant_app_scope", 3),
        ("add_role_permission", 2),
        ("add_resources", 1),
        ("assign_client_role", 1),
    ] {
        assert_eq!(fresh.world.okta.call_count(operation), calls, "{operation}");
    }
    let verified = fresh.key(&["verify", &credentials, "--organization-url", "URL"]).await;
    assert_eq!(verified.status.code(), Some(0), "{}", err(&verified));

    // And then less: what is too much is told, and left to a person.
    let less = fresh.setup(&["--without-access", "--group", "oncall"]).await;
    assert_eq!(less.status.code(), Some(0), "{}", err(&less));
    for told in ["okta.groups.manage", "okta.groups.members.manage", &payroll] {
        assert!(err(&less).contains(told), "{told} is not in\n{}", err(&less));
    }
}

#[tokio::test]
async fn every_refusal_says_the_call_oktas_words_and_what_to_do() {
    let mut fresh = Fresh::new();
    fresh.give_token(AdminRole::AppAdmin);
    let refused = fresh.setup(&[]).await;
    assert_eq!(refused.status.code(), Some(77), "{}", err(&refused));
    for said in
        ["POST /api/v1/apps/", "/grants", "E0000006", "You do not have permission", "Super Administrator"]
    {
        assert!(err(&refused).contains(said), "{said} is not in\n{}", err(&refused));
    }
    fresh.give_token(AdminRole::SuperAdmin);
    let completed = fresh.setup(&[]).await;
    assert_eq!(completed.status.code(), Some(0), "{}", err(&completed));
    assert_eq!(fresh.world.okta.call_count("create_app"), 1);

    let fresh = Fresh::new();
    fs::write(fresh.world.path("admin-token"), "00wrongwrongwrongwrongwrongwrongwrongwrong").unwrap();
    let refused = fresh.setup(&[]).await;
    assert_eq!(refused.status.code(), Some(77), "{}", err(&refused));
    assert!(err(&refused).contains("E0000011") && err(&refused).contains("Security, API, Tokens"));
    assert!(!err(&refused).contains("00wrong"), "{}", err(&refused));
    assert!(fresh.files().is_empty());

    let fresh = Fresh::new();
    fresh.world.okta.add_other_app("Apono Connector", "SAML_2_0");
    let refused = fresh.setup(&[]).await;
    assert_eq!(refused.status.code(), Some(78), "{}", err(&refused));
    assert!(err(&refused).contains("which is a SAML_2_0 application; choose another with --app-label"));
    let other = fresh.setup(&["--app-label", "Apono Connector 2"]).await;
    assert_eq!(other.status.code(), Some(0), "{}", err(&other));

    let without = |name: &str| {
        let mut arguments = fresh.arguments(&["--write-config"]);
        let at = arguments.iter().position(|argument| argument == name).unwrap();
        arguments.drain(at..at + 2);
        arguments
    };
    for flag in ["--organization-url", "--integration-id", "--admin-token-file"] {
        let refused = fresh.run(&without(flag)).await;
        assert_eq!(refused.status.code(), Some(64), "{flag}: {}", err(&refused));
        assert!(err(&refused).contains(&format!("{flag} is missing")), "{}", err(&refused));
    }
    for (wrong, code, said) in [
        ("https://example-admin.okta.com", 64, "leave out -admin"),
        ("http://example.okta.com", 64, "https://"),
        ("http://127.0.0.1:1", 69, "cannot be reached"),
    ] {
        let refused = fresh.setup(&["--organization-url", wrong]).await;
        // Given twice, it is a mistake of the command line; given once, it is this one.
        assert_eq!(refused.status.code(), Some(64), "{}", err(&refused));
        let mut arguments = without("--organization-url");
        arguments.extend(["--organization-url".into(), wrong.into()]);
        let refused = fresh.run(&arguments).await;
        assert_eq!(refused.status.code(), Some(code), "{}", err(&refused));
        assert!(err(&refused).contains(said), "{}", err(&refused));
    }
}

#[tokio::test]
async fn what_was_done_by_hand_is_finished_with_the_client_id() {
    let fresh = Fresh::new();
    let client = "0oabyhand00000000001";
    let credentials = fresh.text("fresh/okta-credentials.json");
    let early = fresh.run(&fresh.by_hand(&["--client-id", client])).await;
    assert_eq!(early.status.code(), Some(64), "{}", err(&early));
    for how in ["console", "curl", "terraform"] {
        let printed = fresh.run(&fresh.by_hand(&["--print", how])).await;
        assert_eq!(printed.status.code(), Some(0), "{}", err(&printed));
        let text = out(&printed) + &err(&printed);
        for said in ["okta.groups.members.manage", "okta.users.groupMembership.manage", "--client-id"] {
            assert!(text.contains(said), "{said} is not in\n{text}");
        }
    }
    assert_eq!(fresh.files(), ["okta-credentials.json.pending"]);
    assert_eq!(fresh.world.okta.total_calls(), 0);

    let jwk = fresh.key(&["jwk", &format!("{credentials}.pending")]).await;
    let jwk: Value = serde_json::from_str(&out(&jwk)).unwrap();
    assert!(jwk.get("d").is_none() && jwk["kid"].is_string());
    let unknown = fresh.run(&fresh.by_hand(&["--client-id", client])).await;
    assert_eq!(unknown.status.code(), Some(77), "{}", err(&unknown));
    assert!(err(&unknown).contains("does not know this client"), "{}", err(&unknown));
    fresh.world.okta.register_client(client, jwk, &["okta.users.read", "okta.groups.manage"]);
    let done = fresh.run(&fresh.by_hand(&["--client-id", client])).await;
    assert_eq!(done.status.code(), Some(0), "{}", err(&done));
    assert_eq!(json_file(&fresh.world.path("fresh/okta-credentials.json"))["client_id"], client);
    assert_eq!(fresh.files(), ["connector.toml", "okta-credentials.json"]);
    // Looked at with an administrator's token, only the narrow role is missing.
    let looked = fresh.setup(&["--dry-run"]).await;
    assert_eq!(looked.status.code(), Some(2));
    assert!(err(&looked).contains("another admin role, ORG_ADMIN"), "{}", err(&looked));
    assert!(!out(&looked).contains("/api/v1/apps\n"), "{}", out(&looked));
}

#[tokio::test]
async fn a_configuration_that_exists_is_shown_the_table_and_changed_only_when_asked() {
    let fresh = Fresh::new();
    let config = fresh.world.path("fresh/connector.toml");
    let before = "# by hand\n[apono]\nconnector_id = \"c\" # ours\n";
    fs::write(&config, before).unwrap();
    let shown = fresh.setup(&[]).await;
    assert_eq!(shown.status.code(), Some(0), "{}", err(&shown));
    assert!(out(&shown).starts_with("[[okta]]\nintegration_id = "), "{}", out(&shown));
    assert_eq!(read(&config), before);
    let written = fresh.setup(&["--write-config"]).await;
    assert_eq!(written.status.code(), Some(0), "{}", err(&written));
    assert!(read(&config).starts_with(before) && read(&config).contains("[[okta]]"), "{}", read(&config));
    let text = read(&config);
    let again = fresh.setup(&["--write-config"]).await;
    assert_eq!(again.status.code(), Some(0), "{}", err(&again));
    assert_eq!(read(&config), text);
}

fn echoes(screen: &fs::File) -> bool {
    tcgetattr(screen).unwrap().local_flags.contains(LocalFlags::ECHO)
}

/// A person at a terminal: asked for what is missing, shown the plan, and asked before anything is changed.
#[tokio::test]
async fn a_person_is_asked_and_the_token_is_not_shown() {
    for agrees in [false, true] {
        let fresh = Fresh::new();
        let terminal = openpty(None, None).unwrap();
        let slave = || Stdio::from(terminal.slave.try_clone().unwrap());
        // The password prompt reads from the controlling terminal.
        let mut command = tokio::process::Command::new("setsid");
        command.args(["--ctty", "--wait", env!("CARGO_BIN_EXE_apono-connector"), "okta", "setup"]);
        command.args(["--config", &fresh.text("fresh/connector.toml")]);
        command.env_clear().env("PATH", "/usr/bin:/bin").stdin(slave()).stdout(slave()).stderr(slave());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        drop(command);
        let mut screen = fs::File::from(terminal.master);
        drop(terminal.slave);
        let answers = [
            ("Okta organization", fresh.world.okta_server.url()),
            ("API token of a Super Administrator", fresh.token.clone()),
            ("Do this?", if agrees { "y" } else { "" }.to_owned()),
            ("Apono's id of this", INTEGRATION.to_owned()),
            ("Revoke the administrator's token now?", "yes".to_owned()),
        ];
        let seen = tokio::task::spawn_blocking(move || {
            let (mut seen, mut answers) = (String::new(), answers.into_iter().peekable());
            let mut buffer = [0; 4096];
            // The other end is closed: an error on Linux.
            while let Ok(read @ 1..) = screen.read(&mut buffer) {
                seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
                if let Some((question, answer)) = answers.next_if(|(question, _)| {
                    seen.rfind(question).is_some_and(|at| seen[at..].ends_with(": "))
                }) {
                    // Nobody types before the terminal is silent; a test could.
                    while question.contains("token of") && echoes(&screen) {
                        std::thread::yield_now();
                    }
                    writeln!(screen, "{answer}").unwrap();
                }
            }
            seen
        });
        let (status, seen) = (child.wait().await.unwrap(), seen.await.unwrap());
        assert_eq!(status.code(), Some(if agrees { 0 } else { 64 }), "{seen}");
        assert!(!seen.contains(&fresh.token), "the token was shown:\n{seen}");
        assert!(seen.contains("create the API Services application"), "{seen}");
        assert_eq!(fresh.changes() > 0, agrees);
        assert_eq!(fresh.world.okta.is_admin_token(&fresh.token), !agrees);
        assert_eq!(fresh.files().is_empty(), !agrees);
    }
}
