//! The one-process mode: an instance whose state is in the synced database, and whose secrets the file names.

use super::{Found, Home, outbound_address, pool_of};
use crate::failure::Failure;
use syncline_config::{Config, SecretRef};
use syncline_embedded::{EmbeddedOperator, EmbeddedState, instance_row};
use syncline_postgres::{Connection, DatabaseIdentity, Instance, Pool};
use syncline_process::SystemRandom;

/// The synced database is the instance's home.
pub(crate) struct OneProcess;

fn read(key: &str, secret: &SecretRef) -> Result<Found, Failure> {
    let text = secret.read().map_err(|error| Failure::about(format!("{key}: {error}"), error))?;
    Ok((text, format!("{key} ({})", secret.location())))
}

impl OneProcess {
    async fn pool(&self, config: &Config) -> Result<Pool, Failure> {
        let (address, found) = self.postgres_address(config).await?;
        Ok(pool_of(config, &address, &found)?.0)
    }
}

impl Home for OneProcess {
    type Operator = EmbeddedOperator;
    type State = EmbeddedState;

    fn option(&self) -> String {
        String::new()
    }

    async fn operator(&self, config: &Config) -> Result<EmbeddedOperator, Failure> {
        Ok(EmbeddedOperator::new(self.pool(config).await?, &Instance(config.instance.clone())))
    }

    async fn state(&self, config: &Config) -> Result<EmbeddedState, Failure> {
        let (pool, instance) = (self.pool(config).await?, Instance(config.instance.clone()));
        if instance_row(&pool.get().await?, &instance).await?.is_none() {
            return Err(Failure::new(format!(
                "instance {} is not applied in this database yet; run `syncline apply`",
                config.instance
            )));
        }
        Ok(EmbeddedState::new(pool, &instance))
    }

    async fn salesforce_secret(&self, config: &Config) -> Result<Found, Failure> {
        std::future::ready(read("salesforce.secret", &config.salesforce.secret)).await
    }

    async fn postgres_address(&self, config: &Config) -> Result<Found, Failure> {
        std::future::ready(read("postgres.secret", &config.postgres.secret)).await
    }

    async fn install(
        &self,
        config: &Config,
        connection: &mut Connection,
        organization_id: &str,
        identity: &DatabaseIdentity,
    ) -> Result<(), Failure> {
        let key = SystemRandom::new().bytes();
        let instance = Instance(config.instance.clone());
        syncline_embedded::install(connection, &instance, organization_id, identity, key).await?;
        Ok(())
    }

    async fn serve_only(&self, config: &Config) -> Result<(), Failure> {
        let syncs: Vec<String> = config.syncs.iter().map(|sync| sync.name.clone()).collect();
        Ok(self.operator(config).await?.serve_only(&syncs).await?)
    }

    fn taken_up(&self) -> &'static str {
        "a running `syncline serve` takes this up within 10 seconds"
    }

    async fn before_bases_are_forgotten(&self) -> Result<(), Failure> {
        // A person stops `serve` first, as the command's help says.
        std::future::ready(Ok(())).await
    }

    async fn endpoint(&self, config: &Config) -> Result<String, Failure> {
        let Some(ingest) = &config.ingest else {
            return Err(Failure::new(
                "the configuration has no section [ingest], so `syncline serve` receives no outbound messages, and catch-up alone finds changes in Salesforce; to get an address, add [ingest] with its secret and restart `syncline serve`",
            ));
        };
        let secret =
            ingest.secret.read().map_err(|error| Failure::about(format!("ingest.secret: {error}"), error))?;
        let address = format!(
            "{}\n(YOUR-HOST is the host of your reverse proxy, which forwards calls to {})",
            outbound_address("https://YOUR-HOST", &secret),
            config.serve.listen
        );
        std::future::ready(Ok(address)).await
    }
}
