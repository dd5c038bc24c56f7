//! # Purpose
//! Takes out of a refusal what it repeats of our secrets: some servers quote the header that they did not like.
//!
//! # Invariants kept here
//! - What is told of an answer other than success holds nothing that the request was authorized with, however it is spelt.
//!
//! # Not here
//! What the answer means.

use std::fmt;

use http::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use super::{Request, Response};
use crate::secrets::spellings;

/// The secrets that one request carries.
pub(super) struct Shown(Vec<SecretString>);

impl Shown {
    /// Those in its sensitive headers, and the one that its body says it has.
    pub(super) fn by(request: &Request) -> Self {
        let mut secrets = in_headers(&request.headers);
        secrets.extend(request.secret_in_body.clone());
        Self(secrets)
    }

    /// The answer without them.
    pub(super) fn out_of(&self, response: Response) -> Response {
        if response.status.is_success() {
            return response;
        }
        let Response { status, mut headers, mut body } = response;
        for secret in self.0.iter().flat_map(|secret| spellings(secret.expose_secret())) {
            let secret = secret.expose_secret();
            if contains(&body, secret) {
                body = String::from_utf8_lossy(&body).replace(secret, "…").into();
            }
            for value in headers.values_mut().filter(|value| contains(value.as_bytes(), secret)) {
                *value = HeaderValue::from_static("(not shown)");
            }
        }
        Response { status, headers, body }
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

/// The last word of each: `Bearer …`, or a proof.
fn in_headers(headers: &HeaderMap) -> Vec<SecretString> {
    let sensitive = headers.values().filter(|value| value.is_sensitive());
    let words = sensitive.filter_map(|value| value.to_str().ok()?.rsplit(' ').next());
    words.filter(|word| !word.is_empty()).map(SecretString::from).collect()
}

fn contains(body: &[u8], secret: &str) -> bool {
    body.windows(secret.len()).any(|part| part == secret.as_bytes())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{Method, StatusCode};

    use super::*;

    fn request() -> Request {
        let mut request = Request::new(Method::POST, "https://example.okta.com".parse().unwrap());
        let mut header = HeaderValue::from_static("Bearer placeholder-token");
        header.set_sensitive(true);
        request.headers.insert("authorization", header);
        request.headers.insert("accept", HeaderValue::from_static("application/json"));
        request.secret_in_body = Some(SecretString::from("placeholder-assertion"));
        request
    }

    fn answer(status: u16, body: &'static str) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert("www-authenticate", HeaderValue::from_static("Bearer got=placeholder-token"));
        headers.insert("x-rate-limit-limit", HeaderValue::from_static("600"));
        Response {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    #[test]
    fn a_refusal_loses_what_it_repeats_and_nothing_else() {
        let body = "no application/json for placeholder-token, placeholder-assertion nor placeholder";
        let left = Shown::by(&request()).out_of(answer(401, body));
        assert_eq!(left.body, "no application/json for …, … nor placeholder");
        assert!(!format!("{:?}", left.headers).contains("placeholder-token"));
        assert_eq!(left.header("x-rate-limit-limit"), Some("600"));
    }

    #[test]
    fn a_repeated_secret_is_taken_out_in_whatever_it_is_written() {
        let mut request = request();
        request.secret_in_body = Some(SecretString::from("placeholder/\"quoted\""));
        let body = r#"{"got":"placeholder\/\"quoted\"","at":"?t=placeholder%2F%22quoted%22"}"#;
        let left = Shown::by(&request).out_of(answer(400, body));
        assert_eq!(left.body, r#"{"got":"…","at":"?t=…"}"#);
    }

    #[test]
    fn a_success_is_left_as_it_is() {
        let body = "{\"access_token\":\"placeholder-token\"}";
        assert_eq!(Shown::by(&request()).out_of(answer(200, body)).body, body);
    }
}
