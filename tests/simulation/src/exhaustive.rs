//! Every schedule within small bounds, over the real planner.
//!
//! One record on two sides, two appliers, users' edits, a capture log, crashes, lost answers and writes that land
//! late. The steps are those of `reconcile`, one by one; what is planned and how an intent is resolved is the
//! engine's own code. States are explored breadth first, so the schedule that is shown for a violation is a
//! shortest one. Each value is known by the edit that made it: a side *knows* the edits
//! whose values it held or was written over with.

use crate::world::CONTACTS as SYNC;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use support::{contact_definition, fingerprint_key};
use syncline_engine::{
    Action, Base, BaseKey, Cell, Definition, Evidence, FingerprintKey, Intent, PostgresKey, Presence,
    RecordPlan, SalesforceId, Side, Stamp, Value, plan, resolve,
};

const FIELD: &str = "FirstName";

/// How far to explore, and which safeguard to leave out.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Edits of users.
    pub edits: u8,
    /// Crashes, leases that end early and lost answers.
    pub faults: u8,
    /// The record stands nowhere at first, and a user creates it on this side.
    pub created_on: Option<Side>,
    /// The winner of conflicts.
    pub primary: Side,
    /// Give up after so many states.
    pub states: usize,
    /// Leave a safeguard out, to see that it is needed.
    pub without: Option<Safeguard>,
}

/// What the protocol cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Safeguard {
    /// A record under another run's intent waits until its lease has ended.
    Lease,
    /// What became of an intent is found by evidence.
    Evidence,
    /// A row that moved since it was read is not written.
    Moved,
}

/// What was found.
#[derive(Debug)]
pub struct Explored {
    /// Distinct states.
    pub states: usize,
    /// All of them were explored.
    pub complete: bool,
    /// The first violation, with a shortest schedule.
    pub violation: Option<(String, Vec<String>)>,
    /// Conflicts were planned in some schedule.
    pub conflicts: bool,
}

/// One side's record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Record {
    stands: bool,
    value: u8,
    version: u8,
    /// The intent that wrote last.
    marker: u8,
    /// Edits whose values this side held or was written over with.
    knows: u8,
}

/// The base: the engine's own is made of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Saved {
    live: bool,
    value: Option<u8>,
    stamp: u8,
    version: u8,
    intent: Option<Meant>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Meant {
    number: u8,
    /// The applier that still holds the lease.
    holder: Option<u8>,
    /// (creates, value) on each side.
    salesforce: Option<(bool, u8)>,
    postgres: Option<(bool, u8)>,
    knows: u8,
}

/// Where an applier is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum At {
    #[default]
    Idle,
    Taken,
    Loaded,
    Read,
    Planned,
    Saved,
    Committed,
    Sent,
    Answered,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Applier {
    at: At,
    base: Saved,
    salesforce: Record,
    postgres: Record,
    locks: bool,
    resolved: Saved,
    /// (creates, value) to write.
    to_salesforce: Option<(bool, u8)>,
    to_postgres: Option<(bool, u8)>,
    agreed: Option<u8>,
    conflict: bool,
    live: bool,
    knows: u8,
    intent: u8,
    outdated: bool,
    landed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Flight {
    owner: Option<u8>,
    intent: u8,
    creates: bool,
    value: u8,
    knows: u8,
    seen: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct World {
    salesforce: Record,
    postgres: Record,
    /// The intent that created the Salesforce record: its external Id.
    created_by: u8,
    base: Saved,
    appliers: [Applier; 2],
    flights: Vec<Flight>,
    touch: bool,
    log: bool,
    edits: u8,
    faults: u8,
    intents: u8,
    /// Edits that fell into the window between a read and its write: the one thing that is not promised.
    window: u8,
    logged: u8,
}

struct Explorer {
    bounds: Bounds,
    definition: Definition,
    key: FingerprintKey,
    id: SalesforceId,
    row: PostgresKey,
}

/// An action of somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Move {
    Step(u8),
    Crash(u8),
    LeaseEnds(u8),
    Lands(u8),
    Dropped(u8),
    Poll,
    Edit(Side),
}

type Outcome = Result<World, String>;

/// Explores every schedule within the bounds.
///
/// # Panics
/// Only on a bug of its own.
#[must_use]
pub fn explore(bounds: &Bounds) -> Explored {
    let mut definition = contact_definition(bounds.primary);
    definition.fields.truncate(1);
    let explorer = Explorer {
        bounds: *bounds,
        definition,
        key: fingerprint_key(),
        id: SalesforceId::parse("003000000000001AAA").unwrap(),
        row: PostgresKey("[\"1\"]".to_owned()),
    };
    let start = explorer.start();
    let mut came_from: HashMap<World, Option<(World, Move)>> = HashMap::new();
    let mut queue = VecDeque::from([start.clone()]);
    came_from.insert(start, None);
    let mut conflicts = false;
    while let Some(world) = queue.pop_front() {
        if came_from.len() > bounds.states {
            return Explored { states: came_from.len(), complete: false, violation: None, conflicts };
        }
        for action in moves() {
            let Some(outcome) = explorer.apply(&world, action) else { continue };
            let next = match outcome.and_then(|next| explorer.at_rest(next)) {
                Ok(next) => next,
                Err(violation) => {
                    let mut schedule = vec![format!("{action:?}")];
                    let mut at = &world;
                    while let Some(Some((before, action))) = came_from.get(at) {
                        schedule.push(format!("{action:?}"));
                        at = before;
                    }
                    schedule.reverse();
                    let violation = Some((violation, schedule));
                    return Explored { states: came_from.len(), complete: false, violation, conflicts };
                }
            };
            conflicts |= next.logged != 0;
            if !came_from.contains_key(&next) {
                came_from.insert(next.clone(), Some((world.clone(), action)));
                queue.push_back(next);
            }
        }
    }
    Explored { states: came_from.len(), complete: true, violation: None, conflicts }
}

fn moves() -> Vec<Move> {
    let mut moves = vec![Move::Poll, Move::Edit(Side::Salesforce), Move::Edit(Side::Postgres)];
    for number in 0..2 {
        moves.extend([
            Move::Step(number),
            Move::Crash(number),
            Move::LeaseEnds(number),
            Move::Lands(number),
            Move::Dropped(number),
        ]);
    }
    moves
}

fn value(number: u8) -> Value {
    Value::Text(format!("v{number}"))
}

fn number(value: &Value) -> u8 {
    value.text().and_then(|text| text.strip_prefix('v')?.parse().ok()).unwrap()
}

/// The bit of the edit that made a value; the first value is nobody's.
fn bit(value: u8) -> u8 {
    if value < 2 { 0 } else { 1 << (value - 2) }
}

impl Explorer {
    fn without(&self, safeguard: Safeguard) -> bool {
        self.bounds.without == Some(safeguard)
    }

    fn start(&self) -> World {
        let mut world = World { edits: self.bounds.edits, faults: self.bounds.faults, ..World::default() };
        let record = Record { stands: true, value: 1, ..Record::default() };
        match self.bounds.created_on {
            None => {
                world.salesforce = record.clone();
                world.postgres = record;
                world.base = Saved { live: true, value: Some(1), version: 1, ..Saved::default() };
            }
            Some(Side::Salesforce) => {
                world.salesforce = record;
                world.touch = true;
            }
            Some(Side::Postgres) => {
                world.postgres = record;
                world.log = true;
            }
        }
        world
    }

    /// The engine's base.
    fn engine_base(&self, saved: &Saved) -> Base {
        let mapping = &self.definition.fields[0];
        let field = |number: u8| syncline_engine::FieldBase {
            fingerprint: self.key.fingerprint(SYNC, FIELD, &mapping.rule, &value(number)),
            rule: mapping.rule.version,
        };
        let mut base = Base::new(BaseKey("b".to_owned()));
        base.live = saved.live;
        base.fields = saved.value.map(|number| (FIELD.to_owned(), field(number))).into_iter().collect();
        base.stamp = Some(Stamp::Read(jiff::Timestamp::UNIX_EPOCH));
        let side = |meant: Option<(bool, u8)>| {
            meant.map(|(creates, number)| syncline_engine::IntentSide {
                op: if creates { syncline_engine::Op::Create } else { syncline_engine::Op::Update },
                fields: BTreeMap::from([(FIELD.to_owned(), field(number))]),
            })
        };
        base.intent = saved.intent.as_ref().map(|meant| Intent {
            id: meant.number.to_string(),
            lease_until: jiff::Timestamp::UNIX_EPOCH,
            salesforce: side(meant.salesforce),
            postgres: side(meant.postgres),
        });
        base
    }

    fn presence(&self, record: &Record) -> Presence {
        if !record.stands {
            return Presence::Missing;
        }
        Presence::Present(BTreeMap::from([(FIELD.to_owned(), Cell::Value(value(record.value)))]))
    }

    /// What an interrupted run left, resolved by the engine from evidence.
    fn resolved(&self, world: &World, applier: &Applier) -> (Saved, u8) {
        let Some(meant) = &applier.base.intent else { return (applier.base.clone(), 0) };
        let landed_postgres = meant.postgres.is_some() && applier.postgres.marker >= meant.number;
        let landed_salesforce = match meant.salesforce {
            None => false,
            Some((true, _)) => world.created_by == meant.number && applier.salesforce.stands,
            Some((false, _)) => applier.salesforce.marker == meant.number,
        };
        let trusted = !self.without(Safeguard::Evidence);
        let evidence = Evidence {
            postgres: (landed_postgres && trusted).then(|| self.row.clone()),
            salesforce: (landed_salesforce && trusted).then(|| self.id.clone()),
        };
        let base = resolve(&self.engine_base(&applier.base), &evidence);
        let mut saved = applier.base.clone();
        saved.intent = None;
        saved.live = base.live;
        let known: BTreeSet<u8> = [applier.base.value]
            .into_iter()
            .flatten()
            .chain(meant.salesforce.map(|(_, number)| number))
            .chain(meant.postgres.map(|(_, number)| number))
            .collect();
        let mapping = &self.definition.fields[0];
        saved.value = base.fields.get(FIELD).and_then(|field| {
            known.into_iter().find(|number| {
                self.key.fingerprint(SYNC, FIELD, &mapping.rule, &value(*number)) == field.fingerprint
            })
        });
        let knows = if landed_postgres || landed_salesforce { meant.knows } else { 0 };
        (saved, knows)
    }

    fn apply(&self, world: &World, action: Move) -> Option<Outcome> {
        let mut next = world.clone();
        match action {
            Move::Step(place) => return self.step(next, place),
            Move::Crash(place) => {
                if world.faults == 0 || world.appliers[usize::from(place)].at == At::Idle {
                    return None;
                }
                next.faults -= 1;
                end(&mut next, place, true);
            }
            Move::LeaseEnds(place) => {
                let holds = world.base.intent.as_ref().is_some_and(|meant| meant.holder == Some(place));
                let in_flight = world.flights.iter().any(|flight| flight.owner == Some(place));
                if world.faults == 0 || !holds || in_flight {
                    return None;
                }
                next.faults -= 1;
                next.base.intent.as_mut()?.holder = None;
                next.appliers[usize::from(place)].outdated = true;
            }
            Move::Lands(place) => return land(next, usize::from(place)),
            Move::Dropped(place) => {
                if world.faults == 0 || usize::from(place) >= world.flights.len() {
                    return None;
                }
                next.faults -= 1;
                let flight = next.flights.remove(usize::from(place));
                answer(&mut next, &flight, false);
            }
            Move::Poll => {
                if !world.log {
                    return None;
                }
                next.log = false;
                next.touch = true;
            }
            Move::Edit(side) => {
                if world.edits == 0 {
                    return None;
                }
                let number = 2 + self.bounds.edits - world.edits;
                let record = match side {
                    Side::Salesforce => &mut next.salesforce,
                    Side::Postgres => &mut next.postgres,
                };
                if !record.stands {
                    return None;
                }
                record.value = number;
                record.version += 1;
                record.knows |= bit(number);
                match side {
                    Side::Salesforce => next.touch = true,
                    Side::Postgres => next.log = true,
                }
                next.edits -= 1;
            }
        }
        Some(Ok(next))
    }

    fn step(&self, mut world: World, place: u8) -> Option<Outcome> {
        let at = usize::from(place);
        let applier = world.appliers[at].clone();
        match applier.at {
            At::Idle => {
                if !world.touch {
                    return None;
                }
                world.touch = false;
                world.appliers[at].at = At::Taken;
            }
            At::Taken => {
                let held = world.base.intent.as_ref().is_some_and(|meant| {
                    meant.holder.is_some() || world.flights.iter().any(|flight| flight.intent == meant.number)
                });
                if held && !self.without(Safeguard::Lease) {
                    return None;
                }
                world.appliers[at].base = world.base.clone();
                world.appliers[at].at = At::Loaded;
            }
            At::Loaded => {
                world.appliers[at].salesforce = world.salesforce.clone();
                world.appliers[at].at = At::Read;
            }
            At::Read => {
                if world.appliers[1 - at].locks {
                    end(&mut world, place, true);
                    return Some(Ok(world));
                }
                world.appliers[at].locks = true;
                world.appliers[at].postgres = world.postgres.clone();
                return Some(self.plan(world, place));
            }
            At::Planned => {
                if world.base.version != applier.base.version {
                    end(&mut world, place, true);
                    return Some(Ok(world));
                }
                if applier.to_salesforce.is_none() && applier.to_postgres.is_none() {
                    return Some(self.save(world, place));
                }
                world.intents += 1;
                let number = world.intents;
                let mut base = applier.resolved.clone();
                base.version = applier.base.version + 1;
                base.live |= applier.salesforce.stands && applier.postgres.stands && applier.live;
                base.stamp = applier.salesforce.version;
                base.value = applier.agreed.or(base.value);
                base.intent = Some(Meant {
                    number,
                    holder: Some(place),
                    salesforce: applier.to_salesforce,
                    postgres: applier.to_postgres,
                    knows: applier.knows,
                });
                world.base = base;
                world.appliers[at].intent = number;
                if applier.conflict {
                    world.logged |= bit(applier.salesforce.value) | bit(applier.postgres.value);
                }
                world.appliers[at].at = At::Saved;
            }
            At::Saved => {
                if applier.outdated {
                    end(&mut world, place, true);
                    return Some(Ok(world));
                }
                if let Some((creates, number)) = applier.to_postgres {
                    let moved = world.postgres.version != applier.postgres.version
                        || world.postgres.stands != applier.postgres.stands;
                    if moved && !self.without(Safeguard::Moved) {
                        clear_intent(&mut world, place);
                        end(&mut world, place, true);
                        return Some(Ok(world));
                    }
                    let unseen = world.postgres.knows & !applier.knows;
                    if unseen != 0 && !creates {
                        return Some(Err(format!(
                            "LOST UPDATE: Postgres is written over unseen edits {unseen:b}"
                        )));
                    }
                    world.postgres.stands = true;
                    world.postgres.value = number;
                    world.postgres.version += 1;
                    world.postgres.marker = applier.intent;
                    world.postgres.knows |= applier.knows;
                }
                world.appliers[at].locks = false;
                world.appliers[at].landed = applier.to_salesforce.is_none();
                world.appliers[at].at =
                    if applier.to_salesforce.is_some() { At::Committed } else { At::Answered };
            }
            At::Committed => {
                if applier.outdated {
                    end(&mut world, place, true);
                    return Some(Ok(world));
                }
                let (creates, number) = applier.to_salesforce?;
                world.flights.push(Flight {
                    owner: Some(place),
                    intent: applier.intent,
                    creates,
                    value: number,
                    knows: applier.knows,
                    seen: applier.salesforce.version,
                });
                world.appliers[at].at = At::Sent;
            }
            At::Sent => return None,
            At::Answered => return Some(self.save(world, place)),
        }
        Some(Ok(world))
    }

    fn plan(&self, mut world: World, place: u8) -> Outcome {
        let at = usize::from(place);
        let applier = world.appliers[at].clone();
        let (resolved, landed) = self.resolved(&world, &applier);
        let base = self.engine_base(&resolved);
        let known = Some(&base).filter(|base| base.live);
        let (one, other) = (self.presence(&applier.salesforce), self.presence(&applier.postgres));
        let RecordPlan { salesforce, postgres, conflicts, live, agreed, .. } =
            plan(&self.definition, &self.key, known, &one, &other);
        let write = |action: &Action| {
            let creates = matches!(action, Action::Create(_));
            action.fields().and_then(|fields| fields.get(FIELD)).map(|write| (creates, number(&write.after)))
        };
        let knows = applier.salesforce.knows | applier.postgres.knows | landed;
        let next = &mut world.appliers[at];
        next.to_salesforce = write(&salesforce);
        next.to_postgres = write(&postgres);
        next.conflict = !conflicts.is_empty();
        next.agreed = (!agreed.is_empty()).then_some(applier.salesforce.value);
        next.live = live;
        next.knows = knows;
        next.resolved = resolved.clone();
        next.at = At::Planned;
        // A value of a user that only one side knows must not be written over without a conflict.
        for (write, target, source) in [
            (next.to_salesforce, &applier.salesforce, &applier.postgres),
            (next.to_postgres, &applier.postgres, &applier.salesforce),
        ] {
            let Some((false, _)) = write else { continue };
            let lost = target.knows & !(source.knows | landed);
            let lost = lost & bit(target.value);
            if lost != 0 && conflicts.is_empty() && world.window & lost == 0 {
                return Err(format!("LOST UPDATE: a plan takes a side that does not know edit {lost:b}"));
            }
        }
        if !conflicts.is_empty() {
            let typed = |record: &Record, across: &Record| {
                bit(record.value) != 0 && bit(record.value) & !(across.knows | landed) != 0
            };
            let both = typed(&applier.salesforce, &applier.postgres)
                && typed(&applier.postgres, &applier.salesforce);
            let windowed = world.window != 0;
            if !both && !windowed && world.base.version == applier.base.version {
                return Err("FALSE CONFLICT: one of its values is no edit that the other side did not know"
                    .to_owned());
            }
        }
        let next = &world.appliers[at];
        let stamp_moved = applier.salesforce.version != applier.base.stamp;
        let interrupted = applier.base.intent.is_some();
        let differs = resolved.live != live || next.agreed.is_some() && next.agreed != resolved.value;
        if next.to_salesforce.is_none()
            && next.to_postgres.is_none()
            && !interrupted
            && !stamp_moved
            && !differs
        {
            end(&mut world, place, false);
        }
        Ok(world)
    }

    /// Step 9, and what becomes of a base that nothing was written for.
    fn save(&self, mut world: World, place: u8) -> Outcome {
        let at = usize::from(place);
        let applier = world.appliers[at].clone();
        let wrote = applier.intent != 0;
        let expected = if wrote { applier.base.version + 1 } else { applier.base.version };
        if world.base.version != expected {
            end(&mut world, place, true);
            return Ok(world);
        }
        let value = applier
            .to_salesforce
            .filter(|_| applier.landed)
            .or(applier.to_postgres)
            .map(|(_, number)| number)
            .or(applier.agreed)
            .or(applier.resolved.value);
        let landed_all = applier.to_salesforce.is_none() || applier.landed;
        world.base = Saved {
            live: applier.live && landed_all || applier.resolved.live,
            value,
            stamp: applier.salesforce.version + u8::from(applier.to_salesforce.is_some()),
            version: expected + 1,
            intent: None,
        };
        world.salesforce.knows |= if landed_all { applier.knows } else { 0 };
        world.postgres.knows |= applier.knows;
        end(&mut world, place, false);
        Ok(world)
    }

    /// Where nothing waits any more, both sides are equal and no intent stands.
    fn at_rest(&self, world: World) -> Outcome {
        let busy = world.touch
            || world.log
            || !world.flights.is_empty()
            || world.appliers.iter().any(|applier| applier.at != At::Idle);
        if busy {
            return Ok(world);
        }
        if world.base.intent.is_some() {
            return Err("INTENT stands at rest".to_owned());
        }
        let (here, there) = (&world.salesforce, &world.postgres);
        if (here.stands, here.value) != (there.stands, there.value) {
            return Err(format!(
                "CONVERGENCE: at rest Salesforce holds v{}, Postgres v{}",
                here.value, there.value
            ));
        }
        if world.base.value.is_some_and(|value| value != here.value) {
            return Err("BASE: it holds another value than both sides".to_owned());
        }
        Ok(world)
    }
}

fn clear_intent(world: &mut World, place: u8) {
    let applier = &world.appliers[usize::from(place)];
    if world.base.version == applier.base.version + 1 {
        world.base.intent = None;
        world.base.version += 1;
    }
}

/// The applier is idle again; what it had in flight goes on without it.
fn end(world: &mut World, place: u8, touch: bool) {
    world.appliers[usize::from(place)] = Applier::default();
    world.touch |= touch;
    if let Some(meant) = &mut world.base.intent
        && meant.holder == Some(place)
    {
        meant.holder = None;
    }
    for flight in world.flights.iter_mut().filter(|flight| flight.owner == Some(place)) {
        flight.owner = None;
    }
}

fn answer(world: &mut World, flight: &Flight, landed: bool) {
    let Some(owner) = flight.owner else { return };
    if landed {
        world.appliers[usize::from(owner)].landed = true;
        world.appliers[usize::from(owner)].at = At::Answered;
    } else {
        end(world, owner, true);
    }
}

fn land(mut world: World, place: usize) -> Option<Outcome> {
    if place >= world.flights.len() {
        return None;
    }
    let flight = world.flights.remove(place);
    if flight.creates && (world.salesforce.stands || world.created_by != 0) {
        return Some(Err("DUPLICATE: a create lands where a record stands".to_owned()));
    }
    let unseen = world.salesforce.knows & !flight.knows & bit(world.salesforce.value);
    if unseen != 0 && !flight.creates {
        if world.salesforce.version == flight.seen {
            return Some(Err(format!("LOST UPDATE: edit {unseen:b} was read and is written over")));
        }
        world.window |= unseen;
    }
    world.salesforce.stands = true;
    world.salesforce.value = flight.value;
    world.salesforce.version += 1;
    world.salesforce.marker = flight.intent;
    world.salesforce.knows |= flight.knows;
    if flight.creates {
        world.created_by = flight.intent;
    }
    world.touch = true;
    answer(&mut world, &flight, true);
    Some(Ok(world))
}
