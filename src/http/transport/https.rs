//! # Purpose
//! The transport over the network: TLS, the proxy, the client certificate.
//!
//! # Invariants kept here
//! - Redirects are never followed: a bearer token goes to the origin it was meant for or nowhere.
//! - An answer is read to at most [`BODY_LIMIT`] bytes.
//! - Certificates and proxy credentials that are replaced are used for new connections; a bad file never
//!   replaces a good one (invariant 14).
//! - A client certificate is shown to the one origin that it is for, and to an https:// proxy on the way to it that asks.
//!
//! # Not here
//! Which connections go through the proxy: `http::proxy`. What stands in their way: `http::obstacle`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::BytesMut;
use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};

use super::{BODY_LIMIT, Request, Response, Transport, TransportError};
use crate::catalogue::ErrorCode;
use crate::clock;
use crate::http::obstacle::obstacle;
use crate::http::proxy::Proxies;
use crate::secrets::{BundleError, MountedFile, Reloading, SecretError, SecretSource};

/// HTTPS by reqwest.
#[derive(Debug)]
pub struct HttpsTransport {
    client: Reloading<reqwest::Client>,
    /// For one origin alone.
    identified: Option<(String, Reloading<reqwest::Client>)>,
}

/// How connections are made.
#[derive(Clone, Debug)]
pub struct HttpsSettings {
    /// Limit for TCP and TLS together.
    pub connect_timeout: Duration,
    /// PEM certificates to trust beside the system's and Mozilla's; followed when the file is replaced.
    pub ca_bundle: Option<MountedFile>,
    /// The way out.
    pub proxies: Proxies,
    /// `user:password` for the proxy; followed when it is replaced.
    pub proxy_credentials: Option<MountedFile>,
    /// Who we are to one peer that asks for it.
    pub client_certificate: Option<ClientCertificate>,
}

impl HttpsSettings {
    /// Straight to peers that everybody trusts.
    pub fn plain(connect_timeout: Duration) -> Self {
        Self {
            connect_timeout,
            ca_bundle: None,
            proxies: Proxies::default(),
            proxy_credentials: None,
            client_certificate: None,
        }
    }
}

/// A certificate with its key, both PEM, both followed when they are replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// To whom it is shown: `https://host[:port]`, and to nobody else.
    pub origin: String,
    /// The certificate, with those between it and its authority.
    pub certificate: MountedFile,
    /// The private key.
    pub key: MountedFile,
}

/// The HTTPS client cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    /// The bundle is not to be had, or is none.
    #[error("http.ca_bundle_file: {0}")]
    Bundle(#[source] BundleError),
    /// The proxy's credentials cannot be read.
    #[error("http.proxy_credentials_file: {0}")]
    ProxyCredentials(#[source] SecretError),
    /// They are something else.
    #[error("http.proxy_credentials_file: {} is not user:password on one line [{}]", path.display(), ErrorCode::ProxyCredentials)]
    ProxyCredentialsForm {
        /// The file.
        path: PathBuf,
    },
    /// The client certificate or its key cannot be read.
    #[error("{key}: {source}")]
    ClientCertificateFile {
        /// The configuration's name for the file.
        key: &'static str,
        /// Why.
        #[source]
        source: SecretError,
    },
    /// They are no certificate and key.
    #[error("apono.client_certificate_file: {} and the key beside it are not a PEM certificate and its private key [{}]", path.display(), ErrorCode::ClientCertificate)]
    ClientCertificate {
        /// The certificate's file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: reqwest::Error,
    },
    /// Anything else: TLS cannot start.
    #[error("the HTTPS client cannot start [{}]", ErrorCode::HttpsFails)]
    Start(#[source] reqwest::Error),
}

impl HttpsError {
    /// What it is.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Bundle(_) => ErrorCode::CaBundle,
            Self::ProxyCredentials(source) | Self::ClientCertificateFile { source, .. } => source.code(),
            Self::ProxyCredentialsForm { .. } => ErrorCode::ProxyCredentials,
            Self::ClientCertificate { .. } => ErrorCode::ClientCertificate,
            Self::Start(_) => ErrorCode::HttpsFails,
        }
    }
}

impl HttpsTransport {
    /// Builds the one client of the process.
    pub fn new(settings: &HttpsSettings) -> Result<Self, HttpsError> {
        let shared = settings.clone();
        let client = Reloading::new("HTTPS settings", files(settings), move || {
            builder(&shared)?.build().map_err(HttpsError::Start)
        })?;
        let identified = match &settings.client_certificate {
            None => None,
            Some(certificate) => {
                let (settings, of) = (settings.clone(), certificate.clone());
                let files =
                    files(&settings).chain([of.certificate.clone(), of.key.clone()]).collect::<Vec<_>>();
                let load = move || {
                    let identified = builder(&settings)?.identity(identity(&of)?).build();
                    // All but the pair was found right just now, without it.
                    identified.map_err(|source| not_a_pair(&of, source))
                };
                Some((certificate.origin.clone(), Reloading::new("client certificate", files, load)?))
            }
        };
        Ok(Self { client, identified })
    }

    /// For HTTP to the process behind a Unix socket, whatever the URLs say.
    pub fn through(socket: &Path) -> Result<Self, HttpsError> {
        let socket = socket.to_owned();
        let client = move || {
            // No root is needed, and a host without any must not be in the way.
            let builder =
                reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).tls_certs_only([]);
            builder.unix_socket(socket.clone()).build().map_err(HttpsError::Start)
        };
        Ok(Self { client: Reloading::new("socket", None, client)?, identified: None })
    }
}

fn files(settings: &HttpsSettings) -> impl Iterator<Item = MountedFile> {
    settings.ca_bundle.clone().into_iter().chain(settings.proxy_credentials.clone())
}

fn builder(settings: &HttpsSettings) -> Result<reqwest::ClientBuilder, HttpsError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("apono-connector/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(settings.connect_timeout)
        .redirect(reqwest::redirect::Policy::none())
        .pool_idle_timeout(Duration::from_secs(90))
        .tcp_keepalive(Duration::from_secs(30));
    // A container may have no certificates of its own.
    let known = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
    let known: Result<Vec<_>, _> = known.map(|root| reqwest::Certificate::from_der(root)).collect();
    builder = builder.tls_certs_merge(known.map_err(HttpsError::Start)?);
    if let Some(file) = &settings.ca_bundle {
        let roots = file.read_authorities().map_err(HttpsError::Bundle)?;
        let roots: Result<Vec<_>, _> =
            roots.iter().map(|root| reqwest::Certificate::from_der(root)).collect();
        builder = builder.tls_certs_merge(roots.map_err(HttpsError::Start)?);
    }
    // `NO_PROXY` as reqwest reads it knows no ports and no brackets.
    Ok(builder.no_proxy().proxy(proxy(settings)?))
}

fn proxy(settings: &HttpsSettings) -> Result<reqwest::Proxy, HttpsError> {
    let proxies = settings.proxies.clone();
    let proxy = reqwest::Proxy::custom(move |url| proxies.of(url).cloned());
    let Some(file) = &settings.proxy_credentials else { return Ok(proxy) };
    let credentials = file.read().map_err(HttpsError::ProxyCredentials)?;
    match credentials.expose_secret().split_once(':') {
        Some((user, password)) if !user.is_empty() && !password.contains(char::is_control) => {
            Ok(proxy.basic_auth(user, password))
        }
        Some(_) | None => Err(HttpsError::ProxyCredentialsForm { path: file.path().to_owned() }),
    }
}

fn identity(of: &ClientCertificate) -> Result<reqwest::Identity, HttpsError> {
    let read = |file: &MountedFile, key| {
        file.read().map_err(|source| HttpsError::ClientCertificateFile { key, source })
    };
    let certificate = read(&of.certificate, "apono.client_certificate_file")?;
    let key = read(&of.key, "apono.client_key_file")?;
    let parts = [key.expose_secret(), certificate.expose_secret(), ""];
    // Joined at once, so that no shorter copy of the key is left behind.
    let pem = SecretString::from(parts.join("\n"));
    reqwest::Identity::from_pem(pem.expose_secret().as_bytes()).map_err(|source| not_a_pair(of, source))
}

fn not_a_pair(of: &ClientCertificate, source: reqwest::Error) -> HttpsError {
    HttpsError::ClientCertificate { path: of.certificate.path().to_owned(), source }
}

impl Transport for HttpsTransport {
    fn send(&self, request: Request, limit: Duration) -> BoxFuture<'_, Result<Response, TransportError>> {
        Box::pin(async move {
            let host = request.url.host_str().unwrap_or_default().to_owned();
            match clock::timeout(limit, self.send_within(request, &host)).await {
                Some(result) => result,
                None => Err(TransportError::Timeout { host, limit }),
            }
        })
    }
}

impl HttpsTransport {
    async fn send_within(&self, request: Request, host: &str) -> Result<Response, TransportError> {
        let broken = |source: reqwest::Error| {
            let host = host.to_owned();
            // An address may have any word in it.
            let source = source.without_url();
            let found = obstacle(&source);
            if source.is_connect() {
                let code = found.unwrap_or(ErrorCode::HostUnreachable);
                TransportError::Connect { host, code, source: Box::new(source) }
            } else {
                // TLS 1.3 refuses a client's certificate when the connection seems to stand.
                let refused = found.filter(|code| *code == ErrorCode::CertificateWanted);
                let code = refused.unwrap_or(ErrorCode::ConnectionBroken);
                TransportError::Broken { host, code, source: Box::new(source) }
            }
        };
        let client = match &self.identified {
            Some((origin, client)) if *origin == request.url.origin().ascii_serialization() => {
                client.current()
            }
            Some(_) | None => self.client.current(),
        };
        let outgoing =
            client.request(request.method, request.url).headers(request.headers).body(request.body);
        #[expect(clippy::disallowed_methods, reason = "this is the transport")]
        let mut incoming = outgoing.send().await.map_err(broken)?;
        let (status, headers) = (incoming.status(), std::mem::take(incoming.headers_mut()));
        let expected = incoming.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        let mut body = BytesMut::with_capacity(expected.min(BODY_LIMIT));
        while let Some(chunk) = incoming.chunk().await.map_err(broken)? {
            if body.len() + chunk.len() > BODY_LIMIT {
                return Err(TransportError::TooLarge { host: host.to_owned() });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Response { status, headers, body: body.freeze() })
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn no_word_of_an_address_is_taken_for_what_stands_in_the_way() {
        // Nobody listens there any more.
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let transport = HttpsTransport::new(&HttpsSettings::plain(LIMIT)).unwrap();
        for (url, expected) in [
            (format!("http://{closed}/"), ErrorCode::ConnectionRefused),
            (format!("http://{closed}/proxy?through=tunnel"), ErrorCode::ConnectionRefused),
            ("http://proxy-tunnel.invalid/".to_owned(), ErrorCode::NameNotResolved),
        ] {
            let error =
                transport.send(Request::new(Method::GET, url.parse().unwrap()), LIMIT).await.unwrap_err();
            assert_eq!(error.code(), expected, "{url}: {error:?}");
        }
    }

    #[test]
    fn a_damaged_bundle_is_blamed_by_its_name_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        let settings =
            HttpsSettings { ca_bundle: Some(MountedFile::new(&path)), ..HttpsSettings::plain(LIMIT) };
        let message = HttpsTransport::new(&settings).unwrap_err().to_string();
        assert!(message.starts_with(&format!("http.ca_bundle_file: {}", path.display())), "{message}");
        assert!(message.ends_with("[AOC-0130]"), "{message}");
    }
}
