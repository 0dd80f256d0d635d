//! What an error leads to, and how long a touch or a side waits for its next try.

use crate::ports::{Breaker, PauseCause, PortError};
use jiff::{SignedDuration, Timestamp};
use syncline_engine::Side;

/// What becomes of the touches of a run that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The touches are deferred, and the failure is counted in the side's breaker.
    Retry(Side),
    /// The touches are deferred. The side itself is not away, so nothing is counted in its breaker.
    RetryAlone,
    /// The quota is spent. The touches are deferred until Salesforce takes calls again.
    QuotaSpent,
    /// The touches are deferred, and the sync is paused until a person has looked at it.
    Pause(PauseCause),
    /// The messages are not acknowledged, because the touches cannot be deferred.
    Release,
}

/// The disposition that belongs to an error.
#[must_use]
pub fn disposition(error: &PortError) -> Disposition {
    match error {
        PortError::Outage { side, .. } => Disposition::Retry(*side),
        PortError::Busy { .. } => Disposition::RetryAlone,
        PortError::QuotaSpent { .. } => Disposition::QuotaSpent,
        PortError::Definition { .. } => Disposition::Pause(PauseCause::Definition),
        PortError::Identity { .. } => Disposition::Pause(PauseCause::OtherIdentity),
        PortError::NotConfigured { .. } | PortError::Store { .. } => Disposition::Release,
    }
}

/// How long a touch waits before its next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backoff {
    /// Somebody else is writing to the record. The first wait is 0.2 s and each next one is twice as long, up
    /// to 5 s.
    Contention,
    /// A side is away, or a parent is not linked. The first wait is 1 s and each next one is twice as long,
    /// up to 15 min.
    Outage,
    /// A side refused the record, and others may change what it was refused for: a row that has the same unique value,
    /// a validation rule, a permission. The first wait is 30 s and each next one is four times as long, up to a day.
    Refusal,
}

impl Backoff {
    /// When the next try is due. `random` makes the wait up to 20 % shorter or longer.
    ///
    /// # Example
    ///
    /// ```
    /// use jiff::{SignedDuration, Timestamp};
    /// use syncline_sync::Backoff;
    ///
    /// let now = Timestamp::UNIX_EPOCH;
    /// let wait = |attempt| Backoff::Outage.due(now, attempt, 20).duration_since(now);
    /// assert_eq!(wait(0), SignedDuration::from_secs(1));
    /// assert_eq!(wait(3), SignedDuration::from_secs(8));
    /// assert_eq!(wait(30), SignedDuration::from_mins(15), "the longest wait");
    /// ```
    #[must_use]
    pub fn due(self, now: Timestamp, attempt: u32, random: u128) -> Timestamp {
        let (first_ms, longest_ms, doublings): (i64, i64, u32) = match self {
            Self::Contention => (200, 5_000, 1),
            Self::Outage => (1_000, 900_000, 1),
            Self::Refusal => (30_000, 86_400_000, 2),
        };
        let plain = first_ms.saturating_mul(1_i64 << (doublings * attempt.min(15))).min(longest_ms);
        let percent = 80 + i64::try_from(random % 41).unwrap_or(20);
        now + SignedDuration::from_millis(plain * percent / 100)
    }
}

impl Breaker {
    /// The breaker after an outage. The third outage in a row opens the breaker for 5 s, as do the next five.
    /// From the ninth on, the time doubles up to 60 s. The times are short because most outages are short,
    /// and a probe costs only one call.
    #[must_use]
    pub fn failed(&self, now: Timestamp, message: &str) -> Self {
        let failures = self.failures.saturating_add(1);
        let open_until = (failures >= 3).then(|| {
            let seconds = 5_i64.saturating_mul(1 << failures.saturating_sub(8).min(10)).min(60);
            now + SignedDuration::from_secs(seconds)
        });
        Self { form: 1, failures, open_until, message: message.to_owned() }
    }

    /// The breaker after an answer that the quota is spent. The breaker opens for 1 min; each further answer
    /// doubles the time, up to 16 min.
    #[must_use]
    pub fn quota_spent(&self, now: Timestamp, message: &str) -> Self {
        let failures = self.failures.saturating_add(1);
        let minutes = 1_i64 << failures.saturating_sub(1).min(4);
        let open_until = Some(now + SignedDuration::from_mins(minutes));
        Self { form: 1, failures, open_until, message: message.to_owned() }
    }

    /// True while the breaker is open. The breaker stays open after `open_until`, until a probe finds that
    /// the side answers.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open_until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_one_disposition() {
        let message = String::new();
        let side = Side::Salesforce;
        let table = [
            (PortError::Outage { side, message: message.clone() }, Disposition::Retry(side)),
            (PortError::Busy { side, message: message.clone() }, Disposition::RetryAlone),
            (PortError::QuotaSpent { message: message.clone() }, Disposition::QuotaSpent),
            (
                PortError::Definition { side, message: message.clone() },
                Disposition::Pause(PauseCause::Definition),
            ),
            (PortError::Identity { message: message.clone() }, Disposition::Pause(PauseCause::OtherIdentity)),
            (PortError::NotConfigured { message: message.clone() }, Disposition::Release),
            (PortError::Store { message }, Disposition::Release),
        ];
        for (error, expected) in table {
            assert_eq!(disposition(&error), expected, "{error}");
        }
    }

    #[test]
    fn waits_double_up_to_their_longest_and_vary_by_a_fifth() {
        let now = Timestamp::UNIX_EPOCH;
        let ms = |backoff: Backoff, attempt, random| backoff.due(now, attempt, random).as_millisecond();
        assert_eq!(ms(Backoff::Outage, 0, 20), 1_000);
        assert_eq!(ms(Backoff::Outage, 3, 0), 6_400);
        assert_eq!(ms(Backoff::Outage, 40, 40), 1_080_000);
        assert_eq!(ms(Backoff::Contention, 9, 20), 5_000);
        assert_eq!(ms(Backoff::Contention, 0, 41 + 20), 200);
        assert_eq!(ms(Backoff::Refusal, 0, 20), 30_000);
        assert_eq!(ms(Backoff::Refusal, 2, 20), 480_000);
        assert_eq!(ms(Backoff::Refusal, 40, 20), 86_400_000);
        let later = Timestamp::from_second(1_000).unwrap();
        assert_eq!(Backoff::Contention.due(later, 0, 20).duration_since(later).as_millis(), 200);
    }

    #[test]
    fn the_third_outage_in_a_row_opens_the_breaker() {
        let now = Timestamp::UNIX_EPOCH;
        let mut breaker = Breaker::default();
        let mut opened = vec![];
        for _ in 0..13 {
            breaker = breaker.failed(now, "no answer");
            opened.push(breaker.open_until.map_or(0, Timestamp::as_second));
        }
        assert_eq!(opened, [0, 0, 5, 5, 5, 5, 5, 5, 10, 20, 40, 60, 60]);
    }

    #[test]
    fn a_spent_allowance_is_asked_for_after_a_minute_and_twice_as_long_each_time() {
        let now = Timestamp::UNIX_EPOCH;
        let mut breaker = Breaker::default();
        let mut minutes = vec![];
        for _ in 0..6 {
            breaker = breaker.quota_spent(now, "REQUEST_LIMIT_EXCEEDED");
            minutes.push(breaker.open_until.unwrap().as_second() / 60);
        }
        assert_eq!(minutes, [1, 2, 4, 8, 16, 16]);
        assert_eq!((breaker.failures, breaker.message.as_str()), (6, "REQUEST_LIMIT_EXCEEDED"));
        assert!(breaker.is_open() && !Breaker::default().is_open());
    }
}
