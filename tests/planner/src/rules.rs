//! The rules that must hold for every case. Each function adds a sentence to `broken` for each rule that the
//! case breaks.

use crate::{Case, SIDES, field_base, key};
use std::collections::{BTreeMap, BTreeSet};
use syncline_engine::{
    Absence, Action, Base, BaseKey, Cell, Definition, DeletePolicy, Deletes, Direction, Evidence, FieldBase,
    FieldMapping, FirstLink, Gone, Held, Image, IntentSide, Op, Presence, Reason, RecordPlan, Side, Value,
    plan, resolve,
};

/// Resolves the base of the case, plans the record, and returns every rule that is broken, in words.
#[must_use]
pub fn check(case: &Case) -> Vec<String> {
    let mut broken = Vec::new();
    let resolved = case.base.as_ref().map(|base| resolve(base, &case.evidence));
    if let (Some(base), Some(resolved)) = (&case.base, &resolved) {
        resolution(base, resolved, &case.evidence, &mut broken);
    }
    let known = resolved.as_ref().filter(|base| base.live);
    let planned = plan(&case.definition, &key(), known, &case.salesforce, &case.postgres);
    directions(case, &planned, &mut broken);
    overwrites(case, known, &planned, &mut broken);
    deletes(case, known, &planned, &mut broken);
    merge(case, known, &planned, &mut broken);
    presences(case, known, &planned, &mut broken);
    settles(case, &planned, &mut broken);
    mirrors(case, known, &planned, &mut broken);
    broken
}

/// Resolving an intent changes an agreed value only with evidence that the write landed, and only to the
/// value that the intent meant to write. A create that landed makes the record live. A delete that landed
/// ends it.
fn resolution(base: &Base, resolved: &Base, evidence: &Evidence, broken: &mut Vec<String>) {
    let Some(intent) = &base.intent else {
        if resolved != base {
            broken.push("a base without intent is as it was".into());
        }
        return;
    };
    if resolved.intent.is_some() {
        broken.push("a resolved base has no intent".into());
    }
    let landed = [
        (&intent.salesforce, evidence.salesforce.is_some()),
        (&intent.postgres, evidence.postgres.is_some()),
    ];
    let landed: Vec<&IntentSide> =
        landed.into_iter().filter(|(_, landed)| *landed).filter_map(|(side, _)| side.as_ref()).collect();
    let deleted = landed.iter().any(|side| side.op == Op::Delete);
    for (field, now) in &resolved.fields {
        let meant = landed.iter().any(|side| side.fields.get(field) == Some(now));
        if base.fields.get(field) != Some(now) && !meant {
            broken.push(format!("{field} moved without evidence"));
        }
    }
    for side in landed.iter().filter(|side| side.op != Op::Delete) {
        if !deleted && side.fields.keys().any(|field| !resolved.fields.contains_key(field)) {
            broken.push("what landed is agreed on".into());
        }
    }
    let created = landed.iter().any(|side| side.op == Op::Create);
    if !deleted && resolved.live != (base.live || created) {
        broken.push("a record lives once its create has landed".into());
    }
    if deleted && !created && resolved.live {
        broken.push("a record whose delete has landed is over".into());
    }
}

/// Nothing is written against the direction of the sync or of a field. A field that travels both ways, but
/// that Salesforce accepts in a create only, is never updated in Salesforce.
fn directions(case: &Case, planned: &RecordPlan, broken: &mut Vec<String>) {
    for side in SIDES {
        let action = planned.action(side);
        if !action.is_none() && !goes_to(case.definition.direction, side) {
            broken.push(format!("{side} is written against the direction of the sync"));
        }
        for name in action.fields().into_iter().flat_map(BTreeMap::keys) {
            let mapping = mapping(&case.definition, name);
            if !writes(&case.definition, mapping, side) {
                broken.push(format!("{name} is written to {side} against its direction"));
            }
            let creates = matches!(action, Action::Create(_));
            let both = mapping.direction == Direction::Both;
            if side == Side::Salesforce && !mapping.salesforce_updateable && both && !creates {
                broken.push(format!("{name} is not updateable in Salesforce"));
            }
        }
    }
}

/// The engine has functions that answer the same questions. They are under test as well, so this file does
/// not call them and states their rules again.
fn goes_to(direction: Direction, side: Side) -> bool {
    match (direction, side) {
        (Direction::Both, _) => true,
        (Direction::ToPostgres, Side::Postgres) | (Direction::ToSalesforce, Side::Salesforce) => true,
        (Direction::ToPostgres, Side::Salesforce) | (Direction::ToSalesforce, Side::Postgres) => false,
    }
}

fn writes(definition: &Definition, mapping: &FieldMapping, side: Side) -> bool {
    goes_to(definition.direction, side) && goes_to(mapping.direction, side)
}

fn policy(deletes: Deletes, side: Side) -> DeletePolicy {
    match side {
        Side::Salesforce => deletes.from_salesforce,
        Side::Postgres => deletes.from_postgres,
    }
}

/// The mapping of the field with this name.
fn mapping<'d>(definition: &'d Definition, name: &str) -> &'d FieldMapping {
    definition.fields.iter().find(|mapping| mapping.field == name).unwrap()
}

/// What both sides last agreed on for the field. `None` if they never did, or only under another version of
/// the field's rule.
fn agreed_before(known: Option<&Base>, mapping: &FieldMapping) -> Option<FieldBase> {
    let known = known?.fields.get(&mapping.field)?;
    (known.rule == mapping.rule.version).then_some(*known)
}

/// An update replaces a value that was not agreed on only if the plan keeps that value as a conflict. A
/// conflict exists only for such a value.
fn overwrites(case: &Case, known: Option<&Base>, planned: &RecordPlan, broken: &mut Vec<String>) {
    let mut lost = BTreeSet::new();
    for side in SIDES {
        let Action::Update(fields) = planned.action(side) else { continue };
        for (name, write) in fields {
            let mapping = mapping(&case.definition, name);
            let agreed = agreed_before(known, mapping);
            let meant = match agreed {
                Some(agreed) => agreed != field_base(mapping, &write.before),
                None => !write.before.is_null(),
            };
            if meant {
                lost.insert(name.clone());
            }
            let kept = planned.conflicts.iter().find(|conflict| conflict.field == *name);
            if meant != kept.is_some() {
                broken.push(format!("{name}: {write:?} over what was meant: {meant}, kept: {kept:?}"));
            }
            if let Some(kept) = kept {
                let (of_side, across) = match side {
                    Side::Salesforce => (&kept.salesforce, &kept.postgres),
                    Side::Postgres => (&kept.postgres, &kept.salesforce),
                };
                if *of_side != write.before || *across != write.after || kept.winner == side {
                    broken.push(format!("{name}: the conflict keeps other values than those of {write:?}"));
                }
            }
            if write.before == write.after {
                broken.push(format!("{name} is written with what it holds"));
            }
        }
    }
    let both = matches!((&case.salesforce, &case.postgres), (Presence::Present(_), Presence::Present(_)));
    let kept: BTreeSet<_> = planned.conflicts.iter().map(|conflict| conflict.field.clone()).collect();
    if both && kept != lost {
        broken.push(format!("conflicts on {kept:?}, values lost on {lost:?}"));
    }
}

/// A delete goes across only if there is evidence of it and the policy is `Propagate`. A value that was not
/// agreed on and that the delete would take along is kept as a conflict. An emptied lookup is no such value.
fn deletes(case: &Case, known: Option<&Base>, planned: &RecordPlan, broken: &mut Vec<String>) {
    for side in SIDES {
        if *planned.action(side) != Action::Delete {
            continue;
        }
        let across = side.other();
        let presence = if across == Side::Salesforce { &case.salesforce } else { &case.postgres };
        let gone = known.and_then(|base| base.gone).filter(|gone| gone.side == across);
        let seen = *presence == Presence::Deleted || gone.is_some_and(|gone| gone.how == Absence::Deleted);
        let policy = policy(case.definition.deletes, across);
        if !seen || known.is_none() || policy != DeletePolicy::Propagate {
            broken.push(format!("{side} is deleted: evidence {seen}, policy {policy:?}, linked {known:?}"));
        }
        if !planned.conflicts.is_empty() && case.definition.primary == side {
            broken.push("a delete wins over an edit on the primary".into());
        }
        let here = if side == Side::Salesforce { &case.salesforce } else { &case.postgres };
        let Presence::Present(image) = here else { continue };
        for mapping in
            case.definition.fields.iter().filter(|mapping| writes(&case.definition, mapping, across))
        {
            let Some(Cell::Value(value)) = image.get(&mapping.field) else { continue };
            let meant = match agreed_before(known, mapping) {
                Some(agreed) => agreed != field_base(mapping, value),
                None => !value.is_null(),
            };
            let meant = meant && !(mapping.lookup.is_some() && value.is_null());
            let kept = planned.conflicts.iter().any(|conflict| conflict.field == mapping.field);
            if meant != kept {
                broken.push(format!("{} dies with {value:?}, kept: {kept}", mapping.field));
            }
        }
    }
}

/// The rules of the merge, written a second time: which field is written, to which side, and why.
fn merge(case: &Case, known: Option<&Base>, planned: &RecordPlan, broken: &mut Vec<String>) {
    let (Presence::Present(here), Presence::Present(there)) = (&case.salesforce, &case.postgres) else {
        return;
    };
    if planned.held.is_some() {
        return;
    }
    for mapping in &case.definition.fields {
        let (Some(Cell::Value(one)), Some(Cell::Value(other))) =
            (here.get(&mapping.field), there.get(&mapping.field))
        else {
            if planned.agreed.contains_key(&mapping.field) || written(planned, &mapping.field).is_some() {
                broken.push(format!("{} waits and is written", mapping.field));
            }
            continue;
        };
        let expected = winner(case, known, mapping, one, other);
        let winner = written(planned, &mapping.field).map(Side::other);
        if winner != expected {
            broken.push(format!("{}: {winner:?} is followed, not {expected:?}", mapping.field));
        }
        reasons(case, known, planned, mapping, broken);
        let equal = planned.agreed.get(&mapping.field) == Some(&field_base(mapping, one));
        if equal != (one == other) {
            broken.push(format!("{}: equal {}, agreed {equal}", mapping.field, one == other));
        }
    }
}

/// A field is written for the expected reason, and its conflict, if there is one, has the same reason.
fn reasons(
    case: &Case,
    known: Option<&Base>,
    planned: &RecordPlan,
    mapping: &FieldMapping,
    broken: &mut Vec<String>,
) {
    let name = &mapping.field;
    let writes = SIDES.into_iter().filter_map(|side| planned.action(side).fields()?.get(name));
    for write in writes {
        let kept = planned.conflicts.iter().find(|conflict| conflict.field == *name);
        let one_way = SIDES.into_iter().any(|side| !writes_to(case, mapping, side));
        let expected = match agreed_before(known, mapping) {
            None if write.before.is_null() => Reason::FilledEmpty,
            None => Reason::FirstLink,
            Some(_) if one_way => Reason::OneWay,
            Some(_) if kept.is_some() => Reason::Conflict,
            Some(_) => Reason::Changed,
        };
        if write.reason != expected || kept.is_some_and(|kept| kept.reason != expected) {
            broken.push(format!("{name} is written for {:?}, not for {expected:?}", write.reason));
        }
    }
}

/// True if updates may write the field to this side. A field that travels both ways, but that Salesforce
/// accepts in a create only, is updated in Postgres only.
fn writes_to(case: &Case, mapping: &FieldMapping, side: Side) -> bool {
    let may_update = mapping.salesforce_updateable || mapping.direction != Direction::Both;
    writes(&case.definition, mapping, side) && (side == Side::Postgres || may_update)
}

/// The side to which the plan writes the field, if any.
fn written(planned: &RecordPlan, field: &str) -> Option<Side> {
    SIDES
        .into_iter()
        .find(|side| planned.action(*side).fields().is_some_and(|fields| fields.contains_key(field)))
}

/// The side whose value both sides get. `None` if the values are equal, if neither side may be written, or if
/// an empty value would replace a filled one at a first link that fills empty fields.
fn winner(
    case: &Case,
    known: Option<&Base>,
    mapping: &FieldMapping,
    one: &Value,
    other: &Value,
) -> Option<Side> {
    let definition = &case.definition;
    if one == other {
        return None;
    }
    let may_update = mapping.salesforce_updateable || mapping.direction != Direction::Both;
    let may = [
        writes(definition, mapping, Side::Salesforce) && may_update,
        writes(definition, mapping, Side::Postgres),
    ];
    let agreed = agreed_before(known, mapping);
    let fills = definition.on_first_link == FirstLink::FillEmpty;
    let winner = match (may, agreed) {
        ([false, false], _) => return None,
        ([true, false], _) => Side::Postgres,
        ([false, true], _) => Side::Salesforce,
        (_, Some(agreed)) => match [one, other].map(|value| field_base(mapping, value) != agreed) {
            [true, false] => Side::Salesforce,
            [false, true] => Side::Postgres,
            _ => definition.primary,
        },
        (_, None) if fills && one.is_null() => Side::Postgres,
        (_, None) if fills && other.is_null() => Side::Salesforce,
        (_, None) => definition.primary,
    };
    let empty = match winner {
        Side::Salesforce => one.is_null(),
        Side::Postgres => other.is_null(),
    };
    (agreed.is_some() || !fills || !empty).then_some(winner)
}

/// A value that cannot be read stops its field and nothing else, and is shown. It stops the whole record only where the
/// other side has lost the record, or where a new record needs the field.
fn unreadable(case: &Case, known: Option<&Base>, planned: &RecordPlan, broken: &mut Vec<String>) {
    let cells = |presence: &Presence| match presence {
        Presence::Present(image) => {
            let fields = image.iter().filter(|(_, cell)| matches!(cell, Cell::Unreadable(_)));
            fields.map(|(field, _)| field.clone()).collect()
        }
        _ => BTreeSet::new(),
    };
    let of_sides = [cells(&case.salesforce), cells(&case.postgres)];
    let both = matches!((&case.salesforce, &case.postgres), (Presence::Present(_), Presence::Present(_)));
    let held = matches!(planned.held, Some(Held::Unreadable(_)));
    let any = of_sides.iter().any(|fields| !fields.is_empty());
    if held && (both || !any) {
        broken.push("a record is held for a value that does not stop it".into());
    }
    if !both && known.is_some() {
        if held != any {
            broken.push(format!("lost on one side, unreadable {any}, held {:?}", planned.held));
        }
        if held && (!planned.live || planned.gone != known.and_then(|base| base.gone)) {
            broken.push("what cannot be read changes nothing of what is known".into());
        }
    }
    for (side, fields) in SIDES.into_iter().zip(of_sides) {
        let shown: BTreeSet<_> =
            planned.unreadable.iter().filter(|one| one.side == side).map(|one| one.field.clone()).collect();
        let creates = matches!(planned.action(side.other()), Action::Create(_));
        if shown != if both || creates && !held { fields.clone() } else { BTreeSet::new() } {
            broken.push(format!("unreadable on {side}: {fields:?}, shown: {shown:?}"));
        }
        for field in fields {
            if written(planned, &field).is_some() || planned.agreed.contains_key(&field) {
                broken.push(format!("{field} cannot be read, and is written or agreed on"));
            }
        }
    }
}

/// The plan creates, holds, remembers and waits for the right things, whatever each side has of the record.
fn presences(case: &Case, known: Option<&Base>, planned: &RecordPlan, broken: &mut Vec<String>) {
    let sides = [&case.salesforce, &case.postgres];
    unreadable(case, known, planned, broken);
    if let Some(Held::Waiting { parent, .. }) = &planned.held
        && !planned.waits_for.contains(parent)
    {
        broken.push("what is held for its parent waits for it".into());
    }
    if planned.held.is_some() && !planned.writes_nothing() {
        broken.push("what is held is not written".into());
    }
    if known.is_some() && matches!(planned.held, Some(Held::Unreadable(_))) {
        return;
    }
    for (side, presence) in SIDES.into_iter().zip(sides) {
        let Presence::Present(image) = presence else { continue };
        let waiting =
            |cell: &Cell| matches!(cell, Cell::Waiting(parent) if !planned.waits_for.contains(parent));
        let alone =
            !matches!((&case.salesforce, &case.postgres), (Presence::Present(_), Presence::Present(_)));
        let creates = known.is_none() && goes_to(case.definition.direction, side.other());
        let stops = matches!(planned.held, Some(Held::Waiting { .. } | Held::Unreadable(_)));
        if (!alone || creates) && !stops && image.values().any(waiting) {
            broken.push("a parent that is not linked is waited for".into());
        }
    }
    match (&case.salesforce, &case.postgres) {
        (Presence::Present(_), Presence::Present(_)) => {
            if !planned.live || planned.held.is_some() {
                broken.push("what stands on both sides is linked".into());
            }
        }
        (Presence::Present(image), gone) => {
            alone(case, known, planned, Side::Salesforce, image, gone, broken);
        }
        (gone, Presence::Present(image)) => alone(case, known, planned, Side::Postgres, image, gone, broken),
        (one, other) => {
            let how = [absence(known, SIDES[0], one), absence(known, SIDES[1], other)];
            let missed = known.is_some() && how.contains(&Absence::Missing);
            if !planned.writes_nothing() || planned.live != missed {
                broken.push(format!("stands nowhere: lives {}, missed {missed}", planned.live));
            }
            let held = matches!(planned.held, Some(Held::Missing { side }) if how[usize::from(side == SIDES[1])] == Absence::Missing);
            if held != missed {
                broken.push(format!("missed: {missed}, held: {:?}", planned.held));
            }
            let deleted = SIDES.into_iter().zip(how).find(|(_, how)| *how != Absence::Missing);
            let remembered = planned.gone.map(|gone| (gone.side, gone.how));
            let before = known.and_then(|base| base.gone).map(|gone| (gone.side, gone.how));
            if missed && remembered != deleted.or(before) {
                broken.push(format!("{deleted:?} is remembered as {remembered:?}"));
            }
        }
    }
}

/// Why the side does not have the record. Evidence of a delete that an earlier run saw still counts.
fn absence(known: Option<&Base>, side: Side, presence: &Presence) -> Absence {
    let before = known.and_then(|base| base.gone).filter(|gone| gone.side == side).map(|gone| gone.how);
    match before {
        Some(Absence::Kept) => Absence::Kept,
        Some(Absence::Deleted) => Absence::Deleted,
        _ if *presence == Presence::Deleted => Absence::Deleted,
        _ => Absence::Missing,
    }
}

/// The rules for a record that only the side `stands` has.
fn alone(
    case: &Case,
    known: Option<&Base>,
    planned: &RecordPlan,
    stands: Side,
    image: &Image,
    presence: &Presence,
    broken: &mut Vec<String>,
) {
    let side = stands.other();
    let definition = &case.definition;
    let creates = matches!(planned.action(side), Action::Create(_));
    let deletes = *planned.action(stands) == Action::Delete;
    let required = |mapping: &&FieldMapping| {
        let required = match side {
            Side::Salesforce => mapping.salesforce_required,
            Side::Postgres => mapping.postgres_required,
        };
        let stops = matches!(image.get(&mapping.field), Some(Cell::Waiting(_) | Cell::Unreadable(_)));
        required && stops && writes(definition, mapping, side)
    };
    let stopped = definition.fields.iter().any(|mapping| required(&mapping));
    if known.is_none() {
        let may = goes_to(definition.direction, side);
        let held = matches!(planned.held, Some(Held::Waiting { .. } | Held::Unreadable(_)));
        if creates != (may && !stopped) || held != (may && stopped) || deletes || planned.live != creates {
            broken.push(format!(
                "new on {stands}: created {creates}, held {held}, may {may}, stopped {stopped}"
            ));
        }
        if creates {
            created(case, planned, side, image, broken);
        }
        return;
    }
    let how = absence(known, side, presence);
    let policy = policy(definition.deletes, side);
    let goes =
        how == Absence::Deleted && policy == DeletePolicy::Propagate && goes_to(definition.direction, stands);
    let held = match (how, policy) {
        (Absence::Missing, _) => Some(Held::Missing { side }),
        (Absence::Deleted, DeletePolicy::Review) => Some(Held::Deleted { side }),
        _ => None,
    };
    if goes {
        let wins = planned.conflicts.is_empty() || definition.primary == side;
        if deletes != wins {
            broken.push(format!("deleted on {side}: goes across {deletes}, wins {wins}"));
        }
        if creates {
            created(case, planned, side, image, broken);
        }
        return;
    }
    let remembered = match (how, &held) {
        (Absence::Missing, _) => Absence::Missing,
        (Absence::Deleted, Some(_)) => Absence::Deleted,
        _ => Absence::Kept,
    };
    if !planned.writes_nothing() || planned.held != held || !planned.live {
        broken.push(format!("{how:?} on {side}: held {:?}, not {held:?}", planned.held));
    }
    if planned.gone != Some(Gone { side, how: remembered }) {
        broken.push(format!("{how:?} on {side} is remembered as {:?}", planned.gone));
    }
}

/// A create writes every value that may travel to the new side. A field that may travel there and has no
/// value is left out, and the plan remembers that the new side has it empty.
fn created(case: &Case, planned: &RecordPlan, side: Side, image: &Image, broken: &mut Vec<String>) {
    let fields = planned.action(side).fields().unwrap();
    for mapping in &case.definition.fields {
        let may = writes(&case.definition, mapping, side);
        let value = match image.get(&mapping.field) {
            Some(Cell::Value(value)) if !value.is_null() => Some(value),
            _ => None,
        };
        let written = fields.get(&mapping.field).map(|write| &write.after);
        if written != value.filter(|_| may) {
            broken.push(format!("{} of the new one is {written:?}, not {value:?}", mapping.field));
        }
        let known = !matches!(image.get(&mapping.field), Some(Cell::Unreadable(_)));
        let nothing = field_base(mapping, &Value::Null);
        let empty = planned.agreed.get(&mapping.field) == Some(&nothing);
        if empty != (may && known && value.is_none()) {
            broken.push(format!("{} of the new one is known to be empty: {empty}", mapping.field));
        }
    }
    let intent = planned.intent(&case.definition, &key(), side);
    let meant = intent.map_or(0, |intent| usize::from(intent.op == Op::Create) * intent.fields.len());
    if meant != fields.len() + planned.agreed.len() {
        broken.push(format!("a create means {meant} fields"));
    }
}

/// After a plan was carried out, the next plan has nothing to write.
fn settles(case: &Case, planned: &RecordPlan, broken: &mut Vec<String>) {
    let (mut sides, mut planned) = ([case.salesforce.clone(), case.postgres.clone()], planned.clone());
    for round in 0..3 {
        if planned.writes_nothing() || planned.held.is_some() {
            return;
        }
        if SIDES.into_iter().any(|side| *planned.action(side) == Action::Delete) {
            return;
        }
        let mut base = Base::new(BaseKey("003000000000001AAA".into()));
        base.live = planned.live;
        base.fields.extend(planned.agreed.clone());
        for (side, presence) in SIDES.into_iter().zip(&mut sides) {
            let action = planned.action(side);
            let Some(fields) = action.fields() else { continue };
            let mut image = match presence {
                Presence::Present(image) => image.clone(),
                _ => case
                    .definition
                    .fields
                    .iter()
                    .map(|one| (one.field.clone(), Cell::Value(Value::Null)))
                    .collect(),
            };
            for (name, write) in fields {
                let mapping = mapping(&case.definition, name);
                base.fields.insert(name.clone(), field_base(mapping, &write.after));
                image.insert(name.clone(), Cell::Value(write.after.clone()));
            }
            *presence = Presence::Present(image);
        }
        let next = plan(&case.definition, &key(), Some(&base), &sides[0], &sides[1]);
        // A create leaves out the fields that travel the other way only. The next plan may write those
        // fields, so the round after a create is allowed to write.
        let again =
            round > 0 || SIDES.into_iter().all(|side| !matches!(planned.action(side), Action::Create(_)));
        if again && !next.writes_nothing() {
            broken.push(format!("once carried out, it is planned again: {next:?}"));
            return;
        }
        planned = next;
    }
}

/// If the two sides change roles everywhere (directions, policies, primary, required fields, base, images),
/// the plan is the same with the roles changed. Definitions with a field that Salesforce accepts in a create
/// only are left out, because Postgres has no such fields.
fn mirrors(case: &Case, known: Option<&Base>, planned: &RecordPlan, broken: &mut Vec<String>) {
    if case.definition.fields.iter().any(|mapping| !mapping.salesforce_updateable) {
        return;
    }
    let turn = |direction| match direction {
        Direction::Both => Direction::Both,
        Direction::ToPostgres => Direction::ToSalesforce,
        Direction::ToSalesforce => Direction::ToPostgres,
    };
    let mut definition = case.definition.clone();
    definition.primary = definition.primary.other();
    definition.direction = turn(definition.direction);
    definition.deletes = Deletes {
        from_salesforce: case.definition.deletes.from_postgres,
        from_postgres: case.definition.deletes.from_salesforce,
    };
    for mapping in &mut definition.fields {
        mapping.direction = turn(mapping.direction);
        std::mem::swap(&mut mapping.salesforce_required, &mut mapping.postgres_required);
    }
    let mut base = known.cloned();
    if let Some(gone) = base.as_mut().and_then(|base| base.gone.as_mut()) {
        gone.side = gone.side.other();
    }
    let mirrored = plan(&definition, &key(), base.as_ref(), &case.postgres, &case.salesforce);
    let both_miss =
        !matches!(case.salesforce, Presence::Present(_)) && !matches!(case.postgres, Presence::Present(_));
    let same = mirrored.salesforce == planned.postgres
        && mirrored.postgres == planned.salesforce
        && mirrored.agreed == planned.agreed
        && mirrored.waits_for == planned.waits_for
        && mirrored.live == planned.live
        && mirrored.conflicts.len() == planned.conflicts.len()
        && (both_miss
            || mirrored.gone.map(|gone| (gone.side.other(), gone.how))
                == planned.gone.map(|gone| (gone.side, gone.how)));
    if !same {
        broken.push(format!("mirrored it is planned {mirrored:?}"));
    }
}
