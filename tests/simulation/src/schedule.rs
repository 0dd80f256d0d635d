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
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use support::{By, Event, Landing, MemoryDatabase, MemoryPorts, MemoryQueue, MemoryState, What};
use syncline_engine::{Base, Definition, FirstLink, Side};
use syncline_sync::{
    Clock, Conflict, Cursor, PortError, Ports, Queue, State, Step, Touch, consume, delete_counter, enqueue,
    poll, watch,
};

/// Two appliers and a poller.
const TASKS: usize = 3;

/// Rounds within which a world has to come to rest once edits and faults have ended.
pub const ROUNDS_TO_REST: usize = 1200;

/// Steps after which a run counts as one that never ends.
const STEPS_OF_A_RUN: usize = 20_000;

/// How often what waits for a parent is tried before it counts as waiting for good.
const TRIES_FOR_PARENTS: usize = 6;

/// What a run came to.
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What it was made of.
    pub options: Options,
    /// The ports, at rest.
    pub ports: SimPorts,
    /// The definitions as they were in the end.
    pub definitions: Vec<Definition>,
    /// Everything that happened on both sides.
    pub events: Vec<Event>,
    /// The conflict log, with what a restore took out of it.
    pub conflicts: Vec<Conflict>,
    /// The database, with the state in it, was restored to an earlier time.
    pub restored: bool,
    /// The database was restored alone after so many events.
    pub restored_alone: Option<usize>,
    /// The definition changed.
    pub redefined: bool,
    /// It did not come to rest.
    pub restless: bool,
    /// Rounds that coming to rest took.
    pub rounds: usize,
    /// Calls to Salesforce before edits and faults ended, and until it came to rest.
    pub calls: u64,
    /// Writes of a second pass over everything, at rest.
    pub second_pass: usize,
    /// Syncs that were resumed with more deletes allowed, after so many events.
    pub resumed: Option<usize>,
}

impl Report {
    /// The same for every run of the same seed: a hash over every write's value.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for event in &self.events {
            format!("{event:?}").hash(&mut hasher);
        }
        format!("{:?}", self.conflicts).hash(&mut hasher);
        hasher.finish()
    }
}

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
                    self.memory().remembered.forget();
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
            ports
                .memory
                .state
                .put_cursor(world::CONTACTS, &Cursor { form: 1, ..Cursor::default() })
                .await
                .unwrap();
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

    /// No more edits and faults: everything has to come to rest, within how many rounds.
    fn come_to_rest(&mut self) -> Option<usize> {
        self.commit();
        self.lose_messages();
        self.ports.shared.calm.store(true, Ordering::Relaxed);
        self.ports.shared.trace.say(|| "no more edits and faults".to_owned());
        self.all_up();
        self.users.show_all(&self.ports.memory.clone());
        self.rest(true)
    }

    /// Everything that is known comes to rest, and nobody helps; within how many rounds.
    pub(crate) fn settle(&mut self) -> Option<usize> {
        self.rest(false)
    }

    fn rest(&mut self, help: bool) -> Option<usize> {
        let (mut caught_up, mut late) = (None, false);
        // What waits for a parent that is nowhere waits for ever, with its cause: it is tried a few times more.
        let (mut tries, mut happened, mut help_at) = (0, 0, 50);
        for round in 0..ROUNDS_TO_REST {
            while !self.users.messages.is_empty() {
                self.deliver(0);
            }
            self.one_of_each();
            self.advance(SignedDuration::from_millis(200));
            self.tell();
            let memory = self.memory().clone();
            let idle = memory.queue.is_empty() && memory.database.log_len() == 0;
            let count = memory.events.len();
            tries = if happened == count { tries } else { 0 };
            happened = count;
            let next_due = memory
                .state
                .next_due()
                .filter(|_| tries < TRIES_FOR_PARENTS || !idle || !memory.state.all_wait_for_parents());
            match next_due {
                // People do not wait until everything else is done.
                Some(_) if help && idle && round >= help_at && self.people_help() => help_at = round + 50,
                Some(_) if help && idle && self.resume() => {}
                Some(due) if idle => {
                    tries += usize::from(memory.state.all_wait_for_parents());
                    memory.clock.advance_to(due);
                }
                // Nothing is looked at while a side is left alone.
                None if idle && memory.state.left_alone_until().is_some() => {
                    let until = memory.state.left_alone_until().unwrap_or_default();
                    memory.clock.advance_to(until);
                }
                // What no message tells of, catch-up finds with its next scan.
                None if idle && caught_up != Some(written(&memory)) => {
                    caught_up = Some(written(&memory));
                    let interval = self.definitions.iter().map(|one| one.poll_interval_s).max().unwrap_or(0);
                    self.advance(SignedDuration::from_secs(i64::from(interval) + 1));
                    late = false;
                }
                // What was committed with an older stamp, it finds at the end of its look-back.
                None if idle && help && !late && self.options.features.late_commits => {
                    late = true;
                    self.advance(memory.settings().look_back * 4 / 5 + SignedDuration::from_secs(61));
                }
                None if help && idle && self.people_help() => caught_up = None,
                None if idle => return Some(round),
                _ => {}
            }
        }
        None
    }

    /// One run of each, side by side.
    fn one_of_each(&mut self) {
        for task in 0..TASKS {
            self.step(task);
        }
        let mut steps = 0;
        while self.tasks.iter().any(Option::is_some) && steps < STEPS_OF_A_RUN {
            steps += 1;
            for task in 0..TASKS {
                if self.tasks[task].is_some() {
                    self.step(task);
                }
            }
            self.memory().salesforce.land(0, Landing::Answered);
        }
    }

    /// People correct what is refused and resume what is paused; answers whether there was anything.
    fn people_help(&mut self) -> bool {
        let memory = self.ports.memory.clone();
        let shared = self.ports.shared.clone();
        let mut helped = self.users.correct(&memory, &shared.coverage);
        for rejected in memory.state.all_rejected() {
            if rejected.code == "CANNOT_EXECUTE_FLOW_TRIGGER" {
                let name = &rejected.record;
                shared.trace.say(|| format!("somebody saves {name} again"));
                helped |= self.users.save_again(&memory, &rejected);
            }
        }
        self.resume() || helped
    }

    /// People resume what is paused; answers whether anything was.
    fn resume(&mut self) -> bool {
        let memory = self.ports.memory.clone();
        let shared = self.ports.shared.clone();
        let mut helped = false;
        let paused: BTreeSet<String> = self.definitions.iter().map(|one| one.name.clone()).collect();
        for sync in paused {
            let mut resumed = false;
            self.to_end(async |ports| {
                let state = &ports.memory.state;
                if state.paused(&sync).await.unwrap().is_some() {
                    state.allow(&delete_counter(&sync), 1000, ports.memory.clock.now()).await.unwrap();
                    state.put_paused(&sync, None).await.unwrap();
                    state.make_due(ports.memory.clock.now(), SignedDuration::from_secs(1)).await.unwrap();
                    resumed = true;
                }
            });
            if resumed {
                helped = true;
                self.resumed.get_or_insert(memory.events.len());
                shared.trace.say(|| format!("somebody resumes {sync}"));
            }
        }
        helped
    }

    /// Everything is touched once more: nothing may be written.
    fn second_pass(&mut self) -> usize {
        self.ports.shared.trace.say(|| "a second pass over everything".to_owned());
        let writes = |memory: &MemoryPorts| written(memory) + memory.database.commits();
        let memory = self.memory().clone();
        let before = writes(&memory);
        let now = memory.clock.now();
        let records = memory.salesforce.records().into_iter().map(|(id, record)| {
            let sync = if record.object == "Account" { world::ACCOUNTS } else { world::CONTACTS };
            Touch::of_id(sync, id, syncline_sync::Source::CatchUp, now)
        });
        let rows = memory
            .database
            .rows()
            .into_iter()
            .map(|(key, row)| Touch::of_key(&row.sync, key, syncline_sync::Source::CatchUp, now));
        self.enqueue(records.chain(rows).collect());
        for _ in 0..40 {
            self.one_of_each();
            self.advance(SignedDuration::from_millis(200));
            if memory.queue.is_empty() && memory.state.all_wait_for_parents() {
                break;
            }
        }
        self.tell();
        writes(&memory) - before
    }
}

/// What Syncline has written to Salesforce so far.
fn written(memory: &MemoryPorts) -> usize {
    let (creates, updates) = memory.salesforce.writes();
    creates + updates + memory.salesforce.deletes()
}

/// Who did it, for the coverage.
#[must_use]
pub fn automation_of(event: &Event) -> Option<&'static str> {
    let changed = match (&event.what, event.by) {
        (What::Died(_), By::Automation) => return Some("automation: deletes with the parent"),
        (What::Set { .. }, By::Automation) => true,
        (What::Set { asked: Some(asked), after, .. }, _) => asked != after,
        (What::Set { asked: None, .. }, _) => true,
        _ => false,
    };
    changed.then_some(match event.side {
        Side::Salesforce => "automation: in Salesforce",
        Side::Postgres => "automation: in Postgres",
    })
}
