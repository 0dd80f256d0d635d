//! The link of a row: a column of its table, or a table of ours where the user's may not be altered.

use crate::names::{Instance, quote};
use syncline_engine::Definition;

/// The SQL text of a row's key: a compact JSON array of its key columns' text.
pub(crate) fn key_text(definition: &Definition, alias: &str) -> String {
    let parts: Vec<String> = definition
        .key
        .iter()
        .map(|(column, _)| format!("to_json({alias}.{}::text)::text", quote(column)))
        .collect();
    format!("'[' || {} || ']'", parts.join(" || ',' || "))
}

/// The table that keeps a sync's links.
pub(crate) fn link_table(instance: &Instance, definition: &Definition) -> String {
    format!("{}.{}", instance.schema(), quote(&format!("link_{}", definition.name)))
}

/// What joins alias `t` with its link as alias `l`, where that is a table.
pub(crate) fn link_join(instance: &Instance, definition: &Definition) -> String {
    if !definition.link_table {
        return String::new();
    }
    format!(" LEFT JOIN {} l ON l.key = {}", link_table(instance, definition), key_text(definition, "t"))
}

/// The link of alias `t`.
pub(crate) fn link_value(definition: &Definition) -> String {
    if definition.link_table {
        "l.salesforce_id".to_owned()
    } else {
        format!("t.{}::text", quote(&definition.link))
    }
}

/// Where rows with these links (`u.link` of alias `u`) are: a join of `t`, by an index in either case.
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
