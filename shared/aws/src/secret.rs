//! Secrets in Secrets Manager.

use crate::table::failed;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use syncline_sync::PortError;

/// Which version of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The one that counts.
    Current,
    /// The one that a rotation under way has made and may have set already.
    Pending,
    /// The one before.
    Previous,
}

impl Stage {
    /// In the order in which they are tried when a sign-in fails.
    pub const ALL: [Self; 3] = [Self::Current, Self::Pending, Self::Previous];

    /// Secrets Manager's own word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Current => "AWSCURRENT",
            Self::Pending => "AWSPENDING",
            Self::Previous => "AWSPREVIOUS",
        }
    }
}

/// Reads a version of a secret; `None` where it has none.
///
/// # Errors
/// When Secrets Manager refuses: its words, with the secret's name.
pub async fn read_secret(
    client: &Client,
    secret: &str,
    stage: Stage,
) -> Result<Option<SecretString>, PortError> {
    let answer = client.get_secret_value().secret_id(secret).version_stage(stage.word()).send().await;
    match answer {
        Ok(answer) => Ok(answer.secret_string.map(SecretString::from)),
        Err(error)
            if stage != Stage::Current
                && error
                    .as_service_error()
                    .is_some_and(GetSecretValueError::is_resource_not_found_exception) =>
        {
            Ok(None)
        }
        Err(error) => Err(failed(&format!("secret {secret} ({})", stage.word()), error)),
    }
}

/// Where the database is, where a secret does not say: what RDS keeps for itself has name and password only.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, Deserialize)]
pub struct Whereabouts {
    /// The host.
    pub host: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// The database.
    pub database: Option<String>,
}

#[derive(Deserialize)]
struct OfRds {
    username: String,
    password: String,
    host: Option<String>,
    port: Option<Port>,
    dbname: Option<String>,
}

/// RDS writes a number; people write text as well.
#[derive(Deserialize)]
#[serde(untagged)]
enum Port {
    Number(u16),
    Text(String),
}

/// The address in a Postgres secret: `postgres://…` as it is, or the JSON that RDS writes
/// (`{"username", "password", "host", "port", "dbname"}`).
///
/// # Errors
/// A sentence that says what is missing, without the secret.
pub fn postgres_address(secret: &SecretString, whereabouts: &Whereabouts) -> Result<SecretString, String> {
    let text = secret.expose_secret().trim();
    if !text.starts_with('{') {
        return Ok(SecretString::from(text.to_owned()));
    }
    let shape = "the JSON that RDS writes ({\"username\", \"password\", \"host\", \"port\", \"dbname\"})";
    let rds: OfRds = serde_json::from_str(text)
        .map_err(|_| format!("the Postgres secret is neither postgres://… nor {shape}"))?;
    let missing = |name: &str| {
        format!(
            "the Postgres secret says no {name}; set postgres.{name} in syncline.toml, or add it to the secret"
        )
    };
    let host = rds.host.or_else(|| whereabouts.host.clone()).ok_or_else(|| missing("host"))?;
    let database = rds.dbname.or_else(|| whereabouts.database.clone()).ok_or_else(|| missing("database"))?;
    let port = match rds.port {
        Some(Port::Number(port)) => Some(port),
        Some(Port::Text(text)) => text.parse().ok(),
        None => None,
    };
    let port = port.or(whereabouts.port).unwrap_or(5432);
    let quoted = |value: &str| format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"));
    Ok(SecretString::from(format!(
        "host={} port={port} user={} password={} dbname={}",
        quoted(&host),
        quoted(&rds.username),
        quoted(&rds.password),
        quoted(&database)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use syncline_postgres::Settings;

    fn at(secret: &str, whereabouts: &Whereabouts) -> Result<String, String> {
        let address = postgres_address(&SecretString::from(secret), whereabouts)?;
        Settings::parse(address.expose_secret(), None)
            .map(|found| found.at())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn an_address_and_what_rds_writes_are_both_taken() {
        let nowhere = Whereabouts::default();
        assert_eq!(at("postgres://u:p@db.acme.com:6543/app\n", &nowhere).unwrap(), "db.acme.com:6543/app");
        let rds = r#"{"engine": "postgres", "host": "db.acme.com", "username": "syncline", "password": "it's \\ odd", "dbname": "app", "port": 6543}"#;
        assert_eq!(at(rds, &nowhere).unwrap(), "db.acme.com:6543/app");
        let managed = r#"{"username": "syncline", "password": "p"}"#;
        let error = at(managed, &nowhere).unwrap_err();
        assert!(error.contains("postgres.host"), "{error}");
        let known =
            Whereabouts { host: Some("db.acme.com".into()), port: None, database: Some("app".into()) };
        assert_eq!(at(managed, &known).unwrap(), "db.acme.com:5432/app");
    }

    #[test]
    fn a_secret_that_is_not_understood_is_not_shown() {
        let error = at(r#"{"user": "u", "pass": "hunter2"}"#, &Whereabouts::default()).unwrap_err();
        assert!(!error.contains("hunter2") && error.contains("username"), "{error}");
    }
}
