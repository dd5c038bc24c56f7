//! # Purpose
//! DPoP proofs (RFC 9449), with Okta's texts.
//!
//! # Invariants kept here
//! - A proof works once, for one method and address, for five minutes, and for one token.
//! - It counts as used even when only its nonce is missing.
//!
//! # Not here
//! Whether a proof is required.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;

use super::super::hash::sha256;
use super::jwt::{Jwt, thumbprint};
use super::registry::Registry;

const MAX_AGE: i64 = 300;

/// Why a proof is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProofRefusal {
    /// `invalid_dpop_proof` with this description.
    Invalid(&'static str),
    /// `use_dpop_nonce`.
    NonceNeeded,
}

/// What a proof has to fit.
pub(super) struct ProofContext<'a> {
    pub(super) method: &'a str,
    /// Without query and fragment.
    pub(super) url: &'a str,
    /// The access token it comes with.
    pub(super) token: Option<&'a str>,
    pub(super) needs_nonce: bool,
    /// Seconds since the epoch.
    pub(super) now: i64,
}

/// The proof in the `DPoP` header, if there is one.
pub(super) fn proof_of(headers: &HeaderMap) -> Result<Option<&str>, ProofRefusal> {
    let mut values = headers.get_all("dpop").iter();
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(ProofRefusal::Invalid("Multiple DPoP proof JWT headers are not allowed.")),
        (Some(value), None) => value
            .to_str()
            .map(Some)
            .map_err(|_| ProofRefusal::Invalid("The DPoP proof JWT cannot be parsed.")),
        (None, None) => Ok(None),
    }
}

/// Checks a proof. Returns the thumbprint of its key.
pub(super) fn check(
    registry: &mut Registry,
    proof: &str,
    context: &ProofContext<'_>,
) -> Result<String, ProofRefusal> {
    let invalid = ProofRefusal::Invalid;
    let unparsable = invalid("The DPoP proof JWT cannot be parsed.");
    let jwt = Jwt::parse(proof).ok_or(unparsable)?;
    if jwt.header_text("typ") != Some("dpop+jwt") {
        return Err(invalid("'typ' must be 'dpop+jwt' in the DPoP proof JWT."));
    }
    if !jwt.has_known_algorithm() {
        return Err(invalid("The DPoP proof JWT signature algorithm is invalid."));
    }
    let key =
        jwt.header.get("jwk").filter(|key| key.is_object() && key.get("d").is_none()).ok_or(unparsable)?;
    let bad_signature = invalid("The DPoP proof JWT signature is invalid.");
    if !jwt.is_signed_by(key) {
        return Err(bad_signature);
    }
    if jwt.text("htm") != Some(context.method) {
        return Err(invalid("'htm' claim in the DPoP proof JWT is invalid."));
    }
    if jwt.text("htu") != Some(context.url) {
        return Err(invalid("'htu' claim in the DPoP proof JWT is invalid."));
    }
    let issued = jwt.seconds("iat").ok_or(invalid("'iat' claim in the DPoP proof JWT is invalid."))?;
    if issued > context.now {
        return Err(invalid("The DPoP proof JWT is issued in the future."));
    }
    if issued < context.now - MAX_AGE {
        return Err(invalid("The DPoP proof JWT is issued more than five minutes in the past."));
    }
    if jwt.seconds("exp").is_some_and(|expires| expires <= context.now) {
        return Err(invalid("The DPoP proof JWT is expired."));
    }
    let jti = jwt.text("jti").filter(|jti| !jti.is_empty());
    let jti = jti.ok_or(invalid("'jti' claim in the DPoP proof JWT is invalid."))?;
    if !registry.burn_proof(jti, context.now) {
        return Err(invalid("The DPoP proof JWT has already been used."));
    }
    if let Some(token) = context.token {
        let expected = URL_SAFE_NO_PAD.encode(sha256(token.as_bytes()));
        if jwt.text("ath") != Some(expected.as_str()) {
            return Err(invalid("'ath' claim in the DPoP proof does not match the presented access_token."));
        }
    }
    let nonce_holds = jwt.text("nonce").is_some_and(|nonce| registry.accepts_nonce(nonce, context.now));
    if context.needs_nonce && !nonce_holds {
        return Err(ProofRefusal::NonceNeeded);
    }
    thumbprint(key).ok_or(bad_signature)
}
