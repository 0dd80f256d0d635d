//! Secrets in Secrets Manager: their versions, and the database's address in a Postgres secret.

use crate::table::failed;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use syncline_sync::PortError;

/// A version of a secret, by its staging label (Secrets Manager user guide).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The version in use.
    Current,
    /// The version that a rotation under way has made, and may have set in the service already.
    Pending,
    /// The version that was in use before.
    Previous,
}

impl Stage {
    /// All versions, in the order in which a function tries them.
    pub const ALL: [Self; 3] = [Self::Current, Self::Pending, Self::Previous];

    /// The staging label in Secrets Manager.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Current => "AWSCURRENT",
            Self::Pending => "AWSPENDING",
            Self::Previous => "AWSPREVIOUS",
        }
    }
}

/// Reads a version of a secret, named by its name or ARN (API reference, `GetSecretValue`), without white space at its
/// end. `None` where that
/// version has no text value, and where the secret has no pending or previous version.
///
/// # Errors
/// When Secrets Manager does not answer or refuses; the message names the secret and has the words of Secrets
/// Manager.
pub async fn read_secret(
    client: &Client,
    secret: &str,
    stage: Stage,
) -> Result<Option<SecretString>, PortError> {
    let answer = client.get_secret_value().secret_id(secret).version_stage(stage.word()).send().await;
    match answer {
        // `aws secretsmanager create-secret --secret-string file://…` keeps the line end of the file.
        Ok(answer) => Ok(answer.secret_string.map(|text| SecretString::from(text.trim_end().to_owned()))),
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

/// Where the database is, as far as the secret does not say: the secret that RDS manages itself holds user
/// name and password only. The values come from `[postgres]` in `syncline.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, Deserialize)]
pub struct Whereabouts {
    /// Host name or IP address.
    pub host: Option<String>,
    /// The port; 5432 where neither the secret nor the file has one.
    pub port: Option<u16>,
    /// The database's name.
    pub database: Option<String>,
}

/// The JSON that RDS writes into a secret.
#[derive(Deserialize)]
struct OfRds {
    username: String,
    password: String,
    host: Option<String>,
    port: Option<Port>,
    dbname: Option<String>,
}

/// A port as RDS writes it, a number, or as people may write it, a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Port {
    Number(u16),
    Text(String),
}

/// The database's address from a Postgres secret. The secret is either the address itself (`postgres://…`),
/// or the JSON that RDS writes (`{"username", "password", "host", "port", "dbname"}`); the latter becomes a
/// connection string of `key=value` pairs.
///
/// # Errors
/// When the secret has neither form, or host or database name are nowhere: a sentence that says what is
/// missing and does not contain the secret.
///
/// # Example
///
/// ```
/// use secrecy::{ExposeSecret, SecretString};
/// use syncline_aws::{Whereabouts, postgres_address};
///
/// let of_rds = SecretString::from(r#"{"username": "app", "password": "it's"}"#);
/// let whereabouts = Whereabouts {
///     host: Some("db.acme.example".to_owned()),
///     database: Some("crm".to_owned()),
///     port: None,
/// };
/// let address = postgres_address(&of_rds, &whereabouts)?;
/// assert!(address.expose_secret().contains("host='db.acme.example'"));
/// assert!(address.expose_secret().contains(r"password='it\'s'"));
///
/// let nowhere = postgres_address(&of_rds, &Whereabouts::default()).unwrap_err();
/// assert!(nowhere.contains("set postgres.host in syncline.toml"));
/// # Ok::<(), String>(())
/// ```
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
            "the Postgres secret has no {name}; set postgres.{name} in syncline.toml, or add it to the secret"
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
    use syncline_postgres::ConnectionSettings;

    fn at(secret: &str, whereabouts: &Whereabouts) -> Result<String, String> {
        let address = postgres_address(&SecretString::from(secret), whereabouts)?;
        ConnectionSettings::parse(address.expose_secret(), None)
            .map(|found| found.at())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_database_secret_may_be_a_url_or_the_json_that_rds_writes() {
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
