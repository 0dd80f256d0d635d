//! What `apply` finds out without changing anything: how each sync fits both sides, and what has to be created.

use crate::failure::Failure;
use crate::instance::{Connected, Home};
use std::collections::BTreeSet;
use syncline_config::{Fields, Sync};
use syncline_engine::{Definition, PostgresType, SalesforceType};
use syncline_postgres::{
    Connection, create_table_sql, describe_table, generated_column_name, generated_table, has_schema,
};
use syncline_salesforce::SalesforceError;
use syncline_sync::Operator as _;
use syncline_sync::define::{Wanted, WantedField, define};
use syncline_sync::describe::{ColumnDescription, ObjectDescription, TableDescription};

/// What `apply` found out without changing anything: what it is to store and to create.
pub(crate) struct Inspected {
    pub(crate) definitions: Vec<Definition>,
    /// What the user should know, although it does not stop `apply`.
    pub(crate) notes: Vec<String>,
    /// A CREATE TABLE statement for each table that does not exist.
    pub(crate) create: Vec<String>,
    pub(crate) links: Vec<LinkColumn>,
}

/// A link column that has to exist and to be unique.
pub(crate) struct LinkColumn {
    pub(crate) schema: String,
    pub(crate) table: String,
    pub(crate) link: String,
    /// True if the column is unique already.
    pub(crate) unique: bool,
    pub(crate) partitioned: bool,
}

impl Inspected {
    /// The definition of the sync of this name; `None` if the configuration has no such sync.
    pub(crate) fn definition(&self, sync: &str) -> Option<&Definition> {
        self.definitions.iter().find(|definition| definition.name == sync)
    }
}

/// A sync with what both sides say of it.
struct Described<'c> {
    sync: &'c Sync,
    object: ObjectDescription,
    fields: Vec<WantedField>,
    table: TableDescription,
    /// The statement that creates the table, if it does not exist.
    create: Option<String>,
}

impl<H: Home> Connected<H> {
    /// Asks both sides about every sync, and changes nothing. If syncs do not fit, the error names every
    /// problem.
    pub(crate) async fn inspect(&self) -> Result<Inspected, Failure> {
        let connection = self.pool.get().await?;
        let mut problems: Vec<String> = Vec::new();
        let mut described: Vec<Described<'_>> = Vec::new();
        let applied = self.target.operator().await?.definitions().await?;
        for sync in &self.target.config.syncs {
            match self.describe(&connection, sync, &applied).await? {
                Ok(found) => described.push(found),
                Err(problem) => problems.push(problem),
            }
        }
        let mut inspected = Inspected { definitions: vec![], notes: vec![], create: vec![], links: vec![] };
        let links = described.iter().filter(|found| !found.sync.link_table).map(link_column);
        inspected.links.extend(links);
        inspected.create.extend(described.iter().filter_map(|found| found.create.clone()));
        for found in &described {
            match define(&self.wanted(found, &described), &found.object, &found.table) {
                Ok((definition, notes)) => {
                    inspected.definitions.push(definition);
                    inspected.notes.extend(notes.into_iter().map(|note| format!("note: {}", note.message)));
                    if found.object.field("IsDeleted").is_none() {
                        inspected.notes.push(format!(
                            "note: sync.{}: {} has no field IsDeleted, so deletes in Salesforce are not seen",
                            found.sync.name, found.object.name
                        ));
                    }
                }
                Err(found) => {
                    problems.extend(found.into_iter().filter(|one| one.fatal).map(|one| one.message));
                }
            }
        }
        if problems.is_empty() { Ok(inspected) } else { Err(Failure::new(problems.join("\nerror: "))) }
    }

    /// What both sides say of one sync; the inner error is what does not fit.
    async fn describe<'c>(
        &self,
        connection: &Connection,
        sync: &'c Sync,
        applied: &[Definition],
    ) -> Result<Result<Described<'c>, String>, Failure> {
        let object = match self.client.describe(&sync.object).await {
            Ok(object) => {
                let ids = self.client.custom_field_ids(&sync.object).await?;
                ObjectDescription::from(&object).identified(&ids)
            }
            Err(error) => return Ok(Err(format!("sync.{}: {}", sync.name, undescribed(sync, &error)))),
        };
        if object.field("SystemModstamp").is_none() {
            return Ok(Err(format!(
                "sync.{0}: {1} has no field SystemModstamp, by which changes are found, so it cannot be synced; leave the sync {0} out",
                sync.name, object.name
            )));
        }
        let frozen = applied.iter().find(|known| known.name == sync.name && known.object == object.name);
        let fields = self.wanted_fields(sync, &object, frozen);
        if !has_schema(connection, &sync.schema).await? {
            return Ok(Err(format!(
                "sync.{0}: there is no schema {1} for table {1}.{2}; create it with CREATE SCHEMA {1}, or correct table in the configuration",
                sync.name, sync.schema, sync.table
            )));
        }
        let (table, create) = match describe_table(connection, &sync.schema, &sync.table).await? {
            Some(table) => (table, None),
            None => match generated(sync, &object, &fields) {
                Ok((table, sql)) => (table, Some(sql)),
                Err(problem) => return Ok(Err(problem)),
            },
        };
        Ok(Ok(Described { sync, object, fields, table, create }))
    }

    fn wanted(&self, found: &Described<'_>, all: &[Described<'_>]) -> Wanted {
        let sync = found.sync;
        let same_table =
            |other: &&Described<'_>| other.sync.schema == sync.schema && other.sync.table == sync.table;
        let parent = |other: &Described<'_>| {
            (other.sync.name.clone(), other.object.name.clone(), other.table.key.len())
        };
        Wanted {
            name: sync.name.clone(),
            // In Salesforce's own case, which messages bear.
            object: found.object.name.clone(),
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
            fields: found.fields.clone(),
            table_shared: all.iter().filter(same_table).count() > 1,
            parents: all.iter().map(parent).collect(),
        }
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
            // A field that is deleted in Salesforce meanwhile is left out.
            let there = frozen.fields.iter().filter(|mapping| object.field(&mapping.field).is_some());
            let fields = there.map(|mapping| WantedField {
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
            Fields::All => {
                let keepable = object
                    .fields
                    .iter()
                    .filter(|field| field.createable && !ours.contains(&&field.name))
                    .filter(|field| {
                        !matches!(field.salesforce_type, SalesforceType::Other(_) | SalesforceType::Id)
                    });
                all_fields(keepable.map(|field| field.name.as_str()), &sync.link)
            }
        }
    }
}

/// The fields of `fields = "*"`, each with a column of its own: where two fields would get one column, such as `Phone`
/// and `Phone__c`, or a field would get the column of the key or of the link, the name is made longer.
fn all_fields<'f>(names: impl Iterator<Item = &'f str>, link: &str) -> Vec<WantedField> {
    let mut taken = BTreeSet::from(["id".to_owned(), link.to_owned()]);
    let mut fields = Vec::new();
    for name in names {
        let mut column = generated_column_name(name);
        if taken.contains(&column) {
            column.push_str(if name.ends_with("__c") { "_c" } else { "_field" });
        }
        while !taken.insert(column.clone()) {
            column.push('_');
        }
        fields.push(WantedField {
            field: name.to_owned(),
            column,
            direction: syncline_engine::Direction::Both,
            lookup: None,
        });
    }
    fields
}

fn undescribed(sync: &Sync, error: &SalesforceError) -> String {
    match error {
        SalesforceError::Refused { .. } => format!(
            "Salesforce has no object {}, or the integration user may not see it ({error}); correct object in the configuration, or give the user access to it",
            sync.object
        ),
        other => other.to_string(),
    }
}

fn link_column(found: &Described<'_>) -> LinkColumn {
    let Described { sync, table, .. } = found;
    LinkColumn {
        schema: sync.schema.clone(),
        table: sync.table.clone(),
        link: sync.link.clone(),
        unique: table.unique_columns.contains(&sync.link),
        partitioned: table.kind == "p",
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
            number: None,
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
        oid: None,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_all_gets_a_column_of_its_own() {
        let names = ["Phone", "Phone__c", "Id__c", "Salesforce_Id__c", "Title"];
        let columns: Vec<String> =
            all_fields(names.into_iter(), "salesforce_id").into_iter().map(|field| field.column).collect();
        assert_eq!(columns, ["phone", "phone_c", "id_c", "salesforce_id_c", "title"]);
    }
}
