//! Inserts a row again after its record was undeleted in Salesforce. The row gets the key that it had. The
//! values of columns that are not mapped come from the row's tombstone.

use crate::column::column_value;
use crate::connect::Connection;
use crate::kept::{WrittenRow, kept_texts, written_row};
use crate::names::quote;
use crate::statements::{returned_key, table};
use crate::transaction::{PostgresTransaction, key_columns};
use std::collections::BTreeMap;
use syncline_engine::{FieldMapping, PostgresKey, Side};
use syncline_sync::RowWrite;
use tokio_postgres::types::{ToSql, Type};

/// Inserts a row under the key `write.key`, and answers it. `None` if the row cannot be restored,
/// for instance because another row has the key by now. The caller then inserts the row under a new key.
pub(crate) async fn restore(
    transaction: &PostgresTransaction,
    ordinal: usize,
    write: &RowWrite,
) -> Result<Option<WrittenRow>, tokio_postgres::Error> {
    let definition = &transaction.definition;
    let Some(key) = &write.key else { return Ok(None) };
    let (Ok(connection), Ok(texts), Ok(arrays)) =
        (transaction.connection(), key_columns(definition, key), transaction.key_arrays(&[key]))
    else {
        return Ok(None);
    };
    let (source, join) = transaction.key_join();
    let numbers = vec![0_i32];
    let mut parameters: Vec<(&(dyn ToSql + Sync), Type)> = vec![(&numbers, Type::INT4_ARRAY)];
    parameters.extend(arrays.iter().map(|array| (array as &(dyn ToSql + Sync), Type::TEXT_ARRAY)));
    let sql = format!("SELECT 1 FROM {source} JOIN {} t ON {join}", table(definition));
    if !connection.query_typed(&sql, &parameters).await?.is_empty() {
        return Ok(None);
    }

    let kept = kept_columns(transaction, connection, key).await?;
    let NewRow { columns, values } = new_row(transaction, write, &texts, kept);
    let written: Vec<&FieldMapping> =
        write.fields.keys().filter_map(|field| definition.field(field)).collect();
    let names: Vec<String> = columns.keys().map(|column| quote(column)).collect();
    let expressions: Vec<&str> = columns.values().map(String::as_str).collect();
    let sql = format!(
        "INSERT INTO {table} AS t ({}) OVERRIDING SYSTEM VALUE
         SELECT {} FROM (SELECT 1) one
         LEFT JOIN {}.tombstone d ON d.sync = $2 AND d.postgres_key = $3
         LEFT JOIN LATERAL jsonb_populate_record(NULL::{table}, d.row) r ON true
         RETURNING {}, {}",
        names.join(", "),
        expressions.join(", "),
        transaction.instance.schema(),
        returned_key(definition),
        kept_texts(&written),
        table = table(definition),
    );
    let parameters: [(&(dyn ToSql + Sync), Type); 3] =
        [(&values, Type::TEXT_ARRAY), (&definition.name, Type::TEXT), (&key.0, Type::TEXT)];
    let rows = connection.query_typed(&sql, &parameters).await?;
    rows.first().map(|row| written_row(ordinal, row, 0, &written)).transpose()
}

/// The row to insert. `columns` maps the name of each column to a SQL expression for its value. `values` are
/// the texts that the expressions take from the parameter `$1`.
struct NewRow {
    columns: BTreeMap<String, String>,
    values: Vec<Option<String>>,
}

/// The columns that the row's tombstone has and the table still has, with SQL expressions for their values.
/// Generated columns are left out.
async fn kept_columns(
    transaction: &PostgresTransaction,
    connection: &Connection,
    key: &PostgresKey,
) -> Result<BTreeMap<String, String>, tokio_postgres::Error> {
    let definition = &transaction.definition;
    let name = format!("{}.{}", quote(&definition.schema), quote(&definition.table));
    let sql = format!(
        "SELECT a.attname::text, t.row -> a.attname::text IS NOT NULL FROM pg_attribute a
         LEFT JOIN {}.tombstone t ON t.sync = $2 AND t.postgres_key = $3
         WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''",
        transaction.instance.schema()
    );
    let known: [(&(dyn ToSql + Sync), Type); 3] =
        [(&name, Type::TEXT), (&definition.name, Type::TEXT), (&key.0, Type::TEXT)];
    let mut columns: BTreeMap<String, String> = BTreeMap::new();
    for row in connection.query_typed(&sql, &known).await? {
        let column: String = row.try_get(0)?;
        if row.try_get(1)? {
            columns.insert(column.clone(), format!("r.{}", quote(&column)));
        }
    }
    Ok(columns)
}

/// The row to insert. `columns` are those of [`kept_columns`], with their values from the tombstone. Key
/// columns, mapped columns that are written to Postgres, and the link column get another value. `texts` are
/// those of the key columns.
fn new_row(
    transaction: &PostgresTransaction,
    write: &RowWrite,
    texts: &[String],
    mut columns: BTreeMap<String, String>,
) -> NewRow {
    let definition = &transaction.definition;
    let mut values: Vec<Option<String>> = Vec::new();
    let next = |values: &mut Vec<Option<String>>, value: Option<String>| {
        values.push(value);
        format!("($1::text[])[{}]", values.len())
    };
    for ((column, cast), text) in definition.key.iter().zip(texts) {
        let value = next(&mut values, Some(text.clone()));
        columns.insert(column.clone(), format!("{value}::{cast}"));
    }
    for mapping in definition.fields.iter().filter(|mapping| definition.writes(mapping, Side::Postgres)) {
        match write.fields.get(&mapping.field) {
            Some(text) => {
                let value = next(&mut values, text.clone());
                columns.insert(mapping.column.clone(), column_value(mapping, &value));
            }
            None if columns.contains_key(&mapping.column) => {
                columns.insert(mapping.column.clone(), "NULL".to_owned());
            }
            None => {}
        }
    }
    if !definition.link_table {
        let value = next(&mut values, write.link.as_ref().map(ToString::to_string));
        columns.insert(definition.link.clone(), value);
    }
    NewRow { columns, values }
}
