//! How a world comes to rest once edits and faults have ended, and the second pass that has nothing left to do.

use super::{Schedule, TASKS};
use crate::world;
use jiff::SignedDuration;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use support::{Landing, MemoryPorts};
use syncline_sync::{Clock, Ports, State, Touch, delete_counter};

/// The rounds within which a world has to come to rest once edits and faults have ended.
pub const ROUNDS_TO_REST: usize = 1200;

/// The number of steps after which a run counts as one that never ends.
const STEPS_OF_A_RUN: usize = 20_000;

/// How often what waits for a parent is tried before it counts as waiting for good.
const TRIES_FOR_PARENTS: usize = 6;

impl Schedule {
    /// No more edits and faults: everything has to come to rest, within how many rounds.
    pub(super) fn come_to_rest(&mut self) -> Option<usize> {
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
                // What went unnoticed is found once it is noticed that it could.
                None if idle && memory.is_capture_in_doubt() => self.advance(SignedDuration::from_secs(61)),
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
    pub(super) fn second_pass(&mut self) -> usize {
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
