//! What a sync is defined to keep the same.

use crate::id::{FieldName, Side, SyncName};
use crate::types::{PostgresType, SalesforceType};
use crate::value::Rule;
use serde::{Deserialize, Serialize};

/// Which way values may travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Both ways.
    #[default]
    Both,
    /// From Salesforce to Postgres only.
    ToPostgres,
    /// From Postgres to Salesforce only.
    ToSalesforce,
}

impl Direction {
    /// True if values may be written to this side.
    #[must_use]
    pub fn writes(self, side: Side) -> bool {
        match self {
            Self::Both => true,
            Self::ToPostgres => side == Side::Postgres,
            Self::ToSalesforce => side == Side::Salesforce,
        }
    }
}

/// What happens where both sides hold a value and there is no base.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirstLink {
    /// An empty value never overwrites a filled one; two different filled values are a conflict that the
    /// primary wins.
    #[default]
    FillEmpty,
    /// The primary's value stands, even where it is empty; every difference is a conflict.
    Primary,
}

/// A field whose Postgres column holds the key of a row of another sync.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lookup {
    /// The sync of the parents.
    pub sync: SyncName,
}

/// One field and its column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldMapping {
    /// The Salesforce API name.
    pub field: FieldName,
    /// The column.
    pub column: String,
    /// The field's type.
    pub salesforce_type: SalesforceType,
    /// The column's type.
    pub postgres_type: PostgresType,
    /// The column's type as SQL casts to it, without its modifier.
    pub cast: String,
    /// How canonical values are made of both.
    pub rule: Rule,
    /// Which way this field's values travel, within the sync's direction.
    pub direction: Direction,
    /// Salesforce refuses a record without it.
    pub salesforce_required: bool,
    /// Salesforce takes it in an update, not only in a create.
    pub salesforce_updateable: bool,
    /// Postgres refuses a row without it.
    pub postgres_required: bool,
    /// The parents, if the column holds their keys.
    pub lookup: Option<Lookup>,
}

/// A sync as the engine and the adapters see it, frozen when it was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// The form of this document.
    pub form: u8,
    /// The sync's name.
    pub name: SyncName,
    /// Counts up with every applied change.
    pub version: u32,
    /// The Salesforce object's API name.
    pub object: String,
    /// The table's schema.
    pub schema: String,
    /// The table.
    pub table: String,
    /// The key columns in index order, with the types that SQL casts to.
    pub key: Vec<(String, String)>,
    /// The column that holds the Salesforce Id.
    pub link: String,
    /// Another sync maps the same table, so that our own log rows concern it.
    pub table_shared: bool,
    /// The side that wins a conflict.
    pub primary: Side,
    /// Which way values travel.
    pub direction: Direction,
    /// What happens where there is no base.
    pub on_first_link: FirstLink,
    /// The unique external Id field by which a create is found again; none where nothing is created.
    pub external_id: Option<String>,
    /// The text field that says which of our writes came last, where it is installed.
    pub marker: Option<String>,
    /// Seconds between two catch-ups.
    pub poll_interval_s: u32,
    /// The mapped fields, in the order of the configuration.
    pub fields: Vec<FieldMapping>,
}

impl Definition {
    /// True if the field's values may be written to the side.
    #[must_use]
    pub fn writes(&self, field: &FieldMapping, side: Side) -> bool {
        self.direction.writes(side) && field.direction.writes(side)
    }

    /// The mapping of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&FieldMapping> {
        self.fields.iter().find(|field| field.field == name)
    }
}
