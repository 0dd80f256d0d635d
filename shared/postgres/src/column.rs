//! How a column's value becomes text and text becomes its value.

use crate::names::quote;
use syncline_engine::{FieldMapping, PostgresType};

/// The text of a column of an alias; an array of choices as Salesforce writes them.
pub(crate) fn column_text(mapping: &FieldMapping, alias: &str) -> String {
    let column = quote(&mapping.column);
    match mapping.postgres_type {
        PostgresType::TextArray => format!("array_to_string({alias}.{column}, ';')"),
        _ => format!("{alias}.{column}::text"),
    }
}

/// A column's value from an expression that is text.
pub(crate) fn column_value(mapping: &FieldMapping, text: &str) -> String {
    match mapping.postgres_type {
        PostgresType::TextArray => format!("string_to_array({text}, ';')::{}", mapping.cast),
        _ => format!("{text}::{}", mapping.cast),
    }
}
