//! Faults: what goes wrong on purpose.

use crate::validate::SaveError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A fault that is switched on for a number of calls or records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The name: `lock-row`, `request-limit`, `expired-session`, `unavailable`, `answer-lost`, `slow`.
    pub fault: String,
    /// How often it strikes: records for `lock-row`, calls for all others. `expired-session` strikes at once.
    #[serde(default = "one")]
    pub count: u32,
    /// How long an answer takes under the fault `slow`, in milliseconds.
    #[serde(default)]
    pub delay_ms: u64,
}

fn one() -> u32 {
    1
}

/// What every call of one client gets in place of its answer, until the fault is taken away: the user has lost a
/// permission, the API is switched off, or a proxy in between answers for itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastingAnswer {
    /// The client whose calls get this answer.
    pub client: String,
    /// The HTTP status.
    pub status: u16,
    /// The body: a list of errors in JSON as the API has it, or a page in HTML.
    pub body: String,
}

/// The faults that are switched on.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Faults {
    /// Every save is refused with this error.
    pub saves_refused: Option<SaveError>,
    /// The number of saves that find the record locked.
    pub lock_row: u32,
    /// The number of calls that exceed the limit of calls.
    pub request_limit: u32,
    /// The number of calls that get a 503.
    pub unavailable: u32,
    /// Fields of records (Id and field) whose text arrives cut in the middle of a character.
    pub cut: BTreeSet<(String, String)>,
    /// Fields that no answer has, although they were asked for.
    pub left_out: BTreeSet<String>,
    /// Apex code takes this many records in one call: it meets a limit in a larger one, and then all of them are refused.
    pub apex_takes: Option<usize>,
    /// How many calls had more records than Apex code takes.
    pub apex_refusals: u64,
    /// A duplicate rule with the action *Allow* and an alert: the object, and the field in which two records are alike.
    pub duplicate_alert: Option<(String, String)>,
    /// What all calls of a client get in place of their answers.
    pub lasting_answer: Option<LastingAnswer>,
    /// The client id whose calls all get a 503, and until when.
    pub away: Option<(String, jiff::Timestamp)>,
    /// The number of writing calls that are carried out and whose answer is cut off.
    pub answer_lost: u32,
    /// The number of calls that take longer.
    pub slow: u32,
    /// How long the slow calls take, in milliseconds.
    pub delay_ms: u64,
}

impl Faults {
    /// Counts the fault down by one. True if it strikes.
    #[must_use]
    pub fn strike(count: &mut u32) -> bool {
        let strikes = *count > 0;
        *count = count.saturating_sub(1);
        strikes
    }
}
