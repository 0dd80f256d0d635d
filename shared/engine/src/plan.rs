//! The plan of a record: everything that will be written, decided before anything is.

use crate::base::{Base, FieldBase, IntentSide, Op};
use crate::definition::{Definition, FieldMapping};
use crate::fingerprint::FingerprintKey;
use crate::id::{FieldName, PostgresKey, SalesforceId, Side, SyncName};
use crate::merge::{Decision, FieldConflict, Reason, merge_field};
use crate::value::{Value, ValueError};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A record of another sync that a lookup points to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Parent {
    /// Known by its Salesforce Id; its row is not linked yet.
    Salesforce(SyncName, SalesforceId),
    /// Known by its row's key; its Salesforce record is not linked yet.
    Postgres(SyncName, PostgresKey),
}

/// What one side holds in one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// A canonical value.
    Value(Value),
    /// A lookup that cannot be translated before its parent is linked.
    Waiting(Parent),
    /// A value without a canonical form.
    Unreadable(ValueError),
}

/// The canonical values of a record's mapped fields on one side.
pub type Image = BTreeMap<FieldName, Cell>;

/// Whether a side holds the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It does.
    Present(Image),
    /// It was deleted there, on evidence.
    Deleted,
    /// It is not there, and nothing says that it was deleted.
    Missing,
}

/// One field of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldWrite {
    /// What the side held.
    pub before: Value,
    /// What it is to hold.
    pub after: Value,
    /// Why.
    pub reason: Reason,
}

/// What is done on one side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    #[default]
    None,
    /// A new record or row with these fields; null fields are left to the side's defaults.
    Create(BTreeMap<FieldName, FieldWrite>),
    /// These fields get other values.
    Update(BTreeMap<FieldName, FieldWrite>),
}

impl Action {
    /// The fields that are written.
    #[must_use]
    pub fn fields(&self) -> Option<&BTreeMap<FieldName, FieldWrite>> {
        match self {
            Self::None => None,
            Self::Create(fields) | Self::Update(fields) => Some(fields),
        }
    }

    /// True if nothing is done.
    #[must_use]
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

/// Why nothing is written although the sides differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Held {
    /// The record was deleted on one side and stands on the other.
    Deleted {
        /// Where it was deleted.
        side: Side,
    },
    /// The record is gone from one side without evidence of a delete.
    Missing {
        /// Where it is not found.
        side: Side,
    },
    /// A value has no canonical form.
    Unreadable {
        /// The side that holds it.
        side: Side,
        /// The field.
        field: FieldName,
        /// What is wrong with it.
        error: ValueError,
    },
    /// A required lookup waits for its parent.
    Waiting {
        /// The field.
        field: FieldName,
        /// The parent.
        parent: Parent,
    },
}

/// The whole plan of one record. Whoever carries it out has nothing left to decide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordPlan {
    /// What is written to Salesforce.
    pub salesforce: Action,
    /// What is written to Postgres.
    pub postgres: Action,
    /// Fields whose losing value is kept in the conflict log.
    pub conflicts: Vec<FieldConflict>,
    /// Fields on which both sides agree already.
    pub agreed: BTreeMap<FieldName, FieldBase>,
    /// Parents that lookups of this record wait for.
    pub waits_for: BTreeSet<Parent>,
    /// Why nothing is written, if the sides differ and nothing is.
    pub held: Option<Held>,
    /// The base's `live` once the plan was carried out.
    pub live: bool,
}

impl RecordPlan {
    /// True if neither side is written.
    #[must_use]
    pub fn writes_nothing(&self) -> bool {
        self.salesforce.is_none() && self.postgres.is_none()
    }

    /// What the intent says of a side.
    #[must_use]
    pub fn intent(&self, definition: &Definition, key: &FingerprintKey, side: Side) -> Option<IntentSide> {
        let (op, fields) = match self.action(side) {
            Action::None => return None,
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

    /// The action of a side.
    #[must_use]
    pub fn action(&self, side: Side) -> &Action {
        match side {
            Side::Salesforce => &self.salesforce,
            Side::Postgres => &self.postgres,
        }
    }
}

fn field_base(
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

/// The plan of a record, from its base (its intent resolved) and what was read of both sides.
#[must_use]
pub fn plan(
    definition: &Definition,
    key: &FingerprintKey,
    base: Option<&Base>,
    salesforce: &Presence,
    postgres: &Presence,
) -> RecordPlan {
    let live = base.is_some_and(|base| base.live);
    for (side, presence) in [(Side::Salesforce, salesforce), (Side::Postgres, postgres)] {
        if let Some(held) = unreadable(side, presence) {
            return RecordPlan { held: Some(held), live, ..RecordPlan::default() };
        }
    }
    match (salesforce, postgres) {
        (Presence::Present(one), Presence::Present(other)) => both(definition, key, base, one, other),
        (Presence::Present(image), gone) => one_side(definition, key, live, Side::Salesforce, image, gone),
        (gone, Presence::Present(image)) => one_side(definition, key, live, Side::Postgres, image, gone),
        (Presence::Deleted, _) | (_, Presence::Deleted) => RecordPlan::default(),
        (Presence::Missing, Presence::Missing) => RecordPlan {
            held: live.then_some(Held::Missing { side: Side::Salesforce }),
            live,
            ..RecordPlan::default()
        },
    }
}

fn unreadable(side: Side, presence: &Presence) -> Option<Held> {
    let Presence::Present(image) = presence else { return None };
    image.iter().find_map(|(field, cell)| match cell {
        Cell::Unreadable(error) => {
            Some(Held::Unreadable { side, field: field.clone(), error: error.clone() })
        }
        _ => None,
    })
}

fn both(
    definition: &Definition,
    key: &FingerprintKey,
    base: Option<&Base>,
    salesforce: &Image,
    postgres: &Image,
) -> RecordPlan {
    let mut plan = RecordPlan { live: true, ..RecordPlan::default() };
    let (mut to_salesforce, mut to_postgres) = (BTreeMap::new(), BTreeMap::new());
    for mapping in &definition.fields {
        let (one, other) = match (salesforce.get(&mapping.field), postgres.get(&mapping.field)) {
            (Some(Cell::Value(one)), Some(Cell::Value(other))) => (one, other),
            (one, other) => {
                plan.waits_for.extend([one, other].into_iter().flatten().filter_map(|cell| match cell {
                    Cell::Waiting(parent) => Some(parent.clone()),
                    _ => None,
                }));
                continue;
            }
        };
        // A field that Salesforce takes only in a create stays as it is there.
        let mut mapping = mapping.clone();
        if !mapping.salesforce_updateable && mapping.direction == crate::Direction::Both {
            mapping.direction = crate::Direction::ToPostgres;
        }
        let known = base
            .and_then(|base| base.fields.get(&mapping.field))
            .filter(|known| known.rule == mapping.rule.version)
            .map(|known| known.fingerprint);
        match merge_field(definition, &mapping, key, known, one, other) {
            Decision::Equal => {
                plan.agreed.insert(mapping.field.clone(), field_base(definition, &mapping, key, one));
            }
            Decision::Leave => {}
            Decision::Write { to, reason, conflict } => {
                if conflict {
                    plan.conflicts.push(FieldConflict {
                        field: mapping.field.clone(),
                        salesforce: one.clone(),
                        postgres: other.clone(),
                        winner: to.other(),
                        reason,
                    });
                }
                let (before, after, writes) = match to {
                    Side::Salesforce => (one, other, &mut to_salesforce),
                    Side::Postgres => (other, one, &mut to_postgres),
                };
                let write = FieldWrite { before: before.clone(), after: after.clone(), reason };
                writes.insert(mapping.field.clone(), write);
            }
        }
    }
    if !to_salesforce.is_empty() {
        plan.salesforce = Action::Update(to_salesforce);
    }
    if !to_postgres.is_empty() {
        plan.postgres = Action::Update(to_postgres);
    }
    plan
}

/// The record stands on one side. Under a living base the other side lost it, which is held; otherwise it is
/// new and is created across.
fn one_side(
    definition: &Definition,
    key: &FingerprintKey,
    live: bool,
    stands: Side,
    image: &Image,
    gone: &Presence,
) -> RecordPlan {
    let across = stands.other();
    if live {
        let held = match gone {
            Presence::Deleted => Held::Deleted { side: across },
            _ => Held::Missing { side: across },
        };
        return RecordPlan { held: Some(held), live, ..RecordPlan::default() };
    }
    if !definition.direction.writes(across) {
        return RecordPlan::default();
    }
    let mut plan = RecordPlan { live: true, ..RecordPlan::default() };
    let mut fields = BTreeMap::new();
    for mapping in &definition.fields {
        let value = match image.get(&mapping.field) {
            Some(Cell::Value(value)) => value,
            Some(Cell::Waiting(parent)) => {
                let required = match across {
                    Side::Salesforce => mapping.salesforce_required,
                    Side::Postgres => mapping.postgres_required,
                };
                plan.waits_for.insert(parent.clone());
                if required && definition.writes(mapping, across) {
                    let held = Held::Waiting { field: mapping.field.clone(), parent: parent.clone() };
                    return RecordPlan {
                        held: Some(held),
                        waits_for: plan.waits_for,
                        ..RecordPlan::default()
                    };
                }
                // The created side holds nothing there; once the parent is linked, this side is what changed.
                if definition.writes(mapping, across) {
                    let nothing = field_base(definition, mapping, key, &Value::Null);
                    plan.agreed.insert(mapping.field.clone(), nothing);
                }
                continue;
            }
            Some(Cell::Unreadable(_)) | None => continue,
        };
        if !definition.writes(mapping, across) {
            continue;
        }
        if value.is_null() {
            plan.agreed.insert(mapping.field.clone(), field_base(definition, mapping, key, value));
        } else {
            let write = FieldWrite { before: Value::Null, after: value.clone(), reason: Reason::Created };
            fields.insert(mapping.field.clone(), write);
        }
    }
    match across {
        Side::Salesforce => plan.salesforce = Action::Create(fields),
        Side::Postgres => plan.postgres = Action::Create(fields),
    }
    plan
}
