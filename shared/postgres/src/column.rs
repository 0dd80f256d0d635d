//! SQL that turns the value of a column into text, and text into a value for the column.

use crate::names::quote;
use syncline_engine::{FieldMapping, PostgresType};

/// A SQL expression for the text of a mapped column, read from the table alias `alias`. An array is joined
/// with semicolons, because Salesforce separates the values of a multi-select picklist with semicolons.
pub(crate) fn column_text(mapping: &FieldMapping, alias: &str) -> String {
    let column = quote(&mapping.column);
    match mapping.postgres_type {
        PostgresType::TextArray => format!("array_to_string({alias}.{column}, ';')"),
        _ => format!("{alias}.{column}::text"),
    }
}

/// A SQL expression for the value of a mapped column. `text` is a SQL expression that gives the value as
/// text. For an array column that text is split at semicolons.
pub(crate) fn column_value(mapping: &FieldMapping, text: &str) -> String {
    match mapping.postgres_type {
        PostgresType::TextArray => format!("string_to_array({text}, ';')::{}", mapping.cast),
        _ => format!("{text}::{}", mapping.cast),
    }
}
