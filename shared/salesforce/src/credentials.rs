//! Signs in by JWT bearer, client credentials, a refresh token, or name and password.
//!
//! Source: OAuth 2.0 JWT Bearer Flow and OAuth 2.0 Client Credentials Flow in Salesforce Help. Both flows
//! answer with an access token and the instance's URL, but without a refresh token. So when a session has
//! expired, the client signs in again with the same credentials.

use crate::error::SalesforceError;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

/// The ways to sign in, by their names in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// JWT bearer, with a private key.
    Jwt,
    /// Client credentials, with the secret of an app.
    ClientCredentials,
    /// A refresh token, which a person's consent gave.
    RefreshToken,
    /// The name and password of a user.
    Password,
}

impl Auth {
    /// The word for this way in the configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
            Self::ClientCredentials => "client-credentials",
            Self::RefreshToken => "refresh-token",
            Self::Password => "password",
        }
    }

    /// The JSON that the secret for this way to sign in has to be, shown to users in messages.
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

/// The error for a secret that is not the JSON that its `auth` needs. Its message never quotes the secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the secret is not the JSON that auth = {auth:?} needs: {message}. The secret has to be {shape}")]
pub struct CredentialsError {
    auth: &'static str,
    message: String,
    shape: &'static str,
}

/// The credentials with which the client signs in.
///
/// # Example
///
/// ```
/// use secrecy::SecretString;
/// use syncline_salesforce::{Auth, Credentials};
///
/// let secret = SecretString::from(r#"{"client_id": "…", "client_secret": "…"}"#);
/// assert!(Credentials::from_json(Auth::ClientCredentials, &secret).is_ok());
/// assert!(Credentials::from_json(Auth::Jwt, &secret).is_err());
/// ```
#[derive(Clone, Debug)]
pub enum Credentials {
    /// JWT bearer: the client signs an assertion with a private key. The external client app in Salesforce
    /// holds the certificate of the key.
    Jwt {
        /// The app's consumer key.
        client_id: String,
        /// The user as whom Syncline acts.
        username: String,
        /// The RSA private key in PEM.
        private_key: SecretString,
    },
    /// Client credentials: the consumer key and secret of an app. Salesforce accepts them only at a My Domain
    /// address, and the app needs a run-as user.
    ClientCredentials {
        /// The app's consumer key.
        client_id: String,
        /// The app's consumer secret.
        client_secret: SecretString,
    },
    /// A refresh token, which Salesforce gave when a person consented.
    RefreshToken {
        /// The app's consumer key.
        client_id: String,
        /// The app's consumer secret; `None` if the app does not require it.
        client_secret: Option<SecretString>,
        /// The refresh token.
        refresh_token: SecretString,
    },
    /// The name and password of a user, for orgs that still allow this way.
    Password {
        /// The app's consumer key.
        client_id: String,
        /// The app's consumer secret.
        client_secret: SecretString,
        /// The name of the user.
        username: String,
        /// The password. If the org requires the security token, the token follows the password without a
        /// blank.
        password: SecretString,
    },
}

/// A session with the org, which a sign-in began.
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

/// Makes ring the crypto provider of TLS for this process. It may be called more than once.
pub fn install_crypto_provider() {
    // An error means that the process has a crypto provider already, which does as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

impl Credentials {
    /// Reads the JSON of a secret.
    ///
    /// # Errors
    /// When the secret is not the JSON that `auth` needs. The error's message never quotes the secret.
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

    /// The form fields of the token request. `now` is the time from which a JWT assertion is valid for three
    /// minutes.
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

    /// Signs in at `login_url` and returns the new session.
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
                .map_err(|error| SalesforceError::Malformed(format!("sign-in: {error}")))?;
            // The identity URL ends with the Id of the org and the Id of the user.
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
                description:
                    "the answer is not an OAuth answer; check that login_url is your My Domain address"
                        .to_owned(),
            },
        })
    }
}

fn shaped<T: serde::de::DeserializeOwned>(auth: Auth, secret: &SecretString) -> Result<T, CredentialsError> {
    serde_json::from_str(secret.expose_secret()).map_err(|error| {
        // The messages of serde_json may quote the secret. So only the kind of the mistake is passed on.
        let message = match error.classify() {
            serde_json::error::Category::Data if error.to_string().starts_with("missing field") => {
                error.to_string().split(" at line").next().unwrap_or_default().to_owned()
            }
            serde_json::error::Category::Data => "a value in it has the wrong type".to_owned(),
            _ => format!("it is not JSON (line {}, column {})", error.line(), error.column()),
        };
        CredentialsError { auth: auth.word(), message, shape: auth.shape() }
    })
}

/// The error of a call that got no answer. The message is that of the innermost cause. The query is cut off
/// the URL, because it can contain data of the user.
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

/// The audience of an assertion. It is the address of the authorization server: that of all production orgs,
/// that of all sandboxes, or the login address itself.
fn audience(login_url: &str) -> &str {
    if login_url.ends_with(".sandbox.my.salesforce.com") {
        "https://test.salesforce.com"
    } else if login_url.ends_with(".my.salesforce.com") {
        "https://login.salesforce.com"
    } else {
        login_url
    }
}

/// The signed assertion of the JWT bearer flow. It is signed with ring, which TLS brings along: the crate
/// `jsonwebtoken` would add a second library of cryptography, aws-lc or RustCrypto. Source: OAuth 2.0 JWT Bearer Flow
/// for Server-to-Server Integration.
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
        .map_err(|_| SalesforceError::PrivateKey("signing with the key failed".to_owned()))?;
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
        _ => Err(SalesforceError::PrivateKey("it is not an RSA key".to_owned())),
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
        assert!(error.contains("not JSON") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_key_that_is_none_is_refused_in_words() {
        let error = key_pair(&SecretString::from("not a key")).unwrap_err();
        assert!(error.to_string().contains("RSA key of 2048 bits"), "{error}");
    }
}
