//! Reads values from TOML tables. A wrong value does not end the reading: the problem is collected under the
//! full name of its key, so that a user sees all problems at once.

use crate::secret::SecretRef;
use jiff::SignedDuration;
use std::collections::BTreeSet;
use toml::{Table, Value};

/// Collects the problems that are found while tables are read.
#[derive(Default)]
pub(crate) struct Reader {
    /// One message for each problem. A message begins with the full name of the key, such as `serve.listen`.
    pub(crate) problems: Vec<String>,
    /// One message for each key that is read under a name of earlier releases.
    pub(crate) notices: Vec<String>,
    /// The full name of each key that was asked for, whether the file has it or not.
    pub(crate) asked: BTreeSet<String>,
}

/// A table that is being read. It remembers which keys were asked for; [`Reader::close`] reports the other
/// keys of the table as problems.
pub(crate) struct Section<'a> {
    /// The name of the table in the file, such as `sync.contacts`; empty for the top of the file.
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
                self.problem(&section.key(key), "must not be empty");
                None
            }
            other => {
                self.problem(&section.key(key), format!("must be a text in quotes, not {}", kind(other)));
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
        self.problem(&section.key(key), format!("is missing; add it, for example {key} = {example}"));
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
            self.problem(&section.key(key), format!("is {text:?}, but must be one of: {}", words.join(", ")));
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
                    format!("is {text:?}, but must be a time longer than zero, such as \"30s\" or \"5m\""),
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
                self.problem(&section.key(key), format!("must be a section [{key}], not {}", kind(other)));
                None
            }
            None => {
                if required {
                    self.problem(&section.key(key), format!("the section [{key}] is missing; add it"));
                }
                None
            }
        }
    }

    /// Reports every key of the table that was not asked for, with the known key whose name is most similar,
    /// if one is similar enough.
    pub(crate) fn close(&mut self, section: &Section<'_>) {
        self.asked.extend(section.known.iter().map(|key| section.key(key)));
        for key in section.table.keys().filter(|key| !section.known.contains(&key.as_str())) {
            let near = section
                .known
                .iter()
                .min_by_key(|known| strsim::levenshtein(known, key))
                .filter(|known| strsim::levenshtein(known, key) <= 3);
            let hint = near.map(|known| format!("; did you mean {known}?")).unwrap_or_default();
            self.problem(&section.key(key), format!("there is no such setting{hint}"));
        }
    }
}

/// The kind of a value in words, for messages.
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
