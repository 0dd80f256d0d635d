//! Names and identifiers of records, fields and sides.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The name of a sync, as in `[sync.NAME]`.
pub type SyncName = String;

/// The name of a mapped field: its Salesforce API name.
pub type FieldName = String;

/// One of the two sides that are kept the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The Salesforce object.
    Salesforce,
    /// The PostgreSQL table.
    Postgres,
}

impl Side {
    /// The side across.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Salesforce => Self::Postgres,
            Self::Postgres => Self::Salesforce,
        }
    }

    /// The word for this side in configuration, tables and messages.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Salesforce => "salesforce",
            Self::Postgres => "postgres",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Salesforce => "Salesforce",
            Self::Postgres => "Postgres",
        })
    }
}

/// A Salesforce record Id in its 18-character form, which is safe to compare without regard to case folding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct SalesforceId(String);

/// A text that is no Salesforce Id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no Salesforce Id: those have 15 or 18 letters and digits")]
pub struct InvalidSalesforceId(pub String);

impl SalesforceId {
    /// Reads an Id of 15 or 18 characters. The last three of 18 are taken as they are: recordings and
    /// sandboxes hold Ids whose checksum does not match.
    ///
    /// # Errors
    /// When the text has another length or anything but ASCII letters and digits.
    pub fn parse(text: &str) -> Result<Self, InvalidSalesforceId> {
        let valid = text.bytes().all(|b| b.is_ascii_alphanumeric());
        match text.len() {
            18 if valid => Ok(Self(text.to_owned())),
            15 if valid => Ok(Self(Self::lengthen(text))),
            _ => Err(InvalidSalesforceId(text.to_owned())),
        }
    }

    /// Three chunks of five characters each give one character: bit i says that character i is upper case.
    fn lengthen(text: &str) -> String {
        const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
        let mut id = text.to_owned();
        for chunk in text.as_bytes().chunks(5) {
            let bits = chunk
                .iter()
                .enumerate()
                .fold(0usize, |bits, (bit, byte)| bits | usize::from(byte.is_ascii_uppercase()) << bit);
            id.push(char::from(ALPHABET[bits]));
        }
        id
    }

    /// The 18 characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SalesforceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SalesforceId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// A row's key: the compact JSON array of its key columns' `::text`, in index order, as in `["42"]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PostgresKey(pub String);

impl PostgresKey {
    /// The key of a row whose key columns hold these texts, in index order.
    #[must_use]
    pub fn of_columns<T: Into<String>>(columns: impl IntoIterator<Item = T>) -> Self {
        Self(serde_json::Value::from_iter(columns.into_iter().map(Into::into)).to_string())
    }

    /// The texts of the key columns, in index order. `None` if this is not the JSON array that a key is.
    #[must_use]
    pub fn columns(&self) -> Option<Vec<String>> {
        serde_json::from_str(&self.0).ok()
    }
}

impl fmt::Display for PostgresKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The key of a base: given at its first save (the Salesforce Id if known, else `p:` and the row's key) and
/// never changed after.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BaseKey(pub String);

impl BaseKey {
    /// The key that a new base of this record gets.
    ///
    /// Returns `None` when nothing identifies the record.
    #[must_use]
    pub fn first(id: Option<&SalesforceId>, key: Option<&PostgresKey>) -> Option<Self> {
        id.map(|id| Self(id.as_str().to_owned())).or_else(|| key.map(Self::of_row))
    }

    /// The key of the base of a row whose record has no Salesforce Id yet.
    #[must_use]
    pub fn of_row(key: &PostgresKey) -> Self {
        Self(format!("p:{key}"))
    }
}

impl fmt::Display for BaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifteen_characters_become_eighteen() {
        let id = SalesforceId::parse("0035c00000ABcde").unwrap();
        assert_eq!(id.as_str(), "0035c00000ABcdeAAD");
        assert_eq!(SalesforceId::parse("001D000000IqhSL").unwrap().as_str(), "001D000000IqhSLIAZ");
    }

    #[test]
    fn sides_ids_keys_and_bases_show_as_their_names() {
        assert_eq!(Side::Salesforce.to_string() + Side::Postgres.word(), "Salesforcepostgres");
        let id = SalesforceId::parse("0035c00000ABcdeAAD").unwrap();
        let key = PostgresKey("[\"1\"]".to_owned());
        assert_eq!((id.to_string(), key.to_string()), ("0035c00000ABcdeAAD".into(), "[\"1\"]".into()));
        let first = |id, key| BaseKey::first(id, key).map(|key| key.to_string());
        assert_eq!(first(Some(&id), Some(&key)).as_deref(), Some("0035c00000ABcdeAAD"));
        assert_eq!(first(None, Some(&key)).as_deref(), Some("p:[\"1\"]"));
        assert_eq!(first(None, None), None);
    }

    #[test]
    fn a_key_gives_back_the_columns_that_it_was_made_of() {
        let key = PostgresKey::of_columns(["42", "a \"b\""]);
        assert_eq!(key.0, r#"["42","a \"b\""]"#);
        assert_eq!(key.columns().unwrap(), ["42", "a \"b\""]);
        assert_eq!(PostgresKey("42".to_owned()).columns(), None);
    }

    #[test]
    fn what_is_no_id_is_refused_by_name() {
        for text in
            ["", "003", "0035c00000ABcd!", "0035c00000ABcde!", "0035c00000ABcdeAA!", "0035c00000ABcdeAAGx"]
        {
            let error = SalesforceId::parse(text).unwrap_err();
            assert!(error.to_string().contains("no Salesforce Id"), "{error}");
        }
    }
}
