//! Secrets are replaced under a running connector: nothing fails, nothing restarts, and a bad one changes nothing.

use std::os::unix::fs::symlink;
use std::time::Duration;

use apono_connector::secrets::{Curve, GeneratedKey, generate_ec};
use apono_connector::server::TokenFact;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use simulator::apono::Grant;
use simulator::okta::{NewGroup, NewUser};

use crate::world::{CLIENT, INTEGRATION, Running, World, key};

const SCOPES: [&str; 2] = ["okta.users.read", "okta.groups.manage"];

fn new_key(world: &World) -> GeneratedKey {
    let key = generate_ec(Curve::P256).unwrap();
    world.okta.register_client(CLIENT, key.public_jwk.clone(), &SCOPES);
    key
}

fn kid(key: &GeneratedKey) -> String {
    key.public_jwk["kid"].as_str().unwrap().to_owned()
}

fn token(connector: &Running) -> TokenFact {
    connector.facts().organizations[0].token.clone()
}

async fn until_held(world: &World, connector: &Running) {
    world.until("a token is held", |_| (token(connector) == TokenFact::Held).then_some(())).await;
}

/// Whether every answer but a challenge was a success.
fn assert_nothing_failed(world: &World) {
    for call in world.okta.calls() {
        let is_challenge = call.operation == "token" && call.status == 400;
        assert!((200..300).contains(&call.status) || is_challenge, "{call:?}");
    }
    assert_eq!(
        world.okta.calls().iter().filter(|call| call.operation == "token" && call.status == 400).count(),
        1
    );
}

/// The old key is switched off as soon as the new one is proven, which is soon, and not when the token runs out.
#[tokio::test(start_paused = true)]
async fn a_new_key_is_proven_within_seconds_and_before_the_old_one_is_dropped() {
    let mut world = World::new();
    world.okta.add_user(NewUser::active("ada@example.com", "Ada", "Lovelace"));
    let group = world.okta.add_group(NewGroup::named("oncall"));
    let connector = world.start().await;
    until_held(&world, &connector).await;
    let mut old = key().1["kid"].as_str().unwrap().to_owned();
    for round in 1..=50 {
        let new = new_key(&world);
        world.mount_key(new.private_jwk.expose_secret());
        world.pass(Duration::from_secs(15)).await;
        assert_eq!(world.okta.tokens_issued(), round + 1, "proven by a token");
        world.okta.deactivate_key(CLIENT, &old);
        old = kid(&new);
        let grant = Grant::new(INTEGRATION, "ada@example.com", &[&group]);
        let granted = world.apono.grant(grant.until(world.after(Duration::from_secs(20))));
        assert_eq!(world.result(&granted.task_id).await["code"], "granted");
        world.pass(Duration::from_secs(30)).await;
    }
    assert_nothing_failed(&world);
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_new_key_that_okta_does_not_know_is_told_once_and_the_old_one_goes_on() {
    let mut world = World::new();
    world.okta.add_user(NewUser::active("ada@example.com", "Ada", "Lovelace"));
    let connector = world.start().await;
    until_held(&world, &connector).await;
    let strange = generate_ec(Curve::P256).unwrap();
    world.mount_key(strange.private_jwk.expose_secret());
    world.pass(Duration::from_hours(5)).await;
    assert_eq!(token(&connector), TokenFact::Held);
    let told: Vec<_> =
        world.warnings().into_iter().filter(|line| line.contains("does not take the new key")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains(&kid(&strange)) && told[0].contains("former one goes on being used"),
        "{told:?}"
    );
    let refused =
        world.okta.calls().iter().filter(|call| call.operation == "token" && call.status == 401).count();
    assert!(refused < 5 * 13 + 10, "asked slowly: {refused} times in five hours");
    let issued = world.okta.tokens_issued();

    // Registered later, it is taken by itself.
    world.okta.register_client(CLIENT, strange.public_jwk.clone(), &SCOPES);
    world.pass(Duration::from_mins(6)).await;
    assert!(world.okta.tokens_issued() > issued);
    world.okta.deactivate_key(CLIENT, key().1["kid"].as_str().unwrap());
    world.okta.revoke_tokens();
    let task = world.apono.enqueue("sync-directory", INTEGRATION, json!({}));
    assert_eq!(world.result(&task).await["output"]["outcome"], "completed");
    assert_eq!(token(&connector), TokenFact::Held);
    connector.stop().await;
}

/// As when the files were mounted in the wrong order, or the old key was thrown away too early.
#[tokio::test(start_paused = true)]
async fn a_new_key_that_was_refused_serves_as_soon_as_the_old_one_does_not() {
    let mut world = World::new();
    world.okta.add_user(NewUser::active("ada@example.com", "Ada", "Lovelace"));
    let connector = world.start().await;
    until_held(&world, &connector).await;
    let new = generate_ec(Curve::P384).unwrap();
    world.mount_key(new.private_jwk.expose_secret());
    world.pass(Duration::from_mins(2)).await;
    world.okta.register_client(CLIENT, new.public_jwk.clone(), &SCOPES);
    world.okta.deactivate_key(CLIENT, key().1["kid"].as_str().unwrap());
    world.okta.revoke_tokens();
    let task = world.apono.enqueue("sync-directory", INTEGRATION, json!({}));
    assert_eq!(world.result(&task).await["output"]["outcome"], "completed");
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn where_neither_key_is_taken_it_is_told_once_what_is_wrong_with_each() {
    let mut world = World::new();
    world.okta.add_user(NewUser::active("ada@example.com", "Ada", "Lovelace"));
    let connector = world.start().await;
    until_held(&world, &connector).await;
    let old = key().1["kid"].as_str().unwrap().to_owned();
    let (registered, strange) = (new_key(&world), generate_ec(Curve::P256).unwrap());
    world.mount_key(strange.private_jwk.expose_secret());
    world.pass(Duration::from_mins(2)).await;
    world.okta.deactivate_key(CLIENT, &old);
    world.okta.revoke_tokens();
    world.apono.enqueue("sync-directory", INTEGRATION, json!({}));
    world.pass(Duration::from_hours(3)).await;
    assert!(matches!(token(&connector), TokenFact::Refused { .. }));
    let told = || {
        let warnings = world.warnings().into_iter();
        warnings.filter(|line| line.contains("no token with the key")).collect::<Vec<_>>()
    };
    let lines = told();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for kid in [&old, &kid(&strange)] {
        let of_it = |line: &&String| line.contains(kid.as_str()) && line.contains("AOC-0302");
        assert_eq!(lines.iter().filter(of_it).count(), 1, "{kid}: {lines:?}");
    }
    world.mount_key(registered.private_jwk.expose_secret());
    until_held(&world, &connector).await;
    let task = world.apono.enqueue("sync-directory", INTEGRATION, json!({}));
    assert_eq!(world.result(&task).await["output"]["outcome"], "completed");
    assert_eq!(told().len(), 2);
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_same_secret_written_again_costs_nothing() {
    let mut world = World::new();
    let connector = world.start().await;
    until_held(&world, &connector).await;
    for _ in 0..20 {
        world.mount_key(key().0);
        world.pass(Duration::from_secs(30)).await;
    }
    assert_eq!(world.okta.tokens_issued(), 1);
    connector.stop().await;
}

type Replace<'a> = &'a dyn Fn(&GeneratedKey);

/// Every way in which files are replaced: each brings another key, and each is noticed.
#[tokio::test(start_paused = true)]
async fn a_key_is_followed_however_its_file_is_replaced() {
    let mut world = World::new();
    world.okta.add_user(NewUser::active("ada@example.com", "Ada", "Lovelace"));
    let secret = world.secret();
    let folder = secret.parent().unwrap().to_owned();
    let text = |key: &GeneratedKey| {
        let private: Value = serde_json::from_str(key.private_jwk.expose_secret()).unwrap();
        json!({ "client_id": CLIENT, "private_key": private }).to_string()
    };
    // As Kubernetes mounts it: the file is a link into `..data`, which is a link to a folder that is exchanged.
    let swap = |name: &str, key: &GeneratedKey| {
        std::fs::create_dir(folder.join(name)).unwrap();
        std::fs::write(folder.join(name).join("okta.json"), text(key)).unwrap();
        symlink(name, folder.join("..data_tmp")).unwrap();
        std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    };
    let connector = world.start().await;
    until_held(&world, &connector).await;
    let ways: [(&str, Replace<'_>); 6] = [
        ("in place", &|key| std::fs::write(&secret, text(key)).unwrap()),
        ("in place, with the times of the former", &|key| {
            let times = std::fs::metadata(&secret).unwrap();
            std::fs::write(&secret, text(key)).unwrap();
            let file = std::fs::File::options().write(true).open(&secret).unwrap();
            let before = std::fs::FileTimes::new().set_modified(times.modified().unwrap());
            file.set_times(before).unwrap();
        }),
        ("by renaming", &|key| {
            std::fs::write(folder.join("new"), text(key)).unwrap();
            std::fs::rename(folder.join("new"), &secret).unwrap();
        }),
        ("by a link into ..data", &|key| {
            swap("..v1", key);
            std::fs::remove_file(&secret).unwrap();
            symlink("..data/okta.json", &secret).unwrap();
        }),
        ("by another ..data", &|key| swap("..v2", key)),
        ("by another ..data, the former being deleted", &|key| {
            swap("..v3", key);
            std::fs::remove_dir_all(folder.join("..v2")).unwrap();
        }),
    ];
    let mut old = key().1["kid"].as_str().unwrap().to_owned();
    for (name, replace) in ways {
        let issued = world.okta.tokens_issued();
        let new = new_key(&world);
        replace(&new);
        world.pass(Duration::from_secs(15)).await;
        assert_eq!(world.okta.tokens_issued(), issued + 1, "{name}");
        world.okta.deactivate_key(CLIENT, &old);
        old = kid(&new);
        let task = world.apono.enqueue("sync-directory", INTEGRATION, json!({}));
        assert_eq!(world.result(&task).await["output"]["outcome"], "completed", "{name}");
    }
    // A while without any file.
    std::fs::remove_file(&secret).unwrap();
    world.pass(Duration::from_hours(2)).await;
    assert_eq!(token(&connector), TokenFact::Held);
    assert_nothing_failed(&world);
    connector.stop().await;
}

/// What Apono refused.
fn refused_by_apono(world: &World) -> usize {
    world.apono.exchanges().iter().filter(|exchange| exchange.status >= 400).count()
}

#[tokio::test(start_paused = true)]
async fn a_connector_token_is_replaced_again_and_again_and_no_call_fails() {
    let mut world = World::new();
    let user = world.okta.add_user(NewUser::active("ada@example.com", "Ada", "Lovelace"));
    let group = world.okta.add_group(NewGroup::named("oncall"));
    let connector = world.start().await;
    until_held(&world, &connector).await;
    let mut old = std::fs::read_to_string(world.token()).unwrap();
    for round in 0..100 {
        let new = format!("placeholder-{round}");
        world.apono.set_tokens(&[&old, &new]);
        std::fs::write(world.token(), &new).unwrap();
        let grant = Grant::new(INTEGRATION, "ada@example.com", &[&group]);
        let granted = world.apono.grant(grant.until(world.after(Duration::from_secs(20))));
        assert_eq!(world.result(&granted.task_id).await["code"], "granted");
        world.until_member(&group, &user, false).await;
        world.apono.set_tokens(&[&new]);
        old = new;
    }
    assert_eq!(refused_by_apono(&world), 0);
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_new_connector_token_that_apono_does_not_take_yet_is_told_once_and_the_old_one_goes_on() {
    let mut world = World::new();
    let user = world.okta.add_user(NewUser::active("ada@example.com", "Ada", "Lovelace"));
    let group = world.okta.add_group(NewGroup::named("oncall"));
    let connector = world.start().await;
    until_held(&world, &connector).await;
    let works = async || {
        let grant = Grant::new(INTEGRATION, "ada@example.com", &[&group]);
        let granted = world.apono.grant(grant.until(world.after(Duration::from_secs(20))));
        assert_eq!(world.result(&granted.task_id).await["code"], "granted");
        world.until_member(&group, &user, false).await;
        assert!(apono_connector::server::readiness(&connector.facts()).ready);
    };
    works().await;
    let old = std::fs::read_to_string(world.token()).unwrap();
    std::fs::write(world.token(), "placeholder-new").unwrap();
    let before = refused_by_apono(&world);
    for _ in 0..10 {
        works().await;
        world.pass(Duration::from_mins(1)).await;
    }
    let told: Vec<_> = world
        .warnings()
        .into_iter()
        .filter(|line| line.contains("does not take the new token yet"))
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
    let refused = refused_by_apono(&world) - before;
    assert!((1..=40).contains(&refused), "tried now and then: {refused} times in a quarter of an hour");
    world.apono.set_tokens(&[&old, "placeholder-new"]);
    world.pass(Duration::from_mins(1)).await;
    world.apono.set_tokens(&["placeholder-new"]);
    let before = refused_by_apono(&world);
    works().await;
    assert_eq!(refused_by_apono(&world), before);
    connector.stop().await;
}

/// A service that knows one token at a time: the file is replaced first, the service some time later.
#[tokio::test(start_paused = true)]
async fn a_scim_token_is_replaced_again_and_again_and_no_run_fails() {
    let mut world = World::new();
    let group = world.okta.add_group(NewGroup::named("oncall"));
    world.okta.add_user(NewUser::active("ada@example.com", "Ada", "Lovelace"));
    let file = world.folder.path().join("scim");
    let table = format!("[okta.scim]\ntoken_file = \"{}\"\n[state]", file.display());
    world.settings = world.settings.replace("[state]", &table);
    std::fs::write(&file, "placeholder-0").unwrap();
    world.apono.set_scim_token(Some("placeholder-0"));
    let connector = world.start().await;
    let sync = async || {
        let task = world.apono.enqueue("sync-directory", INTEGRATION, json!({}));
        let result = world.result(&task).await;
        assert_eq!(result["output"]["outcome"], "completed", "{result}");
    };
    sync().await;
    for round in 1..=20 {
        let user = world.okta.add_user(NewUser::active(&format!("u{round}@example.com"), "U", "Ser"));
        world.okta.add_member(&group, &user);
        let new = format!("placeholder-{round}");
        std::fs::write(&file, &new).unwrap();
        world.pass(Duration::from_secs(1)).await;
        sync().await;
        world.apono.set_scim_token(Some(&new));
        let user = world.okta.add_user(NewUser::active(&format!("v{round}@example.com"), "V", "Ser"));
        world.okta.add_member(&group, &user);
        world.pass(Duration::from_secs(1)).await;
        sync().await;
    }
    let refused = refused_by_apono(&world);
    assert!((1..=60).contains(&refused), "tried now and then: {refused} times in 20 rounds");
    let told = world.warnings().into_iter().filter(|line| line.contains("does not take the new token yet"));
    assert_eq!(told.count(), 20, "once a round");
    connector.stop().await;
}
