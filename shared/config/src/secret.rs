//! References to secrets in the configuration file, and how the secrets behind them are read.

use secrecy::SecretString;
use std::path::PathBuf;

/// A reference to a secret: where the secret is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// `env:NAME`: in an environment variable.
    Env(String),
    /// `file:PATH`: in a file.
    File(PathBuf),
    /// `secretsmanager:NAME`: in AWS Secrets Manager. This crate does not read such a secret: a stack, and
    /// commands with `--stack`, use the secrets with which the stack was deployed.
    SecretsManager(String),
}

/// Why a secret could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The environment variable with this name is not set, or is empty.
    #[error("environment variable {0} is not set or is empty; set it, then run the command again")]
    NotSet(String),
    /// The file cannot be read.
    #[error("file {path} cannot be read: {message}; correct the path, or let this user read the file")]
    File {
        /// The path as the configuration names it.
        path: String,
        /// The error message of the operating system.
        message: String,
    },
    /// The secret with this name is in Secrets Manager, and the process does not work on a stack in AWS.
    #[error(
        "secretsmanager:{0} can be used with a stack in AWS only; name env:NAME or file:PATH instead, or run the command with --stack NAME"
    )]
    Elsewhere(String),
}

impl SecretRef {
    /// Parses a reference such as `env:NAME`.
    ///
    /// # Errors
    /// When the text is not a reference. The message lists the forms of a reference and does not repeat the
    /// text, which may be a secret.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(Self::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(PathBuf::from(path))),
            Some(("secretsmanager", name)) if !name.is_empty() => Ok(Self::SecretsManager(name.to_owned())),
            _ => Err(
                "must be env:NAME, file:PATH or secretsmanager:NAME; the secret itself does not belong in this file"
                    .to_owned(),
            ),
        }
    }

    /// Where the secret is, in words for messages, such as `environment variable DATABASE_URL`.
    #[must_use]
    pub fn location(&self) -> String {
        match self {
            Self::Env(name) => format!("environment variable {name}"),
            Self::File(path) => path.display().to_string(),
            Self::SecretsManager(name) => format!("secret {name}"),
        }
    }

    /// Reads the secret from the environment or from a file. White space at its end is left out.
    ///
    /// # Errors
    /// When the environment variable is not set or is empty, when the file cannot be read, or when the secret
    /// is in Secrets Manager.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        match self {
            Self::Env(name) => match std::env::var(name) {
                Ok(value) if !value.trim_end().is_empty() => {
                    Ok(SecretString::from(value.trim_end().to_owned()))
                }
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

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    #[test]
    fn white_space_at_the_end_of_a_secret_does_not_belong_to_it() {
        let path = std::env::temp_dir().join(format!("syncline-secret-{}", std::process::id()));
        std::fs::write(&path, "a/b+c==\r\n").unwrap();
        let secret = SecretRef::File(path.clone()).read().unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(secret.expose_secret(), "a/b+c==");
        // Cargo sets this variable for every test, without a line end.
        let name = SecretRef::Env("CARGO_PKG_NAME".to_owned()).read().unwrap();
        assert_eq!(name.expose_secret(), "syncline-config");
    }
}
