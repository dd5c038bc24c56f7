//! Bad input: a clear error with its cure, the right exit code, nothing lost.

use std::fs;
use std::process::Output;

use apono_connector::secrets::generate_rsa;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD;
use rsa::pkcs1::{EncodeRsaPrivateKey, LineEnding};
use rsa::pkcs8::EncodePrivateKey;
use rsa::{BigUint, RsaPrivateKey};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::world::{CLIENT, World, key, read};

fn code_and_errors(output: &Output) -> (i32, String) {
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn an_unknown_key_names_itself_the_file_and_the_nearest() {
    let world = World::new();
    world.write_configuration(&world.configuration("organisation = \"x\"\n[okta.directory]\ngrups = []\n"));
    let (code, errors) = code_and_errors(&world.run(&["run"]).await);
    assert_eq!(code, 78, "{errors}");
    for expected in [
        "okta[0].directory.grups",
        "did you mean okta[].directory.groups",
        "connector.toml",
        "okta[0].organisation",
    ] {
        assert!(errors.contains(expected), "{expected} is not in {errors}");
    }
}

#[tokio::test]
async fn a_key_that_cannot_sign_names_its_file_and_the_cure() {
    let world = World::new();
    let pem = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
    let short: Value = serde_json::from_str(generate_rsa(1024).unwrap().private_jwk.expose_secret()).unwrap();
    let secret = |key: Value| json!({ "client_id": CLIENT, "private_key": key }).to_string();
    let cases = [
        (None, "does not exist; mount the secret there"),
        (Some(String::new()), "is empty; write the secret"),
        (Some("{".to_owned()), "is not a JSON object with \"client_id\" and \"private_key\""),
        (Some(secret(json!(pem("ENCRYPTED PRIVATE KEY")))), "is encrypted; store it without a pass phrase"),
        (
            Some(secret(json!(pem("DSA PRIVATE KEY")))),
            "a DSA key; Okta accepts RSA keys of 2048 bits and more",
        ),
        (Some(secret(json!(pem("EC PRIVATE KEY")))), "says EC PRIVATE KEY but does not decode"),
        (Some(secret(short)), "has 1024 bits; Okta accepts 2048 and more"),
        (Some(secret(key().1)), "only the public half"),
    ];
    for (content, expected) in cases {
        let path = world.path("okta.json");
        match content {
            None => fs::remove_file(&path).unwrap(),
            Some(content) => fs::write(&path, content).unwrap(),
        }
        for command in [&["run"][..], &["config", "check"]] {
            let (code, errors) = code_and_errors(&world.run(command).await);
            assert_eq!(code, 78, "{errors}");
            assert!(errors.contains(expected), "{expected} is not in {errors}");
            assert!(errors.contains(path.to_str().unwrap()), "{errors}");
            assert!(errors.contains("okta[0].credentials_file"), "{errors}");
        }
    }
    // A folder is there and cannot be read, whoever we are.
    fs::remove_file(world.path("okta.json")).unwrap();
    fs::create_dir(world.path("okta.json")).unwrap();
    let (code, errors) = code_and_errors(&world.run(&["run"]).await);
    assert_eq!(code, 78);
    assert!(errors.contains("cannot be read; give the connector's user read permission"), "{errors}");
}

#[tokio::test]
async fn every_form_of_key_file_works() {
    let mut world = World::new();
    let key = key().0;
    let number =
        |name: &str| BigUint::from_bytes_be(&URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap());
    let primes = vec![number("p"), number("q")];
    let rsa = RsaPrivateKey::from_components(number("n"), number("e"), number("d"), primes).unwrap();
    let forms = [
        ("private_key_file", rsa.to_pkcs8_pem(LineEnding::LF).unwrap().to_string()),
        ("private_key_file", rsa.to_pkcs1_pem(LineEnding::LF).unwrap().to_string()),
        ("credentials_file", json!({ "client_id": CLIENT, "private_key": key }).to_string()),
        ("credentials_file", json!({ "client_id": CLIENT, "private_key": key.to_string() }).to_string()),
        ("private_key_file", key.to_string()),
    ];
    for (name, content) in forms {
        fs::write(world.path("okta.json"), content).unwrap();
        let text = world.configuration("");
        let text = if name == "credentials_file" {
            text
        } else {
            text.replace("credentials_file", &format!("client_id = \"{CLIENT}\"\nprivate_key_file"))
        };
        world.write_configuration(&text);
        let before = world.okta.tokens_issued();
        let mut connector = world.start();
        connector.until_logged("that it runs", |line| line.get("admin.listen").is_some()).await;
        while world.okta.tokens_issued() == before {
            assert!(connector.is_running(), "{}", connector.text());
            tokio::task::yield_now().await;
        }
        assert!(connector.stop().await.success());
    }
}

#[tokio::test]
async fn a_second_process_on_the_same_state_is_told_of_the_first() {
    let mut world = World::new();
    let mut first = world.start();
    first.admin().await;
    let (status, errors) = world.start().wait().await;
    assert_eq!(status.code(), Some(75), "{errors}");
    assert!(errors.contains(&format!("pid {}", first.pid())), "{errors}");
    assert!(first.stop().await.success());
}

#[tokio::test]
async fn another_organizations_state_is_refused() {
    let mut world = World::new();
    let mut connector = world.start();
    connector.admin().await;
    assert!(connector.stop().await.success());
    let text = read(&world.path("connector.toml")).replace("okta-connector", "another-connector");
    world.write_configuration(&text);
    let (status, errors) = world.start().wait().await;
    assert_eq!(status.code(), Some(77), "{errors}");
    assert!(errors.contains("belongs to connector okta-connector"), "{errors}");

    let text = text.replace("another-connector", "okta-connector");
    let organization = format!("organization_url = \"{}\"", world.okta_server.url());
    assert!(text.contains(&organization), "{text}");
    world.write_configuration(&text.replace(&organization, "organization_url = \"https://other.okta.com\""));
    let (status, errors) = world.start().wait().await;
    assert_eq!(status.code(), Some(77), "{errors}");
    assert!(errors.contains("https://other.okta.com"), "{errors}");
}

#[tokio::test]
async fn commands_and_their_exit_codes() {
    let world = World::new();
    for (arguments, code, expected) in [
        (&["config", "check"][..], 0, "the configuration is valid"),
        (&["config", "check", "--set", "apono.token_file=/nowhere"], 78, "/nowhere does not exist"),
        (
            &["config", "check", "--without-secrets", "--set", "apono.token_file=/nowhere"],
            0,
            "the configuration is valid",
        ),
        (&["config", "check", "--without-secrets", "--set", "apono.tokn=x"], 78, "there is no such key"),
        (&["config", "show"], 0, "okta[0].rate_limit_share = 0.8  # default"),
        (&["config", "schema"], 0, "https://json-schema.org/draft/2020-12/schema"),
        (&["run", "--set", "log.level"], 64, "is not KEY=VALUE [AOC-0915]"),
        (&["fly"], 64, "unrecognized subcommand"),
        (&["fly"], 64, "the command line is wrong [AOC-0915]"),
        (&["explain", "refused_policy"], 0, "AOC-1001  The connector's policy forbids the grant"),
        (&["explain", "not_permitted"], 0, "AOC-0402"),
        (&["explain", "AOC-9999"], 64, "[AOC-0915]"),
        (&["run", "--set", "log.format=loud"], 78, "not one of auto, pretty, json, logfmt, journald"),
        (&["--help"], 0, "On-premises agent between Okta and Apono"),
    ] {
        let output = world.run(arguments).await;
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(expected), "{arguments:?}: {text}");
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let world = World::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let (code, errors) =
        code_and_errors(&world.run(&["run", "--set", &format!("admin.listen={address}")]).await);
    assert_eq!(code, 74, "{errors}");
    assert!(errors.contains(&address.to_string()) && errors.contains("choose another address"), "{errors}");
}
