//! Every interleaving within small bounds, of the real use cases: two processes that apply, one that polls, people's
//! deeds, and one or two things that go wrong, on a handful of records.
//!
//! A schedule is one that runs each process to its end, but for a few deviations: at some await another process goes
//! on, somebody does something, a write to Salesforce lands elsewhere in the order, loses its answer or never arrives,
//! a process ends, or time passes. All schedules with so many deviations are run, each from the beginning, and judged
//! by the checkers of the simulation. The worlds hold what has many orders: records that compete for one external Id,
//! the link that is written back, parents, held deletes, stamps of one second, and batches in which records fail
//! differently.

use crate::checks::check;
use crate::options::{Features, Options};
use crate::planted::Planted;
use crate::schedule::{Report, Schedule};
use crate::world::{ACCOUNTS, CONTACTS, PARENT, REFUSED_BY_RULE, name_field, object};
use support::{Landing, MemoryPorts, Values, key_text, name_of};
use syncline_engine::{PostgresKey, SalesforceId, Side};

/// What somebody does, to what is called so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// A new record or row: side, sync, name.
    Insert(Side, &'static str, &'static str),
    /// A new row or record with its parent.
    InsertChild(Side, &'static str, &'static str),
    /// A field gets a value.
    Edit(Side, &'static str, &'static str, &'static str),
    /// All rows of the contacts get a value each.
    EditAll(&'static str, &'static str),
    /// It is deleted.
    Delete(Side, &'static str),
    /// It comes out of the recycle bin.
    Undelete(&'static str),
    /// The row gets another key.
    ChangeKey(&'static str),
    /// The row's link column is emptied.
    ClearLink(&'static str),
}

/// A small world and what is done in it.
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// The seed of its definitions: primary and delete policy.
    pub seed: u64,
    /// What there is.
    pub features: Features,
    /// Done first, and carried across.
    pub before: &'static [Deed],
    /// Done at any moment, in this order.
    pub deeds: &'static [Deed],
    /// A bug, switched on.
    pub planted: Option<Planted>,
}

/// Primary Salesforce, deletes go across.
const PROPAGATES: u64 = 4;
/// Primary Postgres, deletes go across.
const PROPAGATES_TO_POSTGRES: u64 = 5;
/// Primary Salesforce, deletes are held for review.
const HOLDS: u64 = 2;

use Deed::{ChangeKey, ClearLink, Delete, Edit, EditAll, Insert, InsertChild, Undelete};
use Side::{Postgres, Salesforce};

/// All scenarios.
#[must_use]
pub fn scenarios() -> Vec<Scenario> {
    let plain = Features { page: 1000, ..Features::default() };
    let parents = Features { accounts: true, foreign_key: Some(false), ..plain };
    let rules = Features { validation: true, before_trigger: true, ..plain };
    let scenario =
        |name, seed, features, before, deeds| Scenario { name, seed, features, before, deeds, planted: None };
    vec![
        scenario(
            "one external Id",
            PROPAGATES,
            plain,
            &[],
            &[Insert(Postgres, CONTACTS, "n1"), Edit(Salesforce, "n1", "Title", "v1")],
        ),
        scenario(
            "the link is written back",
            PROPAGATES,
            plain,
            &[],
            &[Insert(Postgres, CONTACTS, "n1"), ChangeKey("n1"), Edit(Postgres, "n1", "Title", "v1")],
        ),
        scenario(
            "a row is deleted while its record is created",
            PROPAGATES_TO_POSTGRES,
            plain,
            &[],
            &[Insert(Postgres, CONTACTS, "n1"), Delete(Postgres, "n1")],
        ),
        scenario(
            "parents",
            PROPAGATES,
            parents,
            &[],
            &[
                Insert(Postgres, ACCOUNTS, "a1"),
                InsertChild(Postgres, "n1", "a1"),
                Edit(Salesforce, "n1", "Title", "v1"),
            ],
        ),
        scenario(
            "a parent is deleted",
            PROPAGATES,
            parents,
            &[Insert(Salesforce, ACCOUNTS, "a1")],
            &[InsertChild(Postgres, "n1", "a1"), Delete(Salesforce, "a1")],
        ),
        scenario(
            "held deletes",
            HOLDS,
            plain,
            &[Insert(Postgres, CONTACTS, "n1")],
            &[Delete(Salesforce, "n1"), Edit(Postgres, "n1", "Title", "v1"), Undelete("n1")],
        ),
        scenario(
            "a delete meets an edit",
            PROPAGATES_TO_POSTGRES,
            plain,
            &[Insert(Postgres, CONTACTS, "n1")],
            &[Delete(Salesforce, "n1"), Edit(Postgres, "n1", "Title", "v1"), Undelete("n1")],
        ),
        scenario(
            "edits of one second",
            PROPAGATES,
            plain,
            &[Insert(Salesforce, CONTACTS, "n1")],
            &[
                Edit(Salesforce, "n1", "Title", "v1"),
                Edit(Salesforce, "n1", "Title", "v2"),
                Edit(Postgres, "n1", "Title", "v3"),
            ],
        ),
        scenario(
            "records that fail differently",
            PROPAGATES_TO_POSTGRES,
            rules,
            &[
                Insert(Postgres, CONTACTS, "n1"),
                Insert(Postgres, CONTACTS, "n2"),
                Insert(Salesforce, CONTACTS, "n3"),
            ],
            &[
                EditAll("FirstName", "m"),
                Edit(Postgres, "n1", "FirstName", REFUSED_BY_RULE),
                Delete(Salesforce, "n2"),
            ],
        ),
        scenario(
            "a row changes its key and loses its link",
            PROPAGATES,
            plain,
            &[Insert(Salesforce, CONTACTS, "n1")],
            &[ChangeKey("n1"), ClearLink("n1"), Edit(Salesforce, "n1", "Title", "v1")],
        ),
    ]
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// Another process goes on from here.
    To(usize),
    /// The next deed is done.
    Deed,
    /// A write under way lands, counted from the oldest.
    Lands(usize),
    /// It lands, and its answer is lost.
    AnswerLost,
    /// It never arrives.
    Dropped,
    /// The process that goes on ends, with all it has in memory.
    Crash,
    /// A message group may be received again, and a second has passed.
    Wait,
}

/// At which step something else happens than the next of the same.
pub type Deviation = (usize, Move);

/// What was explored.
#[derive(Default)]
pub struct Explored {
    /// Schedules that were run.
    pub schedules: usize,
    /// The first that broke an invariant.
    pub violation: Option<(Vec<Deviation>, Vec<String>)>,
}

/// Steps within which a schedule has to end.
const STEPS: usize = 2_000;

struct Running<'a> {
    scenario: &'a Scenario,
    schedule: Schedule,
    left: Vec<Deed>,
    active: usize,
    /// Messages that waited when a process began last.
    waiting: Option<usize>,
}

/// Runs all schedules with up to so many deviations.
#[must_use]
pub fn explore(scenario: &Scenario, deviations: usize) -> Explored {
    let mut explored = Explored::default();
    let mut open: Vec<Vec<Deviation>> = vec![vec![]];
    while let Some(deviated) = open.pop() {
        let (broken, choices) = run(scenario, &deviated);
        explored.schedules += 1;
        if !broken.is_empty() {
            explored.violation = Some((deviated, broken));
            return explored;
        }
        if deviated.len() == deviations {
            continue;
        }
        let from = deviated.last().map_or(0, |(step, _)| step + 1);
        for (step, moves) in choices.into_iter().enumerate().skip(from) {
            open.extend(moves.into_iter().map(|other| [deviated.as_slice(), &[(step, other)]].concat()));
        }
    }
    explored
}

/// Runs one schedule: what it broke, and what else could have happened at each step.
#[must_use]
pub fn run(scenario: &Scenario, deviations: &[Deviation]) -> (Vec<String>, Vec<Vec<Move>>) {
    let (report, choices) = report(scenario, deviations, false);
    (report.map_or_else(|words| vec![words], |report| check(&report)), choices)
}

/// The report of one schedule, to be looked at.
pub fn report(
    scenario: &Scenario,
    deviations: &[Deviation],
    traced: bool,
) -> (Result<Report, String>, Vec<Vec<Move>>) {
    let options = Options {
        features: scenario.features,
        window: true,
        planted: scenario.planted,
        ..Options::default()
    };
    let mut running = Running {
        scenario,
        schedule: Schedule::new(scenario.seed, options, traced),
        left: scenario.deeds.iter().rev().copied().collect(),
        active: 0,
        waiting: None,
    };
    for deed in running.scenario.before {
        running.does(*deed);
    }
    if running.schedule.settle().is_none() {
        return (Err("it did not come to rest before it began".to_owned()), vec![]);
    }
    let mut choices = Vec::new();
    let mut deviations = deviations.iter().peekable();
    for step in 0..STEPS {
        choices.push(running.others());
        match deviations.next_if(|(at, _)| *at == step) {
            Some((_, other)) => running.does_else(*other),
            None => {
                if !running.goes_on() {
                    return (Ok(running.schedule.finish(scenario.seed)), choices);
                }
            }
        }
        running.schedule.tell();
    }
    (Err(format!("it did not end within {STEPS} steps")), choices)
}

impl Running<'_> {
    fn memory(&self) -> &MemoryPorts {
        &self.schedule.ports.memory
    }

    /// The next of the same; false at the end.
    fn goes_on(&mut self) -> bool {
        if !self.memory().salesforce.under_way().is_empty() {
            self.memory().salesforce.land(0, Landing::Answered);
            return true;
        }
        if self.schedule.is_busy(self.active) {
            self.schedule.step(self.active);
            return true;
        }
        if let Some(busy) = (0..3).find(|task| self.schedule.is_busy(*task)) {
            self.active = busy;
            return true;
        }
        while !self.schedule.users.messages.is_empty() {
            self.schedule.deliver(0);
        }
        if self.memory().database.log_len() > 0 {
            self.active = 2;
        } else if !self.memory().queue.is_empty() {
            self.active = 0;
        } else if let Some(deed) = self.left.pop() {
            self.does(deed);
            return true;
        } else {
            return false;
        }
        // What a process that ended had received comes again.
        let waiting = self.memory().queue.len();
        if waiting > 0 && self.waiting == Some(waiting) {
            self.schedule.advance(jiff::SignedDuration::from_secs(1));
        }
        self.waiting = Some(waiting);
        self.schedule.step(self.active);
        true
    }

    /// What else could happen.
    fn others(&self) -> Vec<Move> {
        let waits = !self.memory().queue.is_empty();
        let mut others: Vec<Move> = (0..3)
            .filter(|task| *task != self.active)
            .filter(|task| self.schedule.is_busy(*task) || waits && *task < 2)
            .map(Move::To)
            .collect();
        if !self.left.is_empty() {
            others.push(Move::Deed);
        }
        let under_way = self.memory().salesforce.under_way().len();
        others.extend((1..under_way).map(Move::Lands));
        if under_way > 0 {
            others.extend([Move::AnswerLost, Move::Dropped]);
        }
        if self.schedule.is_busy(self.active) {
            others.push(Move::Crash);
        }
        if waits {
            others.push(Move::Wait);
        }
        others
    }

    fn does_else(&mut self, other: Move) {
        match other {
            Move::To(task) => {
                self.active = task;
                self.schedule.step(task);
            }
            Move::Deed => {
                if let Some(deed) = self.left.pop() {
                    self.does(deed);
                }
            }
            Move::Lands(place) => self.memory().salesforce.land(place, Landing::Answered),
            Move::AnswerLost => self.memory().salesforce.land(0, Landing::AnswerLost),
            Move::Dropped => self.memory().salesforce.land(0, Landing::Dropped),
            Move::Crash => self.schedule.end(self.active),
            Move::Wait => self.schedule.advance(jiff::SignedDuration::from_secs(1)),
        }
    }

    fn record(&self, name: &str, deleted: bool) -> Option<SalesforceId> {
        let records = self.memory().salesforce.records().into_iter();
        let mut found =
            records.filter(|(_, record)| record.deleted == deleted && name_of(&record.values) == name);
        found.next().map(|(id, _)| id)
    }

    fn row(&self, name: &str) -> Option<(PostgresKey, String)> {
        let rows = self.memory().database.rows().into_iter();
        let mut found = rows.filter(|(_, row)| name_of(&row.values) == name);
        found.next().map(|(key, row)| (key, row.sync))
    }

    fn told(&mut self, id: SalesforceId) {
        let sync = if id.as_str().starts_with("001") { ACCOUNTS } else { CONTACTS };
        self.schedule.users.messages.push((sync.to_owned(), id));
    }

    /// Nothing, where what it would be done to does not stand.
    fn does(&mut self, deed: Deed) {
        let _ = self.done(deed);
    }

    fn done(&mut self, deed: Deed) -> Option<()> {
        let memory = self.schedule.ports.memory.clone();
        let named = |sync, name: &str| Values::from([(name_field(sync).to_owned(), Some(name.to_owned()))]);
        match deed {
            Deed::Insert(Side::Salesforce, sync, name) => {
                self.told(memory.salesforce.insert_into(object(sync), named(sync, name)).ok()?);
            }
            Deed::Insert(Side::Postgres, sync, name) => {
                memory.database.insert_as(sync, &memory.database.free_key(), None, named(sync, name)).ok()?;
            }
            Deed::InsertChild(side, name, parent) => {
                let mut values = named(CONTACTS, name);
                match side {
                    Side::Salesforce => {
                        values.insert(PARENT.to_owned(), self.record(parent, false).map(|id| id.to_string()));
                        self.told(memory.salesforce.insert_into("Contact", values).ok()?);
                    }
                    Side::Postgres => {
                        values.insert(PARENT.to_owned(), self.row(parent).map(|(key, _)| key_text(&key)));
                        let key = memory.database.free_key();
                        memory.database.insert_as(CONTACTS, &key, None, values).ok()?;
                    }
                }
            }
            Deed::Edit(Side::Salesforce, name, field, value) => {
                let id = self.record(name, false)?;
                if memory.salesforce.edit(&id, field, Some(value)) {
                    self.told(id);
                }
            }
            Deed::Edit(Side::Postgres, name, field, value) => {
                let (key, sync) = self.row(name)?;
                memory.database.edit(&sync, &key, field, Some(value));
            }
            Deed::EditAll(field, value) => {
                let keys: Vec<PostgresKey> = memory.database.rows().into_keys().collect();
                let values = Values::from([(field.to_owned(), Some(value.to_owned()))]);
                memory.database.edit_all(CONTACTS, &keys, &values);
            }
            Deed::Delete(Side::Salesforce, name) => {
                memory.salesforce.delete(&self.record(name, false)?);
            }
            Deed::Delete(Side::Postgres, name) => {
                let (key, sync) = self.row(name)?;
                memory.database.delete(&sync, &key);
            }
            Deed::Undelete(name) => {
                let id = self.record(name, true)?;
                if memory.salesforce.undelete(&id) {
                    self.told(id);
                }
            }
            Deed::ChangeKey(name) => {
                let (key, sync) = self.row(name)?;
                memory.database.change_key(&sync, &key);
            }
            Deed::ClearLink(name) => {
                let (key, sync) = self.row(name)?;
                memory.database.write_link(&sync, &key, None);
            }
        }
        Some(())
    }
}
