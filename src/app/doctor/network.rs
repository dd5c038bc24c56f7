//! # Purpose
//! The way to a peer: its name, the connection, the proxy, TLS. One request tells of all four.
//!
//! # Invariants kept here
//! - What comes after the step that fails is skipped.
//!
//! # Not here
//! What the peer says.

use http::Method;
use url::Url;

use super::probe::{Probe, Report};
use crate::app::Outside;
use crate::catalogue::ErrorCode;
use crate::config::Settings;
use crate::http::{Request, Response, TransportError};
use crate::telemetry::chain;

/// What the steps of the way to one peer are called, in their order.
pub(super) struct Steps {
    pub(super) name: Probe,
    pub(super) proxy: Probe,
    pub(super) connect: Probe,
    pub(super) tls: Probe,
}

impl Steps {
    fn in_order(&self) -> [Probe; 4] {
        [self.name, self.proxy, self.connect, self.tls]
    }

    fn of(&self, code: ErrorCode) -> Probe {
        const TLS: [ErrorCode; 5] = [
            ErrorCode::UnknownIssuer,
            ErrorCode::CertificateTime,
            ErrorCode::CertificateName,
            ErrorCode::TlsFails,
            ErrorCode::CertificateWanted,
        ];
        if code == ErrorCode::NameNotResolved {
            self.name
        } else if [ErrorCode::ProxyFails, ErrorCode::ProxyWantsCredentials].contains(&code) {
            self.proxy
        } else if TLS.contains(&code) {
            self.tls
        } else {
            self.connect
        }
    }
}

/// Asks for `url` without any credentials; what came, where something did.
pub(super) async fn reach(
    url: Url,
    steps: &Steps,
    settings: &Settings,
    outside: &Outside,
    report: &mut Report,
) -> Option<Response> {
    let target = url.origin().ascii_serialization();
    let (asked, again) = (Request::new(Method::GET, url.clone()), Request::new(Method::GET, url));
    let answer = outside.transport.send(asked, settings.http.request_timeout).await;
    let failed = match &answer {
        Ok(_) => None,
        Err(error) => Some((steps.of(error.code()), error)),
    };
    let opened = match (&answer, &outside.without_bundle) {
        (Ok(_), Some(without)) if again.url.scheme() == "https" => {
            without.send(again, settings.http.request_timeout).await.err()
        }
        (Ok(_) | Err(_), Some(_) | None) => None,
    };
    let mut is_known = true;
    for step in steps.in_order() {
        match failed {
            Some((at, error)) if at == step => {
                report.fail(step, &target, text(error), error.code());
                is_known = false;
            }
            Some(_) | None if is_known => match &opened {
                Some(error) if step == steps.tls => without_the_bundle(error, step, &target, report),
                Some(_) | None => report.pass(step, &target, "it goes through"),
            },
            Some(_) | None => report.skip(step, &target, "not known while the step before fails"),
        }
    }
    answer.ok()
}

/// Of a peer that answers where the CA bundle is trusted, and not, or not so, where it is not.
fn without_the_bundle(error: &TransportError, tls: Probe, target: &str, report: &mut Report) {
    if error.code() == ErrorCode::UnknownIssuer {
        report.warn_of(
            tls,
            target,
            "the certificate is that of an authority in http.ca_bundle_file: whoever holds that can read and change what goes by",
            ErrorCode::TlsOpened.cure(),
            ErrorCode::TlsOpened,
        );
    } else {
        let detail = format!("it goes through; whether somebody opens it is not known: {}", text(error));
        report.pass(tls, target, detail);
    }
}

fn text(error: &TransportError) -> String {
    chain(error).to_string()
}
