//! How commands print tables, records, keys and values.

use comfy_table::{ContentArrangement, Table, presets};

/// A table whose cells do no harm to a terminal.
pub(crate) struct Cells(Table);

impl Cells {
    /// Adds a row. What would steer the terminal is shown as its code.
    pub(crate) fn add_row<const N: usize>(&mut self, cells: [String; N]) {
        self.0.add_row(cells.map(|cell| harmless(&cell)));
    }
}

impl std::fmt::Display for Cells {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The text with each control character, but for line breaks, and each character that turns the direction of writing
/// replaced by its code. Values and messages come from both sides, and could otherwise hide or forge what is shown.
pub(crate) fn harmless(text: &str) -> String {
    let steers = |c: char| {
        c.is_control() && c != '\n' || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if steers(c) { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

/// An empty table with these headings, as wide as the terminal, or 160 characters wide where the output goes to a
/// file or another program.
pub(crate) fn table(header: &[&str]) -> Cells {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header.to_vec());
    if !std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        table.set_width(160);
    }
    Cells(table)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_steer_the_terminal_is_shown_as_its_code() {
        assert_eq!(harmless("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(harmless("ab\rc\u{202e}d"), "ab\\u{d}c\\u{202e}d");
        assert_eq!(harmless("two\nlines, ünïcödé 😀"), "two\nlines, ünïcödé 😀");
        let mut table = table(&["value"]);
        table.add_row(["\u{7}bell".to_owned()]);
        assert!(table.to_string().contains("\\u{7}bell"));
    }
}
