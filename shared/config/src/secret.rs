//! Where secrets are, and what they look like.

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::path::PathBuf;

/// Where a secret is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// `env:NAME`.
    Env(String),
    /// `file:PATH`.
    File(PathBuf),
}

/// A secret that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The variable is not set.
    #[error("environment variable {0} is not set")]
    NotSet(String),
    /// The file cannot be read.
    #[error("{path} cannot be read: {message}")]
    File {
        /// The path.
        path: String,
        /// The system's words.
        message: String,
    },
    /// It is not what it has to be.
    #[error("{place} is not the JSON that auth = {auth:?} asks for: {message}; it has to be {shape}")]
    Shape {
        /// Where it was read.
        place: String,
        /// The sign-in.
        auth: &'static str,
        /// What is wrong.
        message: String,
        /// What it has to be.
        shape: &'static str,
    },
}

impl SecretRef {
    /// Reads a reference.
    ///
    /// # Errors
    /// A sentence that says which references there are.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(Self::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(PathBuf::from(path))),
            Some(("secretsmanager", _)) => {
                Err("secretsmanager: is for Syncline in AWS, which this build does not contain; use env:NAME or file:PATH".to_owned())
            }
            _ => Err("it has to be env:NAME or file:PATH".to_owned()),
        }
    }

    /// What it is called in messages.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Env(name) => format!("environment variable {name}"),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// The secret.
    ///
    /// # Errors
    /// When it is not there.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        match self {
            Self::Env(name) => match std::env::var(name) {
                Ok(value) if !value.is_empty() => Ok(SecretString::from(value)),
                _ => Err(SecretError::NotSet(name.clone())),
            },
            Self::File(path) => match std::fs::read_to_string(path) {
                Ok(text) => Ok(SecretString::from(text.trim_end().to_owned())),
                Err(error) => {
                    Err(SecretError::File { path: path.display().to_string(), message: error.to_string() })
                }
            },
        }
    }
}

/// What a Salesforce secret holds.
#[derive(Clone, Debug)]
pub enum SalesforceSecret {
    /// For `auth = "jwt"`.
    Jwt {
        /// The consumer key.
        client_id: String,
        /// The user to act as.
        username: String,
        /// The RSA private key, PEM.
        private_key: SecretString,
    },
    /// For `auth = "client-credentials"`.
    ClientCredentials {
        /// The consumer key.
        client_id: String,
        /// The consumer secret.
        client_secret: SecretString,
    },
    /// For `auth = "refresh-token"`.
    RefreshToken {
        /// The consumer key.
        client_id: String,
        /// The consumer secret, where the app asks for it.
        client_secret: Option<SecretString>,
        /// The refresh token.
        refresh_token: SecretString,
    },
    /// For `auth = "password"`.
    Password {
        /// The consumer key.
        client_id: String,
        /// The consumer secret.
        client_secret: SecretString,
        /// The user.
        username: String,
        /// The password and security token.
        password: SecretString,
    },
}

impl SalesforceSecret {
    /// The JSON of a secret for `auth = "refresh-token"`.
    pub const REFRESH_TOKEN_SHAPE: &'static str =
        r#"{"client_id": "…", "client_secret": "…", "refresh_token": "…"}"#;
    /// The JSON of a secret for `auth = "password"`.
    pub const PASSWORD_SHAPE: &'static str =
        r#"{"client_id": "…", "client_secret": "…", "username": "…", "password": "…"}"#;

    /// Reads the JSON for a refresh token.
    ///
    /// # Errors
    /// When the secret is not there or has another shape.
    pub fn refresh_token(secret: &SecretRef) -> Result<Self, SecretError> {
        #[derive(Deserialize)]
        struct Shape {
            client_id: String,
            client_secret: Option<SecretString>,
            refresh_token: SecretString,
        }
        let Shape { client_id, client_secret, refresh_token } =
            shaped(secret, "refresh-token", Self::REFRESH_TOKEN_SHAPE)?;
        Ok(Self::RefreshToken { client_id, client_secret, refresh_token })
    }

    /// Reads the JSON for name and password.
    ///
    /// # Errors
    /// When the secret is not there or has another shape.
    pub fn password(secret: &SecretRef) -> Result<Self, SecretError> {
        #[derive(Deserialize)]
        struct Shape {
            client_id: String,
            client_secret: SecretString,
            username: String,
            password: SecretString,
        }
        let Shape { client_id, client_secret, username, password } =
            shaped(secret, "password", Self::PASSWORD_SHAPE)?;
        Ok(Self::Password { client_id, client_secret, username, password })
    }

    /// The JSON of a secret for `auth = "jwt"`.
    pub const JWT_SHAPE: &'static str =
        r#"{"client_id": "…", "username": "…", "private_key": "-----BEGIN PRIVATE KEY-----…"}"#;
    /// The JSON of a secret for `auth = "client-credentials"`.
    pub const CLIENT_CREDENTIALS_SHAPE: &'static str = r#"{"client_id": "…", "client_secret": "…"}"#;

    /// Reads the JSON for JWT bearer.
    ///
    /// # Errors
    /// When the secret is not there or has another shape.
    pub fn jwt(secret: &SecretRef) -> Result<Self, SecretError> {
        #[derive(Deserialize)]
        struct Shape {
            client_id: String,
            username: String,
            private_key: SecretString,
        }
        let Shape { client_id, username, private_key } = shaped(secret, "jwt", Self::JWT_SHAPE)?;
        Ok(Self::Jwt { client_id, username, private_key })
    }

    /// Reads the JSON for client credentials.
    ///
    /// # Errors
    /// When the secret is not there or has another shape.
    pub fn client_credentials(secret: &SecretRef) -> Result<Self, SecretError> {
        #[derive(Deserialize)]
        struct Shape {
            client_id: String,
            client_secret: SecretString,
        }
        let Shape { client_id, client_secret } =
            shaped(secret, "client-credentials", Self::CLIENT_CREDENTIALS_SHAPE)?;
        Ok(Self::ClientCredentials { client_id, client_secret })
    }
}

fn shaped<T: serde::de::DeserializeOwned>(
    secret: &SecretRef,
    auth: &'static str,
    shape: &'static str,
) -> Result<T, SecretError> {
    let text = secret.read()?;
    serde_json::from_str(text.expose_secret()).map_err(|error| {
        // serde_json's words may quote what it found: only the kind of the mistake is passed on.
        let message = match error.classify() {
            serde_json::error::Category::Data if error.to_string().starts_with("missing field") => {
                error.to_string().split(" at line").next().unwrap_or_default().to_owned()
            }
            serde_json::error::Category::Data => "a value of another kind than expected".to_owned(),
            _ => format!("no JSON (line {}, column {})", error.line(), error.column()),
        };
        SecretError::Shape { place: secret.place(), auth, message, shape }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_of_another_shape_is_refused_without_being_shown() {
        let folder = std::env::temp_dir().join(format!("syncline-secret-{}", std::process::id()));
        std::fs::write(&folder, r#"{"client_id": "abc", "password": "hunter2"}"#).unwrap();
        let error =
            SalesforceSecret::client_credentials(&SecretRef::File(folder.clone())).unwrap_err().to_string();
        assert!(error.contains("missing field `client_secret`") && error.contains("has to be"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
        std::fs::write(&folder, "hunter2").unwrap();
        let error = SalesforceSecret::jwt(&SecretRef::File(folder.clone())).unwrap_err().to_string();
        assert!(error.contains("no JSON") && !error.contains("hunter2"), "{error}");
        std::fs::remove_file(folder).unwrap();
    }
}
