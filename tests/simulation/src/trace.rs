//! What a replay tells, every line with its virtual time, and the hash over every write's value.

use std::sync::Mutex;
use support::SteppedClock;
use syncline_sync::Clock as _;

/// The lines of a replay; none are made unless somebody reads them.
pub struct Trace {
    clock: SteppedClock,
    lines: Option<Mutex<Vec<String>>>,
}

impl Trace {
    /// A trace that is kept, or not.
    #[must_use]
    pub fn new(clock: SteppedClock, kept: bool) -> Self {
        Self { clock, lines: kept.then(Mutex::default) }
    }

    /// Somebody reads it.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.lines.is_some()
    }

    /// Tells a line.
    pub fn say(&self, line: impl FnOnce() -> String) {
        if let Some(lines) = &self.lines {
            let time = self.clock.now().strftime("%H:%M:%S%.3f").to_string();
            lines.lock().unwrap().push(format!("{time} {}", line()));
        }
    }

    /// Everything that was told.
    pub fn lines(&self) -> Vec<String> {
        self.lines.as_ref().map(|lines| lines.lock().unwrap().clone()).unwrap_or_default()
    }
}
