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

/// What a delete on one side leads to on the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeletePolicy {
    /// The other side keeps its record, which is no longer synced until the deleted one comes back.
    Keep,
    /// It is deleted there too.
    Propagate,
    /// A person decides; until then nothing is written.
    #[default]
    Review,
}

/// The policies by the side that deletes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletes {
    /// For records deleted in Salesforce.
    pub from_salesforce: DeletePolicy,
    /// For rows deleted in Postgres.
    pub from_postgres: DeletePolicy,
}

impl Deletes {
    /// The policy for deletes on this side.
    #[must_use]
    pub fn from(self, side: Side) -> DeletePolicy {
        match side {
            Side::Salesforce => self.from_salesforce,
            Side::Postgres => self.from_postgres,
        }
    }
}

/// How many deletes a sync carries across within an hour before it pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteLimit {
    /// Of a hundred linked records.
    pub percent: u32,
    /// Records.
    pub count: u32,
}

/// A share of few records is less than one: so many deletes are always within the percentage.
const SMALLEST_SHARE: u64 = 10;

impl Default for DeleteLimit {
    fn default() -> Self {
        Self { percent: 5, count: 100 }
    }
}

impl DeleteLimit {
    /// The deletes that are let through among this many linked records: the count, or the share where that is
    /// less, but never less than ten by the share alone.
    #[must_use]
    pub fn allowed(self, linked: u64) -> u64 {
        let share = linked.saturating_mul(u64::from(self.percent)) / 100;
        u64::from(self.count).min(share.max(SMALLEST_SHARE))
    }
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
    /// The side that it comes from determines it and nobody writes it there: a formula, a generated column.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub derived: bool,
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
    /// What deletes lead to.
    #[serde(default)]
    pub deletes: Deletes,
    /// How many of them within an hour.
    #[serde(default)]
    pub delete_limit: DeleteLimit,
    /// The link is kept in a table of ours, for the user's table may not be altered.
    #[serde(default)]
    pub link_table: bool,
    /// The table is partitioned.
    #[serde(default)]
    pub partitioned: bool,
    /// Salesforce merges records of this object: a deleted one may name its master.
    #[serde(default)]
    pub mergeable: bool,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_records_may_be_deleted_and_never_more_than_the_count() {
        let limit = DeleteLimit { percent: 5, count: 100 };
        for (linked, allowed) in [(0, 10), (100, 10), (400, 20), (1_000, 50), (2_000, 100), (1_000_000, 100)]
        {
            assert_eq!(limit.allowed(linked), allowed, "of {linked}");
        }
        assert_eq!(DeleteLimit { percent: 100, count: 3 }.allowed(1_000), 3);
    }

    #[test]
    fn directions_name_the_side_that_is_written() {
        for (direction, written) in [
            (Direction::Both, [true, true]),
            (Direction::ToPostgres, [false, true]),
            (Direction::ToSalesforce, [true, false]),
        ] {
            assert_eq!([Side::Salesforce, Side::Postgres].map(|side| direction.writes(side)), written);
        }
    }
}
