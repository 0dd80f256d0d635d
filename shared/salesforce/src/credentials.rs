//! Signing in: JWT bearer, client credentials, refresh token, and name and password.
//!
//! Source: OAuth 2.0 JWT Bearer Flow and OAuth 2.0 Client Credentials Flow in Salesforce Help. Both answer an
//! access token and the instance's URL, neither a refresh token: an expired session signs in again, by whichever
//! way it began.

use crate::error::SalesforceError;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

/// The ways to sign in, as configurations name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// JWT bearer.
    Jwt,
    /// Client credentials.
    ClientCredentials,
    /// A refresh token.
    RefreshToken,
    /// Name and password.
    Password,
}

impl Auth {
    /// Its word in configurations.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
            Self::ClientCredentials => "client-credentials",
            Self::RefreshToken => "refresh-token",
            Self::Password => "password",
        }
    }

    /// The JSON that its secret has to be.
    #[must_use]
    pub fn shape(self) -> &'static str {
        match self {
            Self::Jwt => {
                r#"{"client_id": "…", "username": "…", "private_key": "-----BEGIN PRIVATE KEY-----…"}"#
            }
            Self::ClientCredentials => r#"{"client_id": "…", "client_secret": "…"}"#,
            Self::RefreshToken => r#"{"client_id": "…", "client_secret": "…", "refresh_token": "…"}"#,
            Self::Password => r#"{"client_id": "…", "client_secret": "…", "username": "…", "password": "…"}"#,
        }
    }
}

/// A secret that is not what its `auth` asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not the JSON that auth = {auth:?} asks for: {message}; it has to be {shape}")]
pub struct CredentialsError {
    auth: &'static str,
    message: String,
    shape: &'static str,
}

/// How to sign in.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// An assertion signed with a private key whose certificate the external client app holds.
    Jwt {
        /// The app's consumer key.
        client_id: String,
        /// The user to act as.
        username: String,
        /// The RSA private key, PEM.
        private_key: SecretString,
    },
    /// The app's key and secret; Salesforce asks for a My Domain address and a run-as user.
    ClientCredentials {
        /// The app's consumer key.
        client_id: String,
        /// The app's consumer secret.
        client_secret: SecretString,
    },
    /// A refresh token that a person's consent gave.
    RefreshToken {
        /// The app's consumer key.
        client_id: String,
        /// The app's consumer secret, where the app asks for it.
        client_secret: Option<SecretString>,
        /// The refresh token.
        refresh_token: SecretString,
    },
    /// A user's name and password: for orgs that still allow it.
    Password {
        /// The app's consumer key.
        client_id: String,
        /// The app's consumer secret.
        client_secret: SecretString,
        /// The user.
        username: String,
        /// The password, followed by the security token where the org asks for it.
        password: SecretString,
    },
}

/// A session.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) token: SecretString,
    pub(crate) instance_url: String,
    pub(crate) organization_id: String,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: SecretString,
    instance_url: String,
    id: String,
}

#[derive(Deserialize)]
struct TokenRefusal {
    error: String,
    #[serde(default)]
    error_description: String,
}

/// Makes ring the crypto provider of TLS, once per process.
pub fn install_crypto_provider() {
    // An error says that there is one already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

impl Credentials {
    /// Reads the JSON of a secret.
    ///
    /// # Errors
    /// When it has another shape; the words never quote it.
    pub fn from_json(auth: Auth, secret: &SecretString) -> Result<Self, CredentialsError> {
        #[derive(Deserialize)]
        struct Jwt {
            client_id: String,
            username: String,
            private_key: SecretString,
        }
        #[derive(Deserialize)]
        struct ClientCredentials {
            client_id: String,
            client_secret: SecretString,
        }
        #[derive(Deserialize)]
        struct RefreshToken {
            client_id: String,
            client_secret: Option<SecretString>,
            refresh_token: SecretString,
        }
        #[derive(Deserialize)]
        struct Password {
            client_id: String,
            client_secret: SecretString,
            username: String,
            password: SecretString,
        }
        Ok(match auth {
            Auth::Jwt => {
                let Jwt { client_id, username, private_key } = shaped(auth, secret)?;
                Self::Jwt { client_id, username, private_key }
            }
            Auth::ClientCredentials => {
                let ClientCredentials { client_id, client_secret } = shaped(auth, secret)?;
                Self::ClientCredentials { client_id, client_secret }
            }
            Auth::RefreshToken => {
                let RefreshToken { client_id, client_secret, refresh_token } = shaped(auth, secret)?;
                Self::RefreshToken { client_id, client_secret, refresh_token }
            }
            Auth::Password => {
                let Password { client_id, client_secret, username, password } = shaped(auth, secret)?;
                Self::Password { client_id, client_secret, username, password }
            }
        })
    }

    /// The form fields of the token request.
    fn form(
        &self,
        login_url: &str,
        now: jiff::Timestamp,
    ) -> Result<Vec<(&'static str, String)>, SalesforceError> {
        Ok(match self {
            Self::ClientCredentials { client_id, client_secret } => vec![
                ("grant_type", "client_credentials".to_owned()),
                ("client_id", client_id.clone()),
                ("client_secret", client_secret.expose_secret().to_owned()),
            ],
            Self::RefreshToken { client_id, client_secret, refresh_token } => {
                let mut form = vec![
                    ("grant_type", "refresh_token".to_owned()),
                    ("client_id", client_id.clone()),
                    ("refresh_token", refresh_token.expose_secret().to_owned()),
                ];
                if let Some(secret) = client_secret {
                    form.push(("client_secret", secret.expose_secret().to_owned()));
                }
                form
            }
            Self::Password { client_id, client_secret, username, password } => vec![
                ("grant_type", "password".to_owned()),
                ("client_id", client_id.clone()),
                ("client_secret", client_secret.expose_secret().to_owned()),
                ("username", username.clone()),
                ("password", password.expose_secret().to_owned()),
            ],
            Self::Jwt { client_id, username, private_key } => vec![
                ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer".to_owned()),
                ("assertion", assertion(client_id, username, audience(login_url), private_key, now)?),
            ],
        })
    }

    /// Signs in.
    pub(crate) async fn sign_in(
        &self,
        http: &reqwest::Client,
        login_url: &str,
    ) -> Result<Session, SalesforceError> {
        let url = format!("{login_url}/services/oauth2/token");
        let form = self.form(login_url, jiff::Timestamp::now())?;
        let answer = http.post(&url).form(&form).send().await.map_err(|error| unreachable(&url, &error))?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(|error| unreachable(&url, &error))?;
        if status.is_success() {
            let answer: TokenAnswer = serde_json::from_slice(&body)
                .map_err(|error| SalesforceError::Malformed(format!("the token answer: {error}")))?;
            // The identity URL ends with the org's and the user's Id.
            let organization_id = answer.id.rsplit('/').nth(1).unwrap_or_default().to_owned();
            let instance_url = answer.instance_url.trim_end_matches('/').to_owned();
            return Ok(Session { token: answer.access_token, instance_url, organization_id });
        }
        if status.is_server_error() {
            return Err(SalesforceError::Unanswered { url, message: status.to_string() });
        }
        Err(match serde_json::from_slice::<TokenRefusal>(&body) {
            Ok(refusal) => {
                SalesforceError::SignIn { url, error: refusal.error, description: refusal.error_description }
            }
            Err(_) => SalesforceError::SignIn {
                url,
                error: status.to_string(),
                description: "no OAuth answer; is login_url your My Domain address?".to_owned(),
            },
        })
    }
}

fn shaped<T: serde::de::DeserializeOwned>(auth: Auth, secret: &SecretString) -> Result<T, CredentialsError> {
    serde_json::from_str(secret.expose_secret()).map_err(|error| {
        // serde_json's words may quote what it found: only the kind of the mistake is passed on.
        let message = match error.classify() {
            serde_json::error::Category::Data if error.to_string().starts_with("missing field") => {
                error.to_string().split(" at line").next().unwrap_or_default().to_owned()
            }
            serde_json::error::Category::Data => "a value of another kind than expected".to_owned(),
            _ => format!("no JSON (line {}, column {})", error.line(), error.column()),
        };
        CredentialsError { auth: auth.word(), message, shape: auth.shape() }
    })
}

/// The connection's words with their causes, without the URL, which may carry a query.
pub(crate) fn unreachable(url: &str, error: &reqwest::Error) -> SalesforceError {
    let mut message = String::new();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(error) = cause {
        message = error.to_string();
        cause = error.source();
    }
    if message.is_empty() {
        message = error.to_string();
    }
    if error.is_timeout() {
        message = "timed out".to_owned();
    }
    let url = url.split('?').next().unwrap_or(url).to_owned();
    if error.is_connect() || error.is_builder() {
        SalesforceError::Unreachable { url, message }
    } else {
        SalesforceError::Unanswered { url, message }
    }
}

/// The audience of an assertion is the authorization server: login or test, or the address itself.
fn audience(login_url: &str) -> &str {
    if login_url.ends_with(".sandbox.my.salesforce.com") {
        "https://test.salesforce.com"
    } else if login_url.ends_with(".my.salesforce.com") {
        "https://login.salesforce.com"
    } else {
        login_url
    }
}

fn assertion(
    client_id: &str,
    username: &str,
    audience: &str,
    private_key: &SecretString,
    now: jiff::Timestamp,
) -> Result<String, SalesforceError> {
    let key = key_pair(private_key)?;
    let claims = serde_json::json!({
        "iss": client_id, "sub": username, "aud": audience, "exp": now.as_second() + 180,
    });
    let header = URL_SAFE_NO_PAD.encode(br#"{"alg":"RS256"}"#);
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
        .map_err(|_| SalesforceError::PrivateKey("it does not sign".to_owned()))?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

fn key_pair(pem: &SecretString) -> Result<RsaKeyPair, SalesforceError> {
    let refused = |error: &dyn std::fmt::Display| SalesforceError::PrivateKey(error.to_string());
    let der =
        PrivateKeyDer::from_pem_slice(pem.expose_secret().as_bytes()).map_err(|error| refused(&error))?;
    match &der {
        PrivateKeyDer::Pkcs8(key) => {
            RsaKeyPair::from_pkcs8(PrivatePkcs8KeyDer::secret_pkcs8_der(key)).map_err(|error| refused(&error))
        }
        PrivateKeyDer::Pkcs1(key) => {
            RsaKeyPair::from_der(PrivatePkcs1KeyDer::secret_pkcs1_der(key)).map_err(|error| refused(&error))
        }
        _ => Err(SalesforceError::PrivateKey("it is no RSA key".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_audience_is_the_authorization_server() {
        assert_eq!(audience("https://acme.my.salesforce.com"), "https://login.salesforce.com");
        assert_eq!(audience("https://acme--qa.sandbox.my.salesforce.com"), "https://test.salesforce.com");
        assert_eq!(audience("https://test.salesforce.com"), "https://test.salesforce.com");
    }

    #[test]
    fn a_secret_of_another_shape_is_refused_without_being_shown() {
        let secret = SecretString::from(r#"{"client_id": "abc", "password": "hunter2"}"#);
        let error = Credentials::from_json(Auth::ClientCredentials, &secret).unwrap_err().to_string();
        assert!(error.contains("missing field `client_secret`") && error.contains("has to be"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
        let error =
            Credentials::from_json(Auth::Jwt, &SecretString::from("hunter2")).unwrap_err().to_string();
        assert!(error.contains("no JSON") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_key_that_is_none_is_refused_in_words() {
        let error = key_pair(&SecretString::from("not a key")).unwrap_err();
        assert!(error.to_string().contains("RSA key of 2048 bits"), "{error}");
    }
}
