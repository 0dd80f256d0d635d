//! Describes tables from PostgreSQL's system catalogs (PostgreSQL documentation, System Catalogs).

use crate::connect::Connection;
use crate::error::DatabaseError;
use crate::names::quote;
use syncline_engine::PostgresType;
use syncline_sync::describe::{ColumnDescription, TableDescription};
use tokio_postgres::types::Type;

/// True if the database has a schema of this name.
///
/// # Errors
/// When the catalog cannot be read.
pub async fn has_schema(connection: &Connection, schema: &str) -> Result<bool, DatabaseError> {
    let rows = connection
        .query_typed("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[(&schema, Type::TEXT)])
        .await?;
    Ok(!rows.is_empty())
}

/// Describes a table: its columns, its key, and what the role of the connection may do with it. `None` if the
/// database has no relation of this name. A view or a foreign table is described too; `kind` tells it apart.
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
            // Row security never hides rows from a superuser, from a role with BYPASSRLS, or, without FORCE
            // ROW LEVEL SECURITY, from the table's owner (PostgreSQL documentation, Row Security Policies).
            "SELECT c.oid::int8, c.relkind::text,
                    c.relrowsecurity AND NOT (SELECT r.rolsuper OR r.rolbypassrls FROM pg_roles r WHERE r.rolname = current_user)
                        AND (c.relforcerowsecurity OR NOT pg_has_role(current_user, c.relowner, 'USAGE')),
                    has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
                        AND has_table_privilege(c.oid, 'UPDATE'),
                    has_table_privilege(c.oid, 'TRIGGER'),
                    pg_get_userbyid(c.relowner), current_user::text,
                    pg_has_role(current_user, c.relowner, 'USAGE'), has_table_privilege(c.oid, 'DELETE'),
                    EXISTS (SELECT FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
                            WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND p.prosecdef
                              AND pg_has_role(current_user, p.proowner, 'USAGE'))
             FROM pg_class c WHERE c.oid = to_regclass($1)",
            &[(&name, Type::TEXT)],
        )
        .await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let oid: i64 = row.try_get(0)?;
    let mut description = TableDescription {
        oid: u32::try_from(oid).ok(),
        schema: schema.to_owned(),
        table: table.to_owned(),
        kind: row.try_get(1)?,
        hides_rows: row.try_get(2)?,
        may_delete: row.try_get(8)?,
        may_write: row.try_get(3)?,
        may_trigger: row.try_get(4)?,
        owner: row.try_get(5)?,
        role: row.try_get(6)?,
        owned: row.try_get(7)?,
        captured: row.try_get(9)?,
        columns: Vec::new(),
        key: Vec::new(),
        unique_columns: Vec::new(),
    };
    description.columns = columns_of(connection, &name).await?.1;
    for (primary, columns) in unique_indexes_of(connection, oid).await? {
        if primary {
            description.key.clone_from(&columns);
        }
        if let [column] = columns.as_slice() {
            description.unique_columns.push(column.clone());
        }
    }
    Ok(Some(description))
}

/// The oid of the table with this quoted name, and its columns in the order of the table. No oid if there is no such
/// table.
pub(crate) async fn columns_of(
    connection: &Connection,
    table: &str,
) -> Result<(Option<u32>, Vec<ColumnDescription>), tokio_postgres::Error> {
    let columns = connection
        .query_typed(
            // A column of a domain has the domain's base type as its type. The cast names that base type too, and
            // without a length: a cast to a type with a length, or to a domain over one, shortens a text silently,
            // whereas the assignment to the column refuses it (PostgreSQL documentation, Character Types).
            "SELECT a.attname::text, format_type(b.oid, b.modifier), CASE b.oid WHEN 'bpchar'::regtype THEN 'bpchar' WHEN 'bit'::regtype THEN 'varbit'
                                    ELSE format_type(b.oid, NULL) END,
                    a.attnotnull, a.atthasdef OR a.attidentity <> '', a.attgenerated <> '' OR a.attidentity = 'a', b.is_enum,
                    a.attnum, a.attrelid::int8
             FROM pg_attribute a
             CROSS JOIN LATERAL (
                 WITH RECURSIVE base AS (
                     SELECT t.oid, a.atttypmod AS modifier, t.typtype, t.typbasetype, t.typtypmod, 0 AS depth
                     FROM pg_type t WHERE t.oid = a.atttypid
                     UNION ALL
                     SELECT t.oid, base.typtypmod, t.typtype, t.typbasetype, t.typtypmod, base.depth + 1
                     FROM base JOIN pg_type t ON t.oid = base.typbasetype WHERE base.typtype = 'd')
                 SELECT base.oid, base.modifier, base.typtype = 'e' AS is_enum FROM base ORDER BY depth DESC LIMIT 1) b
             WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            &[(&table, Type::TEXT)],
        )
        .await?;
    let (mut oid, mut described) = (None, Vec::new());
    for row in columns {
        oid = u32::try_from(row.try_get::<_, i64>(8)?).ok();
        let type_name: String = row.try_get(1)?;
        let is_enum: bool = row.try_get(6)?;
        described.push(ColumnDescription {
            name: row.try_get(0)?,
            number: Some(row.try_get(7)?),
            postgres_type: if is_enum {
                PostgresType::Enum(type_name)
            } else {
                PostgresType::from_format_type(&type_name)
            },
            cast: row.try_get(2)?,
            not_null: row.try_get(3)?,
            has_default: row.try_get(4)?,
            generated: row.try_get(5)?,
        });
    }
    Ok((oid, described))
}

/// The columns of each unique index of the table with this oid, and whether the index is that of the primary
/// key. An index on an expression is left out. A partial index counts only if it leaves out nothing but rows
/// whose value is null.
async fn unique_indexes_of(
    connection: &Connection,
    oid: i64,
) -> Result<Vec<(bool, Vec<String>)>, DatabaseError> {
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
    indexes.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}
