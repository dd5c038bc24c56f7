//! # Purpose
//! What is wrong with a private key, and the cure.
//!
//! # Invariants kept here
//! - No error shows a part of the key: parsers' complaints that could quote it are left out.
//!
//! # Not here
//! Which file it was: `credentials`.

use crate::catalogue::ErrorCode;

/// A private key is not usable.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not a key at all.
    #[error(
        "it holds neither a JWK nor a PEM private key; copy the private key that Okta showed when the key was generated"
    )]
    Unrecognized,
    /// Looked like JSON.
    #[error("it starts like JSON but does not parse; copy the private key again, whole")]
    Json,
    /// A member is missing or not base64url.
    #[error("the JWK's member \"{member}\" is missing or not base64url; copy the private key again, whole")]
    JwkMember {
        /// Which.
        member: &'static str,
    },
    /// The wrong half.
    #[error(
        "it holds only the public half; the private key is needed (a JWK with \"d\", or a PEM that says PRIVATE KEY)"
    )]
    PublicOnly,
    /// Locked.
    #[error(
        "the private key is encrypted; store it without a pass phrase (openssl pkey -in OLD -out NEW) and let the mount protect it"
    )]
    Encrypted,
    /// Neither RSA nor a curve.
    #[error(
        "it holds {kind}; Okta accepts RSA keys of 2048 bits and more, and EC keys on P-256, P-384 and P-521: generate one of these"
    )]
    WrongKind {
        /// What was found.
        kind: &'static str,
    },
    /// OpenSSH's own form.
    #[error("it is in OpenSSH's own form; store it as PEM (ssh-keygen -p -N '' -m PKCS8 -f FILE, on a copy)")]
    OpenSsh,
    /// The JWK wants to be used in another way.
    #[error(
        "the JWK is made for {found}; Okta accepts RS256, RS384 and RS512 of RSA keys, and of EC keys ES256, ES384 or ES512 by their curve: correct \"alg\" and \"use\", or generate a key for signatures"
    )]
    WrongUse {
        /// Its `alg`, or its `use`.
        found: String,
    },
    /// Too weak.
    #[error("the RSA key has {bits} bits; Okta accepts 2048 and more, so generate a new key")]
    TooShort {
        /// What was found.
        bits: usize,
    },
    /// Too large to sign with.
    #[error(
        "the RSA key has {bits} bits; more than 8192 cannot be used, so generate a key of 2048 to 8192 bits"
    )]
    TooLong {
        /// What was found.
        bits: usize,
    },
    /// A PEM that cannot be decoded.
    #[error("the PEM says {label} but does not decode; copy the private key again, whole")]
    Pem {
        /// As it stands in the PEM.
        label: &'static str,
    },
    /// Numbers that are no key.
    #[error("the numbers in it do not form {kind} key; copy the private key again, whole")]
    Numbers {
        /// `an RSA`, `a P-256`, …
        kind: &'static str,
    },
    /// A set with several.
    #[error("the JWK set holds {count} private keys; keep the one to sign with")]
    SeveralKeys {
        /// How many.
        count: usize,
    },
    /// The operating system gave no randomness, or no memory.
    #[error("a key cannot be generated on this host")]
    Generate,
}

impl KeyError {
    /// What it is.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Unrecognized
            | Self::Json
            | Self::JwkMember { .. }
            | Self::Pem { .. }
            | Self::Numbers { .. } => ErrorCode::KeyDamaged,
            Self::PublicOnly => ErrorCode::KeyPublicOnly,
            Self::Encrypted => ErrorCode::KeyEncrypted,
            Self::WrongKind { .. } | Self::OpenSsh => ErrorCode::KeyWrongKind,
            Self::WrongUse { .. } => ErrorCode::KeyWrongUse,
            Self::TooShort { .. } | Self::TooLong { .. } => ErrorCode::KeySize,
            Self::SeveralKeys { .. } => ErrorCode::KeySeveral,
            Self::Generate => ErrorCode::KeyFails,
        }
    }
}

/// Nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The claims are no JSON.
    #[error("the claims cannot be written as JSON")]
    Claims(#[source] serde_json::Error),
    /// The JWT library refuses.
    #[error("the private key does not sign")]
    Library(#[source] jsonwebtoken::errors::Error),
    /// ECDSA failed, and does not say why.
    #[error("the private key does not sign (ECDSA)")]
    Curve,
}
