//! The two sides, and the names and keys of records, rows, bases and fields.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The name of a sync: NAME in the section `[sync.NAME]` of the configuration.
pub type SyncName = String;

/// The name of a mapped field. It is the field's API name in Salesforce.
pub type FieldName = String;

/// One of the two sides that a sync keeps the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The Salesforce object.
    Salesforce,
    /// The PostgreSQL table.
    Postgres,
}

impl Side {
    /// The opposite side.
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

/// The Id of a Salesforce record in its form of 18 characters. Two different Ids in this form are different
/// texts even if upper and lower case are not distinguished.
///
/// # Example
///
/// ```
/// use syncline_engine::SalesforceId;
///
/// let id = SalesforceId::parse("001D000000IqhSL").unwrap();
/// assert_eq!(id.as_str(), "001D000000IqhSLIAZ");
/// assert!(SalesforceId::parse("not an Id").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct SalesforceId(String);

/// The error for a text that is not a Salesforce Id. It holds the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a Salesforce Id: a Salesforce Id has 15 or 18 letters and digits")]
pub struct InvalidSalesforceId(pub String);

impl SalesforceId {
    /// Reads an Id of 15 or 18 characters. An Id of 15 characters gets its three check characters. The check
    /// characters of an Id of 18 are not verified, because recordings and sandboxes hold Ids whose check
    /// characters do not match.
    ///
    /// # Errors
    /// When the text has another length, or a character that is not an ASCII letter or digit.
    pub fn parse(text: &str) -> Result<Self, InvalidSalesforceId> {
        let valid = text.bytes().all(|b| b.is_ascii_alphanumeric());
        match text.len() {
            18 if valid => Ok(Self(text.to_owned())),
            15 if valid => Ok(Self(Self::lengthen(text))),
            _ => Err(InvalidSalesforceId(text.to_owned())),
        }
    }

    /// Appends the three check characters. Each group of five characters gives one check character: bit i of
    /// its number says whether character i of the group is upper case.
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

    /// The Id as a text of 18 characters.
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

/// The key of a row: a compact JSON array, such as `["42"]`, of the key columns' values as `::text`. The
/// columns are in the order of the index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PostgresKey(pub String);

impl PostgresKey {
    /// The key of the row whose key columns hold these texts, in the order of the index.
    #[must_use]
    pub fn of_columns<T: Into<String>>(columns: impl IntoIterator<Item = T>) -> Self {
        Self(serde_json::Value::from_iter(columns.into_iter().map(Into::into)).to_string())
    }

    /// The texts of the key columns, in the order of the index. `None` if the key is not a JSON array of
    /// texts.
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

/// The key under which a base is stored. A base gets its key at its first save and keeps it for good. The key
/// is the Salesforce Id if the Id is known at that time, else `p:` and the row's key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BaseKey(pub String);

impl BaseKey {
    /// The key for a new base of the record with this Salesforce Id and this row key. `None` if neither is
    /// known.
    #[must_use]
    pub fn first(id: Option<&SalesforceId>, key: Option<&PostgresKey>) -> Option<Self> {
        id.map(|id| Self(id.as_str().to_owned())).or_else(|| key.map(Self::of_row))
    }

    /// The key for a new base of a row that has no record in Salesforce yet.
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
            assert!(error.to_string().contains("not a Salesforce Id"), "{error}");
        }
    }
}
