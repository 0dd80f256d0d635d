//! The plan of a record. It decides everything that will be written before anything is written.

use crate::base::{Absence, Base, Gone};
use crate::definition::{Definition, DeletePolicy};
use crate::fingerprint::FingerprintKey;
use crate::id::Side;
use crate::merge::{Decision, FieldConflict, Reason, merge_field};
use crate::presence::{Cell, Image, Presence};
use crate::record_plan::{Action, FieldWrite, Held, RecordPlan, Unreadable, field_base};
use crate::value::Value;
use std::collections::BTreeMap;

/// Makes the plan of a record from its base and from what each side holds. The base must have no intent:
/// [`resolve`](fn@crate::resolve) it first.
///
/// # Example
///
/// Since both sides agreed on a name, Salesforce has changed it and Postgres has not. The plan updates the
/// row.
///
/// ```
/// use syncline_engine::*;
///
/// let (field, column) = (SalesforceType::Text { length: 255 }, PostgresType::Text);
/// let name = FieldMapping {
///     field: "Name".into(),
///     column: "name".into(),
///     rule: pair(&field, &column).unwrap(),
///     salesforce_type: field,
///     postgres_type: column,
///     cast: "text".into(),
///     direction: Direction::Both,
///     salesforce_required: true,
///     salesforce_updateable: true,
///     postgres_required: false,
///     derived: false,
///     column_number: None,
///     field_id: None,
///     lookup: None,
/// };
/// let definition = Definition {
///     form: 1,
///     name: "accounts".into(),
///     version: 1,
///     object: "Account".into(),
///     schema: "public".into(),
///     table: "accounts".into(),
///     key: vec![("id".into(), "bigint".into())],
///     link: "salesforce_id".into(),
///     table_shared: false,
///     primary: Side::Salesforce,
///     direction: Direction::Both,
///     on_first_link: FirstLink::FillEmpty,
///     deletes: Deletes::default(),
///     delete_limit: DeleteLimit::default(),
///     link_table: false,
///     partitioned: false,
///     mergeable: false,
///     table_oid: None,
///     unmapped: vec![],
///     external_id: Some("Syncline_Id__c".into()),
///     marker: Some("Syncline_Write__c".into()),
///     poll_interval_s: 60,
///     fields: vec![name.clone()],
/// };
///
/// let key = FingerprintKey::new([7; 32]);
/// let fingerprint = key.fingerprint("accounts", "Name", &name.rule, &Value::Text("Acme".into()));
/// let mut base = Base::new(BaseKey::of_row(&PostgresKey::of_columns(["42"])));
/// base.live = true;
/// base.fields.insert("Name".into(), FieldBase { fingerprint, rule: name.rule.version });
///
/// let holds = |name: &str| {
///     Presence::Present(Image::from([("Name".to_owned(), Cell::Value(Value::Text(name.to_owned())))]))
/// };
/// let plan = plan(&definition, &key, Some(&base), &holds("Acme Ltd"), &holds("Acme"));
/// assert!(plan.salesforce.is_none() && plan.conflicts.is_empty());
/// let written = &plan.postgres.fields().unwrap()["Name"];
/// assert_eq!((&written.after, written.reason), (&Value::Text("Acme Ltd".into()), Reason::Changed));
/// ```
#[must_use]
pub fn plan(
    definition: &Definition,
    key: &FingerprintKey,
    base: Option<&Base>,
    salesforce: &Presence,
    postgres: &Presence,
) -> RecordPlan {
    match (salesforce, postgres) {
        (Presence::Present(one), Presence::Present(other)) => {
            let sides = [unreadable(Side::Salesforce, one), unreadable(Side::Postgres, other)];
            let plan = both(definition, key, base, one, other);
            RecordPlan { unreadable: sides.concat(), ..plan }
        }
        (Presence::Present(image), gone) => one_side(definition, key, base, Side::Salesforce, image, gone),
        (gone, Presence::Present(image)) => one_side(definition, key, base, Side::Postgres, image, gone),
        (one, other) => match base.filter(|base| base.live) {
            Some(base) => neither(base, one, other),
            None => RecordPlan::default(),
        },
    }
}

/// Neither side has the record. The base ends once there is evidence that both sides deleted the record. A
/// side on which the record is only missing may show it again.
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

fn unreadable(side: Side, image: &Image) -> Vec<Unreadable> {
    let fields = image.iter().filter_map(|(field, cell)| match cell {
        Cell::Unreadable(error) => Some(Unreadable { side, field: field.clone(), error: error.clone() }),
        _ => None,
    });
    fields.collect()
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
        // Salesforce accepts some fields in a create only. Such a field keeps its value in Salesforce.
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

/// Only one side, `stands`, has the record. If its base is not live, the record is new and is created on the
/// other side.
fn one_side(
    definition: &Definition,
    key: &FingerprintKey,
    base: Option<&Base>,
    stands: Side,
    image: &Image,
    gone: &Presence,
) -> RecordPlan {
    match base.filter(|base| base.live) {
        // Whether a value that cannot be read was edited is not known, so it is not known either whether a delete may go
        // across.
        Some(base) => match unreadable(stands, image).into_iter().next() {
            Some(first) => {
                let held = Some(Held::Unreadable(first));
                RecordPlan { held, gone: base.gone, live: true, ..RecordPlan::default() }
            }
            None => lost(definition, key, base, stands, image, gone),
        },
        None => created(definition, key, stands.other(), image),
    }
}

/// Why the side does not have the record. Evidence that was seen once still counts.
fn absence(base: &Base, side: Side, presence: &Presence) -> Absence {
    match (presence, base.gone.filter(|gone| gone.side == side).map(|gone| gone.how)) {
        (_, Some(Absence::Kept)) => Absence::Kept,
        (Presence::Deleted, _) | (_, Some(Absence::Deleted)) => Absence::Deleted,
        _ => Absence::Missing,
    }
}

/// One side lost a record whose base is live. If there is evidence of a delete, the delete policy decides.
/// Otherwise the record is missing.
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

/// The delete is carried to the side `stands`, unless the record was edited there meanwhile. Then the primary
/// wins, and the conflict log keeps the values of the edit.
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
        // A value that was never agreed on counts as an edit: it may not have been known where the record was
        // deleted.
        let known = base.fields.get(&mapping.field).filter(|known| known.rule == now.rule);
        let differs = known.map_or(!value.is_null(), |known| known.fingerprint != now.fingerprint);
        // When a parent is deleted together with its children, the side itself empties their lookups. That is
        // no edit.
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
        // Also where the record waits for a parent before it is created again, its base goes on.
        RecordPlan { live: true, ..created(definition, key, side, image) }
    };
    plan.gone = Some(Gone { side, how: Absence::Deleted });
    plan.conflicts = conflicts;
    plan
}

/// The record is created on the side `across`, without the fields whose values cannot be read. If that side requires
/// one of them, the record is held.
fn created(definition: &Definition, key: &FingerprintKey, across: Side, image: &Image) -> RecordPlan {
    if !definition.direction.writes(across) {
        return RecordPlan::default();
    }
    let mut plan = RecordPlan { live: true, ..RecordPlan::default() };
    let mut fields = BTreeMap::new();
    for mapping in &definition.fields {
        let required = match across {
            Side::Salesforce => mapping.salesforce_required,
            Side::Postgres => mapping.postgres_required,
        };
        let value = match image.get(&mapping.field) {
            Some(Cell::Value(value)) => value,
            Some(Cell::Waiting(parent)) => {
                plan.waits_for.insert(parent.clone());
                if required && definition.writes(mapping, across) {
                    let held = Held::Waiting { field: mapping.field.clone(), parent: parent.clone() };
                    return RecordPlan {
                        held: Some(held),
                        waits_for: plan.waits_for,
                        ..RecordPlan::default()
                    };
                }
                // The new record has no value in this field. If null counts as agreed, the image's value
                // counts as changed once the parent is linked, and is written then.
                if definition.writes(mapping, across) {
                    let nothing = field_base(definition, mapping, key, &Value::Null);
                    plan.agreed.insert(mapping.field.clone(), nothing);
                }
                continue;
            }
            Some(Cell::Unreadable(error)) => {
                let (side, field) = (across.other(), mapping.field.clone());
                let unreadable = Unreadable { side, field, error: error.clone() };
                if required && definition.writes(mapping, across) {
                    return RecordPlan { held: Some(Held::Unreadable(unreadable)), ..RecordPlan::default() };
                }
                plan.unreadable.push(unreadable);
                continue;
            }
            None => continue,
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
