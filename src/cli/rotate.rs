//! # Purpose
//! `key rotate`: a new key beside the old one, then in its place, then alone.
//!
//! # Invariants kept here
//! - The credentials file changes only to a key that Okta has just given a token for.
//! - The old key stays good at Okta, and on the disk, until `--finish`.
//! - A run that breaks off goes on where it was: the new key waits in a file of its own.
//!
//! # Not here
//! Noticing the new file: `secrets::Reloading`.

use std::path::{Path, PathBuf};

use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use super::key::KeyKind;
use super::terminal::{Terminal, note};
use super::trouble::{Trouble, absolute, admin_token, block_on, organization, surroundings};
use super::{Exit, complain, say};
use crate::catalogue::ErrorCode;
use crate::config::{Sources, load};
use crate::http::url::Base;
use crate::secrets::{Credentials, CredentialsSource, MountedFile, SecretSource, SigningKey};
use crate::setup::Surroundings;
use crate::setup::admin::Admin;
use crate::setup::files::{self, PRIVATE};
use crate::setup::found::material;
use crate::setup::plan::room_for_a_key;
use crate::setup::proof::{Expected, Shortfall, prove, prove_patiently};
use crate::setup::say as words;
use crate::setup::step::{Names, Step};

#[derive(Debug, Args)]
pub(super) struct RotateArgs {
    /// The connection's credentials file [default: the one of the only configured organization]
    #[arg(long, value_name = "FILE")]
    credentials_file: Option<PathBuf>,
    /// The organization's address [default: that of the configured organization whose file it is]
    #[arg(long, value_name = "URL")]
    organization_url: Option<String>,
    /// File with an administrator's API token; without one it is told what to do by hand
    #[arg(long, value_name = "FILE")]
    admin_token_file: Option<PathBuf>,
    /// Ends the old key at Okta, after the new one was proven once more
    #[arg(long)]
    finish: bool,
    /// The connection only reads the directory
    #[arg(long)]
    without_access: bool,
    #[command(flatten)]
    kind: KeyKind,
    /// PEM certificates to trust beside the system's
    #[arg(long, value_name = "FILE")]
    ca_bundle_file: Option<PathBuf>,
}

/// One connection.
struct Connection {
    base: Base,
    /// Where the key is, alone or with the client's id.
    source: CredentialsSource,
    credentials: Credentials,
    scopes: [&'static str; 2],
    surroundings: Surroundings,
    admin: Option<Admin>,
}

pub(super) fn rotate(arguments: &RotateArgs, sources: &Sources) -> Result<Exit, Trouble> {
    let (base, source, access) = which(arguments, sources)?;
    let credentials = source.load()?;
    let surroundings = surroundings(arguments.ca_bundle_file.as_deref(), sources)?;
    let admin = match &arguments.admin_token_file {
        None => None,
        path => {
            let token = admin_token(path.as_ref(), Terminal::new(true))?;
            Some(Admin::new(base.clone(), &token, &surroundings)?)
        }
    };
    let scopes = ["okta.users.read", if access { "okta.groups.manage" } else { "okta.groups.read" }];
    let connection = Connection { base, source, credentials, scopes, surroundings, admin };
    if arguments.finish {
        return block_on(connection.finish());
    }
    let new = connection.new_key(arguments.kind)?;
    block_on(connection.replace(new))
}

/// Address, key, and whether memberships are changed.
fn which(arguments: &RotateArgs, sources: &Sources) -> Result<(Base, CredentialsSource, bool), Trouble> {
    let access = !arguments.without_access;
    if let (Some(url), Some(file)) = (&arguments.organization_url, &arguments.credentials_file) {
        let file = MountedFile::new(absolute(file));
        return Ok((organization(url)?, CredentialsSource::Secret { file, key_id: None }, access));
    }
    let loaded = load(sources).map_err(|error| {
        let text =
            format!("name --organization-url and --credentials-file, or correct the configuration: {error}");
        Trouble::new(Exit::Config, ErrorCode::ConfigInvalid, text)
    })?;
    let named = arguments.credentials_file.as_deref().map(absolute);
    let mut fitting = loaded.settings.okta.into_iter().filter(|organization| match &named {
        Some(file) => absolute(organization.credentials.file().path()) == *file,
        None => true,
    });
    let (Some(organization), None) = (fitting.next(), fitting.next()) else {
        let text =
            "no single configured organization is meant; name --organization-url and --credentials-file";
        return Err(Trouble::new(Exit::Usage, ErrorCode::WhichOrganization, text));
    };
    Ok((organization.url, organization.credentials, access && organization.access.is_some()))
}

/// A key that is not in use yet.
struct NewKey {
    private: SecretString,
    key: SigningKey,
}

impl Connection {
    /// The key that waits, or a new one that then does.
    fn new_key(&self, kind: KeyKind) -> Result<NewKey, Trouble> {
        let waiting = MountedFile::new(files::pending(self.file()));
        let private = if waiting.version().is_some() {
            waiting.read()?
        } else {
            let previous = files::previous(self.file());
            if previous.exists() {
                let text = format!(
                    "the last rotation is not finished ({}); run `key rotate --finish` first",
                    previous.display()
                );
                return Err(Trouble::new(Exit::TryLater, ErrorCode::RotationStep, text));
            }
            let made = kind.generate()?.private_jwk;
            let entropy = self.surroundings.entropy.as_ref();
            files::create(waiting.path(), made.expose_secret(), PRIVATE, entropy)?;
            made
        };
        let key = SigningKey::parse(private.expose_secret(), None)?;
        Ok(NewKey { private, key })
    }

    async fn replace(self, new: NewKey) -> Result<Exit, Trouble> {
        let credentials = Credentials { client_id: self.credentials.client_id.clone(), key: new.key.clone() };
        let expected = Expected::token(self.scopes);
        let proven = match &self.admin {
            Some(admin) => {
                let wanted = material(new.key.public_jwk());
                let keys = admin.keys(&self.credentials.client_id).await?;
                if !keys.iter().any(|key| key.material == wanted) {
                    room_for_a_key(&keys)?;
                    let step = Step::RegisterKey { jwk: new.key.public_jwk().clone() };
                    admin.perform(&step, &mut self.names()).await?;
                    note(&format!("done: {}", words::sentence(&step)));
                }
                prove_patiently(&self.base, &credentials, &expected, &self.surroundings).await?
            }
            None => match prove(&self.base, &credentials, &expected, &self.surroundings).await {
                Ok(proof) => proof,
                Err(error) => {
                    note(&format!(
                        "Okta does not accept the new key yet ({}).\nAdd this public key to the application {} in {} (General, Client Credentials, Public keys, Add key, and save), leave the old one there, and run this again:",
                        error.code().told_with(error.to_string()),
                        self.credentials.client_id,
                        self.base.origin()
                    ));
                    say(&new.key.public_jwk().to_string());
                    return Ok(Exit::TryLater);
                }
            },
        };
        for scope in &proven.missing_scopes {
            complain(&format!("warning: {}", Shortfall::Scope(scope)));
        }
        self.swap(&new)?;
        say(&format!(
            "{} has the new key {}; the old one is in {}",
            self.file().display(),
            new.key.kid(),
            files::previous(self.file()).display()
        ));
        say(&format!(
            "a running connector takes it up within seconds; then end the old key ({}): apono-connector key rotate --finish",
            self.credentials.key.kid()
        ));
        Ok(Exit::Done)
    }

    /// The new key into the file; the whole old file beside it.
    fn swap(&self, new: &NewKey) -> Result<(), Trouble> {
        let entropy = self.surroundings.entropy.as_ref();
        // A run that broke off right here has put the new key in already.
        if self.credentials.key.kid() != new.key.kid() {
            let old = self.source.file().read()?;
            files::replace(&files::previous(self.file()), old.expose_secret(), PRIVATE, entropy)?;
            let text = match &self.source {
                CredentialsSource::Secret { .. } => {
                    files::credentials_text(&self.credentials.client_id, &new.private)
                }
                CredentialsSource::KeyFile { .. } => new.private.clone(),
            };
            files::replace(self.file(), text.expose_secret(), PRIVATE, entropy)?;
        }
        files::remove(&files::pending(self.file()))?;
        Ok(())
    }

    async fn finish(self) -> Result<Exit, Trouble> {
        let previous = files::previous(self.file());
        if !previous.exists() {
            let text = format!("there is no {}: no rotation waits to be finished", previous.display());
            return Err(Trouble::new(Exit::Usage, ErrorCode::RotationStep, text));
        }
        let old = self.source.at(MountedFile::new(&previous)).load()?.key;
        if material(old.public_jwk()) == material(self.credentials.key.public_jwk()) {
            let text = format!(
                "{} and {} hold the same key; nothing was ended",
                previous.display(),
                self.file().display()
            );
            return Err(Trouble::new(Exit::Config, ErrorCode::RotationStep, text));
        }
        prove(&self.base, &self.credentials, &Expected::token(self.scopes), &self.surroundings).await?;
        note(&format!("done: a token was fetched with the new key {}", self.credentials.key.kid()));
        let Some(admin) = &self.admin else {
            say(&format!(
                "in {}, deactivate and delete the key {} of the application {} (General, Client Credentials, Public keys), then remove {}",
                self.base.origin(),
                old.kid(),
                self.credentials.client_id,
                previous.display()
            ));
            return Ok(Exit::TryLater);
        };
        let wanted = material(old.public_jwk());
        let keys = admin.keys(&self.credentials.client_id).await?;
        for key in keys.into_iter().filter(|key| key.material == wanted) {
            let mut steps = vec![Step::DeleteKey { key: key.id.clone() }];
            if key.active {
                steps.insert(0, Step::DeactivateKey { key: key.id });
            }
            for step in steps {
                admin.perform(&step, &mut self.names()).await?;
                note(&format!("done: {}", words::sentence(&step)));
            }
        }
        files::remove(&previous)?;
        say(&format!("the old key {} is no more", old.kid()));
        Ok(Exit::Done)
    }

    fn file(&self) -> &Path {
        self.source.file().path()
    }

    fn names(&self) -> Names {
        Names {
            application: self.credentials.client_id.clone(),
            role: String::new(),
            resource_set: String::new(),
        }
    }
}
