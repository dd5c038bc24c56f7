#![expect(clippy::unwrap_in_result, reason = "tests")]

use std::collections::BTreeMap;

use crate::config::{ConfigError, Loaded, Origin, Sources, load};
use crate::config::{LogFormat, schema};

const MINIMAL: &str = r#"
[apono]
connector_id = "okta-connector"
token_file = "/run/secrets/apono/token"
[[okta]]
integration_id = "069cf551-c124-43f6"
organization_url = "https://example.okta.com"
credentials_file = "/run/secrets/okta/credentials.json"
"#;

fn load_with(
    text: &str,
    environment: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Loaded, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("connector.toml");
    std::fs::write(&path, text).unwrap();
    let environment: BTreeMap<_, _> =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let flags = flags
        .iter()
        .map(|(key, value)| ("--set".to_owned(), (*key).to_owned(), (*value).to_owned()))
        .collect();
    load(&Sources { file: Some(path), environment, flags })
}

fn problems(text: &str) -> Vec<String> {
    let error = load_with(text, &[], &[]).unwrap_err();
    error.problems.iter().map(|problem| format!("{}: {}", problem.key, problem.message)).collect()
}

#[test]
fn the_least_that_works_has_all_defaults() {
    let settings = load_with(MINIMAL, &[], &[]).unwrap().settings;
    assert_eq!(settings.apono.url.to_string(), "https://api.apono.io");
    assert_eq!(settings.admin.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.state.file.to_str(), Some("/var/lib/apono-connector/state.db"));
    assert_eq!(settings.log.format, LogFormat::Auto);
    let okta = &settings.okta[0];
    let directory = okta.directory.as_ref().unwrap();
    assert_eq!(directory.scim.base.to_string(), "https://api.apono.io/scim/v2/069cf551-c124-43f6");
    assert_eq!(directory.interval.as_secs(), 900);
    assert_eq!(okta.access.as_ref().unwrap().policy.max_duration.as_secs(), 12 * 3600);
    assert!((okta.rate_limit_share - 0.8).abs() < f64::EPSILON);
}

#[test]
fn flags_beat_environment_beats_file_beats_default() {
    let text = format!("{MINIMAL}\n[log]\nlevel = \"warn\"\n");
    let level = |environment: &[(&str, &str)], flags: &[(&str, &str)]| {
        load_with(&text, environment, flags).unwrap().settings.log.level
    };
    assert_eq!(level(&[], &[]), "warn");
    assert_eq!(level(&[("APONO_CONNECTOR__LOG__LEVEL", "debug")], &[]), "debug");
    assert_eq!(level(&[("APONO_CONNECTOR__LOG__LEVEL", "debug")], &[("log.level", "trace")]), "trace");

    let loaded = load_with(
        &text,
        &[
            ("APONO_URL", "http://127.0.0.1:9"),
            ("APONO_CONNECTOR__OKTA__0__DIRECTORY__GROUPS", "a, b-*"),
            ("APONO_CONNECTOR__OKTA__0__ACCESS__POLICY__MAX_LIVE_GRANTS", "7"),
            ("APONO_CONNECTOR__OKTA__0__DIRECTORY__BREAKER__MAX_SHARE", "0.25"),
            ("APONO_ACTIONS_PARALLELISM", "3"),
        ],
        &[],
    )
    .unwrap();
    assert_eq!(loaded.settings.apono.url.to_string(), "http://127.0.0.1:9");
    let access = loaded.settings.okta[0].access.as_ref().unwrap();
    assert_eq!((access.parallelism, access.policy.max_live_grants), (3, 7));
    let origin = |key: &str| loaded.effective.iter().find(|one| one.key == key).unwrap().origin.clone();
    assert_eq!(
        origin("okta[0].directory.groups"),
        Origin::Environment("APONO_CONNECTOR__OKTA__0__DIRECTORY__GROUPS".to_owned())
    );
    assert_eq!(origin("okta[0].dpop"), Origin::Default);
    assert!(matches!(origin("log.level"), Origin::File(_)));
}

#[test]
fn an_organization_can_come_from_the_environment_alone() {
    let text = "[apono]\nconnector_id = \"c\"\ntoken_file = \"/t\"\n";
    let environment = [
        ("APONO_CONNECTOR__OKTA__0__INTEGRATION_ID", "int"),
        ("APONO_CONNECTOR__OKTA__0__ORGANIZATION_URL", "https://example.okta.com"),
        ("APONO_CONNECTOR__OKTA__0__CREDENTIALS_FILE", "/c"),
    ];
    assert_eq!(load_with(text, &environment, &[]).unwrap().settings.okta.len(), 1);
}

#[test]
fn all_problems_come_at_once_with_key_place_and_cure() {
    let text = r#"
[apono]
conector_id = "x"
url = "http://api.apono.io"
[[okta]]
organization_url = "https://example-admin.okta.com"
rate_limit_share = 2
dpop = "maybe"
[okta.directory]
interval = "soon"
groups = "Engineering"
[okta.access.policy]
max_live_grants = "many"
[[okta]]
integration_id = "b"
organization_url = "example.okta.com"
client_id = "0oa"
[state]
url = "/var/lib/state.db"
[admin]
listen = "8080"
[logging]
level = "info"
"#;
    let found = problems(text).join("\n");
    for expected in [
        "apono.conector_id: there is no such key; did you mean apono.connector_id?",
        "apono.connector_id: this is required",
        "apono.token_file: this is required",
        "apono.url: \"http://api.apono.io\" must start with https://",
        "okta[0].integration_id: this is required",
        "okta[0].organization_url: example-admin.okta.com is the console's address",
        "okta[0].rate_limit_share: 2 is not a number above 0 and at most 1",
        "okta[0].dpop: \"maybe\" is not one of auto, on, off",
        "okta[0].directory.interval: \"soon\" is not a duration; write 90s, 15m or 24h",
        "okta[0].directory.groups: \"Engineering\" is not a list of texts",
        "okta[0].access.policy.max_live_grants: \"many\" is not a whole number",
        "okta[0].credentials_file: this is required",
        "okta[1].private_key_file: client_id needs private_key_file",
        "state.url: \"/var/lib/state.db\" is neither sqlite:/path/state.db, nor postgres://user@host/database",
        "admin.listen: \"8080\" is not an address with a port",
        "logging: there is no such key; did you mean log?",
    ] {
        assert!(found.contains(expected), "missing {expected:?} in\n{found}");
    }
}

#[test]
fn an_organization_has_one_table_and_the_state_is_in_a_file() {
    let second = MINIMAL.split("[[okta]]").nth(1).unwrap();
    let again =
        second.replace("069cf551-c124-43f6", "int-2").replace("example.okta.com", "EXAMPLE.okta.com/");
    let found = problems(&format!("{MINIMAL}[[okta]]{again}")).join("\n");
    assert!(found.contains("okta[1].organization_url") && found.contains("stands at okta[0]"), "{found}");
    let found = problems(&format!("{MINIMAL}[state]\nurl = \"sqlite::memory:\"\n")).join("\n");
    assert!(found.contains("state.url: the state must be in a file"), "{found}");
    for (key, expected) in [("password_file", "has no password"), ("directory", "are beside it")] {
        let found = problems(&format!("{MINIMAL}[state]\n{key} = \"/run/db\"\n")).join("\n");
        assert!(found.starts_with(&format!("state.{key}: the state is in SQLite")), "{found}");
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn the_state_may_be_in_a_database_and_this_hosts_files_have_a_folder_then() {
    let state = |lines: &str, environment: &[(&str, &str)]| {
        let loaded = load_with(&format!("{MINIMAL}[state]\n{lines}"), environment, &[]).unwrap();
        (loaded.settings.state.clone(), loaded)
    };
    let url = "url = \"postgres://connector@db.example.com/grants\"\n";
    let (plain, _) = state(url, &[]);
    assert_eq!(plain.file.to_str(), Some("/var/lib/apono-connector/state.db"));
    assert_eq!(plain.socket().to_str(), Some("/var/lib/apono-connector/state.db.sock"));
    let database = plain.database.unwrap();
    assert_eq!(database.url.to_string(), "grants at db.example.com:5432");
    assert_eq!((database.password_file, database.connect_timeout.as_secs()), (None, 3));

    let (by_systemd, _) = state(url, &[("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")]);
    assert_eq!(by_systemd.file.to_str(), Some("/var/lib/a/state.db"));
    let more = format!("{url}directory = \"/srv/connector\"\npassword_file = \"/run/secrets/db/password\"\n");
    let (said, loaded) = state(&more, &[("STATE_DIRECTORY", "/var/lib/a")]);
    assert_eq!(said.file.to_str(), Some("/srv/connector/state.db"));
    let followed = loaded.settings.secret_files();
    assert!(followed.iter().any(|file| file.path().ends_with("db/password")), "{followed:?}");
    let warned = |url: &str| {
        let warnings = state(&format!("url = \"{url}\"\n"), &[]).1.warnings;
        warnings.iter().any(|warning| warning.starts_with("state.url: sslmode=disable"))
    };
    assert!(warned("postgres://u@db.example.com/g?sslmode=disable"));
    assert!(!warned("postgres://u@localhost/g?sslmode=disable"));
}

#[test]
fn a_database_that_cannot_be_used_is_told_without_its_password() {
    for (lines, expected) in [
        ("url = \"postgres://u@h/g?sslmode=prefer\"", "state.url: sslmode=prefer does not make sure"),
        ("url = \"postgres://u@h/g?sslmode=allow\"", "write sslmode=verify-full"),
        ("url = \"postgres://u@h/g?sslmode=verify-ca\"", "http.ca_bundle_file"),
        ("url = \"postgres://u@h/g?sslrootcert=/ca\"", "name the file in http.ca_bundle_file"),
        ("url = \"postgres://h/g\"", "state.url: it names no user"),
        ("url = \"postgresql://u@h\"", "state.url: it names no database"),
        ("url = \"postgres://u@h/g\"\ndirectory = \"here\"", "state.directory: \"here\" is no absolute path"),
        ("url = \"postgres://u:hunter2@h/g\"", "put it into a file and name that in state.password_file"),
        ("url = \"postgresl://u:hunter2@h/g\"", "state.url: this is neither sqlite:/path/state.db"),
    ] {
        let found = problems(&format!("{MINIMAL}[state]\n{lines}\n")).join("\n");
        assert!(found.contains(expected) && !found.contains("hunter2"), "{lines}: {found}");
    }
}

#[test]
fn a_custom_integration_needs_a_token_a_place_that_is_ours_alone_and_one_organization() {
    let second = MINIMAL.split("[[okta]]").nth(1).unwrap();
    let second = second.replace("069cf551-c124-43f6", "int-2").replace("example.okta.com", "b.okta.com");
    let on = |more: &str| format!("[custom_integration]\nenabled = true\n{more}");
    let with_token = |more: &str| on(&format!("token_file = \"/run/custom\"\n{more}"));
    let chosen = |text: &str| load_with(text, &[], &[]).unwrap().settings.custom_integration;

    assert_eq!(chosen(MINIMAL), None);
    let custom = chosen(&format!("{MINIMAL}{}", with_token(""))).unwrap();
    assert_eq!(custom.listen.to_string(), "127.0.0.1:8081");
    assert_eq!(custom.integration.as_str(), "069cf551-c124-43f6");
    let both = format!("{MINIMAL}[[okta]]{second}");
    let custom =
        chosen(&format!("{both}{}", with_token("integration_id = \"int-2\"\nlisten = \"unix:/run/c\"")));
    assert_eq!(custom.unwrap().integration.as_str(), "int-2");

    let switched_off = format!("{MINIMAL}[okta.access]\nenabled = false\n");
    for (text, expected) in [
        (format!("{MINIMAL}{}", on("")), "custom_integration.token_file: this is required"),
        (
            format!("{MINIMAL}{}", with_token("listen = \"0.0.0.0:8081\"")),
            "custom_integration.listen: 0.0.0.0:8081 can be reached from other hosts",
        ),
        (format!("{MINIMAL}{}", with_token("listen = \"127.0.0.1:8080\"")), "admin.listen is there already"),
        (
            format!("{MINIMAL}{}", with_token("integration_id = \"x\"")),
            "custom_integration.integration_id: x is no integration_id",
        ),
        (format!("{both}{}", with_token("")), "choose one of 069cf551-c124-43f6, int-2"),
        (format!("{switched_off}{}", with_token("")), "grants are switched off for 069cf551-c124-43f6"),
    ] {
        let found = problems(&text).join("\n");
        assert!(found.contains(expected), "missing {expected:?} in\n{found}");
    }
}

#[test]
fn what_is_not_toml_says_where() {
    let found = problems("[apono\nurl = 1").join("\n");
    assert!(found.contains("it is not TOML") && found.contains("line 1"), "{found}");
}

#[test]
fn a_missing_file_names_itself() {
    let error =
        load(&Sources { file: Some("/nowhere/connector.toml".into()), ..Sources::default() }).unwrap_err();
    assert!(error.to_string().contains("/nowhere/connector.toml cannot be read"), "{error}");
}

#[test]
fn the_token_in_the_environment_is_taken_with_a_warning() {
    let text = MINIMAL.replace("token_file = \"/run/secrets/apono/token\"\n", "");
    let loaded = load_with(&text, &[("APONO_TOKEN", "placeholder")], &[]).unwrap();
    assert!(loaded.warnings[0].contains("APONO_TOKEN_FILE"), "{:?}", loaded.warnings);
    assert!(!format!("{loaded:?}").contains("placeholder"));
}

#[test]
fn metadata_is_passed_through() {
    let loaded = load_with(MINIMAL, &[("CONNECTOR_METADATA", r#"{"region":"eu"}"#)], &[]).unwrap();
    assert_eq!(loaded.settings.metadata["cloud_provider_metadata"]["region"], "eu");
    let error = load_with(MINIMAL, &[("CONNECTOR_METADATA", "eu")], &[]).unwrap_err();
    assert!(error.to_string().contains("CONNECTOR_METADATA is not a JSON object"), "{error}");
}

#[test]
fn every_key_can_be_written_in_the_file_and_in_the_environment() {
    for key in schema::KEYS {
        let Some(default) = key.default else { continue };
        let name = key.path.replace("[]", ".0").replace('.', "__").to_uppercase();
        let value = default.trim_matches('"').replace("[]", "");
        if value.is_empty() {
            continue;
        }
        let name = format!("APONO_CONNECTOR__{name}");
        let loaded = load_with(MINIMAL, &[(&name, &value)], &[]);
        assert!(loaded.is_ok(), "{name}={value}: {}", loaded.unwrap_err());
    }
}
