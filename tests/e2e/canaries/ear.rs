//! Hears every secret that goes over the wire, and answers some requests by repeating what it was sent. Keeps the rest of the
//! requests, where no secret belongs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::future::ready;
use futures_util::stream::once;
use http::StatusCode;
use serde_json::{Value, json};

use super::birds::Canaries;

#[derive(Clone)]
pub struct Ear {
    canaries: Canaries,
    /// How many requests are yet to be answered with their own secrets.
    echoes: Arc<AtomicUsize>,
    /// What was asked, without the headers and the body that secrets belong in.
    asked: Arc<Mutex<Vec<u8>>>,
}

/// Where secrets belong.
const SECRET_HEADERS: [(&str, &str); 2] = [("authorization", "token in use"), ("dpop", "DPoP proof")];

impl Ear {
    pub fn new(canaries: &Canaries) -> Self {
        Self { canaries: canaries.clone(), echoes: Arc::default(), asked: Arc::default() }
    }

    /// The next `count` requests are refused with a text that quotes them.
    pub fn echo(&self, count: usize) {
        self.echoes.store(count, Ordering::SeqCst);
    }

    /// Every request so far, without what is secret in it.
    pub fn asked(&self) -> Vec<u8> {
        self.asked.lock().unwrap().clone()
    }

    pub fn at(&self, router: Router) -> Router {
        router.layer(from_fn_with_state(self.clone(), hear))
    }
}

async fn hear(State(ear): State<Ear>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let mut said = Vec::new();
    for (name, what) in SECRET_HEADERS {
        let value = parts.headers.get(name).and_then(|value| value.to_str().ok());
        said.extend(value.and_then(|value| value.rsplit(' ').next()).map(|word| (what, word.to_owned())));
    }
    let is_token = parts.uri.path().ends_with("/v1/token");
    if is_token {
        let pairs = url::form_urlencoded::parse(&body).filter(|(name, _)| name == "client_assertion");
        said.extend(pairs.map(|(_, assertion)| ("client assertion", assertion.into_owned())));
    }
    for (what, secret) in &said {
        ear.canaries.hear(what, secret);
    }
    {
        let mut asked = ear.asked.lock().unwrap();
        asked.extend(format!("{} {}\n", parts.method, parts.uri).bytes());
        for (name, value) in &parts.headers {
            if !SECRET_HEADERS.iter().any(|(secret, _)| name == secret) {
                asked.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\n"].concat());
            }
        }
        if !is_token {
            asked.extend(&body);
        }
        asked.push(b'\n');
    }
    let echoed = ear.echoes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    if let (Ok(turn), false) = (echoed, said.is_empty()) {
        return repeat(turn, &said);
    }
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    if !is_token {
        return response;
    }
    let (parts, body) = response.into_parts();
    let body = match to_bytes(body, usize::MAX).await {
        Ok(body) => body,
        // The simulator breaks off, and so do we.
        Err(error) => {
            return Response::from_parts(parts, Body::from_stream(once(ready(Err::<Bytes, _>(error)))));
        }
    };
    let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    if let Some(token) = answer["access_token"].as_str() {
        ear.canaries.hear("access token", token);
    }
    Response::from_parts(parts, Body::from(body))
}

/// In the words of each peer at once, or in a page of something in between.
fn repeat(turn: usize, said: &[(&str, String)]) -> Response {
    let said: Vec<_> = said.iter().map(|(_, secret)| secret.as_str()).collect();
    let text = format!("what is {}?", said.join(" and "));
    if turn.is_multiple_of(2) {
        return (StatusCode::BAD_GATEWAY, format!("<html><body>{text}</body></html>")).into_response();
    }
    let body = json!({
        "errorCode": "E0000003", "errorSummary": text, "errorId": "oaeEcho", "errorCauses": [{ "errorSummary": text }],
        "error": "invalid_request", "error_description": text,
        "code": "bad_request", "message": text,
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "detail": text, "status": "400",
    });
    let challenge = format!("Bearer error=\"invalid_token\", error_description=\"{text}\"");
    (StatusCode::BAD_REQUEST, [("www-authenticate", challenge)], axum::Json(body)).into_response()
}
