//! `apply`: connects to both sides, checks every sync against what both sides describe, and sets up what is
//! missing. Also `state rebind` and `state rebuild`, which need the same connections.

use crate::failure::Failure;
use crate::inspect::{Inspected, LinkColumn};
use crate::target::{Home, Target};
use syncline_postgres::{
    Pool, add_link, add_link_table, install_capture, install_schema, quote, read_identity,
};
use syncline_salesforce::{Client, Credentials, LONGEST_CALL, SalesforceError};
use syncline_sync::{Binding, Operator as _, longest_call};

/// An instance with connections to both sides.
pub(crate) struct Setup<H> {
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
        Client::new(&config.salesforce.login_url, &config.salesforce.api_version, credentials, call)?;
    match client.organization_id().await {
        Ok(organization_id) => Ok((client, organization_id)),
        Err(error) => Err(Failure::new(format!("{error}; check salesforce.login_url and {found}"))),
    }
}

impl<H: Home> Setup<H> {
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

    /// Sets up what is missing and stores the definitions. Answers one line for each thing that was done.
    pub(crate) async fn install(&self, inspected: &Inspected) -> Result<Vec<String>, Failure> {
        let mut done = inspected.notes.clone();
        let mut connection = self.pool.get().await?;
        self.check_binding(self.target.operator().await?.binding().await?.as_ref()).await?;
        install_schema(&mut connection, &self.target.instance).await?;
        let identity = read_identity(&connection, &self.host).await?;
        let home = &self.target.home;
        home.install(&self.target.config, &mut connection, &self.organization_id, &identity).await?;
        let operator = self.target.operator().await?;
        done.push(format!("schema {} is ready", self.target.instance.schema_name()));
        for sql in &inspected.create {
            connection.batch_execute(sql).await?;
            done.push(sql.lines().next().unwrap_or_default().trim_end_matches(" (").to_owned());
        }
        for LinkColumn { schema, table, link, unique, partitioned } in &inspected.links {
            add_link(&mut connection, schema, table, link, *unique, *partitioned).await.map_err(|error| {
                let words = format!(
                    "{schema}.{table}: the link column {link} cannot be added or made unique: {error}; correct this, then run the command again"
                );
                Failure::about(words, error)
            })?;
        }
        for definition in &inspected.definitions {
            if definition.link_table {
                add_link_table(&connection, &self.target.instance, &definition.name).await?;
            }
            install_capture(&mut connection, &self.target.instance, definition).await.map_err(|error| {
                let words = format!(
                    "sync.{}: capture cannot be installed on {}.{}: {error}; correct this, then run the command again",
                    definition.name, definition.schema, definition.table
                );
                Failure::about(words, error)
            })?;
            let stored = operator.put_definition(definition).await?;
            done.push(format!(
                "sync {} is applied: {} = {}.{}, {} fields, definition {}",
                stored.name,
                stored.object,
                quote(&stored.schema).trim_matches('"'),
                stored.table,
                stored.fields.len(),
                stored.version
            ));
        }
        Ok(done)
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

    /// `state rebind`: binds the instance to the org and the database that are connected. Answers the lines
    /// to print.
    pub(crate) async fn rebind(&self) -> Result<Vec<String>, Failure> {
        let connection = self.pool.get().await?;
        let Some(row) = self.target.operator().await?.binding().await? else {
            return Err(Failure::new(format!(
                "nothing is applied yet; run `syncline apply{}`",
                self.target.home.option()
            )));
        };
        let here = read_identity(&connection, &self.host).await?;
        self.target.operator().await?.rebind(&self.organization_id, &here).await?;
        self.target.resume_stopped().await?;
        let was = row.identity.map_or_else(
            || "a database that an earlier release recorded only in part".to_owned(),
            |one| one.to_string(),
        );
        Ok(vec![
            format!("the instance was bound to org {} and {was}", row.organization_id),
            format!("the instance is bound to org {} and {here} from now on", self.organization_id),
        ])
    }

    /// `state rebuild`: forgets all bases; answers how many there were.
    pub(crate) async fn rebuild(&self) -> Result<u64, Failure> {
        self.check_binding(self.target.operator().await?.binding().await?.as_ref()).await?;
        self.target.home.before_bases_are_forgotten().await?;
        let forgotten = self.target.operator().await?.forget_bases().await?;
        self.target.resume_stopped().await?;
        Ok(forgotten)
    }
}
