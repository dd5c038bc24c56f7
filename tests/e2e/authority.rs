//! Certificates that only a test knows, and TLS servers that show them.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

pub const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

/// A certificate authority of nobody's.
pub struct Authority {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
    pub servers: JoinSet<()>,
}

impl Authority {
    pub fn new(name: &str) -> Self {
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
    pub async fn serve(&mut self, name: &str, year: i32, answer: &'static str) -> SocketAddr {
        self.serve_to(Clients::Any, name, year, answer).await
    }

    /// The same, to clients that show a certificate of this authority.
    pub async fn serve_to_known(&mut self, name: &str, answer: &'static str) -> SocketAddr {
        self.serve_to(Clients::Known, name, 2999, answer).await
    }

    async fn serve_to(
        &mut self,
        clients: Clients,
        name: &str,
        year: i32,
        answer: &'static str,
    ) -> SocketAddr {
        let acceptor = self.acceptor(clients, name, year, &[]);
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

    /// Serves `router` over HTTP/2 and HTTP/1.1.
    pub async fn serve_router(&mut self, clients: Clients, name: &str, router: Router) -> SocketAddr {
        let acceptor = self.acceptor(clients, name, 2999, &[b"h2", b"http/1.1"]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        self.servers.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(socket).await else { return };
                    let server = auto::Builder::new(TokioExecutor::new());
                    // A client that goes away is no failure.
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        address
    }

    fn acceptor(&self, clients: Clients, name: &str, year: i32, protocols: &[&[u8]]) -> TlsAcceptor {
        let (certificate, key) = self.issue(name, year);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            Clients::Any => builder.with_no_client_auth(),
            Clients::Known => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
                let known = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(known.build().unwrap())
            }
        };
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }

    /// A certificate for `name`, and its key.
    pub fn issue(&self, name: &str, year: i32) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }
}

/// Whom a server takes.
#[derive(Clone, Copy)]
pub enum Clients {
    Any,
    /// Those who show a certificate of the server's own authority.
    Known,
}
