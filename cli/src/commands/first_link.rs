//! A sync that is applied for the first time, with records on both sides: nothing tells which of them are the same, and
//! so each side would get all those of the other.

use crate::failure::Failure;
use crate::instance::{Connected, Home};
use syncline_engine::Definition;
use syncline_postgres::{Connection, describe_table, quote};

/// What to do about a first link of two sides that both hold records without a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstLinks {
    /// Stop and say what would be created.
    Stop,
    /// Create each record on the other side.
    Create,
}

/// How many records without a link the two sides of a sync hold.
struct Unlinked {
    rows: u64,
    records: u64,
}

impl<H: Home> Connected<H> {
    /// Refuses syncs that are new and would create records on both sides. The error names them all, with numbers.
    pub(super) async fn check_first_links(
        &self,
        definitions: &[Definition],
        applied: &[Definition],
    ) -> Result<(), Failure> {
        let connection = self.pool.get().await?;
        let mut problems = Vec::new();
        for definition in definitions {
            let same = |known: &&Definition| {
                known.name == definition.name
                    && known.object == definition.object
                    && (&known.schema, &known.table) == (&definition.schema, &definition.table)
            };
            if applied.iter().find(same).is_some() {
                continue;
            }
            let Unlinked { rows, records } = self.unlinked(&connection, definition).await?;
            if rows > 0 && records > 0 {
                problems.push(self.both_filled(definition, &Unlinked { rows, records }));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(Failure::new(problems.join("\nerror: "))) }
    }

    fn both_filled(&self, definition: &Definition, Unlinked { rows, records }: &Unlinked) -> String {
        let Definition { name, schema, table, object, link, .. } = definition;
        let create = match definition.direction {
            syncline_engine::Direction::Both => {
                format!("create {rows} records of {object} and {records} rows")
            }
            syncline_engine::Direction::ToPostgres => format!("create {records} rows"),
            syncline_engine::Direction::ToSalesforce => format!("create {rows} records of {object}"),
        };
        let pairs = if definition.link_table {
            String::new()
        } else {
            format!("write the Salesforce Id of each row that has a record into the column {link}, or ")
        };
        format!(
            "sync.{name}: {schema}.{table} holds {rows} rows without a link, and Salesforce holds {records} records of \
             {object} without a row. Nothing tells which of them are the same, so Syncline would {create}. If that is \
             wrong, {pairs}empty one side. If that is right, run the command again with --create-on-both-sides"
        )
    }

    /// Counts what is not linked. A row with an Id in its link is linked, and so is the record of that Id.
    async fn unlinked(&self, connection: &Connection, definition: &Definition) -> Result<Unlinked, Failure> {
        let Some(table) = describe_table(connection, &definition.schema, &definition.table).await? else {
            return Ok(Unlinked { rows: 0, records: 0 });
        };
        let linked = match table.column(&definition.link) {
            Some(_) if !definition.link_table => format!("count({})", quote(&definition.link)),
            _ => "0::bigint".to_owned(),
        };
        let sql = format!(
            "SELECT count(*), {linked} FROM {}.{}",
            quote(&definition.schema),
            quote(&definition.table)
        );
        let row = connection.query_one(&sql, &[]).await?;
        let (all, linked): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        let rows = u64::try_from(all - linked).unwrap_or(0);
        if rows == 0 {
            return Ok(Unlinked { rows, records: 0 });
        }
        let records = self.client.count(&definition.object).await?;
        Ok(Unlinked { rows, records: records.saturating_sub(u64::try_from(linked).unwrap_or(0)) })
    }
}
