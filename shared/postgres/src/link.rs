//! SQL for the link of a row. The link is a column of the user's table, or, with `link_table = true`, a row
//! of the sync's link table in Syncline's schema, for a table that may not be altered.

use crate::names::{Instance, quote};
use syncline_engine::Definition;

/// A SQL expression for the key of the row `alias` in the form of `PostgresKey`: a JSON array, without
/// spaces, of the texts of the key columns.
pub(crate) fn key_text(definition: &Definition, alias: &str) -> String {
    let parts: Vec<String> = definition
        .key
        .iter()
        .map(|(column, _)| format!("to_json({alias}.{}::text)::text", quote(column)))
        .collect();
    format!("'[' || {} || ']'", parts.join(" || ',' || "))
}

/// The quoted name of the sync's link table, with its schema. The table exists only with `link_table = true`.
pub(crate) fn link_table(instance: &Instance, definition: &Definition) -> String {
    format!("{}.{}", instance.schema(), quote(&format!("link_{}", definition.name)))
}

/// The SQL that joins a row of alias `t` with its link of alias `l` in the link table. Empty if the link is a
/// column.
pub(crate) fn link_join(instance: &Instance, definition: &Definition) -> String {
    if !definition.link_table {
        return String::new();
    }
    format!(" LEFT JOIN {} l ON l.key = {}", link_table(instance, definition), key_text(definition, "t"))
}

/// A SQL expression for the link of alias `t`. The query must also contain the SQL of [`link_join`] or
/// [`linked_rows`].
pub(crate) fn link_value(definition: &Definition) -> String {
    if definition.link_table {
        "l.salesforce_id".to_owned()
    } else {
        format!("t.{}::text", quote(&definition.link))
    }
}

/// The SQL that joins each Salesforce Id `u.link` with the linked row of alias `t`. Both forms can use an
/// index. A link column may also hold the 15-character form of the Id.
pub(crate) fn linked_rows(instance: &Instance, definition: &Definition, table: &str) -> String {
    if !definition.link_table {
        let link = quote(&definition.link);
        return format!("JOIN {table} t ON t.{link} IN (u.link, left(u.link, 15)) AND t.{link} IS NOT NULL");
    }
    let keys: Vec<String> = definition
        .key
        .iter()
        .enumerate()
        .map(|(place, (column, cast))| format!("t.{} = (l.key::jsonb ->> {place})::{cast}", quote(column)))
        .collect();
    format!(
        "JOIN {} l ON l.salesforce_id = u.link JOIN {table} t ON {}",
        link_table(instance, definition),
        keys.join(" AND ")
    )
}
