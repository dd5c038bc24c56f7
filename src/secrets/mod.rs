//! # Purpose
//! Secrets from mounted files: read, checked, kept out of sight.
//!
//! # Invariants kept here
//! - A secret is a [`secrecy::SecretString`] from the read to the use; no type here prints one.
//! - A file that has become unreadable or wrong never replaces a value that was good.
//!
//! # Not here
//! What a secret is used for.

mod authorities;
mod credentials;
mod file;
mod mount;
mod reload;
mod signing_key;
mod spellings;
mod unshown;

pub use authorities::BundleError;
pub use credentials::{Credentials, CredentialsError, CredentialsSource};
pub use file::{MountedFile, SecretError, SecretSource, SecretValue, Version};
pub use mount::{Fixed, mounts};
pub use reload::{Reloading, Reloads, reloads};
pub use signing_key::{
    Curve, GeneratedKey, KeyError, SignError, SignatureAlgorithm, SigningKey, generate_ec, generate_rsa,
};
pub use spellings::spellings;
pub(crate) use unshown::{never_printed, never_shown};
