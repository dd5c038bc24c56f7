//! Connections to a database that is replaced, restarted, frozen, too new, or not what it should be.

use std::time::Duration;

use apono_connector::catalogue::ErrorCode;
use apono_connector::clock;
use apono_connector::database::{Database, DatabaseError, DatabaseSettings, DatabaseUrl};
use apono_connector::telemetry::chain;
use futures_util::future::join_all;
use tokio::net::TcpListener;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::postgres::{Base, Cluster, shared};
use crate::world::in_time;

/// So long that nothing but a defect reaches it.
const LONG: Duration = Duration::from_mins(1);

/// With a server that answers nothing; one that answers needs less, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(3);

async fn ask(database: &Database) -> Result<i32, DatabaseError> {
    database
        .run(LONG, async |client: &mut Client| Ok(client.query_one("SELECT 1", &[]).await?.try_get(0)?))
        .await
}

async fn shown(database: &Database, setting: &str) -> String {
    let connection = database.connection().await.unwrap();
    connection.query_one(&format!("SHOW {setting}"), &[]).await.unwrap().get(0)
}

async fn set_password(cluster: &Cluster, base: &Base, password: &str) {
    let admin = cluster.admin("postgres").await;
    admin.batch_execute(&format!("ALTER ROLE {} PASSWORD '{password}'", base.name)).await.unwrap();
}

fn told(error: &DatabaseError) -> String {
    chain(error).to_string()
}

#[tokio::test]
async fn a_session_has_its_limits_before_anybody_uses_it() {
    let base = shared().new_database().await;
    let database = Database::new(&base.settings()).unwrap();
    for (setting, value) in [
        ("application_name", "apono-connector"),
        ("statement_timeout", "5s"),
        ("lock_timeout", "3s"),
        ("idle_in_transaction_session_timeout", "5s"),
        ("synchronous_commit", "on"),
        ("default_transaction_isolation", "read committed"),
        ("search_path", "apono_connector"),
        ("tcp_keepalives_idle", "5"),
    ] {
        assert_eq!(shown(&database, setting).await, value, "{setting}");
    }
    assert!(!database.is_plain());
    let socket = shared().socket_folder().to_str().unwrap().replace('/', "%2F");
    let url = base.url.replace("127.0.0.1", &socket);
    assert_eq!(ask(&Database::new(&base.settings_at(&url)).unwrap()).await.unwrap(), 1);
    assert!(!format!("{database:?} {:?}", database.connection().await).contains("placeholder"));
}

#[tokio::test]
async fn a_password_that_is_replaced_is_used_for_the_next_connection() {
    let base = shared().new_database().await;
    let database = Database::new(&base.settings()).unwrap();
    let held = database.connection().await.unwrap();

    // The database first, and then the file.
    set_password(shared(), &base, "second").await;
    assert_eq!(
        ask(&Database::new(&base.settings()).unwrap()).await.unwrap_err().code(),
        ErrorCode::DatabaseRefuses
    );
    base.mount_password("second");
    assert_eq!(ask(&database).await.unwrap(), 1, "while the former is in use");
    held.simple_query("SELECT 1").await.unwrap();
    drop(held);

    // The file first, and then the database: until then, the former is used.
    base.mount_password("third");
    database.close_idle();
    assert_eq!(ask(&database).await.unwrap(), 1);
    set_password(shared(), &base, "third").await;
    database.close_idle();
    assert_eq!(ask(&database).await.unwrap(), 1);

    // Replaced twice before a new connection is wanted; the database is at the one in between.
    base.mount_password("fourth");
    assert_eq!(ask(&database).await.unwrap(), 1);
    set_password(shared(), &base, "fourth").await;
    base.mount_password("fifth");
    database.close_idle();
    assert_eq!(ask(&database).await.unwrap(), 1);

    // A file that is lost replaces nothing.
    std::fs::remove_file(&base.password_file).unwrap();
    database.close_idle();
    assert_eq!(ask(&database).await.unwrap(), 1);
}

#[tokio::test]
async fn a_new_password_is_tried_though_no_connection_is_wanted() {
    let cluster = Cluster::start();
    let base = cluster.new_database().await;
    let database = Database::new(&base.settings()).unwrap();
    let held = database.connection().await.unwrap();
    base.mount_password("second");
    let tried = async {
        while !cluster.log().contains("password authentication failed") {
            clock::sleep(Duration::from_millis(50)).await;
        }
    };
    let stop = CancellationToken::new();
    tokio::select! {
        () = database.follow_password(stop.clone()) => panic!("nobody has stopped it"),
        () = in_time("it is tried", tried) => {}
    }
    held.simple_query("SELECT 1").await.unwrap();
    stop.cancel();
    in_time("it stops", database.follow_password(stop)).await;
}

#[tokio::test]
async fn whoever_is_not_let_in_is_told_why_and_no_password_is() {
    let cluster = shared();
    let base = cluster.new_database().await;
    let no_database = format!("{}/none", base.url.rsplit_once('/').unwrap().0);
    let no_role = base.url.replace(&format!("{}@", base.name), "nobody@");
    let no_tls = format!("{}?sslmode=require", base.url);
    for (url, expected) in [
        (no_database, "database \"none\" does not exist"),
        (no_role, "authentication failed"),
        (no_tls, "server does not support TLS"),
    ] {
        let error = ask(&Database::new(&base.settings_at(&url)).unwrap()).await.unwrap_err();
        let message = told(&error);
        assert_eq!(error.code(), ErrorCode::DatabaseRefuses, "{message}");
        assert!(message.contains(expected) && message.contains("at 127.0.0.1"), "{message}");
    }
    base.mount_password("wrong-placeholder");
    let error = ask(&Database::new(&base.settings()).unwrap()).await.unwrap_err();
    let message = told(&error);
    assert!(matches!(error, DatabaseError::Refused { .. }) && !error.is_away(), "{message}");
    assert!(message.contains("password authentication failed") && !message.contains("wrong"), "{message}");
    assert_eq!(error.sql_state().unwrap().code(), "28P01");

    std::fs::remove_file(&base.password_file).unwrap();
    let error = Database::new(&base.settings()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::SecretMissing);

    let base = cluster.new_database().await;
    let owner = cluster.admin("postgres").await;
    owner.batch_execute(&format!("ALTER DATABASE {} OWNER TO keeper", base.name)).await.unwrap();
    let error = Database::new(&base.settings()).unwrap().migrate().await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::DatabaseRefuses, "{}", told(&error));
}

#[tokio::test]
async fn tls_is_verified_by_the_bundle_and_by_the_name() {
    let cluster = Cluster::start_with_tls("localhost");
    let base = cluster.new_database().await;
    let by_name = format!("{}?sslmode=verify-full", base.url.replace("127.0.0.1", "localhost"));
    let database = Database::new(&base.settings_at(&by_name)).unwrap();
    assert_eq!(ask(&database).await.unwrap(), 1);
    let connection = database.connection().await.unwrap();
    let encrypted = connection.query_one("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", &[]);
    assert!(encrypted.await.unwrap().get::<_, bool>(0));

    let bound = Database::new(&base.settings_at(&format!("{by_name}&channel_binding=require"))).unwrap();
    assert_eq!(ask(&bound).await.unwrap(), 1);

    let by_address = base.settings_at(&format!("{}?sslmode=require", base.url));
    let strangers = DatabaseSettings { ca_bundle: None, ..base.settings_at(&by_name) };
    let plain = base.settings_at(&base.url);
    for (settings, code) in [
        (by_address, ErrorCode::CertificateName),
        (strangers, ErrorCode::UnknownIssuer),
        (plain, ErrorCode::DatabaseRefuses),
    ] {
        let error = ask(&Database::new(&settings).unwrap()).await.unwrap_err();
        assert_eq!(error.code(), code, "{}", told(&error));
        assert!(!error.is_away());
    }
}

#[tokio::test]
async fn a_database_that_was_away_is_used_again_when_it_is_back() {
    let cluster = Cluster::start();
    let base = cluster.new_database().await;
    let database = Database::new(&base.settings()).unwrap();
    assert_eq!(ask(&database).await.unwrap(), 1);
    cluster.restart();
    // What was in the pool has been closed, which may be seen a moment after.
    until_back(&database).await;
    cluster.kill();
    let error = until_away(&database).await;
    let message = told(&error);
    assert_eq!(error.code(), ErrorCode::DatabaseAway);
    assert!(message.contains(&format!("{} at 127.0.0.1:{}", base.name, cluster.port())), "{message}");
    cluster.start_again();
    until_back(&database).await;
}

async fn until_away(database: &Database) -> DatabaseError {
    let away = async {
        loop {
            if let Err(error) = ask(database).await {
                assert!(error.is_away(), "{}", told(&error));
                return error;
            }
        }
    };
    in_time("it is away", away).await
}

async fn until_back(database: &Database) {
    let back = async {
        while let Err(error) = ask(database).await {
            assert!(error.is_away(), "{}", told(&error));
        }
    };
    in_time("it is back", back).await;
}

#[tokio::test]
async fn a_statement_that_was_given_up_takes_its_connection_with_it() {
    let base = shared().new_database().await;
    let database = Database::new(&base.settings()).unwrap();
    let pid = async |database: &Database| -> i32 {
        let connection = database.connection().await.unwrap();
        connection.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0)
    };
    let former = pid(&database).await;
    assert_eq!(pid(&database).await, former, "the same is used again");
    let sleep = async |client: &mut Client| Ok(client.batch_execute("SELECT pg_sleep(4)").await?);
    let error = database.run(Duration::from_millis(50), sleep).await.unwrap_err();
    assert!(error.is_away() && told(&error).contains("no answer came within 50ms"), "{}", told(&error));
    let next = pid(&database).await;
    assert_ne!(next, former);

    // A statement that fails by itself leaves it as it is.
    let failed =
        database.run(LONG, async |client: &mut Client| Ok(client.batch_execute("SELECT 1/0").await?));
    let error = failed.await.unwrap_err();
    assert!(matches!(error, DatabaseError::Statement { .. }), "{}", told(&error));
    assert_eq!(error.sql_state().unwrap().code(), "22012");
    assert_eq!(pid(&database).await, next);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = listener.local_addr().unwrap();
    // The kernel takes connections, and nobody answers them.
    let base = shared().new_database().await;
    let limit = Duration::from_millis(200);
    let alone = DatabaseUrl::parse(&format!("postgres://u@{silent}/g")).unwrap();
    let settings = DatabaseSettings { url: alone, connect_timeout: limit, ..base.settings() };
    let error = ask(&Database::new(&settings).unwrap()).await.unwrap_err();
    assert!(error.is_away(), "{}", told(&error));
    assert!(told(&error).contains("no connection came about within 200ms"), "{}", told(&error));

    // Where there is another one, that is used.
    let both = base.url.replace("127.0.0.1", &format!("{silent},127.0.0.1"));
    let settings = DatabaseSettings { connect_timeout: PATIENCE, ..base.settings_at(&both) };
    assert_eq!(ask(&Database::new(&settings).unwrap()).await.unwrap(), 1);
    let settings = DatabaseSettings { connect_timeout: LONG, ..settings };
    let database = Database::new(&settings).unwrap();
    let once = database.run(limit, async |client: &mut Client| Ok(client.batch_execute("SELECT 1").await?));
    assert!(once.await.unwrap_err().is_away());
    assert_eq!(ask(&database).await.unwrap(), 1, "whoever gave up has not tried in vain");
}

#[tokio::test]
async fn a_frozen_server_holds_nobody_up() {
    let cluster = Cluster::start();
    let base = cluster.new_database().await;
    let database = Database::new(&base.settings()).unwrap();
    assert_eq!(ask(&database).await.unwrap(), 1);
    cluster.freeze();
    let limit = Duration::from_millis(200);
    let asked = database.run(limit, async |client: &mut Client| Ok(client.batch_execute("SELECT 1").await?));
    assert!(asked.await.unwrap_err().is_away());
    cluster.thaw();
    assert_eq!(ask(&database).await.unwrap(), 1);
}

#[tokio::test]
async fn a_server_that_cannot_be_written_to_is_passed_over() {
    let cluster = Cluster::start();
    let base = cluster.new_database().await;
    let database = Database::new(&base.settings()).unwrap();
    let admin = cluster.admin(&base.name).await;
    let read_only = format!("ALTER DATABASE {} SET default_transaction_read_only = on", base.name);
    admin.batch_execute(&read_only).await.unwrap();
    let error = ask(&database).await.unwrap_err();
    assert!(error.is_away() && told(&error).contains("does not allow writes"), "{}", told(&error));
    let writable = format!("ALTER DATABASE {} RESET default_transaction_read_only", base.name);
    admin.batch_execute(&writable).await.unwrap();
    assert_eq!(ask(&database).await.unwrap(), 1);
    // A primary that has become a standby refuses writes on connections that are old.
    let write = async |client: &mut Client| {
        client.batch_execute("SET default_transaction_read_only = on").await?;
        Ok(client.batch_execute("CREATE TABLE public.t ()").await?)
    };
    assert!(database.run(LONG, write).await.unwrap_err().is_away());
    assert_eq!(shown(&database, "default_transaction_read_only").await, "off", "another connection");
}

#[tokio::test]
async fn two_that_migrate_at_once_do_each_step_once() {
    let base = shared().new_database().await;
    let databases: Vec<_> = (0..4).map(|_| Database::new(&base.settings()).unwrap()).collect();
    assert_eq!(databases[0].format(LONG).await.unwrap(), 0);
    for done in join_all(databases.iter().map(Database::migrate)).await {
        done.unwrap_or_else(|error| panic!("{}", told(&error)));
    }
    let newest = databases[0].format(LONG).await.unwrap();
    assert!(newest >= 1);
    let connection = databases[0].connection().await.unwrap();
    let rows = connection.query_one("SELECT count(*) FROM apono_connector.formats", &[]).await.unwrap();
    assert_eq!(rows.get::<_, i64>(0), i64::from(newest));
    databases[1].migrate().await.unwrap();
}

#[tokio::test]
async fn a_newer_format_is_used_where_it_can_be_read_and_refused_where_it_cannot() {
    let base = shared().new_database().await;
    let database = Database::new(&base.settings()).unwrap();
    database.migrate().await.unwrap();
    let known = database.format(LONG).await.unwrap();
    let connection = database.connection().await.unwrap();
    let newer = "INSERT INTO apono_connector.formats (format, oldest_reader) VALUES ($1, $2)";
    connection.execute(newer, &[&(known + 1), &known]).await.unwrap();
    database.migrate().await.unwrap();
    assert_eq!(database.format(LONG).await.unwrap(), known + 1);
    connection.execute(newer, &[&(known + 2), &(known + 1)]).await.unwrap();
    let error = database.migrate().await.unwrap_err();
    assert!(matches!(error, DatabaseError::TooNew { .. }), "{}", told(&error));
    assert_eq!(error.code(), ErrorCode::StateTooNew);
    assert!(told(&error).contains(&base.name), "{}", told(&error));
}

#[tokio::test]
async fn a_role_that_may_create_nothing_uses_what_was_prepared() {
    let cluster = shared();
    let base = cluster.new_database().await;
    Database::new(&base.settings()).unwrap().migrate().await.unwrap();
    let admin = cluster.admin(&base.name).await;
    for statement in [
        format!("ALTER DATABASE {} OWNER TO keeper", base.name),
        "ALTER SCHEMA apono_connector OWNER TO keeper".to_owned(),
        format!("GRANT USAGE ON SCHEMA apono_connector TO {}", base.name),
    ] {
        admin.batch_execute(&statement).await.unwrap();
    }
    Database::new(&base.settings()).unwrap().migrate().await.unwrap();
}
