//! The scheduler: who goes next, and what goes wrong.

use crate::users::{SYNC, Users};
use jiff::SignedDuration;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use support::{Landing, MemoryDatabase, MemoryPorts, MemoryQueue, MemoryState, contact_definition, field};
use syncline_engine::{Definition, DeletePolicy, Deletes, Side};
use syncline_sync::{PortError, Queue, Step, apply, ingest, poll, watch};

/// What goes wrong in a run, each with its weight against 100 ordinary steps.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// Edits of the users.
    pub edits: usize,
    /// A run is dropped where it stands.
    pub crashes: usize,
    /// A write to Salesforce is lost, or its answer is.
    pub lost: usize,
    /// A waiting message is sent twice.
    pub doubles: usize,
    /// A side goes away, or comes back.
    pub outages: usize,
    /// The database, with the state in it, is backed up, or restored to that.
    pub restores: usize,
}

impl Default for Faults {
    fn default() -> Self {
        Self { edits: 24, crashes: 3, lost: 9, doubles: 2, outages: 1, restores: 1 }
    }
}

/// What a run came to.
pub struct Report {
    /// The ports, at rest.
    pub ports: MemoryPorts,
    /// The definition.
    pub definition: Definition,
    /// The users and their ledger.
    pub users: Users,
    /// Steps at which a run crashed.
    pub crashed_at: BTreeSet<Step>,
    /// Answers that were lost after the write had happened.
    pub answers_lost: usize,
    /// Everything that was chosen, for the determinism test.
    pub trace: Vec<u16>,
    /// It did not come to rest.
    pub restless: bool,
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

struct Schedule {
    ports: MemoryPorts,
    definition: Definition,
    users: Users,
    tasks: [Option<Task>; 3],
    /// Steps until what is away is back.
    outage_steps: usize,
    backup: Option<(MemoryDatabase, MemoryState, MemoryQueue, Users)>,
    report: (BTreeSet<Step>, usize, Vec<u16>),
}

/// Runs one seed.
#[must_use]
pub fn run(seed: u64, faults: Faults) -> Report {
    let ports = MemoryPorts::new(seed, false);
    let primary = if seed.is_multiple_of(2) { Side::Salesforce } else { Side::Postgres };
    let mut definition = contact_definition(primary);
    definition.fields.push(field("Title", "title"));
    let policy = match seed / 2 % 4 {
        0 => DeletePolicy::Keep,
        1 => DeletePolicy::Review,
        _ => DeletePolicy::Propagate,
    };
    definition.deletes = Deletes { from_salesforce: policy, from_postgres: policy };
    let mut schedule = Schedule {
        ports,
        definition,
        users: Users::default(),
        tasks: [None, None, None],
        backup: None,
        outage_steps: 0,
        report: Default::default(),
    };
    schedule.busy(faults);
    let restless = !schedule.come_to_rest();
    let (crashed_at, answers_lost, trace) = schedule.report;
    Report {
        ports: schedule.ports,
        definition: schedule.definition,
        users: schedule.users,
        crashed_at,
        answers_lost,
        trace,
        restless,
    }
}

/// No row got another record since the backup: nothing that is restored would tell, and it would be created once more.
fn same_records(backup: &MemoryState, state: &MemoryState) -> bool {
    let now: BTreeMap<_, _> = state.bases(SYNC).into_iter().map(|base| (base.key.clone(), base)).collect();
    backup.bases(SYNC).iter().all(|then| {
        now.get(&then.key).is_some_and(|now| {
            now.external_id == then.external_id
                && (then.salesforce_id.is_none() || now.salesforce_id == then.salesforce_id)
        })
    })
}

async fn applier(ports: MemoryPorts, definition: Definition) {
    let Ok(deliveries) = ports.queue.receive(10).await else { return };
    if deliveries.is_empty() {
        return;
    }
    let applied = apply::apply(&ports, &[definition], &deliveries, None).await;
    ports.queue.done(&applied.done).await.unwrap();
    ports.queue.release(&applied.release).await.unwrap();
}

/// What fails is tried again by the next one.
async fn poller(ports: MemoryPorts, definition: Definition) {
    let definitions = std::slice::from_ref(&definition);
    let _ = watch(&ports, definitions).await;
    let _ = poll::capture_log(&ports, definitions).await;
    let _ = poll::due(&ports).await;
    let _ = poll::scan(&ports, &definition).await;
}

impl Schedule {
    fn busy(&mut self, faults: Faults) {
        let mut edits = faults.edits;
        let total = 100 + faults.crashes + faults.lost + faults.doubles + faults.outages + faults.restores;
        for _ in 0..600 {
            self.outage_steps = self.outage_steps.saturating_sub(1);
            if self.outage_steps == 0 {
                self.all_up();
            }
            let choice = self.ports.random.below(total + 12);
            self.report.2.push(u16::try_from(choice).unwrap());
            match choice {
                0..60 => {
                    let task = self.ports.random.below(3);
                    self.step(task);
                }
                60..75 => self.land(Landing::Answered),
                75..85 => self.deliver(),
                85..100 => {
                    let ms = [1, 40, 700, 3_000][self.ports.random.below(4)];
                    self.advance(SignedDuration::from_millis(ms));
                }
                choice if choice < 100 + faults.crashes => {
                    let task = self.ports.random.below(3);
                    if self.tasks[task].take().is_some() {
                        self.report.0.extend(self.ports.steps.last());
                    }
                }
                choice if choice < 100 + faults.crashes + faults.lost => {
                    let lost = self.ports.random.below(2) == 0;
                    if lost && !self.ports.org.under_way().is_empty() {
                        self.report.1 += 1;
                    }
                    self.land(if lost { Landing::AnswerLost } else { Landing::Dropped });
                }
                choice if choice < total - faults.restores - faults.doubles => self.outage(),
                choice if choice < total - faults.doubles => self.backup_or_restore(),
                choice if choice < total => {
                    let place = self.ports.random.below(4);
                    self.ports.queue.duplicate(place);
                }
                _ if edits > 0 => {
                    edits -= 1;
                    self.users.act(&self.ports);
                }
                _ => {}
            }
        }
    }

    /// A side goes away for a while.
    fn outage(&mut self) {
        self.outage_steps = 1 + self.ports.random.below(40);
        self.users.acts.entry("outage").and_modify(|count| *count += 1).or_insert(1);
        match self.ports.random.below(3) {
            0 => self.ports.org.set_down(Some(PortError::Outage {
                side: Side::Salesforce,
                message: "SERVER_UNAVAILABLE".to_owned(),
            })),
            1 => self
                .ports
                .org
                .set_down(Some(PortError::Limit { message: "REQUEST_LIMIT_EXCEEDED".to_owned() })),
            _ => self.ports.database.set_down(true),
        }
    }

    fn all_up(&self) {
        self.ports.org.set_down(None);
        self.ports.database.set_down(false);
    }

    /// State and queue lie in the database: a restore takes all of it back, and ends every run.
    fn backup_or_restore(&mut self) {
        let ports = &self.ports;
        match self.backup.take() {
            // A row that was not linked yet would be created once more: nothing tells that it was.
            None if ports.database.rows().values().all(|row| row.link.is_some()) => {
                self.backup = Some((
                    ports.database.backup(),
                    ports.state.backup(),
                    ports.queue.backup(),
                    self.users.clone(),
                ));
            }
            Some((database, state, queue, users))
                if !self.users.taken_back && same_records(&state, &ports.state) =>
            {
                self.tasks = [None, None, None];
                ports.database.restore(&database);
                self.users.logged.extend(ports.state.conflicts());
                ports.state.restore(&state);
                ports.queue.restore(&queue);
                self.users.take_back(&users);
            }
            other => self.backup = other,
        }
    }

    /// Steps a task by one await; one that has ended begins anew.
    fn step(&mut self, task: usize) {
        let ports = self.ports.clone();
        let definition = self.definition.clone();
        self.ports.org.called_by(task);
        let future = self.tasks[task].get_or_insert_with(|| match task {
            2 => Box::pin(poller(ports, definition)),
            _ => Box::pin(applier(ports, definition)),
        });
        let mut context = Context::from_waker(Waker::noop());
        if future.as_mut().poll(&mut context) == Poll::Ready(()) {
            self.tasks[task] = None;
        }
    }

    fn land(&mut self, landing: Landing) {
        let under_way = self.ports.org.under_way().len();
        if under_way > 0 {
            let place = self.ports.random.below(under_way);
            self.ports.org.land(place, landing);
        }
    }

    fn deliver(&mut self) {
        let now = syncline_sync::Clock::now(&self.ports.clock);
        if let Some(touch) = self.users.deliver(&self.ports, now) {
            self.to_end(async |ports| {
                ingest::enqueue(&ports, vec![touch]).await.unwrap();
            });
        }
    }

    fn to_end<F: Future<Output = ()>>(&self, work: impl FnOnce(MemoryPorts) -> F) {
        let mut future = Box::pin(work(self.ports.clone()));
        let mut context = Context::from_waker(Waker::noop());
        while future.as_mut().poll(&mut context).is_pending() {}
    }

    /// Time passes; a write past its deadline never arrives.
    fn advance(&mut self, by: SignedDuration) {
        self.ports.clock.advance(by);
        let now = syncline_sync::Clock::now(&self.ports.clock);
        while let Some(place) = self.ports.org.under_way().iter().position(|request| request.deadline <= now)
        {
            self.ports.org.land(place, Landing::Dropped);
        }
    }

    /// No more edits and faults: everything has to come to rest.
    fn come_to_rest(&mut self) -> bool {
        self.all_up();
        self.users.show_all(&self.ports);
        let mut caught_up = false;
        for _ in 0..400 {
            while !self.users.messages.is_empty() {
                self.deliver();
            }
            // One run of each, side by side.
            for task in 0..3 {
                self.step(task);
            }
            while self.tasks.iter().any(Option::is_some) {
                for task in 0..3 {
                    if self.tasks[task].is_some() {
                        self.step(task);
                    }
                }
                self.land(Landing::Answered);
            }
            self.advance(SignedDuration::from_millis(200));
            let idle = self.ports.queue.is_empty() && self.ports.database.log_len() == 0;
            match self.ports.state.next_due() {
                Some(due) if idle => self.ports.clock.advance_to(due),
                // What no message tells of, catch-up finds with its next scan.
                None if idle && !caught_up => {
                    caught_up = true;
                    self.advance(SignedDuration::from_secs(i64::from(self.definition.poll_interval_s) + 1));
                }
                None if idle => return true,
                _ => {}
            }
        }
        false
    }
}
