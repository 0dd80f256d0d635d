//! What a run is made of: how long it takes, what people do, what there is in its world, and how often each
//! fault strikes.

use crate::planted::Planted;
pub use planner::Dice;

/// How often each fault strikes, in 1,000 cases. What counts as a case stands at each fault: a step of the
/// scheduler, a call, a record, or a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Of steps: a process ends, with everything that it has in memory.
    pub crash: u32,
    /// Of steps: a write to Salesforce is carried out, and its answer is lost.
    pub answer_lost: u32,
    /// Of steps: a write to Salesforce never arrives.
    pub dropped: u32,
    /// Of steps: a waiting message is delivered twice.
    pub queue_duplicate: u32,
    /// Of steps: one side does not answer, for up to 40 steps.
    pub outage: u32,
    /// Of steps: the quota is spent, for up to 40 steps.
    pub request_limit: u32,
    /// Of steps: the database, with state and queue in it, is backed up the first time and restored the
    /// second time. A run restores at most once.
    pub restore: u32,
    /// Of steps: the database alone is backed up the first time and restored the second time. After that,
    /// people do nothing any more, and Syncline must write nothing.
    pub restore_alone: u32,
    /// Of records written: Salesforce refuses the record for no reason of the record's own.
    pub write_refused: u32,
    /// Of records written: Salesforce answers that the record is locked.
    pub row_lock: u32,
    /// Of calls to Salesforce: the session has expired and the sign-in times out. The call does nothing.
    pub call_failed: u32,
    /// Of records read: Salesforce answers the record as it was before the last second in which it changed.
    pub stale_read: u32,
    /// Of calls to the state store: the store is throttled or unavailable. The call does nothing.
    pub state_failed: u32,
    /// Of writes to the state store: the write is done, and its answer is lost.
    pub state_answer_lost: u32,
    /// Of compare-and-sets: the store answers that another version is stored, although that is not so, and
    /// saves nothing.
    pub state_conflict: u32,
    /// Of messages sent: the queue does not take the message.
    pub send_failed: u32,
    /// Of messages sent: the queue takes the message, and its answer is lost.
    pub send_answer_lost: u32,
    /// Of outbound messages: the message is never sent. After each act of a user, each waiting message is
    /// lost at a third of this rate. A message about a transaction that commits late is lost at three times
    /// this rate, but at most in 900 of 1,000 cases.
    pub message_lost: u32,
    /// Of steps: the capture triggers of a table are dropped. From then on, changes of its rows go unnoticed.
    pub capture_lost: u32,
}

/// The names of the faults, for the coverage and for leaving them out one by one.
pub const FAULTS: [&str; 19] = [
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
    "capture lost",
];

impl Faults {
    /// The rates, in the order of [`FAULTS`].
    pub fn rates(&mut self) -> [&mut u32; 19] {
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
            &mut self.capture_lost,
        ]
    }
}

/// What there is in the world of a run besides contacts, and how it is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// There are accounts, and contacts have a lookup to them.
    pub accounts: bool,
    /// A contact needs an account in Salesforce.
    pub parent_required: bool,
    /// A flow in Salesforce sets Description from Title.
    pub flow: bool,
    /// A rule in Salesforce writes Phone in upper case.
    pub normaliser: bool,
    /// A validation rule and a restricted picklist in Salesforce refuse some first names.
    pub validation: bool,
    /// An edit of a contact moves the stamp of its account.
    pub rollup: bool,
    /// Contacts show the name of their account in a formula field. A change of that name moves no stamp of
    /// the contacts.
    pub formula: bool,
    /// If an account is deleted in Salesforce, Salesforce deletes its contacts.
    pub org_cascade: bool,
    /// A BEFORE trigger writes Email in lower case, and a check constraint refuses some titles.
    pub before_trigger: bool,
    /// An AFTER trigger writes the first name of a contact into the Site of its account.
    pub after_trigger: bool,
    /// Whether `account_id` is a foreign key. `None`: it is not. `Some(false)`: a delete of the account
    /// empties it. `Some(true)`: a delete of the account deletes its contacts.
    pub foreign_key: Option<bool>,
    /// Some rows and records are on both sides, with links in the rows, before the sync begins.
    pub adopted: bool,
    /// During the run, a field is dropped from the definition and mapped again, or a rule gets another
    /// version.
    pub definition_changes: bool,
    /// People hold transactions open and commit them late.
    pub late_commits: bool,
    /// Sharing hides records and shows them again.
    pub sharing: bool,
    /// How many deletes may go across within an hour. `None`: the definitions have a limit of 1,000.
    pub delete_limit: Option<u32>,
    /// By how many seconds Salesforce's clock is ahead of Syncline's. A negative number means that it is
    /// behind.
    pub skew_s: i64,
    /// How many records a page of a scan of Salesforce has.
    pub page: usize,
}

/// Everything that shapes a run, except its seed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// How many steps the scheduler takes before edits and faults end.
    pub steps: usize,
    /// How many acts of users there are at most.
    pub edits: usize,
    /// How often each fault strikes.
    pub faults: Faults,
    /// What there is in the world of the run.
    pub features: Features,
    /// People may edit a record between Syncline's read and its write. Syncline does not promise to keep such
    /// an edit.
    pub window: bool,
    /// The planted bug that is switched on, if any.
    pub planted: Option<Planted>,
}

impl Options {
    /// The options that a seed stands for. Each fault is off, rare or frequent; each feature is there or not.
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
        // A restore of the database alone ends the edits of a run, so only one seed in eight has this fault.
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
            // If a restore went back to a moment before adopted records were linked, they would be linked for
            // the first time once more.
            faults.restore = 0;
        }
        // Rows that cascades delete unnoticed are missing without evidence of a delete.
        let cascades = features.foreign_key == Some(true) || features.after_trigger;
        let lost = Dice::new(seed ^ 0xca97_04e5).below(6);
        faults.capture_lost = if cascades { 0 } else { [0, 0, 0, 0, 2, 8][lost] };
        let steps = 200 + dice.below(500);
        let edits = 8 + dice.below(24);
        Self { steps, edits, faults, features, window: dice.below(4) > 0, planted: None }
    }

    /// The same options without faults. `deeds.rs` takes away, in addition, what only the sides in memory can
    /// do.
    #[must_use]
    pub fn calm(self) -> Self {
        Self { faults: Faults::default(), ..self }
    }
}
