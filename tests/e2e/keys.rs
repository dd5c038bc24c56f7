//! The key of a connection through the years.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use simulator::fault::Fault;

use crate::fresh::{Fresh, err, json_file, mode, out};
use crate::world::{CLIENT, World};

#[tokio::test]
async fn a_key_is_made_shown_tried_and_rotated_while_the_connector_runs() {
    let mut fresh = Fresh::new();
    let file = fresh.text("fresh/key.json");
    let made = fresh.key(&["generate", "--out", &file]).await;
    assert_eq!(made.status.code(), Some(0), "{}", err(&made));
    assert_eq!(mode(Path::new(&file)), 0o600);
    let shown = fresh.key(&["jwk", &file]).await;
    assert_eq!(out(&shown), out(&made));
    let again = fresh.key(&["generate", "--out", &file]).await;
    assert_eq!(again.status.code(), Some(74), "{}", err(&again));
    let alone = fresh.key(&["verify", &file]).await;
    assert_eq!(alone.status.code(), Some(0), "{}", err(&alone));
    assert!(out(&alone).starts_with("RSA key of 2048 bits, key id "), "{}", out(&alone));
    let foreign = fresh.key(&["verify", &file, "--organization-url", "URL", "--client-id", CLIENT]).await;
    assert_eq!(foreign.status.code(), Some(77), "{}", err(&foreign));
    assert!(
        err(&foreign).contains("is not registered with the application")
            && err(&foreign).contains("AOC-0302"),
        "{}",
        err(&foreign)
    );

    let made = fresh.setup(&[]).await;
    assert_eq!(made.status.code(), Some(0), "{}", err(&made));
    let next = out(&made).lines().last().unwrap().to_owned();
    let mut connector = fresh.start(&next);
    connector.admin().await;
    let credentials = fresh.text("fresh/okta-credentials.json");
    let old = json_file(Path::new(&credentials));
    let token = fresh.text("admin-token");
    let with = ["--credentials-file", &credentials, "--organization-url", "URL"];
    let by_token = [&with[..], &["--admin-token-file", &token]].concat();

    let early = fresh.key(&[&["rotate", "--finish"], &by_token[..]].concat()).await;
    assert_eq!(early.status.code(), Some(64), "{}", err(&early));
    let rotated = fresh.key(&[&["rotate"], &by_token[..]].concat()).await;
    assert_eq!(rotated.status.code(), Some(0), "{}", err(&rotated));
    let new = json_file(Path::new(&credentials));
    assert_eq!(json_file(Path::new(&format!("{credentials}.previous"))), old);
    assert_eq!(new["client_id"], old["client_id"]);
    assert_ne!(new["private_key"]["n"], old["private_key"]["n"]);
    // Both are good until the old one is ended.
    for file in [credentials.clone(), format!("{credentials}.previous")] {
        let good = fresh.key(&["verify", &file, "--organization-url", "URL"]).await;
        assert_eq!(good.status.code(), Some(0), "{}", err(&good));
    }
    let hasty = fresh.key(&[&["rotate"], &by_token[..]].concat()).await;
    assert_eq!(hasty.status.code(), Some(75), "{}", err(&hasty));
    fs::copy(format!("{credentials}.previous"), fresh.world.path("fresh/kept.json")).unwrap();
    let finished = fresh.key(&[&["rotate", "--finish"], &by_token[..]].concat()).await;
    assert_eq!(finished.status.code(), Some(0), "{}", err(&finished));
    let kept = fresh.text("fresh/kept.json");
    let ended = fresh.key(&["verify", &kept, "--organization-url", "URL"]).await;
    assert_eq!(ended.status.code(), Some(77), "{}", out(&ended));
    // The connector that has run all the while has the new key when it needs another token.
    fresh.world.okta.revoke_tokens();
    let granted = fresh.world.grant(&fresh.group, Duration::from_mins(5));
    assert_eq!(fresh.world.result(&granted.task_id).await["code"], "granted", "{}", connector.text());
    assert!(connector.stop().await.success());

    // Without an administrator's token the public key is there to be pasted, and the next run goes on.
    let pasted = fresh.key(&[&["rotate"], &with[..]].concat()).await;
    assert_eq!(pasted.status.code(), Some(75), "{}", err(&pasted));
    let jwk: Value = serde_json::from_str(&out(&pasted)).unwrap();
    let client = new["client_id"].as_str().unwrap();
    fresh.world.okta.register_client(client, jwk.clone(), &["okta.users.read", "okta.groups.manage"]);
    let done = fresh.key(&[&["rotate"], &with[..]].concat()).await;
    assert_eq!(done.status.code(), Some(0), "{}", err(&done));
    assert_eq!(json_file(Path::new(&credentials))["private_key"]["kid"], jwk["kid"]);
}

/// `private_key_file` with `client_id`, and keys of the other kind.
#[tokio::test]
async fn a_key_alone_in_its_file_is_rotated_to_a_key_on_a_curve() {
    let mut fresh = Fresh::new();
    let made = fresh.setup(&["--curve", "P-384"]).await;
    assert_eq!(made.status.code(), Some(0), "{}", err(&made));
    let credentials = json_file(Path::new(&fresh.text("fresh/okta-credentials.json")));
    assert_eq!(credentials["private_key"]["crv"], "P-384");
    let (alone, client) = (fresh.text("key-alone.json"), credentials["client_id"].as_str().unwrap());
    fs::write(&alone, credentials["private_key"].to_string()).unwrap();
    // Whoever's group could read the old file can read the new one.
    fs::set_permissions(&alone, fs::Permissions::from_mode(0o640)).unwrap();
    let configuration = fresh.world.configuration("").replace(
        &format!("credentials_file = \"{}\"", fresh.text("okta.json")),
        &format!("client_id = \"{client}\"\nprivate_key_file = \"{alone}\""),
    );
    fs::write(fresh.world.path("fresh/alone.toml"), configuration).unwrap();
    let at = fresh.text("fresh/alone.toml");
    let mut connector = fresh.world.start_command(World::bare_command(&["run", "--config", &at]));
    connector.admin().await;

    let token = fresh.text("admin-token");
    let rotate = ["rotate", "--config", &at, "--admin-token-file", &token];
    let rotated = fresh.key(&[&rotate[..], &["--curve", "P-256"]].concat()).await;
    assert_eq!(rotated.status.code(), Some(0), "{}", err(&rotated));
    assert_eq!(mode(Path::new(&alone)), 0o640);
    let new = json_file(Path::new(&alone));
    assert_eq!(
        (&new["kty"], &new["crv"]),
        (&Value::from("EC"), &Value::from("P-256")),
        "the key, still alone"
    );
    let finished = fresh.key(&[&rotate[..], &["--finish"]].concat()).await;
    assert_eq!(finished.status.code(), Some(0), "{}", err(&finished));
    fresh.world.okta.revoke_tokens();
    let granted = fresh.world.grant(&fresh.group, Duration::from_mins(5));
    assert_eq!(fresh.world.result(&granted.task_id).await["code"], "granted", "{}", connector.text());
    assert!(connector.stop().await.success());

    let both =
        fresh.key(&["generate", "--out", &fresh.text("fresh/x"), "--curve", "P-256", "--bits", "3072"]).await;
    assert_eq!(both.status.code(), Some(64), "{}", err(&both));
    let none = fresh.key(&["generate", "--out", &fresh.text("fresh/x"), "--curve", "P-111"]).await;
    assert!(err(&none).contains("the curves are P-256, P-384, P-521"), "{}", err(&none));
}

/// Whatever answer is lost, the next run goes on behind it and does nothing twice.
#[tokio::test]
async fn a_rotation_whose_answers_are_lost_is_gone_on_with() {
    let fresh = Fresh::new();
    let made = fresh.setup(&[]).await;
    assert_eq!(made.status.code(), Some(0), "{}", err(&made));
    let (credentials, token) = (fresh.text("fresh/okta-credentials.json"), fresh.text("admin-token"));
    let with =
        ["--credentials-file", &credentials, "--organization-url", "URL", "--admin-token-file", &token];
    let lose = |operation: &str| fresh.world.okta.faults().once(operation, Fault::DisconnectAfterEffect);
    let (rotate, finish) = ([&["rotate"], &with[..]].concat(), [&["rotate", "--finish"], &with[..]].concat());
    lose("add_app_key");
    lose("deactivate_app_key");
    lose("delete_app_key");
    for (arguments, code, calls) in [
        (&rotate, 69, [1, 0, 0]),
        (&rotate, 0, [1, 0, 0]),
        (&finish, 69, [1, 1, 0]),
        // To delete is asked for again at once, and what is not there any more is what was wanted.
        (&finish, 0, [1, 1, 2]),
    ] {
        let run = fresh.key(arguments).await;
        assert_eq!(run.status.code(), Some(code), "{arguments:?}: {}", err(&run));
        let counted = ["add_app_key", "deactivate_app_key", "delete_app_key"]
            .map(|operation| fresh.world.okta.call_count(operation));
        assert_eq!(counted, calls, "{arguments:?}");
    }
    assert_eq!(fresh.files(), ["connector.toml", "okta-credentials.json"]);
    let good = fresh.key(&["verify", &credentials, "--organization-url", "URL"]).await;
    assert_eq!(good.status.code(), Some(0), "{}", err(&good));
}

/// Okta takes no other key beside one that has no key id.
#[tokio::test]
async fn a_key_without_a_key_id_is_told_before_another_is_registered() {
    let fresh = Fresh::new();
    let made = fresh.setup(&[]).await;
    assert_eq!(made.status.code(), Some(0), "{}", err(&made));
    let credentials = fresh.text("fresh/okta-credentials.json");
    let client = json_file(Path::new(&credentials))["client_id"].as_str().unwrap().to_owned();
    let other = fresh.key(&["generate", "--out", &fresh.text("other.json")]).await;
    let mut nameless: Value = serde_json::from_str(&out(&other)).unwrap();
    nameless.as_object_mut().unwrap().remove("kid");
    fresh.world.okta.register_client(&client, nameless, &["okta.users.read", "okta.groups.manage"]);
    let token = fresh.text("admin-token");
    let with =
        ["--credentials-file", &credentials, "--organization-url", "URL", "--admin-token-file", &token];
    let before = json_file(Path::new(&credentials));
    let refused = fresh.key(&[&["rotate"], &with[..]].concat()).await;
    assert_eq!(refused.status.code(), Some(78), "{}", err(&refused));
    for said in ["a key without a key id", "apono-connector key jwk", "AOC-0908"] {
        assert!(err(&refused).contains(said), "{said} is not in\n{}", err(&refused));
    }
    assert_eq!(fresh.world.okta.call_count("add_app_key"), 0);
    assert_eq!(json_file(Path::new(&credentials)), before);
}

#[tokio::test]
async fn a_file_that_is_no_key_is_refused_with_its_code() {
    let fresh = Fresh::new();
    let made = fresh.key(&["generate", "--out", &fresh.text("key.json")]).await;
    fs::write(fresh.text("public.json"), out(&made)).unwrap();
    fs::write(fresh.text("nothing.json"), "nothing").unwrap();
    for (file, code) in [("public.json", "AOC-0121"), ("nothing.json", "AOC-0120"), ("none.json", "AOC-0110")]
    {
        for command in ["jwk", "verify"] {
            let refused = fresh.key(&[command, &fresh.text(file)]).await;
            assert_eq!(refused.status.code(), Some(78), "{}", err(&refused));
            assert!(err(&refused).contains(code), "{command} {file}: {}", err(&refused));
        }
    }
    for arguments in [&["rotate"][..], &["rotate", "--credentials-file", "x", "--organization-url", "okta:"]]
    {
        let refused = fresh.key(arguments).await;
        assert_ne!(refused.status.code(), Some(0), "{}", out(&refused));
    }
}
