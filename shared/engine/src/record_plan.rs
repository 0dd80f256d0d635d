//! What is written for one record: the value that the planner returns and the run carries out.

use crate::base::{FieldBase, Gone, IntentSide, Op};
use crate::definition::{Definition, FieldMapping};
use crate::fingerprint::FingerprintKey;
use crate::id::{FieldName, Side};
use crate::merge::{FieldConflict, Reason};
use crate::presence::Parent;
use crate::value::{Value, ValueError};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The write of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldWrite {
    /// The value that the side held before.
    pub before: Value,
    /// The value that the side gets.
    pub after: Value,
    /// Why the field is written.
    pub reason: Reason,
}

/// What the plan does on one side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// Nothing is written.
    #[default]
    None,
    /// A record or row is created with these fields. Fields that are null are left out, so that they get the
    /// side's defaults.
    Create(BTreeMap<FieldName, FieldWrite>),
    /// These fields of the record or row get new values.
    Update(BTreeMap<FieldName, FieldWrite>),
    /// The record or row is deleted.
    Delete,
}

impl Action {
    /// The fields that are written; `None` if nothing is written or the record is deleted.
    #[must_use]
    pub fn fields(&self) -> Option<&BTreeMap<FieldName, FieldWrite>> {
        match self {
            Self::None | Self::Delete => None,
            Self::Create(fields) | Self::Update(fields) => Some(fields),
        }
    }

    /// True if nothing is written on this side.
    #[must_use]
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

/// Why a record is held: nothing is written although the sides differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Held {
    /// The record was deleted on one side and still exists on the other. The delete policy asks for a
    /// person's decision.
    Deleted {
        /// The side on which the record was deleted.
        side: Side,
    },
    /// The record is missing: it is absent from one side without evidence of a delete.
    Missing {
        /// The side on which the record is not found.
        side: Side,
    },
    /// A field has a value without a canonical form, and nothing of the record can be written without it.
    Unreadable(Unreadable),
    /// A required lookup cannot be written before its parent is linked.
    Waiting {
        /// The lookup field.
        field: FieldName,
        /// The parent that is not linked yet.
        parent: Parent,
    },
}

/// A field whose value on one side has no canonical form. Nothing is written to the field on either side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreadable {
    /// The side that holds the value.
    pub side: Side,
    /// The field with the value.
    pub field: FieldName,
    /// Why the value has no canonical form.
    pub error: ValueError,
}

/// The whole plan of one record. The code that carries out a plan makes no decisions of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordPlan {
    /// What is written to Salesforce.
    pub salesforce: Action,
    /// What is written to Postgres.
    pub postgres: Action,
    /// The conflicts, by which the values that lost are kept in the conflict log.
    pub conflicts: Vec<FieldConflict>,
    /// The fields on which both sides agree already, with what the base keeps of their values.
    pub agreed: BTreeMap<FieldName, FieldBase>,
    /// The parents that have to be linked before lookups of this record can be written.
    pub waits_for: BTreeSet<Parent>,
    /// The fields that are left alone on both sides, because one side's value has no canonical form.
    pub unreadable: Vec<Unreadable>,
    /// Why nothing is written although the sides differ; `None` if the record is not held.
    pub held: Option<Held>,
    /// The side that does not have the record, and why, for the base to remember.
    pub gone: Option<Gone>,
    /// The value of the base's `live` after the plan is carried out.
    pub live: bool,
}

impl RecordPlan {
    /// True if the plan writes nothing to either side.
    #[must_use]
    pub fn writes_nothing(&self) -> bool {
        self.salesforce.is_none() && self.postgres.is_none()
    }

    /// The part of the intent that concerns this side; `None` if nothing is written there.
    #[must_use]
    pub fn intent(&self, definition: &Definition, key: &FingerprintKey, side: Side) -> Option<IntentSide> {
        let (op, fields) = match self.action(side) {
            Action::None => return None,
            Action::Delete => return Some(IntentSide { op: Op::Delete, fields: BTreeMap::new() }),
            Action::Create(fields) => (Op::Create, fields),
            Action::Update(fields) => (Op::Update, fields),
        };
        let mut intended: BTreeMap<FieldName, FieldBase> = fields
            .iter()
            .filter_map(|(name, write)| {
                let mapping = definition.field(name)?;
                Some((name.clone(), field_base(definition, mapping, key, &write.after)))
            })
            .collect();
        if op == Op::Create {
            intended.extend(self.agreed.iter().map(|(name, base)| (name.clone(), *base)));
        }
        Some(IntentSide { op, fields: intended })
    }

    /// The action on this side.
    #[must_use]
    pub fn action(&self, side: Side) -> &Action {
        match side {
            Side::Salesforce => &self.salesforce,
            Side::Postgres => &self.postgres,
        }
    }
}

/// What the base keeps of a value on which both sides agree.
pub(crate) fn field_base(
    definition: &Definition,
    mapping: &FieldMapping,
    key: &FingerprintKey,
    value: &Value,
) -> FieldBase {
    FieldBase {
        fingerprint: key.fingerprint(&definition.name, &mapping.field, &mapping.rule, value),
        rule: mapping.rule.version,
    }
}
