//! What one side holds of a record, in canonical form.

use crate::id::{FieldName, PostgresKey, SalesforceId, SyncName};
use crate::value::{Value, ValueError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A record of another sync that a lookup points to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Parent {
    /// The parent is known by its Salesforce Id. Its row is not linked yet.
    Salesforce(SyncName, SalesforceId),
    /// The parent is known by the key of its row. Its Salesforce record is not linked yet.
    Postgres(SyncName, PostgresKey),
}

/// What one side holds in one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// A canonical value.
    Value(Value),
    /// A lookup whose value cannot be translated for the other side until its parent is linked.
    Waiting(Parent),
    /// A value that has no canonical form.
    Unreadable(ValueError),
}

/// The image of a record on one side: the canonical values of its mapped fields.
pub type Image = BTreeMap<FieldName, Cell>;

/// What one side holds of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// The side has the record, with this image.
    Present(Image),
    /// The record was deleted there. There is evidence of the delete.
    Deleted,
    /// The record is absent there, without evidence of a delete.
    Missing,
}

impl Presence {
    /// A text of everything that the side holds of the record. Two presences that differ have different
    /// texts. One fingerprint over this text tells whether anything on the side changed.
    #[must_use]
    pub fn fingerprinted_text(&self) -> String {
        match self {
            Self::Present(image) => {
                image.iter().map(|(field, cell)| cell.fingerprinted_text(field)).collect()
            }
            Self::Deleted => "deleted".to_owned(),
            Self::Missing => "missing".to_owned(),
        }
    }
}

impl Cell {
    /// The text contains the lengths of its parts, so that different cells never have the same text.
    fn fingerprinted_text(&self, field: &str) -> String {
        let (kind, text) = match self {
            Self::Value(value) => match value.text() {
                Some(text) => ("value", text),
                None => ("null", String::new()),
            },
            Self::Waiting(Parent::Salesforce(sync, id)) => ("waits for a record", format!("{sync} {id}")),
            Self::Waiting(Parent::Postgres(sync, key)) => ("waits for a row", format!("{sync} {key}")),
            Self::Unreadable(error) => ("unreadable", error.to_string()),
        };
        format!("{}:{field}={kind}:{}:{text};", field.len(), text.len())
    }
}
