//! What there is of capture in the database.

use super::faults::{Fault, faults};
use crate::connect::Connection;
use crate::error::DatabaseError;
use crate::names::{Instance, quote};
use std::collections::BTreeMap;
use syncline_engine::{Definition, SyncName};
use tokio_postgres::types::{ToSql, Type};

/// A table of a sync: the table itself, or one of its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Relation {
    /// The position of the sync's definition.
    pub(super) sync: usize,
    /// The quoted name, with the schema.
    pub(super) name: String,
    /// True if it is the sync's table itself.
    pub(super) root: bool,
    /// True if it is partitioned.
    pub(super) partitioned: bool,
}

/// A trigger that calls a function of the instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FoundTrigger {
    /// The quoted name of the table, with the schema.
    pub(super) table: String,
    /// The trigger's name.
    pub(super) name: String,
    /// `tgenabled`.
    pub(super) mode: String,
    /// `tgtype`.
    pub(super) kind: i16,
    /// True if it has neither a condition nor a list of columns.
    pub(super) unconditional: bool,
    /// The name of the function.
    pub(super) function: String,
    /// True if PostgreSQL gave it to a partition, because the partitioned table has it.
    pub(super) of_parent: bool,
    /// True if the role of the connection owns the table.
    pub(super) owned: bool,
    /// True if the table has had the trigger from its birth: one transaction made both, as it does for a partition that is
    /// created as one. A table that is attached as a partition gets its triggers later than its rows.
    pub(super) from_birth: bool,
}

/// What there is in the database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) relations: Vec<Relation>,
    pub(super) triggers: Vec<FoundTrigger>,
    /// The text of each function of the instance, by name.
    pub(super) functions: BTreeMap<String, String>,
}

/// The tables of the syncs whose names are the texts of `$1`, and their partitions.
const RELATIONS: &str = "WITH tables AS (
        SELECT s.place, to_regclass(s.name)::oid AS root FROM unnest($1::text[]) WITH ORDINALITY AS s(name, place)),
    relations AS (
        SELECT place, root, root AS oid FROM tables WHERE root IS NOT NULL
        UNION SELECT t.place, t.root, p.relid FROM tables t, LATERAL pg_partition_tree(t.root) p WHERE t.root IS NOT NULL)
    SELECT r.place, format('%I.%I', n.nspname, c.relname), r.oid = r.root, c.relkind = 'p'
    FROM relations r JOIN pg_class c ON c.oid = r.oid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') ORDER BY 1, 3 DESC, 2";

/// The triggers on any table that call a function of the schema `$1`.
const TRIGGERS: &str =
    "SELECT format('%I.%I', n.nspname, c.relname), t.tgname::text, t.tgenabled::text, t.tgtype,
        t.tgqual IS NULL AND t.tgattr::text = '', p.proname::text,
        t.tgparentid <> 0, pg_has_role(c.relowner, 'USAGE'),
        EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'ctid' AND a.xmin = t.xmin)
    FROM pg_proc p JOIN pg_namespace s ON s.oid = p.pronamespace AND s.nspname = $1
    JOIN pg_trigger t ON t.tgfoid = p.oid
    JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace";

/// The functions of the schema `$1`. One without the rights of its owner does not count.
const FUNCTIONS: &str = "SELECT p.proname::text, p.prosrc FROM pg_proc p
    JOIN pg_namespace s ON s.oid = p.pronamespace AND s.nspname = $1 WHERE p.prosecdef";

/// Reads what there is of capture. All three statements are sent at once.
pub(super) async fn look(
    connection: &tokio_postgres::Client,
    instance: &Instance,
    definitions: &[Definition],
) -> Result<Found, DatabaseError> {
    let names: Vec<String> =
        definitions.iter().map(|one| format!("{}.{}", quote(&one.schema), quote(&one.table))).collect();
    let schema = instance.schema_name();
    let tables: [(&(dyn ToSql + Sync), Type); 1] = [(&names, Type::TEXT_ARRAY)];
    let schema: [(&(dyn ToSql + Sync), Type); 1] = [(&schema, Type::TEXT)];
    let (relations, triggers, functions) = tokio::try_join!(
        connection.query_typed(RELATIONS, &tables),
        connection.query_typed(TRIGGERS, &schema),
        connection.query_typed(FUNCTIONS, &schema),
    )?;
    let mut found = Found::default();
    for row in relations {
        let place: i64 = row.try_get(0)?;
        found.relations.push(Relation {
            sync: usize::try_from(place).unwrap_or(1) - 1,
            name: row.try_get(1)?,
            root: row.try_get(2)?,
            partitioned: row.try_get(3)?,
        });
    }
    for row in triggers {
        found.triggers.push(FoundTrigger {
            table: row.try_get(0)?,
            name: row.try_get(1)?,
            mode: row.try_get(2)?,
            kind: row.try_get(3)?,
            unconditional: row.try_get(4)?,
            function: row.try_get(5)?,
            of_parent: row.try_get(6)?,
            owned: row.try_get(7)?,
            from_birth: row.try_get(8)?,
        });
    }
    for row in functions {
        found.functions.insert(row.try_get(0)?, row.try_get(1)?);
    }
    Ok(found)
}

/// What is wrong with the capture of each of these syncs, in words. A sync whose capture is whole, or whose table does
/// not exist, is left out.
///
/// # Errors
/// When the catalog cannot be read.
pub async fn gaps(
    connection: &Connection,
    instance: &Instance,
    definitions: &[Definition],
) -> Result<BTreeMap<SyncName, String>, DatabaseError> {
    let found = look(connection, instance, definitions).await?;
    let mut gaps = BTreeMap::new();
    for (place, definition) in definitions.iter().enumerate() {
        let relations = found
            .relations
            .iter()
            .filter(|one| one.sync == place)
            .map(|one| Relation { sync: 0, ..one.clone() });
        let of_sync = Found { relations: relations.collect(), ..found.clone() };
        let mut gaps_of_sync = Vec::new();
        for fault in faults(instance, definition, &of_sync) {
            let loaded = match &fault {
                Fault::NewPartition { table, .. } => has_rows_from_birth(connection, table).await?,
                _ => false,
            };
            if fault.is_gap() || loaded {
                gaps_of_sync.push(fault);
            }
        }
        let faults = gaps_of_sync;
        if !of_sync.relations.is_empty() && !faults.is_empty() {
            let words: Vec<String> = faults.iter().map(|fault| fault.words(instance, definition)).collect();
            gaps.insert(definition.name.clone(), words.join("; "));
        }
    }
    Ok(gaps)
}

/// True if a table holds rows of the very transaction that created it: it was filled first, and then attached as a
/// partition. `table` is its quoted name.
async fn has_rows_from_birth(connection: &Connection, table: &str) -> Result<bool, DatabaseError> {
    let sql = format!(
        "SELECT EXISTS (SELECT FROM ONLY {table} t WHERE t.xmin = (
             SELECT a.xmin FROM pg_attribute a WHERE a.attrelid = to_regclass($1) AND a.attname = 'ctid'))"
    );
    let rows = connection.query_typed(&sql, &[(&table, Type::TEXT)]).await?;
    Ok(rows.first().map_or(Ok(false), |row| row.try_get(0))?)
}
