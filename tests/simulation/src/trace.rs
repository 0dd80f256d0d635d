//! The trace of a run: what happened, line by line, with the virtual time of each line.

use std::sync::Mutex;
use support::SteppedClock;
use syncline_sync::Clock as _;

/// The lines of a trace. No line is made unless the trace is kept.
pub struct Trace {
    clock: SteppedClock,
    lines: Option<Mutex<Vec<String>>>,
}

impl Trace {
    /// A new trace. If `kept` is false, it stays empty.
    #[must_use]
    pub fn new(clock: SteppedClock, kept: bool) -> Self {
        Self { clock, lines: kept.then(Mutex::default) }
    }

    /// True if the lines are kept.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.lines.is_some()
    }

    /// Adds a line. `line` is called only if the trace is kept.
    pub fn say(&self, line: impl FnOnce() -> String) {
        if let Some(lines) = &self.lines {
            let time = self.clock.now().strftime("%H:%M:%S%.3f").to_string();
            lines.lock().unwrap().push(format!("{time} {}", line()));
        }
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.as_ref().map(|lines| lines.lock().unwrap().clone()).unwrap_or_default()
    }
}
