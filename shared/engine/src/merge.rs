//! The three-way merge of one field.

use crate::definition::{Definition, FieldMapping, FirstLink};
use crate::fingerprint::{Fingerprint, FingerprintKey};
use crate::id::{FieldName, Side};
use crate::value::Value;
use serde::{Deserialize, Serialize};

/// Why a field is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The record was on the other side only and is created on this side.
    Created,
    /// The other side changed the field and this side did not.
    Changed,
    /// Both sides changed the field. The primary won.
    Conflict,
    /// The field had no base, and it was empty on this side.
    FilledEmpty,
    /// The field had no base, and the value that this side held was overwritten.
    FirstLink,
    /// Values of the field travel one way only, and this side follows the other one.
    OneWay,
    /// The record was deleted on one side. The other side follows the delete, or its edits are in conflict
    /// with it.
    Deleted,
}

impl Reason {
    /// The word for this reason in the history, in conflicts and in messages.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Conflict => "conflict",
            Self::FilledEmpty => "filled-empty",
            Self::FirstLink => "first-link",
            Self::OneWay => "one-way",
            Self::Deleted => "deleted",
        }
    }
}

/// A conflict on one field. It keeps the values of both sides, so that the value that lost is not gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldConflict {
    /// The name of the field.
    pub field: FieldName,
    /// The value that Salesforce held.
    pub salesforce: Value,
    /// The value that Postgres held.
    pub postgres: Value,
    /// The side whose value remains.
    pub winner: Side,
    /// Why that side's value remains.
    pub reason: Reason,
}

/// What the merge decides for one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Both sides hold the same value.
    Equal,
    /// The value of one side is written to the other side.
    Write {
        /// The side to which the value is written.
        to: Side,
        /// Why the value is written.
        reason: Reason,
        /// True if the write overwrites a value that somebody may have set on purpose. The overwritten value
        /// is then kept as a conflict.
        conflict: bool,
    },
    /// The sides differ, but nothing is written, because the direction or the policy for the first link
    /// forbids it.
    Leave,
}

/// The three-way merge of the canonical values of one field. It compares both values with the fingerprint in
/// the base. If the field has no base, the policy for the first link decides.
///
/// # Example
///
/// ```
/// use syncline_engine::*;
///
/// # let mapping = FieldMapping {
/// #     field: "Name".into(),
/// #     column: "name".into(),
/// #     salesforce_type: SalesforceType::Text { length: 255 },
/// #     postgres_type: PostgresType::Text,
/// #     cast: "text".into(),
/// #     rule: Rule { version: 1, kind: RuleKind::Text },
/// #     direction: Direction::Both,
/// #     salesforce_required: true,
/// #     salesforce_updateable: true,
/// #     postgres_required: false,
/// #     derived: false,
/// #     column_number: None,
/// #     field_id: None,
/// #     lookup: None,
/// # };
/// # let definition = Definition {
/// #     form: 1,
/// #     name: "accounts".into(),
/// #     version: 1,
/// #     object: "Account".into(),
/// #     schema: "public".into(),
/// #     table: "accounts".into(),
/// #     key: vec![("id".into(), "bigint".into())],
/// #     link: "salesforce_id".into(),
/// #     table_shared: false,
/// #     primary: Side::Salesforce,
/// #     direction: Direction::Both,
/// #     on_first_link: FirstLink::FillEmpty,
/// #     deletes: Deletes::default(),
/// #     delete_limit: DeleteLimit::default(),
/// #     link_table: false,
/// #     partitioned: false,
/// #     mergeable: false,
/// #     table_oid: None,
/// #     unmapped: vec![],
/// #     external_id: None,
/// #     marker: None,
/// #     poll_interval_s: 60,
/// #     fields: vec![mapping.clone()],
/// # };
/// let key = FingerprintKey::new([7; 32]);
/// let text = |text: &str| Value::Text(text.to_owned());
/// let base = key.fingerprint("accounts", "Name", &mapping.rule, &text("Acme"));
/// let merge = |salesforce: &str, postgres: &str| {
///     merge_field(&definition, &mapping, &key, Some(base), &text(salesforce), &text(postgres))
/// };
/// assert_eq!(merge("Acme Ltd", "Acme Ltd"), Decision::Equal);
/// // Postgres changed the value and Salesforce did not.
/// let to_salesforce = Decision::Write { to: Side::Salesforce, reason: Reason::Changed, conflict: false };
/// assert_eq!(merge("Acme", "Acme Ltd"), to_salesforce);
/// // Both sides changed the value. Salesforce is the primary and wins.
/// let to_postgres = Decision::Write { to: Side::Postgres, reason: Reason::Conflict, conflict: true };
/// assert_eq!(merge("Acme Inc", "Acme Ltd"), to_postgres);
/// ```
#[must_use]
pub fn merge_field(
    definition: &Definition,
    mapping: &FieldMapping,
    key: &FingerprintKey,
    base: Option<Fingerprint>,
    salesforce: &Value,
    postgres: &Value,
) -> Decision {
    if salesforce == postgres {
        return Decision::Equal;
    }
    let changed = |value: &Value| {
        base.is_none_or(|base| {
            key.fingerprint(&definition.name, &mapping.field, &mapping.rule, value) != base
        })
    };
    let empty = |side: Side| match side {
        Side::Salesforce => salesforce.is_null(),
        Side::Postgres => postgres.is_null(),
    };
    let to_postgres = definition.writes(mapping, Side::Postgres);
    let to_salesforce = definition.writes(mapping, Side::Salesforce);
    let (from, one_way) = match (to_salesforce, to_postgres) {
        (false, false) => return Decision::Leave,
        (false, true) => (Side::Salesforce, true),
        (true, false) => (Side::Postgres, true),
        (true, true) => {
            let from = match (base, changed(salesforce), changed(postgres)) {
                (Some(_), true, false) => Side::Salesforce,
                (Some(_), false, true) => Side::Postgres,
                (Some(_), _, _) => definition.primary,
                (None, _, _) if definition.on_first_link == FirstLink::Primary => definition.primary,
                (None, _, _) if empty(Side::Salesforce) => Side::Postgres,
                (None, _, _) if empty(Side::Postgres) => Side::Salesforce,
                (None, _, _) => definition.primary,
            };
            (from, false)
        }
    };
    let to = from.other();
    if base.is_none() && empty(from) && definition.on_first_link == FirstLink::FillEmpty {
        return Decision::Leave;
    }
    let overwritten = match to {
        Side::Salesforce => salesforce,
        Side::Postgres => postgres,
    };
    let fills = base.is_none() && empty(to);
    let conflict = !fills && changed(overwritten);
    let reason = match (base, conflict) {
        (None, _) if fills => Reason::FilledEmpty,
        (None, _) => Reason::FirstLink,
        (Some(_), _) if one_way => Reason::OneWay,
        (Some(_), true) => Reason::Conflict,
        (Some(_), false) => Reason::Changed,
    };
    Decision::Write { to, reason, conflict }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_written_as_they_are_stored() {
        for reason in [
            Reason::Created,
            Reason::Changed,
            Reason::Conflict,
            Reason::FilledEmpty,
            Reason::FirstLink,
            Reason::OneWay,
            Reason::Deleted,
        ] {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.word());
        }
    }
}
