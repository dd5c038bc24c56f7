//! # Purpose
//! `key generate|jwk|verify|rotate`: private keys on this host.
//!
//! # Invariants kept here
//! - The private half goes into a file of mode 0600, or to nobody; what is printed is the public half.
//! - A file that exists is not replaced.
//!
//! # Not here
//! Rotating: `rotate`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use secrecy::ExposeSecret;
use serde_json::Value;

use super::rotate::{RotateArgs, rotate};
use super::trouble::{Trouble, absolute, block_on, ended, exit_of, organization, surroundings};
use super::{Exit, complain, say};
use crate::config::{Sources, load};
use crate::entropy::SystemEntropy;
use crate::http::url::Base;
use crate::secrets::{
    Credentials, CredentialsSource, Curve, GeneratedKey, KeyError, MountedFile, SecretSource, SigningKey,
    generate_ec, generate_rsa,
};
use crate::setup::files::{self, PRIVATE};
use crate::setup::proof::{Expected, prove};

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Makes a private key and prints its public half
    Generate {
        /// Where the private key is written
        #[arg(long, value_name = "FILE", default_value = "okta-key.json")]
        out: PathBuf,
        #[command(flatten)]
        kind: KeyKind,
    },
    /// Prints the public half of a private key, as Okta takes it
    Jwk {
        /// A private key (JWK or PEM) or a credentials file
        file: PathBuf,
    },
    /// Says what a key is, and tries it at Okta
    Verify(VerifyArgs),
    /// Replaces the key of a connection by a new one
    Rotate(RotateArgs),
}

/// What kind of key is made.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct KeyKind {
    /// Size of the RSA key
    #[arg(long, value_name = "BITS", default_value_t = 2048, value_parser = clap::value_parser!(u16).range(2048..=8192))]
    bits: u16,
    /// An EC key on this curve (P-256, P-384, P-521) instead of an RSA key
    #[arg(long, value_name = "CURVE", value_parser = curve, conflicts_with = "bits")]
    curve: Option<Curve>,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// A private key (JWK or PEM) or a credentials file
    file: PathBuf,
    /// Where the key is tried [default: the configured organization whose key this is]
    #[arg(long, value_name = "URL")]
    organization_url: Option<String>,
    /// Whose key it is, where the file does not say
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// The connection only reads the directory
    #[arg(long)]
    without_access: bool,
    /// PEM certificates to trust beside the system's
    #[arg(long, value_name = "FILE")]
    ca_bundle_file: Option<PathBuf>,
}

pub(super) fn key(command: &KeyCommand, sources: &Sources) -> Exit {
    ended(match command {
        KeyCommand::Generate { out, kind } => generate(out, *kind),
        KeyCommand::Jwk { file } => read_key(file).map(|(_, key)| {
            say(&key.public_jwk().to_string());
            Exit::Done
        }),
        KeyCommand::Verify(arguments) => verify(arguments, sources),
        KeyCommand::Rotate(arguments) => rotate(arguments, sources),
    })
}

impl KeyKind {
    /// A new key of this kind.
    pub(super) fn generate(self) -> Result<GeneratedKey, KeyError> {
        match self.curve {
            Some(curve) => generate_ec(curve),
            None => generate_rsa(usize::from(self.bits)),
        }
    }
}

fn curve(text: &str) -> Result<Curve, String> {
    let known = Curve::ALL.into_iter().find(|curve| curve.as_str() == text);
    known.ok_or_else(|| format!("the curves are {}", Curve::ALL.map(Curve::as_str).join(", ")))
}

fn generate(out: &Path, kind: KeyKind) -> Result<Exit, Trouble> {
    let made = kind.generate()?;
    files::create(out, made.private_jwk.expose_secret(), PRIVATE, &SystemEntropy)?;
    say(&made.public_jwk.to_string());
    Ok(Exit::Done)
}

/// A key, and whose it is, where the file says so.
fn read_key(path: &Path) -> Result<(Option<String>, SigningKey), Trouble> {
    let file = MountedFile::new(path);
    let text = file.read()?;
    let json: Option<Value> = serde_json::from_str(text.expose_secret()).ok();
    if json.is_some_and(|json| json.get("private_key").is_some() && json.get("client_id").is_some()) {
        let credentials = CredentialsSource::Secret { file, key_id: None }.load()?;
        return Ok((Some(credentials.client_id), credentials.key));
    }
    let key = SigningKey::parse(text.expose_secret(), None)
        .map_err(|error| Trouble::new(Exit::Config, error.code(), format!("{}: {error}", path.display())))?;
    Ok((None, key))
}

/// Where a key is tried.
struct Place {
    base: Base,
    client_id: String,
    access: bool,
}

fn verify(arguments: &VerifyArgs, sources: &Sources) -> Result<Exit, Trouble> {
    let (own, key) = read_key(&arguments.file)?;
    let kind = key.public_jwk().get("kty").and_then(Value::as_str).unwrap_or("unknown").to_owned();
    say(&format!("{kind} key of {} bits, key id {}", key.bits(), key.kid()));
    let Some(place) = place(arguments, own, sources)? else {
        complain("it was not tried at Okta; name the organization with --organization-url");
        return Ok(Exit::Done);
    };
    let credentials = Credentials { client_id: place.client_id, key };
    let scopes = ["okta.users.read", if place.access { "okta.groups.manage" } else { "okta.groups.read" }];
    let surroundings = surroundings(arguments.ca_bundle_file.as_deref(), sources)?;
    let expected = Expected { users: true, groups: true, ..Expected::token(scopes) };
    let proof = block_on(async { Ok(prove(&place.base, &credentials, &expected, &surroundings).await?) })?;
    say(&format!("{} gives a token for it", place.base.origin()));
    let short = proof.shortfalls(&expected);
    for shortfall in &short {
        complain(&shortfall.to_string());
    }
    Ok(if short.is_empty() { Exit::Done } else { exit_of(&short) })
}

fn place(arguments: &VerifyArgs, own: Option<String>, sources: &Sources) -> Result<Option<Place>, Trouble> {
    let client_id = arguments.client_id.clone().or(own);
    let access = !arguments.without_access;
    if let Some(url) = &arguments.organization_url {
        let base = organization(url)?;
        let client_id = client_id
            .ok_or_else(|| Trouble::usage("--client-id is missing: the file does not say whose key it is"))?;
        return Ok(Some(Place { base, client_id, access }));
    }
    // A configuration that is not there, or not right yet, names no organization.
    let Ok(loaded) = load(sources) else { return Ok(None) };
    let file = absolute(&arguments.file);
    let configured = loaded
        .settings
        .okta
        .into_iter()
        .find(|organization| absolute(organization.credentials.file().path()) == file);
    Ok(configured.and_then(|organization| {
        let client_id = match &organization.credentials {
            CredentialsSource::KeyFile { client_id, .. } => Some(client_id.clone()),
            CredentialsSource::Secret { .. } => client_id,
        };
        Some(Place { base: organization.url, client_id: client_id?, access: organization.access.is_some() })
    }))
}
