//! A stack in AWS, as the command line sees it.

use crate::failure::Failure;
use crate::place::Binding;
use jiff::SignedDuration;
use secrecy::{ExposeSecret, SecretString};
use syncline_aws::{
    DynamoState, InstanceSettings, SETTINGS_FORM, SqsQueue, Stack, Stage, Whereabouts, postgres_address,
    read_secret, sdk_config,
};
use syncline_config::Config;
use syncline_engine::Definition;
use syncline_postgres::Identity;
use syncline_sync::{Overview, State as _};

/// A run has to end so long before the applier's time-out: it stores what it did.
const MARGIN: SignedDuration = SignedDuration::from_secs(5);

/// A stack with clients for what is in it.
pub(crate) struct OpenStack {
    stack: Stack,
    pub(crate) state: DynamoState,
    pub(crate) queue: SqsQueue,
    pub(crate) dead: SqsQueue,
    secrets: aws_sdk_secretsmanager::Client,
}

impl OpenStack {
    /// Finds the stack, with the credentials and the region of the environment.
    pub(crate) async fn open(config: &Config, name: &str) -> Result<Self, Failure> {
        let sdk = sdk_config("syncline-cli").await;
        if sdk.region().is_none() {
            return Err(Failure::new(
                "no AWS region is set; set AWS_REGION, or AWS_PROFILE to a profile that has one",
            ));
        }
        let stack = Stack::find(&sdk, name).await?;
        let instance = stack.output("Instance")?;
        if instance != config.instance {
            return Err(Failure::new(format!(
                "stack {name} is instance {instance}, and the configuration is of instance {}; set instance = \"{instance}\" in it, or name another stack",
                config.instance
            )));
        }
        let queue = |url: &str| SqsQueue::new(aws_sdk_sqs::Client::new(&sdk), url);
        Ok(Self {
            state: DynamoState::new(aws_sdk_dynamodb::Client::new(&sdk), stack.output("StateTable")?),
            queue: queue(stack.output("TouchQueueUrl")?),
            dead: queue(stack.output("DeadLetterQueueUrl")?),
            secrets: aws_sdk_secretsmanager::Client::new(&sdk),
            stack,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.stack.name
    }

    /// A secret of the stack, and what it is called.
    pub(crate) async fn secret(&self, output: &str) -> Result<(SecretString, String), Failure> {
        let name = self.stack.output(output)?;
        let secret = read_secret(&self.secrets, name, Stage::Current).await?;
        let found = format!("secret {name}");
        match secret {
            Some(secret) => Ok((secret, found)),
            None => Err(Failure::new(format!(
                "{found} has no text value; put one with `aws secretsmanager put-secret-value`"
            ))),
        }
    }

    /// The database's address.
    pub(crate) async fn postgres_address(&self, config: &Config) -> Result<(SecretString, String), Failure> {
        let (secret, found) = self.secret("PostgresSecret").await?;
        let address = postgres_address(&secret, &whereabouts(config))
            .map_err(|message| Failure::new(format!("{found}: {message}")))?;
        Ok((address, found))
    }

    pub(crate) async fn binding(&self) -> Result<Option<Binding>, Failure> {
        let applied = self.state.applied().await?;
        Ok(applied.map(|applied| Binding {
            organization_id: applied.settings.organization_id,
            identity: Some(applied.settings.identity),
        }))
    }

    pub(crate) async fn definitions(&self) -> Result<Vec<Definition>, Failure> {
        Ok(self.state.applied().await?.map(|applied| applied.definitions).unwrap_or_default())
    }

    pub(crate) async fn install(
        &self,
        config: &Config,
        organization_id: &str,
        identity: &Identity,
    ) -> Result<(), Failure> {
        let seconds: i64 = self.stack.output("ApplierTimeout")?.parse().unwrap_or(0);
        let longest = SignedDuration::from_secs(seconds) - MARGIN;
        if config.serve.lease > longest {
            return Err(Failure::new(format!(
                "serve.lease is {:#}, and a run of it would not end within the applier's time-out of {seconds}s; set serve.lease to {:#} or less, or deploy with a longer ApplierTimeout",
                config.serve.lease, longest
            )));
        }
        let settings = InstanceSettings {
            v: SETTINGS_FORM,
            instance: config.instance.clone(),
            login_url: config.salesforce.login_url.clone(),
            auth: config.salesforce.auth,
            api_version: config.salesforce.api_version.clone(),
            daily_calls: config.salesforce.daily_calls,
            lease_s: config.serve.lease.as_secs().max(1),
            look_back_s: config.serve.look_back.as_secs(),
            sslmode: config.postgres.sslmode.clone(),
            whereabouts: whereabouts(config),
            organization_id: organization_id.to_owned(),
            identity: identity.clone(),
            syncs: config.syncs.iter().map(|sync| sync.name.clone()).collect(),
        };
        Ok(self.state.put_settings(&settings).await?)
    }

    /// Forgets all bases. Every sync is paused for it, and runs that are under way have their time to end.
    pub(crate) async fn rebuild(&self) -> Result<u64, Failure> {
        let Some(applied) = self.state.applied().await? else {
            return Err(Failure::new(format!("nothing is applied in stack {} yet", self.name())));
        };
        for sync in &applied.settings.syncs {
            if self.state.paused(sync).await?.is_none() {
                self.state.put_paused(sync, Some("`syncline state rebuild` is under way")).await?;
            }
        }
        let wait = SignedDuration::from_secs(applied.settings.lease_s) + MARGIN;
        println!("syncs are paused; runs under way end within {wait:#}");
        tokio::time::sleep(std::time::Duration::try_from(wait).unwrap_or_default()).await;
        Ok(self.state.rebuild().await?)
    }

    pub(crate) async fn overview(&self, syncs: &[String]) -> Result<Overview, Failure> {
        if self.state.applied_stamp().await?.is_none() {
            return Err(Failure::new(format!(
                "nothing is applied in stack {} yet; run `syncline apply --stack {}`",
                self.name(),
                self.name()
            )));
        }
        let mut overview = self.state.overview(syncs).await?;
        overview.queue = self.queue.depth().await?;
        overview.dead = self.dead.depth().await?;
        Ok(overview)
    }

    pub(crate) async fn endpoint(&self) -> Result<String, Failure> {
        let Some(url) = self.stack.optional("IngestUrl") else {
            return Err(Failure::new(format!(
                "stack {} was deployed with IngestAddress=none: without outbound messages, catch-up alone brings changes",
                self.name()
            )));
        };
        let (secret, _) = self.secret("IngestSecret").await?;
        Ok(format!("{}/salesforce/outbound/{}", url.trim_end_matches('/'), secret.expose_secret()))
    }
}

fn whereabouts(config: &Config) -> Whereabouts {
    let postgres = &config.postgres;
    Whereabouts { host: postgres.host.clone(), port: postgres.port, database: postgres.database.clone() }
}
