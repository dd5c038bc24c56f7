//! # Purpose
//! The status page, for people who would rather look: it asks `/status` and shows the answer.
//!
//! # Invariants kept here
//! - Everything is in this program; nothing is fetched from elsewhere, and nothing in the page is markup that came from
//!   elsewhere. The policy that browsers hold the page to says so.
//!
//! # Not here
//! Who may look: `guard`. The facts: `router`.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `/`
pub(super) async fn html() -> Response {
    asset("text/html; charset=utf-8", include_str!("page/page.html"))
}

/// `/page.css`
pub(super) async fn css() -> Response {
    asset("text/css; charset=utf-8", include_str!("page/page.css"))
}

/// `/page.js`
pub(super) async fn js() -> Response {
    asset("text/javascript; charset=utf-8", include_str!("page/page.js"))
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    let headers: [(HeaderName, HeaderValue); 5] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, text).into_response()
}
