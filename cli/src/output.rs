//! How commands print tables, records, keys and values.

use comfy_table::{ContentArrangement, Table, presets};

/// An empty table with these headings, as wide as the terminal, or 160 characters wide where the output goes to a
/// file or another program.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header.to_vec());
    if !std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        table.set_width(160);
    }
    table
}

/// A row's key as a person writes it: the key `["42"]` becomes `42`, and several parts are joined by commas.
pub(crate) fn plain_key(key: &str) -> String {
    serde_json::from_str::<Vec<String>>(key).map_or_else(|_| key.to_owned(), |parts| parts.join(", "))
}

/// A record by its Salesforce Id and the key of its row, on two lines.
pub(crate) fn record(id: Option<&str>, key: Option<&str>) -> String {
    let id = id.unwrap_or("not in Salesforce yet");
    let key = key.map_or_else(|| "no row yet".to_owned(), |key| format!("row {}", plain_key(key)));
    format!("{id}\n{key}")
}

/// A value as a person reads it.
pub(crate) fn shown(value: Option<&str>) -> String {
    value.map_or_else(|| "null".to_owned(), str::to_owned)
}
