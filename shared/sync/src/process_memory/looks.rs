//! When a process last looked at what needs a look only now and then.

use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// When each look was done last, by its name.
#[derive(Clone, Debug, Default)]
pub struct Looks(BTreeMap<String, Timestamp>);

impl Looks {
    /// True if this look was not done within `every` before `now`.
    #[must_use]
    pub fn is_due(&self, look: &str, now: Timestamp, every: SignedDuration) -> bool {
        self.0.get(look).is_none_or(|last| now.duration_since(*last) >= every)
    }

    /// Remembers that the look was done.
    pub fn done(&mut self, look: &str, now: Timestamp) {
        self.0.insert(look.to_owned(), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_due_again_after_its_interval() {
        let mut looks = Looks::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        let minute = SignedDuration::from_secs(60);
        assert!(looks.is_due("capture", at(5), minute));
        looks.done("capture", at(5));
        assert!(!looks.is_due("capture", at(64), minute));
        assert!(looks.is_due("capture", at(65), minute));
        assert!(looks.is_due("another", at(6), minute));
    }
}
