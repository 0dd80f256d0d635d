//! The wiring of a Lambda function: clients of AWS, connections to both sides, and the definitions.
//!
//! A process makes the wiring at its first invocation and keeps it between invocations. The wiring is made
//! again after `syncline apply --stack` stored something else, and after a side refused the secret, which may
//! have been rotated.

use crate::alerts::SnsAlerts;
use crate::applied::{AppliedConfig, InstanceSettings};
use crate::clients::sdk_config;
use crate::metrics::{Metric, metric_line};
use crate::queue::SqsQueue;
use crate::runtime::AwsRuntime;
use crate::secret::{Stage, postgres_address, read_secret};
use crate::state::DynamoState;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;
use std::time::Duration;
use syncline_engine::{Definition, FingerprintKey};
use syncline_postgres::{ConnectionSettings, Instance, Pool, PostgresDatabase};
use syncline_process::{SystemClock, SystemRandom};
use syncline_salesforce::{Client, Credentials, LONGEST_CALL};
use syncline_sync::process_memory::ProcessMemory;
use syncline_sync::{NoSteps, PortError, Settings, longest_call};
use tokio::sync::Mutex;

/// The most connections to PostgreSQL of one process. A run holds two at a time.
const CONNECTIONS: usize = 5;
/// The shortest time between two renewals of the wiring while a side refuses the secret.
const RENEW_EVERY: SignedDuration = SignedDuration::from_secs(10);

/// The environment variables of a function, which `template.yaml` sets.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The instance's name, for metrics and alerts (`SYNCLINE_INSTANCE`).
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
    /// Reads the environment of this process. Empty variables count as not set. `SYNCLINE_LOG_INTERVAL` is in
    /// seconds, 60 where it is not set or not a number.
    ///
    /// # Errors
    /// When a variable that every function needs is not set; the message names the variable.
    pub fn read() -> Result<Self, PortError> {
        let optional = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let required = |name: &str| {
            optional(name).ok_or_else(|| PortError::Store {
                message: format!(
                    "environment variable {name} is not set; deploy template.yaml, which sets it"
                ),
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

/// What a process of a function keeps between invocations: AWS clients, and the wiring once it is made.
pub struct Function {
    environment: Environment,
    state: DynamoState,
    queue: SqsQueue,
    alerts: SnsAlerts,
    secrets: aws_sdk_secretsmanager::Client,
    wired: Mutex<Option<Arc<Wired>>>,
    /// Outlives the wiring, which is made anew now and then.
    process_memory: ProcessMemory,
}

/// A function's wiring: connections to both sides, and what `syncline apply --stack` stored.
pub struct Wired {
    /// [`AppliedConfig::revision`] of what this wiring was made from.
    revision: String,
    made: Timestamp,
    pool: Pool,
    /// The ports of `syncline-sync`.
    pub runtime: AwsRuntime,
    /// The definitions of the syncs that are served.
    pub definitions: Vec<Definition>,
    /// How often poll looks at the capture log (parameter `LogInterval` of the template).
    pub log_interval: Duration,
}

impl Wired {
    /// The metrics of the connections: the share of Salesforce calls used, where Salesforce has told it, and
    /// a refused sign-in, where there was one.
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
    /// Reads the environment and makes the AWS clients; connects to neither side yet. `program` becomes part
    /// of the user agent of all calls to AWS.
    ///
    /// # Errors
    /// When the environment lacks a variable that the template sets.
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
            process_memory: ProcessMemory::default(),
        })
    }

    /// The state store on DynamoDB.
    #[must_use]
    pub fn state(&self) -> &DynamoState {
        &self.state
    }

    /// The queue of touches on SQS.
    #[must_use]
    pub fn queue(&self) -> &SqsQueue {
        &self.queue
    }

    /// Begins an invocation: messages that are sent from now on carry its X-Ray trace header, if it has one.
    pub fn begin(&self, trace: Option<String>) {
        self.queue.set_trace(trace);
    }

    /// Writes metrics to the function's log, from which CloudWatch reads them. Writes nothing where there are
    /// none.
    #[expect(clippy::print_stdout, reason = "the embedded metric format is a line of the function's output")]
    pub fn emit(&self, metrics: &[(Metric, f64)]) {
        if !metrics.is_empty() {
            println!("{}", metric_line(&self.environment.instance, Timestamp::now(), metrics));
        }
    }

    /// The secret that the address which Salesforce calls has to contain; empty where the secret has no text
    /// value.
    ///
    /// # Errors
    /// When the environment names no ingest secret, or Secrets Manager does not answer or refuses.
    pub async fn ingest_secret(&self) -> Result<SecretString, PortError> {
        let secret = self.secret(self.environment.ingest_secret.as_deref(), Stage::Current).await?;
        Ok(secret.unwrap_or_default())
    }

    /// What `syncline apply --stack` stored: `known` if nothing changed since it was read, else read again;
    /// `None` where nothing was applied yet. An unchanged answer costs one read of a small item.
    ///
    /// # Errors
    /// When DynamoDB does not answer, or a newer release stored settings that this release cannot read.
    pub async fn applied(
        &self,
        known: Option<Arc<AppliedConfig>>,
    ) -> Result<Option<Arc<AppliedConfig>>, PortError> {
        let revision = self.state.applied_revision().await?;
        match known {
            Some(known) if revision.as_deref() == Some(&known.revision) => Ok(Some(known)),
            _ => Ok(self.state.applied().await?.map(Arc::new)),
        }
    }

    /// The wiring for what is applied at this moment; `None` where nothing was applied yet. The wiring is
    /// made again when something else was applied, and when a side has refused the secret and the wiring is
    /// older than 10 seconds.
    ///
    /// # Errors
    /// When DynamoDB or Secrets Manager does not answer, when a secret does not have the form that the
    /// settings ask for, or when a newer release stored settings that this release cannot read.
    pub async fn ready(&self) -> Result<Option<Arc<Wired>>, PortError> {
        let mut wired = self.wired.lock().await;
        let revision = self.state.applied_revision().await?;
        if let Some(known) = &*wired {
            let stale = known.was_refused() && known.made + RENEW_EVERY < Timestamp::now();
            if revision.as_deref() == Some(&known.revision) && !stale {
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
            message: "the environment lacks the name of a secret; deploy template.yaml, which sets it"
                .to_owned(),
        })?;
        read_secret(&self.secrets, name, stage).await
    }

    async fn wire(&self, applied: AppliedConfig) -> Result<Wired, PortError> {
        let AppliedConfig { revision, settings, definitions } = applied;
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
            clock: SystemClock,
            random: SystemRandom::new(),
            steps: NoSteps,
            process_memory: self.process_memory.clone(),
            settings: Settings {
                instance: settings.instance,
                lease,
                look_back: SignedDuration::from_secs(settings.look_back_s),
                daily_calls: Some(settings.daily_calls),
                key,
            },
        };
        let log_interval = self.environment.log_interval;
        Ok(Wired { revision, made: Timestamp::now(), pool, runtime, definitions, log_interval })
    }

    /// A client of the Salesforce side. The versions of the secret are tried in the order of [`Stage::ALL`]:
    /// the first one that Salesforce does not refuse is used, or the current one if Salesforce refuses all.
    async fn salesforce(
        &self,
        settings: &InstanceSettings,
        lease: SignedDuration,
    ) -> Result<Client, PortError> {
        let call = Duration::try_from(longest_call(lease)).unwrap_or(LONGEST_CALL).min(LONGEST_CALL);
        let mut current = None;
        for stage in Stage::ALL {
            let name = self.environment.salesforce_secret.as_deref();
            let Some(secret) = self.secret(name, stage).await? else { continue };
            let client = match Credentials::from_json(settings.auth, &secret) {
                Ok(credentials) => Client::new(&settings.login_url, &settings.api_version, credentials, call)
                    .map_err(|error| PortError::Store { message: error.to_string() })?
                    .with(settings.writes()),
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
            tracing::warn!(
                stage = stage.word(),
                "Salesforce refuses to sign in with this version of the secret"
            );
            current = current.or(Some(client));
        }
        current.ok_or_else(|| PortError::Store {
            message: "the Salesforce secret has no text value; store one with \
                      `aws secretsmanager put-secret-value`"
                .to_owned(),
        })
    }

    /// A pool of connections to the database, and the database's host and port. The versions of the secret
    /// are tried in the order of [`Stage::ALL`]: the first one that PostgreSQL does not refuse is used, or
    /// the current one if PostgreSQL refuses all.
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
            tracing::warn!(
                stage = stage.word(),
                "PostgreSQL refuses to connect with this version of the secret"
            );
            current = current.or(Some(made));
        }
        current.ok_or_else(|| PortError::Store {
            message: "the Postgres secret has no text value; store one with \
                      `aws secretsmanager put-secret-value`"
                .to_owned(),
        })
    }
}

/// The database's address and TLS mode, from the secret and from the stored settings.
fn database_settings(
    secret: &SecretString,
    settings: &InstanceSettings,
) -> Result<ConnectionSettings, String> {
    let address = postgres_address(secret, &settings.whereabouts)?;
    let sslmode = settings.sslmode.as_deref().map(str::parse).transpose();
    let sslmode = sslmode.map_err(|error: syncline_postgres::DatabaseError| error.to_string())?;
    ConnectionSettings::parse(address.expose_secret(), sslmode).map_err(|error| error.to_string())
}

/// Derives the key of the fingerprints from a secret's text, which may have any length and any characters.
/// The key is BLAKE3's key derivation of the text, so the same text always gives the same key.
#[must_use]
pub fn fingerprint_key(secret: &SecretString) -> FingerprintKey {
    FingerprintKey::new(blake3::derive_key(
        "syncline 2026 fingerprint key",
        secret.expose_secret().as_bytes(),
    ))
}
