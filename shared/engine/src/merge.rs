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
    /// The record stands on the other side only.
    Created,
    /// The other side changed it and this one did not.
    Changed,
    /// Both sides changed it; the primary won.
    Conflict,
    /// There was no base and this side was empty.
    FilledEmpty,
    /// There was no base and the sides differ; the primary won.
    FirstLink,
    /// The field travels one way and its own side is followed.
    OneWay,
    /// The record was deleted on the other side.
    Deleted,
}

impl Reason {
    /// The word for this reason in history, conflicts and messages.
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

/// A field whose values the sides do not agree on, with what lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldConflict {
    /// The field.
    pub field: FieldName,
    /// What Salesforce held.
    pub salesforce: Value,
    /// What Postgres held.
    pub postgres: Value,
    /// Whose value stands.
    pub winner: Side,
    /// Why.
    pub reason: Reason,
}

/// What happens to one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Both sides hold the same value.
    Equal,
    /// The value of the side across is written to this side.
    Write {
        /// The side that is written.
        to: Side,
        /// Why.
        reason: Reason,
        /// True if a value that somebody may have meant is overwritten, which makes it a conflict.
        conflict: bool,
    },
    /// The sides differ and neither may be written: the direction or the first link forbids it.
    Leave,
}

/// The three-way merge of one field's canonical values. Without a base the first link's policy decides.
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
