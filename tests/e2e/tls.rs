//! What stands in the way of a connection is told apart, on real sockets; the CA bundle is followed when it is replaced.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use apono_connector::catalogue::ErrorCode;
use apono_connector::http::transport::{HttpsSettings, HttpsTransport};
use apono_connector::http::{Request, Transport, TransportError};
use apono_connector::secrets::MountedFile;
use axum::Router;
use http::header::{AUTHORIZATION, LOCATION};
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use url::Url;

use super::authority::{Authority, Clients, OK};
use super::world::World;

const LIMIT: Duration = Duration::from_secs(10);

fn transport(bundle: Option<&Path>) -> HttpsTransport {
    let ca_bundle = bundle.map(MountedFile::new);
    HttpsTransport::new(&HttpsSettings { ca_bundle, ..HttpsSettings::plain(LIMIT) }).unwrap()
}

fn request(host: &str, port: u16) -> Request {
    Request::new(Method::GET, Url::parse(&format!("https://{host}:{port}/")).unwrap())
}

async fn status(transport: &HttpsTransport, address: SocketAddr) -> Result<u16, ErrorCode> {
    let answer = transport.send(request("localhost", address.port()), LIMIT).await;
    answer.map(|response| response.status.as_u16()).map_err(|error| error.code())
}

#[tokio::test]
async fn what_stands_in_the_way_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("ca.pem");
    let mut authority = Authority::new("Inspection of Example Corp");
    std::fs::write(&bundle, &authority.pem).unwrap();
    let good = authority.serve("localhost", 2999, OK).await;
    let other_name = authority.serve("elsewhere.example.com", 2999, OK).await;
    let too_old = authority.serve("localhost", 2001, OK).await;
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let no_tls = plain.local_addr().unwrap();
    authority.servers.spawn(async move {
        loop {
            let (mut socket, _) = plain.accept().await.unwrap();
            let _ = socket.write_all(OK.as_bytes()).await;
        }
    });
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let trusting = transport(Some(&bundle));
    assert_eq!(status(&trusting, good).await, Ok(200));
    let cases = [
        (status(&transport(None), good).await, ErrorCode::UnknownIssuer),
        (status(&trusting, other_name).await, ErrorCode::CertificateName),
        (status(&trusting, too_old).await, ErrorCode::CertificateTime),
        (status(&trusting, no_tls).await, ErrorCode::TlsFails),
        (status(&trusting, nobody).await, ErrorCode::ConnectionRefused),
    ];
    for (found, code) in cases {
        assert_eq!(found, Err(code));
    }
    let unknown = trusting.send(request("nobody.invalid", 443), LIMIT).await.unwrap_err();
    assert_eq!(unknown.code(), ErrorCode::NameNotResolved, "{unknown:?}");
    assert!(unknown.to_string().contains("[AOC-0201]"), "{unknown}");
}

#[tokio::test]
async fn a_bundle_that_is_replaced_is_followed_and_a_bad_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("ca.pem");
    let (mut first, mut second) = (Authority::new("First"), Authority::new("Second"));
    let (of_first, of_second) =
        (first.serve("localhost", 2999, OK).await, second.serve("localhost", 2999, OK).await);
    std::fs::write(&bundle, &first.pem).unwrap();
    let transport = transport(Some(&bundle));
    assert_eq!(status(&transport, of_first).await, Ok(200));
    assert_eq!(status(&transport, of_second).await, Err(ErrorCode::UnknownIssuer));
    std::fs::write(&bundle, "not a certificate").unwrap();
    assert_eq!(status(&transport, of_first).await, Ok(200), "the last good one serves");
    std::fs::remove_file(&bundle).unwrap();
    assert_eq!(status(&transport, of_first).await, Ok(200));
    std::fs::write(&bundle, format!("{}{}", first.pem, second.pem)).unwrap();
    assert_eq!((status(&transport, of_first).await, status(&transport, of_second).await), (Ok(200), Ok(200)));
    std::fs::write(&bundle, &second.pem).unwrap();
    assert_eq!(status(&transport, of_second).await, Ok(200));
    assert_eq!(status(&transport, of_first).await, Err(ErrorCode::UnknownIssuer));
}

#[tokio::test]
async fn a_redirect_carries_no_token_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("ca.pem");
    let mut authority = Authority::new("Any");
    std::fs::write(&bundle, &authority.pem).unwrap();
    let thief = TcpListener::bind("127.0.0.1:0").await.unwrap().into_std().unwrap();
    let away = format!("https://localhost:{}/", thief.local_addr().unwrap().port());
    let redirect = async move || (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, away)]);
    let router = Router::new().fallback(redirect);
    let address = authority.serve_router(Clients::Any, "localhost", router).await;
    let mut asking = request("localhost", address.port());
    asking.headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer placeholder"));
    let answer: Result<_, TransportError> = transport(Some(&bundle)).send(asking, LIMIT).await;
    assert_eq!(answer.unwrap().status.as_u16(), 307);
    assert_eq!(thief.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "nobody has come");
}

/// The certificates of the host count beside the bundle: `SSL_CERT_FILE` names them on any Linux. Only what the bundle alone
/// vouches for may be somebody who opens TLS on the way.
#[tokio::test]
async fn whose_certificate_it_is_is_told() {
    let world = World::new();
    let mut authority = Authority::new("Of the host");
    let trusted = world.path("trusted.pem");
    std::fs::write(&trusted, &authority.pem).unwrap();
    let apono = authority.serve("localhost", 2999, OK).await;
    let configuration = world.configuration("");
    let there = configuration.replace(&world.apono_url(), &format!("https://localhost:{}", apono.port()));
    world.write_configuration(&there);
    let in_bundle = format!("http.ca_bundle_file={}", trusted.display());
    let cases: [(&[&str], Option<&Path>, Value); 3] = [
        (&[], None, json!(["FAIL", ErrorCode::UnknownIssuer.to_string()])),
        (&[], Some(&trusted), json!(["PASS", null])),
        (&["--set", &in_bundle], None, json!(["WARN", ErrorCode::TlsOpened.to_string()])),
    ];
    for (more, of_the_host, expected) in cases {
        let mut command = world.command(&[&["doctor", "--json"], more].concat());
        command.stdout(Stdio::piped()).envs(of_the_host.map(|path| ("SSL_CERT_FILE", path)));
        let output = command.output().await.unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let mut findings = report["findings"].as_array().unwrap().iter();
        let of_tls = findings.find(|finding| finding["id"] == "apono.tls").unwrap();
        assert_eq!(json!([of_tls["verdict"], of_tls["code"]]), expected, "{of_tls}");
    }
}

#[test]
fn a_bundle_that_is_none_is_refused_at_the_start_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("ca.pem");
    let error = |bundle: &Path| {
        let ca_bundle = Some(MountedFile::new(bundle));
        let settings = HttpsSettings { ca_bundle, ..HttpsSettings::plain(LIMIT) };
        HttpsTransport::new(&settings).unwrap_err().to_string()
    };
    assert!(error(&bundle).contains("ca.pem cannot be read [AOC-0130]"), "{}", error(&bundle));
    std::fs::write(&bundle, "").unwrap();
    assert!(error(&bundle).contains("is not a list of PEM certificates [AOC-0130]"), "{}", error(&bundle));
}
