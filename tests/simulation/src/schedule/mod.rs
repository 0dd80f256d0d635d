//! The scheduler: who goes next, and what goes wrong. One thread, a virtual clock, nothing random but the seed.

use crate::options::{Dice, Options};
use crate::planted::Planted;
use crate::ports::SimPorts;
use crate::script::{Kind, Op, script};
use crate::trace::Trace;
use crate::users::Users;
use crate::world;
use jiff::SignedDuration;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use support::{Landing, MemoryDatabase, MemoryPorts, MemoryQueue, MemoryState};
use syncline_engine::{Base, Definition, FirstLink, Side};
use syncline_sync::{
    Clock, Conflict, PortError, Ports, Queue, State, Step, Touch, consume, enqueue, poll, watch,
};

mod at_rest;
mod report;

pub use at_rest::ROUNDS_TO_REST;
pub use report::{Report, automation_of};

/// Two appliers and a poller.
const TASKS: usize = 3;

type Task = Pin<Box<dyn Future<Output = ()>>>;

struct Backup {
    database: MemoryDatabase,
    state: MemoryState,
    queue: MemoryQueue,
    users: Users,
    events: usize,
}

/// A run under way.
pub(crate) struct Schedule {
    options: Options,
    pub(crate) ports: SimPorts,
    pub(crate) definitions: Arc<Vec<Definition>>,
    pub(crate) users: Users,
    tasks: [Option<Task>; TASKS],
    /// Steps until what is away is back.
    outage_steps: usize,
    backup: Option<Backup>,
    backup_alone: Option<Backup>,
    lost_conflicts: Vec<Conflict>,
    restored: bool,
    restored_alone: Option<usize>,
    redefined: bool,
    resumed: Option<usize>,
    told: usize,
}

/// Runs one seed as its own options have it.
#[must_use]
pub fn run(seed: u64) -> Report {
    let options = Options::of_seed(seed);
    run_script(seed, options, &script(seed, &options), false)
}

/// Runs a script.
#[must_use]
pub fn run_script(seed: u64, options: Options, script: &[Op], traced: bool) -> Report {
    let mut schedule = Schedule::new(seed, options, traced);
    if options.planted == Some(Planted::FirstLinkEmptiesTheFilled) {
        for definition in Arc::make_mut(&mut schedule.definitions) {
            definition.on_first_link = FirstLink::Primary;
        }
    }
    for op in script {
        schedule.step_of(*op);
        schedule.tell();
    }
    schedule.finish(seed)
}

async fn applier(ports: SimPorts, definitions: Arc<Vec<Definition>>) {
    let Ok(deliveries) = ports.queue().receive(10).await else { return };
    if deliveries.is_empty() {
        return;
    }
    // Boxed, for most are idle and end before it.
    let applied = Box::pin(consume::consume(&ports, &definitions, &deliveries, None)).await;
    let _ = ports.queue().done(&applied.done).await;
    let _ = ports.queue().release(&applied.release).await;
}

/// What fails is tried again by the next one.
async fn poller(ports: SimPorts, definitions: Arc<Vec<Definition>>) {
    let _ = Box::pin(watch(&ports, &definitions)).await;
    let _ = Box::pin(poll::check_capture(&ports, &definitions)).await;
    let _ = Box::pin(poll::capture_log(&ports, &definitions)).await;
    let _ = Box::pin(poll::due(&ports)).await;
    for definition in definitions.iter() {
        while let Ok((_, true)) = Box::pin(poll::scan(&ports, definition)).await {}
    }
}

/// No row got another record since the backup, nor another key while its record is being created: nothing that is restored would tell, and it would be created once more.
fn same_records(backup: &MemoryState, state: &MemoryState, syncs: &[Definition]) -> bool {
    syncs.iter().all(|definition| {
        let now: BTreeMap<_, _> =
            state.bases(&definition.name).into_iter().map(|base| (base.key.clone(), base)).collect();
        let then = backup.bases(&definition.name);
        let known: BTreeSet<_> = then.iter().filter_map(|base| base.external_id.clone()).collect();
        let created = |base: &Base| base.external_id.as_ref().is_some_and(|id| !known.contains(id));
        !now.values().any(created)
            && then.iter().all(|then| {
                now.get(&then.key).is_some_and(|now| {
                    now.external_id == then.external_id
                        && match then.salesforce_id {
                            None => now.postgres_key == then.postgres_key,
                            Some(_) => now.salesforce_id == then.salesforce_id,
                        }
                })
            })
    })
}

impl Schedule {
    pub(crate) fn new(seed: u64, options: Options, traced: bool) -> Self {
        let memory = world::ports(seed, &options);
        let trace = Trace::new(memory.clock.clone(), traced);
        Self {
            options,
            ports: SimPorts::new(seed, options, memory, trace),
            definitions: Arc::new(world::definitions(seed, &options.features)),
            users: Users::default(),
            tasks: Default::default(),
            backup: None,
            backup_alone: None,
            outage_steps: 0,
            lost_conflicts: Vec::new(),
            restored: false,
            restored_alone: None,
            redefined: false,
            resumed: None,
            told: 0,
        }
    }

    /// Edits and faults end; everything comes to rest, and is looked at once more.
    pub(crate) fn finish(mut self, seed: u64) -> Report {
        let rounds = if self.restored_alone.is_some() { Some(0) } else { self.come_to_rest() };
        let calls = self.memory().salesforce.calls();
        let second_pass = match rounds {
            Some(_) if self.restored_alone.is_none() => self.second_pass(),
            _ => 0,
        };
        let mut conflicts = self.lost_conflicts;
        conflicts.extend(self.ports.memory.state.conflicts());
        Report {
            seed,
            options: self.options,
            events: self.ports.memory.events.all(),
            ports: self.ports,
            definitions: Arc::unwrap_or_clone(self.definitions),
            conflicts,
            restored: self.restored,
            restored_alone: self.restored_alone,
            redefined: self.redefined,
            restless: rounds.is_none(),
            rounds: rounds.unwrap_or(ROUNDS_TO_REST),
            calls,
            second_pass,
            resumed: self.resumed,
        }
    }

    /// A process is under way.
    pub(crate) fn is_busy(&self, task: usize) -> bool {
        self.tasks[task].is_some()
    }

    /// A process ends, with all it has in memory.
    pub(crate) fn end(&mut self, task: usize) {
        self.tasks[task] = None;
        self.memory().salesforce.run_over(task);
    }

    fn memory(&self) -> &MemoryPorts {
        &self.ports.memory
    }

    fn hit(&self, what: &'static str) {
        self.ports.shared.coverage.hit(what);
        self.ports.shared.trace.say(|| what.to_owned());
    }

    /// What happened since is told.
    pub(crate) fn tell(&mut self) {
        if !self.ports.shared.trace.is_kept() {
            return;
        }
        let count = self.memory().events.len();
        if self.told == count {
            return;
        }
        let events = &self.memory().events.all()[self.told..count];
        for event in events {
            self.ports.shared.trace.say(|| {
                format!("{:?} {} {} {:?}: {:?}", event.by, event.side, event.record, event.name, event.what)
            });
        }
        self.told = count;
    }

    fn step_of(&mut self, op: Op) {
        self.outage_steps = self.outage_steps.saturating_sub(1);
        if self.outage_steps == 0 {
            self.all_up();
        }
        let mut dice = Dice::new(op.dice);
        if self.restored_alone.is_some() && !matches!(op.kind, Kind::Step | Kind::Land | Kind::Wait) {
            return;
        }
        match op.kind {
            Kind::Step => {
                // Often a process gets far before another one goes on.
                let task = dice.below(TASKS);
                for _ in 0..[1, 1, 2, 5, 12, 30][dice.below(6)] {
                    self.step(task);
                }
            }
            Kind::Land => self.land(&mut dice, Landing::Answered),
            Kind::Deliver => self.deliver(op.dice),
            Kind::Wait => {
                let ms = [1, 40, 700, 3_000, 20_000][dice.below(5)];
                self.advance(SignedDuration::from_millis(ms));
            }
            Kind::Act => self.act(op.dice),
            Kind::Commit => self.commit(),
            Kind::Crash => {
                let task = dice.below(TASKS);
                if self.tasks[task].take().is_some() {
                    self.memory().salesforce.run_over(task);
                    self.memory().process_memory.forget();
                    self.hit("fault: crash");
                    if let Some(Step::SavedIntents | Step::CommittedPostgres | Step::WroteSalesforce) =
                        self.memory().steps.last()
                    {
                        self.hit("case: a crash left an intent");
                    }
                }
            }
            Kind::LoseAnswer => {
                if !self.memory().salesforce.under_way().is_empty() {
                    self.hit("fault: answer lost");
                    self.land(&mut dice, Landing::AnswerLost);
                }
            }
            Kind::Drop => {
                if !self.memory().salesforce.under_way().is_empty() {
                    self.hit("fault: dropped");
                    self.land(&mut dice, Landing::Dropped);
                }
            }
            Kind::Duplicate => {
                if !self.memory().queue.is_empty() {
                    self.hit("fault: queue duplicate");
                    self.memory().queue.duplicate(dice.below(4));
                }
            }
            Kind::Outage => self.outage(&mut dice),
            Kind::Limit => {
                self.hit("fault: request limit");
                self.outage_steps = 1 + dice.below(40);
                let message = "REQUEST_LIMIT_EXCEEDED".to_owned();
                self.memory().salesforce.set_down(Some(PortError::QuotaSpent { message }));
            }
            Kind::Restore => self.backup_or_restore(),
            Kind::RestoreAlone => self.restore_alone(),
            Kind::Redefine => self.redefine(&mut dice),
            Kind::LoseCapture => {
                let syncs: Vec<String> = self.definitions.iter().map(|one| one.name.clone()).collect();
                self.hit("fault: capture lost");
                self.memory().database.drop_capture(&syncs[dice.below(syncs.len())]);
            }
        }
    }

    /// Somebody does something.
    pub(crate) fn act(&mut self, dice: u64) {
        let ports = self.ports.memory.clone();
        let shared = self.ports.shared.clone();
        self.users.act(&ports, &self.options, &shared.coverage, dice);
        self.lose_messages();
    }

    fn lose_messages(&mut self) {
        let shared = self.ports.shared.clone();
        let rate = self.options.faults.message_lost / 3;
        self.users.lose_messages(|| shared.strikes("fault: message lost", rate));
    }

    /// A side goes away for a while.
    fn outage(&mut self, dice: &mut Dice) {
        self.hit("fault: outage");
        self.outage_steps = 1 + dice.below(40);
        if dice.below(2) == 0 {
            let message = "SERVER_UNAVAILABLE".to_owned();
            self.memory().salesforce.set_down(Some(PortError::Outage { side: Side::Salesforce, message }));
        } else {
            self.memory().database.set_down(true);
        }
    }

    fn all_up(&self) {
        self.memory().salesforce.set_down(None);
        self.memory().database.set_down(false);
    }

    fn commit(&mut self) {
        self.memory().salesforce.commit_edits();
        self.memory().database.commit_edits();
        let shared = self.ports.shared.clone();
        // Catch-up alone finds many of these.
        let rate = (self.options.faults.message_lost * 3).min(900);
        self.users.committed(|| shared.strikes("fault: message lost", rate));
    }

    fn end_all(&mut self) {
        for task in 0..TASKS {
            self.tasks[task] = None;
            self.memory().salesforce.run_over(task);
        }
    }

    /// State and queue lie in the database: a restore takes all of it back, and ends every run.
    fn backup_or_restore(&mut self) {
        let memory = self.memory().clone();
        match self.backup.take() {
            // A row that was not linked yet would be created once more: nothing tells that it was.
            None if memory.database.rows().values().all(|row| row.link.is_some()) => {
                self.backup = Some(self.back_up());
            }
            Some(backup)
                if !self.restored && same_records(&backup.state, &memory.state, &self.definitions) =>
            {
                self.end_all();
                memory.database.restore(&backup.database);
                self.lost_conflicts.extend(memory.state.conflicts());
                memory.state.restore(&backup.state);
                memory.queue.restore(&backup.queue);
                self.users.take_back(&backup.users);
                memory.events.take_back(backup.events);
                self.restored = true;
                self.hit("fault: restore");
            }
            other => self.backup = other,
        }
    }

    fn back_up(&self) -> Backup {
        let memory = self.memory();
        Backup {
            database: memory.database.backup(),
            state: memory.state.backup(),
            queue: memory.queue.backup(),
            users: self.users.clone(),
            events: memory.events.len(),
        }
    }

    /// The database alone is restored: everything has to stop before anything is written.
    fn restore_alone(&mut self) {
        match self.backup_alone.take() {
            None => self.backup_alone = Some(self.back_up()),
            Some(backup) => {
                self.end_all();
                let memory = self.memory();
                memory.database.restore(&backup.database);
                memory.events.take_back(backup.events);
                let events = memory.events.len();
                // What was sent by then may still arrive.
                while !memory.salesforce.under_way().is_empty() {
                    memory.salesforce.land(0, Landing::Dropped);
                }
                self.restored_alone = Some(events);
                self.ports.shared.restored_alone.store(true, Ordering::Relaxed);
                self.hit("fault: restore alone");
            }
        }
    }

    /// A field is dropped or mapped again, or a rule gets another version. Runs under way keep what they had.
    fn redefine(&mut self, dice: &mut Dice) {
        let definitions = Arc::make_mut(&mut self.definitions);
        let Some(contacts) = definitions.iter_mut().find(|one| one.name == world::CONTACTS) else { return };
        contacts.version += 1;
        if dice.below(2) == 0 {
            let before = contacts.fields.len();
            contacts.fields.retain(|mapping| mapping.field != Users::optional());
            if contacts.fields.len() == before {
                contacts.fields.push(support::field(Users::optional(), "department"));
            }
        } else if let Some(title) = contacts.fields.iter_mut().find(|mapping| mapping.field == "Title") {
            title.rule.version = 2;
        }
        self.redefined = true;
        self.hit("act: change the definition");
        self.to_end(async |ports| {
            let state = &ports.memory.state;
            let stored = state.cursor(world::CONTACTS).await.unwrap();
            state.put_cursor(world::CONTACTS, &stored.anew(0)).await.unwrap();
        });
    }

    /// Steps a task by one await; one that has ended begins anew.
    pub(crate) fn step(&mut self, task: usize) {
        self.memory().salesforce.called_by(task);
        let (ports, definitions) = (&self.ports, &self.definitions);
        let future = self.tasks[task].get_or_insert_with(|| match task {
            2 => Box::pin(poller(ports.clone(), definitions.clone())),
            _ => Box::pin(applier(ports.clone(), definitions.clone())),
        });
        let mut context = Context::from_waker(Waker::noop());
        if future.as_mut().poll(&mut context) == Poll::Ready(()) {
            self.tasks[task] = None;
            self.memory().salesforce.run_over(task);
        }
    }

    fn land(&self, dice: &mut Dice, landing: Landing) {
        let under_way = self.memory().salesforce.under_way().len();
        if under_way > 0 {
            self.memory().salesforce.land(dice.below(under_way), landing);
        }
    }

    pub(crate) fn deliver(&mut self, dice: u64) {
        let now = self.memory().clock.now();
        if let Some(touch) = self.users.deliver(dice, now) {
            self.enqueue(vec![touch]);
        }
    }

    /// Salesforce sends again what was not answered.
    fn enqueue(&self, touches: Vec<Touch>) {
        self.to_end(async |ports| while enqueue::enqueue(&ports, touches.clone()).await.is_err() {});
    }

    fn to_end<F: Future<Output = ()>>(&self, work: impl FnOnce(SimPorts) -> F) {
        let mut future = Box::pin(work(self.ports.clone()));
        let mut context = Context::from_waker(Waker::noop());
        while future.as_mut().poll(&mut context).is_pending() {}
    }

    /// Time passes; a write past its deadline never arrives.
    pub(crate) fn advance(&self, by: SignedDuration) {
        let memory = self.memory();
        memory.clock.advance(by);
        let now = memory.clock.now();
        while let Some(place) =
            memory.salesforce.under_way().iter().position(|request| request.deadline <= now)
        {
            memory.salesforce.land(place, Landing::Dropped);
        }
    }
}
