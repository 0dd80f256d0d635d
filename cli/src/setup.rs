//! `apply`: connects to both sides, checks every sync against what both sides describe, and sets up what is
//! missing. Also `state rebind` and `state rebuild`, which need the same connections.

use crate::failure::Failure;
use crate::target::{Home, Target};
use syncline_config::{Fields, Sync};
use syncline_engine::{Definition, PostgresType, SalesforceType};
use syncline_postgres::{
    Pool, add_link, add_link_table, create_table_sql, describe_table, generated_column_name, generated_table,
    has_schema, install_capture, install_schema, quote, read_identity,
};
use syncline_salesforce::{Client, Credentials, LONGEST_CALL, SalesforceError};
use syncline_sync::define::{Wanted, WantedField, define};
use syncline_sync::describe::{ColumnDescription, ObjectDescription, TableDescription};
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

/// What `apply` found out without changing anything: what it is to store and to create.
pub(crate) struct Inspected {
    pub(crate) definitions: Vec<Definition>,
    /// What the user should know, although it does not stop `apply`.
    notes: Vec<String>,
    /// A CREATE TABLE statement for each table that does not exist.
    create: Vec<String>,
    links: Vec<LinkColumn>,
}

/// A link column that has to exist and to be unique.
struct LinkColumn {
    schema: String,
    table: String,
    link: String,
    /// True if the column is unique already.
    unique: bool,
    partitioned: bool,
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
        .map_err(|error| Failure::new(format!("{found}: {error}")))?;
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

    /// Asks both sides about every sync, and changes nothing. If syncs do not fit, the error names every
    /// problem.
    pub(crate) async fn inspect(&self) -> Result<Inspected, Failure> {
        let connection = self.pool.get().await?;
        let mut inspected = Inspected { definitions: vec![], notes: vec![], create: vec![], links: vec![] };
        let mut problems: Vec<String> = Vec::new();
        let mut described: Vec<(&Sync, ObjectDescription, Vec<WantedField>, TableDescription)> = Vec::new();
        let applied = self.target.operator().await?.definitions().await?;
        for sync in &self.target.config.syncs {
            let object = match self.client.describe(&sync.object).await {
                Ok(object) => ObjectDescription::from(&object),
                Err(error) => {
                    let words = match &error {
                        SalesforceError::Refused { .. } => {
                            format!(
                                "Salesforce has no object {}, or the integration user may not see it ({error}); correct object in the configuration, or give the user access to it",
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
                    "sync.{0}: there is no schema {1} for table {1}.{2}; create it with CREATE SCHEMA {1}, or correct table in the configuration",
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
            if !sync.link_table {
                inspected.links.push(LinkColumn {
                    schema: sync.schema.clone(),
                    table: sync.table.clone(),
                    link: sync.link.clone(),
                    unique,
                    partitioned: table.kind == "p",
                });
            }
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
                deletes: sync.deletes,
                delete_limit: sync.delete_limit,
                link_table: sync.link_table,
                external_id: self.target.config.salesforce.external_id.clone(),
                marker: self.target.config.salesforce.marker.clone(),
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

    /// The fields of a sync. With `fields = "*"`, these are the fields of the definition that was applied
    /// first, or all fields of the object that Syncline can keep if the sync was not applied yet.
    fn wanted_fields(
        &self,
        sync: &Sync,
        object: &ObjectDescription,
        frozen: Option<&Definition>,
    ) -> Vec<WantedField> {
        let ours = [&self.target.config.salesforce.external_id, &self.target.config.salesforce.marker];
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
                Failure::new(format!(
                    "{schema}.{table}: the link column {link} cannot be added or made unique: {error}; correct this, then run the command again"
                ))
            })?;
        }
        for definition in &inspected.definitions {
            if definition.link_table {
                add_link_table(&connection, &self.target.instance, &definition.name).await?;
            }
            install_capture(&mut connection, &self.target.instance, definition).await.map_err(|error| {
                Failure::new(format!(
                    "sync.{}: capture cannot be installed on {}.{}: {error}; correct this, then run the command again",
                    definition.name, definition.schema, definition.table
                ))
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

/// The description of a table that does not exist, and the SQL that creates it with a column for each field.
fn generated(
    sync: &Sync,
    object: &ObjectDescription,
    fields: &[WantedField],
) -> Result<(TableDescription, String), String> {
    let named: Vec<(String, String)> =
        fields.iter().map(|field| (field.field.clone(), field.column.clone())).collect();
    let columns = generated_table(object, &named).map_err(|refused| {
        format!(
            "sync.{}: Syncline cannot sync these fields: {}; leave them out",
            sync.name,
            refused.join(", ")
        )
    })?;
    if let Some(lookup) = fields.iter().find(|field| field.lookup.is_some()) {
        return Err(format!(
            "sync.{}: table {}.{} does not exist, and in a table that Syncline creates, the column of {} would hold Salesforce Ids instead of keys; create the table yourself, or remove lookup from this field",
            sync.name, sync.schema, sync.table, lookup.field
        ));
    }
    for (position, (name, _)) in columns.iter().enumerate() {
        let taken =
            name == "id" || *name == sync.link || columns[..position].iter().any(|(other, _)| other == name);
        if taken {
            let field =
                named.iter().find(|(_, column)| column == name).map_or("", |(field, _)| field.as_str());
            return Err(format!(
                "sync.{0}: {field} would get column {name}, which is used already; choose another column for it in [sync.{0}.fields]",
                sync.name
            ));
        }
    }
    let sql = create_table_sql(&sync.schema, &sync.table, &sync.link, &columns);
    let column = |name: &str, kind: &str| {
        let catalog = if kind == "time" { "time without time zone" } else { kind };
        let catalog = catalog
            .replace("varchar", "character varying")
            .replace("timestamptz", "timestamp with time zone");
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
        hides_rows: false,
        may_delete: true,
        may_write: true,
        may_trigger: true,
        owner: String::new(),
        role: String::new(),
        owned: true,
        captured: false,
        columns: described,
        key: vec!["id".to_owned()],
        unique_columns: vec!["id".to_owned()],
    };
    Ok((table, sql))
}
