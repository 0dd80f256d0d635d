//! Reading TOML tables so that every mistake is kept, by the name of its key.

use crate::secret::SecretRef;
use jiff::SignedDuration;
use toml::{Table, Value};

/// Reads tables and keeps what is wrong with them.
#[derive(Default)]
pub(crate) struct Reader {
    pub(crate) problems: Vec<String>,
}

/// A table under way: keys that nobody asked for are problems in the end.
pub(crate) struct Section<'a> {
    path: String,
    pub(crate) table: &'a Table,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    pub(crate) fn new(path: &str, table: &'a Table) -> Self {
        Self { path: path.to_owned(), table, known: Vec::new() }
    }

    pub(crate) fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub(crate) fn get(&mut self, key: &'static str) -> Option<&'a Value> {
        self.known.push(key);
        self.table.get(key)
    }
}

impl Reader {
    pub(crate) fn problem(&mut self, key: &str, words: impl AsRef<str>) {
        self.problems.push(format!("{key}: {}", words.as_ref()));
    }

    pub(crate) fn text(&mut self, section: &mut Section<'_>, key: &'static str) -> Option<String> {
        match section.get(key)? {
            Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
            Value::String(_) => {
                self.problem(&section.key(key), "is empty");
                None
            }
            other => {
                self.problem(
                    &section.key(key),
                    format!("is {}, and has to be a text in quotes", kind(other)),
                );
                None
            }
        }
    }

    pub(crate) fn required(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
        example: &str,
    ) -> Option<String> {
        if section.table.contains_key(key) {
            return self.text(section, key);
        }
        section.known.push(key);
        self.problem(&section.key(key), format!("is missing; for example {key} = {example}"));
        None
    }

    pub(crate) fn choice<T: Copy>(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let text = self.text(section, key)?;
        let found = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            self.problem(&section.key(key), format!("is {text:?}; it has to be {}", words.join(", ")));
        }
        found
    }

    pub(crate) fn duration(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
        default: SignedDuration,
    ) -> SignedDuration {
        let Some(text) = self.text(section, key) else { return default };
        match text.parse::<SignedDuration>() {
            Ok(duration) if duration.is_positive() => duration,
            _ => {
                self.problem(
                    &section.key(key),
                    format!("is {text:?}; it has to be a time such as \"30s\" or \"5m\""),
                );
                default
            }
        }
    }

    pub(crate) fn secret(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
        example: &str,
    ) -> Option<SecretRef> {
        let text = self.required(section, key, example)?;
        match SecretRef::parse(&text) {
            Ok(secret) => Some(secret),
            Err(words) => {
                self.problem(&section.key(key), words);
                None
            }
        }
    }

    pub(crate) fn table<'a>(
        &mut self,
        section: &mut Section<'a>,
        key: &'static str,
        required: bool,
    ) -> Option<&'a Table> {
        match section.get(key) {
            Some(Value::Table(table)) => Some(table),
            Some(other) => {
                self.problem(
                    &section.key(key),
                    format!("is {}, and has to be a section [{key}]", kind(other)),
                );
                None
            }
            None => {
                if required {
                    self.problem(&section.key(key), format!("the section [{key}] is missing"));
                }
                None
            }
        }
    }

    /// Keys that mean nothing, with the nearest that does.
    pub(crate) fn close(&mut self, section: &Section<'_>) {
        for key in section.table.keys().filter(|key| !section.known.contains(&key.as_str())) {
            let near = section
                .known
                .iter()
                .min_by_key(|known| strsim::levenshtein(known, key))
                .filter(|known| strsim::levenshtein(known, key) <= 3);
            let hint = near.map(|known| format!("; is {known} meant?")).unwrap_or_default();
            self.problem(&section.key(key), format!("is no setting{hint}"));
        }
    }
}

/// What a value is, in words.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) | Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a section",
    }
}
