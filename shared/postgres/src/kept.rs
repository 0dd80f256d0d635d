//! What the table kept of the values that were written to it. A BEFORE trigger or the type of a column may keep less
//! than it was given; such a row is refused.

use crate::column::column_text;
use syncline_engine::{Definition, FieldMapping, FieldName, PostgresKey, is_poorer};
use syncline_sync::{RowOutcome, RowWrite};

/// The code under which a row is refused whose table keeps less of a value than it was given.
const SHORTENED: &str = "SHORTENED";

/// The most characters of a value that a message shows.
const SHOWN: usize = 80;

/// A row that was written.
pub(crate) struct WrittenRow {
    /// Its place in the rows to write.
    pub(crate) ordinal: usize,
    /// Its key.
    pub(crate) key: PostgresKey,
    /// The fields that were written, with the texts that their columns have now. Empty where none was written.
    pub(crate) kept: Vec<(FieldName, Option<String>)>,
}

/// A SQL expression for the texts that the columns of these mappings have in the table alias `t`, as an array.
pub(crate) fn kept_texts(mappings: &[&FieldMapping]) -> String {
    let texts: Vec<String> = mappings.iter().map(|mapping| column_text(mapping, "t")).collect();
    format!("array[{}]::text[]", texts.join(", "))
}

/// The written row of a result with the key as an array of texts in the column `key`, and [`kept_texts`] in the column
/// after it.
pub(crate) fn written_row(
    ordinal: usize,
    row: &tokio_postgres::Row,
    key: usize,
    mappings: &[&FieldMapping],
) -> Result<WrittenRow, tokio_postgres::Error> {
    let columns: Vec<String> = row.try_get(key)?;
    let texts: Vec<Option<String>> = row.try_get(key + 1)?;
    Ok(WrittenRow {
        ordinal,
        key: PostgresKey(serde_json::Value::from(columns).to_string()),
        kept: mappings.iter().map(|mapping| mapping.field.clone()).zip(texts).collect(),
    })
}

/// The rows whose table kept less of a value than it was given, each refused with both values.
pub(crate) fn shortened(
    definition: &Definition,
    rows: &[RowWrite],
    written: &[WrittenRow],
) -> Vec<(usize, RowOutcome)> {
    let of_row = |row: &WrittenRow| {
        let message = row.kept.iter().find_map(|(field, kept)| {
            let mapping = definition.field(field).filter(|mapping| mapping.lookup.is_none())?;
            let given = rows.get(row.ordinal)?.fields.get(field)?.as_deref();
            Some((mapping, message(mapping, given, kept.as_deref())?))
        });
        let (mapping, message) = message?;
        let code = SHORTENED.to_owned();
        Some((row.ordinal, RowOutcome::Refused { code, message, column: Some(mapping.column.clone()) }))
    };
    written.iter().filter_map(of_row).collect()
}

/// What is said of a value of which less was kept; `None` if it was kept, or edited.
fn message(mapping: &FieldMapping, given: Option<&str>, kept: Option<&str>) -> Option<String> {
    let (canonical, now) = (mapping.rule.canonical(given).ok()?, mapping.rule.canonical(kept).ok()?);
    if !is_poorer(&canonical, &now) {
        return None;
    }
    let shown = |text: Option<&str>| {
        let text = text.unwrap_or_default();
        let start: String = text.chars().take(SHOWN).collect();
        if start.len() < text.len() { format!("{start:?}…") } else { format!("{start:?}") }
    };
    let kept = if now.is_null() { "nothing".to_owned() } else { shown(kept) };
    Some(format!(
        "the column {} keeps {kept} of {}, because a trigger or its type changes the value; let the column hold the whole value, or correct the field in Salesforce",
        mapping.column,
        shown(given)
    ))
}
