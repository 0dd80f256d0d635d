//! An instance with connections to both sides, as `apply`, `serve` and `state` need it.

use super::{Home, Target};
use crate::failure::Failure;
use syncline_postgres::{Pool, read_identity};
use syncline_salesforce::{Client, Credentials, LONGEST_CALL, SalesforceError};
use syncline_sync::{Binding, longest_call};

/// An instance with connections to both sides.
pub(crate) struct Connected<H> {
    pub(crate) target: Target<H>,
    pub(crate) pool: Pool,
    pub(crate) client: Client,
    pub(crate) organization_id: String,
    /// Host and port of the database.
    pub(crate) host: String,
}

async fn connected_database<H: Home>(target: &Target<H>) -> Result<(Pool, String), Failure> {
    let (pool, host, found) = target.pool_and_host().await?;
    match pool.get().await {
        Ok(_) => Ok((pool, host)),
        Err(error) => Err(Failure::new(format!("{error}; check {found}"))),
    }
}

async fn connected_salesforce<H: Home>(target: &Target<H>) -> Result<(Client, String), Failure> {
    let (secret, found) = target.home.salesforce_secret(&target.config).await?;
    let config = &target.config;
    let credentials = Credentials::from_json(config.salesforce.auth, &secret)
        .map_err(|error| Failure::about(format!("{found}: {error}"), error))?;
    let call = longest_call(config.timing.lease);
    let call = std::time::Duration::try_from(call).unwrap_or(LONGEST_CALL).min(LONGEST_CALL);
    let client =
        Client::new(&config.salesforce.login_url, &config.salesforce.api_version, credentials, call)?
            .with(config.salesforce.writes);
    match client.organization_id().await {
        Ok(organization_id) => Ok((client, organization_id)),
        Err(error) => Err(Failure::new(format!("{error}; check salesforce.login_url and {found}"))),
    }
}

impl<H: Home> Connected<H> {
    /// Connects to both sides. If both fail, the error names both reasons.
    pub(crate) async fn connect(target: Target<H>) -> Result<Self, Failure> {
        let mut failures: Vec<String> = Vec::new();
        let mut noted = |failure: Failure| failures.push(failure.to_string());
        let database = connected_database(&target).await.map_err(&mut noted).ok();
        let salesforce = connected_salesforce(&target).await.map_err(&mut noted).ok();
        match (database, salesforce) {
            (Some((pool, host)), Some((client, organization_id))) => {
                Ok(Self { target, pool, client, organization_id, host })
            }
            _ => Err(Failure::new(failures.join("\nerror: "))),
        }
    }

    /// Refuses another org or another database than those to which the instance is bound, because Syncline
    /// would write to somebody else's data.
    pub(crate) async fn check_binding(&self, binding: Option<&Binding>) -> Result<(), Failure> {
        let Some(row) = binding else { return Ok(()) };
        let mut problems = Vec::new();
        if row.organization_id != self.organization_id {
            let (expected, found) = (row.organization_id.clone(), self.organization_id.clone());
            problems.push(SalesforceError::OtherOrg { expected, found }.to_string());
        }
        let connection = self.pool.get().await?;
        let here = read_identity(&connection, &self.host).await?;
        let expected = row.identity.as_ref();
        problems.extend(expected.and_then(|expected| here.mismatch(expected, &self.target.instance.0)));
        if problems.is_empty() { Ok(()) } else { Err(Failure::new(problems.join("\nerror: "))) }
    }
}
