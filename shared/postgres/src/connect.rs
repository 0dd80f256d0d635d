//! Connections: address, TLS, pool.

use crate::error::{DatabaseError, words};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_postgres::config::Host;
use tokio_postgres_rustls::MakeRustlsConnect;

/// How a connection is protected; PostgreSQL's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// TLS, whoever answers.
    Require,
    /// TLS with a certificate that a known authority signed.
    VerifyCa,
    /// And that names the host.
    VerifyFull,
}

impl FromStr for SslMode {
    type Err = DatabaseError;

    fn from_str(text: &str) -> Result<Self, DatabaseError> {
        match text {
            "disable" => Ok(Self::Disable),
            "require" => Ok(Self::Require),
            "verify-ca" => Ok(Self::VerifyCa),
            "verify-full" => Ok(Self::VerifyFull),
            other => Err(DatabaseError::Address(format!(
                "sslmode is {other:?}; it is disable, require, verify-ca or verify-full"
            ))),
        }
    }
}

/// Where the database is.
#[derive(Clone, Debug)]
pub struct Settings {
    config: tokio_postgres::Config,
    sslmode: SslMode,
    root_certificate: Option<PathBuf>,
}

impl Settings {
    /// Reads a `postgres://` address or a `key=value` list. `sslmode` and `sslrootcert` in it count unless
    /// `sslmode` is given; without either, TLS is verified in full, but not asked for on loopback.
    ///
    /// # Errors
    /// When the address is not understood.
    pub fn parse(address: &str, sslmode: Option<SslMode>) -> Result<Self, DatabaseError> {
        let (address, parameters) = take_ssl_parameters(address);
        let mut config = tokio_postgres::Config::from_str(&address)
            .map_err(|error| DatabaseError::Address(words(&error)))?;
        let mut in_address = None;
        let mut root_certificate = None;
        for (name, value) in parameters {
            match name.as_str() {
                "sslmode" => in_address = Some(value.parse()?),
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

    /// Host, port and database, for messages.
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

    /// Host and port.
    #[must_use]
    pub fn host(&self) -> String {
        self.at().split('/').next().unwrap_or_default().to_owned()
    }

    fn tls(&self) -> Result<ClientConfig, DatabaseError> {
        let provider = Arc::new(ring::default_provider());
        let refused = |error: &dyn std::fmt::Display| DatabaseError::Address(format!("TLS: {error}"));
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| refused(&error))?;
        if matches!(self.sslmode, SslMode::Require | SslMode::Disable) {
            let verifier = Arc::new(Anybody(provider));
            return Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth());
        }
        let mut roots = RootCertStore::empty();
        match &self.root_certificate {
            Some(path) => {
                let certificates = CertificateDer::pem_file_iter(path)
                    .map_err(|error| refused(&format!("{}: {error}", path.display())))?;
                for certificate in certificates.flatten() {
                    roots.add(certificate).map_err(|error| refused(&error))?;
                }
            }
            None => {
                let _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        if roots.is_empty() {
            return Err(refused(&"no root certificates; name a file with sslrootcert"));
        }
        if self.sslmode == SslMode::VerifyFull {
            return Ok(builder.with_root_certificates(roots).with_no_client_auth());
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| refused(&error))?;
        let verifier = Arc::new(AnyName(verifier));
        Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
    }
}

/// Takes `sslmode` and `sslrootcert` out of an address: the driver knows other modes than PostgreSQL does.
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
                taken.push((name.to_owned(), value.replace("%2F", "/")));
            }
            _ => kept.push(part),
        }
    }
    (format!("{base}{}", kept.join(&separator.to_string())), taken)
}

/// `require`: the connection is encrypted, whoever answers.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// `verify-ca`: a certificate that a known authority signed, for whatever name.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// A connection out of the pool; it goes back when it is dropped.
pub type Connection = deadpool_postgres::Object;

/// A few connections to one database.
#[derive(Clone)]
pub struct Pool {
    pool: deadpool_postgres::Pool,
    at: String,
    refused: Arc<AtomicBool>,
}

impl Pool {
    /// A pool that connects when it is asked to.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(settings: &Settings, size: usize) -> Result<Self, DatabaseError> {
        let manager = deadpool_postgres::Manager::from_config(
            settings.config.clone(),
            MakeRustlsConnect::new(settings.tls()?),
            deadpool_postgres::ManagerConfig { recycling_method: deadpool_postgres::RecyclingMethod::Fast },
        );
        let pool = deadpool_postgres::Pool::builder(manager)
            .max_size(size)
            .runtime(deadpool_postgres::Runtime::Tokio1)
            .wait_timeout(Some(Duration::from_secs(30)))
            .create_timeout(Some(Duration::from_secs(15)))
            .build()
            .map_err(|error| DatabaseError::Address(error.to_string()))?;
        Ok(Self { pool, at: settings.at(), refused: Arc::default() })
    }

    /// A connection.
    ///
    /// # Errors
    /// When there is none to be had, in the words of whoever refused.
    pub async fn get(&self) -> Result<Connection, DatabaseError> {
        self.pool.get().await.map_err(|error| {
            let message = match &error {
                deadpool_postgres::PoolError::Backend(error) => {
                    // Class 28 is invalid authorization (PostgreSQL's error codes).
                    if error.code().is_some_and(|code| code.code().starts_with("28")) {
                        self.refused.store(true, Ordering::Relaxed);
                    }
                    words(error)
                }
                deadpool_postgres::PoolError::Timeout(_) => "timed out".to_owned(),
                other => other.to_string(),
            };
            DatabaseError::Connect { at: self.at.clone(), message }
        })
    }

    /// True once the database has refused name or password: the secret may have been rotated.
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
        let mode = |address: &str| Settings::parse(address, None).unwrap().sslmode;
        assert_eq!(mode("postgres://u@db.acme.com/app"), SslMode::VerifyFull);
        assert_eq!(mode("postgres://u@127.0.0.1/app"), SslMode::Disable);
        assert_eq!(mode("postgres://u@db.acme.com/app?sslmode=require"), SslMode::Require);
        let error = Settings::parse("postgres://u@h/db?sslmode=prefer", None).unwrap_err();
        assert!(error.to_string().contains("verify-full"), "{error}");
    }

    #[test]
    fn messages_name_the_place_without_the_password() {
        let settings = Settings::parse("postgres://u:secret@db.acme.com:6543/app", None).unwrap();
        assert_eq!(settings.at(), "db.acme.com:6543/app");
    }
}
