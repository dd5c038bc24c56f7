//! # Purpose
//! Absolute URLs below one configured base.
//!
//! # Invariants kept here
//! - Ids go into a path percent-encoded; they can never change where a request goes.
//! - A link that a peer sends is followed on the configured origin, whatever host it names.
//!
//! # Not here
//! Which paths exist.

use std::borrow::Cow;
use std::fmt;

use url::Url;

/// Where a peer's API starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base(Url);

/// A URL from the configuration is not usable.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BaseError {
    /// Does not parse.
    #[error("{0:?} is not a URL")]
    Syntax(String),
    /// Plain text to a remote host.
    #[error("{0:?} must start with https:// (plain http is accepted for loopback addresses only)")]
    Insecure(String),
    /// More than a base.
    #[error("{0:?} must not carry a user, a password, a query or a fragment")]
    Extra(String),
}

impl Base {
    /// Reads `https://host[:port][/path]`, or a bare `host[:port]` which means https.
    pub fn parse(text: &str) -> Result<Self, BaseError> {
        let text = text.trim().trim_end_matches('/');
        let absolute = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let url = Url::parse(&absolute).map_err(|_| BaseError::Syntax(shown(text)))?;
        let Some(host) = url.host() else {
            return Err(BaseError::Syntax(shown(text)));
        };
        let loopback = match host {
            url::Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
            url::Host::Ipv4(address) => address.is_loopback(),
            url::Host::Ipv6(address) => address.is_loopback(),
        };
        match url.scheme() {
            "https" => {}
            "http" if loopback => {}
            "http" => return Err(BaseError::Insecure(shown(text))),
            _ => return Err(BaseError::Syntax(shown(text))),
        }
        let credentials = !url.username().is_empty() || url.password().is_some();
        if url.query().is_some() || url.fragment().is_some() || credentials {
            return Err(BaseError::Extra(shown(text)));
        }
        Ok(Self(url))
    }

    /// The URL of `segments` below the base, with `query`.
    pub fn url(&self, segments: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.0.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments.iter().map(|segment| inert(segment)));
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// The path and query of `link` (absolute or relative) on this base's origin.
    ///
    /// `None` when it is not a link or leaves for another path than the one it came from.
    pub fn reattach(&self, link: &str, path: &str) -> Option<Url> {
        let target = self.0.join(link).ok()?;
        if target.path() != path {
            return None;
        }
        let mut url = self.0.clone();
        url.set_path(target.path());
        url.set_query(target.query());
        Some(url)
    }

    /// `https://host[:port]`, as people write it.
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// The host alone.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }
}

/// A segment as it is, unless a URL cannot name it: dots alone lead elsewhere, percent-encoded too, and tabs and line ends
/// are passed over (<https://url.spec.whatwg.org/#path-state>). Such a name is nobody's, and so is what becomes of it.
fn inert(segment: &str) -> Cow<'_, str> {
    match segment {
        "" => Cow::Borrowed("(empty)"),
        "." | ".." => Cow::Owned(segment.replace('.', "%2E")),
        _ if segment.contains(['\t', '\n', '\r']) => Cow::Owned(segment.replace(['\t', '\n', '\r'], "%0A")),
        _ => Cow::Borrowed(segment),
    }
}

/// For an error: a password is not shown.
fn shown(text: &str) -> String {
    text.rsplit_once('@').map_or_else(|| text.to_owned(), |(_, rest)| format!("…@{rest}"))
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_never_changes_where_a_request_goes() {
        let base = Base::parse("https://example.okta.com/api/v1").unwrap();
        for id in
            ["..", ".", "", "\t..", ".\n.", "..\r", "a/b", "a?b", "a#b", "%2e%2e", "%2E.", "\\", ";", "é"]
        {
            let url = base.url(&["groups", id, "users", "00u1"], &[]);
            let segments: Vec<_> = url.path().split('/').skip(1).collect();
            assert_eq!(segments.len(), 6, "{id:?}: {url}");
            assert_eq!((segments[2], segments[4], segments[5]), ("groups", "users", "00u1"), "{id:?}: {url}");
            assert!(!segments[3].is_empty() && url.query().is_none(), "{id:?}: {url}");
        }
    }

    #[test]
    fn a_bare_host_means_https_and_plain_http_is_for_loopback() {
        assert_eq!(Base::parse("api.apono.io").unwrap().to_string(), "https://api.apono.io");
        assert_eq!(Base::parse("https://example.okta.com/").unwrap().to_string(), "https://example.okta.com");
        assert!(Base::parse("http://127.0.0.1:8080").is_ok());
        assert!(Base::parse("http://[::1]:8080").is_ok());
        assert!(matches!(Base::parse("http://example.okta.com"), Err(BaseError::Insecure(_))));
        assert!(matches!(Base::parse("ftp://example.okta.com"), Err(BaseError::Syntax(_))));
        assert!(matches!(Base::parse("https://x/?a=b"), Err(BaseError::Extra(_))));
        for url in
            ["https://ada:hunter2@x.example", "https://:hunter2@x.example", "http://ada:hunter2@x.example"]
        {
            let error = Base::parse(url).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(matches!(Base::parse(""), Err(BaseError::Syntax(_))));
    }

    #[test]
    fn an_id_cannot_change_where_a_request_goes() {
        let base = Base::parse("https://example.okta.com").unwrap();
        let url = base.url(&["api", "v1", "users", "../../oauth2?x=/a b"], &[("limit", "200")]);
        assert_eq!(
            url.as_str(),
            "https://example.okta.com/api/v1/users/..%2F..%2Foauth2%3Fx=%2Fa%20b?limit=200"
        );
        let below = Base::parse("https://scim.example.com/v2").unwrap();
        assert_eq!(below.url(&["Users"], &[]).as_str(), "https://scim.example.com/v2/Users");
    }

    #[test]
    fn a_link_to_an_alias_host_is_followed_on_the_configured_origin() {
        let base = Base::parse("https://login.example.com").unwrap();
        let next = "https://example-admin.okta.com/api/v1/users?after=x&limit=200";
        assert_eq!(
            base.reattach(next, "/api/v1/users").unwrap().as_str(),
            "https://login.example.com/api/v1/users?after=x&limit=200"
        );
        assert_eq!(base.reattach("https://evil.example/other?after=x", "/api/v1/users"), None);
    }
}
