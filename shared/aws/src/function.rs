//! What a function is wired with: made once per process, renewed when something was applied or a secret rotated.

use crate::alerts::{Metric, SnsAlerts, metric_line};
use crate::clients::sdk_config;
use crate::instance::{Applied, InstanceSettings};
use crate::queue::SqsQueue;
use crate::runtime::AwsRuntime;
use crate::secret::{Stage, postgres_address, read_secret};
use crate::state::DynamoState;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;
use std::time::Duration;
use syncline_config::{NoSteps, SystemRandom};
use syncline_engine::{Definition, FingerprintKey};
use syncline_postgres::{Instance, Pool, PostgresDatabase, Settings as DatabaseSettings};
use syncline_salesforce::{Client, Credentials, LONGEST_CALL};
use syncline_sync::{PortError, Settings};
use tokio::sync::Mutex;

/// Connections of one function: a run holds two at a time, an invocation a few runs.
const CONNECTIONS: usize = 5;
/// After a sign-in was refused, secrets are read again at most so often.
const RENEW_EVERY: SignedDuration = SignedDuration::from_secs(10);

/// What the template tells a function, in its environment.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The instance, for metrics and alerts.
    pub instance: String,
    table: String,
    queue_url: String,
    topic: Option<String>,
    salesforce_secret: Option<String>,
    postgres_secret: Option<String>,
    fingerprint_secret: Option<String>,
    ingest_secret: Option<String>,
    log_interval: Duration,
}

impl Environment {
    /// What stands in this process's environment.
    ///
    /// # Errors
    /// The name of a variable that is missing.
    pub fn read() -> Result<Self, PortError> {
        let optional = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let required = |name: &str| {
            optional(name).ok_or_else(|| PortError::Store {
                message: format!("{name} is not set; the template sets it, so deploy the template as it is"),
            })
        };
        Ok(Self {
            instance: required("SYNCLINE_INSTANCE")?,
            table: required("SYNCLINE_TABLE")?,
            queue_url: required("SYNCLINE_QUEUE_URL")?,
            topic: optional("SYNCLINE_TOPIC_ARN"),
            salesforce_secret: optional("SYNCLINE_SALESFORCE_SECRET"),
            postgres_secret: optional("SYNCLINE_POSTGRES_SECRET"),
            fingerprint_secret: optional("SYNCLINE_FINGERPRINT_SECRET"),
            ingest_secret: optional("SYNCLINE_INGEST_SECRET"),
            log_interval: Duration::from_secs(
                optional("SYNCLINE_LOG_INTERVAL").and_then(|text| text.parse().ok()).unwrap_or(60),
            ),
        })
    }
}

/// What a process of a function keeps between invocations.
pub struct Function {
    environment: Environment,
    state: DynamoState,
    queue: SqsQueue,
    alerts: SnsAlerts,
    secrets: aws_sdk_secretsmanager::Client,
    wired: Mutex<Option<Arc<Wired>>>,
}

/// Both sides and what is applied, ready to work with.
pub struct Wired {
    stamp: String,
    made: Timestamp,
    pool: Pool,
    /// The ports.
    pub runtime: AwsRuntime,
    /// The definitions.
    pub definitions: Vec<Definition>,
    /// How often the capture log is looked at.
    pub log_interval: Duration,
}

impl Wired {
    /// Metrics that say how a run went for both sides.
    #[must_use]
    pub fn metrics(&self) -> Vec<(Metric, f64)> {
        let usage = self.runtime.salesforce.usage();
        let mut metrics = Vec::new();
        if usage.allowed > 0 {
            #[expect(clippy::cast_precision_loss, reason = "calls of a day are far below 2^52")]
            metrics.push((Metric::QuotaUsed, 100.0 * usage.used as f64 / usage.allowed as f64));
        }
        if self.was_refused() {
            metrics.push((Metric::SignInFailures, 1.0));
        }
        metrics
    }

    fn was_refused(&self) -> bool {
        self.runtime.salesforce.was_refused() || self.pool.was_refused()
    }
}

impl Function {
    /// A function of this process. `program` stands in the user agent of its calls.
    ///
    /// # Errors
    /// When the environment is not the template's.
    pub async fn new(program: &'static str) -> Result<Self, PortError> {
        syncline_salesforce::install_crypto_provider();
        let environment = Environment::read()?;
        let config = sdk_config(program).await;
        let state = DynamoState::new(aws_sdk_dynamodb::Client::new(&config), &environment.table);
        Ok(Self {
            state,
            queue: SqsQueue::new(aws_sdk_sqs::Client::new(&config), &environment.queue_url),
            alerts: SnsAlerts {
                client: aws_sdk_sns::Client::new(&config),
                topic: environment.topic.clone(),
                instance: environment.instance.clone(),
            },
            secrets: aws_sdk_secretsmanager::Client::new(&config),
            environment,
            wired: Mutex::default(),
        })
    }

    /// The state store.
    #[must_use]
    pub fn state(&self) -> &DynamoState {
        &self.state
    }

    /// The queue.
    #[must_use]
    pub fn queue(&self) -> &SqsQueue {
        &self.queue
    }

    /// An invocation begins; what it sends bears its trace header.
    pub fn begin(&self, trace: Option<String>) {
        self.queue.set_trace(trace);
    }

    /// Writes metrics to the log, where CloudWatch finds them.
    #[expect(clippy::print_stdout, reason = "the embedded metric format is a line of the function's output")]
    pub fn emit(&self, metrics: &[(Metric, f64)]) {
        if !metrics.is_empty() {
            println!("{}", metric_line(&self.environment.instance, Timestamp::now(), metrics));
        }
    }

    /// What has to stand in the address that Salesforce calls.
    ///
    /// # Errors
    /// When Secrets Manager does not answer.
    pub async fn ingest_secret(&self) -> Result<SecretString, PortError> {
        let secret = self.secret(self.environment.ingest_secret.as_deref(), Stage::Current).await?;
        Ok(secret.unwrap_or_default())
    }

    /// What is applied, read again if anything of it changed since `known`; `None` where nothing is yet.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn applied(&self, known: Option<Arc<Applied>>) -> Result<Option<Arc<Applied>>, PortError> {
        let stamp = self.state.applied_stamp().await?;
        match known {
            Some(known) if stamp.as_deref() == Some(&known.stamp) => Ok(Some(known)),
            _ => Ok(self.state.applied().await?.map(Arc::new)),
        }
    }

    /// Both sides and the definitions as they are applied now; `None` where nothing is applied yet. Made anew when
    /// something was applied, or when a side has refused the secret.
    ///
    /// # Errors
    /// When DynamoDB or Secrets Manager does not answer, or a secret is not what it has to be.
    pub async fn ready(&self) -> Result<Option<Arc<Wired>>, PortError> {
        let mut wired = self.wired.lock().await;
        let stamp = self.state.applied_stamp().await?;
        if let Some(known) = &*wired {
            let stale = known.was_refused() && known.made + RENEW_EVERY < Timestamp::now();
            if stamp.as_deref() == Some(&known.stamp) && !stale {
                return Ok(Some(known.clone()));
            }
        }
        *wired = None;
        let Some(applied) = self.state.applied().await? else { return Ok(None) };
        let made = Arc::new(self.wire(applied).await?);
        *wired = Some(made.clone());
        Ok(Some(made))
    }

    async fn secret(&self, name: Option<&str>, stage: Stage) -> Result<Option<SecretString>, PortError> {
        let name = name.ok_or_else(|| PortError::Store {
            message: "a secret's name is missing in the environment; deploy the template as it is".to_owned(),
        })?;
        read_secret(&self.secrets, name, stage).await
    }

    async fn wire(&self, applied: Applied) -> Result<Wired, PortError> {
        let Applied { stamp, settings, definitions } = applied;
        let lease = SignedDuration::from_secs(settings.lease_s);
        let key = self.secret(self.environment.fingerprint_secret.as_deref(), Stage::Current).await?;
        let key = fingerprint_key(&key.unwrap_or_default());
        let (salesforce, (pool, _)) =
            tokio::try_join!(self.salesforce(&settings, lease), self.pool(&settings))?;
        salesforce.bind(&settings.organization_id);
        let instance = Instance(settings.instance.clone());
        let database = PostgresDatabase::new(pool.clone(), instance).bound_to(settings.identity.clone());
        let runtime = AwsRuntime {
            salesforce,
            database,
            state: self.state.clone(),
            queue: self.queue.clone(),
            alerts: self.alerts.clone(),
            random: SystemRandom::new(),
            steps: NoSteps,
            settings: Settings {
                instance: settings.instance,
                lease,
                look_back: SignedDuration::from_secs(settings.look_back_s),
                daily_calls: Some(settings.daily_calls),
                key,
            },
        };
        let log_interval = self.environment.log_interval;
        Ok(Wired { stamp, made: Timestamp::now(), pool, runtime, definitions, log_interval })
    }

    /// The client with the first version of the secret that signs in, or with the current one if none does.
    async fn salesforce(
        &self,
        settings: &InstanceSettings,
        lease: SignedDuration,
    ) -> Result<Client, PortError> {
        // A call ends within two thirds of a lease.
        let call = Duration::try_from(lease * 2 / 3).unwrap_or(LONGEST_CALL).min(LONGEST_CALL);
        let mut current = None;
        for stage in Stage::ALL {
            let name = self.environment.salesforce_secret.as_deref();
            let Some(secret) = self.secret(name, stage).await? else { continue };
            let client = match Credentials::from_json(settings.auth, &secret) {
                Ok(credentials) => Client::new(&settings.login_url, &settings.api_version, credentials, call)
                    .map_err(|error| PortError::Store { message: error.to_string() })?,
                Err(_) if stage != Stage::Current => continue,
                Err(error) => {
                    let name = name.unwrap_or_default();
                    return Err(PortError::Store { message: format!("secret {name}: {error}") });
                }
            };
            let signed_in = client.organization_id().await;
            if signed_in.is_ok() || !client.was_refused() {
                return Ok(client);
            }
            tracing::warn!(stage = stage.word(), "Salesforce refuses this version of the secret");
            current = current.or(Some(client));
        }
        current.ok_or_else(|| PortError::Store { message: "the Salesforce secret has no value".to_owned() })
    }

    /// The pool with the first version of the secret that the database takes, or with the current one if it takes
    /// none; and host and port.
    async fn pool(&self, settings: &InstanceSettings) -> Result<(Pool, String), PortError> {
        let mut current = None;
        for stage in Stage::ALL {
            let name = self.environment.postgres_secret.as_deref();
            let Some(secret) = self.secret(name, stage).await? else { continue };
            let found = match database_settings(&secret, settings) {
                Ok(found) => found,
                Err(_) if stage != Stage::Current => continue,
                Err(message) => {
                    let name = name.unwrap_or_default();
                    return Err(PortError::Store { message: format!("secret {name}: {message}") });
                }
            };
            let pool = Pool::new(&found, CONNECTIONS)
                .map_err(|error| PortError::Store { message: error.to_string() })?;
            let connected = pool.get().await.map(|_| ());
            let made = (pool, found.host());
            if connected.is_ok() || !made.0.was_refused() {
                return Ok(made);
            }
            tracing::warn!(stage = stage.word(), "PostgreSQL refuses this version of the secret");
            current = current.or(Some(made));
        }
        current.ok_or_else(|| PortError::Store { message: "the Postgres secret has no value".to_owned() })
    }
}

/// Where a secret and the settings lead to.
fn database_settings(secret: &SecretString, settings: &InstanceSettings) -> Result<DatabaseSettings, String> {
    let address = postgres_address(secret, &settings.whereabouts)?;
    let sslmode = settings.sslmode.as_deref().map(str::parse).transpose();
    let sslmode = sslmode.map_err(|error: syncline_postgres::DatabaseError| error.to_string())?;
    DatabaseSettings::parse(address.expose_secret(), sslmode).map_err(|error| error.to_string())
}

/// The fingerprint key that a secret's text leads to, whatever its length and characters.
#[must_use]
pub fn fingerprint_key(secret: &SecretString) -> FingerprintKey {
    FingerprintKey::new(blake3::derive_key(
        "syncline 2026 fingerprint key",
        secret.expose_secret().as_bytes(),
    ))
}
