//! The instance that a command is about, wherever its state is: in the synced database ([`one_process`]), or in a
//! stack in AWS (`stack`). Commands use the same methods for both.

mod connected;
mod one_process;
#[cfg(feature = "aws")]
mod stack;

pub(crate) use connected::Connected;
pub(crate) use one_process::OneProcess;
#[cfg(feature = "aws")]
pub(crate) use stack::OpenStack;

use crate::failure::Failure;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use syncline_config::Config;
use syncline_postgres::{Connection, ConnectionSettings, DatabaseIdentity, Instance, Pool, SslMode};
use syncline_sync::{Operator, Overview, Pause, State};

/// Connections for polls, scans and ingest. Each worker may hold two more at a time.
const CONNECTIONS: usize = 8;

/// A secret, and in words for messages where it was found.
pub(crate) type Found = (SecretString, String);

/// Where the state and the secrets of an instance are.
pub(crate) trait Home {
    /// What commands read and change.
    type Operator: Operator;
    /// The state store.
    type State: State;

    /// The option that a command in a message needs for this instance: ` --stack NAME`, or nothing in the
    /// one-process mode.
    fn option(&self) -> String;

    /// What commands read and change.
    async fn operator(&self, config: &Config) -> Result<Self::Operator, Failure>;

    /// The state store, where the instance was applied.
    async fn state(&self, config: &Config) -> Result<Self::State, Failure>;

    /// The Salesforce secret.
    async fn salesforce_secret(&self, config: &Config) -> Result<Found, Failure>;

    /// The database's address.
    async fn postgres_address(&self, config: &Config) -> Result<Found, Failure>;

    /// Stores what `apply` needs to have stored first, and binds an instance that is not bound yet.
    async fn install(
        &self,
        config: &Config,
        connection: &mut Connection,
        organization_id: &str,
        identity: &DatabaseIdentity,
    ) -> Result<(), Failure>;

    /// Stores that only the syncs of the configuration are served from now on.
    async fn serve_only(&self, config: &Config) -> Result<(), Failure>;

    /// When what was applied is taken up by what runs, for `apply` to say.
    fn taken_up(&self) -> &'static str;

    /// Sees to it that no run is under way while bases are forgotten.
    async fn before_bases_are_forgotten(&self) -> Result<(), Failure>;

    /// The address to which Salesforce sends outbound messages. It contains a secret.
    async fn endpoint(&self, config: &Config) -> Result<String, Failure>;
}

/// An instance: its configuration, and where its state is.
pub(crate) struct Target<H> {
    pub(crate) config: Config,
    pub(crate) instance: Instance,
    pub(crate) home: H,
}

impl<H: Home> Target<H> {
    pub(crate) fn new(config: Config, home: H) -> Self {
        let instance = Instance(config.instance.clone());
        Self { config, instance, home }
    }

    /// What commands read and change.
    pub(crate) async fn operator(&self) -> Result<H::Operator, Failure> {
        self.home.operator(&self.config).await
    }

    /// A pool of connections to the database, the database's host and port, and in words for messages where
    /// its address was found.
    pub(crate) async fn pool_and_host(&self) -> Result<(Pool, String, String), Failure> {
        let (secret, found) = self.home.postgres_address(&self.config).await?;
        let (pool, host) = pool_of(&self.config, &secret, &found)?;
        Ok((pool, host, found))
    }

    /// A connection to the database.
    pub(crate) async fn connection(&self) -> Result<Connection, Failure> {
        Ok(self.pool_and_host().await?.0.get().await?)
    }

    pub(crate) fn syncs(&self) -> Vec<String> {
        self.config.syncs.iter().map(|sync| sync.name.clone()).collect()
    }

    /// Resumes the syncs that stopped because of another database or org, or because one of them was restored.
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
        let operator = self.operator().await?;
        let mut overview = operator.overview(&self.syncs()).await?;
        if operator.binding().await?.is_none() {
            let option = self.home.option();
            return Err(Failure::new(format!("nothing is applied yet; run `syncline apply{option}`")));
        }
        if overview.log.is_none()
            && let Ok(connection) = self.connection().await
        {
            let sql = format!("SELECT count(*) FROM {}.log", self.instance.schema());
            let rows = connection.query_typed(&sql, &[]).await?;
            let count: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0))?;
            overview.log = u64::try_from(count).ok();
        }
        Ok(overview)
    }

    /// Why a sync is paused, if it is.
    pub(crate) async fn paused(&self, sync: &str) -> Result<Option<Pause>, Failure> {
        Ok(self.home.state(&self.config).await?.paused(sync).await?)
    }

    /// Pauses a sync, or resumes it: then its deferred touches are due.
    pub(crate) async fn put_paused(&self, sync: &str, pause: Option<&Pause>) -> Result<(), Failure> {
        let state = self.home.state(&self.config).await?;
        state.put_paused(sync, pause).await?;
        if pause.is_none() {
            state.make_due(jiff::Timestamp::now(), jiff::SignedDuration::from_secs(5)).await?;
        }
        Ok(())
    }

    /// Lets `count` more through a counter within its window.
    pub(crate) async fn allow(&self, counter: &str, count: u64) -> Result<(), Failure> {
        let state = self.home.state(&self.config).await?;
        Ok(state.allow(counter, count, jiff::Timestamp::now()).await?)
    }
}

/// The address to which Salesforce sends outbound messages: the base of the address, the path, and the secret as one
/// segment of the path.
pub(crate) fn outbound_address(base: &str, secret: &SecretString) -> String {
    /// What a segment of a path may contain as it is (RFC 3986, unreserved characters).
    const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    let secret = utf8_percent_encode(secret.expose_secret(), ENCODED);
    format!("{}/salesforce/outbound/{secret}", base.trim_end_matches('/'))
}

/// A pool of connections to the database at an address, and the database's host and port.
pub(crate) fn pool_of(
    config: &Config,
    address: &SecretString,
    found: &str,
) -> Result<(Pool, String), Failure> {
    let sslmode = config.postgres.sslmode.as_deref().map(str::parse::<SslMode>).transpose()?;
    let settings = ConnectionSettings::parse(address.expose_secret(), sslmode)
        .map_err(|error| Failure::about(format!("{found}: {error}"), error))?;
    let pool = Pool::new(&settings, CONNECTIONS + 2 * config.serve.workers)?;
    Ok((pool, settings.host()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_with_signs_that_mean_something_in_an_address_is_one_segment_of_it() {
        let address = |secret: &str| outbound_address("https://acme.example/", &SecretString::from(secret));
        assert_eq!(address("s3cret-_.~"), "https://acme.example/salesforce/outbound/s3cret-_.~");
        assert_eq!(address("a/b+c=="), "https://acme.example/salesforce/outbound/a%2Fb%2Bc%3D%3D");
        assert_eq!(address("a?b#c%"), "https://acme.example/salesforce/outbound/a%3Fb%23c%25");
    }
}
