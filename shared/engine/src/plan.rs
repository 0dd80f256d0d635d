//! The plan of a record: everything that will be written, decided before anything is.

use crate::base::{Absence, Base, FieldBase, Gone, IntentSide, Op};
use crate::definition::{Definition, DeletePolicy, FieldMapping};
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

impl Presence {
    /// A text that differs for all that differs, to make one fingerprint over everything that a side holds.
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
    /// Each part bears its length, so that no two cells run into one text.
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
    /// It is deleted.
    Delete,
}

impl Action {
    /// The fields that are written.
    #[must_use]
    pub fn fields(&self) -> Option<&BTreeMap<FieldName, FieldWrite>> {
        match self {
            Self::None | Self::Delete => None,
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
    /// The side that lacks the record and how, for the base to remember.
    pub gone: Option<Gone>,
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
            let gone = base.and_then(|base| base.gone);
            return RecordPlan { held: Some(held), gone, live, ..RecordPlan::default() };
        }
    }
    match (salesforce, postgres) {
        (Presence::Present(one), Presence::Present(other)) => both(definition, key, base, one, other),
        (Presence::Present(image), gone) => one_side(definition, key, base, Side::Salesforce, image, gone),
        (gone, Presence::Present(image)) => one_side(definition, key, base, Side::Postgres, image, gone),
        (one, other) => match base.filter(|base| base.live) {
            Some(base) => neither(base, one, other),
            None => RecordPlan::default(),
        },
    }
}

/// Neither side holds the record. Its base ends once both are known to have deleted it; a side that only misses it
/// may show it again.
fn neither(base: &Base, salesforce: &Presence, postgres: &Presence) -> RecordPlan {
    let sides = [(Side::Salesforce, salesforce), (Side::Postgres, postgres)]
        .map(|(side, presence)| Gone { side, how: absence(base, side, presence) });
    let Some(missing) = sides.iter().find(|gone| gone.how == Absence::Missing) else {
        return RecordPlan::default();
    };
    RecordPlan {
        held: Some(Held::Missing { side: missing.side }),
        gone: sides.into_iter().find(|gone| gone.how != Absence::Missing).or(base.gone),
        live: true,
        ..RecordPlan::default()
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

/// The record stands on one side. Without a living base it is new and is created across.
fn one_side(
    definition: &Definition,
    key: &FingerprintKey,
    base: Option<&Base>,
    stands: Side,
    image: &Image,
    gone: &Presence,
) -> RecordPlan {
    match base.filter(|base| base.live) {
        Some(base) => lost(definition, key, base, stands, image, gone),
        None => created(definition, key, stands.other(), image),
    }
}

/// What a side that lacks the record is taken for: evidence that was seen once counts still.
fn absence(base: &Base, side: Side, presence: &Presence) -> Absence {
    match (presence, base.gone.filter(|gone| gone.side == side).map(|gone| gone.how)) {
        (_, Some(Absence::Kept)) => Absence::Kept,
        (Presence::Deleted, _) | (_, Some(Absence::Deleted)) => Absence::Deleted,
        _ => Absence::Missing,
    }
}

/// Under a living base one side lost the record: the policy decides, and only on evidence.
fn lost(
    definition: &Definition,
    key: &FingerprintKey,
    base: &Base,
    stands: Side,
    image: &Image,
    presence: &Presence,
) -> RecordPlan {
    let side = stands.other();
    let how = absence(base, side, presence);
    let plan =
        |how, held| RecordPlan { gone: Some(Gone { side, how }), held, live: true, ..RecordPlan::default() };
    match (how, definition.deletes.from(side)) {
        (Absence::Missing, _) => plan(how, Some(Held::Missing { side })),
        (Absence::Deleted, DeletePolicy::Review) => plan(how, Some(Held::Deleted { side })),
        (Absence::Deleted, DeletePolicy::Propagate) if definition.direction.writes(stands) => {
            propagated(definition, key, base, stands, image)
        }
        (Absence::Kept | Absence::Deleted, _) => plan(Absence::Kept, None),
    }
}

/// A delete goes across, unless the record was edited there meanwhile: then the primary wins, and the edit or the
/// delete that lost stands in the conflict log.
fn propagated(
    definition: &Definition,
    key: &FingerprintKey,
    base: &Base,
    stands: Side,
    image: &Image,
) -> RecordPlan {
    let side = stands.other();
    let edited = definition.fields.iter().filter_map(|mapping| {
        let Some(Cell::Value(value)) = image.get(&mapping.field) else { return None };
        let now = field_base(definition, mapping, key, value);
        // A value that was never agreed on is one that whoever deleted the record did not see.
        let known = base.fields.get(&mapping.field).filter(|known| known.rule == now.rule);
        let differs = known.map_or(!value.is_null(), |known| known.fingerprint != now.fingerprint);
        // Where a parent is deleted with its children, the side itself empties their lookups: that is nobody's edit.
        let edited = differs && !(mapping.lookup.is_some() && value.is_null());
        (definition.writes(mapping, side) && edited).then(|| {
            let (salesforce, postgres) = match stands {
                Side::Salesforce => (value.clone(), Value::Null),
                Side::Postgres => (Value::Null, value.clone()),
            };
            let winner = definition.primary;
            FieldConflict {
                field: mapping.field.clone(),
                salesforce,
                postgres,
                winner,
                reason: Reason::Deleted,
            }
        })
    });
    let conflicts: Vec<FieldConflict> = edited.collect();
    let mut plan = if conflicts.is_empty() || definition.primary == side {
        let mut plan = RecordPlan::default();
        match stands {
            Side::Salesforce => plan.salesforce = Action::Delete,
            Side::Postgres => plan.postgres = Action::Delete,
        }
        plan
    } else {
        created(definition, key, side, image)
    };
    plan.gone = Some(Gone { side, how: Absence::Deleted });
    plan.conflicts = conflicts;
    plan
}

/// The record is created on this side.
fn created(definition: &Definition, key: &FingerprintKey, across: Side, image: &Image) -> RecordPlan {
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
