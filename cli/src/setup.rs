//! `apply`: what both sides say, whether it fits, and what is made of it.

use crate::failure::Failure;
use crate::runtime::SystemRandom;
use secrecy::ExposeSecret;
use syncline_config::{Auth, Config, Fields, SalesforceSecret, Sync};
use syncline_embedded::{InstanceRow, definitions, install, instance_row, put_definition};
use syncline_engine::{Definition, PostgresType, SalesforceType};
use syncline_postgres::{
    Instance, Pool, Settings, SslMode, add_link, create_table_sql, describe_table, generated_column_name,
    generated_table, has_schema, install_capture, install_schema, quote,
};
use syncline_salesforce::{Client, Credentials, LONGEST_CALL, SalesforceError};
use syncline_sync::define::{
    ColumnDescription, ObjectDescription, TableDescription, Wanted, WantedField, define,
};

/// Connections beside those of the workers, which hold two at a time: polls, scans, ingest.
const CONNECTIONS: usize = 8;

/// Both sides, connected.
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) instance: Instance,
    pub(crate) pool: Pool,
    pub(crate) client: Client,
    pub(crate) organization_id: String,
}

/// What `apply` would make.
pub(crate) struct Inspected {
    pub(crate) definitions: Vec<Definition>,
    notes: Vec<String>,
    create: Vec<String>,
    links: Vec<(String, String, String, bool)>,
}

/// The pool of the configured database.
pub(crate) fn pool(config: &Config) -> Result<Pool, Failure> {
    let secret =
        config.postgres.secret.read().map_err(|error| Failure::new(format!("postgres.secret: {error}")))?;
    let sslmode = config.postgres.sslmode.as_deref().map(str::parse::<SslMode>).transpose()?;
    let settings = Settings::parse(secret.expose_secret(), sslmode).map_err(|error| {
        Failure::new(format!("{} (from {}): {error}", "postgres.secret", config.postgres.secret.place()))
    })?;
    Ok(Pool::new(&settings, CONNECTIONS + 2 * config.serve.workers)?)
}

fn credentials(config: &Config) -> Result<Credentials, Failure> {
    let secret = &config.salesforce.secret;
    let secret = match config.salesforce.auth {
        Auth::Jwt => SalesforceSecret::jwt(secret),
        Auth::ClientCredentials => SalesforceSecret::client_credentials(secret),
    };
    Ok(match secret.map_err(|error| Failure::new(format!("salesforce.secret: {error}")))? {
        SalesforceSecret::Jwt { client_id, username, private_key } => {
            Credentials::Jwt { client_id, username, private_key }
        }
        SalesforceSecret::ClientCredentials { client_id, client_secret } => {
            Credentials::ClientCredentials { client_id, client_secret }
        }
    })
}

impl Setup {
    /// Connects to both sides; what fails on either is said at once.
    pub(crate) async fn connect(config: Config) -> Result<Self, Failure> {
        let mut failures: Vec<String> = Vec::new();
        let pool = match pool(&config) {
            Ok(pool) => match pool.get().await {
                Ok(_) => Some(pool),
                Err(error) => {
                    failures
                        .push(format!("{error}; check postgres.secret ({})", config.postgres.secret.place()));
                    None
                }
            },
            Err(failure) => {
                failures.push(failure.to_string());
                None
            }
        };
        let salesforce = match credentials(&config) {
            Ok(credentials) => {
                // A call ends within two thirds of a lease.
                let call = std::time::Duration::try_from(config.serve.lease * 2 / 3)
                    .unwrap_or(LONGEST_CALL)
                    .min(LONGEST_CALL);
                let (url, version) = (&config.salesforce.login_url, &config.salesforce.api_version);
                let client = Client::new(url, version, credentials, call)?;
                match client.organization_id().await {
                    Ok(organization_id) => Some((client, organization_id)),
                    Err(error) => {
                        failures.push(format!(
                            "{error}; check salesforce.login_url and salesforce.secret ({})",
                            config.salesforce.secret.place()
                        ));
                        None
                    }
                }
            }
            Err(failure) => {
                failures.push(failure.to_string());
                None
            }
        };
        match (pool, salesforce) {
            (Some(pool), Some((client, organization_id))) => {
                let instance = Instance(config.instance.clone());
                Ok(Self { config, instance, pool, client, organization_id })
            }
            _ => Err(Failure::new(failures.join("\nerror: "))),
        }
    }

    /// Asks both sides about every sync, and changes nothing.
    pub(crate) async fn inspect(&self) -> Result<Inspected, Failure> {
        let connection = self.pool.get().await?;
        let mut inspected = Inspected { definitions: vec![], notes: vec![], create: vec![], links: vec![] };
        let mut problems: Vec<String> = Vec::new();
        let mut described: Vec<(&Sync, ObjectDescription, Vec<WantedField>, TableDescription)> = Vec::new();
        let applied = match instance_row(&connection, &self.instance).await? {
            Some(_) => definitions(&connection, &self.instance).await?,
            None => Vec::new(),
        };
        for sync in &self.config.syncs {
            let object = match self.client.describe(&sync.object).await {
                Ok(object) => ObjectDescription::from(&object),
                Err(error) => {
                    let words = match &error {
                        SalesforceError::Refused { .. } => {
                            format!(
                                "Salesforce has no object {}, or this user may not see it ({error})",
                                sync.object
                            )
                        }
                        other => other.to_string(),
                    };
                    problems.push(format!("sync.{}: {words}", sync.name));
                    continue;
                }
            };
            let frozen = applied.iter().find(|known| known.name == sync.name && known.object == sync.object);
            let fields = self.wanted_fields(sync, &object, frozen);
            if !has_schema(&connection, &sync.schema).await? {
                problems.push(format!(
                    "sync.{0}: there is no schema {1} for table {1}.{2}; CREATE SCHEMA {1} first",
                    sync.name, sync.schema, sync.table
                ));
                continue;
            }
            let table = describe_table(&connection, &sync.schema, &sync.table).await?;
            let table = match table {
                Some(table) => table,
                None => match generated(sync, &object, &fields) {
                    Ok((table, sql)) => {
                        inspected.create.push(sql);
                        table
                    }
                    Err(message) => {
                        problems.push(message);
                        continue;
                    }
                },
            };
            let unique = table.unique_columns.contains(&sync.link);
            inspected.links.push((sync.schema.clone(), sync.table.clone(), sync.link.clone(), unique));
            described.push((sync, object, fields, table));
        }
        let parents: Vec<(String, String, usize)> = described
            .iter()
            .map(|(sync, _, _, table)| (sync.name.clone(), sync.object.clone(), table.key.len()))
            .collect();
        for (sync, object, fields, table) in &described {
            let shared = described
                .iter()
                .filter(|(other, ..)| other.schema == sync.schema && other.table == sync.table)
                .count();
            let wanted = Wanted {
                name: sync.name.clone(),
                object: sync.object.clone(),
                schema: sync.schema.clone(),
                table: sync.table.clone(),
                link: sync.link.clone(),
                primary: sync.primary,
                direction: sync.direction,
                on_first_link: sync.on_first_link,
                external_id: self.config.salesforce.external_id.clone(),
                marker: self.config.salesforce.marker.clone(),
                poll_interval_s: u32::try_from(sync.poll_interval.as_secs().max(1)).unwrap_or(u32::MAX),
                fields: fields.clone(),
                table_shared: shared > 1,
                parents: parents.clone(),
            };
            match define(&wanted, object, table) {
                Ok((definition, notes)) => {
                    inspected.definitions.push(definition);
                    inspected.notes.extend(notes.into_iter().map(|note| format!("note: {}", note.message)));
                }
                Err(found) => {
                    problems.extend(found.into_iter().filter(|one| one.fatal).map(|one| one.message));
                }
            }
        }
        if problems.is_empty() { Ok(inspected) } else { Err(Failure::new(problems.join("\nerror: "))) }
    }

    /// The fields of a sync; all of them are those that were there when it was applied first.
    fn wanted_fields(
        &self,
        sync: &Sync,
        object: &ObjectDescription,
        frozen: Option<&Definition>,
    ) -> Vec<WantedField> {
        let ours = [&self.config.salesforce.external_id, &self.config.salesforce.marker];
        if let (Fields::All, Some(frozen)) = (&sync.fields, frozen) {
            let fields = frozen.fields.iter().map(|mapping| WantedField {
                field: mapping.field.clone(),
                column: mapping.column.clone(),
                direction: syncline_engine::Direction::Both,
                lookup: None,
            });
            return fields.collect();
        }
        match &sync.fields {
            Fields::Named(fields) => fields
                .iter()
                .map(|field| WantedField {
                    field: field.field.clone(),
                    column: field.column.clone(),
                    direction: field.direction,
                    lookup: field.lookup.clone(),
                })
                .collect(),
            Fields::All => object
                .fields
                .iter()
                .filter(|field| field.createable && !ours.contains(&&field.name))
                .filter(|field| {
                    !matches!(field.salesforce_type, SalesforceType::Other(_) | SalesforceType::Id)
                })
                .map(|field| WantedField {
                    field: field.name.clone(),
                    column: generated_column_name(&field.name),
                    direction: syncline_engine::Direction::Both,
                    lookup: None,
                })
                .collect(),
        }
    }

    /// Makes what is missing; answers what was done, a line each.
    pub(crate) async fn install(&self, inspected: &Inspected) -> Result<Vec<String>, Failure> {
        let mut done = inspected.notes.clone();
        let mut connection = self.pool.get().await?;
        self.check_binding(instance_row(&connection, &self.instance).await?.as_ref()).await?;
        install_schema(&mut connection, &self.instance).await?;
        let fresh_key = SystemRandom::new().bytes();
        install(&mut connection, &self.instance, &self.organization_id, fresh_key).await?;
        done.push(format!("schema {} is ready", self.instance.schema_name()));
        for sql in &inspected.create {
            connection.batch_execute(sql).await?;
            done.push(sql.lines().next().unwrap_or_default().trim_end_matches(" (").to_owned());
        }
        for (schema, table, link, unique) in &inspected.links {
            add_link(&mut connection, schema, table, link, *unique).await.map_err(|error| {
                Failure::new(format!(
                    "{schema}.{table}: the link column {link} cannot be made unique: {error}"
                ))
            })?;
        }
        for definition in &inspected.definitions {
            install_capture(&mut connection, &self.instance, definition).await.map_err(|error| {
                Failure::new(format!(
                    "sync.{}: capture cannot be installed on {}.{}: {error}",
                    definition.name, definition.schema, definition.table
                ))
            })?;
            let stored = put_definition(&connection, &self.instance, definition).await?;
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

    /// An instance belongs to one org and one database: another one is somebody else's.
    pub(crate) async fn check_binding(&self, row: Option<&InstanceRow>) -> Result<(), Failure> {
        let Some(row) = row else { return Ok(()) };
        if row.organization_id != self.organization_id {
            return Err(Failure::new(format!(
                "instance {} is bound to org {}, and the sign-in leads to org {}; use another instance name for another org",
                self.instance.0, row.organization_id, self.organization_id
            )));
        }
        let connection = self.pool.get().await?;
        let here = connection
            .query_typed(
                "SELECT (SELECT system_identifier::text FROM pg_control_system()), current_database()::text",
                &[],
            )
            .await?;
        let Some(here) = here.first() else { return Ok(()) };
        let (system, name): (String, String) = (here.try_get(0)?, here.try_get(1)?);
        if (&system, &name) != (&row.system_identifier, &row.database_name) {
            return Err(Failure::new(format!(
                "instance {} is bound to database {} of cluster {}, and this is {name} of cluster {system}: a copy of another installation; nothing was written",
                self.instance.0, row.database_name, row.system_identifier
            )));
        }
        Ok(())
    }
}

/// A table that is not there is generated from its object.
fn generated(
    sync: &Sync,
    object: &ObjectDescription,
    fields: &[WantedField],
) -> Result<(TableDescription, String), String> {
    let named: Vec<(String, String)> =
        fields.iter().map(|field| (field.field.clone(), field.column.clone())).collect();
    let columns = generated_table(object, &named).map_err(|refused| {
        format!("sync.{}: no column can keep {}; leave them out", sync.name, refused.join(", "))
    })?;
    if let Some(lookup) = fields.iter().find(|field| field.lookup.is_some()) {
        return Err(format!(
            "sync.{}: table {}.{} is not there, and a generated one keeps the Salesforce Id of {}; create the table yourself for a lookup by key, or leave the lookup out",
            sync.name, sync.schema, sync.table, lookup.field
        ));
    }
    for (place, (name, _)) in columns.iter().enumerate() {
        let taken =
            name == "id" || *name == sync.link || columns[..place].iter().any(|(other, _)| other == name);
        if taken {
            let field =
                named.iter().find(|(_, column)| column == name).map_or("", |(field, _)| field.as_str());
            return Err(format!(
                "sync.{}: {field} would get column {name}, which is taken; name the fields and their columns",
                sync.name
            ));
        }
    }
    let sql = create_table_sql(&sync.schema, &sync.table, &sync.link, &columns);
    let column = |name: &str, kind: &str| {
        let catalog =
            kind.replace("varchar", "character varying").replace("timestamptz", "timestamp with time zone");
        ColumnDescription {
            name: name.to_owned(),
            postgres_type: PostgresType::from_format_type(&catalog),
            cast: catalog.split('(').next().unwrap_or(&catalog).to_owned(),
            not_null: name == "id",
            has_default: name == "id",
            generated: false,
        }
    };
    let mut described = vec![column("id", "bigint"), column(&sync.link, "varchar(18)")];
    described.extend(columns.iter().map(|(name, kind)| column(name, kind)));
    let table = TableDescription {
        schema: sync.schema.clone(),
        table: sync.table.clone(),
        kind: "r".to_owned(),
        row_security: false,
        may_write: true,
        may_trigger: true,
        owner: String::new(),
        role: String::new(),
        owned: true,
        columns: described,
        key: vec!["id".to_owned()],
        unique_columns: vec!["id".to_owned()],
    };
    Ok((table, sql))
}
