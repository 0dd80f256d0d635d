//! Where secrets are, and what they look like.

use secrecy::SecretString;
use std::path::PathBuf;

/// Where a secret is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// `env:NAME`.
    Env(String),
    /// `file:PATH`.
    File(PathBuf),
    /// `secretsmanager:NAME`, which a stack in AWS reads.
    SecretsManager(String),
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
    /// It is in Secrets Manager, which only Syncline in AWS reads.
    #[error(
        "secretsmanager:{0} is read by a stack in AWS and by commands with --stack; use env:NAME or file:PATH here"
    )]
    Elsewhere(String),
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
            Some(("secretsmanager", name)) if !name.is_empty() => Ok(Self::SecretsManager(name.to_owned())),
            _ => Err("it has to be env:NAME, file:PATH or secretsmanager:NAME".to_owned()),
        }
    }

    /// What it is called in messages.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Env(name) => format!("environment variable {name}"),
            Self::File(path) => path.display().to_string(),
            Self::SecretsManager(name) => format!("secret {name}"),
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
            Self::SecretsManager(name) => Err(SecretError::Elsewhere(name.clone())),
        }
    }
}
