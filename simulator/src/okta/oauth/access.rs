//! # Purpose
//! The check of an access token at the management API.
//!
//! # Invariants kept here
//! - A refusal has no body; its reason is in `WWW-Authenticate`.
//! - `manage` includes `read` of the same resource.
//!
//! # Not here
//! Admin roles: a valid token with the right scope may still see nothing.

use std::collections::BTreeSet;

use http::{HeaderMap, header};

use super::super::answer::Refusal;
use super::super::management::{AdminRole, Administrator, rights::Rights};
use super::super::settings::Settings;
use super::dpop::{self, ProofContext, ProofRefusal};
use super::jwt::ALGORITHMS;
use super::registry::Registry;

/// Who calls, and with which administrator's rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Caller {
    pub(in super::super) client: String,
    pub(in super::super) rights: Rights,
    pub(in super::super) super_admin: bool,
    /// A person with an API token, and no client.
    pub(in super::super) administrator: Option<Administrator>,
}

/// A call that needs a token.
pub(in super::super) struct Call<'a> {
    pub(in super::super) method: &'a str,
    pub(in super::super) path: &'a str,
    pub(in super::super) scope: &'static str,
    pub(in super::super) headers: &'a HeaderMap,
    pub(in super::super) now_ms: i64,
}

/// Finds out who calls.
pub(in super::super) fn authorize(
    registry: &mut Registry,
    settings: &Settings,
    call: &Call<'_>,
) -> Result<Caller, Refusal> {
    let authorization = call.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (scheme, presented) = authorization.and_then(|value| value.split_once(' ')).unwrap_or_default();
    if scheme.eq_ignore_ascii_case("SSWS") {
        let Some(role) = registry.management.tokens.get(presented).copied() else {
            return Err(Refusal::api(401, "E0000011", "Invalid token provided"));
        };
        return Ok(Caller {
            client: "administrator".into(),
            rights: Rights::all(),
            super_admin: role == AdminRole::SuperAdmin,
            administrator: Some(Administrator { token: presented.into(), role }),
        });
    }
    let is_proof_scheme = scheme.eq_ignore_ascii_case("DPoP");
    let challenge = Challenge { settings, call, is_proof_scheme };
    let unknown = challenge.refusal(401, "invalid_token", "The access token is invalid.");
    if !is_proof_scheme && !scheme.eq_ignore_ascii_case("Bearer") {
        return Err(unknown);
    }
    let token = registry.tokens.get(presented.trim()).filter(|token| token.expires > call.now_ms).cloned();
    let Some(token) = token else { return Err(unknown) };
    let Some(client) = registry.clients.get(&token.client).filter(|client| client.active) else {
        return Err(unknown);
    };
    let lag = i64::try_from(settings.role_lag.as_millis()).unwrap_or(i64::MAX);
    let in_force = call.now_ms.saturating_sub(lag);
    let caller = Caller {
        client: token.client.clone(),
        rights: Rights::of(client, &registry.management, in_force),
        super_admin: client.super_admin
            || client.assignments.iter().any(|assignment| assignment.kind == "SUPER_ADMIN"),
        administrator: None,
    };
    match (&token.bound_to, is_proof_scheme) {
        (None, false) => {}
        (None, true) => {
            let description = "The presented access_token is not DPoP bound.";
            return Err(challenge.refusal(401, "invalid_token", description));
        }
        (Some(_), false) => {
            let description =
                "The resource request must use the DPoP authentication scheme when using a DPoP bound token.";
            return Err(challenge.refusal(400, "invalid_request", description));
        }
        (Some(key), true) => check_proof(registry, &challenge, presented.trim(), key)?,
    }
    if !includes(&token.scopes, call.scope) {
        let description = "The access token provided does not contain the required scopes.";
        return Err(challenge.refusal(403, "insufficient_scope", description));
    }
    Ok(caller)
}

fn check_proof(
    registry: &mut Registry,
    challenge: &Challenge<'_>,
    token: &str,
    key: &str,
) -> Result<(), Refusal> {
    let (settings, call) = (challenge.settings, challenge.call);
    let now = call.now_ms.div_euclid(1000);
    let checked = match dpop::proof_of(call.headers) {
        Ok(None) => {
            let description = "The resource request requires a DPoP proof.";
            return Err(challenge.refusal(400, "invalid_request", description));
        }
        Ok(Some(proof)) => {
            let url = format!("{}{}", settings.origin, call.path);
            let context = ProofContext {
                method: call.method,
                url: &url,
                token: Some(token),
                needs_nonce: settings.dpop_nonce_on_api,
                now,
            };
            dpop::check(registry, proof, &context)
        }
        Err(refusal) => Err(refusal),
    };
    match checked {
        Ok(thumbprint) if thumbprint == key => Ok(()),
        Ok(_) => {
            let description = "The access_token is not bound to the provided DPoP proof.";
            Err(challenge.refusal(400, "invalid_dpop_proof", description))
        }
        Err(ProofRefusal::Invalid(description)) => {
            Err(challenge.refusal(400, "invalid_dpop_proof", description))
        }
        Err(ProofRefusal::NonceNeeded) => Err(Refusal::Challenge {
            status: 400,
            challenge: challenge.text("use_dpop_nonce", "Authorization server requires nonce in DPoP proof."),
            nonce: Some(registry.nonce(now)),
        }),
    }
}

struct Challenge<'a> {
    settings: &'a Settings,
    call: &'a Call<'a>,
    is_proof_scheme: bool,
}

impl Challenge<'_> {
    fn refusal(&self, status: u16, error: &str, description: &str) -> Refusal {
        Refusal::Challenge { status, challenge: self.text(error, description), nonce: None }
    }

    fn text(&self, error: &str, description: &str) -> String {
        let origin = &self.settings.origin;
        let scheme = if self.is_proof_scheme {
            format!("DPoP algs=\"{}\", ", ALGORITHMS.join(" "))
        } else {
            "Bearer ".to_owned()
        };
        format!(
            "{scheme}authorization_uri=\"{origin}/oauth2/v1/authorize\", realm=\"{origin}\", \
             scope=\"{scope}\", error=\"{error}\", error_description=\"{description}\", resource=\"{path}\"",
            scope = self.call.scope,
            path = self.call.path,
        )
    }
}

fn includes(scopes: &BTreeSet<String>, wanted: &str) -> bool {
    scopes.contains(wanted)
        || wanted.strip_suffix(".read").is_some_and(|stem| scopes.contains(&format!("{stem}.manage")))
}
