//! The address of the database, and the pool of connections.

use crate::error::{DatabaseError, words};
use crate::tls::{self, SslMode};
use percent_encoding::percent_decode_str;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_postgres::config::Host;
use tokio_postgres_rustls::MakeRustlsConnect;

/// Where the database is, who signs in there, and how the connection is protected.
#[derive(Clone, Debug)]
pub struct ConnectionSettings {
    config: tokio_postgres::Config,
    sslmode: SslMode,
    root_certificate: Option<PathBuf>,
}

impl ConnectionSettings {
    /// Reads an address: a `postgres://` URI or a list of `key=value` pairs (PostgreSQL documentation,
    /// Connection Strings). The address may contain `sslrootcert`, a file of PEM certificates. Without it,
    /// the certificates of the system's authorities are used.
    ///
    /// The argument `sslmode` takes precedence over `sslmode` in the address. If both are missing, the mode
    /// is `disable` where every host is local (`localhost`, `127.0.0.1`, `::1` or a Unix socket) or no host
    /// is named, and `verify-full` otherwise.
    ///
    /// # Errors
    /// [`DatabaseError::Address`] if the address or its `sslmode` cannot be parsed.
    ///
    /// # Example
    ///
    /// ```
    /// use syncline_postgres::ConnectionSettings;
    ///
    /// let settings = ConnectionSettings::parse("postgres://app:hunter2@db.acme.example/crm", None)?;
    /// assert_eq!(settings.at(), "db.acme.example:5432/crm", "without the password");
    ///
    /// let pairs = "host=db.acme.example port=6432 dbname=crm user=app sslmode=verify-ca";
    /// assert_eq!(ConnectionSettings::parse(pairs, None)?.at(), "db.acme.example:6432/crm");
    ///
    /// assert!(ConnectionSettings::parse("postgres://db/crm?sslmode=prefer", None).is_err());
    /// # Ok::<(), syncline_postgres::DatabaseError>(())
    /// ```
    pub fn parse(address: &str, sslmode: Option<SslMode>) -> Result<Self, DatabaseError> {
        let address = address.trim_end();
        check_escapes(address)?;
        let (address, parameters) = take_ssl_parameters(address);
        let mut config = tokio_postgres::Config::from_str(&address)
            .map_err(|error| DatabaseError::Address(words(&error)))?;
        let mut in_address = None;
        let mut root_certificate = None;
        for (name, value) in parameters {
            match name.as_str() {
                "sslmode" => in_address = Some(value.parse()?),
                // libpq takes the system's authorities for this name.
                _ if value == "system" => root_certificate = None,
                _ => root_certificate = Some(PathBuf::from(value)),
            }
        }
        let local = config.get_hosts().iter().all(|host| match host {
            Host::Tcp(name) => matches!(name.as_str(), "localhost" | "127.0.0.1" | "::1"),
            Host::Unix(_) => true,
        });
        let default = if local { SslMode::Disable } else { SslMode::VerifyFull };
        let sslmode = sslmode.or(in_address).unwrap_or(default);
        config.ssl_mode(match sslmode {
            SslMode::Disable => tokio_postgres::config::SslMode::Disable,
            _ => tokio_postgres::config::SslMode::Require,
        });
        config.connect_timeout(Duration::from_secs(10));
        if config.get_application_name().is_none() {
            config.application_name("syncline");
        }
        Ok(Self { config, sslmode, root_certificate })
    }

    /// The first host, its port and the database as `host:port/database`, for messages. Contains no password.
    #[must_use]
    pub fn at(&self) -> String {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(name)) => name.clone(),
            Some(Host::Unix(path)) => path.display().to_string(),
            None => "localhost".to_owned(),
        };
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        format!("{host}:{port}/{}", self.config.get_dbname().unwrap_or_default())
    }

    /// The first host and its port as `host:port`.
    #[must_use]
    pub fn host(&self) -> String {
        self.at().split('/').next().unwrap_or_default().to_owned()
    }
}

/// Refuses an address in which the user name or the password contains a character that separates the parts of an
/// address. Read as a separator, it would make a host of a part of the password, and messages name the host.
fn check_escapes(address: &str) -> Result<(), DatabaseError> {
    let Some((_, rest)) =
        address.split_once("://").filter(|(scheme, _)| matches!(*scheme, "postgres" | "postgresql"))
    else {
        return Ok(());
    };
    let is_host = |text: &str| {
        let port = text.split_once(':').map_or("", |(_, port)| port);
        port.bytes().all(|digit| digit.is_ascii_digit())
    };
    // An `@` may also stand in a parameter, behind `?`, of an address without user name and password.
    let authority = match rest.split_once('?') {
        Some((before, _))
            if before.contains('@') || is_host(before.split('/').next().unwrap_or_default()) =>
        {
            before
        }
        _ => rest,
    };
    let Some((user, host)) = authority.split_once('@') else { return Ok(()) };
    let separates = |text: &str, separators: &[char]| text.contains(separators);
    if separates(user, &['/', '?', '#']) || host.contains('@') {
        return Err(DatabaseError::Address(
            "the user name or the password contains a character that means something else in an address; percent-encode it: @ is %40, / is %2F, ? is %3F, # is %23 and % is %25".to_owned(),
        ));
    }
    Ok(())
}

/// Takes `sslmode` and `sslrootcert` out of an address, and returns the rest of the address and these
/// parameters. The driver does not know all of PostgreSQL's modes, so it must not see them.
fn take_ssl_parameters(address: &str) -> (String, Vec<(String, String)>) {
    let is_url = address.starts_with("postgres://") || address.starts_with("postgresql://");
    let (base, list, separator) = if is_url {
        match address.split_once('?') {
            Some((base, list)) => (format!("{base}?"), list, '&'),
            None => return (address.to_owned(), Vec::new()),
        }
    } else {
        (String::new(), address, ' ')
    };
    let mut kept = Vec::new();
    let mut taken = Vec::new();
    for part in list.split(separator).filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            Some((name @ ("sslmode" | "sslrootcert"), value)) => {
                let value = if is_url { percent_decode_str(value).decode_utf8_lossy() } else { value.into() };
                taken.push((name.to_owned(), value.into_owned()));
            }
            _ => kept.push(part),
        }
    }
    (format!("{base}{}", kept.join(&separator.to_string())), taken)
}

/// The words of an error, with what to do if the connection failed because of TLS.
fn with_way_out_of_tls(words: String, sslmode: SslMode) -> String {
    if !words.contains("TLS") {
        return words;
    }
    let mode = sslmode.word();
    let way_out = if words.contains("does not support TLS") {
        "switch TLS on in the server, or set sslmode to \"disable\" if nobody else is on the way to it"
    } else {
        "name the certificate of the server's authority with sslrootcert=PATH in the address; sslmode = \"verify-ca\" \
         checks that certificate and not the server's name, and sslmode = \"require\" encrypts without checking either"
    };
    format!("{words}. sslmode is {mode:?}: {way_out}")
}

/// A connection from a [`Pool`]. Dropping it gives it back to the pool.
pub type Connection = deadpool_postgres::Object;

/// A pool of connections to one database.
#[derive(Clone)]
pub struct Pool {
    pool: deadpool_postgres::Pool,
    at: String,
    sslmode: SslMode,
    refused: Arc<AtomicBool>,
}

impl Pool {
    /// A pool of at most `size` connections. The pool connects only when a connection is asked for.
    ///
    /// # Errors
    /// [`DatabaseError::Address`] if TLS cannot be set up.
    pub fn new(settings: &ConnectionSettings, size: usize) -> Result<Self, DatabaseError> {
        let manager = deadpool_postgres::Manager::from_config(
            settings.config.clone(),
            MakeRustlsConnect::new(tls::client_config(
                settings.sslmode,
                settings.root_certificate.as_deref(),
            )?),
            deadpool_postgres::ManagerConfig { recycling_method: deadpool_postgres::RecyclingMethod::Fast },
        );
        let pool = deadpool_postgres::Pool::builder(manager)
            .max_size(size)
            .runtime(deadpool_postgres::Runtime::Tokio1)
            .wait_timeout(Some(Duration::from_secs(30)))
            .create_timeout(Some(Duration::from_secs(15)))
            .build()
            .map_err(|error| DatabaseError::Address(error.to_string()))?;
        Ok(Self { pool, at: settings.at(), sslmode: settings.sslmode, refused: Arc::default() })
    }

    /// A free connection of the pool, or a new one.
    ///
    /// # Errors
    /// [`DatabaseError::Connect`] if the database cannot be reached or refuses the connection, or if no
    /// connection becomes free within 30 seconds.
    pub async fn get(&self) -> Result<Connection, DatabaseError> {
        self.pool.get().await.map_err(|error| {
            let message = match &error {
                deadpool_postgres::PoolError::Backend(error) => {
                    // Class 28: invalid authorization specification (PostgreSQL documentation, PostgreSQL
                    // Error Codes).
                    if error.code().is_some_and(|code| code.code().starts_with("28")) {
                        self.refused.store(true, Ordering::Relaxed);
                    }
                    with_way_out_of_tls(words(error), self.sslmode)
                }
                deadpool_postgres::PoolError::Timeout(_) => {
                    "no connection became free within 30 seconds, or connecting took longer than 15 seconds"
                        .to_owned()
                }
                other => other.to_string(),
            };
            DatabaseError::Connect { at: self.at.clone(), message }
        })
    }

    /// True once the database has refused the user's name or password. The secret may have been rotated since
    /// the pool was made.
    #[must_use]
    pub fn was_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssl_parameters_never_reach_the_driver() {
        let (address, taken) = take_ssl_parameters(
            "postgres://u:p@h/db?sslmode=verify-full&connect_timeout=5&sslrootcert=%2Fca.pem",
        );
        assert_eq!(address, "postgres://u:p@h/db?connect_timeout=5");
        assert_eq!(
            taken,
            [("sslmode".into(), "verify-full".into()), ("sslrootcert".into(), "/ca.pem".into())]
        );
        let (address, taken) = take_ssl_parameters("host=h sslmode=require dbname=db");
        assert_eq!(address, "host=h dbname=db");
        assert_eq!(taken, [("sslmode".into(), "require".into())]);
    }

    #[test]
    fn tls_is_verified_in_full_unless_the_host_is_this_one() {
        let mode = |address: &str| ConnectionSettings::parse(address, None).unwrap().sslmode;
        assert_eq!(mode("postgres://u@db.acme.com/app"), SslMode::VerifyFull);
        assert_eq!(mode("postgres://u@127.0.0.1/app"), SslMode::Disable);
        assert_eq!(mode("postgres://u@db.acme.com/app?sslmode=require"), SslMode::Require);
        let error = ConnectionSettings::parse("postgres://u@h/db?sslmode=prefer", None).unwrap_err();
        assert!(error.to_string().contains("verify-full"), "{error}");
    }

    #[test]
    fn a_password_that_is_not_escaped_is_refused_and_not_shown() {
        for password in ["p@ss:5432/w:rd", "pa/ss", "pa?ss", "pa#ss", "a@b", "p?a=b@c"] {
            let address = format!("postgres://u:{password}@db.acme.com/app?connect_timeout=5");
            let error = ConnectionSettings::parse(&address, None).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains("percent-encode it"), "{password}: {error}");
            assert!(!error.contains(password), "{error}");
        }
        for address in [
            "postgres://u:p%40ss%3A5432%2Fw%3Ard@db.acme.com/app",
            "postgres://db.acme.com:5432/app?application_name=a@b&user=u",
            "postgres://u@db.acme.com/app?application_name=a@b",
            "postgres:///app?host=/var/run",
            "postgres://u:p:w@db.acme.com/app\n",
            "host=db.acme.com user=u password=p@ss:5432/w",
        ] {
            assert!(ConnectionSettings::parse(address, None).is_ok(), "{address}");
        }
    }

    #[test]
    fn a_root_certificate_is_named_as_libpq_names_it() {
        let root = |value: &str| {
            let address = format!("postgres://u@db.acme.com/app?sslrootcert={value}");
            ConnectionSettings::parse(&address, None).unwrap().root_certificate
        };
        assert_eq!(root("system"), None);
        assert_eq!(root("%2fetc%2Fca.pem"), Some(PathBuf::from("/etc/ca.pem")));
    }

    #[test]
    fn messages_name_host_port_and_database_without_the_password() {
        let settings = ConnectionSettings::parse("postgres://u:secret@db.acme.com:6543/app", None).unwrap();
        assert_eq!(settings.at(), "db.acme.com:6543/app");
    }
}
