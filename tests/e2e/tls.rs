//! What stands in the way of a connection is told apart, on real sockets; the CA bundle is followed when it is replaced.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use apono_connector::catalogue::ErrorCode;
use apono_connector::http::transport::{HttpsSettings, HttpsTransport};
use apono_connector::http::{Request, Transport, TransportError};
use apono_connector::secrets::MountedFile;
use http::{HeaderValue, Method};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, date_time_ymd,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use url::Url;

const LIMIT: Duration = Duration::from_secs(10);

/// A certificate authority of nobody's.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
    servers: JoinSet<()>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        let mut called = DistinguishedName::new();
        called.push(DnType::CommonName, name);
        params.distinguished_name = called;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self { pem: certificate.pem(), issuer: Issuer::new(params, key), servers: JoinSet::new() }
    }

    /// Serves `answer` to whoever comes, with a certificate for `name` until `year`.
    async fn serve(&mut self, name: &str, year: i32, answer: &'static str) -> SocketAddr {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let certificate: CertificateDer<'static> =
            params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let config = config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        self.servers.spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                // Whoever does not trust us leaves before.
                let Ok(mut stream) = acceptor.accept(socket).await else { continue };
                let mut seen = vec![0; 4096];
                let _ = stream.read(&mut seen).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        address
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

fn transport(bundle: Option<&Path>) -> HttpsTransport {
    HttpsTransport::new(&HttpsSettings { connect_timeout: LIMIT, ca_bundle: bundle.map(MountedFile::new) })
        .unwrap()
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
    let thief = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let away = "HTTP/1.1 307 Temporary Redirect\r\nlocation: https://localhost:1/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let address = authority.serve("localhost", 2999, away).await;
    let mut asking = request("localhost", address.port());
    asking.headers.insert(http::header::AUTHORIZATION, HeaderValue::from_static("Bearer placeholder"));
    let answer: Result<_, TransportError> = transport(Some(&bundle)).send(asking, LIMIT).await;
    assert_eq!(answer.unwrap().status.as_u16(), 307);
    drop(thief);
}

#[test]
fn a_bundle_that_is_none_is_refused_at_the_start_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("ca.pem");
    let error = |bundle: &Path| {
        let settings = HttpsSettings { connect_timeout: LIMIT, ca_bundle: Some(MountedFile::new(bundle)) };
        HttpsTransport::new(&settings).unwrap_err().to_string()
    };
    assert!(error(&bundle).contains("ca.pem cannot be read [AOC-0130]"), "{}", error(&bundle));
    std::fs::write(&bundle, "").unwrap();
    assert!(error(&bundle).contains("is not a list of PEM certificates [AOC-0130]"), "{}", error(&bundle));
}
