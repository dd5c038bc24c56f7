//! # Purpose
//! The connector's identity in one Okta organization: client id and private key.
//!
//! # Invariants kept here
//! - The secret that Apono's guide describes (`{"client_id", "private_key"}`) works as it is, with the key as a JSON
//!   object, as JSON in a string, or as PEM.
//! - Every error names the file.
//! - The key is read out of the text without a copy that would not be wiped.
//!
//! # Not here
//! Kinds of keys: `signing_key`.

use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;

use crate::catalogue::ErrorCode;

use super::signing_key::Members;
use super::{KeyError, MountedFile, SecretError, SecretSource, SigningKey};

/// Who the connector is, and the key that proves it.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Okta's client id, `0oa…`.
    pub client_id: String,
    /// Signs the assertions.
    pub key: SigningKey,
}

/// Whether they prove the same to Okta.
impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        self.client_id == other.client_id && self.key.public_jwk() == other.key.public_jwk()
    }
}

/// Where the credentials are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialsSource {
    /// `credentials_file`: Apono's JSON secret.
    Secret {
        /// The file.
        file: MountedFile,
        /// `key_id`, for a key that does not carry its own.
        key_id: Option<String>,
    },
    /// `client_id` and `private_key_file`.
    KeyFile {
        /// From the configuration.
        client_id: String,
        /// A JWK or a PEM.
        file: MountedFile,
        /// `key_id`, for a key that does not carry its own.
        key_id: Option<String>,
    },
}

/// The credentials are not usable.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file itself.
    #[error("the Okta credentials cannot be read")]
    File(#[source] SecretError),
    /// Not the JSON object it should be.
    #[error("{} is not a JSON object with \"client_id\" and \"private_key\"; write it as {{\"client_id\": \"0oa…\", \"private_key\": …}} [{}]", path.display(), ErrorCode::CredentialsShape)]
    Shape {
        /// The file.
        path: PathBuf,
    },
    /// The key in it.
    #[error("{} holds no usable private key [{}]", path.display(), source.code())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: KeyError,
    },
}

impl CredentialsError {
    /// What it is.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::File(source) => source.code(),
            Self::Shape { .. } => ErrorCode::CredentialsShape,
            Self::Key { source, .. } => source.code(),
        }
    }
}

impl CredentialsSource {
    /// Reads and checks them as they are now.
    pub fn load(&self) -> Result<Credentials, CredentialsError> {
        match self {
            Self::Secret { file, key_id } => {
                let text = file.read().map_err(CredentialsError::File)?;
                parse_secret(text.expose_secret(), key_id.as_deref(), file.path())
            }
            Self::KeyFile { client_id, file, key_id } => {
                let text = file.read().map_err(CredentialsError::File)?;
                let key = SigningKey::parse(text.expose_secret(), key_id.as_deref())
                    .map_err(|source| CredentialsError::Key { path: file.path().to_owned(), source })?;
                Ok(Credentials { client_id: client_id.clone(), key })
            }
        }
    }

    /// The same, in another file.
    #[must_use]
    pub fn at(&self, file: MountedFile) -> Self {
        match self.clone() {
            Self::Secret { key_id, .. } => Self::Secret { file, key_id },
            Self::KeyFile { client_id, key_id, .. } => Self::KeyFile { client_id, file, key_id },
        }
    }

    /// The file that holds the key.
    pub fn file(&self) -> &MountedFile {
        match self {
            Self::Secret { file, .. } | Self::KeyFile { file, .. } => file,
        }
    }
}

fn parse_secret(text: &str, key_id: Option<&str>, path: &Path) -> Result<Credentials, CredentialsError> {
    let shape = || CredentialsError::Shape { path: path.to_owned() };
    let secret = Members::parse(text).ok_or_else(shape)?;
    let client_id = secret.text("client_id").map(|id| id.trim().to_owned());
    let client_id = client_id.filter(|id| !id.is_empty()).ok_or_else(shape)?;
    let as_it_stands = secret.raw("private_key").ok_or_else(shape)?;
    let key = match secret.text("private_key") {
        Some(text) => SigningKey::parse(&text, key_id),
        None if as_it_stands.starts_with('{') => SigningKey::parse(as_it_stands, key_id),
        None => Err(KeyError::Unrecognized),
    };
    let key = key.map_err(|source| CredentialsError::Key { path: path.to_owned(), source })?;
    Ok(Credentials { client_id, key })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::secrets::generate_rsa;

    #[test]
    fn aponos_secret_works_with_the_key_as_object_and_as_text() {
        let key = generate_rsa(2048).unwrap();
        let text = key.private_jwk.expose_secret();
        let object: Value = serde_json::from_str(text).unwrap();
        for private_key in [object, json!(text)] {
            let secret = json!({ "client_id": "0oaexample", "private_key": private_key }).to_string();
            let credentials = parse_secret(&secret, None, Path::new("/x")).unwrap();
            assert_eq!(credentials.client_id, "0oaexample");
            assert_eq!(credentials.key.public_jwk(), &key.public_jwk);
        }
    }

    #[test]
    fn a_wrong_shape_names_the_file_and_shows_the_right_one() {
        for text in ["[]", "{}", r#"{"client_id":"0oa"}"#, r#"{"client_id":"","private_key":"x"}"#, "token"] {
            let error =
                parse_secret(text, None, Path::new("/run/secrets/okta.json")).unwrap_err().to_string();
            assert!(error.contains("/run/secrets/okta.json") && error.contains("0oa…"), "{error}");
        }
    }
}
