//! What a run is made of: how long, who does what, and what goes wrong how often.

use crate::planted::Planted;
pub use planner::Dice;

/// What goes wrong: each so many times in a thousand, of steps or of calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Of steps: everything that a run has in memory is gone.
    pub crash: u32,
    /// Of steps: a write to Salesforce happens, and its answer is lost.
    pub answer_lost: u32,
    /// Of steps: a write to Salesforce never arrives.
    pub dropped: u32,
    /// Of steps: a waiting message is sent twice.
    pub queue_duplicate: u32,
    /// Of steps: a side goes away for a while.
    pub outage: u32,
    /// Of steps: the allowance of calls is spent for a while.
    pub request_limit: u32,
    /// Of steps: the database and the state in it are backed up, and restored once.
    pub restore: u32,
    /// Of steps: the database is restored alone, which ends the run.
    pub restore_alone: u32,
    /// Of records written: Salesforce refuses it out of the blue.
    pub write_refused: u32,
    /// Of records written: the row is locked.
    pub row_lock: u32,
    /// Of calls to Salesforce: the session is over, or the connection; nothing happened.
    pub call_failed: u32,
    /// Of records read: as it was before its last second of changes.
    pub stale_read: u32,
    /// Of calls to the state store: throttled or unavailable; nothing happened.
    pub state_failed: u32,
    /// Of writes to the state store: done, and its answer is lost.
    pub state_answer_lost: u32,
    /// Of compare-and-sets: the store answers that another version stands although it does not.
    pub state_conflict: u32,
    /// Of messages sent: the queue does not take it.
    pub send_failed: u32,
    /// Of messages sent: the queue takes it and does not say so.
    pub send_answer_lost: u32,
    /// Of outbound messages: never sent.
    pub message_lost: u32,
}

/// The kinds of fault, for the coverage and for leaving them out one by one.
pub const FAULTS: [&str; 18] = [
    "crash",
    "answer lost",
    "dropped",
    "queue duplicate",
    "outage",
    "request limit",
    "restore",
    "restore alone",
    "write refused",
    "row lock",
    "call failed",
    "stale read",
    "state failed",
    "state answer lost",
    "state conflict",
    "send failed",
    "send answer lost",
    "message lost",
];

impl Faults {
    /// The rates, in the order of [`FAULTS`].
    pub fn rates(&mut self) -> [&mut u32; 18] {
        [
            &mut self.crash,
            &mut self.answer_lost,
            &mut self.dropped,
            &mut self.queue_duplicate,
            &mut self.outage,
            &mut self.request_limit,
            &mut self.restore,
            &mut self.restore_alone,
            &mut self.write_refused,
            &mut self.row_lock,
            &mut self.call_failed,
            &mut self.stale_read,
            &mut self.state_failed,
            &mut self.state_answer_lost,
            &mut self.state_conflict,
            &mut self.send_failed,
            &mut self.send_answer_lost,
            &mut self.message_lost,
        ]
    }
}

/// What there is beside plain records, and how it is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Accounts, and contacts that look up to them.
    pub accounts: bool,
    /// A contact needs its account in Salesforce.
    pub parent_required: bool,
    /// A flow sets Description from Title.
    pub flow: bool,
    /// A rule writes Phone in upper case.
    pub normaliser: bool,
    /// A validation rule and a restricted picklist refuse some first names.
    pub validation: bool,
    /// An account's stamp moves with its contacts.
    pub rollup: bool,
    /// Contacts show their account's name, and no stamp moves.
    pub formula: bool,
    /// Contacts are deleted with their account, in Salesforce.
    pub org_cascade: bool,
    /// A BEFORE trigger writes Email in lower case; a check refuses some titles.
    pub before_trigger: bool,
    /// An AFTER trigger writes what a contact's first name is into its account's Site.
    pub after_trigger: bool,
    /// `account_id` is a foreign key: none, set null, cascade.
    pub foreign_key: Option<bool>,
    /// Rows and records stand on both sides, linked, before the sync begins.
    pub adopted: bool,
    /// Fields are dropped and mapped again, rules get new versions.
    pub definition_changes: bool,
    /// People hold transactions open.
    pub late_commits: bool,
    /// Sharing hides and shows records.
    pub sharing: bool,
    /// Deletes are limited to this many within an hour.
    pub delete_limit: Option<u32>,
    /// Salesforce's clock is ahead, in seconds.
    pub skew_s: i64,
    /// Rows of a page of a scan.
    pub page: usize,
}

/// Everything that shapes a run, but its seed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Steps of the scheduler before all edits and faults end.
    pub steps: usize,
    /// Acts of users.
    pub edits: usize,
    /// What goes wrong.
    pub faults: Faults,
    /// What there is.
    pub features: Features,
    /// People may edit a record between Syncline's read and its write.
    pub window: bool,
    /// A bug, switched on.
    pub planted: Option<Planted>,
}

impl Options {
    /// What a seed stands for: each fault off, rare or frequent, each feature there or not.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        let mut dice = Dice::new(seed ^ 0x5eed_0f0d_1ce5_0001);
        let mut faults = Faults::default();
        let frequent = [16, 40, 40, 20, 8, 4, 8, 2, 30, 60, 30, 30, 15, 15, 30, 30, 30, 300];
        for (rate, frequent) in faults.rates().into_iter().zip(frequent) {
            *rate = match dice.below(4) {
                0 | 1 => 0,
                2 => (frequent / 4).max(1),
                _ => frequent,
            };
        }
        // One run in sixteen ends by it.
        if dice.below(4) > 0 {
            faults.restore_alone = 0;
        }
        let mut half = || dice.below(2) == 0;
        let accounts = half();
        let features = Features {
            accounts,
            parent_required: accounts && half() && half(),
            flow: half(),
            normaliser: half(),
            validation: half(),
            rollup: accounts && half(),
            formula: accounts && half(),
            org_cascade: accounts && half() && half(),
            before_trigger: half(),
            after_trigger: accounts && half(),
            foreign_key: (accounts && half()).then(&mut half),
            adopted: half() && half(),
            definition_changes: half() && half(),
            late_commits: half(),
            sharing: half(),
            delete_limit: None,
            skew_s: 0,
            page: 0,
        };
        let limited = dice.below(8) == 0;
        let features = Features {
            delete_limit: limited.then_some(1),
            skew_s: [0, 0, -90, 90][dice.below(4)],
            page: [2, 3, 1000][dice.below(3)],
            ..features
        };
        if features.adopted {
            // What was linked by hand and is taken back to before its first link is another first link.
            faults.restore = 0;
        }
        let steps = 200 + dice.below(500);
        let edits = 8 + dice.below(24);
        Self { steps, edits, faults, features, window: dice.below(4) > 0, planted: None }
    }

    /// The same without anything that goes wrong and without what only a port in memory can do: what real parts run too.
    #[must_use]
    pub fn calm(self) -> Self {
        Self { faults: Faults::default(), ..self }
    }
}
