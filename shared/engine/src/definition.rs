//! The definition of a sync: what it keeps the same, and by which policies.

use crate::id::{FieldName, Side, SyncName};
use crate::types::{PostgresType, SalesforceType};
use crate::value::Rule;
use serde::{Deserialize, Serialize};

/// Which way values may travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// In both directions.
    #[default]
    Both,
    /// From Salesforce to Postgres only.
    ToPostgres,
    /// From Postgres to Salesforce only.
    ToSalesforce,
}

impl Direction {
    /// True if this direction lets values be written to the side.
    #[must_use]
    pub fn writes(self, side: Side) -> bool {
        match self {
            Self::Both => true,
            Self::ToPostgres => side == Side::Postgres,
            Self::ToSalesforce => side == Side::Salesforce,
        }
    }
}

/// What happens to a field without a base whose values differ on the two sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirstLink {
    /// An empty value never overwrites a filled value. Two different filled values are a conflict, which the
    /// primary wins.
    #[default]
    FillEmpty,
    /// The value of the primary wins, even if it is empty. The value that is overwritten is kept as a
    /// conflict, unless it is empty.
    Primary,
}

/// What a delete on one side does to the record on the other side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeletePolicy {
    /// The other side keeps its record. The record is not synced until the deleted one comes back.
    Keep,
    /// The record is deleted on the other side too.
    Propagate,
    /// The record is held until a person decides. Until then nothing is written.
    #[default]
    Review,
}

/// The delete policies, one for each side on which a record can be deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletes {
    /// The policy for records that were deleted in Salesforce.
    pub from_salesforce: DeletePolicy,
    /// The policy for rows that were deleted in Postgres.
    pub from_postgres: DeletePolicy,
}

impl Deletes {
    /// The policy for records that were deleted on this side.
    #[must_use]
    pub fn from(self, side: Side) -> DeletePolicy {
        match side {
            Side::Salesforce => self.from_salesforce,
            Side::Postgres => self.from_postgres,
        }
    }
}

/// How many deletes a sync carries to the other side within an hour. A delete beyond that pauses the sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteLimit {
    /// The most deletes as a percentage of the linked records.
    pub percent: u32,
    /// The most deletes as a number of records.
    pub count: u32,
}

/// The percentage always allows this many deletes, because a percentage of few records can be less than one
/// record.
const SMALLEST_SHARE: u64 = 10;

impl Default for DeleteLimit {
    fn default() -> Self {
        Self { percent: 5, count: 100 }
    }
}

impl DeleteLimit {
    /// How many deletes are allowed when `linked` records are linked: `count`, or the number that the
    /// percentage gives if that is smaller. The percentage gives ten at least.
    #[must_use]
    pub fn allowed(self, linked: u64) -> u64 {
        let share = linked.saturating_mul(u64::from(self.percent)) / 100;
        u64::from(self.count).min(share.max(SMALLEST_SHARE))
    }
}

/// The lookup of a field: the field's Postgres column holds the key of a row of another sync.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lookup {
    /// The sync to which the parent records belong.
    pub sync: SyncName,
}

/// One field of a sync and the column that it is kept in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldMapping {
    /// The API name of the field in Salesforce.
    pub field: FieldName,
    /// The name of the column in Postgres.
    pub column: String,
    /// The type of the field in Salesforce.
    pub salesforce_type: SalesforceType,
    /// The type of the column in Postgres.
    pub postgres_type: PostgresType,
    /// The type to which SQL casts a value for the column, without its modifier.
    pub cast: String,
    /// The rule that makes the values of both sides canonical.
    pub rule: Rule,
    /// Which way values of this field may travel. The direction of the sync limits it further.
    pub direction: Direction,
    /// True if Salesforce refuses to create a record without this field.
    pub salesforce_required: bool,
    /// False if Salesforce accepts the field in a create only, and not in an update.
    pub salesforce_updateable: bool,
    /// True if Postgres refuses a row without a value for the column.
    pub postgres_required: bool,
    /// True if the side from which the values travel computes them, so that nobody can write them there.
    /// Examples are a formula field and a generated column.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub derived: bool,
    /// The number of the column in its table (`attnum` of the PostgreSQL catalog). A column that is dropped and added
    /// again gets another number. `None` if an earlier release stored the definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column_number: Option<i16>,
    /// The Id of the custom field in Salesforce (its `DurableId`). A field that is deleted and created again gets
    /// another Id. `None` for a standard field, which cannot be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field_id: Option<String>,
    /// The lookup, if the column holds keys of parent rows.
    pub lookup: Option<Lookup>,
}

impl FieldMapping {
    /// True if this mapping pairs the same field with the same column as `before` did. Columns are told apart by their
    /// numbers within one table, otherwise by their names.
    fn continues(&self, before: &Self, same_table: bool) -> bool {
        let column = match (self.column_number, before.column_number) {
            (Some(one), Some(other)) if same_table => one == other,
            _ => self.column == before.column,
        };
        let other_field =
            matches!((&self.field_id, &before.field_id), (Some(one), Some(other)) if one != other);
        column && !other_field
    }
}

/// The definition of a sync, as the engine and the adapters use it. `syncline apply` stores it, and it does
/// not change until the next `apply`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// The form number of this document.
    pub form: u8,
    /// The name of the sync.
    pub name: SyncName,
    /// The version of the definition. It goes up with every change that is applied.
    pub version: u32,
    /// The API name of the Salesforce object.
    pub object: String,
    /// The schema of the table.
    pub schema: String,
    /// The name of the table.
    pub table: String,
    /// The key columns in the order of the index. Each has the type to which SQL casts its values.
    pub key: Vec<(String, String)>,
    /// The link column, which holds the Salesforce Id.
    pub link: String,
    /// True if another sync uses the same table. Then log rows that Syncline's own writes cause are kept,
    /// because they concern the other sync.
    pub table_shared: bool,
    /// The side that wins a conflict.
    pub primary: Side,
    /// Which way values may travel.
    pub direction: Direction,
    /// What happens to a field without a base.
    pub on_first_link: FirstLink,
    /// The delete policies.
    #[serde(default)]
    pub deletes: Deletes,
    /// How many deletes are carried to the other side within an hour.
    #[serde(default)]
    pub delete_limit: DeleteLimit,
    /// True if the link is kept in a table of Syncline's own, because the user's table may not be altered.
    #[serde(default)]
    pub link_table: bool,
    /// True if the table is partitioned.
    #[serde(default)]
    pub partitioned: bool,
    /// The oid of the table. Numbers of columns mean something only within one table. `None` if an earlier release
    /// stored the definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_oid: Option<u32>,
    /// Fields that were mapped once and are not mapped any more. Bases still know what was agreed on them, so these
    /// mappings tell whether a field that is mapped again is still the same field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmapped: Vec<FieldMapping>,
    /// True if users can merge records of this object in Salesforce. A record that was deleted by a merge
    /// names its master record.
    #[serde(default)]
    pub mergeable: bool,
    /// The unique external Id field, by which a create whose answer was lost is found again. `None` if the
    /// object has no such field; then Syncline creates no records in Salesforce.
    pub external_id: Option<String>,
    /// The marker field, which says which of Syncline's writes came last. `None` if the field is not
    /// installed.
    pub marker: Option<String>,
    /// The number of seconds between two catch-ups.
    pub poll_interval_s: u32,
    /// The mapped fields, in the order of the configuration file.
    pub fields: Vec<FieldMapping>,
}

impl Definition {
    /// True if values of the field may be written to the side.
    #[must_use]
    pub fn writes(&self, field: &FieldMapping, side: Side) -> bool {
        self.direction.writes(side) && field.direction.writes(side)
    }

    /// This definition as the successor of `known`, the one that was applied last. It gets the next version if it
    /// means anything else than `known`. Where a field or its column is another one than before, the field's rule gets
    /// another version, so that it is merged as at the first link: an empty value then overwrites nothing.
    ///
    /// # Example
    ///
    /// A column was dropped, and added again under its name.
    ///
    /// ```
    /// # use syncline_engine::*;
    /// # let definition: Definition = serde_json::from_value(serde_json::json!({
    /// #   "form": 1, "name": "contacts", "version": 1, "object": "Contact", "schema": "public", "table": "contacts",
    /// #   "key": [["id", "bigint"]], "link": "salesforce_id", "table_shared": false, "primary": "salesforce",
    /// #   "direction": "both", "on_first_link": "fill-empty", "external_id": null, "marker": null,
    /// #   "poll_interval_s": 60, "table_oid": 16400, "fields": [{ "field": "Email", "column": "email",
    /// #     "salesforce_type": { "text": { "length": 80 } }, "postgres_type": "text", "cast": "text",
    /// #     "rule": { "version": 1, "kind": "text" }, "direction": "both", "salesforce_required": false,
    /// #     "salesforce_updateable": true, "postgres_required": false, "lookup": null }] })).unwrap();
    /// # let with_number = |number| {
    /// #     let mut definition = definition.clone();
    /// #     definition.fields[0].column_number = Some(number);
    /// #     definition
    /// # };
    /// let applied = with_number(4);
    /// let next = with_number(7).following(&applied);
    /// assert_eq!(next.version, applied.version + 1);
    /// assert_ne!(next.fields[0].rule.version, applied.fields[0].rule.version);
    /// assert_eq!(with_number(4).following(&applied), applied);
    /// ```
    #[must_use]
    pub fn following(mut self, known: &Self) -> Self {
        let same_table = self.table_oid.is_some() && self.table_oid == known.table_oid;
        for mapping in &mut self.fields {
            let before = known.fields.iter().chain(&known.unmapped).find(|one| one.field == mapping.field);
            if let Some(before) = before {
                mapping.rule = mapping.rule.as_often_replaced_as(&before.rule);
                if !mapping.continues(before, same_table) {
                    mapping.rule = mapping.rule.replaced();
                }
            }
        }
        let left = known.fields.iter().chain(&known.unmapped).filter(|one| self.field(&one.field).is_none());
        self.unmapped = left.cloned().collect();
        self.version = known.version;
        if self.without_identities() != known.without_identities() {
            self.version += 1;
        }
        self
    }

    /// The definition without what only identifies the table, its columns and the fields.
    fn without_identities(&self) -> Self {
        let mut plain = Self { table_oid: None, unmapped: vec![], ..self.clone() };
        for mapping in &mut plain.fields {
            (mapping.column_number, mapping.field_id) = (None, None);
        }
        plain
    }

    /// The mapping of the field with this API name; `None` if the field is not mapped.
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
