//! Out through the customer's proxy, and in at a gateway that wants a client certificate: on real sockets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use apono_connector::catalogue::ErrorCode;
use apono_connector::http::proxy::Proxies;
use apono_connector::http::transport::{ClientCertificate, HttpsError, HttpsSettings, HttpsTransport};
use apono_connector::http::{Request, Transport};
use apono_connector::secrets::MountedFile;
use http::Method;
use url::Url;

use super::authority::{Authority, OK};
use super::tunnels::Tunnels;

const LIMIT: Duration = Duration::from_secs(10);
/// A name that no resolver knows: whoever reaches it was let through by the proxy.
const OKTA: &str = "example.okta.invalid";

fn proxies(variables: &[(&str, String)]) -> Proxies {
    let variables: BTreeMap<_, _> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    Proxies::from_environment(&variables).unwrap().0
}

fn settings(bundle: &Path, variables: &[(&str, String)]) -> HttpsSettings {
    let ca_bundle = Some(MountedFile::new(bundle));
    HttpsSettings { ca_bundle, proxies: proxies(variables), ..HttpsSettings::plain(LIMIT) }
}

async fn ask(transport: &HttpsTransport, url: &str) -> Result<u16, ErrorCode> {
    let answer = transport.send(Request::new(Method::GET, Url::parse(url).unwrap()), LIMIT).await;
    answer.map(|response| response.status.as_u16()).map_err(|error| error.code())
}

#[tokio::test]
async fn the_proxy_is_used_and_no_proxy_excepts_by_name_port_and_network() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("ca.pem");
    let mut authority = Authority::new("Any");
    std::fs::write(&bundle, &authority.pem).unwrap();
    let okta = authority.serve(OKTA, 2999, OK).await;
    let proxy = Tunnels::to(&[(OKTA, okta)], &[]).await;
    let named = format!("http://{}", proxy.address);
    let url = format!("https://{OKTA}:8443/api/v1/users");
    let through = |no_proxy: &str| {
        settings(&bundle, &[("HTTPS_PROXY", named.clone()), ("NO_PROXY", no_proxy.to_owned())])
    };

    let transport = HttpsTransport::new(&through("other.invalid,okta.invalid:9443,10.0.0.0/8")).unwrap();
    assert_eq!(ask(&transport, &url).await, Ok(200));
    let heads = proxy.heads();
    assert_eq!(heads.len(), 1);
    assert!(heads[0].starts_with(&format!("CONNECT {OKTA}:8443 HTTP/1.1\r\n")), "{heads:?}");

    let transport = HttpsTransport::new(&through("okta.invalid:8443")).unwrap();
    assert_eq!(
        ask(&transport, &url).await,
        Err(ErrorCode::NameNotResolved),
        "directly, where no such name is"
    );
    // TEST-NET-1 (RFC 5737): nobody answers there, and a proxy would.
    let soon = HttpsSettings { connect_timeout: Duration::from_millis(50), ..through("192.0.2.0/24") };
    let direct = ask(&HttpsTransport::new(&soon).unwrap(), "https://192.0.2.1:8443/").await.unwrap_err();
    assert!(
        [ErrorCode::HostUnreachable, ErrorCode::ConnectionRefused].contains(&direct),
        "directly, {direct:?}"
    );
    let local = format!("https://127.0.0.1:{}/", okta.port());
    let transport = HttpsTransport::new(&through("")).unwrap();
    assert_eq!(ask(&transport, &local).await, Err(ErrorCode::CertificateName), "this host itself, directly");
    assert_eq!(proxy.heads(), Vec::<String>::new());
    assert_eq!(ask(&transport, &format!("https://forbidden.{OKTA}/")).await, Err(ErrorCode::ProxyFails));
}

#[tokio::test]
async fn the_proxys_credentials_come_from_a_file_and_follow_it() {
    let folder = tempfile::tempdir().unwrap();
    let (bundle, file) = (folder.path().join("ca.pem"), folder.path().join("proxy"));
    let mut authority = Authority::new("Any");
    std::fs::write(&bundle, &authority.pem).unwrap();
    let okta = authority.serve(OKTA, 2999, OK).await;
    let proxy = Tunnels::to(&[(OKTA, okta)], &["user:placeholder", "user:other", "user:in-the-url"]).await;
    let url = format!("https://{OKTA}/");
    let with = |address: String, file: Option<&Path>| {
        let proxy_credentials = file.map(MountedFile::new);
        HttpsSettings { proxy_credentials, ..settings(&bundle, &[("HTTPS_PROXY", address)]) }
    };
    let named = format!("http://{}", proxy.address);

    let nobody = HttpsTransport::new(&with(named.clone(), None)).unwrap();
    assert_eq!(ask(&nobody, &url).await, Err(ErrorCode::ProxyWantsCredentials));
    std::fs::write(&file, "user:placeholder\n").unwrap();
    let transport = HttpsTransport::new(&with(named, Some(&file))).unwrap();
    assert_eq!(ask(&transport, &url).await, Ok(200));
    std::fs::write(&file, "no colon in here").unwrap();
    assert_eq!(ask(&transport, &url).await, Ok(200), "the last good ones");
    std::fs::write(&file, "user:other").unwrap();
    proxy.heads();
    assert_eq!(ask(&transport, &url).await, Ok(200));
    assert!(proxy.heads()[0].contains("proxy-authorization: Basic "));
    std::fs::write(&file, "user:wrong").unwrap();
    assert_eq!(ask(&transport, &url).await, Err(ErrorCode::ProxyWantsCredentials));
    let in_url = format!("http://user:in-the-url@{}", proxy.address);
    let transport = HttpsTransport::new(&with(in_url, None)).unwrap();
    assert_eq!(ask(&transport, &url).await, Ok(200));

    std::fs::write(&file, "no colon in here").unwrap();
    let wrong = HttpsTransport::new(&with(String::new(), Some(&file))).unwrap_err().to_string();
    assert!(wrong.contains("is not user:password on one line [AOC-0133]"), "{wrong}");
    assert!(!wrong.contains("no colon"), "{wrong}");
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_apono_alone_and_followed() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (mut gateway, stranger) = (Authority::new("Gateway"), Authority::new("Stranger"));
    std::fs::write(at("ca.pem"), &gateway.pem).unwrap();
    let apono = gateway.serve_to_known("localhost", OK).await;
    let other = gateway.serve_to_known("localhost", OK).await;
    let write = |authority: &Authority| {
        let (certificate, key) = authority.issue("connector", 2999);
        std::fs::write(at("client.pem"), certificate.pem()).unwrap();
        std::fs::write(at("client.key"), key.serialize_pem()).unwrap();
    };
    let url = |server: SocketAddr| format!("https://localhost:{}", server.port());
    let with = || HttpsSettings {
        client_certificate: Some(ClientCertificate {
            origin: url(apono),
            certificate: MountedFile::new(at("client.pem")),
            key: MountedFile::new(at("client.key")),
        }),
        ..settings(&at("ca.pem"), &[])
    };
    write(&gateway);
    let transport = HttpsTransport::new(&with()).unwrap();
    assert_eq!(ask(&transport, &url(apono)).await, Ok(200));
    assert_eq!(ask(&transport, &url(other)).await, Err(ErrorCode::CertificateWanted), "shown to Apono alone");
    write(&stranger);
    assert_eq!(ask(&transport, &url(apono)).await, Err(ErrorCode::CertificateWanted));
    std::fs::write(at("client.key"), "half a key").unwrap();
    assert_eq!(
        ask(&transport, &url(apono)).await,
        Err(ErrorCode::CertificateWanted),
        "the last that was one"
    );
    write(&gateway);
    assert_eq!(ask(&transport, &url(apono)).await, Ok(200));

    // Two halves of two pairs.
    let (_, other_key) = gateway.issue("connector", 2999);
    std::fs::write(at("client.key"), other_key.serialize_pem()).unwrap();
    let error = HttpsTransport::new(&with()).unwrap_err();
    assert!(matches!(error, HttpsError::ClientCertificate { .. }), "{error}");
    std::fs::write(at("client.key"), "half a key").unwrap();
    let error = HttpsTransport::new(&with()).unwrap_err();
    assert!(matches!(error, HttpsError::ClientCertificate { .. }), "{error}");
    assert!(error.to_string().contains("[AOC-0132]"), "{error}");
    std::fs::remove_file(at("client.key")).unwrap();
    let error = HttpsTransport::new(&with()).unwrap_err().to_string();
    assert!(error.starts_with("apono.client_key_file: "), "{error}");
}
