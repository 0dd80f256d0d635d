//! The ports of `syncline-sync` for the clock and for random bits, as every real process uses them.

use jiff::Timestamp;
use ring::rand::SecureRandom as _;
use syncline_sync::{Clock, Random};

/// The clock of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// The randomness of the operating system.
pub struct SystemRandom(ring::rand::SystemRandom);

impl SystemRandom {
    /// Opens the operating system's source of randomness.
    #[must_use]
    pub fn new() -> Self {
        Self(ring::rand::SystemRandom::new())
    }

    /// Returns random bytes, such as a new fingerprint key.
    ///
    /// # Panics
    /// When the operating system gives no random bytes. Ids of intents would not be unique then, so no write
    /// would be safe.
    #[must_use]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        assert!(
            self.0.fill(&mut bytes).is_ok(),
            "the operating system gives no random bytes; Syncline cannot write safely without them"
        );
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
