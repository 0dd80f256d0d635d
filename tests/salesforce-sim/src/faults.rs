//! What goes wrong on purpose, by name.

use serde::{Deserialize, Serialize};

/// A fault that is switched on for a number of calls or records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Its name: `lock-row`, `request-limit`, `expired-session`, `unavailable`, `answer-lost`, `slow`.
    pub fault: String,
    /// How often it strikes: records for `lock-row`, calls for all others. `expired-session` strikes at once.
    #[serde(default = "one")]
    pub count: u32,
    /// For `slow`: how long an answer takes.
    #[serde(default)]
    pub delay_ms: u64,
}

fn one() -> u32 {
    1
}

/// What is switched on.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Faults {
    /// Record saves that find the row locked.
    pub lock_row: u32,
    /// Calls that exceed the limit.
    pub request_limit: u32,
    /// Calls that get a 503.
    pub unavailable: u32,
    /// A client whose calls all get a 503, and until when.
    pub away: Option<(String, jiff::Timestamp)>,
    /// Writing calls that are carried out and whose answer is cut off.
    pub answer_lost: u32,
    /// Calls that take longer.
    pub slow: u32,
    /// How long those take.
    pub delay_ms: u64,
}

impl Faults {
    /// Counts one down; true if it strikes.
    pub(crate) fn strike(count: &mut u32) -> bool {
        let strikes = *count > 0;
        *count = count.saturating_sub(1);
        strikes
    }
}
