//! How fast a process reconciles.

use jiff::SignedDuration;

/// The size of the first run of a process, whose speed is not known.
const FIRST_RUN: usize = 200;
/// The smallest run, so that one slow run does not lead to runs of single touches.
const SMALLEST_RUN: usize = 10;
/// The largest run: five calls to Salesforce.
const LARGEST_RUN: usize = 1_000;

/// How many touches a run should take, from how long the last runs took.
#[derive(Debug)]
pub struct Speed {
    size: usize,
    ms_per_touch: Option<f64>,
}

impl Default for Speed {
    fn default() -> Self {
        Self { size: FIRST_RUN, ms_per_touch: None }
    }
}

impl Speed {
    /// The number of touches for the next run, so that the run takes no longer than `longest` if it is as fast
    /// as the last ones. Between 10 and 1,000, and at most twice the size of the run before.
    pub fn run_size(&mut self, longest: SignedDuration) -> usize {
        if let Some(ms_per_touch) = self.ms_per_touch {
            let fits = longest.as_secs_f64() * 1_000.0 / ms_per_touch.max(0.001);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
            let fits = fits.clamp(0.0, 1e6) as usize;
            self.size = fits.min(self.size.saturating_mul(2)).clamp(SMALLEST_RUN, LARGEST_RUN);
        }
        self.size
    }

    /// Learns from a run. Later runs count as much as all runs before them. A slow run counts at once, because a
    /// run that is too large is ended in the middle, and a run that is too small only costs a few more calls.
    #[expect(clippy::cast_precision_loss, reason = "a run has at most 1,000 touches")]
    pub fn measured(&mut self, touches: usize, took: SignedDuration) {
        if touches == 0 {
            return;
        }
        let ms = took.as_secs_f64().max(0.0) * 1_000.0 / touches as f64;
        self.ms_per_touch = Some(self.ms_per_touch.map_or(ms, |known| ms.max(f64::midpoint(known, ms))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_shrink_at_once_when_they_are_slow_and_grow_again_step_by_step() {
        let longest = SignedDuration::from_secs(30);
        let mut speed = Speed::default();
        assert_eq!(speed.run_size(longest), 200);
        speed.measured(200, SignedDuration::from_secs(2));
        assert_eq!(speed.run_size(longest), 400, "at most twice the last size");
        speed.measured(400, SignedDuration::from_secs(400));
        assert_eq!(speed.run_size(longest), 30);
        for _ in 0..12 {
            let size = speed.run_size(longest);
            speed.measured(size, SignedDuration::from_millis(10));
        }
        assert_eq!(speed.run_size(longest), 1_000);
        speed.measured(1, SignedDuration::from_hours(1));
        assert_eq!(speed.run_size(longest), 10, "never less than 10");
    }

    #[test]
    fn a_run_that_took_no_time_and_a_clock_that_went_back_do_no_harm() {
        let mut speed = Speed::default();
        speed.measured(100, SignedDuration::ZERO);
        speed.measured(100, SignedDuration::from_secs(-5));
        speed.measured(0, SignedDuration::from_secs(5));
        assert_eq!(speed.run_size(SignedDuration::from_secs(30)), 400);
    }
}
