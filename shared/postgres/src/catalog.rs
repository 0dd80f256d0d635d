//! What the catalog says of a table.

use crate::connect::Connection;
use crate::error::DatabaseError;
use crate::names::quote;
use syncline_engine::PostgresType;
use syncline_sync::define::{ColumnDescription, TableDescription};
use tokio_postgres::types::Type;

/// Whether a schema is there.
///
/// # Errors
/// When the catalog cannot be read.
pub async fn has_schema(connection: &Connection, schema: &str) -> Result<bool, DatabaseError> {
    let rows = connection
        .query_typed("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[(&schema, Type::TEXT)])
        .await?;
    Ok(!rows.is_empty())
}

/// Describes a table, or answers `None` where there is none.
///
/// # Errors
/// When the catalog cannot be read.
pub async fn describe_table(
    connection: &Connection,
    schema: &str,
    table: &str,
) -> Result<Option<TableDescription>, DatabaseError> {
    let name = format!("{}.{}", quote(schema), quote(table));
    let rows = connection
        .query_typed(
            "SELECT c.oid::int8, c.relkind::text, c.relrowsecurity,
                    has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
                        AND has_table_privilege(c.oid, 'UPDATE'),
                    has_table_privilege(c.oid, 'TRIGGER'),
                    pg_get_userbyid(c.relowner), current_user::text,
                    pg_has_role(current_user, c.relowner, 'USAGE')
             FROM pg_class c WHERE c.oid = to_regclass($1)",
            &[(&name, Type::TEXT)],
        )
        .await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let oid: i64 = row.try_get(0)?;
    let mut description = TableDescription {
        schema: schema.to_owned(),
        table: table.to_owned(),
        kind: row.try_get(1)?,
        row_security: row.try_get(2)?,
        may_write: row.try_get(3)?,
        may_trigger: row.try_get(4)?,
        owner: row.try_get(5)?,
        role: row.try_get(6)?,
        owned: row.try_get(7)?,
        columns: Vec::new(),
        key: Vec::new(),
        unique_columns: Vec::new(),
    };
    let columns = connection
        .query_typed(
            "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), CASE a.atttypid WHEN 'bpchar'::regtype THEN 'bpchar' WHEN 'bit'::regtype THEN 'varbit'
                                    ELSE format_type(a.atttypid, NULL) END,
                    a.attnotnull, a.atthasdef OR a.attidentity <> '', a.attgenerated <> '' OR a.attidentity = 'a'
             FROM pg_attribute a
             WHERE a.attrelid = $1::int8::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            &[(&oid, Type::INT8)],
        )
        .await?;
    for row in columns {
        let type_name: String = row.try_get(1)?;
        description.columns.push(ColumnDescription {
            name: row.try_get(0)?,
            postgres_type: PostgresType::from_format_type(&type_name),
            cast: row.try_get(2)?,
            not_null: row.try_get(3)?,
            has_default: row.try_get(4)?,
            generated: row.try_get(5)?,
        });
    }
    let indexes = connection
        .query_typed(
            "SELECT i.indisprimary, array_agg(a.attname::text ORDER BY k.place)
             FROM pg_index i
             CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place)
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
             WHERE i.indrelid = $1::int8::oid AND i.indisunique AND i.indisvalid AND i.indexprs IS NULL
               AND k.place <= i.indnkeyatts
               AND (i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid) ~ '^\\(\\S+ IS NOT NULL\\)$')
             GROUP BY i.indexrelid, i.indisprimary",
            &[(&oid, Type::INT8)],
        )
        .await?;
    for row in indexes {
        let primary: bool = row.try_get(0)?;
        let columns: Vec<String> = row.try_get(1)?;
        if primary {
            description.key.clone_from(&columns);
        }
        if let [column] = columns.as_slice() {
            description.unique_columns.push(column.clone());
        }
    }
    Ok(Some(description))
}
