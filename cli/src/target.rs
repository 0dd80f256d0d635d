//! An instance, wherever its state is: in the synced database (the one-process mode), or in a stack in AWS.
//! Commands use the same methods for both.

use crate::failure::Failure;
use secrecy::{ExposeSecret, SecretString};
use syncline_config::{Config, SystemRandom};
use syncline_embedded::{EmbeddedState, instance_row};
use syncline_engine::Definition;
use syncline_postgres::{Connection, Identity, Instance, Pool, Settings, SslMode};
use syncline_sync::{DeadLetter, HeldRecord, Overview, Pause, PortError, Rejected, ShownConflict, State};

/// Connections for polls, scans and ingest. Each worker may hold two more at a time.
const CONNECTIONS: usize = 8;

/// The org and the database to which an instance is bound.
pub(crate) struct Binding {
    pub(crate) organization_id: String,
    /// The database's identity. `None` if an earlier release applied the instance, which recorded only a part
    /// of it.
    pub(crate) identity: Option<Identity>,
}

/// An instance: its configuration, and the stack in which its state is, if it is in a stack.
pub(crate) struct Target {
    pub(crate) config: Config,
    pub(crate) instance: Instance,
    #[cfg(feature = "aws")]
    stack: Option<crate::stack::OpenStack>,
}

/// Evaluates the first expression if the instance is in a stack, or else the second, which works on the
/// database.
macro_rules! either {
    ($target:expr, $stack:ident => $there:expr, $here:expr) => {{
        #[cfg(feature = "aws")]
        if let Some($stack) = &$target.stack {
            return Ok($there);
        }
        Ok($here)
    }};
}

impl Target {
    /// The instance of a configuration, with its state in the synced database.
    pub(crate) fn here(config: Config) -> Self {
        let instance = Instance(config.instance.clone());
        Self {
            config,
            instance,
            #[cfg(feature = "aws")]
            stack: None,
        }
    }

    /// The instance of a configuration, with its state in the stack of this name.
    #[cfg(feature = "aws")]
    pub(crate) async fn in_stack(config: Config, name: &str) -> Result<Self, Failure> {
        let stack = crate::stack::OpenStack::open(&config, name).await?;
        let instance = Instance(config.instance.clone());
        Ok(Self { config, instance, stack: Some(stack) })
    }

    /// The option that a command in a message needs for this instance: ` --stack NAME`, or nothing in the
    /// one-process mode.
    pub(crate) fn option(&self) -> String {
        #[cfg(feature = "aws")]
        if let Some(stack) = &self.stack {
            return format!(" --stack {}", stack.name());
        }
        String::new()
    }

    /// The Salesforce secret, and in words for messages where it was found.
    pub(crate) async fn salesforce_secret(&self) -> Result<(SecretString, String), Failure> {
        let secret = &self.config.salesforce.secret;
        either!(self, stack => stack.secret("SalesforceSecret").await?, {
            let text = secret.read().map_err(|error| Failure::new(format!("salesforce.secret: {error}")))?;
            (text, format!("salesforce.secret ({})", secret.location()))
        })
    }

    async fn postgres_secret(&self) -> Result<(SecretString, String), Failure> {
        let secret = &self.config.postgres.secret;
        either!(self, stack => stack.postgres_address(&self.config).await?, {
            let text = secret.read().map_err(|error| Failure::new(format!("postgres.secret: {error}")))?;
            (text, format!("postgres.secret ({})", secret.location()))
        })
    }

    /// A pool of connections to the database, the database's host and port, and in words for messages where
    /// its address was found.
    pub(crate) async fn pool_and_host(&self) -> Result<(Pool, String, String), Failure> {
        let (secret, found) = self.postgres_secret().await?;
        let sslmode = self.config.postgres.sslmode.as_deref().map(str::parse::<SslMode>).transpose()?;
        let settings = Settings::parse(secret.expose_secret(), sslmode)
            .map_err(|error| Failure::new(format!("{found}: {error}")))?;
        let pool = Pool::new(&settings, CONNECTIONS + 2 * self.config.serve.workers)?;
        Ok((pool, settings.host(), found))
    }

    /// A connection to the database.
    pub(crate) async fn connection(&self) -> Result<Connection, Failure> {
        Ok(self.pool_and_host().await?.0.get().await?)
    }

    /// A connection to the database.
    ///
    /// # Errors
    /// Also when the instance was never applied in this database.
    async fn applied_here(&self) -> Result<Connection, Failure> {
        let connection = self.connection().await?;
        if instance_row(&connection, &self.instance).await?.is_none() {
            return Err(Failure::new(format!(
                "instance {} is not applied in this database yet; run `syncline apply`",
                self.config.instance
            )));
        }
        Ok(connection)
    }

    /// The org and the database to which the instance is bound; `None` before the first `apply`.
    pub(crate) async fn binding(&self) -> Result<Option<Binding>, Failure> {
        either!(self, stack => stack.binding().await?, {
            instance_row(&self.connection().await?, &self.instance)
                .await?
                .map(|row| Binding { organization_id: row.organization_id, identity: row.identity })
        })
    }

    /// The definitions that were applied last; none before the first `apply`.
    pub(crate) async fn definitions(&self) -> Result<Vec<Definition>, Failure> {
        either!(self, stack => stack.definitions().await?, {
            let connection = self.connection().await?;
            match instance_row(&connection, &self.instance).await? {
                Some(_) => syncline_embedded::definitions(&connection, &self.instance).await?,
                None => Vec::new(),
            }
        })
    }

    /// Binds the instance to this org and database, if it is not bound yet. In a stack, also stores the
    /// settings that the functions need.
    pub(crate) async fn install(
        &self,
        connection: &mut Connection,
        organization_id: &str,
        identity: &Identity,
    ) -> Result<(), Failure> {
        either!(self, stack => stack.install(&self.config, organization_id, identity).await?, {
            let key = SystemRandom::new().bytes();
            syncline_embedded::install(connection, &self.instance, organization_id, identity, key).await?;
        })
    }

    /// Stores a definition. Answers the stored definition with its version.
    pub(crate) async fn put_definition(
        &self,
        connection: &Connection,
        definition: &Definition,
    ) -> Result<Definition, Failure> {
        either!(
            self,
            stack => stack.state.put_definition(definition).await?,
            syncline_embedded::put_definition(connection, &self.instance, definition).await?
        )
    }

    /// Binds the instance to this org and database, whatever it was bound to before.
    pub(crate) async fn rebind(
        &self,
        connection: &Connection,
        organization_id: &str,
        identity: &Identity,
    ) -> Result<(), Failure> {
        either!(
            self,
            stack => stack.state.rebind(organization_id, identity).await?,
            syncline_embedded::rebind(connection, &self.instance, organization_id, identity).await?
        )
    }

    /// Forgets all bases; answers how many there were.
    pub(crate) async fn rebuild(&self, connection: &Connection) -> Result<u64, Failure> {
        either!(
            self,
            stack => stack.rebuild().await?,
            syncline_embedded::rebuild(connection, &self.instance).await?
        )
    }

    fn syncs(&self) -> Vec<String> {
        self.config.syncs.iter().map(|sync| sync.name.clone()).collect()
    }

    /// Syncs that stopped because of another database or org go on.
    pub(crate) async fn resume_stopped(&self) -> Result<(), Failure> {
        for sync in self.syncs() {
            if self.paused(&sync).await?.is_some_and(|pause| pause.cause.ends_with_rebind()) {
                self.put_paused(&sync, None).await?;
            }
        }
        Ok(())
    }

    /// The numbers that `status` shows. For a stack, the number of rows in the capture log is `None` if the
    /// database cannot be reached from here.
    pub(crate) async fn overview(&self) -> Result<Overview, Failure> {
        either!(self, stack => {
            let mut overview = stack.overview(&self.syncs()).await?;
            if let Ok(connection) = self.connection().await {
                let sql = format!("SELECT count(*) FROM {}.log", self.instance.schema());
                let rows = connection.query_typed(&sql, &[]).await?;
                let count: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0))?;
                overview.log = u64::try_from(count).ok();
            }
            overview
        }, syncline_embedded::overview(&self.applied_here().await?, &self.instance).await?)
    }

    /// The last `limit` conflicts, newest first.
    pub(crate) async fn conflicts(&self, limit: usize) -> Result<Vec<ShownConflict>, Failure> {
        either!(
            self,
            stack => stack.state.conflicts(limit).await?,
            syncline_embedded::conflicts(&self.applied_here().await?, &self.instance, count(limit)).await?
        )
    }

    /// The last `limit` rejected records, newest first.
    pub(crate) async fn rejected(&self, limit: usize) -> Result<Vec<Rejected>, Failure> {
        either!(
            self,
            stack => stack.state.last_rejected(limit).await?,
            syncline_embedded::rejected(&self.applied_here().await?, &self.instance, count(limit)).await?
        )
    }

    /// The last `limit` held records, newest first.
    pub(crate) async fn held(&self, limit: usize) -> Result<Vec<HeldRecord>, Failure> {
        either!(
            self,
            stack => stack.state.last_held(limit).await?,
            syncline_embedded::held(&self.applied_here().await?, &self.instance, count(limit)).await?
        )
    }

    /// The dead letters: messages whose runs crashed five times.
    pub(crate) async fn dead_letters(&self) -> Result<Vec<DeadLetter>, Failure> {
        either!(
            self,
            stack => stack.dead.dead_letters().await?,
            syncline_embedded::dead_letters(&self.applied_here().await?, &self.instance).await?
        )
    }

    /// Moves all dead letters back to the queue; answers how many.
    pub(crate) async fn redrive(&self) -> Result<u64, Failure> {
        either!(
            self,
            stack => stack.dead.redrive(&stack.queue).await?,
            syncline_embedded::redrive(&self.applied_here().await?, &self.instance).await?
        )
    }

    async fn embedded_state(&self) -> Result<EmbeddedState, Failure> {
        drop(self.applied_here().await?);
        Ok(EmbeddedState::new(self.pool_and_host().await?.0, &self.instance))
    }

    /// Why a sync is paused; `None` if it is not paused.
    pub(crate) async fn paused(&self, sync: &str) -> Result<Option<Pause>, Failure> {
        either!(self, stack => stack.state.paused(sync).await?, self.embedded_state().await?.paused(sync).await?)
    }

    /// Pauses a sync with a reason, or resumes it if there is no reason. After a resume, all deferred touches
    /// come due within 5 seconds.
    pub(crate) async fn put_paused(&self, sync: &str, pause: Option<&Pause>) -> Result<(), Failure> {
        async fn put<S: State>(state: &S, sync: &str, pause: Option<&Pause>) -> Result<(), PortError> {
            state.put_paused(sync, pause).await?;
            if pause.is_none() {
                state.make_due(jiff::Timestamp::now(), jiff::SignedDuration::from_secs(5)).await?;
            }
            Ok(())
        }
        either!(
            self,
            stack => put(&stack.state, sync, pause).await?,
            put(&self.embedded_state().await?, sync, pause).await?
        )
    }

    /// Raises a counter's limit by `count` until its window, which begins at this moment, has passed.
    pub(crate) async fn allow(&self, counter: &str, count: u64) -> Result<(), Failure> {
        let now = jiff::Timestamp::now();
        either!(
            self,
            stack => stack.state.allow(counter, count, now).await?,
            self.embedded_state().await?.allow(counter, count, now).await?
        )
    }

    /// The address to which Salesforce has to send its outbound messages. It contains the ingest secret.
    pub(crate) async fn endpoint(&self) -> Result<String, Failure> {
        either!(self, stack => stack.endpoint().await?, {
            let Some(ingest) = &self.config.ingest else {
                return Err(Failure::new(
                    "the configuration has no section [ingest], so `syncline serve` receives no outbound messages, and catch-up alone finds changes in Salesforce; to get an address, add [ingest] with its secret and restart `syncline serve`",
                ));
            };
            let secret = ingest.secret.read().map_err(|error| Failure::new(format!("ingest.secret: {error}")))?;
            format!(
                "https://YOUR-HOST/salesforce/outbound/{}\n(YOUR-HOST is the host of your reverse proxy, which forwards calls to {})",
                secret.expose_secret(),
                self.config.serve.listen
            )
        })
    }
}

fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
