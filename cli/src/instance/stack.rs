//! An instance in a stack in AWS: what commands with `--stack` read and write there.

use super::{Found, Home, outbound_address};
use crate::failure::Failure;
use jiff::SignedDuration;
use secrecy::SecretString;
use syncline_aws::{
    DynamoState, InstanceSettings, SETTINGS_FORM, SqsQueue, Stack, StackOperator, Stage, Whereabouts,
    postgres_address, read_secret, sdk_config,
};
use syncline_config::Config;
use syncline_postgres::{Connection, DatabaseIdentity};
use syncline_sync::{Pause, PauseCause, State as _};

/// How long before the applier's time-out the lease of a run has to end, so that the run can still store its
/// results.
const MARGIN: SignedDuration = SignedDuration::from_secs(5);

/// A stack that was found, with clients for its table, its queues and its secrets.
pub(crate) struct OpenStack {
    stack: Stack,
    operator: StackOperator,
    secrets: aws_sdk_secretsmanager::Client,
}

impl OpenStack {
    /// Finds the stack, with the AWS credentials and the region of the environment. Refuses a stack whose
    /// instance is not that of the configuration.
    pub(crate) async fn open(config: &Config, name: &str) -> Result<Self, Failure> {
        let sdk = sdk_config("syncline-cli").await;
        if sdk.region().is_none() {
            return Err(Failure::new(
                "no AWS region is set; set AWS_REGION to a region, or AWS_PROFILE to a profile that has a region",
            ));
        }
        let stack = Stack::find(&sdk, name).await?;
        let instance = stack.output("Instance")?;
        if instance != config.instance {
            return Err(Failure::new(format!(
                "stack {name} is instance {instance}, but the configuration file is for instance {}; set instance = \"{instance}\" in the file, or name another stack with --stack",
                config.instance
            )));
        }
        let queue = |url: &str| SqsQueue::new(aws_sdk_sqs::Client::new(&sdk), url);
        Ok(Self {
            operator: StackOperator {
                state: DynamoState::new(aws_sdk_dynamodb::Client::new(&sdk), stack.output("StateTable")?),
                queue: queue(stack.output("TouchQueueUrl")?),
                dead: queue(stack.output("DeadLetterQueueUrl")?),
            },
            secrets: aws_sdk_secretsmanager::Client::new(&sdk),
            stack,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.stack.name
    }

    /// Reads the secret that this output of the stack names. Answers the secret, and its name for messages.
    pub(crate) async fn secret(&self, output: &str) -> Result<(SecretString, String), Failure> {
        let name = self.stack.output(output)?;
        let secret = read_secret(&self.secrets, name, Stage::Current).await?;
        let found = format!("secret {name}");
        match secret {
            Some(secret) => Ok((secret, found)),
            None => Err(Failure::new(format!(
                "{found} has no text value; give it one with `aws secretsmanager put-secret-value --secret-id {name} --secret-string VALUE`"
            ))),
        }
    }
}

impl Home for OpenStack {
    type Operator = StackOperator;
    type State = DynamoState;

    fn option(&self) -> String {
        format!(" --stack {}", self.name())
    }

    async fn operator(&self, _: &Config) -> Result<StackOperator, Failure> {
        std::future::ready(Ok(self.operator.clone())).await
    }

    async fn state(&self, _: &Config) -> Result<DynamoState, Failure> {
        std::future::ready(Ok(self.operator.state.clone())).await
    }

    async fn salesforce_secret(&self, _: &Config) -> Result<Found, Failure> {
        self.secret("SalesforceSecret").await
    }

    async fn postgres_address(&self, config: &Config) -> Result<Found, Failure> {
        let (secret, found) = self.secret("PostgresSecret").await?;
        let address = postgres_address(&secret, &whereabouts(config))
            .map_err(|message| Failure::new(format!("{found}: {message}")))?;
        Ok((address, found))
    }

    async fn install(
        &self,
        config: &Config,
        _: &mut Connection,
        organization_id: &str,
        identity: &DatabaseIdentity,
    ) -> Result<(), Failure> {
        let seconds: i64 = self.stack.output("ApplierTimeout")?.parse().unwrap_or(0);
        let longest = SignedDuration::from_secs(seconds) - MARGIN;
        if config.timing.lease > longest {
            return Err(Failure::new(format!(
                "timing.lease is {:#}, so a run could last longer than the applier's time-out of {seconds}s; set timing.lease to {:#} or less, or deploy the stack again with a longer ApplierTimeout",
                config.timing.lease, longest
            )));
        }
        let settings = InstanceSettings {
            form: SETTINGS_FORM,
            instance: config.instance.clone(),
            login_url: config.salesforce.login_url.clone(),
            auth: config.salesforce.auth,
            api_version: config.salesforce.api_version.clone(),
            daily_calls: config.salesforce.daily_calls,
            batch_size: Some(config.salesforce.writes.batch_size),
            duplicates: config.salesforce.writes.duplicates,
            lease_s: config.timing.lease.as_secs().max(1),
            look_back_s: config.timing.look_back.as_secs(),
            sslmode: config.postgres.sslmode.clone(),
            whereabouts: whereabouts(config),
            organization_id: organization_id.to_owned(),
            identity: identity.clone(),
            syncs: config.syncs.iter().map(|sync| sync.name.clone()).collect(),
        };
        Ok(self.operator.state.put_settings(&settings).await?)
    }

    async fn serve_only(&self, _: &Config) -> Result<(), Failure> {
        // The settings that `install` stored name the syncs that are served.
        std::future::ready(Ok(())).await
    }

    fn taken_up(&self) -> &'static str {
        "the functions take this up with their next call"
    }

    async fn before_bases_are_forgotten(&self) -> Result<(), Failure> {
        let Some(applied) = self.operator.state.applied().await? else {
            return Err(Failure::new(format!(
                "nothing is applied in stack {0} yet; run `syncline apply --stack {0}`",
                self.name()
            )));
        };
        for sync in &applied.settings.syncs {
            if self.operator.state.paused(sync).await?.is_none() {
                let message =
                    "`syncline state rebuild` is under way; if that command was interrupted, run it again";
                let pause = Pause { cause: PauseCause::Rebuild, message: message.to_owned() };
                self.operator.state.put_paused(sync, Some(&pause)).await?;
            }
        }
        let wait = SignedDuration::from_secs(applied.settings.lease_s) + MARGIN;
        println!("all syncs are paused; waiting {wait:#}, within which every run that has begun ends");
        tokio::time::sleep(std::time::Duration::try_from(wait).unwrap_or_default()).await;
        Ok(())
    }

    async fn endpoint(&self, _: &Config) -> Result<String, Failure> {
        let Some(url) = self.stack.optional("IngestUrl") else {
            return Err(Failure::new(format!(
                "stack {} was deployed with IngestAddress=none, so it receives no outbound messages, and catch-up alone finds changes in Salesforce; to get an address, deploy the stack again with IngestAddress=url",
                self.name()
            )));
        };
        let (secret, _) = self.secret("IngestSecret").await?;
        Ok(outbound_address(url, &secret))
    }
}

fn whereabouts(config: &Config) -> Whereabouts {
    let postgres = &config.postgres;
    Whereabouts { host: postgres.host.clone(), port: postgres.port, database: postgres.database.clone() }
}
