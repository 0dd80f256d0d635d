//! The system's clock and randomness, for the ports of every real process.

use jiff::Timestamp;
use ring::rand::SecureRandom as _;
use syncline_sync::{Clock, Random, Step, Steps};

/// The system's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// The system's randomness.
pub struct SystemRandom(ring::rand::SystemRandom);

impl SystemRandom {
    /// The source that the system offers.
    #[must_use]
    pub fn new() -> Self {
        Self(ring::rand::SystemRandom::new())
    }

    /// Random bytes.
    ///
    /// # Panics
    /// When the system has no randomness: no write would be safe.
    #[must_use]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        assert!(self.0.fill(&mut bytes).is_ok(), "the system has no randomness");
        bytes
    }
}

impl Default for SystemRandom {
    fn default() -> Self {
        Self::new()
    }
}

impl Random for SystemRandom {
    fn bits(&self) -> u128 {
        u128::from_le_bytes(self.bytes())
    }
}

/// Nothing happens between steps.
pub struct NoSteps;

impl Steps for NoSteps {
    async fn at(&self, _step: Step) {
        std::future::ready(()).await;
    }
}
