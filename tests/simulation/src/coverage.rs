//! Counts what really happened in the runs. A fault, a path of the plan or a case of a checker that never
//! comes up over many seeds tests nothing.

use std::collections::BTreeMap;
use std::sync::Mutex;

/// How often each thing happened.
#[derive(Default)]
pub struct Coverage(Mutex<BTreeMap<&'static str, u64>>);

/// Everything that has to happen at least once over a set of seeds.
pub const EXPECTED: [&str; 63] = [
    // Faults that the simulation causes.
    "fault: crash",
    "fault: answer lost",
    "fault: dropped",
    "fault: queue duplicate",
    "fault: outage",
    "fault: request limit",
    "fault: restore",
    "fault: restore alone",
    "fault: write refused",
    "fault: row lock",
    "fault: call failed",
    "fault: stale read",
    "fault: state failed",
    "fault: state answer lost",
    "fault: state conflict",
    "fault: send failed",
    "fault: send answer lost",
    "fault: message lost",
    "fault: capture lost",
    // What people do.
    "act: create",
    "act: edit",
    "act: edit two fields",
    "act: edit many rows",
    "act: move to another parent",
    "act: delete in Salesforce",
    "act: delete in Postgres",
    "act: undelete",
    "act: insert again",
    "act: merge",
    "act: change key",
    "act: clear link",
    "act: hide",
    "act: show",
    "act: begin a transaction in Salesforce",
    "act: begin a transaction in Postgres",
    "act: empty a field",
    "act: refused by Salesforce's rule later",
    "act: refused by Postgres's check later",
    "act: correct a refused value",
    "act: change the definition",
    // What the sides do by themselves.
    "automation: in Salesforce",
    "automation: in Postgres",
    "automation: deletes with the parent",
    // Why the plan wrote a field.
    "reason: created",
    "reason: changed",
    "reason: conflict",
    "reason: filled-empty",
    "reason: first-link",
    "reason: one-way",
    "reason: deleted",
    // Cases that the checkers, the ports or the scheduler met.
    "case: an edit stands",
    "case: an edit was overwritten by a later one",
    "case: an edit was deleted with its record",
    "case: an edit lost to a conflict that is logged",
    "case: an edit fell into the window",
    "case: an edit was taken back by a restore",
    "case: a record was held",
    "case: a record was rejected",
    "case: a sync was paused",
    "case: a delete was carried across",
    "case: an edit won over a delete",
    "case: a crash left an intent",
    "case: a touch waited for its parent",
];

impl Coverage {
    /// Counts one occurrence.
    pub fn hit(&self, what: &'static str) {
        self.hits(what, 1);
    }

    /// Counts this many occurrences.
    pub fn hits(&self, what: &'static str, count: u64) {
        debug_assert!(EXPECTED.contains(&what), "{what} is not expected");
        if count == 0 {
            return;
        }
        *self.0.lock().expect("nobody panics with it").entry(what).or_default() += count;
    }

    /// The counts so far. A thing that never happened is absent.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().expect("nobody panics with it").clone()
    }

    /// Adds the counts of another run.
    pub fn add(&self, other: &Self) {
        for (what, count) in other.counts() {
            self.hits(what, count);
        }
    }

    /// What is expected and never happened.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let counts = self.counts();
        EXPECTED.into_iter().filter(|what| !counts.contains_key(what)).collect()
    }
}
